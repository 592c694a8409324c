//! `uplinkctl explain`.

use uplinkd_api::{Client, ClientError, ConnectionQuery, DecisionKind, ExplainQuery};

use crate::{
    args::{ExplainArgs, Question},
    exit::Exit,
    output, render,
};

/// Shows where a connection goes, or would go.
pub(crate) async fn run(client: &Client, args: &ExplainArgs) -> Exit {
    match args.question() {
        Some(Question::New(query)) => new(client, &query, args.json).await,
        Some(Question::Existing(query)) => existing(client, &query, args.json).await,
        None => Exit::Usage,
    }
}

async fn new(client: &Client, query: &ExplainQuery, json: bool) -> Exit {
    match client.explain(query).await {
        Ok(explain) => {
            let _ = output::data(&if json {
                render::json::pretty(&explain)
            } else {
                render::explain::text(&explain)
            });
            verdict(explain.decision.kind)
        }
        Err(error) => output::client_error(&error),
    }
}

async fn existing(client: &Client, query: &ConnectionQuery, json: bool) -> Exit {
    match client.explain_connection(query).await {
        Ok(explain) => {
            let _ = output::data(&if json {
                render::json::pretty(&explain)
            } else {
                render::connection::text(&explain)
            });
            verdict(explain.now.decision.kind)
        }
        Err(error) => {
            let exit = output::client_error(&error);
            match error {
                // The question was understood, and the answer is no.
                ClientError::Refused { status: 404, .. } => Exit::No,
                // Too little was said.
                ClientError::Refused { status: 409, .. } => Exit::Usage,
                ClientError::Refused { .. }
                | ClientError::Unreachable { .. }
                | ClientError::Silent { .. }
                | ClientError::Broken { .. }
                | ClientError::BadReply { .. } => exit,
            }
        }
    }
}

fn verdict(kind: DecisionKind) -> Exit {
    match kind {
        DecisionKind::Unreachable | DecisionKind::Blocked => Exit::No,
        DecisionKind::Uplink
        | DecisionKind::Group
        | DecisionKind::Main
        | DecisionKind::Local
        | DecisionKind::Foreign
        | DecisionKind::Depends => Exit::Yes,
    }
}

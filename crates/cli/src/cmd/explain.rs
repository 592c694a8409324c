//! `uplinkctl explain`.

use uplinkd_api::{Client, DecisionKind};

use crate::{args::ExplainArgs, exit::Exit, output, render};

/// Shows where a connection would go.
pub(crate) async fn run(client: &Client, args: &ExplainArgs) -> Exit {
    match client.explain(&args.query()).await {
        Ok(explain) => {
            let _ = output::data(&if args.json {
                render::json::pretty(&explain)
            } else {
                render::explain::text(&explain)
            });
            if explain.decision.kind == DecisionKind::Unreachable {
                Exit::No
            } else {
                Exit::Yes
            }
        }
        Err(error) => output::client_error(&error),
    }
}

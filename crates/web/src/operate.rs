//! Orders: what changes something for a while, and what is in force.

use std::time::Duration;

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
    routing::post,
};
use serde::Deserialize;
use uplinkd_api::{ApiError, CONFIRM_MAX, Operated, Probed, SPAN_MAX, WHY_MAX, path};

use crate::{
    peer::Peer,
    routes::{Refusal, ask_within, may_change},
    shared::{Caller, Operation, Request, Shared},
};

/// How long an order may take: a file on a network file system is waited for a minute. Below the
/// client's patience.
const PATIENCE: Duration = Duration::from_secs(75);

/// What can be said beside an order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Words {
    r#for: Option<u64>,
    confirm: Option<u64>,
    why: Option<String>,
}

impl Words {
    /// Who asks, with the reason.
    pub(crate) fn caller(self, peer: &Peer) -> Result<Caller, Refusal> {
        if let Some(why) = &self.why {
            if why.chars().count() > WHY_MAX {
                return Err(bad(format!(
                    "the reason is longer than {WHY_MAX} characters"
                )));
            }
            if why.chars().any(char::is_control) {
                return Err(bad("the reason has control characters in it".to_owned()));
            }
        }
        Ok(Caller {
            user: peer.user(),
            why: self.why.filter(|why| !why.is_empty()),
        })
    }
}

/// The paths of orders.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route(path::DRAIN, post(drain))
        .route(path::UNDRAIN, post(undrain))
        .route(path::PREFER, post(prefer))
        .route(path::UNPREFER, post(unprefer))
        .route(path::PROBE, post(probe))
        .route(path::RELOAD, post(reload))
        .route(path::CONFIRM, post(confirm))
        .route(path::ROLLBACK, post(rollback))
}

type AnyWords = Result<Query<Words>, QueryRejection>;
type Done = Result<Json<Operated>, Refusal>;

/// Reads what is said beside an order.
pub(crate) fn read(words: AnyWords) -> Result<Words, Refusal> {
    match words {
        Ok(Query(words)) => Ok(words),
        Err(error) => Err(bad(error.body_text())),
    }
}

async fn drain(
    shared: State<Shared>,
    peer: Extension<Peer>,
    Path(name): Path<String>,
    words: AnyWords,
    body: Body,
) -> Done {
    let order = |words: &Words| {
        let span = words.r#for.map(|s| span(s, SPAN_MAX)).transpose()?;
        Ok(Operation::Drain(name, span))
    };
    operate(shared, peer, words, body, order).await
}

async fn undrain(
    shared: State<Shared>,
    peer: Extension<Peer>,
    Path(name): Path<String>,
    words: AnyWords,
    body: Body,
) -> Done {
    operate(shared, peer, words, body, |_| Ok(Operation::Undrain(name))).await
}

async fn prefer(
    shared: State<Shared>,
    peer: Extension<Peer>,
    Path(name): Path<String>,
    words: AnyWords,
    body: Body,
) -> Done {
    let order = |words: &Words| match words.r#for {
        Some(seconds) => Ok(Operation::Prefer(name, span(seconds, SPAN_MAX)?)),
        None => Err(bad("for how long? `for` is missing, in seconds".to_owned())),
    };
    operate(shared, peer, words, body, order).await
}

async fn unprefer(
    shared: State<Shared>,
    peer: Extension<Peer>,
    words: AnyWords,
    body: Body,
) -> Done {
    operate(shared, peer, words, body, |_| Ok(Operation::Unprefer)).await
}

async fn reload(shared: State<Shared>, peer: Extension<Peer>, words: AnyWords, body: Body) -> Done {
    let order = |words: &Words| {
        let span = words.confirm.map(|s| span(s, CONFIRM_MAX)).transpose()?;
        Ok(Operation::Reload(span))
    };
    operate(shared, peer, words, body, order).await
}

async fn confirm(
    shared: State<Shared>,
    peer: Extension<Peer>,
    words: AnyWords,
    body: Body,
) -> Done {
    operate(shared, peer, words, body, |_| Ok(Operation::Confirm)).await
}

async fn rollback(
    shared: State<Shared>,
    peer: Extension<Peer>,
    words: AnyWords,
    body: Body,
) -> Done {
    operate(shared, peer, words, body, |_| Ok(Operation::Rollback)).await
}

async fn operate(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    words: AnyWords,
    body: Body,
    order: impl FnOnce(&Words) -> Result<Operation, Refusal>,
) -> Done {
    may_change(&peer, &body)?;
    let words = read(words)?;
    let order = order(&words)?;
    let caller = words.caller(&peer)?;
    let request = |answer| Request::Operate(order, caller, answer);
    let done = ask_within(PATIENCE, &shared, request).await??;
    Ok(Json(done))
}

async fn probe(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<Probed>, Refusal> {
    may_change(&peer, &body)?;
    let request = |answer| Request::Probe(name, answer);
    let probed = ask_within(PATIENCE, &shared, request).await??;
    Ok(Json(probed))
}

fn span(seconds: u64, most: u64) -> Result<Duration, Refusal> {
    match (1..=most).contains(&seconds) {
        true => Ok(Duration::from_secs(seconds)),
        false => Err(bad(format!(
            "{seconds} seconds: from 1 to {most} are possible"
        ))),
    }
}

fn bad(message: String) -> Refusal {
    let hint = "there are `for` and `confirm` in seconds, and `why`";
    Refusal(
        StatusCode::BAD_REQUEST,
        ApiError::new(message).with_hint(hint),
    )
}

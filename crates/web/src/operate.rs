//! Orders: what changes something for a while, and what is in force.

use std::time::Duration;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::Deserialize;
use uplinkd_api::{ApiError, CONFIRM_MAX, NotifyTested, Operated, Probed, SPAN_MAX, WHY_MAX, path};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    openapi::Changing,
    peer::Peer,
    routes::{Refusal, ask_within, may_change},
    shared::{Caller, Operation, Request, Shared},
};

/// How long an order may take: a file on a network file system is waited for a minute. Below the
/// client's patience.
const PATIENCE: Duration = Duration::from_secs(75);

/// What can be said beside an order.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Reason {
    /// The reason, for the event log.
    #[param(max_length = 200)]
    why: Option<String>,
}

/// The same of one that has an end.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Lasting {
    /// For so many seconds.
    #[param(minimum = 1, maximum = 31_536_000)]
    r#for: Option<u64>,
    /// The reason, for the event log.
    #[param(max_length = 200)]
    why: Option<String>,
}

/// The same of a file.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Trying {
    /// Unless it is confirmed within so many seconds, what was before comes back.
    #[param(minimum = 1, maximum = 86_400)]
    confirm: Option<u64>,
    /// The reason, for the event log.
    #[param(max_length = 200)]
    why: Option<String>,
}

/// The same of a test of who is told.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Testing {
    /// The channel; without it all of them.
    channel: Option<String>,
    /// The reason, which is told.
    #[param(max_length = 200)]
    why: Option<String>,
}

impl Reason {
    /// Who asks, with the reason.
    pub(crate) fn caller(self, peer: &Peer) -> Result<Caller, Refusal> {
        caller(self.why, peer)
    }
}

fn caller(why: Option<String>, peer: &Peer) -> Result<Caller, Refusal> {
    if let Some(why) = &why {
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
        why: why.filter(|why| !why.is_empty()),
    })
}

/// The paths of orders.
pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(drain))
        .routes(routes!(undrain))
        .routes(routes!(prefer))
        .routes(routes!(unprefer))
        .routes(routes!(probe))
        .routes(routes!(notify_test))
        .routes(routes!(reload))
        .routes(routes!(confirm))
        .routes(routes!(rollback))
}

/// What is said beside an order, if it can be read.
pub(crate) type Said<T> = Result<Query<T>, QueryRejection>;
type Done = Result<Json<Operated>, Refusal>;

/// Reads what is said beside an order.
pub(crate) fn read<T>(said: Said<T>) -> Result<T, Refusal> {
    match said {
        Ok(Query(words)) => Ok(words),
        Err(error) => Err(Refusal(
            StatusCode::BAD_REQUEST,
            ApiError::new(error.body_text()),
        )),
    }
}

/// Let an uplink run empty
#[utoipa::path(
    post, path = path::DRAIN, tag = "change", params(("name" = String, Path, description = "The uplink."), Lasting),
    responses((status = 200, body = Operated), Changing),
)]
async fn drain(
    shared: State<Shared>,
    peer: Extension<Peer>,
    Path(name): Path<String>,
    said: Said<Lasting>,
    body: Body,
) -> Done {
    let order = |said: Lasting| {
        let span = said.r#for.map(|s| span(s, SPAN_MAX)).transpose()?;
        Ok((Operation::Drain(name, span), said.why))
    };
    operate(shared, peer, said, body, order).await
}

/// Let a drained uplink take new connections again
#[utoipa::path(
    post, path = path::UNDRAIN, tag = "change", params(("name" = String, Path, description = "The uplink."), Reason),
    responses((status = 200, body = Operated), Changing),
)]
async fn undrain(
    shared: State<Shared>,
    peer: Extension<Peer>,
    Path(name): Path<String>,
    said: Said<Reason>,
    body: Body,
) -> Done {
    let order = |said: Reason| Ok((Operation::Undrain(name), said.why));
    operate(shared, peer, said, body, order).await
}

/// Let all new connections use one uplink for a while
#[utoipa::path(
    post, path = path::PREFER, tag = "change", params(("name" = String, Path, description = "The uplink."), Lasting),
    responses((status = 200, body = Operated), Changing),
)]
async fn prefer(
    shared: State<Shared>,
    peer: Extension<Peer>,
    Path(name): Path<String>,
    said: Said<Lasting>,
    body: Body,
) -> Done {
    let order = |said: Lasting| {
        let Some(seconds) = said.r#for else {
            return Err(bad("for how long? `for` is missing, in seconds".to_owned()));
        };
        let span = span(seconds, SPAN_MAX)?;
        Ok((Operation::Prefer(name, span), said.why))
    };
    operate(shared, peer, said, body, order).await
}

/// End what was preferred
#[utoipa::path(
    post, path = path::UNPREFER, tag = "change", params(Reason),
    responses((status = 200, body = Operated), Changing),
)]
async fn unprefer(
    shared: State<Shared>,
    peer: Extension<Peer>,
    said: Said<Reason>,
    body: Body,
) -> Done {
    let order = |said: Reason| Ok((Operation::Unprefer, said.why));
    operate(shared, peer, said, body, order).await
}

/// Read the file again
#[utoipa::path(
    post, path = path::RELOAD, tag = "change", params(Trying),
    responses((status = 200, body = Operated), Changing),
)]
async fn reload(
    shared: State<Shared>,
    peer: Extension<Peer>,
    said: Said<Trying>,
    body: Body,
) -> Done {
    let order = |said: Trying| {
        let span = said.confirm.map(|s| span(s, CONFIRM_MAX)).transpose()?;
        Ok((Operation::Reload(span), said.why))
    };
    operate(shared, peer, said, body, order).await
}

/// Keep what is in force on trial
#[utoipa::path(
    post, path = path::CONFIRM, tag = "change", params(Reason),
    responses((status = 200, body = Operated), Changing),
)]
async fn confirm(
    shared: State<Shared>,
    peer: Extension<Peer>,
    said: Said<Reason>,
    body: Body,
) -> Done {
    let order = |said: Reason| Ok((Operation::Confirm, said.why));
    operate(shared, peer, said, body, order).await
}

/// Put back what was in force before the trial
#[utoipa::path(
    post, path = path::ROLLBACK, tag = "change", params(Reason),
    responses((status = 200, body = Operated), Changing),
)]
async fn rollback(
    shared: State<Shared>,
    peer: Extension<Peer>,
    said: Said<Reason>,
    body: Body,
) -> Done {
    let order = |said: Reason| Ok((Operation::Rollback, said.why));
    operate(shared, peer, said, body, order).await
}

/// Carries an order out. Who may not is told that first, whatever else may be wrong.
async fn operate<T>(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    said: Said<T>,
    body: Body,
    order: impl FnOnce(T) -> Result<(Operation, Option<String>), Refusal>,
) -> Done {
    may_change(&peer, &body)?;
    let (order, why) = order(read(said)?)?;
    let caller = caller(why, &peer)?;
    let request = |answer| Request::Operate(order, caller, answer);
    let done = ask_within(PATIENCE, &shared, request).await??;
    Ok(Json(done))
}

/// Ask all targets of an uplink now
#[utoipa::path(
    post, path = path::PROBE, tag = "change", params(("name" = String, Path, description = "The uplink.")),
    responses((status = 200, body = Probed), Changing),
)]
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

/// Tell everybody who is told of events that this is a test
#[utoipa::path(
    post, path = path::NOTIFY_TEST, tag = "change", params(Testing),
    responses((status = 200, body = NotifyTested), Changing),
)]
async fn notify_test(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    said: Said<Testing>,
    body: Body,
) -> Result<Json<NotifyTested>, Refusal> {
    may_change(&peer, &body)?;
    let Testing { channel, why } = read(said)?;
    let caller = caller(why, &peer)?;
    let request = |answer| Request::NotifyTest(channel, caller, answer);
    let tested = ask_within(PATIENCE, &shared, request).await??;
    Ok(Json(tested))
}

fn span(seconds: u64, most: u64) -> Result<Duration, Refusal> {
    match (1..=most).contains(&seconds) {
        true => Ok(Duration::from_secs(seconds)),
        false => Err(bad(format!(
            "{seconds} seconds: from 1 to {most} are possible"
        ))),
    }
}

/// What can be read and makes no sense.
fn bad(message: String) -> Refusal {
    let hint = "there are `for` and `confirm` in seconds, and `why`";
    Refusal(
        StatusCode::UNPROCESSABLE_ENTITY,
        ApiError::new(message).with_hint(hint),
    )
}

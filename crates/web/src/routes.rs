//! What is answered.

mod history;

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension, Json, Router,
    body::{Body, HttpBody as _},
    extract::{Path, Query, RawQuery, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    middleware::from_fn_with_state,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as SseEvent, KeepAlive},
    },
};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::{sync::oneshot, time::timeout};
use tokio_stream::wrappers::BroadcastStream;
use uplinkd_api::{
    ApiError, Budgeted, ConnectionQuery, Event, Events, Explain, ExplainConnection, ExplainQuery,
    Failback, Policies, Status, Support, path,
};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    gate::gate,
    openapi::{self, Always, Asked, Changing, Named},
    operate, page,
    peer::Peer,
    session,
    shared::{Refused, Request, Shared},
};

/// How long the daemon's loop may take for an answer. Below the client's patience, so that the
/// client hears why.
const LOOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long what helps to look for a mistake may take: the kernel is looked at, with the program `nft`.
const SUPPORT_PATIENCE: Duration = Duration::from_secs(30);
/// How often a silent stream gives a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// The longest body of a request, in bytes, that is passed over: none is wanted, but some clients
/// send an empty object. A longer one, or one of unknown length, is answered with 413.
const BODY_MAX: u64 = 1024;

/// The largest number that is taken: beyond it readers of JSON are no longer exact (2^53 - 1).
const NUMBER_MAX: u64 = 9_007_199_254_740_991;

/// Everything that is served.
pub(crate) fn routes(shared: Shared) -> Router {
    Router::from(documented())
        .merge(page::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        // Also before what is not there: who may not ask learns nothing.
        .layer(from_fn_with_state(shared.clone(), gate))
        .with_state(shared)
}

/// The paths with what is said of them.
pub(crate) fn documented() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(status))
        .routes(routes!(events))
        .routes(routes!(events_stream))
        .routes(routes!(explain))
        .routes(routes!(explain_connection))
        .routes(routes!(policies))
        .routes(routes!(history::history))
        .routes(routes!(history::report))
        .routes(routes!(history::metrics))
        .routes(routes!(support))
        .merge(operate::routes())
        .routes(routes!(failback))
        .routes(routes!(set_used))
        .routes(routes!(session::begin, session::end))
        .routes(routes!(openapi::document))
}

/// A refusal with its HTTP status.
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) ApiError);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Bad(error) => Self(StatusCode::UNPROCESSABLE_ENTITY, error),
            Refused::NotFound(error) => Self(StatusCode::NOT_FOUND, error),
            Refused::Conflict(error) => Self(StatusCode::CONFLICT, error),
            Refused::Unfit(error) => Self(StatusCode::UNPROCESSABLE_ENTITY, error),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Since {
    /// Only what happened after the event with this id.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    since: Option<u64>,
}

/// How everything is, at a glance
#[utoipa::path(
    get, path = path::STATUS, tag = "read",
    responses((status = 200, body = Status), Always),
)]
async fn status(State(shared): State<Shared>) -> Result<Json<Status>, Refusal> {
    ask(&shared, Request::Status).await.map(Json)
}

/// The policies in the order in which they are asked
#[utoipa::path(
    get, path = path::POLICIES, tag = "read",
    responses((status = 200, body = Policies), Always),
)]
async fn policies(State(shared): State<Shared>) -> Result<Json<Policies>, Refusal> {
    ask(&shared, Request::Policies).await.map(Json)
}

/// Where a new connection would go, and why
#[utoipa::path(
    get, path = path::EXPLAIN, tag = "read", params(ExplainQuery),
    responses((status = 200, body = Explain), Named),
)]
async fn explain(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<Explain>, Refusal> {
    let query = ExplainQuery::from_query(&query.unwrap_or_default()).map_err(unreadable)?;
    query.check().map_err(Refused::Bad)?;
    let answer = ask(&shared, |answer| Request::Explain(query, answer)).await??;
    Ok(Json(answer))
}

/// Where an existing connection goes, and where it would go anew
#[utoipa::path(
    get, path = path::EXPLAIN_CONNECTION, tag = "read", params(ConnectionQuery),
    responses(
        (status = 200, body = ExplainConnection),
        (status = 409, body = ApiError, description = "Several connections fit: say more of it."),
        Named,
    ),
)]
async fn explain_connection(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<ExplainConnection>, Refusal> {
    let query = ConnectionQuery::from_query(&query.unwrap_or_default()).map_err(unreadable)?;
    let answer = ask(&shared, |answer| Request::ExplainConnection(query, answer)).await??;
    Ok(Json(answer))
}

/// What only the daemon sees, for a report of something that went wrong
///
/// Only for who may change something: it shows the whole configuration, without secrets.
#[utoipa::path(
    get, path = path::SUPPORT, tag = "read",
    responses((status = 200, body = Support), Always),
)]
async fn support(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<Support>, Refusal> {
    privileged(&peer)?;
    ask_within(SUPPORT_PATIENCE, &shared, Request::Support)
        .await
        .map(Json)
}

/// Let a group return to its better uplinks now
#[utoipa::path(
    post, path = path::FAILBACK, tag = "change",
    params(("name" = String, Path, description = "The group."), operate::Reason),
    responses((status = 200, body = Failback), Changing),
)]
async fn failback(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    said: operate::Said<operate::Reason>,
    body: Body,
) -> Result<Json<Failback>, Refusal> {
    may_change(&peer, &body)?;
    let caller = operate::read(said)?.caller(&peer)?;
    let answer = ask(&shared, |answer| Request::Failback(name, caller, answer)).await??;
    Ok(Json(answer))
}

/// Correct what an uplink has used of its budget
#[utoipa::path(
    post, path = path::BUDGET, tag = "change",
    params(
        ("name" = String, Path, description = "The uplink."),
        ("used" = u64, Path, maximum = 9_007_199_254_740_991_u64, description = "Bytes that it has used in this period."),
    ),
    responses((status = 200, body = Budgeted), Changing),
)]
async fn set_used(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    Path((name, used)): Path<(String, String)>,
    said: operate::Said<operate::Reason>,
    body: Body,
) -> Result<Json<Budgeted>, Refusal> {
    may_change(&peer, &body)?;
    let caller = operate::read(said)?.caller(&peer)?;
    let Some(used) = used.parse().ok().filter(|used| *used <= NUMBER_MAX) else {
        let error = ApiError::new(format!("{used:?} is no number of bytes"));
        return Err(unreadable(error));
    };
    let answer = ask(&shared, |answer| {
        Request::SetUsed(name, used, caller, answer)
    })
    .await??;
    Ok(Json(answer))
}

/// Refuses who may not change anything, and whoever sends more than is asked for.
pub(crate) fn may_change(peer: &Peer, body: &Body) -> Result<(), Refusal> {
    privileged(peer)?;
    no_body(body)
}

fn privileged(peer: &Peer) -> Result<(), Refusal> {
    if peer.may_change() {
        return Ok(());
    }
    Err(Refusal(
        StatusCode::FORBIDDEN,
        ApiError::new(format!("only {} may change something", peer.changers))
            .with_hint("run it with sudo, or show another token"),
    ))
}

/// Refuses whoever sends more than is asked for.
pub(crate) fn no_body(body: &Body) -> Result<(), Refusal> {
    // Never read, so that nobody can keep us waiting for it.
    if body.size_hint().upper().is_none_or(|size| size > BODY_MAX) {
        return Err(Refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::new("this request needs no body"),
        ));
    }
    Ok(())
}

/// What happened, as far as the daemon remembers
#[utoipa::path(
    get, path = path::EVENTS, tag = "read", params(Since),
    responses((status = 200, body = Events), Asked),
)]
async fn events(
    State(shared): State<Shared>,
    since: Result<Query<Since>, QueryRejection>,
) -> Result<Json<Events>, Refusal> {
    Ok(Json(shared.events(read_since(since)?)))
}

/// What happens, as it happens
///
/// Server-sent events: an event as JSON in each, or one named `resync` where some were missed. A browser
/// that reconnects names the last one that it saw in a header.
#[utoipa::path(
    get, path = path::EVENTS_STREAM, tag = "read",
    params(Since, ("last-event-id" = Option<u64>, Header, description = "As `since`, before it.")),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        Asked,
    ),
)]
async fn events_stream(
    State(shared): State<Shared>,
    since: Result<Query<Since>, QueryRejection>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Refusal> {
    let last_seen = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok());
    let since = last_seen.or(read_since(since)?);
    let stream =
        Sse::new(messages(&shared, since)).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE));
    Ok(([(header::CACHE_CONTROL, "no-store")], stream))
}

fn messages(
    shared: &Shared,
    since: Option<u64>,
) -> impl Stream<Item = Result<SseEvent, Infallible>> + use<> {
    let (past, live) = shared.follow(since);
    let missed = past.incomplete.then(resync);
    let past = past.events.into_iter().map(|event| message(&event));
    let live = BroadcastStream::new(live).map(|event| match event {
        Ok(message) => message,
        Err(_) => resync(),
    });
    stream::iter(missed)
        .chain(stream::iter(past))
        .chain(live)
        .map(Ok)
}

/// An event as followers are sent it.
pub(crate) fn message(event: &Event) -> SseEvent {
    // An event is strings, numbers and JSON already; it always becomes JSON.
    let data = serde_json::to_string(event).unwrap_or_default();
    SseEvent::default().id(event.id.to_string()).data(data)
}

fn resync() -> SseEvent {
    SseEvent::default()
        .event(path::RESYNC)
        .data("some events were missed")
}

async fn unknown_path() -> Refusal {
    let known: Vec<_> = openapi::known_paths().collect();
    Refusal(
        StatusCode::NOT_FOUND,
        ApiError::new("no such path").with_hint(format!("there are {}", known.join(", "))),
    )
}

async fn wrong_method() -> Refusal {
    Refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        ApiError::new("this path is not asked like that").with_hint(format!(
            "everything is read with GET, and what changes something wants POST, such as {}",
            path::FAILBACK
        )),
    )
}

fn read_since(since: Result<Query<Since>, QueryRejection>) -> Result<Option<u64>, Refusal> {
    match since {
        Ok(Query(Since { since })) if since.is_none_or(|id| id <= NUMBER_MAX) => Ok(since),
        Ok(_) => Err(unreadable(ApiError::new(format!(
            "`since` is more than {NUMBER_MAX}"
        )))),
        Err(error) => Err(unreadable(
            ApiError::new(error.body_text()).with_hint("`since` is the id of an event"),
        )),
    }
}

/// What is not written as it has to be.
fn unreadable(error: ApiError) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, error)
}

async fn ask<T>(
    shared: &Shared,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Result<T, Refusal> {
    ask_within(LOOP_PATIENCE, shared, request).await
}

/// The same where the loop waits for something itself.
pub(crate) async fn ask_within<T>(
    patience: Duration,
    shared: &Shared,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Result<T, Refusal> {
    let busy = |message: &str| Refusal(StatusCode::SERVICE_UNAVAILABLE, ApiError::new(message));
    let (answer, answered) = oneshot::channel();
    if !shared.ask(request(answer)) {
        return Err(busy("the daemon is too busy to answer, or is stopping"));
    }
    match timeout(patience, answered).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(busy("the daemon is stopping")),
        Err(_) => Err(busy("the daemon did not answer in time")),
    }
}

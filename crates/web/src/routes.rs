//! What is answered.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, RawQuery, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as SseEvent, KeepAlive},
    },
    routing::get,
};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::{sync::oneshot, time::timeout};
use tokio_stream::wrappers::BroadcastStream;
use uplinkd_api::{ApiError, Event, Events, Explain, ExplainQuery, Status, path};

use crate::shared::{Request, Shared};

/// How long the daemon's loop may take for an answer. Below the client's patience, so that the
/// client hears why.
const LOOP_PATIENCE: Duration = Duration::from_secs(5);
/// How often a silent stream gives a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Everything that is served.
pub(crate) fn routes(shared: Shared) -> Router {
    Router::new()
        .route(path::STATUS, get(status))
        .route(path::EVENTS, get(events))
        .route(path::EVENTS_STREAM, get(events_stream))
        .route(path::EXPLAIN, get(explain))
        .fallback(unknown_path)
        .method_not_allowed_fallback(read_only)
        .with_state(shared)
}

/// A refusal with its HTTP status.
struct Refusal(StatusCode, ApiError);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

#[derive(Deserialize)]
struct Since {
    since: Option<u64>,
}

async fn status(State(shared): State<Shared>) -> Result<Json<Status>, Refusal> {
    ask(&shared, Request::Status).await.map(Json)
}

async fn explain(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<Explain>, Refusal> {
    let bad = |error| Refusal(StatusCode::BAD_REQUEST, error);
    let query = ExplainQuery::from_query(&query.unwrap_or_default()).map_err(bad)?;
    ask(&shared, |answer| Request::Explain(query, answer))
        .await?
        .map(Json)
        .map_err(bad)
}

async fn events(
    State(shared): State<Shared>,
    since: Result<Query<Since>, QueryRejection>,
) -> Result<Json<Events>, Refusal> {
    Ok(Json(shared.events(read_since(since)?)))
}

/// Server-sent events. A browser that reconnects names the last one it saw in a header.
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
        Ok(event) => message(&event),
        Err(_) => resync(),
    });
    stream::iter(missed)
        .chain(stream::iter(past))
        .chain(live)
        .map(Ok)
}

fn message(event: &Event) -> SseEvent {
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
    Refusal(
        StatusCode::NOT_FOUND,
        ApiError::new("no such path").with_hint(format!(
            "there are {}, {}, {} and {}",
            path::STATUS,
            path::EVENTS,
            path::EVENTS_STREAM,
            path::EXPLAIN
        )),
    )
}

async fn read_only() -> Refusal {
    Refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        ApiError::new("everything here is read-only").with_hint("use GET"),
    )
}

fn read_since(since: Result<Query<Since>, QueryRejection>) -> Result<Option<u64>, Refusal> {
    match since {
        Ok(Query(Since { since })) => Ok(since),
        Err(error) => Err(Refusal(
            StatusCode::BAD_REQUEST,
            ApiError::new(error.body_text()).with_hint("`since` is the id of an event"),
        )),
    }
}

async fn ask<T>(
    shared: &Shared,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Result<T, Refusal> {
    let busy = |message: &str| Refusal(StatusCode::SERVICE_UNAVAILABLE, ApiError::new(message));
    let (answer, answered) = oneshot::channel();
    if !shared.ask(request(answer)) {
        return Err(busy("the daemon is too busy to answer, or is stopping"));
    }
    match timeout(LOOP_PATIENCE, answered).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(busy("the daemon is stopping")),
        Err(_) => Err(busy("the daemon did not answer in time")),
    }
}

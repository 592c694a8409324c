//! What is remembered, and figures for Prometheus.

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::Compression;
use serde::Serialize;
use uplinkd_api::{ApiError, Format, History, HistoryQuery, Report, ReportQuery, path};

use super::{Refusal, ask, unreadable};
use crate::{
    openapi::{Always, Remembered},
    page,
    shared::{Request, Shared},
};

/// The text format of Prometheus.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const CSV: &str = "text/csv; charset=utf-8";

/// How uplinks were over time
#[utoipa::path(
    get, path = path::HISTORY, tag = "read", params(HistoryQuery),
    responses(
        (status = 200, content((History = "application/json"), (String = "text/csv"))),
        Remembered,
    ),
)]
pub(super) async fn history(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let query = HistoryQuery::from_query(&query.unwrap_or_default()).map_err(unreadable)?;
    let format = query.format;
    let answer = ask(&shared, |answer| Request::History(query, answer)).await??;
    write(answer, format, History::to_csv, &headers).await
}

/// How they were over a month: the sheet for a provider
#[utoipa::path(
    get, path = path::REPORT, tag = "read", params(ReportQuery),
    responses(
        (status = 200, content((Report = "application/json"), (String = "text/csv"))),
        Remembered,
    ),
)]
pub(super) async fn report(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let query = ReportQuery::from_query(&query.unwrap_or_default()).map_err(unreadable)?;
    let format = query.format;
    let answer = ask(&shared, |answer| Request::Report(query, answer)).await??;
    write(answer, format, Report::to_csv, &headers).await
}

/// Figures for Prometheus, in its text format
#[utoipa::path(
    get, path = path::METRICS, tag = "read",
    responses((status = 200, body = String, content_type = "text/plain"), Always),
)]
pub(super) async fn metrics(State(shared): State<Shared>) -> Result<Response, Refusal> {
    let text = ask(&shared, Request::Metrics).await?;
    Ok(([(header::CONTENT_TYPE, PROMETHEUS)], text).into_response())
}

/// On a thread of its own: an answer may have megabytes, and all other requests share this one. Compressed for who
/// takes that: most of it are the names of figures.
async fn write<T: Serialize + Send + 'static>(
    answer: T,
    format: Format,
    to_csv: fn(&T) -> String,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let is_compressed = page::takes_gzip(headers);
    let body = tokio::task::spawn_blocking(move || {
        let text = match format {
            Format::Json => serde_json::to_string(&answer)?,
            Format::Csv => to_csv(&answer),
        };
        Ok::<_, serde_json::Error>(match is_compressed {
            true => page::gzip(text.as_bytes(), Compression::fast()),
            false => text.into_bytes(),
        })
    });
    let kind = match format {
        Format::Json => "application/json",
        Format::Csv => CSV,
    };
    let Ok(Ok(body)) = body.await else {
        let error = ApiError::new("the answer cannot be written");
        return Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, error));
    };
    let kind = [
        (header::CONTENT_TYPE, kind),
        (header::VARY, "accept-encoding"),
    ];
    let coding = is_compressed.then_some([(header::CONTENT_ENCODING, "gzip")]);
    Ok(match coding {
        Some(coding) => (kind, coding, body).into_response(),
        None => (kind, body).into_response(),
    })
}

//! Pages: fetched by HTTP/1.1, and held against what they should be.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response, Uri,
    body::{Body, Bytes, Incoming},
    client::conn::http1,
    header::{CONNECTION, HOST, LOCATION, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
};
use uplinkd_model::target::Page;

use crate::{
    line::{Line, bounded, in_words},
    tls::Trust,
};

/// All header lines of an answer together; with more it is refused.
const HEAD_MAX: usize = 16 * 1024;
/// Header lines of an answer.
const LINES_MAX: usize = 100;
/// How far into a body text is looked for.
const BODY_MAX: usize = 64 * 1024;
/// What we call ourselves.
pub const AGENT: &str = concat!("uplinkd/", env!("CARGO_PKG_VERSION"));
/// What networks answer that want somebody to log in (RFC 6585).
const LOGIN_NEEDED: u16 = 511;

/// Fetches a page from this address: how long it took, or what is wrong with it.
pub(crate) async fn fetch(
    trust: &Trust,
    line: &Line,
    page: &Page,
    address: IpAddr,
) -> Result<Duration, String> {
    let began = Instant::now();
    let stream = line.connect(SocketAddr::new(address, page.port)).await?;
    if page.is_secure {
        let host = page.host.to_string();
        let name = page.certificate_name.as_deref().unwrap_or(&host);
        let stream = trust.secure(stream, name, page.authorities.as_deref());
        ask(stream.await?, page).await?;
    } else {
        ask(stream, page).await?;
    }
    Ok(began.elapsed())
}

async fn ask<S>(stream: S, page: &Page) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let request = Request::get(page.path.as_str())
        .header(HOST, page.authority())
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| format!("{} is no path", bounded(&page.path)))?;
    let (response, _open) = exchange(stream, request).await?;
    let location = response.headers().get(LOCATION);
    let location = location.map(|l| String::from_utf8_lossy(l.as_bytes()).into_owned());
    judge(page, response.status().as_u16(), location.as_deref())?;
    match &page.body {
        Some(text) => look_for(text, response).await,
        None => Ok(()),
    }
}

/// Sends a request on a connection that is for nothing else: the head of the answer, which is bounded, and
/// what keeps the connection open for its body. Must be called inside a [`tokio::task::LocalSet`].
///
/// # Errors
/// Why there is no answer, in words.
pub async fn exchange<S, B>(
    stream: S,
    request: Request<B>,
) -> Result<(Response<Incoming>, Open), String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_MAX).max_headers(LINES_MAX);
    let (mut sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| told(&e))?;
    let connection = tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    // Ends with the question, however that does.
    let open = Open(connection.abort_handle());
    let response = sender.send_request(request).await.map_err(|e| told(&e))?;
    Ok((response, open))
}

/// A connection. It ends when this is dropped.
#[derive(Debug)]
pub struct Open(AbortHandle);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a status is the one that was wanted.
fn judge(page: &Page, status: u16, location: Option<&str>) -> Result<(), String> {
    let is_wanted = match page.statuses.as_slice() {
        [] => (200..300).contains(&status),
        statuses => statuses.contains(&status),
    };
    if is_wanted {
        return Ok(());
    }
    let is_redirect = (300..400).contains(&status);
    let Some(location) = location.filter(|_| is_redirect) else {
        return Err(match status {
            LOGIN_NEEDED => "captive portal: HTTP status 511".to_owned(),
            status => format!("HTTP status {status}"),
        });
    };
    let host = host_of(location);
    let is_elsewhere = host
        .as_ref()
        .is_some_and(|h| !h.eq_ignore_ascii_case(&page.host.to_string()));
    Err(match host {
        // A server that has proved who it is redirects by its own will.
        Some(host) if is_elsewhere && page.is_secure => {
            format!("redirected to another host, {}", bounded(&host))
        }
        Some(host) if is_elsewhere => format!("captive portal: redirected to {}", bounded(&host)),
        _ => format!("HTTP status {status}: redirected to {}", bounded(location)),
    })
}

/// The host of a URL; none of one that stays where it is.
fn host_of(location: &str) -> Option<String> {
    // `//host/path` keeps the scheme.
    let whole = match location.strip_prefix("//") {
        Some(rest) => format!("http://{rest}"),
        None if location.contains("://") => location.to_owned(),
        None => return None,
    };
    let host = whole.parse::<Uri>().ok()?.host()?.to_owned();
    Some(host.trim_matches(['[', ']']).to_owned())
}

async fn look_for(text: &str, response: Response<Incoming>) -> Result<(), String> {
    let mut body = response.into_body();
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| told(&e))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        let room = BODY_MAX - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if contains(&read, text) {
            return Ok(());
        }
        if read.len() >= BODY_MAX {
            break;
        }
    }
    Err(format!("the page does not contain {text:?}"))
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len().max(1))
        .any(|w| w == text.as_bytes())
}

/// Why there is no answer.
fn told(error: &hyper::Error) -> String {
    let source = std::error::Error::source(error);
    if let Some(error) = source.and_then(|e| e.downcast_ref::<std::io::Error>()) {
        return in_words(error);
    }
    match error {
        e if e.is_parse() => format!("the answer is no HTTP: {}", bounded(&e.to_string())),
        e if e.is_incomplete_message() || e.is_canceled() => {
            "the connection ended before the answer".to_owned()
        }
        e => bounded(&e.to_string()),
    }
}

#[cfg(test)]
mod tests;

//! Sessions of browsers, which cannot send a token with everything that they ask: not with what a page
//! loads, and not with server-sent events. A page shows the token once and has a cookie from then on.

use std::{collections::VecDeque, fmt::Write as _, net::SocketAddr, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;
use uplinkd_api::{ApiError, path};

use crate::{
    access::Rights,
    gate::Door,
    openapi::Session,
    peer::{Peer, Shown},
    routes::{Refusal, no_body},
    shared::Shared,
};

/// How long a session lasts; then the token is shown again.
const LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// Sessions at a time. When full the oldest ends.
const SESSIONS_MAX: usize = 64;

/// The sessions that last, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Sessions(VecDeque<Entry>);

struct Entry {
    id: String,
    rights: Rights,
    until: Instant,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a session with {:?}", self.rights)
    }
}

impl Sessions {
    /// Begins a session and gives the secret that it is known by.
    fn begin(&mut self, rights: Rights) -> Result<String, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let mut id = String::new();
        for byte in bytes {
            // Writing to a string never fails.
            let _ = write!(id, "{byte:02x}");
        }
        self.forget_old();
        if self.0.len() >= SESSIONS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Entry {
            id: id.clone(),
            rights,
            until: Instant::now() + LIFE,
        });
        Ok(id)
    }

    /// What may be done in a session; none where there is none of that secret.
    pub(crate) fn rights_of(&mut self, id: &[u8]) -> Option<Rights> {
        self.forget_old();
        let place = self.place(id)?;
        self.0.get(place).map(|entry| entry.rights)
    }

    fn end(&mut self, id: &[u8]) {
        if let Some(place) = self.place(id) {
            self.0.remove(place);
        }
    }

    /// Ends all, as when tokens change.
    pub(crate) fn end_all(&mut self) {
        self.0.clear();
    }

    fn place(&self, id: &[u8]) -> Option<usize> {
        let is_it = |entry: &Entry| bool::from(entry.id.as_bytes().ct_eq(id));
        self.0.iter().position(is_it)
    }

    fn forget_old(&mut self) {
        let now = Instant::now();
        self.0.retain(|entry| entry.until > now);
    }
}

/// Cookies know no ports, and there may be a daemon on each.
fn name(local: SocketAddr) -> String {
    format!("uplinkd-{}", local.port())
}

/// The session that a request names.
pub(crate) fn cookie(headers: &HeaderMap, local: SocketAddr) -> Option<&str> {
    let name = name(local);
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    let mut named = pairs.filter_map(|pair| pair.trim().strip_prefix(&name)?.strip_prefix('='));
    named.next()
}

/// A header that has a browser keep a session, or forget it.
fn set_cookie(local: SocketAddr, id: &str, seconds: u64) -> Option<HeaderValue> {
    let name = name(local);
    let text = format!("{name}={id}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict");
    HeaderValue::try_from(text).ok()
}

/// Begin a session of a browser
///
/// For whoever has shown a token, over TCP. The cookie of the answer stands for the token for twelve
/// hours, until the session is ended, the tokens change or the daemon stops.
#[utoipa::path(
    post, path = path::SESSION, tag = "session",
    responses(
        (status = 204, description = "The answer has the session's cookie.",
            headers(("set-cookie" = String, description = "Keep it."))),
        Session,
    ),
)]
pub(crate) async fn begin(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    Extension(door): Extension<Door>,
    body: Body,
) -> Result<Response, Refusal> {
    no_body(&body)?;
    let (Door::Tcp(local), Shown::Token) = (door, peer.shown) else {
        let error = ApiError::new("a session begins with a token")
            .with_hint("over the socket nobody needs one");
        return Err(Refusal(StatusCode::CONFLICT, error));
    };
    let begun = shared.sessions().begin(peer.rights).ok();
    let cookie = begun.and_then(|id| set_cookie(local, &id, LIFE.as_secs()));
    answer(cookie)
}

/// End a session of a browser
#[utoipa::path(
    delete, path = path::SESSION, tag = "session",
    responses((status = 204, description = "It has ended, where there was one."), Session),
)]
pub(crate) async fn end(
    State(shared): State<Shared>,
    Extension(door): Extension<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    no_body(&body)?;
    let Door::Tcp(local) = door else {
        let error = ApiError::new("over the socket there are no sessions");
        return Err(Refusal(StatusCode::CONFLICT, error));
    };
    if let Some(id) = cookie(&headers, local) {
        shared.sessions().end(id.as_bytes());
    }
    answer(set_cookie(local, "", 0))
}

fn answer(cookie: Option<HeaderValue>) -> Result<Response, Refusal> {
    let cookie = cookie.ok_or_else(|| {
        let error = ApiError::new("the kernel gives no random numbers yet");
        Refusal(StatusCode::SERVICE_UNAVAILABLE, error)
    })?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_lasts_for_its_time_and_the_oldest_makes_room() {
        let mut sessions = Sessions::default();
        let first = sessions.begin(Rights::Read).unwrap();
        assert_eq!(sessions.rights_of(first.as_bytes()), Some(Rights::Read));
        assert_eq!(sessions.rights_of(b""), None);
        assert_eq!(sessions.rights_of(&first.as_bytes()[1..]), None);
        for _ in 0..SESSIONS_MAX {
            sessions.begin(Rights::Change).unwrap();
        }
        assert_eq!(sessions.rights_of(first.as_bytes()), None);
        let last = sessions.begin(Rights::Change).unwrap();
        tokio::time::advance(LIFE - Duration::from_secs(1)).await;
        assert_eq!(sessions.rights_of(last.as_bytes()), Some(Rights::Change));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(sessions.rights_of(last.as_bytes()), None);
        assert_eq!(sessions.0.len(), 0);
    }

    #[test]
    fn the_cookie_of_another_port_is_another_daemons() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, text.parse().unwrap());
            let found = cookie(&headers, "127.0.0.1:8177".parse().unwrap());
            found.map(str::to_owned)
        };
        assert_eq!(of("a=b; uplinkd-8177=xyz"), Some("xyz".to_owned()));
        for other in [
            "uplinkd-817=xyz",
            "uplinkd-81777=xyz",
            "xuplinkd-8177=xyz",
            "uplinkd-8177",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}

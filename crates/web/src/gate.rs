//! Who comes in, by which door, and with which rights. Nothing is answered before this.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use uplinkd_api::ApiError;

use crate::{
    access::Rights,
    browser, page,
    peer::{Account, Peer, Shown},
    routes::Refusal,
    session,
    shared::Shared,
};

/// The way by which a request came. Every connection has one.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// The socket, by this account.
    Socket(Arc<Account>),
    /// TCP, to this address of ours.
    Tcp(SocketAddr),
}

/// Lets a request in with what it may do, or refuses it.
pub(crate) async fn gate(
    State(shared): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    match admit(&shared, &request) {
        Ok(peer) => {
            request.extensions_mut().insert(peer);
            next.run(request).await
        }
        Err(refusal) => {
            let mut response = refusal.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                let scheme = HeaderValue::from_static("Bearer realm=\"uplinkd\"");
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, scheme);
            }
            response
        }
    }
}

fn admit(shared: &Shared, request: &Request) -> Result<Peer, Refusal> {
    let access = shared.access();
    match request.extensions().get() {
        Some(Door::Socket(account)) => match access.rights_of(account) {
            Rights::Nothing => Err(forbidden(
                ApiError::new(format!("only {} may ask", access.readers()))
                    .with_hint("ask whoever keeps this machine to be put into that group"),
            )),
            rights @ (Rights::Read | Rights::Change) => Ok(Peer {
                rights,
                shown: Shown::Account(account.user()),
                changers: access.changers(),
            }),
        },
        Some(Door::Tcp(local)) => {
            browser::check(request, *local).map_err(forbidden)?;
            if page::is_open(request) {
                return Ok(Peer {
                    rights: Rights::Nothing,
                    shown: Shown::Nothing,
                    changers: String::new(),
                });
            }
            let (rights, shown) = credentials(shared, request.headers(), *local)?;
            // A browser adds the cookie to whatever page made it ask; it says which page that was.
            let is_safe = request.method().is_safe();
            if shown == Shown::Session
                && !is_safe
                && !request.headers().contains_key(header::ORIGIN)
            {
                return Err(forbidden(
                    ApiError::new("a session changes nothing without an `Origin`")
                        .with_hint("programs send the token itself: `Authorization: Bearer TOKEN`"),
                ));
            }
            Ok(Peer {
                rights,
                shown,
                changers: "whoever has a token that is not for reading only".to_owned(),
            })
        }
        None => Err(forbidden(ApiError::new("nobody knows who asks"))),
    }
}

/// What the token or the cookie of a request stands for.
fn credentials(
    shared: &Shared,
    headers: &HeaderMap,
    local: SocketAddr,
) -> Result<(Rights, Shown), Refusal> {
    let unknown = |message: &str| {
        Refusal(
            StatusCode::UNAUTHORIZED,
            ApiError::new(message)
                .with_hint("send `Authorization: Bearer TOKEN`, with a token of the token file"),
        )
    };
    if let Some(shown) = headers.get(header::AUTHORIZATION) {
        let token = bearer(shown.as_bytes());
        let rights = token.and_then(|token| shared.access().tokens.rights_of(token));
        let rights = rights.ok_or_else(|| unknown("that is no token of this daemon"))?;
        return Ok((rights, Shown::Token));
    }
    let id =
        session::cookie(headers, local).ok_or_else(|| unknown("who asks by TCP shows a token"))?;
    let rights = shared.sessions().rights_of(id.as_bytes());
    let rights = rights.ok_or_else(|| unknown("this session has ended"))?;
    Ok((rights, Shown::Session))
}

/// The token in the value of an `Authorization` header.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    scheme
        .eq_ignore_ascii_case(SCHEME)
        .then(|| token.trim_ascii())
}

fn forbidden(error: ApiError) -> Refusal {
    Refusal(StatusCode::FORBIDDEN, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_tokens_are_read() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Bearer "), Some(&b""[..]));
        for other in ["", "Bearer", "Bearerabc", "Basic abc", "abc"] {
            assert_eq!(bearer(other.as_bytes()), None, "{other:?}");
        }
    }
}

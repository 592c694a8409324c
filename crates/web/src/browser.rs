//! What keeps pages of other sites from asking through the browser of somebody who may.
//!
//! Any page can have a browser ask an address of its own machine. Its own name can also be made to
//! lead there (DNS rebinding), and then the browser takes our answers for that site's. So whoever comes
//! by TCP has to call us by a name that nobody else can have, and a browser has to ask for our own page.

use std::net::SocketAddr;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, header},
};
use uplinkd_api::ApiError;

/// What a browser says of the page that asks.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a request to somebody else, or of somebody else's page.
pub(crate) fn check(request: &Request, local: SocketAddr) -> Result<(), ApiError> {
    let headers = request.headers();
    let refuse = |what: &str| {
        Err(ApiError::new(what).with_hint(format!(
            "ask for {local} or localhost:{}, from there only",
            local.port()
        )))
    };
    let Some(host) = only(headers, &header::HOST).filter(|host| is_ours(host, local)) else {
        return refuse("`Host` is not this daemon");
    };
    // A whole address in the first line counts before `Host`.
    let asked = request.uri().authority();
    if asked.is_some_and(|asked| !asked.as_str().eq_ignore_ascii_case(host)) {
        return refuse("the address that is asked for is not this daemon's");
    }
    if headers.contains_key(header::ORIGIN) {
        let page = only(headers, &header::ORIGIN);
        let page = page.and_then(|origin| origin.strip_prefix("http://"));
        if !page.is_some_and(|page| page.eq_ignore_ascii_case(host)) {
            return refuse("`Origin` is another site");
        }
    }
    // Also says it of what a page loads without an `Origin`; another port of ours is another site.
    let site = headers.get(FETCH_SITE).map(|site| site.as_bytes());
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return refuse("another site's page asks");
    }
    Ok(())
}

/// The value of a header that stands there once, as text.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut all = headers.get_all(name).iter();
    let value = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(value)
}

/// Whether a name with a port can only be us.
fn is_ours(host: &str, local: SocketAddr) -> bool {
    let port = local.port();
    let is_called = |name: &str| {
        // Browsers leave out the usual port.
        let named = host
            .get(..name.len())
            .is_some_and(|h| h.eq_ignore_ascii_case(name));
        let rest = host.get(name.len()..).unwrap_or_default();
        named && (rest == format!(":{port}") || (port == 80 && rest.is_empty()))
    };
    let own = match local {
        SocketAddr::V4(local) => local.ip().to_string(),
        SocketAddr::V6(local) => format!("[{}]", local.ip()),
    };
    ["localhost", "127.0.0.1", "[::1]", &own]
        .into_iter()
        .any(is_called)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn local() -> SocketAddr {
        "127.0.0.1:8177".parse().unwrap()
    }

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    fn is_taken(headers: &[(&str, &str)]) -> bool {
        check(&request("/v1/status", headers), local()).is_ok()
    }

    #[test]
    fn only_names_that_nobody_else_can_have_are_ours() {
        for host in [
            "localhost:8177",
            "LocalHost:8177",
            "127.0.0.1:8177",
            "[::1]:8177",
        ] {
            assert!(is_taken(&[("host", host)]), "{host}");
        }
        for host in [
            "localhost",
            "localhost:80",
            "localhost:81770",
            "127.0.0.1:817",
            "127.0.0.2:8177",
            "evil.example:8177",
            "localhost.evil.example:8177",
            "127.0.0.1.evil.example:8177",
            "xlocalhost:8177",
            "localhost:8177@evil.example",
            "",
            "::1:8177",
        ] {
            assert!(!is_taken(&[("host", host)]), "{host}");
        }
        assert!(!is_taken(&[]), "no host");
        assert!(!is_taken(&[
            ("host", "localhost:8177"),
            ("host", "localhost:8177")
        ]));
        let second = "127.0.0.2:8177".parse().unwrap();
        assert!(is_ours("127.0.0.2:8177", second));
        let usual = "127.0.0.1:80".parse().unwrap();
        assert!(is_ours("localhost", usual) && is_ours("localhost:80", usual));
        assert!(!is_ours("localhost.example", usual));
    }

    #[test]
    fn a_whole_address_has_to_be_ours_as_well() {
        let host = [("host", "localhost:8177")];
        assert!(check(&request("http://localhost:8177/v1/status", &host), local()).is_ok());
        assert!(check(&request("http://evil.example/v1/status", &host), local()).is_err());
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let with = |name, value| is_taken(&[("host", "localhost:8177"), (name, value)]);
        assert!(with("origin", "http://localhost:8177"));
        for origin in [
            "null",
            "",
            "http://localhost",
            "http://localhost:8178",
            "https://localhost:8177",
            "http://127.0.0.1:8177",
            "http://evil.example",
            "http://localhost:8177.evil.example",
        ] {
            assert!(!with("origin", origin), "{origin}");
        }
        for (site, is_taken) in [
            ("same-origin", true),
            ("none", true),
            ("same-site", false),
            ("cross-site", false),
            ("", false),
        ] {
            assert_eq!(with("sec-fetch-site", site), is_taken, "{site}");
        }
    }
}

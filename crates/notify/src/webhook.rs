//! Webhooks: one request, one answer, HTTP/1.1. They leave as any traffic of the router's own does.

use std::{cell::Cell, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use uplinkd_model::{
    Host,
    notify::{Address, Url, Webhook},
};
use uplinkd_probe::{Trust, bounded, http, in_words};

use crate::{channel::Sent, message::Message, secret::Secret, template};

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How long one address may take to be reached, where there is another one.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Addresses that are tried.
const ADDRESSES_MAX: usize = 4;
/// How far into the answer to a request that was not liked is read, for the reason.
const BODY_MAX: usize = 1024;
/// What is shorter is no secret, and would make holes into every word.
const HIDDEN_LEAST: usize = 6;

/// Tells a server. `is_heard` is set as soon as there is a connection.
pub(crate) async fn send(
    trust: &Trust,
    webhook: &Webhook,
    message: &Message,
    is_heard: &Cell<bool>,
) -> Sent {
    let prepared = match Prepared::of(webhook, message) {
        Ok(prepared) => prepared,
        // Somebody may put the file right.
        Err(why) => return Sent::Again { why, after: None },
    };
    let host = prepared.url.authority();
    let sent = match timeout(LIMIT, prepared.exchange(trust, webhook, is_heard)).await {
        Ok(Ok(answer)) => answer.judged(),
        Ok(Err(why)) => Sent::Again { why, after: None },
        Err(_) => Sent::Again {
            why: format!("no answer within {LIMIT:?}"),
            after: None,
        },
    };
    prepared.without_secrets(sent, &host)
}

struct Prepared {
    url: Url,
    request: template::Request,
    token: Option<Secret>,
}

/// What a server said.
struct Answer {
    status: u16,
    after: Option<Duration>,
    /// The beginning of its reason.
    words: String,
}

impl Prepared {
    fn of(webhook: &Webhook, message: &Message) -> Result<Self, String> {
        let url = match &webhook.address {
            Address::Url(url) => url.clone(),
            Address::File(path) => Url::parse(Secret::of(path)?.expose())
                .map_err(|why| format!("the URL in {} {why}", path.display()))?,
        };
        let token = webhook.token_file.as_deref().map(Secret::of).transpose()?;
        let to = webhook.to.as_deref();
        let request = template::request(webhook.template, &url, to, token.clone(), message)?;
        Ok(Self {
            url,
            request,
            token,
        })
    }

    async fn exchange(
        &self,
        trust: &Trust,
        webhook: &Webhook,
        is_heard: &Cell<bool>,
    ) -> Result<Answer, String> {
        let stream = connect(&self.url).await?;
        is_heard.set(true);
        if self.url.is_secure {
            let name = self.url.host.to_string();
            let stream = trust.secure(stream, &name, webhook.authorities.as_deref());
            self.ask(stream.await?).await
        } else {
            self.ask(stream).await
        }
    }

    async fn ask<S>(&self, stream: S) -> Result<Answer, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut request = Request::post(self.request.path.as_str())
            .header(HOST, self.url.authority())
            .header(USER_AGENT, http::AGENT)
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close");
        if let Some(token) = &self.request.bearer {
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
            let mut value = value.map_err(|_| "the token cannot stand in a header")?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request
            .body(Full::new(Bytes::from(self.request.body.to_string())))
            .map_err(|_| "the URL cannot be asked for")?;
        let (response, _open) = http::exchange(stream, request).await?;
        Ok(Answer::read(response).await)
    }

    /// Nothing that a server repeats of what it was told is shown to anybody.
    fn without_secrets(&self, sent: Sent, host: &str) -> Sent {
        let hidden = |why: String| {
            let mut why = why;
            let path = self.request.path.trim_start_matches('/');
            let url_path = self.url.path.trim_start_matches('/');
            let token = self.token.as_ref().map_or("", Secret::expose);
            for secret in [path, url_path, token] {
                if secret.len() >= HIDDEN_LEAST {
                    why = why.replace(secret, "…");
                }
            }
            format!("{host}: {}", bounded(&why))
        };
        match sent {
            Sent::Delivered => Sent::Delivered,
            Sent::Partly(why) => Sent::Partly(hidden(why)),
            Sent::Again { why, after } => Sent::Again {
                why: hidden(why),
                after,
            },
            Sent::Refused(why) => Sent::Refused(hidden(why)),
        }
    }
}

impl Answer {
    async fn read(response: Response<Incoming>) -> Self {
        let status = response.status().as_u16();
        let after = response.headers().get(RETRY_AFTER);
        let after = after.and_then(|v| v.to_str().ok()?.trim().parse().ok());
        let mut words = Vec::new();
        if !(200..300).contains(&status) {
            let mut body = response.into_body();
            while let Some(Ok(frame)) = body.frame().await
                && words.len() < BODY_MAX
            {
                let data = frame.data_ref().map_or(&[][..], |d| &d[..]);
                let room = BODY_MAX - words.len();
                words.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        Self {
            status,
            after: after.map(Duration::from_secs),
            words: String::from_utf8_lossy(&words).trim().to_owned(),
        }
    }

    fn judged(self) -> Sent {
        let Self {
            status,
            after,
            words,
        } = self;
        let why = match (status, words.as_str()) {
            (300..400, _) => format!("HTTP status {status}: redirects are not followed"),
            (_, "") => format!("HTTP status {status}"),
            (_, words) => format!("HTTP status {status}: {words}"),
        };
        match status {
            200..300 => Sent::Delivered,
            // It would say the same again. Everything else somebody can put right: a token, a topic.
            400 | 413 | 422 => Sent::Refused(why),
            _ => Sent::Again { why, after },
        }
    }
}

/// Reaches a server by the first of its addresses that answers.
async fn connect(url: &Url) -> Result<TcpStream, String> {
    let addresses: Vec<SocketAddr> = match &url.host {
        Host::Address(address) => vec![SocketAddr::new(*address, url.port)],
        // As all programs do, in a thread beside: it may take as long as it likes.
        Host::Name(name) => lookup_host((name.as_str(), url.port))
            .await
            .map_err(|e| format!("the name cannot be looked up: {}", in_words(&e)))?
            .take(ADDRESSES_MAX)
            .collect(),
    };
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = in_words(&error),
            Err(_) => why = format!("no connection within {CONNECT_LIMIT:?}"),
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        sync::mpsc,
        thread,
    };

    use tokio::task::LocalSet;
    use uplinkd_api::Level;
    use uplinkd_model::notify::Template;

    use super::*;
    use crate::message::tests::{event, message};

    /// Tells a server on this machine that gives this answer; what came of it, and what it was asked.
    fn told_to(answer: &'static str, path: &str) -> (Sent, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, heard) = mpsc::channel();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            let mut part = [0; 4096];
            while !String::from_utf8_lossy(&all).contains("\"title\"") {
                let length = stream.read(&mut part).unwrap();
                assert!(length > 0);
                all.extend_from_slice(&part[..length]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            asked.send(String::from_utf8(all).unwrap()).unwrap();
        });
        let webhook = Webhook {
            address: Address::Url(Url::parse(&format!("http://127.0.0.1:{port}{path}")).unwrap()),
            template: Template::Json,
            to: None,
            token_file: None,
            authorities: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let message = message(vec![event("isp1 is down", Level::Warn)], 0);
        let sent = LocalSet::new().block_on(
            &runtime.unwrap(),
            send(&Trust::default(), &webhook, &message, &Cell::default()),
        );
        server.join().unwrap();
        (sent, heard.recv().unwrap())
    }

    #[test]
    fn a_server_is_told_and_its_answer_decides_whether_it_is_told_again() {
        let (sent, asked) = told_to("HTTP/1.1 204 No Content\r\n\r\n", "/x?y=1");
        assert_eq!(sent, Sent::Delivered);
        assert!(asked.starts_with("POST /x?y=1 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("isp1 is down"), "{asked}");

        let busy = "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nwait";
        let Sent::Again { why, after } = told_to(busy, "/").0 else {
            panic!("again");
        };
        assert!(why.ends_with(": HTTP status 429: wait"), "{why}");
        assert_eq!(after, Some(Duration::from_secs(7)));

        let (sent, _) = told_to("HTTP/1.1 422 No\r\nContent-Length: 0\r\n\r\n", "/");
        assert!(matches!(sent, Sent::Refused(_)), "{sent:?}");
        let elsewhere =
            "HTTP/1.1 302 There\r\nLocation: http://b.example/\r\nContent-Length: 0\r\n\r\n";
        let Sent::Again { why, .. } = told_to(elsewhere, "/").0 else {
            panic!("again");
        };
        assert!(why.contains("not followed"), "{why}");
    }

    #[test]
    fn what_a_server_repeats_of_the_url_is_not_shown() {
        let echo = "HTTP/1.1 404 No\r\nContent-Length: 22\r\n\r\nno hook hidden-word \x1b[2";
        let (sent, _) = told_to(echo, "/hidden-word");
        let Sent::Again { why, .. } = sent else {
            panic!("{sent:?}");
        };
        assert!(why.contains("no hook …") && !why.contains('\x1b'), "{why}");
    }

    #[test]
    fn nobody_at_the_other_end_is_a_reason_to_try_again() {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let url = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.unwrap();
        let why = runtime.block_on(connect(&url)).unwrap_err();
        assert_eq!(why, "connection refused");
        // The system's resolver knows this one without asking anybody.
        let url = Url::parse(&format!("http://localhost:{port}/")).unwrap();
        let why = runtime.block_on(connect(&url)).unwrap_err();
        assert_eq!(why, "connection refused");
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(runtime.block_on(connect(&url)).is_ok());
        drop(listener);
    }
}

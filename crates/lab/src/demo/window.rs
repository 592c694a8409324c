//! The dashboard of the demonstration, for the browser of the machine itself.
//!
//! The daemon listens inside the router, where no browser is. So a listener that was opened outside hands what
//! comes to the daemon and its answers back, under the same name and port: whoever asks is checked by the daemon as
//! anywhere else. Only `/lab/`, the switches, is answered here; the daemon knows nothing of it.

use std::{
    convert::Infallible,
    fmt::Write as _,
    fs::{File, Permissions},
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use http_body_util::{Either, Empty, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1 as client,
    header,
    server::conn::http1 as server,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{addresses::Isp, faults::Fault, netns::Netns};

/// Where the page is, if nobody else is there.
const PORT: u16 = 8177;
/// Requests at a time; further ones are closed at once. A page has six.
const CONNECTIONS_MAX: usize = 100;
/// How long a request's head may take.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// How the token file has to be.
const TOKEN_MODE: u32 = 0o600;

/// A listener on the machine's own loopback.
#[derive(Debug)]
pub struct Outside {
    listener: TcpListener,
    address: SocketAddr,
}

impl Outside {
    /// Opens it. Must be done before private namespaces are entered.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub fn open() -> io::Result<Self> {
        let at = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = at(PORT).or_else(|_| at(0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Makes a token in a file of that name, and returns what goes to the daemon's configuration and to a person.
    pub(super) fn settle(&self, file: &Path) -> Result<(String, String)> {
        let what = || format!("cannot make {}", file.display());
        let mut bytes = [0; 24];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let mut token = String::new();
        for byte in bytes {
            write!(token, "{byte:02x}")?;
        }
        std::fs::write(file, &token).with_context(what)?;
        std::fs::set_permissions(file, Permissions::from_mode(TOKEN_MODE)).with_context(what)?;
        let (address, name) = (self.address, file.display());
        let config = format!("\n[api]\nlisten = \"{address}\"\ntoken_file = \"{name}\"\n");
        Ok((config, format!("http://{address}/#lab&token={token}")))
    }

    /// Hands on what comes until the result is dropped. Switches are thrown by whoever receives `orders`.
    pub(super) fn serve(self, router: &Netns, orders: mpsc::Sender<Order>) -> Result<Window> {
        let (stop, stopped) = oneshot::channel();
        let window = Arc::new(Inner {
            router: router.clone(),
            daemon: self.address,
            orders,
        });
        let thread = std::thread::Builder::new()
            .name("lab-window".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = { runtime }.enable_all().build()?;
                let tasks = tokio::task::LocalSet::new();
                tasks.block_on(&runtime, async {
                    tokio::select! {
                        ended = accept(self.listener, window) => ended,
                        _ = stopped => Ok(()),
                    }
                })
            })?;
        Ok(Window {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

/// A page that can be looked at. It is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Window {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Drop for Window {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // There is nobody left to tell what went wrong.
            let _ = thread.join();
        }
    }
}

/// What somebody wants of the switches.
#[derive(Debug)]
pub(super) enum Order {
    /// Which lines there are, each with how it is broken.
    List(oneshot::Sender<Vec<(Isp, Vec<Fault>)>>),
    /// Break a line.
    Break(Isp, Fault, oneshot::Sender<Result<()>>),
    /// Mend it.
    Heal(Isp, oneshot::Sender<Result<()>>),
}

struct Inner {
    router: Netns,
    daemon: SocketAddr,
    orders: mpsc::Sender<Order>,
}

type Body = Either<Full<Bytes>, Incoming>;

async fn accept(listener: TcpListener, inner: Arc<Inner>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (stream, _) = listener.accept().await?;
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let inner = Arc::clone(&inner);
        tokio::task::spawn_local(async move {
            let answer = service_fn(|request| {
                let inner = Arc::clone(&inner);
                async move { Ok::<_, Infallible>(inner.answer(request).await) }
            });
            let mut http = server::Builder::new();
            http.keep_alive(false)
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_PATIENCE);
            // What goes wrong here is between the browser and its patience.
            let _ = http.serve_connection(TokioIo::new(stream), answer).await;
            drop(place);
        });
    }
}

impl Inner {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let Some(order) = path.strip_prefix("/lab/") else {
            let answered = self.hand_on(request).await;
            return answered.map_or_else(
                |e| refuse(StatusCode::BAD_GATEWAY, &e),
                |r| r.map(Either::Right),
            );
        };
        let is_change = request.method() == Method::POST;
        if is_change && !request.headers().contains_key(header::ORIGIN) {
            let error = anyhow::anyhow!("the switches are for the page alone");
            return refuse(StatusCode::FORBIDDEN, &error);
        }
        // Whoever may ask the daemon may throw switches: it knows who that is.
        match self.hand_on(as_question(&request)).await {
            Ok(answer) if answer.status() == StatusCode::OK => {}
            Ok(answer) => return answer.map(Either::Right),
            Err(error) => return refuse(StatusCode::BAD_GATEWAY, &error),
        }
        match self.obey(is_change, order).await {
            Ok(text) => say(StatusCode::OK, text),
            Err(error) => refuse(StatusCode::CONFLICT, &error),
        }
    }

    async fn hand_on<B>(&self, request: Request<B>) -> Result<Response<Incoming>>
    where
        B: hyper::body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
            + 'static,
    {
        let (router, daemon) = (self.router.clone(), self.daemon);
        // A socket stays in the namespace in which it was made.
        let connect = move || router.run(|| Ok(TcpStream::connect(daemon)?));
        let stream = tokio::task::spawn_blocking(connect).await??;
        stream.set_nonblocking(true)?;
        let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
        let (mut sender, connection) = client::handshake(stream).await?;
        tokio::task::spawn_local(async move {
            // Told by the answer, or its end.
            let _ = connection.await;
        });
        Ok(sender.send_request(request).await?)
    }

    async fn obey(&self, is_change: bool, order: &str) -> Result<String> {
        let words: Vec<_> = order.split('/').collect();
        let isp = |word: &str| word.parse::<Isp>().map_err(anyhow::Error::msg);
        match (is_change, words.as_slice()) {
            (false, [""]) => {
                let lines = self.order(Order::List).await?;
                Ok(lines_as_json(&lines))
            }
            (true, [line, "heal"]) => {
                let line = isp(line)?;
                self.order(|answer| Order::Heal(line, answer)).await??;
                Ok("{}".to_owned())
            }
            (true, [line, "break", fault]) => {
                let (line, fault) = (isp(line)?, fault.parse().map_err(anyhow::Error::msg)?);
                self.order(|answer| Order::Break(line, fault, answer))
                    .await??;
                Ok("{}".to_owned())
            }
            _ => anyhow::bail!("there is no such switch"),
        }
    }

    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let sent = self.orders.send(order(answer)).await;
        sent.ok().context("the demonstration is over")?;
        answered.await.context("the demonstration is over")
    }
}

/// The question whether somebody may ask at all.
fn as_question(request: &Request<Incoming>) -> Request<Empty<Bytes>> {
    let mut question = Request::new(Empty::new());
    *question.uri_mut() = hyper::Uri::from_static("/v1/policies");
    *question.headers_mut() = request.headers().clone();
    question.headers_mut().remove(header::CONTENT_LENGTH);
    question.headers_mut().remove(header::TRANSFER_ENCODING);
    question
}

fn lines_as_json(lines: &[(Isp, Vec<Fault>)]) -> String {
    let lines = lines.iter().map(|(isp, faults)| {
        let faults = faults.iter().map(ToString::to_string);
        serde_json::json!({ "isp": isp.to_string(), "faults": faults.collect::<Vec<_>>() })
    });
    serde_json::json!({ "lines": lines.collect::<Vec<_>>() }).to_string()
}

fn refuse(status: StatusCode, error: &anyhow::Error) -> Response<Body> {
    let message = serde_json::json!({ "message": format!("{error:#}") });
    say(status, message.to_string())
}

fn say(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

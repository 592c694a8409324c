//! Asks a daemon. One connection for each question: there is no state to lose.

use std::{
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time::timeout};

use crate::{
    Budgeted,
    explain::{Explain, ExplainConnection},
    history::{History, HistoryQuery, Report, ReportQuery},
    message::{ApiError, Event, Events, Failback, Status, Support},
    notify::NotifyTested,
    operate::{Operated, Probed},
    path,
    policy::Policies,
    query::{ConnectionQuery, ExplainQuery},
    sse,
};

/// The longest answer that is taken; a list of 10,000 policies is a tenth of it.
const BODY_MAX: usize = 32 << 20;
/// How long an answer may take. The daemon answers in milliseconds, or is stuck.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same where the daemon reads files or waits for targets.
const LONG_PATIENCE: Duration = Duration::from_secs(90);
/// How long a stream may be silent: the daemon sends a sign of life every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// A way to ask one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or we may not ask.
    #[error("cannot reach uplinkd at {}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Somebody listens, but does not answer in time.
    #[error("uplinkd at {} did not answer within {} s", socket.display(), within.as_secs())]
    Silent {
        /// The socket.
        socket: PathBuf,
        /// How long it had.
        within: Duration,
    },
    /// The connection ended before the answer did, as when the daemon stops.
    #[error("the connection to uplinkd at {} broke", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon understood and said no.
    #[error("uplinkd refused")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The daemon's words.
        source: ApiError,
    },
    /// The answer is not what this version understands.
    #[error("cannot understand what listens at {}: {what}", socket.display())]
    BadReply {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl ClientError {
    /// Whether there is no daemon to talk to, as opposed to one that said something unwelcome.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Broken { .. } => true,
            Self::Refused { .. } | Self::BadReply { .. } => false,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { source, .. } => Some(
                if source.kind() == io::ErrorKind::PermissionDenied {
                    "the socket is there, but this user may not use it"
                } else {
                    "is `uplinkd run` running? If so, give its --runtime-dir here too"
                }
                .to_owned(),
            ),
            Self::Silent { .. } => Some("the daemon's log may tell what it is doing".to_owned()),
            Self::Broken { .. } => {
                Some("the daemon was stopped, or has too many connections open".to_owned())
            }
            Self::Refused { source, .. } => source.hint.clone(),
            Self::BadReply { .. } => {
                Some("are uplinkctl and uplinkd of the same version?".to_owned())
            }
        }
    }
}

/// What a stream of events brings.
#[derive(Clone, Debug, PartialEq)]
pub enum Followed {
    /// The stream is open.
    Connected,
    /// Something happened.
    Event(Event),
    /// Some events were missed; ask for the status, or for the events again.
    Resync,
}

impl Client {
    /// A client of the daemon that listens on this socket. Does not connect yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How things are.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get(path::STATUS).await
    }

    /// What happened after an event, or all that the daemon remembers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(&self, since: Option<u64>) -> Result<Events, ClientError> {
        self.get(&with_since(path::EVENTS, since)).await
    }

    /// Where a connection would go.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn explain(&self, query: &ExplainQuery) -> Result<Explain, ClientError> {
        self.get(&format!("{}?{}", path::EXPLAIN, query.to_query()))
            .await
    }

    /// Where an existing connection goes.
    ///
    /// # Errors
    /// [`ClientError`]; 404 where there is no such connection, 409 where several fit.
    pub async fn explain_connection(
        &self,
        query: &ConnectionQuery,
    ) -> Result<ExplainConnection, ClientError> {
        let asked = format!("{}?{}", path::EXPLAIN_CONNECTION, query.to_query());
        self.get(&asked).await
    }

    /// The policies that are in force.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn policies(&self) -> Result<Policies, ClientError> {
        self.get(path::POLICIES).await
    }

    /// Tallies over a time, whatever form the question names.
    ///
    /// # Errors
    /// [`ClientError`]; 404 where no history is kept.
    pub async fn history(&self, query: &HistoryQuery) -> Result<History, ClientError> {
        let query = HistoryQuery {
            format: crate::Format::Json,
            ..query.clone()
        };
        self.get(&format!("{}?{}", path::HISTORY, query.to_query()))
            .await
    }

    /// The report of a month, whatever form the question names.
    ///
    /// # Errors
    /// [`ClientError`]; 404 where no history is kept.
    pub async fn report(&self, query: &ReportQuery) -> Result<Report, ClientError> {
        let query = ReportQuery {
            format: crate::Format::Json,
            ..query.clone()
        };
        self.get(&format!("{}?{}", path::REPORT, query.to_query()))
            .await
    }

    /// What only the daemon sees, for a report of something that went wrong.
    ///
    /// # Errors
    /// [`ClientError`]; 403 for who may not change anything.
    pub async fn support(&self) -> Result<Support, ClientError> {
        self.ask_within(LONG_PATIENCE, Method::GET, path::SUPPORT)
            .await
    }

    /// The figures for Prometheus, as text.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn metrics(&self) -> Result<String, ClientError> {
        self.within(PATIENCE, async {
            let response = self.request(Method::GET, path::METRICS).await?;
            let body = self.succeeded(response).await?;
            let bytes = self.collect(body).await?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        })
        .await
    }

    /// Lets a group return to its better level now.
    ///
    /// # Errors
    /// [`ClientError`]; 403 for who may not, 404 for an unknown group, 409 where nothing waits.
    pub async fn failback(&self, group: &str) -> Result<Failback, ClientError> {
        self.ask(Method::POST, &named(path::FAILBACK, group)).await
    }

    /// Sets how many bytes an uplink has used of its budget in this period.
    ///
    /// # Errors
    /// [`ClientError`]; 403 for who may not, 404 for an unknown uplink, 409 for one without a budget.
    pub async fn set_budget(&self, uplink: &str, used: u64) -> Result<Budgeted, ClientError> {
        let asked = named(path::BUDGET, uplink);
        self.ask(Method::POST, &asked.replace("{used}", &used.to_string()))
            .await
    }

    /// Lets no new connections use an uplink, for so many seconds, or until it is undrained.
    ///
    /// # Errors
    /// [`ClientError`], as for all that follow; 403 for who may not, 404 for an unknown uplink.
    pub async fn drain(
        &self,
        uplink: &str,
        seconds: Option<u64>,
        why: Option<&str>,
    ) -> Result<Operated, ClientError> {
        let query = [("for", seconds.map(|s| s.to_string())), reason(why)];
        self.order(&named(path::DRAIN, uplink), &query).await
    }

    /// Ends that.
    ///
    /// # Errors
    /// 409 where the uplink is not drained.
    pub async fn undrain(&self, uplink: &str, why: Option<&str>) -> Result<Operated, ClientError> {
        self.order(&named(path::UNDRAIN, uplink), &[reason(why)])
            .await
    }

    /// Lets new connections use one uplink alone, while it is up, for so many seconds.
    ///
    /// # Errors
    /// 409 for an uplink that is drained.
    pub async fn prefer(
        &self,
        uplink: &str,
        seconds: u64,
        why: Option<&str>,
    ) -> Result<Operated, ClientError> {
        let query = [("for", Some(seconds.to_string())), reason(why)];
        self.order(&named(path::PREFER, uplink), &query).await
    }

    /// Ends that.
    ///
    /// # Errors
    /// 409 where none is preferred.
    pub async fn unprefer(&self, why: Option<&str>) -> Result<Operated, ClientError> {
        self.order(path::UNPREFER, &[reason(why)]).await
    }

    /// Has all targets of an uplink asked at once, and waits for their answers.
    ///
    /// # Errors
    /// 404 for an unknown uplink.
    pub async fn probe(&self, uplink: &str) -> Result<Probed, ClientError> {
        let asked = named(path::PROBE, uplink);
        self.ask_within(LONG_PATIENCE, Method::POST, &asked).await
    }

    /// Tells all channels, or one, that this is a test, and waits for what comes of it.
    ///
    /// # Errors
    /// 404 for an unknown channel, 409 where nobody is to be told.
    pub async fn notify_test(
        &self,
        channel: Option<&str>,
        why: Option<&str>,
    ) -> Result<NotifyTested, ClientError> {
        let query = [("channel", channel.map(str::to_owned)), reason(why)];
        let asked = with_query(path::NOTIFY_TEST, &query);
        self.ask_within(LONG_PATIENCE, Method::POST, &asked).await
    }

    /// Has the file read again; with `confirm`, the configuration of before is put back after so many
    /// seconds unless [`Client::confirm`] comes first.
    ///
    /// # Errors
    /// 422 for a file with mistakes.
    pub async fn reload(
        &self,
        confirm: Option<u64>,
        why: Option<&str>,
    ) -> Result<Operated, ClientError> {
        let query = [("confirm", confirm.map(|s| s.to_string())), reason(why)];
        let asked = with_query(path::RELOAD, &query);
        self.ask_within(LONG_PATIENCE, Method::POST, &asked).await
    }

    /// Says that the configuration on trial is good.
    ///
    /// # Errors
    /// 409 where none is on trial.
    pub async fn confirm(&self, why: Option<&str>) -> Result<Operated, ClientError> {
        self.order(path::CONFIRM, &[reason(why)]).await
    }

    /// Has the configuration of before put back at once.
    ///
    /// # Errors
    /// 409 where none is on trial.
    pub async fn rollback(&self, why: Option<&str>) -> Result<Operated, ClientError> {
        let asked = with_query(path::ROLLBACK, &[reason(why)]);
        self.ask_within(LONG_PATIENCE, Method::POST, &asked).await
    }

    async fn order(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<Operated, ClientError> {
        self.ask(Method::POST, &with_query(path, query)).await
    }

    /// Hands over events as they happen, until `take` breaks it off or the daemon goes away.
    ///
    /// With `since`, what happened after that event comes first; without, only what is new.
    ///
    /// # Errors
    /// [`ClientError`]; a stream that the daemon ends is [`ClientError::Broken`].
    pub async fn follow_events(
        &self,
        since: Option<u64>,
        mut take: impl FnMut(Followed) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let asked = with_since(path::EVENTS_STREAM, since);
        let response = self.in_time(self.request(Method::GET, &asked)).await?;
        let mut body = self.succeeded(response).await?;
        if take(Followed::Connected).is_break() {
            return Ok(());
        }
        let mut parser = sse::Parser::default();
        loop {
            let frame = timeout(SILENCE_MAX, body.frame())
                .await
                .map_err(|_| self.broken("no sign of life"))?
                .ok_or_else(|| self.broken("the daemon ended the stream"))?
                .map_err(|error| self.broken(error))?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            let messages = parser
                .push(&piece)
                .map_err(|sse::TooLong| self.bad_reply("an endless message"))?;
            for message in messages {
                let followed = if message.event == path::RESYNC {
                    Followed::Resync
                } else {
                    Followed::Event(
                        serde_json::from_str(&message.data).map_err(|e| self.bad_reply(e))?,
                    )
                };
                if take(followed).is_break() {
                    return Ok(());
                }
            }
        }
    }

    async fn get<T: DeserializeOwned>(&self, asked: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, asked).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        asked: &str,
    ) -> Result<T, ClientError> {
        self.ask_within(PATIENCE, method, asked).await
    }

    async fn ask_within<T: DeserializeOwned>(
        &self,
        patience: Duration,
        method: Method,
        asked: &str,
    ) -> Result<T, ClientError> {
        self.within(patience, async {
            let response = self.request(method, asked).await?;
            let body = self.succeeded(response).await?;
            let bytes = self.collect(body).await?;
            serde_json::from_slice(&bytes).map_err(|error| self.bad_reply(error))
        })
        .await
    }

    async fn request(
        &self,
        method: Method,
        asked: &str,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|source| ClientError::Unreachable {
                    socket: self.socket.clone(),
                    source,
                })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        // Ends with the response's body; what goes wrong shows there.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(asked)
            .header(header::HOST, "uplinkd")
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.bad_reply(error))?;
        sender
            .send_request(request)
            .await
            .map_err(|error| self.broken(error))
    }

    async fn succeeded(&self, response: Response<Incoming>) -> Result<Incoming, ClientError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let bytes = self.in_time(self.collect(response.into_body())).await?;
        Err(match serde_json::from_slice(&bytes) {
            Ok(source) => ClientError::Refused {
                status: status.as_u16(),
                source,
            },
            Err(_) => self.bad_reply(format!("HTTP status {status} without an explanation")),
        })
    }

    async fn collect(&self, body: Incoming) -> Result<Bytes, ClientError> {
        Ok(Limited::new(body, BODY_MAX)
            .collect()
            .await
            .map_err(|source| ClientError::Broken {
                socket: self.socket.clone(),
                source,
            })?
            .to_bytes())
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        self.within(PATIENCE, answer).await
    }

    async fn within<T>(
        &self,
        within: Duration,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        timeout(within, answer).await.unwrap_or_else(|_| {
            Err(ClientError::Silent {
                socket: self.socket.clone(),
                within,
            })
        })
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken {
            socket: self.socket.clone(),
            source: source.into(),
        }
    }

    fn bad_reply(&self, what: impl ToString) -> ClientError {
        ClientError::BadReply {
            socket: self.socket.clone(),
            what: what.to_string(),
        }
    }
}

/// The path of something by its name. A name with other characters than those of names is nobody's, and
/// must not become another path.
fn named(path: &str, name: &str) -> String {
    let escaped: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    path.replace("{name}", &escaped.replace('+', "%20"))
}

fn reason(why: Option<&str>) -> (&'static str, Option<String>) {
    ("why", why.map(str::to_owned))
}

fn with_query(path: &str, query: &[(&str, Option<String>)]) -> String {
    let mut words = form_urlencoded::Serializer::new(String::new());
    for (key, value) in query {
        if let Some(value) = value {
            words.append_pair(key, value);
        }
    }
    match words.finish() {
        words if words.is_empty() => path.to_owned(),
        words => format!("{path}?{words}"),
    }
}

fn with_since(path: &str, since: Option<u64>) -> String {
    since.map_or_else(|| path.to_owned(), |id| format!("{path}?since={id}"))
}

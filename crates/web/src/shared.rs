//! What the daemon's loop and the server hold together.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::response::sse::Event as SseEvent;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use uplinkd_api::{
    ApiError, Budgeted, ConnectionQuery, Event, Events, Explain, ExplainConnection, ExplainQuery,
    Failback, History, HistoryQuery, NotifyTested, Operated, Policies, Probed, Report, ReportQuery,
    Status, Support,
};

use crate::{access::Access, log::Log, routes::message, session::Sessions};

/// Questions waiting for the daemon's loop. When full, further ones are refused with 503: the loop
/// is stuck, or somebody asks faster than anybody reads.
const REQUESTS_MAX: usize = 16;
/// Events that a follower may be behind. Whoever is further behind gets a `resync` instead.
const BEHIND_MAX: usize = 256;

/// A question to the daemon's loop. Dropping the sender answers with "the daemon is stopping".
#[derive(Debug)]
pub enum Request {
    /// How things are.
    Status(oneshot::Sender<Status>),
    /// The policies.
    Policies(oneshot::Sender<Policies>),
    /// Where a new connection would go.
    Explain(ExplainQuery, Answer<Explain>),
    /// Where an existing connection goes.
    ExplainConnection(ConnectionQuery, Answer<ExplainConnection>),
    /// Tallies over a time.
    History(HistoryQuery, Answer<History>),
    /// The report of a month.
    Report(ReportQuery, Answer<Report>),
    /// Figures for Prometheus, in its text format.
    Metrics(oneshot::Sender<String>),
    /// What helps who looks for a mistake. Whoever asks was seen to be allowed to change something.
    Support(oneshot::Sender<Support>),
    /// Set how many bytes an uplink has used of its budget. Whoever asks was seen to be allowed to.
    SetUsed(String, u64, Caller, Answer<Budgeted>),
    /// Let a group return to its better level now. Whoever asks was seen to be allowed to.
    Failback(String, Caller, Answer<Failback>),
    /// Do something. Whoever asks was seen to be allowed to.
    Operate(Operation, Caller, Answer<Operated>),
    /// Tell all channels, or one, that this is a test. Likewise.
    NotifyTest(Option<String>, Caller, Answer<NotifyTested>),
    /// Ask all targets of an uplink at once. Likewise.
    Probe(String, Answer<Probed>),
}

/// Who asks for a change, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user, as the kernel says; none for whoever came with a token.
    pub user: Option<u32>,
    /// The reason that was given.
    pub why: Option<String>,
}

/// Something to do. Uplinks are as they were named, and may not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// No new connections by an uplink.
    Drain(String, Option<Duration>),
    /// The end of that.
    Undrain(String),
    /// New connections by an uplink alone.
    Prefer(String, Duration),
    /// The end of that.
    Unprefer,
    /// Read the file again, on trial for so long if that is given.
    Reload(Option<Duration>),
    /// What is on trial is good.
    Confirm,
    /// It is not.
    Rollback,
}

/// Where to send an answer that may be no.
pub type Answer<T> = oneshot::Sender<Result<T, Refused>>;

/// A no of the daemon's loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The question makes no sense.
    Bad(ApiError),
    /// What it speaks of is not there.
    NotFound(ApiError),
    /// It is there, but not in a state for that.
    Conflict(ApiError),
    /// The file has mistakes.
    Unfit(ApiError),
}

/// The server's side of the daemon. Clones are the same thing.
#[derive(Clone, Debug)]
pub struct Shared {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    log: Mutex<Log>,
    /// As followers are sent them: written once, however many there are.
    live: broadcast::Sender<SseEvent>,
    requests: mpsc::Sender<Request>,
    access: watch::Sender<Arc<Access>>,
    sessions: Mutex<Sessions>,
}

impl Shared {
    /// An empty event log, and the queue that the daemon's loop answers.
    ///
    /// The first event gets the id `first_id`: give the unix second of the start, so that ids go on
    /// increasing from one run of the daemon to the next.
    pub fn new(first_id: u64) -> (Self, mpsc::Receiver<Request>) {
        let (requests, queue) = mpsc::channel(REQUESTS_MAX);
        let inner = Inner {
            log: Mutex::new(Log::starting_at(first_id)),
            live: broadcast::Sender::new(BEHIND_MAX),
            requests,
            access: watch::Sender::new(Arc::default()),
            sessions: Mutex::default(),
        };
        let shared = Self {
            inner: Arc::new(inner),
        };
        (shared, queue)
    }

    /// Says who may do what from now on. Where that is something else than before, all connections and
    /// sessions end, so that nobody keeps what was taken away.
    pub fn set_access(&self, access: Access) {
        self.inner.access.send_if_modified(|now| {
            let is_other = **now != access;
            if is_other {
                *now = Arc::new(access);
                self.sessions().end_all();
            }
            is_other
        });
    }

    /// Who may do what now.
    pub(crate) fn access(&self) -> Arc<Access> {
        Arc::clone(&self.inner.access.borrow())
    }

    /// Tells when that changes.
    pub(crate) fn access_changes(&self) -> watch::Receiver<Arc<Access>> {
        self.inner.access.subscribe()
    }

    /// The sessions of browsers.
    pub(crate) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        // Whole after every line of its code, as the log.
        self.inner
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an event its id, remembers it and tells all followers. Never waits for them.
    pub fn publish(&self, event: Event) -> u64 {
        // Told while the log is locked, so that a follower who begins now neither misses it nor
        // gets it twice.
        let mut log = self.log();
        let event = log.push(event);
        let id = event.id;
        if self.inner.live.receiver_count() > 0 {
            // An error says that the last one has gone.
            let _ = self.inner.live.send(message(&event));
        }
        id
    }

    /// The events that are remembered.
    pub(crate) fn events(&self, since: Option<u64>) -> Events {
        self.log().after(since)
    }

    /// What came after an id (nothing without one), and all that comes from now on.
    pub(crate) fn follow(&self, since: Option<u64>) -> (Events, broadcast::Receiver<SseEvent>) {
        let log = self.log();
        let past = match since {
            Some(_) => log.after(since),
            None => Events::default(),
        };
        (past, self.inner.live.subscribe())
    }

    /// Asks the daemon's loop; false where its queue is full or it is gone.
    pub(crate) fn ask(&self, request: Request) -> bool {
        self.inner.requests.try_send(request).is_ok()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // A log is whole after every line of its code, so a panic elsewhere does not spoil it.
        self.inner
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

//! The thread that writes, and what the daemon's loop, that thread and readers share.
//!
//! The loop puts messages into a bounded queue and goes on: what does not fit is dropped, and counted. The
//! thread keeps them in memory and commits every five minutes, just after a block of slots is over, and soon
//! after a change of health. While the file cannot be used, what is new is kept as far as there is
//! room, the reason is logged once, and it is tried again each minute. Nothing else of the daemon notices.

mod live;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tracing::{info, warn};

pub use live::{Change, Event, Live, Message};

use crate::store::{Store, StoreError};

/// The length of the slots that the daemon counts into, in seconds.
pub const SLOT: i64 = 10;
/// Messages that may wait: one for each slot, each change and each event. A disk that hangs for half an
/// hour fills it; what comes then is dropped, and counted.
const QUEUE: usize = 1024;
/// A block of slots, after which a commit follows; and how long after, for the last slot to have come.
const COMMIT_EVERY: u64 = 300;
const COMMIT_AFTER: u64 = 12;
/// Between two commits at least, should somebody set the clock.
const COMMIT_LEAST: Duration = Duration::from_secs(60);
/// A change of health is written after this time, with what comes of it.
const SOON: Duration = Duration::from_secs(2);
/// So many such commits in a row; then one more each five minutes. A line that flaps for a whole day does
/// not write more than twice as much as a quiet one.
const EARLY_MAX: u32 = 5;
const EARLY_AGAIN: Duration = Duration::from_secs(300);
/// How long a file that cannot be used is left alone.
const RETRY: Duration = Duration::from_secs(60);
/// After its start, and after the clock has moved, nothing is removed for being old for so long.
const TRUST_AFTER: Duration = Duration::from_secs(600);
/// The clock has moved, where it is off by more seconds than this.
const MOVED: i64 = 60;
/// How long the last commit may take when the daemon stops.
const STOP_MAX: Duration = Duration::from_secs(1);

/// History that is being written.
#[derive(Debug)]
pub struct History {
    sender: Sender,
    reader: Reader,
    thread: JoinHandle<()>,
}

/// The loop's end of the queue.
#[derive(Clone, Debug)]
pub struct Sender {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Sender {
    /// Hands something over; false where there was no room and it is gone.
    pub fn send(&self, message: Message) -> bool {
        let is_taken = self.queue.try_send(message).is_ok();
        if !is_taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        is_taken
    }
}

/// Reads beside the writer. Never waits longer than a commit takes; use it on a thread that may.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) directory: PathBuf,
    live: Arc<Mutex<Live>>,
}

impl Reader {
    /// Of a directory, with nothing in memory.
    pub fn of(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            live: Arc::default(),
        }
    }

    /// What is not in the file yet.
    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        // Whole after every line, so that a panic elsewhere does not spoil it.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// Begins to write into a directory, up to so many bytes.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(directory: &Path, size: u64) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let reader = Reader::of(directory);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer::new(reader.clone(), size, Arc::clone(&dropped));
        let thread = std::thread::Builder::new().name("history".to_owned());
        let thread = thread.spawn(move || writer.run(&messages))?;
        let sender = Sender { queue, dropped };
        Ok(Self {
            sender,
            reader,
            thread,
        })
    }

    /// Where to put what is to be remembered.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Where to read it.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Ends the thread, which writes its last. Waits a little, and not for a disk that hangs.
    pub fn stop(self) {
        let Self { sender, thread, .. } = self;
        drop(sender);
        let began = Instant::now();
        while !thread.is_finished() && began.elapsed() < STOP_MAX {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Writer {
    reader: Reader,
    size: u64,
    dropped: Arc<AtomicU64>,
    /// None: it could not be used, or was not tried yet.
    store: Option<Store>,
    /// What was logged of it.
    trouble: Option<String>,
    retry_at: Option<Instant>,
    committed: Instant,
    /// Commits that may follow changes at once, and since when they are counted.
    early: u32,
    early_at: Instant,
    clock: Trust,
}

impl Writer {
    fn new(reader: Reader, size: u64, dropped: Arc<AtomicU64>) -> Self {
        Self {
            reader,
            size,
            dropped,
            store: None,
            trouble: None,
            retry_at: None,
            committed: Instant::now(),
            early: EARLY_MAX,
            early_at: Instant::now(),
            clock: Trust::new(),
        }
    }

    fn run(mut self, messages: &Receiver<Message>) {
        self.open();
        let mut due = self.regular();
        let mut is_early = false;
        loop {
            match messages.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(message) => {
                    let is_urgent = message.is_urgent();
                    self.reader.live().take(message);
                    // One commit is enough for all that comes before it.
                    if is_urgent && !is_early && self.may_be_early() {
                        is_early = true;
                        due = due.min(Instant::now() + SOON);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.commit();
                    is_early = false;
                    due = self.regular();
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.commit();
    }

    /// When the next regular commit is due.
    fn regular(&self) -> Instant {
        let into = unix_now().rem_euclid(COMMIT_EVERY as i64).unsigned_abs();
        let wait = match COMMIT_AFTER.checked_sub(into) {
            Some(left) if left > 0 => left,
            Some(_) | None => COMMIT_EVERY - into + COMMIT_AFTER,
        };
        let due = (Instant::now() + Duration::from_secs(wait)).max(self.committed + COMMIT_LEAST);
        self.retry_at.map_or(due, |retry| due.min(retry))
    }

    fn may_be_early(&mut self) -> bool {
        let periods = self.early_at.elapsed().as_secs() / EARLY_AGAIN.as_secs();
        if periods > 0 {
            self.early_at = Instant::now();
            let more = u32::try_from(periods).unwrap_or(EARLY_MAX);
            self.early = self.early.saturating_add(more).min(EARLY_MAX);
        }
        let has_one = self.early > 0;
        self.early = self.early.saturating_sub(1);
        has_one
    }

    fn open(&mut self) {
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        let directory = self.reader.directory.clone();
        let opened = fs::create_dir_all(&directory)
            .map_err(|e| format!("cannot make {}: {e}", directory.display()))
            .and_then(|()| Store::open_or_begin(&directory, self.size).map_err(|e| e.to_string()));
        match opened {
            Ok((store, aside)) => {
                if let Some((aside, why)) = aside {
                    let (aside, why) = (aside.display().to_string(), why.as_str());
                    warn!(
                        aside,
                        why, "the history was damaged: it is put aside, a new one begins"
                    );
                }
                self.store = Some(store);
                self.is_well();
            }
            Err(text) => self.fail(text),
        }
    }

    fn commit(&mut self) {
        self.committed = Instant::now();
        if self.store.is_none() {
            self.open();
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            warn!(
                dropped,
                "the disk is too slow: parts of the history are missing"
            );
        }
        let now = unix_now();
        let is_trusted = self.clock.is_trusted(now);
        let Some(store) = &mut self.store else {
            return;
        };
        let result = store.commit(&mut self.reader.live(), now, is_trusted);
        match result {
            Ok(()) => self.is_well(),
            Err(error) => {
                // What of a file could not be written says nothing about the rest of it.
                self.store = None;
                let is_damaged = matches!(error, StoreError::Damaged { .. });
                self.fail(error.to_string());
                if is_damaged {
                    self.retry_at = None;
                    self.open();
                }
            }
        }
    }

    fn is_well(&mut self) {
        self.retry_at = None;
        if self.trouble.take().is_some() {
            info!("the history is written again");
        }
        self.reader.live().trouble = None;
    }

    fn fail(&mut self, text: String) {
        self.retry_at = Some(Instant::now() + RETRY);
        self.reader.live().trouble = Some(text.clone());
        if self.trouble.as_ref() != Some(&text) {
            warn!(
                reason = text,
                "no history is written; routing goes on, and it is tried again"
            );
        }
        self.trouble = Some(text);
    }
}

/// Whether the clock goes on as a clock does.
struct Trust {
    /// Both clocks, when they were last compared.
    last: (Instant, i64),
    from: Instant,
}

impl Trust {
    fn new() -> Self {
        Self {
            last: (Instant::now(), unix_now()),
            from: Instant::now() + TRUST_AFTER,
        }
    }

    fn is_trusted(&mut self, now: i64) -> bool {
        let passed = i64::try_from(self.last.0.elapsed().as_secs()).unwrap_or(i64::MAX);
        let is_moved = (now - self.last.1 - passed).abs() > MOVED;
        self.last = (Instant::now(), now);
        if is_moved {
            self.from = Instant::now() + TRUST_AFTER;
        }
        Instant::now() >= self.from
    }
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

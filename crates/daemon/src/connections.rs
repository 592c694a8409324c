//! Counts the connections on each line for whoever asks for the status.
//!
//! The kernel walks over all its connections for that, a hundred thousand on a busy router, which takes
//! longer than a failover may. So a thread with a socket of its own counts, and the loop only hands it
//! the status that waits for the numbers. Nobody who asks, nobody who counts.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tracing::warn;
use uplinkd_api::Status;
use uplinkd_kernel::Kernel;
use uplinkd_model::{Family, Mark};

/// How long a count is good for at least: a thousand who ask cost no more than one.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// And so many times what it took, so that pages that stay open cost a hundredth of a core at most.
const REST: u32 = 100;
/// Status that may wait for numbers, as many as questions may wait for the loop. A further one goes
/// without.
const WAITING_MAX: usize = 16;

/// Completes status with the numbers of connections.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounter {
    /// From the first question on.
    queue: Option<SyncSender<Job>>,
}

/// How the connections of a line, or of an outlet, are known; none for one that has none.
pub(crate) type Counted = Option<(Family, Mark)>;

#[derive(Debug)]
struct Job {
    status: Status,
    /// For each uplink in it, and then for each group.
    counted: Vec<Counted>,
    reply: oneshot::Sender<Status>,
}

impl ConnectionCounter {
    /// Has a status completed and sent. `counted` says how to count for each of its uplinks, and then
    /// for each of its groups.
    pub(crate) fn complete(
        &mut self,
        status: Status,
        counted: Vec<Counted>,
        reply: oneshot::Sender<Status>,
    ) {
        let job = Job {
            status,
            counted,
            reply,
        };
        let refused = match self.queue.get_or_insert_with(start).try_send(job) {
            Ok(()) => return,
            Err(TrySendError::Full(job)) => job,
            Err(TrySendError::Disconnected(job)) => {
                // Tried again with the next question.
                self.queue = None;
                job
            }
        };
        let _ = refused.reply.send(refused.status);
    }
}

/// The thread ends with the sender. Where there can be none, the first question finds out.
fn start() -> SyncSender<Job> {
    let (queue, waiting) = sync_channel(WAITING_MAX);
    let thread = std::thread::Builder::new().name("connections".to_owned());
    if let Err(error) = thread.spawn(move || work(&waiting)) {
        warn!(%error, "cannot have a thread: connections are not counted");
    }
    queue
}

fn work(waiting: &Receiver<Job>) {
    let mut kernel = match Kernel::open() {
        Ok(kernel) => kernel,
        Err(error) => return warn!(%error, "connections are not counted"),
    };
    let mut counts: BTreeMap<(Family, Mark), Option<u64>> = BTreeMap::new();
    let mut good_until: Option<Instant> = None;
    while let Ok(job) = waiting.recv() {
        let began = Instant::now();
        let lines: Vec<_> = job.counted.iter().flatten().copied().collect();
        // A line that was not there at the last count is counted now.
        let is_known = lines.iter().all(|line| counts.contains_key(line));
        if !is_known || good_until.is_none_or(|until| until <= began) {
            let counted = kernel.count_connections(&lines).ok();
            let of = |n| counted.as_ref().and_then(|counted| counted.get(n).copied());
            let numbers = lines.into_iter().enumerate();
            counts = numbers.map(|(n, line)| (line, of(n))).collect();
            good_until = Some(Instant::now() + GOOD_FOR.max(began.elapsed() * REST));
        }
        let count = |line| counts.get(&line).copied().flatten();
        let _ = job.reply.send(completed(job.status, &job.counted, count));
    }
}

fn completed(
    mut status: Status,
    counted: &[Counted],
    count: impl Fn((Family, Mark)) -> Option<u64>,
) -> Status {
    let uplinks = status.uplinks.iter_mut().map(|u| &mut u.connections);
    let groups = status.groups.iter_mut().map(|g| &mut g.connections);
    for (connections, counted) in uplinks.chain(groups).zip(counted) {
        *connections = counted.and_then(&count);
    }
    status
}

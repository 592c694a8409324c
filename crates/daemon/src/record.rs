//! Writes every sample down, for `uplinkctl replay`, where the file wants it.
//!
//! The loop only puts what it saw into a list. Once in a while the list is handed to a thread through a
//! bounded queue, and that thread alone touches the disk: where the disk is full or slow, samples are
//! dropped, counted and said, and the loop never waits. `writer` is that thread.

mod writer;

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use nix::net::if_::if_nametoindex;
use tracing::warn;
use uplinkd_config::Record;
use uplinkd_core::{Probe, Time};
use uplinkd_model::{
    Config, Counters, Family, Reason, UplinkName,
    notice::Notice,
    record::{Row, Seen},
};

/// Questions that are waited for at most: 4,000 targets asked each second, sixteen seconds long. When
/// it is full the oldest is dropped, and counted.
const PENDING_MAX: usize = 65_536;
/// Rows that are handed over at once, and how long they are kept at most for that.
const BATCH: usize = 512;
const BATCH_TIME: Duration = Duration::from_secs(5);
/// Batches that may wait for the disk: 32,768 rows, some 3 MB. Then rows are dropped, and counted.
const QUEUE: usize = 64;
/// Dropped rows are warned about once in this time at most.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// How long the last rows may take to be written when the daemon stops.
const STOP_MAX: Duration = Duration::from_secs(1);

/// What is below the state directory.
const FOLDER: &str = "record";

/// Takes what the daemon sees. Costs nothing while nothing is recorded.
pub(crate) struct Recorder {
    folder: PathBuf,
    on: Option<Recording>,
}

/// A question that was asked.
struct Pending {
    asked: Time,
    /// Until when an answer counts.
    until: Time,
    /// None: its row was dropped.
    row: Option<Row>,
    is_answered: bool,
}

struct Recording {
    settings: Record,
    /// Unix time of the core's beginning.
    epoch: Duration,
    /// In the order in which they were asked, which is that of their numbers.
    pending: VecDeque<Pending>,
    /// The number of the first of them.
    first: u64,
    batch: Vec<Row>,
    batch_since: Time,
    dropped: u64,
    warned_at: Option<Time>,
    /// The interfaces' uplinks, by index.
    uplinks: BTreeMap<u32, UplinkName>,
    /// The last reading of each interface, and whether it was recorded.
    read: BTreeMap<u32, (Time, Counters, bool)>,
    queue: SyncSender<Vec<Row>>,
    thread: JoinHandle<()>,
}

impl Recorder {
    /// Records nothing yet; what it records comes below the state directory.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self {
            folder: state_dir.join(FOLDER),
            on: None,
        }
    }

    /// Where it records.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Does as the file says from now on. `epoch` is the unix time of the core's beginning.
    pub(crate) fn set(&mut self, wanted: Record, epoch: f64, now: Time) {
        if self.on.as_ref().is_some_and(|r| r.settings == wanted) {
            return;
        }
        // Not waited for: the loop goes on, and the thread ends by itself.
        self.close(now);
        if wanted.samples {
            let (queue, batches) = sync_channel(QUEUE);
            let (folder, bytes) = (self.folder.clone(), u64::from(wanted.size_mb) << 20);
            let thread = std::thread::Builder::new()
                .name("record".to_owned())
                .spawn(move || writer::run(&folder, bytes, &batches));
            match thread {
                Ok(thread) => {
                    let mut recording = Recording::new(wanted, epoch, queue, thread, now);
                    recording.event(None, None, "start".to_owned(), now);
                    self.on = Some(recording);
                }
                Err(error) => warn!(%error, "cannot have a thread: nothing is recorded"),
            }
        }
    }

    /// A question was asked.
    pub(crate) fn asked(&mut self, probe: &Probe, config: &Config, now: Time) {
        if let Some(recording) = &mut self.on {
            recording.asked(probe, config, now);
        }
    }

    /// A question was answered.
    pub(crate) fn answered(&mut self, id: u64, rtt: Duration, now: Time) {
        if let Some(recording) = &mut self.on {
            recording.answered(id, rtt, now);
        }
    }

    /// Counters were read.
    pub(crate) fn counted(&mut self, read: &BTreeMap<u32, Counters>, config: &Config, now: Time) {
        if let Some(recording) = &mut self.on {
            recording.counted(read, config, now);
        }
    }

    /// Something happened.
    pub(crate) fn told(&mut self, notice: &Notice, now: Time) {
        let Some(recording) = &mut self.on else {
            return;
        };
        if let Notice::Health {
            uplink,
            family,
            to,
            reason,
            ..
        } = notice
        {
            let link = if is_of_link(reason) { " (link)" } else { "" };
            let event = format!("{to}{link}: {reason}");
            recording.event(Some(uplink.clone()), Some(*family), event, now);
        } else if let Notice::Sign {
            uplink,
            family,
            sign,
        } = notice
        {
            let event = format!("sign: {sign}");
            recording.event(Some(uplink.clone()), Some(*family), event, now);
        } else if matches!(notice, Notice::Reloaded { .. } | Notice::RolledBack { .. }) {
            recording.event(None, None, "reload".to_owned(), now);
        }
    }

    /// Writes what is left and stops. Waits a little, and not for a disk that hangs.
    pub(crate) fn stop(&mut self, now: Time) {
        let Some(thread) = self.close(now) else {
            return;
        };
        wait_for(&thread);
    }

    /// Hands over what is left. The thread writes that and ends.
    fn close(&mut self, now: Time) -> Option<JoinHandle<()>> {
        let mut recording = self.on.take()?;
        recording.abandon(now);
        recording.event(None, None, "stop".to_owned(), now);
        recording.hand_over(now);
        Some(recording.thread)
    }
}

/// Waits for a thread that writes its last: a little, and not for a disk that hangs.
pub(crate) fn wait_for(thread: &JoinHandle<()>) {
    let began = std::time::Instant::now();
    while !thread.is_finished() && began.elapsed() < STOP_MAX {
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Recording {
    fn new(
        settings: Record,
        epoch: f64,
        queue: SyncSender<Vec<Row>>,
        thread: JoinHandle<()>,
        now: Time,
    ) -> Self {
        Self {
            settings,
            epoch: Duration::try_from_secs_f64(epoch).unwrap_or_default(),
            pending: VecDeque::new(),
            first: 0,
            batch: Vec::new(),
            batch_since: now,
            dropped: 0,
            warned_at: None,
            uplinks: BTreeMap::new(),
            read: BTreeMap::new(),
            queue,
            thread,
        }
    }

    fn asked(&mut self, probe: &Probe, config: &Config, now: Time) {
        let family = probe.family();
        let access = config.uplink(&probe.uplink).and_then(|u| u.access(family));
        let timeout = access.map_or(Duration::from_secs(1), |a| a.probe.timeout);
        let id = probe.id.0;
        let next = self.first + self.pending.len() as u64;
        if id != next {
            // The first one, or numbers that were given while nothing was recorded.
            self.abandon(now);
            self.first = id;
        }
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_front();
            self.first += 1;
            self.dropped += 1;
        }
        let row = Row {
            time: self.epoch + now.0,
            uplink: Some(probe.uplink.clone()),
            family: Some(family),
            seen: Seen::Sample {
                target: probe.label(config),
                rtt: None,
            },
        };
        self.pending.push_back(Pending {
            asked: now,
            until: now + timeout,
            row: Some(row),
            is_answered: false,
        });
        self.settle(now);
    }

    fn answered(&mut self, id: u64, took: Duration, now: Time) {
        let index = id.checked_sub(self.first).map(usize::try_from);
        let Some(Ok(index)) = index else { return };
        let Some(pending) = self.pending.get_mut(index) else {
            return;
        };
        // One that came too late was lost, and the core says the same.
        pending.is_answered = true;
        if pending.asked + took <= pending.until
            && let Some(row) = &mut pending.row
            && let Seen::Sample { rtt, .. } = &mut row.seen
        {
            *rtt = Some(took);
        }
        self.settle(now);
    }

    /// Writes down questions whose result is known by then, in the order in which they were asked.
    fn settle(&mut self, now: Time) {
        while let Some(front) = self.pending.front() {
            if !front.is_answered && front.until > now {
                break;
            }
            let front = self.pending.pop_front();
            self.first += 1;
            if let Some(row) = front.and_then(|f| f.row) {
                self.put(row, now);
            }
        }
    }

    /// Forgets questions whose result nobody will learn: they are not lost.
    fn abandon(&mut self, now: Time) {
        self.settle(now);
        for pending in std::mem::take(&mut self.pending) {
            self.first += 1;
            if let Some(row) = pending.row.filter(|_| pending.is_answered) {
                self.put(row, now);
            }
        }
    }

    /// Only what moved is written down, and the reading before it.
    fn counted(&mut self, read: &BTreeMap<u32, Counters>, config: &Config, now: Time) {
        if read.keys().any(|index| !self.uplinks.contains_key(index)) {
            let named = config.uplinks.iter().filter_map(|u| {
                let index = if_nametoindex(u.interface.as_str()).ok()?;
                Some((index, u.name.clone()))
            });
            self.uplinks = named.collect();
        }
        for (index, counters) in read {
            let Some(uplink) = self.uplinks.get(index).cloned() else {
                continue;
            };
            let before = self.read.get(index).copied();
            let is_news = before.is_none_or(|(_, before, _)| before != *counters);
            self.read.insert(*index, (now, *counters, is_news));
            let row = |time: Time, counters: Counters, recording: &mut Self| {
                let row = Row {
                    time: recording.epoch + time.0,
                    uplink: Some(uplink.clone()),
                    family: None,
                    seen: Seen::Counted(counters),
                };
                recording.put(row, now);
            };
            if is_news {
                if let Some((time, counters, false)) = before {
                    row(time, counters, self);
                }
                row(now, *counters, self);
            }
        }
    }

    fn event(
        &mut self,
        uplink: Option<UplinkName>,
        family: Option<Family>,
        event: String,
        now: Time,
    ) {
        let row = Row {
            time: self.epoch + now.0,
            uplink,
            family,
            seen: Seen::Event(event),
        };
        self.put(row, now);
    }

    fn put(&mut self, row: Row, now: Time) {
        if self.batch.is_empty() {
            self.batch_since = now;
        }
        self.batch.push(row);
        if self.batch.len() >= BATCH || now.since(self.batch_since) >= BATCH_TIME {
            self.hand_over(now);
        }
    }

    fn hand_over(&mut self, now: Time) {
        if self.dropped > 0 {
            let event = Seen::Event(format!("{} rows dropped", self.dropped));
            self.batch.push(Row {
                time: self.epoch + now.0,
                uplink: None,
                family: None,
                seen: event,
            });
        }
        match self.queue.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => self.dropped = 0,
            Err(TrySendError::Full(rows) | TrySendError::Disconnected(rows)) => {
                let told = u64::from(self.dropped > 0);
                self.dropped += rows.len() as u64 - told;
                let is_due = |at: Time| now.since(at) >= WARN_EVERY;
                if self.warned_at.is_none_or(is_due) {
                    self.warned_at = Some(now);
                    let dropped = self.dropped;
                    warn!(dropped, "samples are not recorded: the disk is too slow");
                }
            }
        }
    }
}

/// Whether a line is judged by its link, and its targets are not asked.
fn is_of_link(reason: &Reason) -> bool {
    match reason {
        Reason::InterfaceMissing { .. }
        | Reason::InterfaceAdminDown
        | Reason::NoCarrier
        | Reason::NoAddress
        | Reason::NoPrefixAddress { .. }
        | Reason::NoGateway
        | Reason::GatewayOffLink { .. } => true,
        Reason::JustStarted
        | Reason::Probing { .. }
        | Reason::TargetsAnswer { .. }
        | Reason::TargetsSilent { .. }
        | Reason::LinkOnly
        | Reason::TargetsDown
        | Reason::TrafficFlows { .. }
        | Reason::Lossy { .. }
        | Reason::Slow { .. }
        | Reason::Full
        | Reason::Held { .. } => false,
    }
}

#[cfg(test)]
mod tests;

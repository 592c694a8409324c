//! What history is fed with: tallies of ten seconds, changes of health, events.
//!
//! The loop only counts, and hands over what it has counted; [`uplinkd_history::History`] has a thread and a
//! bounded queue for the rest.

mod answers;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::net::if_::if_nametoindex;
use tracing::warn;
use uplinkd_config::History as Wanted;
use uplinkd_core::{Controller, Time};
use uplinkd_history::{Bytes, Change, Event, History, LineTime, Message, SLOT, Series, Stats};
use uplinkd_kernel::Kernel;
use uplinkd_model::{Counters, Family, Health, UplinkName, notice::Notice};

use crate::meter::Meter;
use answers::Desk;

/// Targets that are remembered. Those beyond are not, so that the disk is not worn out, and that is said.
const TARGETS_MAX: usize = 256;

/// Remembers, where the file wants it.
#[derive(Debug)]
pub(crate) struct Memory {
    folder: PathBuf,
    desk: Desk,
    on: Option<Running>,
}

#[derive(Debug)]
struct Running {
    wanted: Wanted,
    history: History,
    /// The slot that is being counted, and when it is over.
    slot: i64,
    over: Time,
    lines: BTreeMap<(UplinkName, Family), Line>,
    bytes: BTreeMap<UplinkName, Interface>,
    is_too_much_told: bool,
}

#[derive(Debug)]
struct Line {
    series: Arc<Series>,
    health: Health,
    /// Up to when it was counted.
    until: Time,
    time: LineTime,
}

#[derive(Debug)]
struct Interface {
    series: Arc<Series>,
    /// The last reading, and of which interface.
    read: Option<(u32, Counters)>,
}

impl Line {
    fn count(&mut self, now: Time) {
        let millis = now.since(self.until).as_millis();
        self.time
            .add(self.health, u64::try_from(millis).unwrap_or(u64::MAX));
        self.until = now;
    }
}

impl Memory {
    /// Remembers nothing yet; what it remembers comes into this directory.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self {
            folder: state_dir.to_owned(),
            desk: Desk::default(),
            on: None,
        }
    }

    /// Does as the file says from now on.
    pub(crate) fn set(&mut self, wanted: Wanted, controller: &Controller, now: Time) {
        let is_same = match &self.on {
            Some(running) => running.wanted == wanted,
            None => !wanted.enabled,
        };
        if !is_same {
            // Not waited for: the loop goes on. The old thread writes its last, and the file itself keeps
            // two writers apart.
            drop(self.close(now));
            if wanted.enabled {
                match History::start(&self.folder, u64::from(wanted.size_mb) << 20) {
                    Ok(history) => self.on = Some(Running::new(wanted, history, now)),
                    Err(error) => warn!(%error, "cannot have a thread: no history is written"),
                }
            }
        }
        if let Some(running) = &mut self.on {
            running.follow(controller, now);
        }
    }

    /// How long until a slot is over; none while nothing is remembered.
    pub(crate) fn wait(&self, now: Time) -> Option<Duration> {
        self.on.as_ref().map(|running| running.over.since(now))
    }

    /// A slot is over.
    pub(crate) fn end_slot(
        &mut self,
        meter: &mut Meter,
        controller: &Controller,
        kernel: &mut Kernel,
        now: Time,
    ) {
        if let Some(running) = &mut self.on {
            running.end_slot(meter, controller, kernel, now);
        }
    }

    /// Something happened.
    pub(crate) fn told(&mut self, notice: &Notice, now: Time) {
        if let Some(running) = &mut self.on {
            running.told(notice, now);
        }
    }

    /// Writes what is left, and stops. Waits a little, and not for a disk that hangs.
    pub(crate) fn stop(&mut self, now: Time) {
        if let Some(history) = self.close(now) {
            history.stop();
        }
    }

    /// Hands over what is left. The thread writes that and ends.
    fn close(&mut self, now: Time) -> Option<History> {
        let mut running = self.on.take()?;
        running.hand_over(Vec::new(), now);
        running.send(Message::Stop(steady(now)));
        Some(running.history)
    }
}

impl Running {
    fn new(wanted: Wanted, history: History, now: Time) -> Self {
        let mut running = Self {
            wanted,
            history,
            slot: 0,
            over: now,
            lines: BTreeMap::new(),
            bytes: BTreeMap::new(),
            is_too_much_told: false,
        };
        running.begin_slot(now);
        running
    }

    /// By the clock that people read: it may have been set since.
    fn begin_slot(&mut self, now: Time) {
        let unix = unix_now();
        let millis = i64::try_from(unix.as_millis()).unwrap_or(i64::MAX);
        let into = millis.rem_euclid(SLOT * 1000);
        self.slot = (millis - into) / 1000;
        let left = (SLOT * 1000 - into).unsigned_abs();
        self.over = now + Duration::from_millis(left);
    }

    /// Lines come and go with the file and the interfaces.
    fn follow(&mut self, controller: &Controller, now: Time) {
        let mut gone: BTreeMap<_, _> = std::mem::take(&mut self.lines);
        for line in controller.line_healths().filter(|l| !l.absent) {
            let key = (line.name.clone(), line.family);
            match gone.remove(&key) {
                Some(known) => drop(self.lines.insert(key, known)),
                None => self.begin(key, line.health, line.reason.to_string(), now),
            }
        }
        for line in gone.into_values() {
            self.send(Message::Change(Change {
                series: line.series,
                health: None,
                unix: unix_millis(),
                steady: steady(now),
            }));
        }
    }

    fn begin(&mut self, key: (UplinkName, Family), health: Health, reason: String, now: Time) {
        let series = Arc::new(Series::line(key.0.clone(), key.1));
        self.send(Message::Change(Change {
            series: Arc::clone(&series),
            health: Some((health, reason)),
            unix: unix_millis(),
            steady: steady(now),
        }));
        let line = Line {
            series,
            health,
            until: now,
            time: LineTime::default(),
        };
        self.lines.insert(key, line);
    }

    fn told(&mut self, notice: &Notice, now: Time) {
        if let Notice::Health {
            uplink,
            family,
            to,
            reason,
            ..
        } = notice
        {
            let key = (uplink.clone(), *family);
            match self.lines.get_mut(&key) {
                Some(line) => {
                    line.count(now);
                    line.health = *to;
                    let change = Change {
                        series: Arc::clone(&line.series),
                        health: Some((*to, reason.to_string())),
                        unix: unix_millis(),
                        steady: steady(now),
                    };
                    self.send(Message::Change(change));
                }
                None => self.begin(key, *to, reason.to_string(), now),
            }
        }
        // Each plan is told by what made it necessary already.
        if notice.is_detail() || matches!(notice, Notice::Applied { .. }) {
            return;
        }
        let event = uplinkd_api::Event::of_notice(notice, 0.0);
        self.send(Message::Event(Event {
            time: unix_millis(),
            warn: notice.is_warning(),
            kind: event.kind,
            text: event.text,
            detail: event.detail.to_string(),
        }));
    }

    fn end_slot(
        &mut self,
        meter: &mut Meter,
        controller: &Controller,
        kernel: &mut Kernel,
        now: Time,
    ) {
        meter.settle(now);
        let is_too_much = meter.targets().len() > TARGETS_MAX;
        if is_too_much && !std::mem::replace(&mut self.is_too_much_told, true) {
            let targets = meter.targets().len();
            warn!(
                targets,
                "the history is of the first {TARGETS_MAX} targets only"
            );
        }
        let answers = meter.take_slots(TARGETS_MAX);
        let mut points: Vec<_> = answers
            .map(|(series, answers)| (Arc::clone(series), Stats::Answers(answers)))
            .collect();
        self.read_bytes(controller, kernel, &mut points);
        self.hand_over(points, now);
        self.follow(controller, now);
        self.begin_slot(now);
    }

    fn read_bytes(
        &mut self,
        controller: &Controller,
        kernel: &mut Kernel,
        points: &mut Vec<(Arc<Series>, Stats)>,
    ) {
        let uplinks = &controller.config().uplinks;
        self.bytes
            .retain(|name, _| uplinks.iter().any(|u| u.name == *name));
        for uplink in uplinks {
            let own = self.bytes.entry(uplink.name.clone());
            let own = own.or_insert_with_key(|name| Interface {
                series: Arc::new(Series::interface(name.clone())),
                read: None,
            });
            let index = if_nametoindex(uplink.interface.as_str()).ok();
            let read = index.and_then(|i| Some((i, *kernel.counters(&[i]).get(&i)?)));
            if let (Some((before_index, before)), Some((index, counters))) = (own.read, read)
                && before_index == index
                && let Some(carried) = counters.since(before)
            {
                let bytes = Bytes {
                    rx: carried.rx_bytes,
                    tx: carried.tx_bytes,
                };
                points.push((Arc::clone(&own.series), Stats::Bytes(bytes)));
            }
            own.read = read;
        }
    }

    /// Hands over what was counted of the present slot.
    fn hand_over(&mut self, mut points: Vec<(Arc<Series>, Stats)>, now: Time) {
        for line in self.lines.values_mut() {
            line.count(now);
            let time = std::mem::take(&mut line.time);
            points.push((Arc::clone(&line.series), Stats::Time(time)));
        }
        let slot = self.slot;
        self.send(Message::Points { slot, points });
    }

    /// What the queue has no room for is counted there.
    fn send(&self, message: Message) {
        let _ = self.history.sender().send(message);
    }
}

fn unix_now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

fn unix_millis() -> i64 {
    i64::try_from(unix_now().as_millis()).unwrap_or(i64::MAX)
}

fn steady(now: Time) -> i64 {
    i64::try_from(now.0.as_millis()).unwrap_or(i64::MAX)
}

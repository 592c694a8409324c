//! When each target is asked next, and until when each open question may be answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{Time, event::ProbeId};

/// A target of a line: the index of the line, and the target's in its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TargetKey {
    pub(crate) line: usize,
    pub(crate) target: usize,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Ask this target now.
    Ask(TargetKey, ProbeId),
    /// This question was not answered in time.
    Lost(TargetKey),
}

/// The calendar of all probes.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    next_id: u64,
    asks: BTreeSet<(Time, TargetKey)>,
    ask_times: BTreeMap<TargetKey, Time>,
    open: BTreeMap<ProbeId, (TargetKey, Time)>,
    deadlines: BTreeSet<(Time, ProbeId)>,
}

impl Schedule {
    /// The earliest moment at which something is due.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let ask = self.asks.first().map(|(at, _)| *at);
        let lost = self.deadlines.first().map(|(at, _)| *at);
        ask.into_iter().chain(lost).min()
    }

    /// A calendar with nothing in it that goes on counting, so that no late answer is mistaken.
    pub(crate) fn emptied(self) -> Self {
        Self {
            next_id: self.next_id,
            ..Self::default()
        }
    }

    /// Whether a target is being asked at all.
    pub(crate) fn is_running(&self, key: TargetKey) -> bool {
        self.ask_times.contains_key(&key)
    }

    /// Starts asking a target.
    pub(crate) fn start(&mut self, key: TargetKey, first: Time) {
        self.stop_asking(key);
        self.asks.insert((first, key));
        self.ask_times.insert(key, first);
    }

    /// Stops asking a target and forgets its open questions.
    pub(crate) fn stop(&mut self, key: TargetKey) {
        self.stop_asking(key);
        let gone: Vec<_> = self
            .open
            .iter()
            .filter(|(_, (k, _))| *k == key)
            .map(|(id, (_, at))| (*id, *at))
            .collect();
        for (id, at) in gone {
            self.open.remove(&id);
            self.deadlines.remove(&(at, id));
        }
    }

    fn stop_asking(&mut self, key: TargetKey) {
        if let Some(at) = self.ask_times.remove(&key) {
            self.asks.remove(&(at, key));
        }
    }

    /// Takes the next thing that is due. `timing` gives interval and timeout of a target.
    ///
    /// After a long sleep each target is asked once, not once for every interval slept through.
    pub(crate) fn next_due(
        &mut self,
        now: Time,
        timing: impl Fn(TargetKey) -> (Duration, Duration),
    ) -> Option<Due> {
        if let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.remove(&(at, id));
            let (key, _) = self
                .open
                .remove(&id)
                .expect("every deadline has its open question");
            return Some(Due::Lost(key));
        }
        let (at, key) = self.asks.first().copied().filter(|(at, _)| *at <= now)?;
        let (interval, timeout) = timing(key);
        let next = (at + interval).max(now);
        self.start(key, if next <= now { now + interval } else { next });
        let id = ProbeId(self.next_id);
        self.next_id += 1;
        self.open.insert(id, (key, now + timeout));
        self.deadlines.insert((now + timeout, id));
        Some(Due::Ask(key, id))
    }

    /// Closes an open question. `None` where it was already counted as lost, or never asked.
    pub(crate) fn close(&mut self, id: ProbeId) -> Option<TargetKey> {
        let (key, at) = self.open.remove(&id)?;
        self.deadlines.remove(&(at, id));
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: TargetKey = TargetKey { line: 0, target: 0 };

    fn at(ms: u64) -> Time {
        Time(Duration::from_millis(ms))
    }

    fn timing(_: TargetKey) -> (Duration, Duration) {
        (Duration::from_millis(100), Duration::from_millis(150))
    }

    #[test]
    fn asks_at_its_interval_and_counts_silence_after_the_timeout() {
        let mut schedule = Schedule::default();
        schedule.start(KEY, at(0));
        assert_eq!(
            schedule.next_due(at(0), timing),
            Some(Due::Ask(KEY, ProbeId(0)))
        );
        assert_eq!(schedule.next_due(at(0), timing), None);
        assert_eq!(schedule.next_deadline(), Some(at(100)));
        assert_eq!(
            schedule.next_due(at(100), timing),
            Some(Due::Ask(KEY, ProbeId(1)))
        );
        assert_eq!(schedule.next_due(at(150), timing), Some(Due::Lost(KEY)));
        assert_eq!(schedule.close(ProbeId(0)), None);
        assert_eq!(schedule.close(ProbeId(1)), Some(KEY));
    }

    #[test]
    fn a_long_sleep_is_not_made_up_for() {
        let mut schedule = Schedule::default();
        schedule.start(KEY, at(0));
        schedule.next_due(at(0), timing);
        schedule.close(ProbeId(0));
        assert!(matches!(
            schedule.next_due(at(60_000), timing),
            Some(Due::Ask(..))
        ));
        assert_eq!(schedule.next_due(at(60_000), timing), None);
        assert_eq!(schedule.next_deadline(), Some(at(60_100)));
    }

    #[test]
    fn a_stopped_target_leaves_nothing_behind() {
        let mut schedule = Schedule::default();
        schedule.start(KEY, at(0));
        schedule.next_due(at(0), timing);
        schedule.stop(KEY);
        assert_eq!(schedule.next_deadline(), None);
        assert_eq!(schedule.close(ProbeId(0)), None);
    }
}

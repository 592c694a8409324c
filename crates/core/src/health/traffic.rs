//! What the interface's own counters say of a line: packets that leave while none come in are a sign
//! that it is dead, packets that come in as usual are a proof that it is not, and a line near its rate
//! is full.
//!
//! Nothing here takes a line out of service: a sign begins a burst of probes, and a proof makes the
//! judgement of their silence more patient.

use std::{collections::VecDeque, time::Duration};

use uplinkd_model::{Counters, Rates};

use crate::Time;

/// How long back the rate is measured.
const RATE_OVER: Duration = Duration::from_secs(1);
/// How long back packets must have come in for a line that is alive: two readings.
const ALIVE_OVER: Duration = Duration::from_millis(220);
/// Packets that should have come in before their absence, or presence, means anything.
const PACKETS: f64 = 8.0;
/// What part of the usual packets is as good as none: others on a shared medium may speak to all.
const NONE: f64 = 0.1;
/// What part of the usual packets is as usual.
const USUAL: f64 = 0.4;
/// What part of the usual packets proves that a line is not dead, however bad it may be.
const ALIVE: f64 = 0.2;
/// What part of the usual packets is too few, once so many should have come in that it is no chance.
const FEW: f64 = 0.85;
const PACKETS_FOR_FEW: f64 = 60.0;
/// How long packets are added up to judge them, where they are neither none nor as usual.
const RUN_MAX: Duration = Duration::from_secs(2);
/// From which part of its rate on a line counts as full.
const FULL: f64 = 0.7;
/// A rate below is not worth calling a line full for, in bytes a second, unless the file gives it.
const RATE_LEAST: f64 = 60_000.0;
/// In which time what was measured as the highest rate is halved: it may have been another tariff.
const RATE_HALVED: Duration = Duration::from_secs(7 * 24 * 3600);

/// What was counted between two readings.
#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    from: Time,
    to: Time,
    rx_packets: f64,
    tx_packets: f64,
    rx_bytes: f64,
    tx_bytes: f64,
}

/// Packets since they were last judged.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    since: Time,
    rx: f64,
    tx: f64,
}

impl Run {
    fn begun(now: Time) -> Self {
        Self {
            since: now,
            ..Self::default()
        }
    }
}

/// The memory of an interface's counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    last: Option<(Time, Counters)>,
    slices: VecDeque<Slice>,
    /// Since packets came in as usual.
    lull: Run,
    /// Since the usual was learned.
    run: Run,
    /// Packets that usually come in for each that leaves; none before anything was learned.
    usual: Option<f64>,
    /// The highest rates measured, in bytes a second: in and out.
    highest: (f64, f64),
    /// Nothing, or too little, has come in lately for what has left: so many packets for each.
    alarm: Option<f64>,
}

impl Traffic {
    /// Takes a reading. Says whether it is a new sign that the line is dead.
    pub(crate) fn take(&mut self, counters: Counters, now: Time) -> bool {
        let Some((then, before)) = self.last.replace((now, counters)) else {
            (self.run, self.lull) = (Run::begun(now), Run::begun(now));
            return false;
        };
        // Counters of an interface that was replaced begin again.
        let Some(grown) = counters.since(before) else {
            self.start_anew();
            return self.take(counters, now);
        };
        let slice = Slice {
            from: then,
            to: now,
            rx_packets: grown.rx_packets as f64,
            tx_packets: grown.tx_packets as f64,
            rx_bytes: grown.rx_bytes as f64,
            tx_bytes: grown.tx_bytes as f64,
        };
        self.slices.push_back(slice);
        let oldest = now - RATE_OVER;
        while self.slices.front().is_some_and(|s| s.to <= oldest) {
            self.slices.pop_front();
        }
        self.measure_rate(now.since(then));
        self.judge_run(slice, now)
    }

    /// The next reading is the first one of another interface.
    pub(crate) fn start_anew(&mut self) {
        (self.last, self.alarm) = (None, None);
        self.slices.clear();
    }

    fn judge_run(&mut self, slice: Slice, now: Time) -> bool {
        for run in [&mut self.run, &mut self.lull] {
            run.rx += slice.rx_packets;
            run.tx += slice.tx_packets;
        }
        let usual = self.usual.unwrap_or(1.0);
        let due = self.lull.tx * usual;
        let has_none = due >= PACKETS && self.lull.rx <= due * NONE;
        let comes_in =
            slice.rx_packets > 0.0 && slice.rx_packets >= slice.tx_packets * usual * USUAL;
        if has_none || comes_in || now.since(self.lull.since) >= RUN_MAX {
            self.lull = Run::begun(now);
        }
        let due = self.run.tx * usual;
        let has_few = due >= PACKETS_FOR_FEW && self.run.rx <= due * FEW;
        let ratio = (slice.rx_packets / slice.tx_packets.max(1.0)).min(10.0);
        if has_none || has_few {
            self.run = Run::begun(now);
            return self.alarm.replace(ratio).is_none();
        }
        let is_enough = due >= PACKETS_FOR_FEW || now.since(self.run.since) >= RUN_MAX;
        if is_enough {
            if self.run.tx > 0.0 {
                let ratio = (self.run.rx / self.run.tx).min(10.0);
                let weight = (self.run.tx / 200.0).min(0.2);
                self.usual = Some(self.usual.map_or(ratio, |u| u + (ratio - u) * weight));
            }
            self.alarm = None;
            self.run = Run::begun(now);
        }
        false
    }

    /// The probes say that the line is well: what leaves is not answered, and that is as it should be.
    pub(crate) fn was_false_alarm(&mut self) {
        if let Some(ratio) = self.alarm.take() {
            self.usual = Some(ratio);
        }
    }

    fn measure_rate(&mut self, passed: Duration) {
        let decay = 0.5_f64.powf(passed.as_secs_f64() / RATE_HALVED.as_secs_f64());
        let (rx, tx) = self.rates();
        self.highest.0 = (self.highest.0 * decay).max(rx);
        self.highest.1 = (self.highest.1 * decay).max(tx);
    }

    /// The highest rates that were measured, in bytes a second: in and out.
    pub(crate) fn highest(&self) -> (f64, f64) {
        self.highest
    }

    /// Bytes a second over the last second, in and out.
    pub(crate) fn rates(&self) -> (f64, f64) {
        let from = self.slices.front().map(|s| s.from);
        let to = self.slices.back().map(|s| s.to);
        let Some(span) = from.zip(to).map(|(from, to)| to.since(from)) else {
            return (0.0, 0.0);
        };
        // A single short reading is no rate.
        let seconds = span.max(RATE_OVER / 2).as_secs_f64();
        let sum = |of: fn(&Slice) -> f64| self.slices.iter().map(of).sum::<f64>() / seconds;
        (sum(|s| s.rx_bytes), sum(|s| s.tx_bytes))
    }

    /// Whether packets come in as usual, so that the line cannot be dead.
    pub(crate) fn is_alive(&self, now: Time) -> bool {
        let oldest = now - ALIVE_OVER;
        let recent = self.slices.iter().filter(|s| s.from >= oldest);
        let (rx, tx) = recent.fold((0.0, 0.0), |(rx, tx), s| {
            (rx + s.rx_packets, tx + s.tx_packets)
        });
        let Some(newest) = self.slices.back() else {
            return false;
        };
        let is_fresh = now.since(newest.to) < ALIVE_OVER && newest.rx_packets > 0.0;
        let due = tx * self.usual.unwrap_or(1.0);
        is_fresh && rx >= PACKETS && rx >= due * ALIVE
    }

    /// Whether the line is near its own rate: the one that the file gives, or else the highest that was
    /// measured, where `is_queueing` says that answers wait in a queue.
    pub(crate) fn is_full(&self, given: Rates, is_queueing: bool) -> bool {
        let (rx, tx) = self.rates();
        let near = |rate: f64, given: Option<u64>, highest: f64| match given {
            Some(given) => rate >= given as f64 * FULL,
            None => is_queueing && rate >= RATE_LEAST && rate >= highest * FULL,
        };
        near(rx, given.down, self.highest.0) || near(tx, given.up, self.highest.1)
    }

    /// Whether more moves than our own questions, so that the counters are worth reading often. Where
    /// nobody counts it may.
    pub(crate) fn is_moving(&self) -> bool {
        if self.last.is_none() {
            return true;
        }
        let packets: f64 = self.slices.iter().map(|s| s.tx_packets).sum();
        packets >= PACKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line whose counters are read every 100 ms.
    struct Line {
        traffic: Traffic,
        counters: Counters,
        now: Time,
    }

    impl Line {
        fn new() -> Self {
            let mut line = Self {
                traffic: Traffic::default(),
                counters: Counters::default(),
                now: Time::default(),
            };
            line.traffic.take(line.counters, line.now);
            line
        }

        /// So many readings with so many packets out and in between. Says after which reading there
        /// was a sign.
        fn run(&mut self, readings: usize, tx: u64, rx: u64, bytes: u64) -> Option<usize> {
            let mut sign = None;
            for n in 1..=readings {
                self.now = self.now + Duration::from_millis(100);
                self.counters.tx_packets += tx;
                self.counters.rx_packets += rx;
                self.counters.tx_bytes += tx * bytes;
                self.counters.rx_bytes += rx * bytes;
                if self.traffic.take(self.counters, self.now) {
                    sign = sign.or(Some(n));
                }
            }
            sign
        }
    }

    #[test]
    fn packets_without_answers_are_a_sign_at_the_first_reading() {
        let mut line = Line::new();
        assert_eq!(line.run(50, 40, 40, 100), None);
        assert!(line.traffic.is_alive(line.now));
        assert_eq!(line.run(5, 40, 0, 100), Some(1));
        assert!(!line.traffic.is_alive(line.now));
    }

    #[test]
    fn a_bad_line_is_alive_and_chatter_is_no_proof() {
        let mut line = Line::new();
        line.run(50, 40, 40, 100);
        line.run(3, 40, 12, 100);
        assert!(line.traffic.is_alive(line.now));
        line.run(3, 80, 8, 100);
        assert!(!line.traffic.is_alive(line.now));
    }

    #[test]
    fn few_packets_are_added_up_until_they_mean_something() {
        let mut line = Line::new();
        line.run(50, 2, 2, 100);
        assert_eq!(line.run(10, 2, 0, 100), Some(4));
    }

    #[test]
    fn a_quiet_line_gives_no_sign_and_no_proof() {
        let mut line = Line::new();
        assert_eq!(line.run(100, 0, 0, 0), None);
        assert!(!line.traffic.is_alive(line.now));
        assert!(!line.traffic.is_moving());
    }

    #[test]
    fn chatter_of_others_hides_no_sign() {
        let mut line = Line::new();
        line.run(50, 100, 100, 100);
        assert_eq!(line.run(5, 100, 3, 100), Some(1));
    }

    #[test]
    fn what_is_usual_for_the_line_is_no_sign() {
        let mut line = Line::new();
        line.run(100, 100, 30, 100);
        line.traffic.was_false_alarm();
        assert_eq!(line.run(50, 100, 30, 100), None);
        // One answer for twenty: learned from a false alarm.
        assert!(line.run(3, 100, 5, 100).is_some());
        line.traffic.was_false_alarm();
        assert_eq!(line.run(50, 100, 5, 100), None);
    }

    #[test]
    fn too_few_packets_are_a_sign_as_well() {
        let mut line = Line::new();
        line.run(50, 40, 40, 100);
        let sign = line.run(5, 40, 28, 100);
        assert!(sign.is_some_and(|n| n <= 3), "{sign:?}");
        let mut line = Line::new();
        line.run(50, 40, 40, 100);
        assert_eq!(line.run(50, 40, 38, 100), None);
    }

    #[test]
    fn a_sign_is_given_once_until_packets_come_in_again() {
        let mut line = Line::new();
        line.run(50, 40, 40, 100);
        assert_eq!(line.run(1, 40, 0, 100), Some(1));
        assert_eq!(line.run(20, 40, 0, 100), None);
        line.run(3, 40, 40, 100);
        assert_eq!(line.run(2, 40, 0, 100), Some(1));
    }

    #[test]
    fn a_line_is_full_near_the_given_rate_or_near_its_highest_with_a_queue() {
        let mut line = Line::new();
        let given = |down| Rates {
            down: Some(down),
            up: Some(1_000_000_000),
        };
        // 1,000 packets of 1,000 bytes a second: a megabyte a second.
        line.run(20, 10, 100, 1000);
        assert!(line.traffic.is_full(given(1_250_000), false));
        assert!(!line.traffic.is_full(given(2_500_000), true));
        assert!(line.traffic.is_full(Rates::default(), true));
        assert!(!line.traffic.is_full(Rates::default(), false));
        line.run(20, 5, 50, 1000);
        assert!(!line.traffic.is_full(Rates::default(), true));
    }

    #[test]
    fn another_interface_is_not_measured_against_the_one_before() {
        let mut line = Line::new();
        line.run(20, 10, 10, 1000);
        let before = line.traffic.highest;
        line.traffic.start_anew();
        line.counters = Counters {
            rx_packets: 1 << 40,
            tx_packets: 1 << 40,
            rx_bytes: 1 << 50,
            tx_bytes: 1 << 50,
        };
        assert_eq!(line.run(20, 10, 10, 1000), None);
        assert!(line.traffic.highest.0 <= before.0 * 1.01);
    }

    #[test]
    fn counters_that_begin_again_are_no_sign() {
        let mut line = Line::new();
        line.run(50, 40, 40, 100);
        line.counters = Counters::default();
        assert_eq!(line.run(1, 40, 40, 100), None);
        assert_eq!(line.run(20, 40, 40, 100), None);
    }
}

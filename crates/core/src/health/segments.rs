//! What the TCP connections of a line say of it: segments that are sent again while nothing is
//! acknowledged, or far more of them than usual, are a sign that it may be dead.
//!
//! Nothing here takes a line out of service: a sign begins a burst of probes. A host that is gone, a
//! lossy line and a full one send again as well, so each false alarm makes the next one come later,
//! and what was found on a line that is well is usual from then on.

use std::{collections::VecDeque, time::Duration};

use uplinkd_model::{FLOW_NUMBERS, Permille, TcpCounters, sign::Sign};

use crate::Time;

/// Connections that must send again. One alone may have lost its host.
const CONNECTIONS: usize = 2;
/// Segments that they must send again together.
const SEGMENTS: u64 = 3;
/// Within which time. A sender that hears nothing has tried four times by then.
const STALL_MAX: Duration = Duration::from_secs(5);
/// Segments that make a part of them worth judging, and those among them that must be sent again.
const SENT: u64 = 60;
const AGAIN: u64 = 6;
/// Within which time they must have left.
const RUN_MAX: Duration = Duration::from_secs(10);
/// What part sent again is too much: three times the usual one, and this.
const TIMES: f64 = 3.0;
const MORE: f64 = 0.05;
/// How much a run counts for what is usual.
const WEIGHT: f64 = 0.2;
/// How long no sign is given after a false alarm, doubled by each one that follows within the hour. At
/// the longest a burst of three targets costs a third of a megabyte a day.
const PAUSE_LEAST: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(640);
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// Over how long figures are shown, and how fine they are kept: sixty slices at most.
const SHOWN_OVER: Duration = Duration::from_secs(60);
const SLICE: Duration = Duration::from_secs(1);

/// What the TCP connections of a line did over the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TcpFigures {
    /// The mean round-trip time; none where none was measured.
    pub rtt: Option<Duration>,
    /// Segments that left with anything to acknowledge.
    pub sent: u64,
    /// Those of them that had left before.
    pub again: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    since: Time,
    rtt_sum: Duration,
    rtts: u64,
    sent: u64,
    again: u64,
}

/// What was sent since a moment, and what of it again, by connection.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    since: Time,
    sent: u64,
    again: [u64; FLOW_NUMBERS],
}

impl Run {
    fn begun(now: Time) -> Self {
        Self {
            since: now,
            ..Self::default()
        }
    }

    fn add(&mut self, grown: &TcpCounters) {
        self.sent += grown.sent;
        for (sum, more) in self.again.iter_mut().zip(grown.again) {
            *sum += more;
        }
    }

    /// Those that sent again.
    fn connections(&self) -> usize {
        self.again.iter().filter(|n| **n > 0).count()
    }

    fn segments(&self) -> u64 {
        self.again.iter().sum()
    }
}

/// The last sign, until what it says is over.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Alarm {
    NothingAcknowledged,
    MuchSentAgain(f64),
}

/// The memory of a line's TCP connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segments {
    last: Option<TcpCounters>,
    slices: VecDeque<Slice>,
    /// Since anything was acknowledged.
    stall: Run,
    /// Since the part that is sent again was last judged.
    run: Run,
    /// What part is usually sent again.
    usual: f64,
    alarm: Option<Alarm>,
    /// No sign before.
    not_before: Time,
    pause: Duration,
    false_at: Option<Time>,
}

impl Segments {
    /// Takes a reading. Says what is suspicious, where that is new.
    pub(crate) fn take(&mut self, counters: TcpCounters, now: Time) -> Option<Sign> {
        let grown = self.last.and_then(|before| counters.since(before));
        self.last = Some(counters);
        let Some(grown) = grown else {
            // The first reading, or counters that have begun again.
            (self.stall, self.run) = (Run::begun(now), Run::begun(now));
            return None;
        };
        self.keep(&grown, now);
        let stalled = self.judge_stall(&grown, now);
        self.judge_part(&grown, now).or(stalled)
    }

    /// The next reading is of another interface.
    pub(crate) fn start_anew(&mut self) {
        (self.last, self.alarm) = (None, None);
        self.slices.clear();
    }

    fn judge_stall(&mut self, grown: &TcpCounters, now: Time) -> Option<Sign> {
        if grown.acked > 0 && self.alarm == Some(Alarm::NothingAcknowledged) {
            self.alarm = None;
        }
        if grown.acked > 0 || now.since(self.stall.since) >= STALL_MAX {
            self.stall = Run::begun(now);
        }
        // What was sent again in the moment of an acknowledgement may have been so before it.
        if grown.acked > 0 {
            return None;
        }
        self.stall.add(grown);
        let (connections, segments) = (self.stall.connections(), self.stall.segments());
        if connections < CONNECTIONS || segments < SEGMENTS {
            return None;
        }
        self.raise(Alarm::NothingAcknowledged, now)?;
        Some(Sign::NothingAcknowledged {
            connections,
            segments,
        })
    }

    fn judge_part(&mut self, grown: &TcpCounters, now: Time) -> Option<Sign> {
        if now.since(self.run.since) >= RUN_MAX {
            self.run = Run::begun(now);
        }
        self.run.add(grown);
        if self.run.sent < SENT {
            return None;
        }
        let run = std::mem::replace(&mut self.run, Run::begun(now));
        let part = (run.segments() as f64 / run.sent as f64).min(1.0);
        let is_much = run.connections() >= CONNECTIONS
            && run.segments() >= AGAIN
            && part >= self.usual * TIMES + MORE;
        if !is_much {
            self.usual += (part - self.usual) * WEIGHT;
            if matches!(self.alarm, Some(Alarm::MuchSentAgain(_))) {
                self.alarm = None;
            }
            return None;
        }
        self.raise(Alarm::MuchSentAgain(part), now)?;
        Some(Sign::MuchSentAgain {
            part: permille(part),
            usual: permille(self.usual),
        })
    }

    /// Raises the alarm, unless one is on or it is too early for another.
    fn raise(&mut self, alarm: Alarm, now: Time) -> Option<()> {
        if self.alarm.is_some() || now < self.not_before {
            return None;
        }
        self.alarm = Some(alarm);
        Some(())
    }

    /// The probes say that the line is well.
    pub(crate) fn was_false_alarm(&mut self, now: Time) {
        let Some(alarm) = self.alarm.take() else {
            return;
        };
        if let Alarm::MuchSentAgain(part) = alarm {
            self.usual = part;
        }
        let is_another = self.false_at.is_some_and(|at| now.since(at) < FORGOTTEN);
        let longer = if is_another {
            self.pause * 2
        } else {
            PAUSE_LEAST
        };
        self.pause = longer.min(PAUSE_MAX);
        (self.false_at, self.not_before) = (Some(now), now + self.pause);
        self.stall = Run::begun(now);
    }

    /// The probes say that something is wrong.
    pub(crate) fn was_right(&mut self) {
        if self.alarm.is_some() {
            self.false_at = None;
        }
    }

    /// Whether connections wait for something, so that the counters are worth reading often.
    pub(crate) fn is_stalling(&self, now: Time) -> bool {
        self.stall.segments() > 0 && now.since(self.stall.since) < STALL_MAX
    }

    fn keep(&mut self, grown: &TcpCounters, now: Time) {
        self.forget(now);
        if self
            .slices
            .back()
            .is_none_or(|s| now.since(s.since) >= SLICE)
        {
            self.slices.push_back(Slice {
                since: now,
                ..Slice::default()
            });
        }
        if let Some(slice) = self.slices.back_mut() {
            slice.rtt_sum += grown.rtt_sum;
            slice.rtts += grown.rtts;
            slice.sent += grown.sent;
            slice.again += grown.all_again();
        }
    }

    fn forget(&mut self, now: Time) {
        let is_old = |s: &Slice| now.since(s.since) >= SHOWN_OVER;
        while self.slices.front().is_some_and(is_old) {
            self.slices.pop_front();
        }
    }

    /// What there is to show; none where nobody counts.
    pub(crate) fn figures(&self) -> Option<TcpFigures> {
        self.last?;
        let mut all = Slice::default();
        for slice in &self.slices {
            all.rtt_sum += slice.rtt_sum;
            all.rtts += slice.rtts;
            all.sent += slice.sent;
            all.again += slice.again;
        }
        let rtts = u32::try_from(all.rtts).unwrap_or(u32::MAX);
        Some(TcpFigures {
            rtt: all.rtt_sum.checked_div(rtts),
            sent: all.sent,
            again: all.again,
        })
    }
}

fn permille(part: f64) -> Permille {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 1000"
    )]
    let thousandths = (part.clamp(0.0, 1.0) * 1000.0).round() as u16;
    Permille(thousandths)
}

#[cfg(test)]
mod tests;

//! One target's answers and what they say: consecutive losses fail it, consecutive answers mend it.

use std::{collections::VecDeque, time::Duration};

use uplinkd_model::ProbeSpec;

/// What a target's answers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetVerdict {
    /// Nothing settled yet.
    Unknown,
    /// It answers.
    Pass,
    /// It does not.
    Fail,
}

/// Results kept for the loss and round-trip figures of the status; the oldest falls out. The
/// verdict does not depend on it.
const WINDOW_MAX: usize = 100;

/// The memory of one target.
#[derive(Clone, Debug, Default)]
pub struct TargetState {
    passing: Option<bool>,
    distrusted: bool,
    answers_in_a_row: u32,
    losses_in_a_row: u32,
    window: VecDeque<Option<Duration>>,
    sent: u64,
    lost: u64,
}

impl TargetState {
    /// A target whose line was just gone: nothing is known of it, but it must earn its trust by
    /// `rise` answers, where otherwise the first one will do.
    pub(crate) fn distrusted() -> Self {
        Self {
            distrusted: true,
            ..Self::default()
        }
    }

    /// An answer came in time.
    pub fn answered(&mut self, rtt: Duration, spec: &ProbeSpec) {
        self.record(Some(rtt));
        self.answers_in_a_row = self.answers_in_a_row.saturating_add(1);
        self.losses_in_a_row = 0;
        let needed = if self.passing == Some(false) || self.distrusted {
            spec.rise
        } else {
            1
        };
        if self.answers_in_a_row >= needed {
            self.passing = Some(true);
            self.distrusted = false;
        }
    }

    /// No answer came in time.
    pub fn lost(&mut self, spec: &ProbeSpec) {
        self.record(None);
        self.lost += 1;
        self.losses_in_a_row = self.losses_in_a_row.saturating_add(1);
        self.answers_in_a_row = 0;
        if self.losses_in_a_row >= spec.fall {
            self.passing = Some(false);
        }
    }

    fn record(&mut self, result: Option<Duration>) {
        self.sent += 1;
        if self.window.len() == WINDOW_MAX {
            self.window.pop_front();
        }
        self.window.push_back(result);
    }

    /// What the answers say now.
    pub fn verdict(&self) -> TargetVerdict {
        match self.passing {
            None => TargetVerdict::Unknown,
            Some(true) => TargetVerdict::Pass,
            Some(false) => TargetVerdict::Fail,
        }
    }

    /// Whether the newest result is a loss.
    pub(crate) fn missed_last(&self) -> bool {
        self.losses_in_a_row > 0
    }

    /// Lost probes as a part of 1, over the window.
    pub(crate) fn loss(&self) -> f64 {
        let lost = self.window.iter().filter(|r| r.is_none()).count();
        if self.window.is_empty() {
            0.0
        } else {
            lost as f64 / self.window.len() as f64
        }
    }

    /// The newest round-trip time in the window.
    pub(crate) fn last_rtt(&self) -> Option<Duration> {
        self.window.iter().rev().find_map(|r| *r)
    }

    /// Probes with a result, and how many of them were lost.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.sent, self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ProbeSpec {
        let (interval, timeout) = (Duration::from_millis(100), Duration::from_millis(100));
        ProbeSpec {
            targets: vec![],
            quorum: 1,
            interval,
            timeout,
            fall: 3,
            rise: 5,
        }
    }

    #[test]
    fn fall_losses_in_a_row_fail_a_target_and_rise_answers_mend_it() {
        let mut target = TargetState::default();
        target.answered(Duration::from_millis(2), &spec());
        assert_eq!(target.verdict(), TargetVerdict::Pass);
        for n in 1..=3 {
            assert_eq!(
                target.verdict(),
                TargetVerdict::Pass,
                "after {} losses",
                n - 1
            );
            target.lost(&spec());
        }
        assert_eq!(target.verdict(), TargetVerdict::Fail);
        for n in 1..=5 {
            assert_eq!(
                target.verdict(),
                TargetVerdict::Fail,
                "after {} answers",
                n - 1
            );
            target.answered(Duration::from_millis(2), &spec());
        }
        assert_eq!(target.verdict(), TargetVerdict::Pass);
    }

    #[test]
    fn an_answer_in_between_starts_the_count_again() {
        let mut target = TargetState::default();
        target.answered(Duration::from_millis(2), &spec());
        for _ in 0..10 {
            target.lost(&spec());
            target.lost(&spec());
            target.answered(Duration::from_millis(2), &spec());
        }
        assert_eq!(target.verdict(), TargetVerdict::Pass);
        assert!((target.loss() - 20.0 / 31.0).abs() < 1e-9);
    }

    #[test]
    fn a_line_that_was_gone_needs_rise_answers() {
        let mut target = TargetState::distrusted();
        (0..4).for_each(|_| target.answered(Duration::from_millis(2), &spec()));
        assert_eq!(target.verdict(), TargetVerdict::Unknown);
        target.answered(Duration::from_millis(2), &spec());
        assert_eq!(target.verdict(), TargetVerdict::Pass);
    }
}

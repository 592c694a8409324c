//! One target's answers and what they say: misses in a row fail it, an answer mends it, and on a dead
//! line several in a row.

use std::time::Duration;

use uplinkd_model::ProbeSpec;

use super::{
    Memory,
    patience::Patience,
    window::{Figures, Window},
};
use crate::{Time, event::ProbeId};

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

/// The memory of one target.
#[derive(Clone, Debug, Default)]
pub struct TargetState {
    passing: Option<bool>,
    distrusted: bool,
    answers_in_a_row: u32,
    /// The same, since the burst began.
    answers_in_burst: u32,
    misses_in_a_row: u32,
    /// When the first of them was asked.
    silent_since: Option<Time>,
    pub(crate) window: Window,
    pub(crate) memory: Memory,
    pub(crate) patience: Patience,
    /// The newest question that was answered not well, and what was wrong.
    refusal: Option<(ProbeId, String)>,
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

    /// An answer came before it was missed. `rise` answers in a row mend the target.
    pub(crate) fn answered(
        &mut self,
        probe: ProbeId,
        rtt: Duration,
        rise: u32,
        spec: &ProbeSpec,
        now: Time,
    ) {
        self.window.push(probe, Some(rtt), now, spec.window);
        self.memory.answered(now);
        self.sent += 1;
        self.count_answer(rtt, rise);
    }

    /// An answer came after it was missed: the target is alive, and slower than was thought.
    pub(crate) fn answered_late(&mut self, probe: ProbeId, rtt: Duration, rise: u32) {
        if self.window.correct(probe, rtt) {
            self.lost = self.lost.saturating_sub(1);
            self.memory.answered_late();
        }
        self.count_answer(rtt, rise);
    }

    fn count_answer(&mut self, rtt: Duration, rise: u32) {
        self.patience.learn(rtt);
        self.answers_in_a_row = self.answers_in_a_row.saturating_add(1);
        self.answers_in_burst = self.answers_in_burst.saturating_add(1);
        self.misses_in_a_row = 0;
        self.silent_since = None;
        self.refusal = None;
        let needed = match self.passing == Some(false) || self.distrusted {
            true => rise,
            false => 1,
        };
        if self.answers_in_a_row >= needed {
            self.passing = Some(true);
            self.distrusted = false;
        }
    }

    /// The answer to a question of then is missed. So many in a row fail the target.
    pub(crate) fn missed(
        &mut self,
        probe: ProbeId,
        asked: Time,
        fall: u32,
        spec: &ProbeSpec,
        now: Time,
    ) {
        self.window.push(probe, None, now, spec.window);
        self.sent += 1;
        self.lost += 1;
        self.misses_in_a_row = self.misses_in_a_row.saturating_add(1);
        (self.answers_in_a_row, self.answers_in_burst) = (0, 0);
        self.silent_since.get_or_insert(asked);
        if self.misses_in_a_row >= fall {
            self.passing = Some(false);
        }
    }

    /// An answer came, and was no good.
    pub(crate) fn refused(&mut self, probe: ProbeId, why: String) {
        self.refusal = Some((probe, why));
    }

    /// No answer came in all the time that there was; what was wrong before is no news any more.
    pub(crate) fn fell_silent(&mut self, probe: ProbeId) {
        self.gave_up(probe);
        self.refusal.take_if(|(refused, _)| *refused < probe);
    }

    /// What was wrong with the newest answer, where something was.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.refusal.as_ref().map(|(_, why)| why.as_str())
    }

    /// An answer that was missed will not count any more.
    pub(crate) fn gave_up(&mut self, probe: ProbeId) {
        self.window.give_up(probe);
        self.memory.lost();
    }

    /// What was lost before does not count any more.
    pub(crate) fn start_anew(&mut self, now: Time) {
        self.window.start_anew(now);
        self.memory.forget();
    }

    /// What the answers say now.
    pub fn verdict(&self) -> TargetVerdict {
        match self.passing {
            None => TargetVerdict::Unknown,
            Some(true) => TargetVerdict::Pass,
            Some(false) => TargetVerdict::Fail,
        }
    }

    /// Whether the newest result is a miss.
    pub(crate) fn missed_last(&self) -> bool {
        self.misses_in_a_row > 0
    }

    /// Misses in a row up to now.
    pub(crate) fn misses(&self) -> u32 {
        self.misses_in_a_row
    }

    /// How long it has not answered: since the first question that was missed.
    pub(crate) fn silent_for(&self, now: Time) -> Duration {
        self.silent_since.map_or(Duration::ZERO, |t| now.since(t))
    }

    /// Answers in a row up to now.
    pub(crate) fn answers(&self) -> u32 {
        self.answers_in_a_row
    }

    /// Answers in a row since the burst began.
    pub(crate) fn answers_in_burst(&self) -> u32 {
        self.answers_in_burst
    }

    /// A burst begins.
    pub(crate) fn begin_burst(&mut self) {
        self.answers_in_burst = 0;
    }

    /// The newest round-trip time in the window.
    pub(crate) fn last_rtt(&self) -> Option<Duration> {
        self.window.last_rtt()
    }

    /// Figures over the window.
    pub(crate) fn figures(&self) -> Figures {
        self.window.figures()
    }

    /// Probes with a result, and how many of them were lost.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.sent, self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(2);

    fn answer(target: &mut TargetState, rise: u32) {
        target.answered(
            ProbeId(0),
            RTT,
            rise,
            &ProbeSpec::default(),
            Time::default(),
        );
    }

    fn miss(target: &mut TargetState) {
        let now = Time::default();
        target.missed(ProbeId(7), now, 3, &ProbeSpec::default(), now);
        target.gave_up(ProbeId(7));
    }

    #[test]
    fn fall_misses_in_a_row_fail_a_target_and_rise_answers_mend_it() {
        let mut target = TargetState::default();
        answer(&mut target, 5);
        assert_eq!(target.verdict(), TargetVerdict::Pass);
        for n in 0..3 {
            assert_eq!(target.verdict(), TargetVerdict::Pass, "after {n} misses");
            miss(&mut target);
        }
        assert_eq!(target.verdict(), TargetVerdict::Fail);
        for n in 0..5 {
            assert_eq!(target.verdict(), TargetVerdict::Fail, "after {n} answers");
            answer(&mut target, 5);
        }
        assert_eq!(target.verdict(), TargetVerdict::Pass);
    }

    #[test]
    fn an_answer_in_between_starts_the_count_again() {
        let mut target = TargetState::default();
        answer(&mut target, 5);
        for _ in 0..10 {
            miss(&mut target);
            miss(&mut target);
            answer(&mut target, 5);
        }
        assert_eq!(target.verdict(), TargetVerdict::Pass);
        assert!((target.figures().loss() - 20.0 / 31.0).abs() < 1e-9);
    }

    #[test]
    fn a_late_answer_takes_the_misses_back() {
        let mut target = TargetState::default();
        answer(&mut target, 1);
        miss(&mut target);
        miss(&mut target);
        target.answered_late(ProbeId(7), Duration::from_millis(400), 1);
        assert_eq!(target.misses(), 0);
        assert_eq!(target.counts(), (3, 1));
        miss(&mut target);
        miss(&mut target);
        assert_eq!(target.verdict(), TargetVerdict::Pass);
    }

    #[test]
    fn a_line_that_was_gone_needs_rise_answers() {
        let mut target = TargetState::distrusted();
        (0..4).for_each(|_| answer(&mut target, 5));
        assert_eq!(target.verdict(), TargetVerdict::Unknown);
        answer(&mut target, 5);
        assert_eq!(target.verdict(), TargetVerdict::Pass);
    }
}

//! A group's own limits: from which loss or round-trip time on a line yields in it.
//!
//! They say what the traffic of a group puts up with, not whether a line works. So what a full line
//! loses counts as well, loss is taken over a minute, since a call suffers from two packets in a
//! hundred, and nobody leaves service for it.

use std::{collections::BTreeMap, time::Duration};

use uplinkd_model::{Permille, ProbeSpec, Reason, policy::YieldAt};

use super::{LOSSES_LEAST, RESULTS_LEAST};
use crate::{
    Time,
    probe::{REMEMBERED, TargetState, TargetVerdict, quantile},
};

/// A limit that a line exceeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    since: Time,
    /// By what.
    pub(crate) reason: Reason,
}

/// The limits that groups set to a line, and those that it exceeds.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupLimits {
    /// Those of all groups that it is in, each once.
    limits: Vec<YieldAt>,
    exceeded: BTreeMap<YieldAt, Exceeded>,
}

impl GroupLimits {
    pub(crate) fn new(mut limits: Vec<YieldAt>) -> Self {
        limits.sort_unstable();
        limits.dedup();
        Self {
            limits,
            exceeded: BTreeMap::new(),
        }
    }

    /// The same for other groups, with what is known of the limits that remain.
    pub(crate) fn with_memory_of(mut self, before: &Self) -> Self {
        let known = before.exceeded.iter();
        let known = known.filter(|(limit, _)| self.limits.contains(limit));
        self.exceeded = known.map(|(l, e)| (*l, e.clone())).collect();
        self
    }

    /// No group asks.
    pub(crate) fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    /// Whether it exceeds this one, and by what.
    pub(crate) fn exceeded(&self, limit: YieldAt) -> Option<&Reason> {
        self.exceeded.get(&limit).map(|e| &e.reason)
    }

    /// Those that it exceeds.
    pub(crate) fn all_exceeded(&self) -> impl Iterator<Item = YieldAt> + '_ {
        self.exceeded.keys().copied()
    }

    /// The line's link is gone: what was found of it says nothing any more.
    pub(crate) fn forget(&mut self) {
        self.exceeded.clear();
    }

    /// Judges by the deciding targets. Says which limit it exceeds now and did not before, and by what, or
    /// which one it does no more; the last of several.
    pub(crate) fn judge(
        &mut self,
        deciding: &[&TargetState],
        spec: &ProbeSpec,
        now: Time,
    ) -> Option<(YieldAt, Option<Reason>)> {
        let mut news = None;
        let is_timed = self.limits.iter().any(|l| l.rtt.is_some());
        let found = Found::of(deciding, is_timed);
        for limit in &self.limits {
            let known = self.exceeded.get(limit);
            let reason = found.exceeds(limit, known.is_some(), spec.window);
            match (known, reason) {
                (None, None) => {}
                (Some(known), Some(reason)) => {
                    let since = known.since;
                    self.exceeded.insert(*limit, Exceeded { since, reason });
                }
                (None, Some(reason)) => {
                    news = Some((*limit, Some(reason.clone())));
                    let since = now;
                    self.exceeded.insert(*limit, Exceeded { since, reason });
                }
                (Some(known), None) => {
                    if now >= known.since + spec.hold {
                        news = Some((*limit, None));
                        self.exceeded.remove(limit);
                    }
                }
            }
        }
        news
    }
}

/// How well a line carries traffic, as a group sees it.
struct Found {
    loss: Option<Permille>,
    rtt: Option<Duration>,
}

impl Found {
    fn of(deciding: &[&TargetState], is_timed: bool) -> Self {
        let passing = deciding.iter();
        let passing: Vec<_> = passing
            .filter(|t| t.verdict() == TargetVerdict::Pass)
            .collect();
        let (asked, lost) = passing.iter().fold((0, 0), |(asked, lost), target| {
            let (also, missed) = target.memory.results();
            (asked + also, lost + missed)
        });
        let permille = match lost {
            lost if lost < LOSSES_LEAST => 0,
            lost => lost * 1000 / asked.max(1),
        };
        let medians = passing.iter().filter(|_| is_timed);
        let medians = medians.filter_map(|t| quantile(t.window.judged_rtts().collect(), 50));
        let is_enough = asked >= RESULTS_LEAST;
        Self {
            loss: is_enough.then(|| Permille(u16::try_from(permille).unwrap_or(1000))),
            rtt: medians.min().filter(|_| is_enough),
        }
    }

    /// A line that is over the limit already has to be at half the loss, and four fifths of the time,
    /// before it is not.
    fn exceeds(&self, limit: &YieldAt, is_already: bool, window: Duration) -> Option<Reason> {
        if let Some((loss, limit)) = self.loss.zip(limit.loss)
            && (loss >= limit || is_already && loss.0 * 2 >= limit.0)
            && loss.0 > 0
        {
            let over = REMEMBERED;
            return Some(Reason::Lossy { loss, limit, over });
        }
        if let Some((rtt, limit)) = self.rtt.zip(limit.rtt)
            && (rtt >= limit || is_already && rtt * 5 >= limit * 4)
        {
            let over = window;
            return Some(Reason::Slow { rtt, limit, over });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ProbeId;

    const CALLS: YieldAt = YieldAt {
        loss: Some(Permille(20)),
        rtt: Some(Duration::from_millis(150)),
    };
    const DOWNLOADS: YieldAt = YieldAt {
        loss: Some(Permille(300)),
        rtt: None,
    };

    fn at(s: u64) -> Time {
        Time(Duration::from_secs(s))
    }

    /// A target with so many answers in a minute, so many of them lost, of so many milliseconds.
    fn target(answers: u32, losses: u32, ms: u64) -> TargetState {
        let (spec, mut state) = (ProbeSpec::default(), TargetState::default());
        for n in 0..answers {
            if n < losses {
                state.missed(ProbeId(0), at(50), 3, &spec, at(50));
                state.gave_up(ProbeId(0));
            }
            let rtt = Duration::from_millis(ms);
            state.answered(ProbeId(1), rtt, 1, &spec, at(50));
        }
        state
    }

    fn over(limits: &mut GroupLimits, target: &TargetState, now: u64) -> Vec<YieldAt> {
        limits.judge(&[target], &ProbeSpec::default(), at(now));
        limits.all_exceeded().collect()
    }

    fn limits() -> GroupLimits {
        GroupLimits::new(vec![CALLS, DOWNLOADS, CALLS])
    }

    #[test]
    fn each_group_has_its_own_limit() {
        let of = |losses| over(&mut limits(), &target(100, losses, 20), 50);
        assert_eq!(of(2), [], "two may be chance");
        assert_eq!(of(3), [CALLS]);
        assert_eq!(of(42), [CALLS]);
        assert_eq!(of(43), [CALLS, DOWNLOADS], "43 of 143");
    }

    #[test]
    fn it_yields_no_more_at_half_the_loss_and_four_fifths_of_the_time() {
        let mut limits = limits();
        assert_eq!(over(&mut limits, &target(300, 7, 20), 50), [CALLS]);
        assert_eq!(over(&mut limits, &target(300, 4, 20), 51), [CALLS]);
        assert_eq!(over(&mut limits, &target(399, 3, 20), 52), []);
        assert_eq!(over(&mut limits, &target(300, 0, 149), 53), []);
        assert_eq!(over(&mut limits, &target(300, 0, 150), 54), [CALLS]);
        assert_eq!(over(&mut limits, &target(300, 0, 120), 55), [CALLS]);
        assert_eq!(over(&mut limits, &target(300, 0, 119), 56), []);
    }

    #[test]
    fn hold_keeps_it_over_the_limit_for_so_long() {
        let spec = ProbeSpec {
            hold: Duration::from_secs(10),
            ..ProbeSpec::default()
        };
        let mut limits = limits();
        assert!(
            limits
                .judge(&[&target(100, 3, 20)], &spec, at(50))
                .is_some()
        );
        let well = target(100, 0, 20);
        assert_eq!(limits.judge(&[&well], &spec, at(59)), None);
        assert!(limits.exceeded(CALLS).is_some());
        assert!(limits.judge(&[&well], &spec, at(60)).is_some());
        assert!(limits.exceeded(CALLS).is_none());
    }

    #[test]
    fn a_silent_target_and_few_results_say_nothing() {
        let mut silent = target(100, 50, 20);
        let spec = ProbeSpec::default();
        (0..3).for_each(|_| silent.missed(ProbeId(2), at(51), 3, &spec, at(51)));
        assert_eq!(over(&mut limits(), &silent, 51), []);
        assert_eq!(over(&mut limits(), &target(6, 3, 400), 51), []);
    }

    #[test]
    fn another_file_keeps_what_is_known_of_the_limits_that_remain() {
        let mut before = limits();
        over(&mut before, &target(100, 60, 20), 50);
        let after = GroupLimits::new(vec![DOWNLOADS]).with_memory_of(&before);
        assert_eq!(after.all_exceeded().collect::<Vec<_>>(), [DOWNLOADS]);
    }
}

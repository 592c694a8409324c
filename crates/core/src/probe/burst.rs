//! Asking fast for a while, until it is clear what is wrong.

use std::time::Duration;

use crate::Time;

/// How long a burst lasts at most. A line that is neither well nor dead is asked slowly again after
/// it, so that a bad metered line costs a bounded amount.
const BURST_MAX: Duration = Duration::from_secs(10);
/// How many of the slow intervals must pass after a burst that came to its longest.
const PAUSE: u32 = 10;

/// Whether a line is asked fast.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Burst {
    since: Option<Time>,
    not_before: Time,
}

impl Burst {
    /// Something looks wrong. Says whether the burst begins now.
    pub(crate) fn begin(&mut self, now: Time) -> bool {
        if self.since.is_some() || now < self.not_before {
            return false;
        }
        self.since = Some(now);
        true
    }

    /// Something is wrong beyond doubt: a pause is over.
    pub(crate) fn end_pause(&mut self) {
        self.not_before = Time::default();
    }

    /// It is clear what is wrong, or that nothing is. Says whether a burst was on.
    pub(crate) fn end(&mut self) -> bool {
        self.since.take().is_some()
    }

    /// Whether it is on.
    pub(crate) fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// Ends a burst that has lasted long enough; `interval` is the slow one.
    pub(crate) fn heed_end(&mut self, interval: Duration, now: Time) {
        if self
            .since
            .is_some_and(|since| now.since(since) >= BURST_MAX)
        {
            self.since = None;
            self.not_before = now + interval.saturating_mul(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Time {
        Time(Duration::from_secs(s))
    }

    #[test]
    fn a_burst_is_bounded_and_followed_by_a_pause() {
        let mut burst = Burst::default();
        assert!(burst.begin(at(0)));
        assert!(!burst.begin(at(1)), "it is on already");
        burst.heed_end(Duration::from_secs(1), at(9));
        assert!(burst.is_on());
        burst.heed_end(Duration::from_secs(1), at(10));
        assert!(!burst.is_on());
        assert!(!burst.begin(at(19)));
        assert!(burst.begin(at(20)));
    }

    #[test]
    fn one_that_told_what_is_wrong_may_begin_again_at_once() {
        let mut burst = Burst::default();
        burst.begin(at(0));
        assert!(burst.end());
        assert!(!burst.end());
        assert!(burst.begin(at(1)));
    }
}

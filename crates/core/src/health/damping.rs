//! Flap damping, in the manner of RFC 2439: every failure adds to a penalty that decays by half in a
//! fixed time. A line whose penalty is too high stays out of service although it works, until the
//! penalty is low enough.
//!
//! ```text
//! penalty
//!  2000 ┤    ┌╮  second failure
//!  1500 ┼┄┄┄┄┼┄╲┄┄┄┄┄┄┄┄┄┄ SUPPRESS: held from here on
//!  1000 ┤┌╮  │  ╲
//!   750 ┼┄┄╲┄┄┄┄┄┄╲┄┄┄┄┄┄┄ REUSE: let go from here on
//!       └┴──╲┴──────╲─────> time
//! ```

use std::time::Duration;

use crate::Time;

/// What one failure adds.
const FAILURE: f64 = 1000.0;
/// From here on a line is held: two failures within the half-life.
const SUPPRESS: f64 = 1500.0;
/// Below this it is let go.
const REUSE: f64 = 750.0;
/// No penalty is higher, so that a line which has become quiet waits for 2.4 half-lives at most.
const CEILING: f64 = 4000.0;

/// The penalty of one line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Damping {
    penalty: f64,
    at: Time,
    is_held: bool,
    /// Failures since the penalty was last low.
    failures: u32,
}

impl Damping {
    /// The line has failed. Without a half-life nothing is remembered.
    pub(crate) fn failed(&mut self, half_life: Option<Duration>, now: Time) {
        let Some(half_life) = half_life else {
            *self = Self::default();
            return;
        };
        self.decay(half_life, now);
        self.penalty = (self.penalty + FAILURE).min(CEILING);
        self.failures = self.failures.saturating_add(1);
        self.is_held |= self.penalty >= SUPPRESS;
    }

    /// Until when a line that works is held out of service, and for how many failures; none where it
    /// is not.
    pub(crate) fn held_until(
        &mut self,
        half_life: Option<Duration>,
        now: Time,
    ) -> Option<(Time, u32)> {
        let Some(half_life) = half_life else {
            *self = Self::default();
            return None;
        };
        self.decay(half_life, now);
        if !self.is_held {
            return None;
        }
        let halvings = (self.penalty / REUSE).log2();
        Some((now + half_life.mul_f64(halvings.max(0.0)), self.failures))
    }

    fn decay(&mut self, half_life: Duration, now: Time) {
        let passed = now.since(self.at).as_secs_f64() / half_life.as_secs_f64();
        self.penalty *= 0.5_f64.powf(passed);
        self.at = now;
        // A rounding error more must not hold it for another tick.
        if self.penalty <= REUSE * 1.000_001 {
            (self.is_held, self.failures) = (false, u32::from(self.penalty > REUSE / 2.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Option<Duration> = Some(Duration::from_secs(60));

    fn at(s: u64) -> Time {
        Time(Duration::from_secs(s))
    }

    #[test]
    fn one_failure_is_forgiven_at_once_and_a_second_one_is_not() {
        let mut damping = Damping::default();
        damping.failed(HALF, at(0));
        assert_eq!(damping.held_until(HALF, at(1)), None);
        damping.failed(HALF, at(4));
        let (until, failures) = damping.held_until(HALF, at(5)).unwrap();
        assert_eq!(failures, 2);
        // 1955 points are down to 750 after 1.38 half-lives.
        let seconds = until.since(at(4)).as_secs_f64();
        assert!((82.0..84.0).contains(&seconds), "{seconds}");
        assert_eq!(damping.held_until(HALF, until), None);
    }

    #[test]
    fn failures_far_apart_are_single_ones() {
        let mut damping = Damping::default();
        for n in 0..100 {
            damping.failed(HALF, at(n * 120));
            assert_eq!(damping.held_until(HALF, at(n * 120 + 1)), None, "{n}");
        }
    }

    #[test]
    fn a_line_that_flaps_for_ever_is_held_for_ever_and_let_go_soon_after() {
        let mut damping = Damping::default();
        for n in 0..75 {
            damping.failed(HALF, at(n * 4));
            let held = damping.held_until(HALF, at(n * 4 + 2));
            assert_eq!(held.is_some(), n > 0, "failure {n}");
        }
        let (until, _) = damping.held_until(HALF, at(300)).unwrap();
        assert!(until <= at(300 + 145), "{until:?}");
    }

    #[test]
    fn without_a_half_life_nothing_is_held() {
        let mut damping = Damping::default();
        (0..9).for_each(|n| damping.failed(None, at(n)));
        assert_eq!(damping.held_until(None, at(9)), None);
    }
}

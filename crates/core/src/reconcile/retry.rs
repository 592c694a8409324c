//! How long to wait before trying again, and how often to put back what a rival keeps undoing.

use std::{collections::VecDeque, time::Duration};

use crate::Time;

/// Waiting time after attempts that did not settle: doubles from 100 ms to 30 s.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(30);
    /// Failed attempts after which the kernel is reported as diverged.
    const PATIENCE: u32 = 3;

    /// Notes a failed attempt and says how long to wait.
    pub(crate) fn failed(&mut self) -> Duration {
        let wait = Self::FIRST.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        wait.min(Self::LONGEST)
    }

    /// Whether this was the attempt after which people should be told. True once.
    pub(crate) fn has_run_out_of_patience(&self) -> bool {
        self.failures == Self::PATIENCE
    }

    /// Settled.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Repairs of drift: at once, until somebody undoes us again and again; then slower, since two
/// programs that fight over a rule at full speed are an outage of their own.
#[derive(Debug, Default)]
pub(crate) struct RepairLimit {
    recent: VecDeque<Time>,
}

impl RepairLimit {
    /// Repairs at once within [`Self::WINDOW`]; later ones in it wait for [`Self::PAUSE`].
    const AT_ONCE_MAX: usize = 10;
    const WINDOW: Duration = Duration::from_secs(30);
    const PAUSE: Duration = Duration::from_secs(5);

    /// Notes a repair and says how long it has to wait, and whether a rival is at work.
    pub(crate) fn wait(&mut self, now: Time) -> Option<Duration> {
        while self
            .recent
            .front()
            .is_some_and(|t| now.since(*t) > Self::WINDOW)
        {
            self.recent.pop_front();
        }
        if self.recent.len() >= Self::AT_ONCE_MAX {
            let since_last = self
                .recent
                .back()
                .map(|t| now.since(*t))
                .unwrap_or_default();
            if since_last < Self::PAUSE {
                return Some(Self::PAUSE - since_last);
            }
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.failed().as_millis()).collect();
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[11], 30_000);
        backoff.reset();
        assert_eq!(backoff.failed().as_millis(), 100);
    }

    #[test]
    fn a_rival_slows_repairs_down_but_never_stops_them() {
        let mut limit = RepairLimit::default();
        let mut now = Time::default();
        let mut repaired = 0;
        for _ in 0..1000 {
            repaired += usize::from(limit.wait(now).is_none());
            now = now + Duration::from_millis(100);
        }
        // Ten at once in each of the four windows, and one every 5 s between.
        assert!((20..=60).contains(&repaired), "{repaired} repairs in 100 s");
        now = now + Duration::from_secs(60);
        assert_eq!(limit.wait(now), None);
    }
}

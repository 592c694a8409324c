//! How long to wait for an answer until it counts as missed: by the target's own round-trip times, as
//! TCP finds its retransmission time (RFC 6298).

use std::time::Duration;

/// Answers before which nothing is known of a target's usual times.
const LEARNED: u32 = 5;
/// What is waited beyond the expected time at least: a busy machine, at either end, answers late.
const SLACK: Duration = Duration::from_millis(50);

/// A target's smoothed round-trip time and how much it varies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patience {
    smoothed: Option<Duration>,
    variation: Duration,
    /// How many answers it was learned from.
    answers: u32,
    /// The shortest time seen: what the line takes when nothing stands in the way.
    least: Option<Duration>,
}

impl Patience {
    /// An answer took so long.
    pub(crate) fn learn(&mut self, rtt: Duration) {
        self.answers = self.answers.saturating_add(1);
        self.least = Some(self.least.map_or(rtt, |least| least.min(rtt)));
        let Some(smoothed) = self.smoothed else {
            (self.smoothed, self.variation) = (Some(rtt), rtt / 2);
            return;
        };
        // Weights of 1/4 and 1/8, as in RFC 6298.
        let off = smoothed.abs_diff(rtt);
        self.variation = (self.variation * 3 + off) / 4;
        self.smoothed = Some((smoothed * 7 + rtt) / 8);
    }

    /// How long to wait, at most `timeout`; as long as that before enough was learned.
    pub(crate) fn limit(&self, timeout: Duration) -> Duration {
        let known = self.smoothed.filter(|_| self.answers >= LEARNED);
        let Some(smoothed) = known else {
            return timeout;
        };
        (smoothed + self.variation * 4 + SLACK).min(timeout)
    }

    /// Whether answers take much longer than they could: queues are full.
    pub(crate) fn is_queueing(&self) -> bool {
        let times = self.smoothed.zip(self.least);
        times.is_some_and(|(now, least)| now >= least * 2 + Duration::from_millis(20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn after(rtts: &[u64]) -> Patience {
        let mut patience = Patience::default();
        rtts.iter().for_each(|rtt| patience.learn(ms(*rtt)));
        patience
    }

    #[test]
    fn before_it_is_learned_it_is_as_long_as_may_be() {
        assert_eq!(Patience::default().limit(ms(1000)), ms(1000));
        assert_eq!(after(&[1; 4]).limit(ms(1000)), ms(1000));
        assert!(after(&[1; 5]).limit(ms(1000)) < ms(100));
    }

    #[test]
    fn a_steady_target_is_missed_soon_and_an_unsteady_one_later() {
        let steady = after(&[20; 50]).limit(ms(1000));
        assert!((ms(70)..ms(75)).contains(&steady), "{steady:?}");
        let unsteady: Vec<u64> = (0..50).map(|n| if n % 2 == 0 { 20 } else { 120 }).collect();
        let unsteady = after(&unsteady).limit(ms(1000));
        assert!((ms(250)..ms(350)).contains(&unsteady), "{unsteady:?}");
    }

    #[test]
    fn it_never_exceeds_the_timeout() {
        assert_eq!(after(&[900, 100, 900, 100, 900]).limit(ms(1000)), ms(1000));
    }

    #[test]
    fn a_queue_shows_in_the_times() {
        assert!(!after(&[20; 50]).is_queueing());
        let mut full = vec![20; 50];
        full.extend([400; 20]);
        assert!(after(&full).is_queueing());
        // A millisecond where there was a tenth of one is no queue.
        assert!(!after(&[1, 8, 8, 8, 8, 8, 8]).is_queueing());
    }
}

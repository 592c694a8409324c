//! The probes of one socket that are under way, and the arithmetic of round-trip times.

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

/// Probes under way that one socket remembers: eight targets asked ten times a second, for
/// 12 seconds. When full the oldest is forgotten, and an answer that comes so late is ignored.
pub(crate) const OUTSTANDING_MAX: usize = 1024;

/// By how much the kernel's stamps may exceed our own stopwatch before they are not believed:
/// both clocks are read one after the other, and adjtime slews one of them.
const CLOCKS_APART_MAX: Duration = Duration::from_millis(1);

/// A moment on both clocks: the kernel stamps packets with the wall clock, which may be set; the
/// other one may not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) wall: SystemTime,
    pub(crate) steady: Instant,
}

impl Stamp {
    /// This moment.
    pub(crate) fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            steady: Instant::now(),
        }
    }
}

/// One probe under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) id: u64,
    pub(crate) target: IpAddr,
    pub(crate) token: u64,
    pub(crate) at: Stamp,
}

/// Probes under way by sequence number. Numbers are given out here, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    /// The number of the first in `sent`.
    first: u16,
    /// Answered ones are none.
    sent: VecDeque<Option<Sent>>,
}

impl Outstanding {
    /// The sequence number that the next [`Outstanding::push`] takes.
    pub(crate) fn next(&self) -> u16 {
        // Never above OUTSTANDING_MAX, far below 65,536.
        self.first
            .wrapping_add(u16::try_from(self.sent.len()).unwrap_or(u16::MAX))
    }

    /// Remembers a probe that left with the number [`Outstanding::next`] gave.
    pub(crate) fn push(&mut self, sent: Sent) {
        self.sent.push_back(Some(sent));
        while self.sent.len() > OUTSTANDING_MAX || matches!(self.sent.front(), Some(None)) {
            self.sent.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    /// Takes out the probe that this answers: sequence, source and token must all be right, and
    /// the second answer to one probe finds nothing any more.
    pub(crate) fn take(&mut self, sequence: u16, source: IpAddr, token: u64) -> Option<Sent> {
        let index = usize::from(sequence.wrapping_sub(self.first));
        let slot = self.sent.get_mut(index)?;
        slot.take_if(|sent| sent.target == source && sent.token == token)
    }
}

/// How long an answer took.
///
/// The kernel's receive stamp tells it to the microsecond however late we are to read it. Where
/// the wall clock was set in between, that difference is negative or longer than our own stopwatch
/// allows; then the stopwatch, which includes our own lateness, is the best that is known. The
/// answer still counts: setting a clock must not look like a loss on every uplink at once.
pub(crate) fn rtt(sent: Stamp, received: Option<SystemTime>, now: Instant) -> Duration {
    let stopwatch = now.saturating_duration_since(sent.steady);
    received
        .and_then(|received| received.duration_since(sent.wall).ok())
        .filter(|stamped| *stamped <= stopwatch + CLOCKS_APART_MAX)
        .unwrap_or(stopwatch)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn sent(id: u64) -> Sent {
        Sent {
            id,
            target: TARGET,
            token: id + 1000,
            at: Stamp::now(),
        }
    }

    #[test]
    fn a_probe_is_answered_once_and_only_by_its_target_with_its_token() {
        let mut table = Outstanding::default();
        let sequence = table.next();
        table.push(sent(1));
        assert!(table.take(sequence, OTHER, 1001).is_none());
        assert!(table.take(sequence, TARGET, 1002).is_none());
        assert!(table.take(sequence.wrapping_add(1), TARGET, 1001).is_none());
        assert!(table.take(sequence.wrapping_sub(1), TARGET, 1001).is_none());
        assert_eq!(table.take(sequence, TARGET, 1001).map(|s| s.id), Some(1));
        assert!(table.take(sequence, TARGET, 1001).is_none());
    }

    #[test]
    fn sequence_numbers_wrap_and_the_table_stays_bounded() {
        let mut table = Outstanding::default();
        let mut numbers = VecDeque::new();
        for id in 0..200_000_u64 {
            numbers.push_back((id, table.next()));
            table.push(sent(id));
            assert!(table.sent.len() <= OUTSTANDING_MAX);
            if numbers.len() > 500 {
                // One in seven is never answered.
                let (id, sequence) = numbers.pop_front().unwrap();
                if id % 7 != 0 {
                    assert_eq!(
                        table.take(sequence, TARGET, id + 1000).map(|s| s.id),
                        Some(id)
                    );
                }
            }
        }
    }

    #[test]
    fn the_oldest_is_forgotten_when_the_table_is_full() {
        let mut table = Outstanding::default();
        for id in 0..=OUTSTANDING_MAX as u64 {
            table.push(sent(id));
        }
        assert!(table.take(0, TARGET, 1000).is_none());
        assert!(table.take(1, TARGET, 1001).is_some());
    }

    #[test]
    fn a_set_clock_falls_back_to_the_stopwatch() {
        let ms = Duration::from_millis;
        let at = Stamp::now();
        let now = at.steady + ms(50);
        // As it should be: read 40 ms late, stamped right.
        assert_eq!(rtt(at, Some(at.wall + ms(10)), now), ms(10));
        // Set back, set forward, no stamp at all.
        assert_eq!(rtt(at, Some(at.wall - ms(1)), now), ms(50));
        assert_eq!(rtt(at, Some(at.wall + ms(3_600_000)), now), ms(50));
        assert_eq!(rtt(at, None, now), ms(50));
        // The near miss: within what two clocks may differ.
        assert_eq!(rtt(at, Some(at.wall + ms(51)), now), ms(51));
    }
}

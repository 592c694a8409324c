//! Reading the records of traffic.

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::addresses::Isp;

/// A success counts as lasting when no failure follows it for this long (or until the end of the
/// record). Shorter, and the pauses of a lossy line would count as recoveries.
const LASTING: Duration = Duration::from_secs(1);

/// How an attempt to make a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// An answer came; the server saw this source.
    Answered(IpAddr),
    /// Nothing came in time.
    Lost,
    /// Refused, reset or reported unreachable, with the error number.
    Refused(i32),
    /// Our own kernel would not send it, with the error number.
    NotSent(i32),
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// When it was begun.
    pub begun: Instant,
    /// When it was answered or given up.
    pub ended: Instant,
    /// How.
    pub ending: Ending,
}

impl Attempt {
    /// Whether an answer came.
    pub fn is_answered(&self) -> bool {
        matches!(self.ending, Ending::Answered(_))
    }

    /// The provider whose line carried it, when it was answered and translated.
    pub fn isp(&self) -> Option<Isp> {
        match self.ending {
            Ending::Answered(source) => Isp::of(source),
            Ending::Lost | Ending::Refused(_) | Ending::NotSent(_) => None,
        }
    }
}

/// Attempts in the order in which they were begun.
#[derive(Clone, Debug, Default)]
pub struct Attempts(pub Vec<Attempt>);

impl Attempts {
    /// How many were not answered, for whatever reason.
    pub fn failed(&self) -> usize {
        self.0.iter().filter(|a| !a.is_answered()).count()
    }

    /// The interruption that they met, if any.
    pub fn outage(&self) -> Option<Outage> {
        Outage::of(self.0.iter().map(|a| (a.begun, a.is_answered())))
    }

    /// Those begun at or after an instant.
    #[must_use]
    pub fn since(&self, from: Instant) -> Self {
        Self(self.0.iter().filter(|a| a.begun >= from).copied().collect())
    }

    /// When the first attempt was begun, at or after an instant, that another line than this
    /// provider's carried.
    pub fn first_not_over(&self, isp: Isp, from: Instant) -> Option<Instant> {
        let mut later = self.0.iter().filter(|a| a.begun >= from);
        later
            .find(|a| a.isp().is_some_and(|i| i != isp))
            .map(|a| a.begun)
    }

    /// As [`Self::first_not_over`], for the first one over this provider's line.
    pub fn first_over(&self, isp: Isp, from: Instant) -> Option<Instant> {
        let mut later = self.0.iter().filter(|a| a.begun >= from);
        later.find(|a| a.isp() == Some(isp)).map(|a| a.begun)
    }

    /// Which lines carried them.
    pub fn shares(&self) -> Shares {
        let mut shares = Shares::default();
        for attempt in &self.0 {
            shares.count(attempt);
        }
        shares
    }
}

/// How many connections each line carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// Answered connections per provider.
    pub over: BTreeMap<Isp, usize>,
    /// Answered, but the source was of no provider: not translated, or not from behind the router.
    pub elsewhere: usize,
    /// Not answered.
    pub failed: usize,
}

impl Shares {
    fn count(&mut self, attempt: &Attempt) {
        match (attempt.isp(), attempt.is_answered()) {
            (Some(isp), _) => *self.over.entry(isp).or_default() += 1,
            (None, true) => self.elsewhere += 1,
            (None, false) => self.failed += 1,
        }
    }

    /// Connections that this provider's line carried.
    pub fn of(&self, isp: Isp) -> usize {
        self.over.get(&isp).copied().unwrap_or(0)
    }

    /// All that were answered.
    pub fn answered(&self) -> usize {
        self.over.values().sum::<usize>() + self.elsewhere
    }

    /// This provider's part of all that were answered, in percent.
    pub fn percent(&self, isp: Isp) -> f64 {
        percent(self.of(isp), self.answered())
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (isp, count) in &self.over {
            write!(f, "{isp} {count} ({:.1} %), ", self.percent(*isp))?;
        }
        if self.elsewhere > 0 {
            write!(f, "not translated {}, ", self.elsewhere)?;
        }
        write!(f, "failed {}", self.failed)
    }
}

/// A part of a whole in percent; 0 of nothing.
pub(crate) fn percent(part: usize, whole: usize) -> f64 {
    let exact = |n: usize| u32::try_from(n).map_or(f64::INFINITY, f64::from);
    if whole == 0 {
        0.0
    } else {
        100.0 * exact(part) / exact(whole)
    }
}

/// An interruption: from the first failure to the first success that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the first failed attempt was begun.
    pub began: Instant,
    /// When the first lastingly successful attempt was begun; `None` when it never was.
    pub ended: Option<Instant>,
    /// Failures between the two.
    pub lost: usize,
}

impl Outage {
    /// The first interruption in a record of attempts in time order: when, and whether it worked.
    pub fn of(record: impl IntoIterator<Item = (Instant, bool)>) -> Option<Self> {
        let mut outage: Option<Self> = None;
        for (at, works) in record {
            match &mut outage {
                None if works => {}
                None => {
                    outage = Some(Self {
                        began: at,
                        ended: None,
                        lost: 1,
                    });
                }
                Some(o) => {
                    if o.ended.is_some_and(|e| at.duration_since(e) >= LASTING) {
                        break;
                    }
                    if works {
                        if o.ended.is_none() {
                            o.ended = Some(at);
                        }
                    } else {
                        o.ended = None;
                        o.lost += 1;
                    }
                }
            }
        }
        outage
    }

    /// How long it was; `None` when it never ended.
    pub fn duration(&self) -> Option<Duration> {
        Some(self.ended?.duration_since(self.began))
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.duration() {
            Some(d) => write!(f, "{} ms, {} lost", d.as_millis(), self.lost),
            None => write!(f, "never ended, {} lost", self.lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pattern: &[(u64, bool)]) -> Option<Outage> {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        Outage::of(pattern.iter().map(|(ms, ok)| (at(*ms), *ok)))
    }

    #[test]
    fn no_failure_is_no_outage() {
        assert_eq!(record(&[]), None);
        assert_eq!(record(&[(0, true), (10, true)]), None);
    }

    #[test]
    fn an_outage_lasts_until_the_success_that_lasts() {
        let pattern = [(0, true), (10, false), (20, true), (30, false), (40, true)];
        let outage = record(&pattern).unwrap();
        assert_eq!(outage.duration(), Some(Duration::from_millis(30)));
        assert_eq!(outage.lost, 2);
    }

    #[test]
    fn a_failure_long_after_the_recovery_is_another_outage() {
        let mut pattern = vec![(0, false), (10, true)];
        pattern.extend((2..=110).map(|n| (n * 10, true)));
        pattern.push((1200, false));
        let outage = record(&pattern).unwrap();
        assert_eq!(outage.duration(), Some(Duration::from_millis(10)));
        assert_eq!(outage.lost, 1);
    }

    #[test]
    fn an_outage_can_be_without_end() {
        let outage = record(&[(0, true), (5, false), (10, false)]).unwrap();
        assert_eq!((outage.duration(), outage.lost), (None, 2));
    }

    #[test]
    fn shares_are_parts_of_what_was_answered() {
        let attempt = |ending| Attempt {
            begun: Instant::now(),
            ended: Instant::now(),
            ending,
        };
        let answered = |address: &str| attempt(Ending::Answered(address.parse().unwrap()));
        let shares = Attempts(vec![
            answered("100.64.1.2"),
            answered("2001:db8:1::2"),
            answered("100.64.2.2"),
            answered("10.0.0.2"),
            attempt(Ending::Lost),
            attempt(Ending::Refused(111)),
        ])
        .shares();
        let isp = |n| Isp::new(n).unwrap();
        assert_eq!((shares.of(isp(1)), shares.of(isp(2))), (2, 1));
        assert_eq!((shares.elsewhere, shares.failed), (1, 2));
        assert!((shares.percent(isp(1)) - 50.0).abs() < 1e-9);
    }
}

//! What is counted over a time. Everything adds up: the tally of an hour is the sum of those of its minutes.

use uplinkd_model::{Family, Health, UplinkName};

use crate::sketch::Histogram;

/// What a tally is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// The uplink.
    pub uplink: UplinkName,
    /// The family; none: the interface, both families together.
    pub family: Option<Family>,
    /// The target as the file names it; none: the line.
    pub target: Option<String>,
}

impl Series {
    /// The bytes of an uplink's interface.
    pub fn interface(uplink: UplinkName) -> Self {
        Self {
            uplink,
            family: None,
            target: None,
        }
    }

    /// One family of an uplink.
    pub fn line(uplink: UplinkName, family: Family) -> Self {
        Self {
            family: Some(family),
            ..Self::interface(uplink)
        }
    }

    /// A target of a line.
    pub fn target(uplink: UplinkName, family: Family, target: String) -> Self {
        Self {
            target: Some(target),
            ..Self::line(uplink, family)
        }
    }
}

/// What became of the questions to a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Questions with a result.
    pub asked: u64,
    /// Those that were not answered.
    pub lost: u64,
    /// The sum of all round-trip times, in microseconds, as all that follows.
    pub sum: u64,
    /// The shortest; without meaning where nothing was answered.
    pub min: u64,
    /// The longest.
    pub max: u64,
    /// The sum of the differences between one and the next.
    pub jitter: u64,
    /// How many differences that are.
    pub jitters: u64,
    /// How they are spread.
    pub spread: Histogram,
}

impl Answers {
    /// An answer came after so many microseconds; `before` is the time of the answer before it.
    pub fn answered(&mut self, micros: u64, before: Option<u64>) {
        self.min = match self.answered_count() {
            0 => micros,
            _ => self.min.min(micros),
        };
        self.max = self.max.max(micros);
        self.asked += 1;
        self.sum = self.sum.saturating_add(micros);
        self.spread.add(micros);
        if let Some(before) = before {
            self.jitter = self.jitter.saturating_add(before.abs_diff(micros));
            self.jitters += 1;
        }
    }

    /// No answer came.
    pub fn lost(&mut self) {
        self.asked += 1;
        self.lost += 1;
    }

    /// How many answers there were.
    pub fn answered_count(&self) -> u64 {
        self.asked.saturating_sub(self.lost)
    }

    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &Self) {
        self.min = match (self.answered_count(), other.answered_count()) {
            (0, _) => other.min,
            (_, 0) => self.min,
            (_, _) => self.min.min(other.min),
        };
        self.max = self.max.max(other.max);
        self.asked = self.asked.saturating_add(other.asked);
        self.lost = self.lost.saturating_add(other.lost);
        self.sum = self.sum.saturating_add(other.sum);
        self.jitter = self.jitter.saturating_add(other.jitter);
        self.jitters = self.jitters.saturating_add(other.jitters);
        self.spread.merge(&other.spread);
    }

    /// The lost part, 0 to 1; none where nothing was asked.
    pub fn loss(&self) -> Option<f64> {
        (self.asked > 0).then(|| self.lost as f64 / self.asked as f64)
    }

    /// The mean round-trip time in microseconds; none where nothing was answered.
    pub fn mean(&self) -> Option<f64> {
        let count = self.answered_count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }

    /// The mean difference between one round-trip time and the next, in microseconds.
    pub fn mean_jitter(&self) -> Option<f64> {
        (self.jitters > 0).then(|| self.jitter as f64 / self.jitters as f64)
    }
}

/// How long a line had which health, in milliseconds. What is missing is time without a daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineTime {
    /// In the order of [`Health`]: unknown, up, degraded, down.
    pub millis: [u64; 4],
}

impl LineTime {
    /// Counts a time in one health.
    pub fn add(&mut self, health: Health, millis: u64) {
        let own = &mut self.millis[place(health)];
        *own = own.saturating_add(millis);
    }

    /// How long it had one health.
    pub fn of(&self, health: Health) -> u64 {
        self.millis[place(health)]
    }
}

/// The number of a health in the file.
pub(crate) fn place(health: Health) -> usize {
    match health {
        Health::Unknown => 0,
        Health::Up => 1,
        Health::Degraded => 2,
        Health::Down => 3,
    }
}

/// The health of a number in the file.
#[cfg(feature = "store")]
pub(crate) fn health_at(place: i64) -> Health {
    match place {
        1 => Health::Up,
        2 => Health::Degraded,
        3 => Health::Down,
        _ => Health::Unknown,
    }
}

/// What an interface has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Bytes that came in.
    pub rx: u64,
    /// Bytes that left.
    pub tx: u64,
}

/// A tally of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stats {
    /// Of a target.
    Answers(Answers),
    /// Of a line.
    Time(LineTime),
    /// Of an interface.
    Bytes(Bytes),
}

impl Stats {
    /// Adds another one of its kind; one of another kind cannot be of the same series, and is left out.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Answers(own), Self::Answers(other)) => own.merge(other),
            (Self::Time(own), Self::Time(other)) => {
                for (own, other) in own.millis.iter_mut().zip(other.millis) {
                    *own = own.saturating_add(other);
                }
            }
            (Self::Bytes(own), Self::Bytes(other)) => {
                own.rx = own.rx.saturating_add(other.rx);
                own.tx = own.tx.saturating_add(other.tx);
            }
            (Self::Answers(_) | Self::Time(_) | Self::Bytes(_), _) => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tallies of any kind.
    pub(crate) fn any_stats() -> impl Strategy<Value = Stats> {
        let answers = prop::collection::vec(prop::option::of(0_u64..80_000_000), 0..20);
        prop_oneof![
            answers.prop_map(|results| Stats::Answers(answers_of(&results))),
            prop::array::uniform4(0..100_000_u64)
                .prop_map(|millis| Stats::Time(LineTime { millis })),
            (any::<u32>(), any::<u64>())
                .prop_map(|(rx, tx)| Stats::Bytes(Bytes { rx: rx.into(), tx })),
        ]
    }

    fn answers_of(results: &[Option<u64>]) -> Answers {
        let (mut answers, mut before) = (Answers::default(), None);
        for result in results {
            match result {
                Some(micros) => {
                    answers.answered(*micros, before);
                    before = Some(*micros);
                }
                None => answers.lost(),
            }
        }
        answers
    }

    #[test]
    fn an_answer_beside_a_lost_one() {
        let answers = answers_of(&[None, Some(2000), Some(5000), None]);
        assert_eq!(answers.loss(), Some(0.5));
        assert_eq!((answers.min, answers.max), (2000, 5000));
        assert_eq!(answers.mean(), Some(3500.0));
        assert_eq!(answers.mean_jitter(), Some(3000.0));
    }

    #[test]
    fn a_time_in_which_nothing_was_answered_has_no_shortest() {
        let mut lost = answers_of(&[None]);
        lost.merge(&answers_of(&[Some(7)]));
        lost.merge(&answers_of(&[None]));
        assert_eq!((lost.min, lost.asked, lost.lost), (7, 3, 2));
        assert_eq!(Answers::default().loss(), None);
        assert_eq!(answers_of(&[None]).mean(), None);
    }

    proptest! {
        #[test]
        fn the_order_of_adding_does_not_matter(
            results in prop::collection::vec(
                prop::collection::vec(prop::option::of(0_u64..80_000_000), 0..8), 1..6),
        ) {
            let parts: Vec<_> = results.iter().map(|r| answers_of(r)).collect();
            let sum = |parts: &mut dyn Iterator<Item = &Answers>| {
                let mut sum = Answers::default();
                parts.for_each(|p| sum.merge(p));
                sum
            };
            prop_assert_eq!(sum(&mut parts.iter()), sum(&mut parts.iter().rev()));
        }
    }
}

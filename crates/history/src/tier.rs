//! The steps in which history becomes coarser as it grows old.

use std::collections::BTreeMap;

use crate::tally::Stats;

/// A step of coarseness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Ten seconds, for a day.
    Fine,
    /// A minute, for a month.
    Minute,
    /// An hour, for two years.
    Hour,
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

impl Tier {
    /// All, finest first.
    pub const ALL: [Self; 3] = [Self::Fine, Self::Minute, Self::Hour];

    /// The length of a slot, in seconds.
    pub fn step(self) -> i64 {
        match self {
            Self::Fine => 10,
            Self::Minute => 60,
            Self::Hour => HOUR,
        }
    }

    /// The length of a block: what is one row in the file.
    pub(crate) fn block(self) -> i64 {
        match self {
            Self::Fine => 300,
            Self::Minute => HOUR,
            Self::Hour => DAY,
        }
    }

    /// For how long it is kept, in seconds. What was a finished hour a day ago is a minute's tally by now,
    /// and what was a day a month ago an hour's.
    pub(crate) fn keep(self) -> i64 {
        match self {
            Self::Fine => DAY + HOUR,
            Self::Minute => 32 * DAY,
            Self::Hour => 731 * DAY,
        }
    }

    /// The table of it.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }

    /// The next coarser one.
    pub(crate) fn coarser(self) -> Option<Self> {
        match self {
            Self::Fine => Some(Self::Minute),
            Self::Minute => Some(Self::Hour),
            Self::Hour => None,
        }
    }

    /// Where to look for a time, first choice first: as coarse as is wanted, else finer, since what is
    /// new has not become coarse yet, else coarser, since what is old no longer is fine.
    pub(crate) fn order(step: i64) -> [Self; 3] {
        match step {
            HOUR.. => [Self::Hour, Self::Minute, Self::Fine],
            60.. => [Self::Minute, Self::Fine, Self::Hour],
            _ => [Self::Fine, Self::Minute, Self::Hour],
        }
    }
}

/// Tallies by the unix second in which their slot begins.
pub type Points = BTreeMap<i64, Stats>;

/// The same in coarser slots.
pub fn roll_up(points: &Points, step: i64) -> Points {
    let mut coarse = Points::new();
    for (time, stats) in points {
        add(&mut coarse, aligned(*time, step), stats);
    }
    coarse
}

/// Adds a tally to what there is at a time.
pub(crate) fn add(points: &mut Points, time: i64, stats: &Stats) {
    match points.get_mut(&time) {
        Some(own) => own.merge(stats),
        None => drop(points.insert(time, stats.clone())),
    }
}

/// The beginning of the slot that a time is in.
pub(crate) fn aligned(time: i64, step: i64) -> i64 {
    time - time.rem_euclid(step)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tally::Bytes;

    fn bytes(rx: u64) -> Stats {
        Stats::Bytes(Bytes { rx, tx: 0 })
    }

    #[test]
    fn slots_begin_at_whole_steps_before_the_epoch_too() {
        let points = Points::from([
            (-1, bytes(1)),
            (0, bytes(2)),
            (59, bytes(4)),
            (60, bytes(8)),
        ]);
        let minutes = Points::from([(-60, bytes(1)), (0, bytes(6)), (60, bytes(8))]);
        assert_eq!(roll_up(&points, 60), minutes);
    }

    #[test]
    fn each_tier_is_made_of_whole_slots_and_outlives_the_finer_block_it_is_made_from() {
        for tier in Tier::ALL {
            assert_eq!(tier.block() % tier.step(), 0);
            if let Some(coarser) = tier.coarser() {
                assert_eq!(coarser.step() % tier.step(), 0);
                assert_eq!(coarser.block() % tier.block(), 0);
                // Made when its block is over, from finer ones that must still be there then.
                assert!(tier.keep() >= coarser.block() + tier.block());
            }
        }
    }

    proptest! {
        #[test]
        fn rolling_up_in_steps_is_rolling_up_at_once(
            counts in prop::collection::btree_map(0_i64..200_000, 0_u64..1000, 0..100),
        ) {
            let points: Points = counts.iter().map(|(t, n)| (*t, bytes(*n))).collect();
            let in_steps = roll_up(&roll_up(&roll_up(&points, 10), 60), 3600);
            prop_assert_eq!(in_steps, roll_up(&points, 3600));
        }
    }
}

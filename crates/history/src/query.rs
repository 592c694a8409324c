//! Reads tallies of a time in slots of a wanted length, from whichever tier has them.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OpenFlags};

use crate::{
    store::{FILE, read_blocks, read_series},
    tally::Series,
    tier::{Points, Tier, add, aligned},
    writer::{Live, Reader},
};

/// Tallies that an answer has at most; a question for more is refused.
pub const POINTS_MAX: i64 = 50_000;
const HOUR: i64 = 3600;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Of one uplink only.
    pub uplink: Option<String>,
    /// From this unix second on.
    pub since: i64,
    /// Up to this one.
    pub until: i64,
    /// The length of a slot in seconds.
    pub step: i64,
}

/// The tallies of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesPoints {
    /// Of what.
    pub series: Series,
    /// By the unix second in which their slot begins.
    pub points: Points,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// Too much is asked for.
    #[error("that is up to {points} values, more than {POINTS_MAX}")]
    TooMuch {
        /// How much.
        points: i64,
    },
    /// The time ends before it begins, or has slots that nobody keeps.
    #[error("{0}")]
    Senseless(&'static str),
    /// The file cannot be read.
    #[error("cannot read the history: {0}")]
    Unreadable(#[from] rusqlite::Error),
}

impl Question {
    fn check(&self) -> Result<(), QueryError> {
        if self.until <= self.since {
            return Err(QueryError::Senseless("the time ends before it begins"));
        }
        if self.step < Tier::Fine.step() {
            return Err(QueryError::Senseless("a step is ten seconds or more"));
        }
        Ok(())
    }
}

impl Reader {
    /// Answers a question.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn query(&self, question: &Question) -> Result<Vec<SeriesPoints>, QueryError> {
        question.check()?;
        let live = self.live();
        let connection = self.open(&live)?;
        let is_wanted = |s: &Series| match &question.uplink {
            Some(uplink) => s.uplink.as_str() == uplink,
            None => true,
        };
        let step = question.step;
        let since = aligned(question.since, step);
        let span = Span {
            since,
            until: question.until,
            step,
        };
        let slots = (question.until - since) / step + 1;
        let known = match &connection {
            Some(connection) => read_series(connection)?,
            None => BTreeMap::new(),
        };
        let count = known.keys().filter(|s| is_wanted(s)).count();
        let points = slots.saturating_mul(i64::try_from(count.max(1)).unwrap_or(i64::MAX));
        if points > POINTS_MAX {
            return Err(QueryError::TooMuch { points });
        }
        let slot = |time| aligned(time, step);
        let found = collect(connection.as_ref(), &live, span, slot, is_wanted)?;
        drop(live);
        let points = found.into_iter();
        Ok(points
            .map(|(series, points)| SeriesPoints { series, points })
            .collect())
    }

    /// The file; none where there is none yet, or none that anybody can use.
    pub(crate) fn open(&self, live: &Live) -> rusqlite::Result<Option<Connection>> {
        match self.open_file() {
            Err(_) if live.trouble.is_some() => Ok(None),
            opened => opened,
        }
    }

    /// The file, as a reader; none where there is none yet.
    pub(crate) fn open_file(&self) -> rusqlite::Result<Option<Connection>> {
        let path = self.directory.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        // Before its first commit it is a file without tables.
        let tables = "select count(*) from sqlite_schema where name = 'series'";
        let tables: i64 = connection.query_row(tables, [], |r| r.get(0))?;
        Ok((tables > 0).then_some(connection))
    }
}

/// A time, and how coarse what is read of it may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// From this unix second on.
    pub(crate) since: i64,
    /// Up to this one.
    pub(crate) until: i64,
    /// Slots may be so long.
    pub(crate) step: i64,
}

/// The tallies of all wanted series, added up by `slot` of their time.
pub(crate) fn collect(
    connection: Option<&Connection>,
    live: &Live,
    span: Span,
    slot: impl Fn(i64) -> i64,
    is_wanted: impl Fn(&Series) -> bool,
) -> rusqlite::Result<BTreeMap<Series, Points>> {
    let mut found: BTreeMap<Series, Points> = BTreeMap::new();
    let Span { since, until, step } = span;
    if let Some(connection) = connection {
        let mut wanted = BTreeMap::new();
        for (series, number) in read_series(connection)? {
            if is_wanted(&series) {
                wanted.insert(number, series);
            }
        }
        let mut missing = vec![(aligned(since, HOUR), aligned(until - 1, HOUR) + HOUR)];
        for tier in Tier::order(step) {
            // What covers an hour covers it for all series.
            let length = tier.block().max(HOUR);
            let mut still = Vec::new();
            for (from, to) in missing {
                let begin = aligned(from, tier.block());
                let mut covered = BTreeSet::new();
                for (number, points) in read_blocks(connection, tier, begin, to)? {
                    covered.extend(points.keys().map(|time| aligned(*time, length)));
                    let Some(series) = wanted.get(&number) else {
                        continue;
                    };
                    let own = found.entry(series.clone()).or_default();
                    for (time, stats) in
                        points.range(from.max(since)..to.min(until).max(from.max(since)))
                    {
                        add(own, slot(*time), stats);
                    }
                }
                still.extend(without((from, to), &covered, length));
            }
            missing = still;
        }
    }
    for ((time, series), stats) in &live.points {
        if (since..until).contains(time) && is_wanted(series) {
            add(found.entry(series.clone()).or_default(), slot(*time), stats);
        }
    }
    found.retain(|_, points| !points.is_empty());
    Ok(found)
}

/// What of a time is left without some blocks of a length, which are in order.
fn without((from, until): (i64, i64), blocks: &BTreeSet<i64>, length: i64) -> Vec<(i64, i64)> {
    let (mut left, mut begin) = (Vec::new(), from);
    for block in blocks {
        if *block > begin {
            left.push((begin, (*block).min(until)));
        }
        begin = begin.max(block + length);
    }
    if begin < until {
        left.push((begin, until));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_no_block_covers() {
        assert_eq!(without((0, 10), &[].into(), 2), [(0, 10)]);
        assert_eq!(without((0, 10), &[0, 2, 6].into(), 2), [(4, 6), (8, 10)]);
        assert_eq!(without((3, 10), &[2, 8].into(), 2), [(4, 8)]);
        assert_eq!(without((0, 4), &[0, 2].into(), 2), []);
    }
}

//! What a provider is to be told: how a line was over a time.

use std::collections::BTreeMap;

use rusqlite::Connection;
use uplinkd_model::{Family, UplinkName};

use crate::{
    outages::{Availability, Interval, Outage, availability, outages},
    query::{QueryError, Span, collect},
    store::read_series,
    tally::{Answers, Bytes, Series, Stats, health_at},
    tier::Points,
    writer::{Event, Live, Reader},
};

/// Outages of a line that are listed; there may be more. So many are one each 40 minutes for a month.
const OUTAGES_MAX: usize = 1000;
/// Events that an answer has at most; the newest are kept.
const EVENTS_MAX: usize = 2000;

/// How all lines were over a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// By name.
    pub uplinks: Vec<UplinkReport>,
}

/// How an uplink was.
#[derive(Clone, Debug, PartialEq)]
pub struct UplinkReport {
    /// Its name.
    pub uplink: UplinkName,
    /// What its interface carried.
    pub bytes: Bytes,
    /// Each of its families.
    pub lines: Vec<LineReport>,
}

/// How a line was.
#[derive(Clone, Debug, PartialEq)]
pub struct LineReport {
    /// The family.
    pub family: Family,
    /// How long it had which health.
    pub availability: Availability,
    /// When it was down, the first thousand times.
    pub outages: Vec<Outage>,
    /// How often it was down.
    pub outages_count: usize,
    /// What its targets answered.
    pub targets: Vec<TargetReport>,
}

/// What a target answered.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetReport {
    /// Which one.
    pub target: String,
    /// What.
    pub answers: Answers,
}

impl Reader {
    /// How all lines were over a time, in unix milliseconds.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn report(&self, window: (i64, i64)) -> Result<Report, QueryError> {
        let live = self.live();
        let connection = self.open(&live)?;
        let span = Span {
            since: window.0.div_euclid(1000),
            until: window.1.div_euclid(1000),
            step: 3600,
        };
        let points = collect(connection.as_ref(), &live, span, |_| span.since, |_| true)?;
        let intervals = intervals(connection.as_ref(), &live, window)?;
        drop(live);
        Ok(Report::of(&points, &intervals, window))
    }

    /// What happened in a time, in unix milliseconds, oldest first; and whether that is all.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn events(&self, (from, until): (i64, i64)) -> Result<(Vec<Event>, bool), QueryError> {
        let live = self.live();
        let mut events = Vec::new();
        if let Some(connection) = self.open(&live)? {
            let text = "select time, warn, kind, text, detail from event
                where time >= ?1 and time < ?2 order by id desc limit ?3";
            let mut asked = connection.prepare(text)?;
            let most = EVENTS_MAX as i64 + 1;
            let rows = asked.query_map([from, until, most], |row| {
                Ok(Event {
                    time: row.get(0)?,
                    warn: row.get(1)?,
                    kind: row.get(2)?,
                    text: row.get(3)?,
                    detail: row.get(4)?,
                })
            })?;
            events = rows.collect::<rusqlite::Result<_>>()?;
            events.reverse();
        }
        let newest = live
            .events
            .iter()
            .filter(|e| (from..until).contains(&e.time));
        events.extend(newest.cloned());
        let is_all = events.len() <= EVENTS_MAX;
        events.drain(..events.len().saturating_sub(EVENTS_MAX));
        Ok((events, is_all))
    }

    /// Why nothing is written at the moment, where that is so.
    pub fn trouble(&self) -> Option<String> {
        self.live().trouble.clone()
    }
}

type Intervals = BTreeMap<Series, Vec<Interval>>;

/// The changes of health of a time, of each line.
fn intervals(
    connection: Option<&Connection>,
    live: &Live,
    (from, until): (i64, i64),
) -> Result<Intervals, QueryError> {
    let mut all = Intervals::new();
    let mut known = Vec::new();
    for (series, interval, row) in live.intervals() {
        known.extend(row);
        all.entry(series.clone()).or_default().push(interval);
    }
    if let Some(connection) = connection {
        let series: BTreeMap<_, _> = read_series(connection)?
            .into_iter()
            .map(|(s, id)| (id, s))
            .collect();
        // What has no length and does not last is left by a writer that has died since.
        let text = "select id, series, health, since, coalesce(length, 0), reason from interval
            where since < ?2 and since + coalesce(length, 0) >= ?1";
        let mut asked = connection.prepare(text)?;
        let mut rows = asked.query([from, until])?;
        while let Some(row) = rows.next()? {
            let Some(series) = series.get(&row.get(1)?) else {
                continue;
            };
            if known.contains(&row.get(0)?) {
                continue;
            }
            all.entry(series.clone()).or_default().push(Interval {
                health: health_at(row.get(2)?),
                since: row.get(3)?,
                length: row.get(4)?,
                reason: row.get(5)?,
                is_open: false,
            });
        }
    }
    Ok(all)
}

impl Report {
    /// What tallies and intervals come to.
    fn of(points: &BTreeMap<Series, Points>, intervals: &Intervals, window: (i64, i64)) -> Self {
        let mut uplinks: BTreeMap<UplinkName, UplinkReport> = BTreeMap::new();
        for series in points.keys().chain(intervals.keys()) {
            let empty = || UplinkReport {
                uplink: series.uplink.clone(),
                bytes: Bytes::default(),
                lines: Vec::new(),
            };
            let own = uplinks.entry(series.uplink.clone()).or_insert_with(empty);
            if let Some(family) = series.family
                && own.lines.iter().all(|l| l.family != family)
            {
                let line = Series::line(series.uplink.clone(), family);
                own.lines
                    .push(line_report(family, intervals.get(&line), window));
            }
        }
        for (series, points) in points {
            let Some(own) = uplinks.get_mut(&series.uplink) else {
                continue;
            };
            let line = own
                .lines
                .iter_mut()
                .find(|l| Some(l.family) == series.family);
            for stats in points.values() {
                if let Stats::Bytes(bytes) = stats {
                    own.bytes.rx = own.bytes.rx.saturating_add(bytes.rx);
                    own.bytes.tx = own.bytes.tx.saturating_add(bytes.tx);
                }
            }
            if let (Some(line), Some(target)) = (line, &series.target) {
                let mut answers = Answers::default();
                for stats in points.values() {
                    if let Stats::Answers(own) = stats {
                        answers.merge(own);
                    }
                }
                line.targets.push(TargetReport {
                    target: target.clone(),
                    answers,
                });
            }
        }
        let mut uplinks: Vec<_> = uplinks.into_values().collect();
        for uplink in &mut uplinks {
            uplink.lines.sort_by_key(|l| l.family);
        }
        Self { uplinks }
    }
}

fn line_report(
    family: Family,
    intervals: Option<&Vec<Interval>>,
    window: (i64, i64),
) -> LineReport {
    let intervals = intervals.map(Vec::as_slice).unwrap_or_default();
    let mut outages = outages(intervals, window);
    let outages_count = outages.len();
    outages.truncate(OUTAGES_MAX);
    LineReport {
        family,
        availability: availability(intervals, window),
        outages,
        outages_count,
        targets: Vec::new(),
    }
}

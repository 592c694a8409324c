//! What is not in the file yet, and what lasts at the moment.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use uplinkd_model::Health;

use crate::{
    outages::Interval,
    tally::{Series, Stats},
};

/// Tallies that wait at most, as while the disk is full: a dozen series for four hours. Then the oldest go.
const POINTS_MAX: usize = 20_000;
/// Events that wait at most, and those that are over. Further ones are left out.
const EVENTS_MAX: usize = 200;
const CLOSED_MAX: usize = 1000;

/// Something to be remembered.
#[derive(Clone, Debug)]
pub enum Message {
    /// Tallies of a slot, which begins at this unix second.
    Points {
        /// The beginning.
        slot: i64,
        /// Of what, and what.
        points: Vec<(Arc<Series>, Stats)>,
    },
    /// The health of a line is another one.
    Change(Change),
    /// Something happened.
    Event(Event),
    /// The daemon stops: from then on nothing is known. By a clock that nobody sets, in milliseconds.
    Stop(i64),
}

/// A line has another health from now on.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which line.
    pub series: Arc<Series>,
    /// Which health, and why; none: there is no such line any more.
    pub health: Option<(Health, String)>,
    /// When, unix milliseconds.
    pub unix: i64,
    /// When, in milliseconds of a clock that nobody sets.
    pub steady: i64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, unix milliseconds.
    pub time: i64,
    /// A person may need to look.
    pub warn: bool,
    /// What kind of thing, a stable word.
    pub kind: String,
    /// What, for people.
    pub text: String,
    /// The same for programs, as JSON.
    pub detail: String,
}

impl Message {
    /// Whether it is to be written soon.
    pub(super) fn is_urgent(&self) -> bool {
        matches!(self, Self::Change(_))
    }
}

/// A health that lasts.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) interval: Interval,
    /// When it began, by the clock that nobody sets.
    steady: i64,
    /// When that was taken here.
    taken: Instant,
    /// Its row, once it has one.
    pub(crate) row: Option<i64>,
}

/// What is not in the file yet.
#[derive(Debug, Default)]
pub struct Live {
    pub(crate) points: BTreeMap<(i64, Series), Stats>,
    pub(crate) lines: BTreeMap<Series, Current>,
    /// Over, with the row that does not know it yet.
    pub(crate) closed: VecDeque<(Series, Interval, Option<i64>)>,
    pub(crate) events: Vec<Event>,
    /// Why nothing is written.
    pub(crate) trouble: Option<String>,
}

impl Live {
    /// Takes something in.
    pub fn take(&mut self, message: Message) {
        match message {
            Message::Points { slot, points } => {
                for (series, stats) in points {
                    let key = (slot, Series::clone(&series));
                    match self.points.get_mut(&key) {
                        // The clock went back over this slot.
                        Some(own) => own.merge(&stats),
                        None => drop(self.points.insert(key, stats)),
                    }
                }
                while self.points.len() > POINTS_MAX {
                    self.points.pop_first();
                }
            }
            Message::Change(change) => self.change(change),
            Message::Event(event) if self.events.len() < EVENTS_MAX => self.events.push(event),
            Message::Event(_) => {}
            Message::Stop(steady) => {
                let lines: Vec<_> = self.lines.keys().cloned().collect();
                lines.iter().for_each(|series| self.close(series, steady));
            }
        }
    }

    fn change(&mut self, change: Change) {
        let known = self.lines.get(&*change.series);
        let is_news = match (&change.health, known) {
            (Some((health, _)), Some(known)) => known.interval.health != *health,
            (health, known) => health.is_some() != known.is_some(),
        };
        if !is_news {
            return;
        }
        self.close(&change.series, change.steady);
        if let Some((health, reason)) = change.health {
            let current = Current {
                interval: Interval {
                    health,
                    since: change.unix,
                    length: 0,
                    reason,
                    is_open: true,
                },
                steady: change.steady,
                taken: Instant::now(),
                row: None,
            };
            self.lines.insert(Series::clone(&change.series), current);
        }
    }

    fn close(&mut self, series: &Series, steady: i64) {
        if let Some(mut current) = self.lines.remove(series) {
            current.interval.length = (steady - current.steady).max(0);
            current.interval.is_open = false;
            if self.closed.len() >= CLOSED_MAX {
                self.closed.pop_front();
            }
            self.closed
                .push_back((series.clone(), current.interval, current.row));
        }
    }

    /// All that waited is in the file; these have got rows there.
    pub(crate) fn is_written(&mut self, rows: &[(Series, i64)]) {
        self.points.clear();
        self.closed.clear();
        self.events.clear();
        for (series, row) in rows {
            if let Some(current) = self.lines.get_mut(series) {
                current.row = Some(*row);
            }
        }
    }

    /// The changes of health that the file does not know, or not the end of, with their rows.
    pub(crate) fn intervals(&self) -> impl Iterator<Item = (&Series, Interval, Option<i64>)> {
        let closed = self.closed.iter().map(|(s, i, row)| (s, i.clone(), *row));
        let lasting = self.lines.iter().map(|(series, current)| {
            let length = i64::try_from(current.taken.elapsed().as_millis()).unwrap_or(i64::MAX);
            let interval = Interval {
                length,
                ..current.interval.clone()
            };
            (series, interval, current.row)
        });
        closed.chain(lasting)
    }
}

//! From intervals of health to availability and outages. Time that no interval covers is unknown.

use uplinkd_model::Health;

use crate::tally::LineTime;

/// A line had one health for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Which one.
    pub health: Health,
    /// From when on, unix milliseconds.
    pub since: i64,
    /// For how long, by a clock that nobody sets.
    pub length: i64,
    /// Why, for people.
    pub reason: String,
    /// It lasts.
    pub is_open: bool,
}

/// How a line was over a time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Availability {
    /// How long it had which health, in milliseconds. What is left of the time nobody knows.
    pub time: LineTime,
    /// The part of the known time in which it was up or degraded; none where nothing is known.
    pub part: Option<f64>,
}

/// A line was down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// From when on, unix milliseconds.
    pub since: i64,
    /// For how long, milliseconds; the part within the asked-for time.
    pub length: i64,
    /// Why, for people.
    pub reason: String,
    /// It lasts.
    pub is_open: bool,
}

/// How a line was within a time: from, and until without.
pub fn availability(intervals: &[Interval], window: (i64, i64)) -> Availability {
    let mut time = LineTime::default();
    for interval in intervals {
        let (_, length) = clipped(interval, window);
        time.add(interval.health, length.unsigned_abs());
    }
    let works = time.of(Health::Up) + time.of(Health::Degraded);
    let known = works + time.of(Health::Down);
    Availability {
        time,
        part: (known > 0).then(|| works as f64 / known as f64),
    }
}

/// When it was down within a time, oldest first.
pub fn outages(intervals: &[Interval], window: (i64, i64)) -> Vec<Outage> {
    let down = intervals.iter().filter(|i| i.health == Health::Down);
    let outages = down.filter_map(|interval| {
        let (since, length) = clipped(interval, window);
        // One that has begun this very moment is one.
        let is_new = interval.is_open && (window.0..window.1).contains(&interval.since);
        (length > 0 || is_new).then(|| Outage {
            since,
            length,
            reason: interval.reason.clone(),
            is_open: interval.is_open,
        })
    });
    let mut outages: Vec<_> = outages.collect();
    outages.sort_by_key(|o| o.since);
    outages
}

/// The part of an interval that lies within a time: its beginning and its length, which may be nothing.
fn clipped(interval: &Interval, (from, until): (i64, i64)) -> (i64, i64) {
    let end = interval.since.saturating_add(interval.length.max(0));
    let since = interval.since.max(from);
    (since, end.min(until).saturating_sub(since).max(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn interval(health: Health, since: i64, length: i64) -> Interval {
        Interval {
            health,
            since,
            length,
            reason: String::new(),
            is_open: false,
        }
    }

    #[test]
    fn time_that_nobody_saw_is_neither_up_nor_down() {
        // Ten seconds up, ninety without a daemon, then ten down.
        let intervals = [
            interval(Health::Up, 0, 10_000),
            interval(Health::Down, 100_000, 10_000),
        ];
        let told = availability(&intervals, (0, 110_000));
        assert_eq!(told.part, Some(0.5));
        assert_eq!(told.time.of(Health::Unknown), 0);
        assert_eq!(availability(&[], (0, 1000)).part, None);
        let unknown = [interval(Health::Unknown, 0, 1000)];
        assert_eq!(availability(&unknown, (0, 1000)).part, None);
    }

    #[test]
    fn degraded_is_no_outage() {
        let intervals = [
            interval(Health::Up, 0, 500),
            interval(Health::Degraded, 500, 500),
        ];
        assert_eq!(availability(&intervals, (0, 1000)).part, Some(1.0));
        assert_eq!(outages(&intervals, (0, 1000)), []);
    }

    #[test]
    fn an_outage_that_has_just_begun_is_told() {
        let mut down = interval(Health::Down, 500, 0);
        assert_eq!(outages(&[down.clone()], (0, 1000)), []);
        down.is_open = true;
        assert_eq!(outages(&[down.clone()], (0, 1000)).len(), 1);
        assert_eq!(outages(&[down], (501, 1000)).len(), 0, "of another time");
    }

    #[test]
    fn an_outage_over_midnight_counts_on_both_sides() {
        let down = [interval(Health::Down, 900, 300)];
        let lengths = |window| {
            outages(&down, window)
                .iter()
                .map(|o| (o.since, o.length))
                .next()
        };
        assert_eq!(lengths((0, 1000)), Some((900, 100)));
        assert_eq!(lengths((1000, 2000)), Some((1000, 200)));
        assert_eq!(lengths((1200, 2000)), None, "it was over by then");
        assert_eq!(lengths((0, 900)), None, "it had not begun");
    }

    proptest! {
        #[test]
        fn the_parts_of_a_time_add_up(
            spans in prop::collection::vec((0_i64..4, 0_i64..1000, 0_i64..500), 0..30),
            cut in 0_i64..1500,
        ) {
            let health = crate::tally::health_at;
            let intervals: Vec<_> =
                spans.iter().map(|(h, since, length)| interval(health(*h), *since, *length)).collect();
            let whole = availability(&intervals, (0, 1500)).time;
            let (one, other) =
                (availability(&intervals, (0, cut)).time, availability(&intervals, (cut, 1500)).time);
            let sum: Vec<_> = one.millis.iter().zip(other.millis).map(|(a, b)| a + b).collect();
            prop_assert_eq!(sum, whole.millis.to_vec());
            let down: i64 = outages(&intervals, (0, 1500)).iter().map(|o| o.length).sum();
            prop_assert_eq!(down.unsigned_abs(), whole.of(Health::Down));
        }
    }
}

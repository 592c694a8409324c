//! The last minutes of a line, as they were seen from here.

use std::{collections::VecDeque, time::Duration};

use uplinkd_api::UplinkStatus;

use crate::render::status;

/// Points that are kept: ten minutes, wider than any screen. The oldest goes.
const POINTS_MAX: usize = 600;
/// What comes sooner than this after a point takes its place: points are a second apart.
const POINT_LEAST: Duration = Duration::from_millis(700);

/// What was seen of a line at a moment; none where nothing was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    /// Round-trip time in milliseconds.
    pub(super) rtt: Option<f64>,
    /// Lost questions, 0 to 1.
    pub(super) loss: Option<f64>,
}

/// What flows by an interface, in bits per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    pub(super) received: f64,
    pub(super) sent: f64,
}

/// What its interface had counted, and when by the daemon's clock.
#[derive(Clone, Copy, Debug)]
struct Reading {
    time: f64,
    received: u64,
    sent: u64,
}

#[derive(Debug, Default)]
pub(super) struct Trail {
    points: VecDeque<Point>,
    newest: Option<Duration>,
    /// Questions with a result, and answers, of the targets that decide.
    asked: Option<(u64, u64)>,
    reading: Option<Reading>,
    rates: Option<Rates>,
}

impl Trail {
    /// Adds what a status says. `time` is the daemon's, `now` ours.
    pub(super) fn add(&mut self, uplink: &UplinkStatus, time: f64, now: Duration) {
        self.push(self.point(uplink), now);
        self.asked = Some(asked(uplink));
        let reading = uplink.received_bytes.zip(uplink.sent_bytes);
        let reading = reading.map(|(received, sent)| Reading {
            time,
            received,
            sent,
        });
        match (self.reading, reading) {
            (Some(before), Some(now)) if now.time - before.time < POINT_LEAST.as_secs_f64() => {
                // Too close to say anything, unless the clock was set back or the daemon is another.
                if now.time < before.time {
                    (self.reading, self.rates) = (reading, None);
                }
            }
            (Some(before), Some(now)) => (self.reading, self.rates) = (reading, rates(before, now)),
            (_, _) => (self.reading, self.rates) = (reading, None),
        }
    }

    /// The newest round-trip time, unless questions have been asked since and none was answered.
    fn point(&self, uplink: &UplinkStatus) -> Point {
        let (sent, answered) = asked(uplink);
        let is_silent = self
            .asked
            .is_some_and(|(before, answers)| sent > before && answered == answers);
        let was_silent = sent > 0
            && self.asked == Some((sent, answered))
            && self.points.back().is_some_and(|p| p.rtt.is_none());
        Point {
            rtt: status::rtt(uplink).filter(|_| !is_silent && !was_silent),
            loss: status::loss(uplink),
        }
    }

    /// What is known now.
    pub(super) fn newest(&self) -> Option<&Point> {
        self.points.back()
    }

    /// Adds that nothing is known now.
    pub(super) fn miss(&mut self, now: Duration) {
        self.push(Point::default(), now);
        (self.reading, self.rates) = (None, None);
    }

    fn push(&mut self, point: Point, now: Duration) {
        let is_soon = |at: Duration| now.saturating_sub(at) < POINT_LEAST;
        if self.newest.is_some_and(is_soon) {
            self.points.pop_back();
        } else {
            self.newest = Some(now);
        }
        self.points.push_back(point);
        if self.points.len() > POINTS_MAX {
            self.points.pop_front();
        }
    }

    /// The points, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().rev()
    }

    /// What flows now; none where it is not known.
    pub(super) fn rates(&self) -> Option<Rates> {
        self.rates
    }
}

fn asked(uplink: &UplinkStatus) -> (u64, u64) {
    let deciding = uplink.targets.iter().filter(|t| t.decides);
    deciding.fold((0, 0), |(sent, answered), t| {
        (sent + t.sent, answered + t.sent.saturating_sub(t.lost))
    })
}

/// None where counters began anew, as with an interface that was made again.
fn rates(before: Reading, now: Reading) -> Option<Rates> {
    let seconds = now.time - before.time;
    let rate = |before: u64, now: u64| Some(now.checked_sub(before)? as f64 * 8.0 / seconds);
    Some(Rates {
        received: rate(before.received, now.received)?,
        sent: rate(before.sent, now.sent)?,
    })
}

#[cfg(test)]
mod tests {
    use uplinkd_model::Health;

    use super::*;
    use crate::render::status::tests::uplink;

    fn counted(received: u64, sent: u64) -> UplinkStatus {
        let mut uplink = uplink("isp1", Health::Up, 1.0);
        (uplink.received_bytes, uplink.sent_bytes) = (Some(received), Some(sent));
        uplink
    }

    #[test]
    fn rates_are_of_the_time_between_and_not_of_counters_that_began_anew() {
        let mut trail = Trail::default();
        let at = Duration::from_secs;
        trail.add(&counted(1000, 500), 10.0, at(0));
        assert_eq!(trail.rates(), None);
        trail.add(&counted(3000, 500), 12.0, at(2));
        let (received, sent) = (8000.0, 0.0);
        assert_eq!(trail.rates(), Some(Rates { received, sent }));
        trail.add(&counted(9000, 900), 12.1, at(2));
        assert_eq!(trail.rates(), Some(Rates { received, sent }), "too soon");
        trail.add(&counted(10, 10), 14.0, at(4));
        assert_eq!(trail.rates(), None, "another interface");
        trail.add(&counted(20, 10), 5.0, at(5));
        assert_eq!(trail.rates(), None, "another daemon");
        trail.add(&counted(20, 10), 6.0, at(6));
        assert!(trail.rates().is_some());
        trail.miss(at(7));
        assert_eq!(trail.rates(), None, "nobody answers");
    }

    #[test]
    fn a_line_that_has_fallen_silent_has_no_round_trip_time() {
        let mut trail = Trail::default();
        let mut line = counted(0, 0);
        let mut rtt = |sent, lost, second| {
            (line.targets[0].sent, line.targets[0].lost) = (sent, lost);
            trail.add(&line, 0.0, Duration::from_secs(second));
            trail.newest().unwrap().rtt
        };
        assert!(rtt(10, 0, 1).is_some());
        assert!(rtt(10, 0, 2).is_some(), "nobody asked since");
        assert!(rtt(12, 1, 3).is_some(), "one of two was answered");
        assert_eq!(rtt(13, 2, 4), None);
        assert_eq!(rtt(13, 2, 5), None, "nor has anybody asked since");
        assert!(rtt(14, 2, 6).is_some());
    }

    #[test]
    fn points_are_a_second_apart_and_bounded() {
        let mut trail = Trail::default();
        for n in 0..5 {
            trail.add(&counted(0, 0), 0.0, Duration::from_millis(200 * n));
        }
        assert_eq!(trail.newest_first().count(), 2);
        for n in 2..2000 {
            trail.miss(Duration::from_secs(n));
        }
        assert_eq!(trail.newest_first().count(), POINTS_MAX);
    }
}

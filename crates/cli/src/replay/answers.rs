//! What the history says to a question that was never asked: the core under trial asks when it likes,
//! and the recorder asked at its own pace.
//!
//! 1. While the line was dead in hindsight, no question is answered.
//! 2. Otherwise the sample nearest to the question answers it, once.
//! 3. Further questions near a sample are lost as often as its neighbours were, by dice that always fall
//!    the same way; the answers take as long as the nearest one did.

use std::{collections::VecDeque, time::Duration};

use super::survey::Surveyed;

/// Samples on each side of a question that tell how many are lost around it.
pub(crate) const NEIGHBOURS: usize = 8;
/// What an answer takes where no sample near by was answered.
const RTT_UNKNOWN: Duration = Duration::from_millis(20);

/// A sample that was read.
#[derive(Clone, Copy, Debug)]
struct Sample {
    time: Duration,
    rtt: Option<Duration>,
    is_used: bool,
}

/// The samples of one target around the present moment.
#[derive(Debug, Default)]
pub(crate) struct Series {
    samples: VecDeque<Sample>,
    number: u64,
}

impl Series {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            samples: VecDeque::new(),
            number,
        }
    }

    pub(crate) fn push(&mut self, time: Duration, rtt: Option<Duration>) {
        let later = self.samples.iter().rev().take_while(|s| s.time > time);
        let place = self.samples.len() - later.count();
        let sample = Sample {
            time,
            rtt,
            is_used: false,
        };
        self.samples.insert(place, sample);
    }

    /// Whether enough is known of what comes after a moment.
    pub(crate) fn reaches_beyond(&self, moment: Duration) -> bool {
        let last = self.samples.len().checked_sub(NEIGHBOURS);
        last.is_some_and(|n| self.samples[n].time > moment)
    }

    /// Forgets what lies too far back to matter. Says how much that was.
    pub(crate) fn forget_before(&mut self, moment: Duration) -> usize {
        let before = self.samples.len();
        while self
            .samples
            .get(NEIGHBOURS)
            .is_some_and(|s| s.time < moment)
        {
            self.samples.pop_front();
        }
        before - self.samples.len()
    }

    /// What a question of this moment comes to: how long the answer takes, or none.
    pub(crate) fn answer(&mut self, moment: Duration, line: &Surveyed) -> Option<Duration> {
        if line.spell_at(moment).is_some() {
            return None;
        }
        let after = self.samples.partition_point(|s| s.time < moment);
        let far = |n: usize| self.samples[n].time.abs_diff(moment);
        let nearest = match (after.checked_sub(1), after < self.samples.len()) {
            (Some(before), true) if far(before) < far(after) => before,
            (_, true) => after,
            (Some(before), false) => before,
            (None, false) => return None,
        };
        // A sample of a time in which the line was dead says nothing of one in which it was not.
        let counts = |s: &Sample| line.spell_at(s.time).is_none();
        let sample = self.samples[nearest];
        if !sample.is_used && counts(&sample) {
            self.samples[nearest].is_used = true;
            return sample.rtt;
        }
        let from = nearest.saturating_sub(NEIGHBOURS);
        let to = (nearest + NEIGHBOURS + 1).min(self.samples.len());
        let around = self.samples.range(from..to).filter(|s| counts(s));
        let (all, lost) = around.fold((0_u64, 0_u64), |(all, lost), s| {
            (all + 1, lost + u64::from(s.rtt.is_none()))
        });
        if all > 0 && throw(self.number, moment) % all < lost {
            return None;
        }
        let by_distance = |n: &usize| nearest.abs_diff(*n);
        let answered = (from..to).filter(|n| self.samples[*n].rtt.is_some());
        let rtt = answered
            .min_by_key(by_distance)
            .and_then(|n| self.samples[n].rtt);
        Some(rtt.unwrap_or(RTT_UNKNOWN))
    }
}

/// Dice that fall the same way for the same series and moment (splitmix64).
fn throw(series: u64, moment: Duration) -> u64 {
    let nanos = u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX);
    let mut z = nanos.wrapping_add((series + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::{super::hindsight::Spell, *};

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A sample each second, `.` answered after as many ms as it is old in seconds, `x` lost.
    fn series(results: &str) -> Series {
        let mut series = Series::new(0);
        for (n, result) in (0..).zip(results.chars()) {
            series.push(ms(n * 1000), (result == '.').then(|| ms(n)));
        }
        series
    }

    #[test]
    fn questions_at_the_recorded_pace_get_the_recorded_answers() {
        let mut series = series(".x..xx..");
        let line = Surveyed::default();
        let answers = (0..8).map(|n| series.answer(ms(n * 1000 + 300), &line));
        let answers: Vec<_> = answers.collect();
        let (hit, lost) = (|n| Some(ms(n)), None);
        assert_eq!(
            answers,
            [hit(0), lost, hit(2), hit(3), lost, lost, hit(6), hit(7)]
        );
    }

    #[test]
    fn a_single_loss_is_no_outage_for_those_who_ask_faster() {
        let mut series = series(&format!("{}x{}", ".".repeat(20), ".".repeat(20)));
        let line = Surveyed::default();
        let asked = (0..14).map(|n| series.answer(ms(20_000 + n * 70), &line));
        let lost = asked.filter(Option::is_none).count();
        assert!((1..=4).contains(&lost), "{lost}");
    }

    #[test]
    fn nothing_is_answered_while_the_line_was_dead_however_fast_one_asks() {
        let mut series = series("....xxxx....");
        let mut line = Surveyed::default();
        line.spells.push(Spell {
            start: ms(4000),
            end: ms(8000),
        });
        let mut asked = (0..57).map(|n| series.answer(ms(4000 + n * 70), &line));
        assert!(asked.all(|answer| answer.is_none()));
        // The near misses on both sides.
        assert!(series.answer(ms(3999), &line).is_some());
        assert!(series.answer(ms(8000), &line).is_some());
    }

    #[test]
    fn a_lossy_line_loses_as_much_of_fast_questions() {
        let mut series = series(&"..x.x.x...".repeat(10));
        let line = Surveyed::default();
        let asked: Vec<_> = (0..1400)
            .map(|n| series.answer(ms(n * 70), &line))
            .collect();
        let lost = asked.iter().filter(|a| a.is_none()).count();
        assert!(
            (320..520).contains(&lost),
            "{lost} of 1400 lost, not 30 percent"
        );
    }

    #[test]
    fn what_lies_behind_is_forgotten_but_for_the_neighbours() {
        let mut series = series(&".".repeat(100));
        assert!(series.reaches_beyond(ms(90_000)));
        assert!(!series.reaches_beyond(ms(95_000)));
        series.forget_before(ms(50_000));
        assert_eq!(series.samples.len(), 50 + NEIGHBOURS);
    }
}

//! When a line was dead, as its samples show afterwards: all targets together, so many losses in a row
//! that chance does not explain them by what the line loses anyway.

use std::{collections::VecDeque, time::Duration};

/// How seldom chance may look like death.
const CHANCE: f64 = 1e-4;
/// What any line may lose: without it two losses in a row would be a death of a perfect line.
const LOSS_LEAST: f64 = 0.02;
/// Results that tell what the line loses anyway.
const RESULTS: usize = 100;

/// A time in which a line was dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spell {
    /// When the first question was asked that was lost.
    pub(crate) start: Duration,
    /// When the first was asked that was answered, or where the history ends.
    pub(crate) end: Duration,
}

impl Spell {
    pub(crate) fn length(&self) -> Duration {
        self.end.saturating_sub(self.start)
    }

    pub(crate) fn contains(&self, moment: Duration) -> bool {
        self.start <= moment && moment < self.end
    }
}

/// Follows the samples of one line.
#[derive(Debug, Default)]
pub(crate) struct Hindsight {
    /// Losses in a row up to now, and when the first was asked.
    run: u32,
    since: Duration,
    /// Whether the newest results outside of spells were lost.
    recent: VecDeque<bool>,
    lost: usize,
}

impl Hindsight {
    /// Takes a result. Says which spell is over by it, if one is.
    pub(crate) fn take(&mut self, time: Duration, is_lost: bool) -> Option<Spell> {
        if is_lost {
            if self.run == 0 {
                self.since = time;
            }
            self.run += 1;
            return None;
        }
        let spell = self.end(time);
        self.learn(false);
        spell
    }

    /// Nothing more is known from then on.
    pub(crate) fn end(&mut self, time: Duration) -> Option<Spell> {
        let run = std::mem::take(&mut self.run);
        if run == 0 {
            return None;
        }
        let loss = match self.recent.len() {
            0 => 0.0,
            all => self.lost as f64 / all as f64,
        };
        let chance = loss.max(LOSS_LEAST).powf(f64::from(run));
        if chance > CHANCE {
            (0..run).for_each(|_| self.learn(true));
            return None;
        }
        Some(Spell {
            start: self.since,
            end: time,
        })
    }

    fn learn(&mut self, is_lost: bool) {
        if self.recent.len() == RESULTS && self.recent.pop_front() == Some(true) {
            self.lost -= 1;
        }
        self.recent.push_back(is_lost);
        self.lost += usize::from(is_lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A result each second: `.` answered, `x` lost.
    fn spells(results: &str) -> Vec<(u64, u64)> {
        let mut hindsight = Hindsight::default();
        let mut found = Vec::new();
        for (second, result) in (0..).map(Duration::from_secs).zip(results.chars()) {
            found.extend(hindsight.take(second, result == 'x'));
        }
        found.extend(hindsight.end(Duration::from_secs(results.len() as u64)));
        let seconds = |s: &Spell| (s.start.as_secs(), s.end.as_secs());
        found.iter().map(seconds).collect()
    }

    #[test]
    fn three_losses_in_a_row_of_a_good_line_are_a_death_and_two_are_not() {
        assert_eq!(spells("..........xxx...."), [(10, 13)]);
        assert_eq!(spells("..........xx....."), []);
    }

    #[test]
    fn a_line_that_loses_three_of_ten_needs_more() {
        let lossy = "..x.x..x..".repeat(10);
        assert_eq!(spells(&format!("{lossy}xxxxxxx...")), []);
        assert_eq!(spells(&format!("{lossy}xxxxxxxxxxxx...")), [(100, 112)]);
    }

    #[test]
    fn a_death_lasts_until_the_history_ends() {
        assert_eq!(spells("....xxxxx"), [(4, 9)]);
    }

    #[test]
    fn what_was_lost_while_it_was_dead_is_no_habit_of_the_line() {
        let dead = "x".repeat(200);
        assert_eq!(
            spells(&format!("....{dead}....xxx.")),
            [(4, 204), (208, 211)]
        );
    }
}

//! A target's results over a longer time than its window: what a small loss is found by, of which a
//! window of ten seconds shows nothing.

use std::{collections::VecDeque, time::Duration};

use crate::Time;

/// How long results are remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(60);
/// Results are added up for so long, so that a target costs a dozen numbers and not thousands.
const PART: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    begun: Time,
    asked: u32,
    lost: u32,
}

/// What became of a target's questions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    parts: VecDeque<Part>,
}

impl Memory {
    /// An answer came.
    pub(crate) fn answered(&mut self, now: Time) {
        let is_current = |part: &Part| now < part.begun + PART;
        if !self.parts.back().is_some_and(is_current) {
            let oldest = now - REMEMBERED;
            self.parts.retain(|part| part.begun >= oldest);
            self.parts.push_back(Part {
                begun: now,
                ..Part::default()
            });
        }
        self.newest().asked += 1;
    }

    /// An answer came late; it counts where the newest ones do, as do losses. A target that never
    /// answers at all is silent, and judged as such.
    pub(crate) fn answered_late(&mut self) {
        self.newest().asked += 1;
    }

    /// No answer will count any more.
    pub(crate) fn lost(&mut self) {
        let part = self.newest();
        part.asked += 1;
        part.lost += 1;
    }

    fn newest(&mut self) -> &mut Part {
        if self.parts.is_empty() {
            self.parts.push_back(Part::default());
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }

    /// Nothing of it counts any more.
    pub(crate) fn forget(&mut self) {
        self.parts.clear();
    }

    /// Questions with a result, and how many of them were lost.
    pub(crate) fn results(&self) -> (usize, usize) {
        self.parts.iter().fold((0, 0), |(asked, lost), part| {
            (asked + part.asked as usize, lost + part.lost as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_remembered_for_a_minute_and_then_forgotten_by_parts() {
        let at = |s| Time(Duration::from_secs(s));
        let mut memory = Memory::default();
        memory.lost();
        for second in 0..=60 {
            memory.answered(at(second));
        }
        assert_eq!(memory.results(), (62, 1));
        memory.answered(at(65));
        // The loss, and the answers of the first five seconds.
        assert_eq!(memory.results(), (57, 0));
        memory.lost();
        memory.answered_late();
        assert_eq!(memory.results(), (59, 1));
        memory.forget();
        assert_eq!(memory.results(), (0, 0));
    }
}

//! The last events, in memory.

use std::collections::VecDeque;

use uplinkd_api::{Event, Events};

/// Events that are remembered: days of a quiet machine, some minutes of a line that flaps. When
/// full the oldest is forgotten, and whoever asks for what came after it is told so.
pub const EVENTS_MAX: usize = 1000;

/// A ring of events with increasing ids.
#[derive(Debug)]
pub(crate) struct Log {
    next_id: u64,
    events: VecDeque<Event>,
}

impl Log {
    /// An empty log whose first event gets this id.
    pub(crate) fn starting_at(first_id: u64) -> Self {
        Self {
            next_id: first_id,
            events: VecDeque::new(),
        }
    }

    /// Gives an event its id and keeps it.
    pub(crate) fn push(&mut self, mut event: Event) -> Event {
        event.id = self.next_id;
        self.next_id += 1;
        self.events.push_back(event.clone());
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
        event
    }

    /// What came after an id, or everything.
    ///
    /// An id that was not given out yet is from an earlier run under a clock that was ahead of
    /// ours; then everything here is new to whoever asks, and something in between may be missing.
    pub(crate) fn after(&self, since: Option<u64>) -> Events {
        let Some(since) = since else {
            return Events {
                events: self.events.iter().cloned().collect(),
                incomplete: false,
            };
        };
        let is_ours = since < self.next_id;
        let oldest = self.events.front().map_or(self.next_id, |e| e.id);
        Events {
            events: self
                .events
                .iter()
                .filter(|e| !is_ours || e.id > since)
                .cloned()
                .collect(),
            incomplete: !is_ours || since.saturating_add(1) < oldest,
        }
    }
}

#[cfg(test)]
mod tests {
    use uplinkd_api::Level;

    use super::*;

    fn event(text: &str) -> Event {
        Event {
            id: 0,
            time: 0.0,
            level: Level::Info,
            kind: "test".to_owned(),
            text: text.to_owned(),
            detail: serde_json::Value::Null,
        }
    }

    fn ids(events: &Events) -> (Vec<u64>, bool) {
        (
            events.events.iter().map(|e| e.id).collect(),
            events.incomplete,
        )
    }

    #[test]
    fn only_what_came_after_is_told() {
        let mut log = Log::starting_at(100);
        assert_eq!(ids(&log.after(None)), (vec![], false));
        assert_eq!(ids(&log.after(Some(99))), (vec![], false));
        for text in ["a", "b", "c"] {
            log.push(event(text));
        }
        assert_eq!(ids(&log.after(None)), (vec![100, 101, 102], false));
        assert_eq!(ids(&log.after(Some(99))), (vec![100, 101, 102], false));
        assert_eq!(ids(&log.after(Some(101))), (vec![102], false));
        assert_eq!(ids(&log.after(Some(102))), (vec![], false));
    }

    #[test]
    fn an_id_of_another_run_brings_everything_and_a_warning() {
        let mut log = Log::starting_at(100);
        log.push(event("a"));
        assert_eq!(ids(&log.after(Some(7))), (vec![100], true));
        assert_eq!(ids(&log.after(Some(101))), (vec![100], true));
        assert_eq!(ids(&log.after(Some(u64::MAX))), (vec![100], true));
    }

    #[test]
    fn a_full_log_forgets_the_oldest_and_says_so() {
        let mut log = Log::starting_at(1);
        for _ in 0..EVENTS_MAX + 2 {
            log.push(event("x"));
        }
        assert_eq!(log.after(None).events.len(), EVENTS_MAX);
        assert!(log.after(Some(1)).incomplete);
        assert!(!log.after(Some(2)).incomplete);
    }
}

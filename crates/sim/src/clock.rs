//! Virtual time: an agenda of what happens when.

use std::{cmp::Reverse, collections::BinaryHeap};

use uplinkd_core::Time;

/// What is still to happen, in order of time; of two at one moment the first noted comes first.
#[derive(Debug)]
pub struct Agenda<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    noted: u64,
    now: Time,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            noted: 0,
            now: Time::default(),
        }
    }
}

#[derive(Debug)]
struct Entry<T> {
    at: Time,
    number: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> Agenda<T> {
    /// The present moment.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Notes something for later; a moment in the past means at once.
    pub fn note(&mut self, at: Time, what: T) {
        self.noted += 1;
        self.heap.push(Reverse(Entry {
            at: at.max(self.now),
            number: self.noted,
            what,
        }));
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|e| e.0.at)
    }

    /// Takes the next thing and goes to its moment.
    pub fn take(&mut self) -> Option<T> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.what)
    }

    /// Goes to a moment before which nothing happens.
    pub fn go_to(&mut self, at: Time) {
        self.now = self.now.max(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn things_happen_in_order_of_time_then_of_noting() {
        let at = |ms| Time(Duration::from_millis(ms));
        let mut agenda = Agenda::default();
        agenda.note(at(5), "late");
        agenda.note(at(1), "first");
        agenda.note(at(1), "second");
        assert_eq!(agenda.next_at(), Some(at(1)));
        let order: Vec<_> = std::iter::from_fn(|| agenda.take()).collect();
        assert_eq!(order, ["first", "second", "late"]);
        assert_eq!(agenda.now(), at(5));
    }
}

//! What is sent when: pure, with the time as a parameter.
//!
//! ```text
//!  push ──> waiting ── take ──> under way ── delivered ──> gone
//!              ^  │                │  │
//!              │  └ too many:      │  └── refused ──> dropped, told with the next message
//!              │    the oldest is  │
//!              │    dropped        │
//!              └── failed, later ──┘
//! ```
//!
//! Nothing goes without being counted: what was dropped is told with the next message.

use std::{collections::VecDeque, time::Duration};

/// What waits at most, beside what is under way. With more the oldest is dropped and counted: what is so now matters more than
/// how it began.
pub const WAITING_MAX: usize = 100;
/// The first pause after a failure. Each further one is twice as long, …
pub const RETRY_FIRST: Duration = Duration::from_secs(5);
/// … up to this.
pub const RETRY_MOST: Duration = Duration::from_secs(600);
/// How soon is tried again when a line is back: the kernel's routes follow within milliseconds.
pub const RETRY_SOON: Duration = Duration::from_secs(1);
/// No server puts us off for longer.
pub const PUT_OFF_MOST: Duration = Duration::from_secs(3600);

/// How fast a channel may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// What comes within this time of a first item goes with it.
    pub together: Duration,
    /// So many messages at most, …
    pub most: usize,
    /// … in any time of this length.
    pub span: Duration,
    /// Items of one message at most.
    pub batch: usize,
}

/// The items that wait for one channel.
#[derive(Clone, Debug)]
pub struct Outbox<T> {
    pace: Pace,
    /// With the time at which each came, oldest first.
    waiting: VecDeque<(Duration, T)>,
    under_way: Option<UnderWay<T>>,
    /// When the last messages were sent, as many as the pace looks at.
    sent: VecDeque<Duration>,
    retry: Option<Retry>,
    /// Dropped, and not told yet.
    untold: u64,
}

#[derive(Clone, Debug)]
struct UnderWay<T> {
    items: Vec<(Duration, T)>,
    dropped: u64,
    /// A line came back since.
    is_hastened: bool,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Duration,
    pause: Duration,
    /// Not before that, whatever happens.
    floor: Duration,
}

/// A message's worth of items, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<T> {
    /// At least one.
    pub items: Vec<T>,
    /// So many were dropped before them, and nobody was told.
    pub dropped: u64,
}

impl<T: Clone> Outbox<T> {
    /// An empty one.
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            waiting: VecDeque::new(),
            under_way: None,
            sent: VecDeque::new(),
            retry: None,
            untold: 0,
        }
    }

    /// Goes on at another pace. What was sent before still counts.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Takes an item; returns how many had to go for it.
    pub fn push(&mut self, item: T, now: Duration) -> u64 {
        self.waiting.push_back((now, item));
        self.bound()
    }

    /// Notes items that were lost before they came here.
    pub fn note_dropped(&mut self, count: u64) {
        self.untold = self.untold.saturating_add(count);
    }

    /// How many items are not gone yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len() + self.under_way.as_ref().map_or(0, |u| u.items.len())
    }

    /// How many were dropped of which the next message will tell.
    pub fn untold(&self) -> u64 {
        self.untold
    }

    /// When [`Self::take`] has something; none: not before something else happens.
    pub fn deadline(&self) -> Option<Duration> {
        if self.under_way.is_some() {
            return None;
        }
        let (came, _) = self.waiting.front()?;
        let due = self
            .retry
            .map_or(*came + self.pace.together, |retry| retry.at);
        let free = self.sent.len().checked_sub(self.pace.most);
        let free = free.and_then(|at| self.sent.get(at));
        Some(free.map_or(due, |sent| due.max(*sent + self.pace.span)))
    }

    /// The next message, where it is time for one. It is under way until one of the four below says
    /// what became of it.
    pub fn take(&mut self, now: Duration) -> Option<Batch<T>> {
        if self.deadline()? > now {
            return None;
        }
        let count = self.waiting.len().min(self.pace.batch);
        let items: Vec<_> = self.waiting.drain(..count).collect();
        let dropped = std::mem::take(&mut self.untold);
        let batch = Batch {
            items: items.iter().map(|(_, item)| item.clone()).collect(),
            dropped,
        };
        self.under_way = Some(UnderWay {
            items,
            dropped,
            is_hastened: false,
        });
        Some(batch)
    }

    /// It has arrived.
    pub fn delivered(&mut self, now: Duration) {
        if self.under_way.take().is_some() {
            self.retry = None;
            self.note_sent(now);
        }
    }

    /// It will never be taken, and counts as dropped; returns how many items that are.
    pub fn refused(&mut self, now: Duration) -> u64 {
        let Some(UnderWay { items, dropped, .. }) = self.under_way.take() else {
            return 0;
        };
        self.retry = None;
        self.note_sent(now);
        let count = items.len() as u64;
        self.note_dropped(dropped.saturating_add(count));
        count
    }

    /// It could not be sent, and is tried again: later each time, but never before `after` from now. `luck`,
    /// from 0 to 1, keeps many from trying at the same moment. Returns how many items had to go.
    pub fn failed(&mut self, now: Duration, after: Option<Duration>, luck: f64) -> u64 {
        let Some(under_way) = self.under_way.take() else {
            return 0;
        };
        for item in under_way.items.into_iter().rev() {
            self.waiting.push_front(item);
        }
        self.note_dropped(under_way.dropped);
        let pause = match self.retry {
            Some(retry) if !under_way.is_hastened => (retry.pause * 2).min(RETRY_MOST),
            Some(_) | None => RETRY_FIRST,
        };
        let floor = now + after.unwrap_or_default().min(PUT_OFF_MOST);
        let wait = match under_way.is_hastened {
            true => RETRY_SOON,
            false => pause.mul_f64(0.75 + 0.5 * luck.clamp(0.0, 1.0)),
        };
        self.retry = Some(Retry {
            at: floor.max(now + wait),
            pause,
            floor,
        });
        self.bound()
    }

    /// A line is back: what failed is tried again soon, and what fails now too.
    pub fn hasten(&mut self, now: Duration) {
        if let Some(under_way) = &mut self.under_way {
            under_way.is_hastened = true;
        }
        if let Some(retry) = &mut self.retry {
            retry.at = retry.at.min(retry.floor.max(now + RETRY_SOON));
            retry.pause = RETRY_FIRST / 2;
        }
    }

    /// Nothing comes after what is here: it need not wait for company any more.
    pub fn close(&mut self) {
        self.pace.together = Duration::ZERO;
    }

    fn note_sent(&mut self, now: Duration) {
        self.sent.push_back(now);
        while self.sent.len() > self.pace.most.max(1) {
            self.sent.pop_front();
        }
    }

    /// Drops the oldest of too many.
    fn bound(&mut self) -> u64 {
        let over = self.waiting.len().saturating_sub(WAITING_MAX);
        self.waiting.drain(..over);
        self.note_dropped(over as u64);
        over as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACE: Pace = Pace {
        together: Duration::from_secs(5),
        most: 3,
        span: Duration::from_secs(3600),
        batch: 50,
    };

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_comes_together_goes_together() {
        let mut outbox = Outbox::new(PACE);
        assert_eq!(outbox.deadline(), None);
        outbox.push('a', s(10));
        outbox.push('b', s(14));
        // The first one does not wait for ever while others come.
        assert_eq!(outbox.deadline(), Some(s(15)));
        assert_eq!(outbox.take(s(14)), None);
        let batch = outbox.take(s(15)).unwrap();
        assert_eq!((batch.items, batch.dropped), (vec!['a', 'b'], 0));
        outbox.push('c', s(16));
        assert_eq!(outbox.deadline(), None, "one at a time");
        outbox.delivered(s(17));
        assert_eq!(outbox.deadline(), Some(s(21)));
    }

    #[test]
    fn a_failure_is_tried_again_later_each_time_and_soon_when_a_line_is_back() {
        let mut outbox = Outbox::new(PACE);
        outbox.push('a', s(0));
        let mut now = s(5);
        for pause in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
            assert!(outbox.take(now).is_some());
            outbox.failed(now, None, 0.5);
            assert_eq!(outbox.deadline(), Some(now + s(pause)));
            now += s(pause);
        }
        assert!(outbox.take(now).is_some());
        outbox.failed(now, None, 0.5);
        // What comes meanwhile waits with it.
        outbox.push('b', now);
        outbox.hasten(now + s(3));
        assert_eq!(outbox.deadline(), Some(now + s(4)));
        let batch = outbox.take(now + s(4)).unwrap();
        assert_eq!(batch.items, ['a', 'b']);
        // It may have begun before the line was back.
        outbox.hasten(now + s(5));
        outbox.failed(now + s(6), None, 0.5);
        assert_eq!(outbox.deadline(), Some(now + s(7)));
        assert!(outbox.take(now + s(7)).is_some());
        outbox.failed(now + s(7), None, 0.5);
        assert_eq!(outbox.deadline(), Some(now + s(17)));
    }

    #[test]
    fn a_server_that_puts_us_off_is_left_alone_for_so_long() {
        let mut outbox = Outbox::new(PACE);
        outbox.push('a', s(0));
        outbox.take(s(5)).unwrap();
        outbox.failed(s(5), Some(s(90)), 0.0);
        outbox.hasten(s(6));
        assert_eq!(outbox.deadline(), Some(s(95)));
        outbox.take(s(95)).unwrap();
        outbox.failed(s(95), Some(s(1_000_000)), 0.0);
        assert_eq!(outbox.deadline(), Some(s(95) + PUT_OFF_MOST));
    }

    #[test]
    fn with_too_many_the_oldest_go_and_the_next_message_says_how_many() {
        let mut outbox = Outbox::new(PACE);
        for n in 0..WAITING_MAX + 7 {
            outbox.push(n, s(0));
        }
        let batch = outbox.take(s(5)).unwrap();
        assert_eq!(
            (batch.items[0], batch.items.len(), batch.dropped),
            (7, 50, 7)
        );
        // What is under way comes first again, and is what has to go for newer ones.
        for n in 1000..1050 {
            outbox.push(n, s(6));
        }
        assert_eq!(outbox.failed(s(7), None, 0.5), 50);
        let batch = outbox.take(s(12)).unwrap();
        assert_eq!((batch.items[0], batch.dropped), (57, 57));
        outbox.delivered(s(12));
        assert_eq!(outbox.waiting(), 50);
    }

    #[test]
    fn what_is_refused_is_not_tried_again_but_counted() {
        let mut outbox = Outbox::new(PACE);
        outbox.push('a', s(0));
        outbox.take(s(5)).unwrap();
        assert_eq!(outbox.refused(s(5)), 1);
        assert_eq!(outbox.deadline(), None);
        outbox.push('b', s(6));
        assert_eq!(outbox.take(s(11)).unwrap().dropped, 1);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Push(usize),
        Wait(u64),
        Deadline,
        Deliver,
        Fail(Option<u64>, f64),
        Refuse,
        Hasten,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (1_usize..40).prop_map(Act::Push),
            (0_u64..2000).prop_map(Act::Wait),
            Just(Act::Deadline),
            Just(Act::Deadline),
            Just(Act::Deliver),
            (proptest::option::of(0_u64..9000), 0.0..1.0).prop_map(|(a, l)| Act::Fail(a, l)),
            Just(Act::Refuse),
            Just(Act::Hasten),
        ]
    }

    proptest! {
        /// Never more than the rate, nothing lost that is not counted, and all in order.
        #[test]
        fn whatever_happens_it_adds_up(
            acts in proptest::collection::vec(act(), 1..200),
            most in 1_usize..5,
            batch in 1_usize..60,
        ) {
            let pace = Pace { most, batch, ..PACE };
            let mut outbox = Outbox::new(pace);
            let (mut now, mut next, mut told, mut dropped) = (s(0), 0_u64, Vec::new(), 0_u64);
            let mut under_way: Option<Batch<u64>> = None;
            let mut sent = Vec::new();
            for act in acts {
                match act {
                    Act::Push(count) => for _ in 0..count {
                        outbox.push(next, now);
                        next += 1;
                    },
                    Act::Wait(seconds) => now += s(seconds),
                    Act::Deadline => if let Some(deadline) = outbox.deadline() {
                        now = now.max(deadline);
                    },
                    Act::Deliver => if let Some(batch) = under_way.take() {
                        outbox.delivered(now);
                        told.extend(batch.items);
                        dropped += batch.dropped;
                        sent.push(now);
                    },
                    Act::Fail(after, luck) => if under_way.take().is_some() {
                        outbox.failed(now, after.map(s), luck);
                        if let Some(deadline) = outbox.deadline() {
                            prop_assert!(deadline > now, "no hammering");
                        }
                    },
                    Act::Refuse => if under_way.take().is_some() {
                        outbox.refused(now);
                        sent.push(now);
                    },
                    Act::Hasten => outbox.hasten(now),
                }
                prop_assert!(outbox.waiting.len() <= WAITING_MAX);
                if under_way.is_none() {
                    let is_due = outbox.deadline().is_some_and(|d| d <= now);
                    under_way = outbox.take(now);
                    prop_assert_eq!(under_way.is_some(), is_due);
                    if let Some(taken) = &under_way {
                        prop_assert!((1..=batch).contains(&taken.items.len()));
                    }
                }
            }
            prop_assert!(told.is_sorted_by(|a, b| a < b), "in order, and each once");
            let untold = under_way.as_ref().map_or(outbox.untold(), |b| b.dropped + outbox.untold());
            prop_assert_eq!(
                told.len() as u64 + dropped + untold + outbox.waiting() as u64,
                next
            );
            for (first, later) in sent.iter().zip(sent.iter().skip(most)) {
                // A message that failed first counts from when it arrived, so that what is between
                // two beginnings is never less than between two arrivals.
                prop_assert!(*later >= *first + PACE.span, "{sent:?}");
            }
        }
    }
}

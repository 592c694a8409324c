//! When each target is asked next, and until when each open question may be answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{Time, event::ProbeId};

/// A target of a line: the index of the line, and the target's in its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TargetKey {
    pub(crate) line: usize,
    pub(crate) target: usize,
}

impl TargetKey {
    /// So many targets of a line.
    pub(crate) fn all(line: usize, count: usize) -> impl Iterator<Item = Self> {
        (0..count).map(move |target| Self { line, target })
    }

    /// When this one of so many targets is asked, so that a line is asked at even distances; the first
    /// of them then. Where there are many, some are asked at once.
    pub(crate) fn turn(self, first: Time, interval: Duration, count: usize) -> Time {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let together = (count / TURNS).max(1);
        let before = self.target / together * together;
        first + interval * number(before) / number(count).max(1)
    }
}

/// So often in an interval a line is asked at least, where it has so many targets. Targets beyond share
/// these turns: questions that leave together by one line cost two thirds of what single ones do.
const TURNS: usize = 10;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Ask this target now.
    Ask(TargetKey, ProbeId),
    /// The answer to this question, asked then, is missed.
    Missed(TargetKey, ProbeId, Time),
    /// This question was missed before, and its answer does not count any more.
    GivenUp(TargetKey, ProbeId),
}

/// What a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The answer, before it was missed, to a question of then.
    InTime(TargetKey, Time),
    /// The answer to a question that was missed already.
    Late(TargetKey),
}

/// How a target is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// Time until the next question.
    pub(crate) interval: Duration,
    /// When an answer is missed.
    pub(crate) patience: Duration,
    /// When it does not count any more; at least `patience`.
    pub(crate) timeout: Duration,
    /// For a target that is dear to ask: the least time between two questions. The next one waits
    /// until the last one is answered or missed.
    pub(crate) least: Option<Duration>,
}

/// A question without an answer.
#[derive(Clone, Copy, Debug)]
struct Open {
    key: TargetKey,
    asked: Time,
    /// When it is missed, or, once it was, given up.
    at: Time,
    /// When it is given up.
    end: Time,
    is_missed: bool,
}

/// The calendar of all probes.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    next_id: u64,
    asks: BTreeSet<(Time, TargetKey)>,
    ask_times: BTreeMap<TargetKey, Time>,
    open: BTreeMap<ProbeId, Open>,
    deadlines: BTreeSet<(Time, ProbeId)>,
    /// Of targets that are dear to ask: when they were asked last, and their open questions.
    dear: BTreeMap<TargetKey, (Time, Vec<ProbeId>)>,
}

/// Open questions of a target that is dear to ask. Where so many are missed and not yet over, the
/// next one waits.
const OPEN_MAX: usize = 4;

impl Schedule {
    /// The earliest moment at which something is due.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let ask = self.asks.first().map(|(at, _)| *at);
        let missed = self.deadlines.first().map(|(at, _)| *at);
        ask.into_iter().chain(missed).min()
    }

    /// A calendar with nothing in it that goes on counting, so that no late answer is mistaken.
    pub(crate) fn emptied(self) -> Self {
        Self {
            next_id: self.next_id,
            ..Self::default()
        }
    }

    /// Whether a target is being asked at all.
    pub(crate) fn is_running(&self, key: TargetKey) -> bool {
        self.ask_times.contains_key(&key)
    }

    /// Starts asking a target.
    pub(crate) fn start(&mut self, key: TargetKey, first: Time) {
        self.stop_asking(key);
        self.asks.insert((first, key));
        self.ask_times.insert(key, first);
    }

    /// Asks a target then, where it would be asked later.
    pub(crate) fn hasten(&mut self, key: TargetKey, at: Time) {
        if self.ask_times.get(&key).is_some_and(|next| *next > at) {
            self.start(key, at);
        }
    }

    /// Stops asking a target and forgets its open questions.
    pub(crate) fn stop(&mut self, key: TargetKey) {
        self.stop_asking(key);
        self.dear.remove(&key);
        let open = self.open.iter().filter(|(_, open)| open.key == key);
        let gone: Vec<_> = open.map(|(id, open)| (open.at, *id)).collect();
        for (at, id) in gone {
            self.open.remove(&id);
            self.deadlines.remove(&(at, id));
        }
    }

    fn stop_asking(&mut self, key: TargetKey) {
        if let Some(at) = self.ask_times.remove(&key) {
            self.asks.remove(&(at, key));
        }
    }

    /// Takes the next thing that is due.
    ///
    /// After a long sleep each target is asked once, not once for every interval slept through.
    pub(crate) fn next_due(
        &mut self,
        now: Time,
        timing: impl Fn(TargetKey) -> Timing,
    ) -> Option<Due> {
        if let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.remove(&(at, id));
            let open = self.open.get_mut(&id);
            let open = open.expect("every deadline has its open question");
            let (key, asked) = (open.key, open.asked);
            if open.is_missed {
                self.open.remove(&id);
                return Some(Due::GivenUp(key, id));
            }
            (open.is_missed, open.at) = (true, open.end);
            self.deadlines.insert((open.at, id));
            return Some(Due::Missed(key, id, asked));
        }
        let (at, key, timing) = loop {
            let (at, key) = self.asks.first().copied().filter(|(at, _)| *at <= now)?;
            let timing = timing(key);
            match timing.least.and_then(|least| self.wait(key, least, now)) {
                Some(later) => self.start(key, later),
                None => break (at, key, timing),
            }
        };
        let Timing {
            interval,
            patience,
            timeout,
            least,
        } = timing;
        let next = (at + interval).max(now);
        self.start(key, if next <= now { now + interval } else { next });
        let id = ProbeId(self.next_id);
        self.next_id += 1;
        let open = Open {
            key,
            asked: now,
            at: now + patience,
            end: now + timeout,
            is_missed: false,
        };
        self.open.insert(id, open);
        self.deadlines.insert((open.at, id));
        if least.is_some() {
            let (last, open) = self.dear.entry(key).or_default();
            *last = now;
            open.push(id);
        }
        Some(Due::Ask(key, id))
    }

    /// Until when a target that is dear to ask has to be left alone, if it has to.
    fn wait(&mut self, key: TargetKey, least: Duration, now: Time) -> Option<Time> {
        let Self { open, dear, .. } = self;
        let (last, questions) = dear.get_mut(&key)?;
        questions.retain(|id| open.contains_key(id));
        let is_waiting = |id: &ProbeId| open.get(id).is_some_and(|o| !o.is_missed);
        if *last + least > now {
            return Some(*last + least);
        }
        let is_busy = questions.len() >= OPEN_MAX || questions.iter().any(is_waiting);
        is_busy.then(|| now + least)
    }

    /// Closes an open question. `None` where it was given up, or never asked.
    pub(crate) fn close(&mut self, id: ProbeId) -> Option<Reply> {
        let open = self.open.remove(&id)?;
        self.deadlines.remove(&(open.at, id));
        Some(match open.is_missed {
            false => Reply::InTime(open.key, open.asked),
            true => Reply::Late(open.key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: TargetKey = TargetKey { line: 0, target: 0 };

    fn at(ms: u64) -> Time {
        Time(Duration::from_millis(ms))
    }

    fn timing(_: TargetKey) -> Timing {
        Timing {
            interval: Duration::from_millis(100),
            patience: Duration::from_millis(150),
            timeout: Duration::from_millis(400),
            least: None,
        }
    }

    #[test]
    fn asks_at_its_interval_and_counts_silence_twice() {
        let mut schedule = Schedule::default();
        schedule.start(KEY, at(0));
        let ask = |n| Some(Due::Ask(KEY, ProbeId(n)));
        assert_eq!(schedule.next_due(at(0), timing), ask(0));
        assert_eq!(schedule.next_due(at(0), timing), None);
        assert_eq!(schedule.next_deadline(), Some(at(100)));
        assert_eq!(schedule.next_due(at(100), timing), ask(1));
        let missed = Some(Due::Missed(KEY, ProbeId(0), at(0)));
        assert_eq!(schedule.next_due(at(150), timing), missed);
        assert_eq!(
            schedule.close(ProbeId(1)),
            Some(Reply::InTime(KEY, at(100)))
        );
        schedule.stop_asking(KEY);
        assert_eq!(schedule.next_deadline(), Some(at(400)));
        assert_eq!(
            schedule.next_due(at(400), timing),
            Some(Due::GivenUp(KEY, ProbeId(0)))
        );
        assert_eq!(schedule.close(ProbeId(0)), None);
        assert_eq!(schedule.next_deadline(), None);
    }

    #[test]
    fn an_answer_may_come_after_it_was_missed() {
        let mut schedule = Schedule::default();
        schedule.start(KEY, at(0));
        schedule.next_due(at(0), timing);
        schedule.stop_asking(KEY);
        assert!(matches!(
            schedule.next_due(at(150), timing),
            Some(Due::Missed(..))
        ));
        assert_eq!(schedule.close(ProbeId(0)), Some(Reply::Late(KEY)));
        assert_eq!(schedule.close(ProbeId(0)), None);
        assert_eq!(schedule.next_deadline(), None);
    }

    #[test]
    fn targets_are_asked_at_even_distances_and_many_of_them_in_groups() {
        let turns = |count: usize| -> Vec<u128> {
            let turn = |key: TargetKey| key.turn(at(500), Duration::from_secs(1), count);
            let turns = TargetKey::all(0, count).map(turn);
            turns.map(|t| t.since(at(500)).as_millis()).collect()
        };
        assert_eq!(turns(4), [0, 250, 500, 750]);
        let near_miss = turns(19);
        assert!(near_miss.windows(2).all(|w| w[0] < w[1]), "{near_miss:?}");
        assert_eq!(turns(20)[..5], [0, 0, 100, 100, 200]);
        let many = turns(80);
        assert_eq!((many[7], many[8], many[79]), (0, 100, 900));
    }

    #[test]
    fn a_target_is_hastened_and_never_put_off() {
        let mut schedule = Schedule::default();
        schedule.hasten(KEY, at(0));
        assert!(!schedule.is_running(KEY));
        schedule.start(KEY, at(1000));
        schedule.hasten(KEY, at(70));
        schedule.hasten(KEY, at(500));
        assert_eq!(schedule.next_deadline(), Some(at(70)));
    }

    #[test]
    fn a_long_sleep_is_not_made_up_for() {
        let mut schedule = Schedule::default();
        schedule.start(KEY, at(0));
        schedule.next_due(at(0), timing);
        schedule.close(ProbeId(0));
        assert!(matches!(
            schedule.next_due(at(60_000), timing),
            Some(Due::Ask(..))
        ));
        assert_eq!(schedule.next_due(at(60_000), timing), None);
        assert_eq!(schedule.next_deadline(), Some(at(60_100)));
    }

    fn dear(key: TargetKey) -> Timing {
        Timing {
            interval: Duration::from_millis(60),
            least: Some(Duration::from_millis(50)),
            ..timing(key)
        }
    }

    #[test]
    fn a_dear_target_is_asked_again_only_once_its_answer_came_or_is_missed() {
        let mut schedule = Schedule::default();
        let ask = |n| Some(Due::Ask(KEY, ProbeId(n)));
        schedule.start(KEY, at(0));
        assert_eq!(schedule.next_due(at(0), dear), ask(0));
        assert_eq!(schedule.next_due(at(60), dear), None);
        assert_eq!(schedule.next_deadline(), Some(at(110)));
        schedule.close(ProbeId(0));
        assert_eq!(schedule.next_due(at(110), dear), ask(1));
        // Somebody wants to know at once, and has to wait for the least time.
        schedule.close(ProbeId(1));
        schedule.hasten(KEY, at(120));
        assert_eq!(schedule.next_due(at(120), dear), None);
        assert_eq!(schedule.next_due(at(160), dear), ask(2));
        assert!(matches!(
            schedule.next_due(at(310), dear),
            Some(Due::Missed(..))
        ));
        assert_eq!(schedule.next_due(at(310), dear), ask(3));
    }

    #[test]
    fn few_questions_of_a_dear_target_are_open_however_long_they_take() {
        let slow = |key| Timing {
            patience: Duration::from_millis(50),
            timeout: Duration::from_secs(5),
            ..dear(key)
        };
        let mut schedule = Schedule::default();
        schedule.start(KEY, at(0));
        let mut asked = 0;
        for ms in 0..3000 {
            while let Some(due) = schedule.next_due(at(ms), slow) {
                asked += usize::from(matches!(due, Due::Ask(..)));
            }
        }
        assert_eq!((asked, schedule.open.len()), (OPEN_MAX, OPEN_MAX));
    }

    #[test]
    fn a_stopped_target_leaves_nothing_behind() {
        let mut schedule = Schedule::default();
        schedule.start(KEY, at(0));
        schedule.next_due(at(0), timing);
        schedule.stop(KEY);
        assert_eq!(schedule.next_deadline(), None);
        assert_eq!(schedule.close(ProbeId(0)), None);
    }
}

//! What is said on one interface, and when: pure, so that time can be played.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use ipnet::Ipv6Net;
use tokio::time::Instant;

use crate::advert::Advert;

/// A change is said so often, as RFC 4861 (6.2.4) has it, since nobody confirms that it was heard: at
/// once, and after these times.
const AGAIN_AFTER: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(4),
];
/// Who has not answered that long after the first question is not there: the last one is four seconds
/// later, and a daemon may take half a second (RFC 4861, 6.2.6).
const ALONE_AFTER: Duration = Duration::from_secs(6);
/// A daemon advertises at least so often (RFC 4861, `MaxRtrAdvInterval`).
const SILENT_MAX: Duration = Duration::from_secs(1800);
/// Least time between two answers to what the daemon says. Hosts that are told to use a prefix in
/// between do so until the next answer. More than that would let hosts that solicit without end make
/// everybody else listen.
const ANSWERS_APART: Duration = Duration::from_millis(250);

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// This message, from this machine's address of that advertisement.
    Advert { like: Advert, message: Vec<u8> },
    /// A question to this machine's own daemon, which has not been heard yet.
    Solicit,
}

/// What is known and wanted on one interface.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    avoided: BTreeSet<Ipv6Net>,
    /// The daemon's last words, and when.
    heard: Option<(Advert, Instant)>,
    /// When to speak without being provoked.
    owed: VecDeque<Instant>,
    /// There is something new to say, and not only somebody to be asked.
    is_news: bool,
    /// The daemon contradicted us: answer then.
    answer_at: Option<Instant>,
    spoke_at: Option<Instant>,
    /// Since when nobody else has advertised, as far as is known.
    unheard_since: Instant,
}

impl Voice {
    /// A voice that begins by asking the daemon.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            avoided: BTreeSet::new(),
            heard: None,
            owed: owed(now),
            is_news: false,
            answer_at: None,
            spoke_at: None,
            unheard_since: now,
        }
    }

    /// These prefixes are to be avoided from now on, and no others.
    pub(crate) fn avoid(&mut self, prefixes: &BTreeSet<Ipv6Net>, now: Instant) {
        if self.avoided == *prefixes {
            return;
        }
        self.avoided.clone_from(prefixes);
        self.is_news = true;
        self.owed = owed(now);
    }

    /// An advertisement that is not ours has left by the interface.
    pub(crate) fn hear(&mut self, advert: Advert, now: Instant) {
        if advert.contradicts(&self.avoided) {
            let earliest = self.spoke_at.map_or(now, |at| at + ANSWERS_APART);
            self.answer_at.get_or_insert(earliest.max(now));
        }
        self.heard = Some((advert, now));
    }

    /// From when on there is no daemon on this machine that advertises here: none has answered, or the
    /// one that did has been silent for longer than it may.
    pub(crate) fn alone_from(&self) -> Instant {
        match &self.heard {
            None => self.unheard_since + ALONE_AFTER,
            Some((advert, at)) => {
                let router = Duration::from_secs(advert.router_lifetime().into());
                *at + router.max(SILENT_MAX)
            }
        }
    }

    /// When [`Self::next`] has something.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.owed
            .front()
            .copied()
            .into_iter()
            .chain(self.answer_at)
            .min()
    }

    /// What is to be said now; ask until there is nothing.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Say> {
        let mut is_due = self.answer_at.take_if(|at| *at <= now).is_some();
        let mut is_owed = false;
        while self.owed.pop_front_if(|at| *at <= now).is_some() {
            is_owed = true;
        }
        is_due |= is_owed && self.is_news;
        let Some((advert, heard_at)) = &self.heard else {
            return is_owed.then_some(Say::Solicit);
        };
        if !is_due {
            return None;
        }
        let seconds = now.saturating_duration_since(*heard_at).as_secs();
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let Some(message) = advert.again(seconds, &self.avoided) else {
            // The daemon has fallen silent for longer than it promised anything.
            self.heard = None;
            self.unheard_since = now;
            return is_owed.then_some(Say::Solicit);
        };
        let like = advert.clone();
        self.spoke_at = Some(now);
        Some(Say::Advert { like, message })
    }
}

/// When a change is said that is made now.
pub(crate) fn owed(now: Instant) -> VecDeque<Instant> {
    AGAIN_AFTER.iter().map(|after| now + *after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::tests::{ISP1, ISP2, packet, set, with_header};

    fn advert() -> Advert {
        Advert::read(&packet()).unwrap()
    }

    /// What was said: the prefixes that were avoided, or nothing for a question.
    fn avoided(said: Option<Say>) -> Option<Vec<&'static str>> {
        let Say::Advert { message, .. } = said? else {
            return None;
        };
        let advert = Advert::read(&with_header(&message)).unwrap();
        let prefixes = [ISP1, ISP2].into_iter();
        Some(
            prefixes
                .filter(|p| !advert.contradicts(&set(&[p])))
                .collect(),
        )
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A voice that has heard the daemon.
    fn voice(start: Instant) -> Voice {
        let mut voice = Voice::new(start);
        assert_eq!(voice.next(start), Some(Say::Solicit));
        voice.hear(advert(), start);
        assert_eq!(voice.next(start + ms(10_000)), None, "nothing to say");
        voice
    }

    #[test]
    fn a_change_is_said_at_once_and_three_times() {
        let start = Instant::now();
        let mut voice = voice(start);
        for prefixes in [&[ISP1][..], &[]] {
            voice.avoid(&set(prefixes), start);
            for after in [0, 1000, 4000] {
                assert_eq!(voice.deadline(), Some(start + ms(after)));
                let said = avoided(voice.next(start + ms(after)));
                assert_eq!(said.as_deref(), Some(prefixes));
                assert_eq!(voice.next(start + ms(after)), None, "once");
            }
            assert_eq!(voice.deadline(), None);
        }
        voice.avoid(&BTreeSet::new(), start);
        assert_eq!(voice.deadline(), None, "that is no change");
    }

    #[test]
    fn the_daemon_is_answered_each_time_it_contradicts_but_not_endlessly() {
        let start = Instant::now();
        let mut voice = voice(start);
        voice.avoid(&set(&[ISP1]), start);
        voice.next(start + ms(5000));
        let spoke = start + ms(5000);
        for (heard, answered) in [(10_000, 10_000), (10_001, 10_250), (10_400, 10_500)] {
            voice.hear(advert(), start + ms(heard));
            assert_eq!(voice.deadline(), Some(start + ms(answered)));
            let said = avoided(voice.next(start + ms(answered)));
            assert_eq!(said.as_deref(), Some(&[ISP1][..]));
        }
        assert!(spoke < start + ms(10_000));
        voice.avoid(&BTreeSet::new(), start);
        voice.next(start + ms(60_000));
        voice.hear(advert(), start + ms(70_000));
        assert_eq!(voice.deadline(), None, "nothing is avoided any more");
    }

    #[test]
    fn who_was_never_heard_is_asked_and_not_spoken_for() {
        let start = Instant::now();
        let mut voice = Voice::new(start);
        voice.avoid(&set(&[ISP1]), start);
        for after in [0, 1000, 4000] {
            assert_eq!(voice.next(start + ms(after)), Some(Say::Solicit));
        }
        assert_eq!(voice.deadline(), None, "it does not exist");
        voice.hear(advert(), start + ms(9000));
        let said = avoided(voice.next(start + ms(9000)));
        assert_eq!(said.as_deref(), Some(&[ISP1][..]), "it does");
    }

    #[test]
    fn who_does_not_answer_is_not_there_and_who_is_silent_for_too_long_neither() {
        let start = Instant::now();
        let mut voice = Voice::new(start);
        assert_eq!(voice.alone_from(), start + ms(6000));
        voice.hear(advert(), start + ms(5000));
        assert_eq!(voice.alone_from(), start + ms(1_805_000));
        voice.hear(advert(), start + ms(600_000));
        assert_eq!(voice.alone_from(), start + ms(2_400_000));
    }

    #[test]
    fn who_fell_silent_for_good_is_not_spoken_for() {
        let start = Instant::now();
        let mut voice = voice(start);
        voice.avoid(&set(&[ISP1]), start + ms(1_800_000));
        assert_eq!(voice.next(start + ms(1_800_000)), Some(Say::Solicit));
    }
}

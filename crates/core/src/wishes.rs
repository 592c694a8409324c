//! What people want of uplinks for a while: kept over a restart, and over by itself when its time is.

use uplinkd_model::{By, UplinkName};

use crate::Time;

/// What somebody wants of one uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Which uplink.
    pub uplink: UplinkName,
    /// Since when. In a later run this is the moment of its start.
    pub since: Time,
    /// Until when; none: until somebody ends it.
    pub until: Option<Time>,
    /// Who wants it, and why.
    pub by: By,
}

/// All that is wanted now. Wishes for uplinks that the file does not have are kept: a file that is put
/// back has them again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Uplinks that are to take no new connections; each once.
    pub drained: Vec<Wish>,
    /// The uplink that is to take all of them, wherever it may.
    pub preferred: Option<Wish>,
}

impl Wishes {
    /// What is wanted of an uplink in this respect.
    pub(crate) fn drained(&self, uplink: &UplinkName) -> Option<&Wish> {
        self.drained.iter().find(|w| w.uplink == *uplink)
    }

    /// Whether an uplink is preferred, and by whom.
    pub(crate) fn preferred(&self, uplink: &UplinkName) -> Option<&Wish> {
        self.preferred.as_ref().filter(|w| w.uplink == *uplink)
    }

    /// When the next one is over.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let all = self.drained.iter().chain(&self.preferred);
        all.filter_map(|w| w.until).min()
    }

    /// Notes that an uplink is drained, in the place of what was wanted of it before.
    pub(crate) fn drain(&mut self, wish: Wish) {
        self.undrain(&wish.uplink);
        self.drained.push(wish);
    }

    /// Says whether it was drained.
    pub(crate) fn undrain(&mut self, uplink: &UplinkName) -> bool {
        let before = self.drained.len();
        self.drained.retain(|w| w.uplink != *uplink);
        self.drained.len() < before
    }

    /// Takes out what is over: uplinks that were drained, and the one that was preferred.
    pub(crate) fn expire(&mut self, now: Time) -> (Vec<UplinkName>, Option<UplinkName>) {
        let is_over = |w: &Wish| w.until.is_some_and(|at| at <= now);
        let (over, on) = self.drained.drain(..).partition(is_over);
        let over: Vec<Wish> = over;
        self.drained = on;
        let preferred = self.preferred.take_if(|w| is_over(w));
        let over = over.into_iter().map(|w| w.uplink).collect();
        (over, preferred.map(|w| w.uplink))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(s: u64) -> Time {
        Time(Duration::from_secs(s))
    }

    fn wish(name: &str, until: Option<u64>) -> Wish {
        Wish {
            uplink: UplinkName::new(name).unwrap(),
            since: at(0),
            until: until.map(at),
            by: By::new("a test"),
        }
    }

    #[test]
    fn each_is_over_at_its_own_time_and_one_without_a_time_never() {
        let mut wishes = Wishes::default();
        wishes.drain(wish("a", Some(20)));
        wishes.drain(wish("a", Some(10)));
        wishes.drain(wish("b", None));
        wishes.preferred = Some(wish("c", Some(15)));
        assert_eq!(wishes.next_deadline(), Some(at(10)));
        assert_eq!(wishes.expire(at(9)), (vec![], None));
        let over = wishes.expire(at(10));
        assert_eq!(over, (vec![UplinkName::new("a").unwrap()], None));
        assert_eq!(wishes.next_deadline(), Some(at(15)));
        let over = wishes.expire(at(99));
        assert_eq!(over, (vec![], Some(UplinkName::new("c").unwrap())));
        assert_eq!(wishes.next_deadline(), None);
        assert!(wishes.drained(&UplinkName::new("b").unwrap()).is_some());
    }
}

//! What this machine advertises by itself where nothing else on it does, and when: pure, so that time
//! can be played.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use ipnet::Ipv6Net;
use tokio::time::Instant;
use uplinkd_model::OwnAdvert;

use crate::{
    advert::{self, Lifetimes},
    voice::owed,
};

/// Lifetimes by RFC 9096 (4.3): so short that hosts do not rely for long on what a provider has taken
/// back while nobody was there to say so.
const ROUTER: Duration = Duration::from_secs(1800);
const PREFERRED: Duration = Duration::from_secs(2700);
const VALID: Duration = Duration::from_secs(5400);
/// Least and most time between two unsolicited advertisements (RFC 4861, 6.2.1).
const APART_MIN: Duration = Duration::from_secs(200);
const APART_MAX: Duration = Duration::from_secs(600);
/// Least time between two that answer questions (RFC 4861, `MIN_DELAY_BETWEEN_RAS`): hosts that ask
/// without end do not make everybody else listen more often.
const ANSWERS_APART: Duration = Duration::from_secs(3);
/// Networks that are gone of which hosts are still told so. A provider that renumbers more often than
/// that within their lifetime leaves the oldest to run out by itself.
const GONE_MAX: usize = 16;

/// What is known and wanted on one interface.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    advert: OwnAdvert,
    avoided: BTreeSet<Ipv6Net>,
    /// Until when hosts may use addresses in networks that were advertised.
    promised: BTreeMap<Ipv6Net, Instant>,
    /// When a change is to be said.
    owed: VecDeque<Instant>,
    /// Somebody asked: answer then.
    answer_at: Option<Instant>,
    /// When to speak if nothing happens before.
    again_at: Instant,
    /// How often it was spoken, which spreads the times between.
    spoken: u32,
    spoke_at: Option<Instant>,
}

impl Own {
    /// Speaks at once.
    pub(crate) fn new(advert: OwnAdvert, avoided: BTreeSet<Ipv6Net>, now: Instant) -> Self {
        Self {
            advert,
            avoided,
            promised: BTreeMap::new(),
            owed: owed(now),
            answer_at: None,
            again_at: now + APART_MAX,
            spoken: 0,
            spoke_at: None,
        }
    }

    /// This is what there is to say from now on.
    pub(crate) fn change(&mut self, advert: &OwnAdvert, avoided: &BTreeSet<Ipv6Net>, now: Instant) {
        if self.advert != *advert || self.avoided != *avoided {
            self.advert.clone_from(advert);
            self.avoided.clone_from(avoided);
            self.owed = owed(now);
        }
    }

    /// A host asked.
    pub(crate) fn asked(&mut self, now: Instant) {
        let earliest = self.spoke_at.map_or(now, |at| at + ANSWERS_APART);
        self.answer_at.get_or_insert(earliest.max(now));
    }

    /// When [`Self::next`] has something.
    pub(crate) fn deadline(&self) -> Instant {
        let owed = self.owed.front().copied();
        owed.into_iter()
            .chain(self.answer_at)
            .fold(self.again_at, Instant::min)
    }

    /// What is to be said now, its checksum zero; ask until there is nothing.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.deadline() > now {
            return None;
        }
        while self.owed.pop_front_if(|at| *at <= now).is_some() {}
        self.answer_at = None;
        self.spoken = self.spoken.wrapping_add(1);
        // Not the same time again and again, so that the routers of a link do not fall into step.
        let spread = (APART_MAX - APART_MIN) / 7 * (self.spoken * 3 % 8);
        self.again_at = now + APART_MIN + spread.min(APART_MAX - APART_MIN);
        self.spoke_at = Some(now);
        for network in &self.advert.networks {
            self.promised.insert(*network, now + VALID);
        }
        self.promised.retain(|_, until| *until > now);
        self.forget_the_oldest();
        Some(self.message(
            now,
            if self.advert.is_router {
                ROUTER
            } else {
                Duration::ZERO
            },
        ))
    }

    /// What is to be said when nobody is told anything any more: that this machine is no router by our
    /// word. Nothing where it never said so.
    pub(crate) fn last_word(&self, now: Instant) -> Option<Vec<u8>> {
        self.spoke_at.map(|_| self.message(now, Duration::ZERO))
    }

    fn message(&self, now: Instant, router: Duration) -> Vec<u8> {
        let networks = self.promised.iter().map(|(network, until)| {
            let is_preferred =
                self.advert.networks.contains(network) && !self.avoided.contains(network);
            let valid = until.saturating_duration_since(now);
            let preferred = match is_preferred {
                // Preferred for as long as it was when it was last promised.
                true => PREFERRED.saturating_sub(VALID.saturating_sub(valid)),
                false => Duration::ZERO,
            };
            Lifetimes {
                network: *network,
                valid,
                preferred,
            }
        });
        advert::message(router, networks)
    }

    fn forget_the_oldest(&mut self) {
        let present = &self.advert.networks;
        let is_gone = |network: &Ipv6Net| !present.contains(network);
        while self.promised.keys().filter(|n| is_gone(n)).count() > GONE_MAX {
            let gone = self.promised.iter().filter(|(n, _)| is_gone(n));
            let Some(oldest) = gone.min_by_key(|(_, until)| **until).map(|(n, _)| *n) else {
                return;
            };
            self.promised.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::{
        Advert,
        tests::{ISP1, ISP2, lifetimes, set, with_header},
    };

    fn networks(networks: &[&str], is_router: bool) -> OwnAdvert {
        OwnAdvert {
            networks: set(networks),
            is_router,
        }
    }

    fn own(start: Instant) -> Own {
        Own::new(networks(&[ISP1, ISP2], true), set(&[]), start)
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// The router's lifetime, and each network with its preferred and valid lifetime.
    fn read(message: &[u8]) -> (u16, Vec<(String, u32, u32)>) {
        let advert = Advert::read(&with_header(message)).expect("a whole advertisement");
        (advert.router_lifetime(), lifetimes(&advert))
    }

    fn both(one: u32, other: u32) -> Vec<(String, u32, u32)> {
        vec![(ISP1.into(), one, 5400), (ISP2.into(), other, 5400)]
    }

    /// Everything that is said until then, with its second.
    fn said_until(own: &mut Own, start: Instant, seconds: u64) -> Vec<u64> {
        let mut said = Vec::new();
        while own.deadline() <= after(start, seconds) {
            let at = own.deadline();
            assert!(own.next(at).is_some());
            assert!(own.deadline() > at, "once");
            said.push((at - start).as_secs());
        }
        said
    }

    #[test]
    fn what_there_is_is_said_at_once_and_three_times_and_then_now_and_then() {
        let start = Instant::now();
        let mut own = own(start);
        assert_eq!(read(&own.next(start).unwrap()), (1800, both(2700, 2700)));
        let said = said_until(&mut own, start, 86_400);
        assert_eq!(said[..2], [1, 4]);
        let apart: BTreeSet<_> = said[1..].windows(2).map(|w| w[1] - w[0]).collect();
        assert!(apart.iter().all(|a| (200..=600).contains(a)), "{apart:?}");
        assert!(apart.len() > 4, "in step: {apart:?}");
    }

    #[test]
    fn a_network_to_be_avoided_stays_valid_and_is_not_preferred() {
        let start = Instant::now();
        let mut own = own(start);
        said_until(&mut own, start, 10);
        own.change(
            &networks(&[ISP1, ISP2], true),
            &set(&[ISP1]),
            after(start, 20),
        );
        let said = own.next(after(start, 20)).unwrap();
        assert_eq!(read(&said), (1800, both(0, 2700)));
        own.change(&networks(&[ISP1, ISP2], true), &set(&[]), after(start, 30));
        let said = own.next(after(start, 30)).unwrap();
        assert_eq!(read(&said), (1800, both(2700, 2700)));
    }

    #[test]
    fn a_network_that_is_gone_is_told_until_hosts_have_forgotten_it() {
        let start = Instant::now();
        let mut own = own(start);
        said_until(&mut own, start, 10);
        own.change(&networks(&[ISP2], true), &set(&[]), after(start, 64));
        let (_, said) = read(&own.next(after(start, 64)).unwrap());
        let gone = (ISP1.to_owned(), 0, 5340);
        assert_eq!(said, [gone, (ISP2.into(), 2700, 5400)]);
        said_until(&mut own, start, 5300);
        let (_, said) = read(&own.next(after(start, 6000)).unwrap());
        assert_eq!(said, [(ISP2.into(), 2700, 5400)]);
    }

    #[test]
    fn many_networks_that_are_gone_are_not_told_without_end() {
        let start = Instant::now();
        let mut own = Own::new(networks(&[], true), set(&[]), start);
        for n in 0..100 {
            let network = format!("2001:db8:{n}::/64");
            own.change(&networks(&[&network], true), &set(&[]), after(start, n));
            let message = own.next(after(start, n)).unwrap();
            assert!(message.len() <= 16 + 32 * (GONE_MAX + 1));
        }
    }

    #[test]
    fn without_a_way_out_hosts_have_no_router() {
        let start = Instant::now();
        let mut own = own(start);
        said_until(&mut own, start, 10);
        own.change(&networks(&[ISP1, ISP2], false), &set(&[]), after(start, 20));
        assert_eq!(read(&own.next(after(start, 20)).unwrap()).0, 0);
    }

    #[test]
    fn questions_are_answered_but_not_endlessly() {
        let start = Instant::now();
        let mut own = own(start);
        said_until(&mut own, start, 10);
        own.asked(after(start, 20));
        assert_eq!(own.deadline(), after(start, 20));
        assert!(own.next(after(start, 20)).is_some());
        own.asked(after(start, 21));
        own.asked(after(start, 22));
        assert_eq!(own.deadline(), after(start, 23));
    }

    #[test]
    fn the_last_word_takes_back_that_it_is_a_router() {
        let start = Instant::now();
        let mut own = own(start);
        assert_eq!(own.last_word(start), None, "never said so");
        own.next(start);
        let said = own.last_word(after(start, 100)).unwrap();
        let networks = vec![(ISP1.into(), 2600, 5300), (ISP2.into(), 2600, 5300)];
        assert_eq!(read(&said), (0, networks));
    }
}

//! Shares over virtual time: what follows, how fast, and what changes nothing.

use std::collections::BTreeMap;

use uplinkd_model::{
    Family, Member, OutletKind, Permille, Rates,
    policy::{Balance, Conduct, End},
};

use super::*;
use crate::fixtures::{self, name, outflow};

const V4: Family = Family::V4;
/// Ten megabits a second.
const TEN: f64 = 1_250_000.0;

/// A default group of these tiers.
fn site(tiers: &[&[u16]], is_auto: bool, conduct: Conduct, rates: [Rates; 2]) -> Site {
    let mut config = fixtures::config();
    for (uplink, rates) in config.uplinks.iter_mut().zip(rates) {
        uplink.rates = rates;
    }
    let member = |n: &u16| Member {
        is_auto,
        ..fixtures::member(*n, 1)
    };
    let tiers: Vec<Vec<_>> = tiers
        .iter()
        .map(|t| t.iter().map(member).collect())
        .collect();
    let mut outflow = outflow("default", &tiers, End::Keep);
    outflow.tiers.iter_mut().for_each(|t| t.conduct = conduct);
    config.outlets[0].kind = OutletKind::Uplinks(outflow);
    let mut balancer = Balancer::new(&config, Balancer::default());
    balancer.start(Time::default());
    Site {
        config,
        balancer,
        readings: BTreeMap::new(),
        now: 0,
        changes: Vec::new(),
    }
}

struct Site {
    config: Config,
    balancer: Balancer,
    readings: BTreeMap<u16, Reading>,
    now: u64,
    /// When something was to be different, and why.
    changes: Vec<(u64, String)>,
}

impl Site {
    /// An uplink in service: what it carries, the highest that it did (towards us), and its round-trip time.
    fn line(&mut self, n: u16, load: f64, highest: f64, ms: u64) {
        let reading = Reading {
            rates: (load, 0.0),
            highest: (highest, 0.0),
            rtt: Some(Duration::from_millis(ms)),
            is_queueing: false,
        };
        self.readings.insert(n, reading);
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1;
            let now = Time(Duration::from_secs(self.now));
            let readings = &self.readings;
            let read = |family, uplink: &UplinkName| {
                let mut lines = readings.iter();
                let own = lines.find(|(n, _)| name(**n) == *uplink)?;
                (family == V4).then_some(*own.1)
            };
            let news = self.balancer.look(&self.config, now, read);
            assert_eq!(news.v6, None);
            self.changes.extend(news.v4.map(|why| (self.now, why)));
        }
    }

    fn state(&self, tier: usize) -> PoolState {
        let outflow = self.config.outlets[0].outflow().unwrap();
        let pool = Pool::of(&outflow.tiers[tier]);
        let states = self.balancer.states(V4);
        states.into_iter().find(|s| s.is(pool)).unwrap()
    }

    fn weights(&self) -> Vec<u16> {
        self.state(0).weights.unwrap()
    }

    /// The first weight as a part of the second.
    fn ratio(&self) -> f64 {
        let weights = self.weights();
        f64::from(weights[0]) / f64::from(weights[1])
    }
}

fn down(rate: f64) -> Rates {
    Rates {
        down: Some(rate as u64),
        up: None,
    }
}

fn by(balance: Balance) -> Conduct {
    Conduct {
        balance,
        ..Conduct::default()
    }
}

#[test]
fn shares_are_those_of_the_rates_from_the_beginning_and_whatever_is_carried() {
    let rates = [down(3.0 * TEN), down(TEN)];
    let mut site = site(&[&[1, 2]], true, Conduct::default(), rates);
    assert_eq!(site.weights(), [240, 80]);
    site.line(1, 2.9 * TEN, 3.0 * TEN, 400);
    site.line(2, 0.0, TEN, 10);
    site.run(120);
    assert_eq!((site.weights(), site.changes), (vec![240, 80], vec![]));
}

#[test]
fn without_rates_shares_follow_what_is_free_in_bounded_steps() {
    let none = [Rates::default(); 2];
    let mut site = site(&[&[1, 2]], true, Conduct::default(), none);
    assert_eq!(site.weights(), [240, 240]);
    // Nothing is known of the second line yet.
    site.line(1, TEN, 4.0 * TEN, 20);
    site.line(2, 0.0, 0.0, 20);
    site.run(60);
    assert_eq!(site.changes, []);
    site.line(2, 0.0, TEN, 20);
    let mut before = site.ratio();
    for _ in 0..30 {
        site.run(10);
        let after = site.ratio();
        // Both may change by a fifth: one up, the other down.
        assert!(
            after / before <= 1.51 && after >= before,
            "{before} {after}"
        );
        before = after;
    }
    // Three of four parts of the first line are free, and all of the second.
    assert!((2.5..3.3).contains(&site.ratio()), "{:?}", site.weights());
    let times: Vec<_> = site.changes.iter().map(|(at, _)| *at).collect();
    assert!(times.windows(2).all(|w| w[1] - w[0] >= 10), "{times:?}");
    assert!(times.len() < 10, "it goes on and on: {times:?}");
}

#[test]
fn noise_on_idle_lines_changes_nothing() {
    let none = [Rates::default(); 2];
    for conduct in [
        Conduct::default(),
        by(Balance::LeastUsed),
        by(Balance::LowestLatency),
    ] {
        let is_auto = conduct.balance == Balance::Weights;
        let mut site = site(&[&[1, 2]], is_auto, conduct, none);
        let noise = |site: &mut Site, seconds: u64| {
            for n in 0..seconds {
                let n = site.now + n;
                site.line(1, 2000.0 * (n % 7) as f64, 4.0 * TEN, 20 + n % 3);
                site.line(2, 3000.0 * (n % 5) as f64, 4.0 * TEN, 21 - n % 3);
                site.run(1);
            }
        };
        noise(&mut site, 20);
        site.changes.clear();
        noise(&mut site, 600);
        assert_eq!(site.changes, [], "{conduct:?}");
    }
}

#[test]
fn a_slower_line_gets_less_and_every_line_something() {
    let none = [Rates::default(); 2];
    let mut site = site(&[&[1, 2]], true, Conduct::default(), none);
    site.line(1, 0.0, TEN, 10);
    site.line(2, 0.0, TEN, 110);
    site.run(300);
    assert!((2.0..3.5).contains(&site.ratio()), "{:?}", site.weights());
    site.line(1, TEN, TEN, 10);
    site.line(2, 0.0, TEN, 10);
    site.run(600);
    let least = site.weights()[0];
    assert!((30..50).contains(&least), "an eighth: {least}");
}

#[test]
fn new_connections_go_to_the_nearest_line_and_it_does_not_flip() {
    let none = [Rates::default(); 2];
    let mut site = site(&[&[1, 2]], false, by(Balance::LowestLatency), none);
    site.line(1, 0.0, 0.0, 20);
    site.line(2, 0.0, 0.0, 30);
    site.run(1);
    assert_eq!(site.weights(), [240, 1]);
    // A little nearer is not worth it.
    site.line(1, 0.0, 0.0, 34);
    site.run(60);
    assert_eq!(site.weights(), [240, 1]);
    site.line(1, 0.0, 0.0, 80);
    site.run(5);
    assert_eq!(site.weights(), [240, 1], "it has to last");
    site.run(1);
    assert_eq!(site.weights(), [1, 240]);
    // To and fro each second: never for five seconds.
    let changes = site.changes.len();
    for n in 0..100 {
        site.line(1, 0.0, 0.0, if n % 2 == 0 { 5 } else { 80 });
        site.run(1);
    }
    assert_eq!(site.changes.len(), changes);
    // To and fro each six seconds: at most once in ten.
    for n in 0..100 {
        site.line(1, 0.0, 0.0, if n % 12 < 6 { 5 } else { 80 });
        site.run(1);
    }
    let times: Vec<_> = site.changes.iter().map(|(at, _)| *at).collect();
    assert!(
        times[1..].windows(2).all(|w| w[1] - w[0] >= 10),
        "{times:?}"
    );
}

#[test]
fn new_connections_go_to_the_line_with_most_free_capacity() {
    let rates = [down(4.0 * TEN), down(TEN)];
    let mut site = site(&[&[1, 2]], false, by(Balance::LeastUsed), rates);
    site.line(1, 0.0, 0.0, 20);
    site.line(2, 0.0, 0.0, 20);
    site.run(1);
    assert_eq!(site.weights(), [240, 1]);
    site.line(1, 3.5 * TEN, 0.0, 20);
    site.run(30);
    assert_eq!(site.weights(), [1, 240]);
    assert!(
        site.changes.last().unwrap().1.contains("isp1 86% used"),
        "{:?}",
        site.changes
    );
    // The chosen one leaves service: the other is chosen at its return only if it is the better one.
    site.readings.remove(&2);
    site.run(5);
    site.line(2, 0.0, 0.0, 20);
    site.run(5);
    assert_eq!(site.weights(), [1, 240]);
}

#[test]
fn a_full_tier_overflows_and_comes_back_with_hysteresis() {
    let conduct = Conduct {
        overflow_at: Some(Permille(800)),
        ..Conduct::default()
    };
    let rates = [down(TEN), down(TEN)];
    let mut site = site(&[&[1], &[2]], false, conduct, rates);
    let of = |site: &mut Site, part: f64, seconds| {
        site.line(1, part * TEN, 0.0, 20);
        site.line(2, 0.0, 0.0, 20);
        site.run(seconds);
        site.state(0).is_full
    };
    assert!(!of(&mut site, 0.79, 60));
    assert!(!of(&mut site, 0.9, 3), "it has to last");
    assert!(of(&mut site, 0.9, 10));
    assert!(of(&mut site, 0.7, 60), "not under four fifths of the limit");
    assert!(of(&mut site, 0.5, 9));
    assert!(!of(&mut site, 0.5, 10));
    assert_eq!(site.changes.len(), 2, "{:?}", site.changes);
    assert!(
        site.changes[0].1.contains("isp1 full, "),
        "{:?}",
        site.changes
    );
}

#[test]
fn the_highest_rate_that_was_measured_is_full_only_where_answers_wait() {
    let conduct = Conduct {
        overflow_at: Some(Permille(800)),
        ..Conduct::default()
    };
    let mut site = site(&[&[1], &[2]], false, conduct, [Rates::default(); 2]);
    site.line(1, TEN, TEN, 20);
    site.line(2, 0.0, 0.0, 20);
    site.run(60);
    assert!(!site.state(0).is_full);
    site.readings.get_mut(&1).unwrap().is_queueing = true;
    site.run(10);
    assert!(site.state(0).is_full);
}

#[test]
fn a_restart_goes_on_with_the_weights_of_the_kernel() {
    let none = [Rates::default(); 2];
    let adopted = |is_auto, conduct, weights: [u16; 2]| {
        let mut site = site(&[&[1, 2]], is_auto, conduct, none);
        let outflow = site.config.outlets[0].outflow().unwrap().clone();
        let weights = [(name(1), weights[0]), (name(2), weights[1])];
        let pool = Pool::of(&outflow.tiers[0]);
        site.balancer.adopt(V4, pool, &weights);
        site.weights()
    };
    assert_eq!(adopted(true, Conduct::default(), [80, 240]), [80, 240]);
    let nearest = by(Balance::LowestLatency);
    assert_eq!(adopted(false, nearest, [1, 240]), [1, 240]);
    assert_eq!(
        adopted(false, nearest, [240, 240]),
        [240, 240],
        "nobody was chosen"
    );
}

#[test]
fn another_file_keeps_what_is_decided_of_the_pools_that_remain() {
    let none = [Rates::default(); 2];
    let mut site = site(&[&[1, 2]], false, by(Balance::LowestLatency), none);
    site.line(1, 0.0, 0.0, 80);
    site.line(2, 0.0, 0.0, 20);
    site.run(10);
    assert_eq!(site.weights(), [1, 240]);
    let before = std::mem::take(&mut site.balancer);
    site.balancer = Balancer::new(&site.config, before);
    assert_eq!(site.weights(), [1, 240]);
}

//! Hundreds of lines with a known truth, in virtual time with the default profile: what is dead is found
//! soon, and nothing else is ever taken for dead.

use std::{collections::BTreeMap, net::IpAddr};

use uplinkd_model::{Counters, NeighbourState, ProbeSpec, Target};

use super::{driver::obey, *};
use crate::{
    event::ProbeId,
    fixtures::{self, Dice},
};

/// Histories of each kind.
const HISTORIES: u64 = 60;
/// When the weather changes; by then everything is settled.
const CHANGE: u64 = 20_000;
/// How long it lasts.
const LASTS: u64 = 60_000;

/// What a line does to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Weather {
    Fine,
    /// Nothing comes back.
    Dead,
    /// So many packets in a thousand are lost, there and back together.
    Lossy(u64),
    /// Answers take between 20 ms and so many.
    Unsteady(u64),
    /// Answers take so many ms from now on.
    Far(u64),
    /// Its own traffic fills it: a queue of so many ms, and a tenth is dropped.
    Full(u64),
    /// Dead and fine in turns of so many ms.
    Flapping(u64),
}

pub(super) struct Site {
    pub(super) controller: Controller,
    pub(super) machine: Observed,
    dice: Dice,
    now: u64,
    /// What happens when, in ms.
    agenda: BTreeMap<(u64, u64), Event>,
    number: u64,
    /// Of isp1 and isp2.
    weather: [Weather; 2],
    since: u64,
    /// Hosts that answer nobody.
    dead_host: Option<IpAddr>,
    /// Packets a second that each line carries.
    traffic: u64,
    counters: [Counters; 2],
    counted_at: u64,
    /// What isp1 was, and since when.
    told: Vec<(u64, Health, String)>,
    /// What was written down of budgets, and when.
    pub(super) written: Vec<(u64, uplinkd_model::budget::Ledger)>,
    /// Everything else that was told.
    pub(super) notices: Vec<Notice>,
    /// Interfaces whose TCP connections are to be watched.
    pub(super) watched: Vec<u32>,
    /// Probes sent by isp1.
    pub(super) asked: u64,
    /// Answers of one moment are told together.
    is_batching: bool,
}

fn host(n: u8) -> IpAddr {
    IpAddr::from([198, 18, 0, n])
}

pub(super) fn site(seed: u64, traffic: u64, change: impl Fn(&mut ProbeSpec)) -> Site {
    site_of(fixtures::config(), seed, traffic, change)
}

/// The same with a configuration of its own.
pub(super) fn site_of(
    mut config: Config,
    seed: u64,
    traffic: u64,
    change: impl Fn(&mut ProbeSpec),
) -> Site {
    for uplink in &mut config.uplinks {
        let probe = &mut uplink.ipv4.as_mut().unwrap().probe;
        *probe = ProbeSpec {
            targets: vec![
                Target::Gateway,
                Target::Icmp(host(1)),
                Target::Icmp(host(2)),
            ],
            ..ProbeSpec::default()
        };
        change(probe);
    }
    let mut site = Site {
        controller: Controller::new(config, Vec::new(), at(0)),
        machine: machine(),
        dice: Dice(seed),
        now: 0,
        agenda: BTreeMap::new(),
        number: 0,
        weather: [Weather::Fine; 2],
        since: 0,
        dead_host: None,
        traffic,
        counters: [Counters::default(); 2],
        counted_at: 0,
        told: Vec::new(),
        watched: Vec::new(),
        asked: 0,
        is_batching: false,
        written: Vec::new(),
        notices: Vec::new(),
    };
    site.run(CHANGE);
    assert_eq!(site.told.last().map(|(_, h, _)| *h), Some(Health::Up));
    site
}

impl Site {
    pub(super) fn change(&mut self, weather: Weather) {
        self.count();
        self.weather[0] = weather;
        self.since = self.now;
    }

    /// The weather of isp2.
    pub(super) fn change_other(&mut self, weather: Weather) {
        self.count();
        self.weather[1] = weather;
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.controller.handle(event, at(self.now));
        self.carry_out();
    }

    /// Lets so many milliseconds pass.
    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        self.carry_out();
        loop {
            let deadline = self.controller.next_deadline();
            // Rounded up, as a timer is.
            let deadline = deadline.map(|t| t.0.as_nanos().div_ceil(1_000_000) as u64);
            let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let Some(moment) = deadline.into_iter().chain(next).min() else {
                break;
            };
            if moment > end {
                break;
            }
            self.now = self.now.max(moment);
            let event = match self.agenda.first_entry() {
                Some(entry) if entry.key().0 <= self.now => entry.remove(),
                _ => Event::Tick,
            };
            let event = if let Event::Reply { probe, rtt } = event
                && self.is_batching
            {
                self.with_others(probe, rtt)
            } else {
                event
            };
            self.controller.handle(event, at(self.now));
            self.carry_out();
        }
        self.now = end;
    }

    /// An answer, with those that are there by now.
    fn with_others(&mut self, probe: ProbeId, rtt: Duration) -> Event {
        let mut replies = vec![(probe, rtt)];
        while let Some(next) = self.agenda.first_entry()
            && next.key().0 <= self.now
            && let Event::Reply { probe, rtt } = *next.get()
        {
            next.remove();
            replies.push((probe, rtt));
        }
        Event::Replies(replies)
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.controller.next_action() {
            let event = match action {
                Action::Apply(plan) => {
                    for planned in &plan.steps {
                        obey(&mut self.machine, &planned.step);
                    }
                    Event::Outcomes(vec![Outcome::Done; plan.steps.len()])
                }
                Action::Observe { .. } => Event::Observed(Box::new(self.machine.clone())),
                Action::ListConnections => Event::Connections(Vec::new()),
                Action::Count(indexes) => {
                    self.count();
                    let own = |index: u32| (index, self.counters[index as usize - 1]);
                    Event::Counted(indexes.into_iter().map(own).collect())
                }
                Action::Probe(probe) => {
                    let line = usize::from(probe.uplink.as_str() == "isp2");
                    self.asked += u64::from(line == 0);
                    if let Some(rtt) = self.answer(line, probe.echo().unwrap()) {
                        let reply = Event::Reply {
                            probe: probe.id,
                            rtt: Duration::from_millis(rtt),
                        };
                        self.number += 1;
                        self.agenda.insert((self.now + rtt, self.number), reply);
                    }
                    continue;
                }
                Action::Notify(notice) => {
                    self.notices.push(notice.clone());
                    if let Notice::Health {
                        uplink, to, reason, ..
                    } = notice
                        && uplink.as_str() == "isp1"
                    {
                        self.told.push((self.now, to, reason.to_string()));
                    }
                    continue;
                }
                Action::KeepWishes(_) => continue,
                Action::WriteLedger(ledger) => {
                    self.written.push((self.now, ledger));
                    continue;
                }
                Action::CountTcp(indexes) => {
                    self.watched = indexes;
                    continue;
                }
                Action::Advertise(_) => continue,
            };
            self.controller.handle(event, at(self.now));
        }
    }

    /// How long the answer to a question takes that is sent now.
    fn answer(&mut self, line: usize, target: IpAddr) -> Option<u64> {
        if self.dead_host == Some(target) {
            return None;
        }
        let age = self.now - self.since;
        match self.weather[line] {
            Weather::Fine => Some(18 + self.dice.throw(5)),
            Weather::Dead => None,
            Weather::Lossy(permille) => {
                (self.dice.throw(1000) >= permille).then(|| 18 + self.dice.throw(5))
            }
            Weather::Unsteady(most) => Some(20 + self.dice.throw(most - 20)),
            Weather::Far(ms) => Some(ms + self.dice.throw(5)),
            Weather::Full(queue) => {
                // It fills within half a second.
                let queue = queue * age.min(500) / 500;
                let queue = queue * (90 + self.dice.throw(10)) / 100;
                (self.dice.throw(10) > 0).then_some(20 + queue)
            }
            Weather::Flapping(ms) => ((age / ms) % 2 == 1).then(|| 18 + self.dice.throw(5)),
        }
    }

    /// Brings the counters up to now.
    fn count(&mut self) {
        let passed = self.now - self.counted_at;
        self.counted_at = self.now;
        for (line, counters) in self.counters.iter_mut().enumerate() {
            // A full line carries ten times as much, in large packets.
            let (packets, bytes, answered) = match self.weather[line] {
                Weather::Fine | Weather::Unsteady(_) | Weather::Far(_) => (self.traffic, 100, 1000),
                Weather::Dead => (self.traffic, 100, 0),
                Weather::Lossy(permille) => (self.traffic, 100, 1000 - permille),
                Weather::Full(_) => (self.traffic * 10, 1000, 900),
                Weather::Flapping(ms) => {
                    let works = ((self.now - self.since) / ms) % 2;
                    (self.traffic, 100, works * 1000)
                }
            };
            let sent = packets * passed / 1000;
            let received = sent * answered / 1000;
            counters.tx_packets += sent;
            counters.tx_bytes += sent * bytes;
            counters.rx_packets += received;
            counters.rx_bytes += received * bytes;
        }
    }

    /// How long after the change isp1 was first told to be this.
    fn first(&self, health: Health) -> Option<u64> {
        let mut told = self.told.iter().filter(|(at, _, _)| *at >= CHANGE);
        told.find(|(_, h, _)| *h == health)
            .map(|(at, _, _)| at - CHANGE)
    }
}

/// What became of histories of one kind: delays until isp1 was down, and degraded; none where never.
#[derive(Debug, Default)]
struct Tally {
    down: Vec<Option<u64>>,
    degraded: Vec<Option<u64>>,
}

impl Tally {
    fn of(weather: impl Fn(&mut Dice) -> Weather, traffic: u64) -> Self {
        Self::with(weather, traffic, |_| {})
    }

    fn with(
        weather: impl Fn(&mut Dice) -> Weather,
        traffic: u64,
        change: impl Fn(&mut Site),
    ) -> Self {
        let mut tally = Self::default();
        for seed in 0..HISTORIES {
            let mut dice = Dice(seed * 7919);
            let mut site = site(seed, traffic, |_| {});
            // Anywhere between two questions.
            site.run(dice.throw(1000));
            site.told.clear();
            let begun = site.now;
            site.change(weather(&mut dice));
            change(&mut site);
            site.run(LASTS);
            let told = std::mem::take(&mut site.told);
            site.told = told
                .into_iter()
                .map(|(at, health, reason)| (at - begun + CHANGE, health, reason))
                .collect();
            tally.down.push(site.first(Health::Down));
            tally.degraded.push(site.first(Health::Degraded));
        }
        tally
    }

    fn print(&self, what: &str) {
        let of = |delays: &[Option<u64>]| {
            let mut known: Vec<_> = delays.iter().flatten().copied().collect();
            known.sort_unstable();
            let at = |percent: usize| known.get(known.len() * percent / 100).or(known.last());
            format!(
                "{:3} (median {:?}, most {:?} ms)",
                known.len(),
                at(50),
                known.last()
            )
        };
        println!(
            "{what:28} of {HISTORIES}: down {}, degraded {}",
            of(&self.down),
            of(&self.degraded)
        );
    }

    fn never_down(&self, what: &str) {
        self.print(what);
        let needless = self.down.iter().flatten().count();
        assert_eq!(needless, 0, "{what}: needless failovers");
    }

    fn always_down_within(&self, what: &str, median: u64, most: u64) {
        self.print(what);
        let missed = self.down.iter().filter(|d| d.is_none()).count();
        assert_eq!(missed, 0, "{what}: missed failovers");
        let mut delays: Vec<_> = self.down.iter().flatten().copied().collect();
        delays.sort_unstable();
        assert!(delays[delays.len() / 2] <= median, "{what}: {delays:?}");
        assert!(*delays.last().unwrap() <= most, "{what}: {delays:?}");
    }
}

#[test]
fn a_dead_line_is_found_soon_under_traffic_and_in_a_second_without() {
    Tally::of(|_| Weather::Dead, 400).always_down_within("dead, under traffic", 400, 800);
    Tally::of(|_| Weather::Dead, 0).always_down_within("dead, idle", 1300, 1500);
}

#[test]
fn a_lossy_line_is_degraded_soon_and_never_down() {
    for (percent, traffic) in [(30, 400), (30, 0), (51, 400), (51, 0)] {
        let what = format!("{percent} % lost, {traffic} packets/s");
        let tally = Tally::of(|_| Weather::Lossy(percent * 10), traffic);
        tally.never_down(&what);
        // Without traffic a loss is noticed when it hits a question.
        let most = if traffic > 0 { 3000 } else { 8000 };
        let late = tally.degraded.iter().filter(|d| d.is_none_or(|d| d > most));
        assert_eq!(late.count(), 0, "{what}: {:?}", tally.degraded);
    }
    for percent in [1, 3] {
        let what = format!("{percent} % lost");
        let tally = Tally::of(|_| Weather::Lossy(percent * 10), 400);
        tally.never_down(&what);
    }
}

#[test]
fn a_full_line_is_neither_down_nor_degraded() {
    for queue in [100, 400, 900] {
        let what = format!("full, queue of {queue} ms");
        let tally = Tally::of(|_| Weather::Full(queue), 100);
        tally.never_down(&what);
        assert!(tally.degraded.iter().all(Option::is_none), "{what}");
    }
}

#[test]
fn an_unsteady_or_distant_line_stays_up() {
    for most in [60, 200, 600] {
        Tally::of(|_| Weather::Unsteady(most), 100).never_down(&format!("20 to {most} ms"));
    }
    for ms in [80, 250, 700] {
        Tally::of(|_| Weather::Far(ms), 0).never_down(&format!("suddenly {ms} ms away"));
    }
}

#[test]
fn a_dead_target_is_at_fault_itself() {
    let tally = Tally::with(
        |_| Weather::Fine,
        100,
        |site| site.dead_host = Some(host(1)),
    );
    tally.never_down("one target dead");
    assert!(tally.degraded.iter().all(Option::is_none));
}

#[test]
fn a_target_dead_on_every_line_does_not_break_a_quorum() {
    for seed in 0..HISTORIES {
        let mut site = site(seed, 100, |spec| spec.quorum = 2);
        site.dead_host = Some(host(1));
        site.run(LASTS);
        assert_eq!(site.first(Health::Down), None, "{:?}", site.told);
        // The line is still judged by the other one.
        let died = site.now;
        site.change(Weather::Dead);
        site.run(2000);
        let found = site.first(Health::Down).map(|at| at + CHANGE - died);
        assert!(found.is_some_and(|ms| ms <= 1500), "{:?}", site.told);
    }
}

/// Not on a line that loses about as much as it may: it can be over the limit between two answers of one
/// moment, and not after the last of them.
#[test]
fn answers_that_are_told_together_say_what_they_say_one_by_one() {
    let many =
        |spec: &mut ProbeSpec| spec.targets = (1..=40).map(|n| Target::Icmp(host(n))).collect();
    for seed in 0..HISTORIES / 4 {
        for weather in [
            Weather::Dead,
            Weather::Lossy(300),
            Weather::Unsteady(400),
            Weather::Flapping(3000),
        ] {
            let told = [false, true].map(|is_batching| {
                let mut site = site(seed, 100, many);
                site.is_batching = is_batching;
                site.change(weather);
                site.run(15_000);
                site.change(Weather::Fine);
                site.run(15_000);
                // The reasons may differ by the answers that were counted meanwhile.
                let told = site.told.into_iter().map(|(at, health, _)| (at, health));
                (told.collect::<Vec<_>>(), site.asked)
            });
            assert_eq!(told[0], told[1], "seed {seed}, {weather:?}");
        }
    }
}

#[test]
fn a_flapping_line_is_held_back() {
    for seed in 0..HISTORIES {
        let mut site = site(seed, 400, |_| {});
        site.told.clear();
        site.change(Weather::Flapping(2000));
        site.run(300_000);
        let mut states: Vec<_> = site.told.iter().map(|(_, health, _)| *health).collect();
        states.retain(|h| matches!(h, Health::Up | Health::Down));
        states.dedup();
        let switches = states.len();
        assert!((1..=3).contains(&switches), "{:?}", site.told);
        assert_eq!(states.last(), Some(&Health::Down));
        // Once it is quiet it returns by itself.
        site.change(Weather::Fine);
        site.run(180_000);
        assert_eq!(site.told.last().map(|(_, h, _)| *h), Some(Health::Up));
    }
}

#[test]
fn a_gateway_that_the_kernel_misses_is_a_sign() {
    const ASKED: NeighbourState = NeighbourState::Asked;
    let gateway = |n: u8| IpAddr::from([100, 64, n, 1]);
    let tell = |index, address, state| Event::Neighbour {
        index,
        address,
        state,
    };
    // What the kernel says, after how many ms each, of a line that nothing uses and that has just died.
    let out_after = |words: &[(u64, Event)]| {
        let mut site = site(1, 0, metered);
        // The next question of ours is ten seconds away.
        let asked = site.asked;
        while site.asked == asked {
            site.run(100);
        }
        site.told.clear();
        site.change(Weather::Dead);
        let begun = site.now;
        for (wait, event) in words {
            site.run(*wait);
            site.controller.handle(event.clone(), at(site.now));
        }
        site.run(5000);
        let mut told = site.told.iter();
        told.find(|(_, health, _)| *health == Health::Down)
            .map(|(at, _, _)| at - begun)
    };
    let silent = out_after(&[(0, tell(1, gateway(1), ASKED))]);
    assert!(silent.is_some_and(|ms| ms < 1500), "{silent:?}");
    let failed = out_after(&[(0, tell(1, gateway(1), NeighbourState::Failed))]);
    assert!(failed < silent, "{failed:?}");
    for (what, words) in [
        ("none", vec![]),
        (
            "another line's gateway",
            vec![(0, tell(2, gateway(2), ASKED))],
        ),
        (
            "another neighbour",
            vec![(0, tell(1, host(1), NeighbourState::Failed))],
        ),
        (
            "one that answers",
            vec![
                (0, tell(1, gateway(1), ASKED)),
                (200, tell(1, gateway(1), NeighbourState::Reachable)),
            ],
        ),
    ] {
        assert_eq!(out_after(&words), None, "{what}");
    }
}

pub(super) fn metered(spec: &mut ProbeSpec) {
    let targets = std::mem::take(&mut spec.targets);
    *spec = ProbeSpec {
        targets,
        ..uplinkd_model::Profile::Metered.spec()
    };
}

#[test]
fn a_quiet_line_is_asked_slowly_and_a_metered_one_next_to_never() {
    let count = |change: fn(&mut ProbeSpec)| {
        let mut site = site(1, 0, change);
        site.run(600_000);
        site.asked = 0;
        site.run(3_600_000);
        site.asked
    };
    // Three targets each second.
    let balanced = count(|_| {});
    assert!((10_700..10_900).contains(&balanced), "{balanced}");
    let metered = count(metered);
    assert!((355..365).contains(&metered), "{metered}");
}

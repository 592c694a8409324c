//! The core in virtual time: it asks, and the history answers.
//!
//! Two clocks: `Time` is the core's and runs on; the history's skips what was not recorded.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use uplinkd_core::{Action, Controller, Event, Probe, Time, paper};
use uplinkd_model::{Config, Counters, Family, Health, Observed, Outcome, notice::Notice};

use super::{
    answers::Series,
    report::{Change, Switch},
    site::Site,
    survey::{KEPT_MAX, LineId, Survey},
    trace::{Reader, Seen, Trace, TraceError},
};

/// Samples that are held in memory at most, of all targets together: some 8 MB. Beyond it questions are
/// answered with less knowledge of what came after them.
const HELD_MAX: usize = 200_000;
/// How far ahead of the present a reading of counters is looked for.
const READING_MAX: Duration = Duration::from_secs(2);
/// Ticks at one moment after which the core is taken to be stuck. None is known.
const TICKS_MAX: u32 = 100_000;

/// What came of it.
pub(crate) struct Played {
    pub(crate) config: Config,
    pub(crate) lines: BTreeMap<LineId, PlayedLine>,
    pub(crate) switches: Vec<Switch>,
    /// Switches that were too many to be kept.
    pub(crate) unkept: u64,
}

/// What came of one line.
pub(crate) struct PlayedLine {
    pub(crate) health: Health,
    since: Duration,
    /// Time in each state, in the order unknown, up, degraded, down.
    pub(crate) states: [Duration; 4],
    pub(crate) changes: Vec<Change>,
    /// When it served some group: from, to.
    pub(crate) service: Vec<(Duration, Duration)>,
    serves_since: Option<Duration>,
}

/// Plays the whole history.
pub(crate) fn play(trace: &Trace, survey: &Survey, site: Site) -> Result<Played, TraceError> {
    let mut player = Player::new(trace, survey, site);
    player.carry_out()?;
    while player.step()? {}
    player.end();
    Ok(Played {
        config: player.controller.config().clone(),
        lines: player.lines,
        switches: player.switches,
        unkept: player.unkept,
    })
}

/// The readings of one interface around the present moment.
#[derive(Default)]
struct Readings {
    held: VecDeque<(Duration, Counters)>,
}

struct Player<'t> {
    controller: Controller,
    machine: Observed,
    survey: &'t Survey,
    reader: Reader<'t>,
    /// The time of the newest line that was read; none at the end.
    read_to: Option<Duration>,
    /// By line and target of the file.
    targets: BTreeMap<(LineId, String), usize>,
    /// By line and recorded target, to find where a sample belongs.
    recorded: BTreeMap<String, Vec<(Family, String, usize)>>,
    series: Vec<Series>,
    held: usize,
    readings: BTreeMap<String, Readings>,
    /// Answers on their way.
    agenda: BTreeMap<(Time, u64), Event>,
    number: u64,
    now: Time,
    /// From the core's time to the history's.
    offset: Duration,
    pauses: VecDeque<(Duration, Duration)>,
    /// When an interface loses its carrier or has it again, in the history's time.
    carriers: VecDeque<(Duration, String, bool)>,
    lines: BTreeMap<LineId, PlayedLine>,
    serving: BTreeMap<(String, Family), BTreeSet<String>>,
    switches: Vec<Switch>,
    unkept: u64,
    ticks: u32,
}

impl<'t> Player<'t> {
    fn new(trace: &'t Trace, survey: &'t Survey, site: Site) -> Self {
        let (mut targets, mut series) = (BTreeMap::new(), Vec::new());
        let mut recorded: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let mut lines = BTreeMap::new();
        for ((line, label), answers) in site.series {
            let own = recorded.entry(line.0.clone()).or_default();
            let known = own.iter().find(|(f, r, _)| *f == line.1 && *r == answers);
            let index = known.map_or(series.len(), |(_, _, index)| *index);
            if index == series.len() {
                series.push(Series::new(index as u64));
                own.push((line.1, answers, index));
            }
            targets.insert((line, label), index);
        }
        for uplink in &site.config.uplinks {
            for family in [Family::V4, Family::V6] {
                if uplink.access(family).is_some() {
                    let id = (uplink.name.to_string(), family);
                    lines.insert(id, PlayedLine::new(survey.from));
                }
            }
        }
        Self {
            controller: Controller::new(site.config, Vec::new(), Time::default()),
            machine: site.machine,
            survey,
            reader: trace.read("replaying"),
            read_to: Some(Duration::ZERO),
            targets,
            recorded,
            series,
            held: 0,
            readings: BTreeMap::new(),
            agenda: BTreeMap::new(),
            number: 0,
            now: Time::default(),
            offset: survey.from,
            pauses: survey.pauses.iter().copied().collect(),
            carriers: carriers(survey),
            lines,
            serving: BTreeMap::new(),
            switches: Vec::new(),
            unkept: 0,
            ticks: 0,
        }
    }

    /// The present moment of the history.
    fn moment(&self) -> Duration {
        self.offset + self.now.0
    }

    /// When a moment of the history comes, if nothing is skipped before it.
    fn comes_at(&self, moment: Duration) -> Time {
        Time(moment.saturating_sub(self.offset))
    }

    /// Goes to the next moment at which something happens. False at the end of the history.
    fn step(&mut self) -> Result<bool, TraceError> {
        let deadline = self.controller.next_deadline();
        let answer = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let carrier = self.carriers.front().map(|(at, _, _)| self.comes_at(*at));
        let next = deadline.into_iter().chain(answer).chain(carrier).min();
        let Some(next) = next.map(|n| n.max(self.now)) else {
            return Ok(false);
        };
        self.ticks = if next > self.now { 0 } else { self.ticks + 1 };
        if self.offset + next.0 >= self.survey.to || self.ticks > TICKS_MAX {
            return Ok(false);
        }
        self.now = next;
        // What was not recorded is passed over: the core's clock does not see it.
        while let Some((from, to)) = self.pauses.front().copied()
            && self.moment() >= from
        {
            self.pauses.pop_front();
            self.offset += to.saturating_sub(from);
        }
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= next);
        if is_due(answer) {
            let event = self.agenda.pop_first().map(|(_, event)| event);
            event
                .into_iter()
                .for_each(|e| self.controller.handle(e, next));
        } else if is_due(carrier) {
            self.change_carrier();
        } else {
            self.controller.handle(Event::Tick, next);
        }
        self.carry_out()?;
        Ok(true)
    }

    fn change_carrier(&mut self) {
        let Some((_, uplink, carrier)) = self.carriers.pop_front() else {
            return;
        };
        let mut uplinks = self.controller.config().uplinks.iter();
        let interface = uplinks.find(|u| u.name.as_str() == uplink);
        let Some(interface) = interface.map(|u| u.interface.clone()) else {
            return;
        };
        let mut links = self.machine.links.values_mut();
        let Some(link) = links.find(|l| l.device.name == interface) else {
            return;
        };
        link.carrier = carrier;
        let event = Event::LinkChanged {
            index: link.device.index,
            name: interface,
            admin_up: true,
            carrier,
            gone: false,
        };
        self.controller.handle(event, self.now);
    }

    fn carry_out(&mut self) -> Result<(), TraceError> {
        while let Some(action) = self.controller.next_action() {
            let event = match action {
                Action::Apply(plan) => {
                    let steps = plan.steps.iter();
                    steps.for_each(|p| paper::obey(&mut self.machine, &p.step));
                    Event::Outcomes(vec![Outcome::Done; plan.steps.len()])
                }
                Action::Observe { .. } => Event::Observed(Box::new(self.machine.clone())),
                Action::ListConnections => Event::Connections(Vec::new()),
                Action::Probe(probe) => {
                    self.ask(&probe)?;
                    continue;
                }
                Action::Count(indexes) => match self.count(&indexes)? {
                    counted if counted.is_empty() => continue,
                    counted => Event::Counted(counted),
                },
                Action::Notify(notice) => {
                    self.note(notice);
                    continue;
                }
                // A recording does not say what was used of a budget before it, nor what connections did.
                Action::Advertise(_)
                | Action::WriteLedger(_)
                | Action::KeepWishes(_)
                | Action::CountTcp(_) => continue,
            };
            self.controller.handle(event, self.now);
        }
        Ok(())
    }

    fn ask(&mut self, probe: &Probe) -> Result<(), TraceError> {
        let moment = self.moment();
        let family = probe.family();
        let line = (probe.uplink.to_string(), family);
        let label = probe.label(self.controller.config());
        let key = (line, label);
        let Some(index) = self.targets.get(&key).copied() else {
            return Ok(());
        };
        while !self.series[index].reaches_beyond(moment)
            && self.held < HELD_MAX
            && self.read_line()?
        {}
        let Some(surveyed) = self.survey.lines.get(&key.0) else {
            return Ok(());
        };
        let answer = self.series[index].answer(moment, surveyed);
        if self.held >= HELD_MAX {
            let forgotten = self.series.iter_mut().map(|s| s.forget_before(moment));
            self.held -= forgotten.sum::<usize>();
        } else {
            self.held -= self.series[index].forget_before(moment);
        }
        if let Some(rtt) = answer {
            self.number += 1;
            let reply = Event::Reply {
                probe: probe.id,
                rtt,
            };
            self.agenda.insert((self.now + rtt, self.number), reply);
        }
        Ok(())
    }

    /// Takes one more line. False at the end.
    fn read_line(&mut self) -> Result<bool, TraceError> {
        let Some(line) = self.reader.next()? else {
            self.read_to = None;
            return Ok(false);
        };
        self.read_to = Some(line.time);
        match line.seen {
            Seen::Sample { target, rtt } => {
                let own = self.recorded.get(line.uplink).into_iter().flatten();
                let mut own = own.filter(|(f, r, _)| *f == line.family && r == target);
                if let Some((_, _, index)) = own.next() {
                    self.series[*index].push(line.time, rtt);
                    self.held += 1;
                }
            }
            Seen::Counted(counters) => {
                if !self.readings.contains_key(line.uplink) {
                    let uplink = line.uplink.to_owned();
                    self.readings.insert(uplink, Readings::default());
                }
                if let Some(readings) = self.readings.get_mut(line.uplink) {
                    readings.held.push_back((line.time, counters));
                }
            }
            Seen::Event(_) => {}
        }
        Ok(true)
    }

    fn count(&mut self, indexes: &[u32]) -> Result<BTreeMap<u32, Counters>, TraceError> {
        let mut counted = BTreeMap::new();
        if self.survey.counted.is_empty() {
            return Ok(counted);
        }
        let moment = self.moment();
        while self.read_to.is_some_and(|to| to <= moment + READING_MAX) && self.read_line()? {}
        for uplink in &self.controller.config().uplinks {
            let mut links = self.machine.links.values();
            let link = links.find(|l| l.device.name == uplink.interface);
            let index = link.map(|l| l.device.index);
            let readings = self.readings.get_mut(uplink.name.as_str());
            if let Some((index, readings)) = index.zip(readings)
                && indexes.contains(&index)
                && let Some(counters) = readings.at(moment)
            {
                counted.insert(index, counters);
            }
        }
        Ok(counted)
    }

    fn note(&mut self, notice: Notice) {
        let moment = self.moment();
        if let Notice::Health {
            uplink,
            family,
            to,
            reason,
            ..
        } = notice
        {
            let id = (uplink.to_string(), family);
            if let Some(line) = self.lines.get_mut(&id) {
                line.becomes(to, reason.to_string(), moment);
            }
        } else if let Notice::Selection {
            group,
            family,
            before,
            after,
            reason,
        } = notice
        {
            let names = |shares: &[uplinkd_model::notice::Share]| -> BTreeSet<String> {
                shares.iter().map(|s| s.uplink.to_string()).collect()
            };
            let (before, after) = (names(&before), names(&after));
            let key = (group.clone(), family);
            let is_first = self.serving.insert(key, after.clone()).is_none();
            self.heed_service(family, moment);
            // Other weights are no switch, and neither is the beginning.
            if before == after || is_first && before.is_empty() {
                return;
            }
            // Who leaves though it is well leaves because a better one is back.
            let is_ill = |name: &&String| {
                let line = self.lines.get(&((*name).clone(), family));
                line.is_some_and(|l| matches!(l.health, Health::Down | Health::Degraded))
            };
            let left = before.difference(&after).filter(is_ill).cloned().collect();
            if self.switches.len() >= KEPT_MAX {
                self.unkept += 1;
                return;
            }
            self.switches.push(Switch {
                time: moment,
                group,
                family,
                before: before.into_iter().collect(),
                after: after.into_iter().collect(),
                reason,
                left,
                judged: Vec::new(),
            });
        }
    }

    /// Notes who serves any group from now on.
    fn heed_service(&mut self, family: Family, moment: Duration) {
        for ((name, own), line) in &mut self.lines {
            let mut groups = self.serving.iter().filter(|((_, f), _)| *f == family);
            if *own == family {
                let serves = groups.any(|(_, names)| names.contains(name));
                line.serves(serves, moment);
            }
        }
    }

    fn end(&mut self) {
        let end = self.survey.to;
        for line in self.lines.values_mut() {
            line.pass(end);
            line.serves(false, end);
        }
        // Times in states and in service are those of the core, which knows of no pauses.
        for line in self.lines.values_mut() {
            for (from, to) in &self.survey.pauses {
                line.leave_out(*from, *to);
            }
        }
    }
}

impl PlayedLine {
    fn new(from: Duration) -> Self {
        Self {
            health: Health::Unknown,
            since: from,
            states: [Duration::ZERO; 4],
            changes: Vec::new(),
            service: Vec::new(),
            serves_since: None,
        }
    }

    fn becomes(&mut self, health: Health, reason: String, moment: Duration) {
        self.pass(moment);
        if self.changes.len() < KEPT_MAX {
            self.changes.push(Change {
                time: moment,
                from: self.health,
                to: health,
                reason,
            });
        }
        self.health = health;
    }

    fn pass(&mut self, moment: Duration) {
        self.states[self.health as usize] += moment.saturating_sub(self.since);
        self.since = moment;
    }

    fn serves(&mut self, serves: bool, moment: Duration) {
        if serves {
            self.serves_since.get_or_insert(moment);
        } else if let Some(since) = self.serves_since.take()
            && self.service.len() < KEPT_MAX
        {
            self.service.push((since, moment));
        }
    }

    /// The state in a pause is the one of its beginning.
    fn leave_out(&mut self, from: Duration, to: Duration) {
        let before = self.changes.iter().rev().find(|c| c.time <= from);
        let health = before.map_or(Health::Unknown, |c| c.to);
        let state = &mut self.states[health as usize];
        *state = state.saturating_sub(to.saturating_sub(from));
    }
}

impl Readings {
    /// What the counters were at a moment, between two readings in proportion; none before the first.
    fn at(&mut self, moment: Duration) -> Option<Counters> {
        while self.held.get(1).is_some_and(|(time, _)| *time <= moment) {
            self.held.pop_front();
        }
        let (from, first) = *self.held.front().filter(|(time, _)| *time <= moment)?;
        let Some((to, second)) = self.held.get(1).copied() else {
            return Some(first);
        };
        let Some(grown) = second.since(first) else {
            return Some(first);
        };
        let span = to.saturating_sub(from).as_micros().max(1);
        let part = moment.saturating_sub(from).as_micros();
        let share = |grown: u64| u64::try_from(u128::from(grown) * part / span).unwrap_or(grown);
        Some(Counters {
            rx_packets: first.rx_packets + share(grown.rx_packets),
            tx_packets: first.tx_packets + share(grown.tx_packets),
            rx_bytes: first.rx_bytes + share(grown.rx_bytes),
            tx_bytes: first.tx_bytes + share(grown.tx_bytes),
        })
    }
}

/// When links were lost and there again, in order.
fn carriers(survey: &Survey) -> VecDeque<(Duration, String, bool)> {
    let mut all = Vec::new();
    for (uplink, links) in &survey.links {
        for spell in links {
            all.push((spell.start, uplink.clone(), false));
            all.push((spell.end, uplink.clone(), true));
        }
    }
    all.sort();
    all.into()
}

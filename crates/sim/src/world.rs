//! One history: daemon, kernel, lines and trouble on one agenda.
//!
//! `shell.rs` plays the daemon's shell (looks, plans step by step, notifications), `trouble.rs` and
//! `rivals.rs` carry out faults, `traffic.rs` makes connections, `file.rs` changes the file and the
//! wall clock, `load.rs` lets interfaces count. `watch.rs` holds the invariants that are checked after everything that happens,
//! `outlets.rs` those of where each outlet leads, `failback.rs` those of which tier serves,
//! `judge.rs` those of single steps and plans.

mod failback;
mod file;
mod judge;
mod load;
mod outlets;
mod rivals;
mod shell;
mod traffic;
mod trouble;
mod watch;

use std::time::Duration;

use uplinkd_core::{
    Action, Controller, Event, OutletState, PerFamily, ProbeId, Time, Wishes, desired::sysctl_paths,
};
use uplinkd_model::{Family, Health, Observed};

use crate::{
    clock::Agenda,
    faults::Fault,
    kernel::{Kernel, Notification},
    net::Net,
    reference::{Layout, layouts},
    scenario::Scenario,
};
use failback::Tiers;
use file::Review;
use load::Load;
pub(crate) use outlets::Exit;
use outlets::Ways;
use shell::Shell;
pub(crate) use traffic::{flow, led_to};
use trouble::Trouble;
use watch::Watch;

/// What a history came to, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events given to controllers.
    pub events: u64,
    /// Looks at the kernel.
    pub looks: u64,
    /// Plans.
    pub plans: u64,
    /// Steps of plans that were executed.
    pub steps: u64,
    /// Steps that were refused, by the kernel's own rules or by chance.
    pub refusals: u64,
    /// Probes.
    pub probes: u64,
    /// Connections that were begun.
    pub connections: u64,
    /// Connections that had to move, since their uplink failed.
    pub moved: u64,
    /// Connections that a policy refused.
    pub refused: u64,
    /// Times that an outlet went back to a better tier.
    pub failbacks: u64,
    /// Times that the file was read again.
    pub reloads: u64,
    /// Times that the daemon died or was stopped.
    pub deaths: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Virtual time from beginning to end.
    pub lasted: Duration,
}

/// What stands on the agenda.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Trouble.
    Fault(Fault),
    /// A notification arrives. The number is that of the daemon that subscribed, here and below.
    Tell(u32, Notification),
    /// The next part of a look is read.
    LookPart(u32),
    /// A look is complete, or failed.
    Looked(u32, Option<Box<Observed>>),
    /// The next step of a plan is due.
    Step(u32),
    /// The outcomes of a plan arrive.
    Outcomes(u32, Vec<uplinkd_model::Outcome>),
    /// A probe is answered.
    Reply(u32, ProbeId, Duration),
    /// What the interfaces have counted arrives.
    Counted(u32),
    /// A probe could not be sent.
    SendFailed(u32, ProbeId),
    /// The daemon is started.
    Start,
    /// The connections are listed.
    List(u32),
    /// A minute of the wall clock begins.
    Minute,
    /// Somebody begins a connection.
    Connect,
    /// The socket of notifications works again, and says that some were lost.
    OverrunEnds,
}

/// The daemon as far as it is alive.
pub(crate) struct Daemon {
    pub(crate) controller: Controller,
    /// It has seen the kernel, so that its service means something.
    pub(crate) has_looked: bool,
}

/// What the daemon last said about its lines and outlets, kept beyond its death.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) in_service: Vec<bool>,
    /// It is drained, and another one serves.
    pub(crate) idle: Vec<bool>,
    /// It takes new connections, and did so when the daemon was settled. One that was drained and has to
    /// serve is in the groups only after the next plan.
    pub(crate) entered: Vec<bool>,
    pub(crate) health: Vec<Health>,
    pub(crate) absent: Vec<bool>,
    pub(crate) settled: bool,
    /// It was settled once.
    pub(crate) has_settled: bool,
    pub(crate) last_resort: PerFamily<bool>,
    pub(crate) problem: Option<String>,
    /// What each outlet of the file does; none in a family that nobody has.
    pub(crate) outlets: Vec<PerFamily<Option<OutletState>>>,
    /// The line that takes all new connections of an outlet, since somebody prefers it.
    pub(crate) preferred: Vec<PerFamily<Option<usize>>>,
}

impl Said {
    /// Whether a line takes new connections.
    pub(crate) fn takes_new(&self, line: usize) -> bool {
        self.in_service[line] && !self.idle[line]
    }

    /// The line that an outlet prefers.
    pub(crate) fn preferred(&self, outlet: usize, family: Family) -> Option<usize> {
        *self.preferred.get(outlet)?.of(family)
    }

    /// The tier that serves an outlet.
    pub(crate) fn tier(&self, outlet: usize, family: Family) -> Option<usize> {
        match self.outlets.get(outlet)?.of(family).as_ref()? {
            OutletState::Tier { index, .. } => Some(*index),
            OutletState::LastResort
            | OutletState::Default
            | OutletState::Blocked
            | OutletState::Main => None,
        }
    }
}

pub(crate) struct World {
    pub(crate) luck: fastrand::Rng,
    pub(crate) scenario: Scenario,
    pub(crate) kernel: Kernel,
    pub(crate) net: Net,
    pub(crate) agenda: Agenda<Happening>,
    pub(crate) daemon: Option<Daemon>,
    pub(crate) said: Said,
    pub(crate) report: Report,
    pub(crate) trace: Option<Vec<String>>,
    /// What the file says about each outlet.
    pub(crate) layouts: Vec<PerFamily<Layout>>,
    /// What the files before it said, until the last one is in place.
    pub(crate) earlier: Vec<PerFamily<Layout>>,
    /// The local minute of the week.
    pub(crate) minute: u16,
    sysctls: Vec<String>,
    shell: Shell,
    trouble: Trouble,
    load: Load,
    watch: Watch,
    ways: Ways,
    pub(crate) tiers: Tiers,
    pub(crate) review: Review,
    /// What people want of uplinks, as it is on the disk.
    pub(crate) wishes: Wishes,
    /// Somebody ever wanted something.
    pub(crate) was_operated: bool,
    /// The trouble is over.
    is_quiet: bool,
}

impl World {
    pub(crate) fn new(
        scenario: Scenario,
        kernel: Kernel,
        net: Net,
        luck: fastrand::Rng,
        traced: bool,
    ) -> Self {
        let count = net.lines.len();
        let layouts = layouts(&scenario.config, &net);
        Self {
            luck,
            sysctls: sysctl_paths(&scenario.config),
            watch: Watch::new(count),
            ways: Ways::default(),
            tiers: Tiers::new(layouts.len()),
            review: Review::default(),
            wishes: Wishes::default(),
            was_operated: false,
            said: Said {
                in_service: vec![false; count],
                idle: vec![false; count],
                entered: vec![false; count],
                health: vec![Health::Unknown; count],
                absent: vec![false; count],
                ..Said::default()
            },
            layouts,
            earlier: Vec::new(),
            minute: scenario.minute,
            scenario,
            kernel,
            net,
            agenda: Agenda::default(),
            daemon: None,
            report: Report::default(),
            trace: traced.then(Vec::new),
            shell: Shell::default(),
            trouble: Trouble::default(),
            load: Load::default(),
            is_quiet: false,
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.agenda.now()
    }

    pub(crate) fn note_in(&mut self, wait: Duration, what: Happening) {
        self.agenda.note(self.now() + wait, what);
    }

    /// Adds a line to the trace, where there is one.
    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>11.6} {}", now.0.as_secs_f64(), line()));
        }
    }

    /// Lets everything happen up to a moment.
    pub(crate) fn run_until(&mut self, end: Time) -> Result<(), String> {
        loop {
            let tick = self
                .daemon
                .as_ref()
                .and_then(|d| d.controller.next_deadline());
            let next = self.agenda.next_at();
            let at = next.into_iter().chain(tick).min().unwrap_or(end);
            if at > end {
                self.agenda.go_to(end);
                return Ok(());
            }
            if next.is_none_or(|next| tick.is_some_and(|tick| tick < next)) {
                if tick.is_none() {
                    self.agenda.go_to(end);
                    return Ok(());
                }
                self.watch.tick(self.now() >= at)?;
                self.agenda.go_to(at);
                self.feed(Event::Tick)?;
            } else if let Some(what) = self.agenda.take() {
                self.watch.tick(false)?;
                self.happen(what)?;
            }
            self.tell_notifications(false);
            self.check()?;
        }
    }

    fn happen(&mut self, what: Happening) -> Result<(), String> {
        let number = self.shell.incarnation;
        match what {
            Happening::Fault(_) if self.is_quiet => Ok(()),
            Happening::Fault(fault) => self.strike(fault),
            Happening::Tell(n, notification) if n == number => self.told(notification),
            Happening::LookPart(n) if n == number => {
                self.look_part();
                Ok(())
            }
            Happening::Looked(n, observed) if n == number => self.looked(observed),
            Happening::Step(n) if n == number => self.step(),
            Happening::Outcomes(n, outcomes) if n == number => self.report(outcomes),
            Happening::Reply(n, probe, rtt) if n == number => {
                self.feed(Event::Reply { probe, rtt })
            }
            Happening::Counted(n) if n == number => self.counted(),
            Happening::SendFailed(n, probe) if n == number => {
                self.feed(Event::SendFailed { probe })
            }
            Happening::Start => self.start(),
            Happening::List(n) if n == number => self.list_connections(),
            Happening::Minute => self.minute_passes(),
            Happening::Connect => self.connect(),
            Happening::OverrunEnds => self.overrun_ends(),
            Happening::Tell(..)
            | Happening::LookPart(_)
            | Happening::Looked(..)
            | Happening::Step(_)
            | Happening::Outcomes(..)
            | Happening::Reply(..)
            | Happening::List(_)
            | Happening::Counted(_)
            | Happening::SendFailed(..) => Ok(()),
        }
    }

    /// Gives the daemon a fact and carries out what it wants.
    pub(crate) fn feed(&mut self, event: Event) -> Result<(), String> {
        let now = self.now();
        let Some(daemon) = &mut self.daemon else {
            return Ok(());
        };
        self.report.events += 1;
        let is_answer = matches!(event, Event::Reply { .. } | Event::Tick);
        let had_looked = daemon.has_looked;
        daemon.has_looked |= matches!(event, Event::Observed(_));
        daemon.controller.handle(event, now);
        self.carry_out(is_answer, had_looked)
    }

    fn carry_out(&mut self, was_answer: bool, had_looked: bool) -> Result<(), String> {
        let mut actions = Vec::new();
        if let Some(daemon) = &mut self.daemon {
            actions.extend(std::iter::from_fn(|| daemon.controller.next_action()));
        }
        let only_probes = actions
            .iter()
            .all(|a| matches!(a, Action::Probe(_) | Action::Count(_) | Action::CountTcp(_)));
        let is_due = self.is_failback_due();
        if !(was_answer && only_probes) || is_due {
            let before = self.said.in_service.clone();
            self.refresh()?;
            if had_looked {
                self.judge_urgency(&before, &actions)?;
            }
        }
        for action in actions {
            match action {
                Action::Probe(probe) => self.send(&probe),
                Action::Observe { nft } => self.take_look(nft)?,
                Action::Apply(plan) => self.take_plan(plan)?,
                Action::ListConnections => {
                    let wait = Duration::from_micros(self.luck.u64(100..20_000));
                    self.note_in(wait, Happening::List(self.shell.incarnation));
                }
                // There are no hosts here that would hear it.
                Action::Advertise(_) | Action::CountTcp(_) => {}
                Action::Count(_) => self.count(),
                Action::WriteLedger(_) => {}
                Action::KeepWishes(wishes) => self.wishes = wishes,
                Action::Notify(notice) => self.say(|| format!("          says: {notice}")),
            }
        }
        Ok(())
    }

    /// Reads the daemon's opinion of its uplinks again.
    fn refresh(&mut self) -> Result<(), String> {
        let Some(daemon) = self.daemon.as_ref().filter(|d| d.has_looked) else {
            return Ok(());
        };
        let snapshot = daemon.controller.snapshot();
        let had_settled = self.said.has_settled;
        // Of uplinks that the file does not have it says nothing.
        let lines = self.net.lines.iter().map(|line| {
            let mut lines = snapshot.lines.iter();
            lines.find(|l| l.name == line.name && l.family == line.family)
        });
        let outlets = self.layouts.iter().map(|layout| {
            PerFamily::from_fn(|family| {
                let mut outlets = snapshot.outlets.iter();
                let code = Some(layout.v4.code);
                let outlet = outlets.find(|o| o.code == code && o.family == family);
                outlet.map(|o| o.state.clone())
            })
        });
        let preferred = self.layouts.iter().map(|layout| {
            PerFamily::from_fn(|family| {
                let mut outlets = snapshot.outlets.iter();
                let code = Some(layout.v4.code);
                let outlet = outlets.find(|o| o.code == code && o.family == family)?;
                let own = snapshot.lines.iter().find(|l| l.preferred.is_some())?;
                let line = self.net.line_named(&own.name, family)?;
                outlet.is_preferred.then_some(line)
            })
        });
        let mut said = Said {
            entered: Vec::new(),
            preferred: preferred.collect(),
            idle: lines
                .clone()
                .map(|l| l.is_some_and(|l| l.is_idle))
                .collect(),
            in_service: lines
                .clone()
                .map(|l| l.is_some_and(|l| l.in_service))
                .collect(),
            health: lines
                .clone()
                .map(|l| l.map_or(Health::Unknown, |l| l.health))
                .collect(),
            absent: lines.map(|l| l.is_none_or(|l| l.absent)).collect(),
            settled: snapshot.settled,
            has_settled: snapshot.settled || had_settled,
            last_resort: snapshot.last_resort,
            problem: snapshot.problem,
            outlets: outlets.collect(),
        };
        let entered = (0..said.idle.len()).map(|line| {
            let was_idle = self.said.idle[line] || !self.said.entered[line];
            said.takes_new(line) && (said.settled || !was_idle)
        });
        said.entered = entered.collect();
        if said.settled {
            self.earlier.clear();
        }
        let before = std::mem::replace(&mut self.said, said);
        self.judge_service_change(&before)?;
        self.judge_tiers()
    }

    /// Ends all trouble that is not of the lines, and whatever was still to come.
    pub(crate) fn calm_down(&mut self) {
        self.trouble = Trouble::default();
        self.is_quiet = true;
    }

    /// Something happened to a line, by other hands than a fault's.
    pub(crate) fn line_struck(&mut self, line: usize) {
        self.watch.line_struck(line, self.agenda.now());
    }
}

impl Report {
    /// The sum of two.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            events: self.events + other.events,
            looks: self.looks + other.looks,
            plans: self.plans + other.plans,
            steps: self.steps + other.steps,
            refusals: self.refusals + other.refusals,
            probes: self.probes + other.probes,
            connections: self.connections + other.connections,
            moved: self.moved + other.moved,
            refused: self.refused + other.refused,
            failbacks: self.failbacks + other.failbacks,
            reloads: self.reloads + other.reloads,
            deaths: self.deaths + other.deaths,
            faults: self.faults + other.faults,
            lasted: self.lasted + other.lasted,
        }
    }
}

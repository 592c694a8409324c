//! The core and the kernel, with a clock that jumps and targets that answer when they shall.

use std::{
    fmt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use uplinkd_core::{Action, Controller, Event, Time, desired::sysctl_paths};
use uplinkd_kernel::{Kernel, Look};
use uplinkd_model::{Config, Outcome, Plan, UplinkName};

/// Rounds of work until everything is settled; thousands of groups take a handful.
const ROUNDS_MAX: usize = 1000;
/// What a target's answer takes.
const ANSWER: Duration = Duration::from_millis(1);

/// What fails an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Cause {
    /// The kernel says that the carrier is gone.
    Link,
    /// As many probes in a row as it takes were lost.
    Probes,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "carrier lost",
            Self::Probes => "probes lost",
        })
    }
}

/// How long it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// Until the core had a plan.
    pub(super) decided: Duration,
    /// Until the kernel had acknowledged it.
    pub(super) acknowledged: Duration,
    /// What of that our thread spent at work, in the core and in the kernel: without the waits for
    /// a processor that somebody else has.
    pub(super) at_work: Duration,
    /// The plan's steps.
    pub(super) steps: usize,
}

/// A settled router of two uplinks, the first of which fails again and again.
pub(super) struct Driver {
    kernel: Kernel,
    controller: Controller,
    now: Time,
    victim: UplinkName,
    interface: String,
    /// The victim's targets do not answer.
    is_mute: bool,
}

impl Driver {
    /// Brings everything up in the namespace of this thread.
    pub(super) fn start(config: Config, folder: &Path) -> Result<Self> {
        let uplink = config.uplinks.first().context("there is no uplink")?;
        let (victim, interface) = (uplink.name.clone(), uplink.interface.clone());
        let mut driver = Self {
            kernel: Kernel::open()?
                .with_state_dir(Some(folder.to_owned()))
                .with_iproute2_dir(folder),
            controller: Controller::new(config, Vec::new(), Time::default()),
            now: Time::default(),
            victim,
            interface,
            is_mute: false,
        };
        driver.settle()?;
        Ok(driver)
    }

    /// Fails the first uplink, measures, and lets it return.
    pub(super) fn fail_and_return(&mut self, cause: Cause) -> Result<Taken> {
        let taken = match cause {
            Cause::Link => {
                let event = Event::LinkChanged {
                    index: nix::net::if_::if_nametoindex(self.interface.as_str())?,
                    name: self.interface.clone(),
                    admin_up: true,
                    carrier: false,
                    gone: false,
                };
                self.measured(event)?
            }
            Cause::Probes => {
                self.is_mute = true;
                self.lose_probes()?
            }
        };
        let taken = taken.context("the failure led to no plan")?;
        self.is_mute = false;
        self.settle()?;
        Ok(taken)
    }

    fn lose_probes(&mut self) -> Result<Option<Taken>> {
        for _ in 0..ROUNDS_MAX {
            self.now = self.next_deadline()?;
            if let Some(taken) = self.measured(Event::Tick)? {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    /// Hands in a fact and times the plan that it leads to at once, if any.
    fn measured(&mut self, event: Event) -> Result<Option<Taken>> {
        let (begin, work) = (Instant::now(), work_done()?);
        self.controller.handle(event, self.now);
        let Some(action) = self.controller.next_action() else {
            return Ok(None);
        };
        let decided = begin.elapsed();
        let Action::Apply(plan) = action else {
            self.carry_out(action)?;
            self.carry_out_all()?;
            return Ok(None);
        };
        let outcomes = self.kernel.execute(&plan);
        let acknowledged = begin.elapsed();
        let at_work = work_done()?.saturating_sub(work);
        let steps = plan.steps.len();
        self.acknowledge(&plan, outcomes)?;
        self.carry_out_all()?;
        Ok(Some(Taken {
            decided,
            acknowledged,
            at_work,
            steps,
        }))
    }

    /// Works until the kernel holds what it should with every uplink in service.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..ROUNDS_MAX {
            self.carry_out_all()?;
            let snapshot = self.controller.snapshot();
            if snapshot.settled && snapshot.lines.iter().all(|l| l.in_service) {
                return Ok(());
            }
            self.now = self.next_deadline()?;
            self.controller.handle(Event::Tick, self.now);
        }
        let problem = self.controller.snapshot().problem;
        bail!("not settled after {ROUNDS_MAX} rounds: {problem:?}");
    }

    fn next_deadline(&self) -> Result<Time> {
        let next = self.controller.next_deadline();
        Ok(next.context("the core waits for nothing")?.max(self.now))
    }

    fn carry_out_all(&mut self) -> Result<()> {
        while let Some(action) = self.controller.next_action() {
            self.carry_out(action)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, action: Action) -> Result<()> {
        match action {
            Action::Probe(probe) => {
                if !(self.is_mute && probe.uplink == self.victim) {
                    let (probe, rtt) = (probe.id, ANSWER);
                    self.controller
                        .handle(Event::Reply { probe, rtt }, self.now);
                }
            }
            Action::Observe { nft } => {
                let config = self.controller.config();
                let look = Look {
                    reserve: self.controller.claims().to_vec(),
                    uplink_interfaces: config.uplinks.iter().map(|u| u.interface.clone()).collect(),
                    nft,
                    sysctls: sysctl_paths(config),
                    table_names: true,
                    cgroups: Vec::new(),
                };
                let observed = self.kernel.observe(&look)?;
                self.controller
                    .handle(Event::Observed(Box::new(observed)), self.now);
            }
            Action::Apply(plan) => {
                let outcomes = self.kernel.execute(&plan);
                self.acknowledge(&plan, outcomes)?;
            }
            // There are no policies that could forbid a connection its uplink.
            Action::ListConnections => {
                self.controller
                    .handle(Event::Connections(Vec::new()), self.now);
            }
            Action::Notify(_)
            | Action::Advertise(_)
            | Action::Count(_)
            | Action::CountTcp(_)
            | Action::WriteLedger(_)
            | Action::KeepWishes(_) => {}
        }
        Ok(())
    }

    fn acknowledge(&mut self, plan: &Plan, outcomes: Vec<Outcome>) -> Result<()> {
        for (planned, outcome) in plan.steps.iter().zip(&outcomes) {
            let is_done = matches!(outcome, Outcome::Done | Outcome::AlreadySo);
            ensure!(is_done, "{}: {outcome:?}", planned.step);
        }
        self.controller.handle(Event::Outcomes(outcomes), self.now);
        Ok(())
    }
}

/// The processor time of this thread.
fn work_done() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.into())
}

//! The daemon's shell: one worker that looks and applies in the order in which it is asked, and a
//! socket of notifications.

use std::{collections::VecDeque, time::Duration};

use uplinkd_core::{Controller, Event, Probe};
use uplinkd_model::{Family, Observed, Outcome, Plan, Step};

use super::{Daemon, Happening, World};
use crate::kernel::{Notification, execute::refused, observe::LOOK_PARTS};

/// A look or a plan, waiting or under way.
#[derive(Debug)]
enum Job {
    Look {
        nft: bool,
        part: usize,
        observed: Box<Observed>,
    },
    Plan {
        plan: Plan,
        outcomes: Vec<Outcome>,
    },
}

#[derive(Debug, Default)]
pub(super) struct Shell {
    /// The number of the daemon that is or was last alive.
    pub(super) incarnation: u32,
    jobs: VecDeque<Job>,
    is_working: bool,
    /// The outcomes of a plan are on their way to the daemon.
    reports: bool,
    /// When the last notification arrives; they come in order.
    told_until: uplinkd_core::Time,
}

impl World {
    /// The daemon is started, knowing nothing.
    pub(super) fn start(&mut self) -> Result<(), String> {
        if self.daemon.is_some() {
            return Ok(());
        }
        self.shell.incarnation += 1;
        self.kernel.take_notifications();
        self.say(|| "the daemon is started".to_owned());
        let config = self.scenario.config.clone();
        self.daemon = Some(Daemon {
            controller: Controller::new(config, Vec::new(), self.now()),
            has_looked: false,
        });
        if let Some(daemon) = &mut self.daemon {
            daemon.controller.restore_wishes(self.wishes.clone());
        }
        self.tiers_at_start();
        self.review = Default::default();
        self.carry_out(false, false)?;
        self.tell_time()
    }

    /// The daemon is gone from one moment to the next.
    pub(crate) fn die(&mut self) {
        self.tiers_at_death();
        self.daemon = None;
        self.forget_lost_lines();
        self.report.deaths += 1;
        self.shell = Shell {
            incarnation: self.shell.incarnation + 1,
            ..Shell::default()
        };
    }

    pub(super) fn send(&mut self, probe: &Probe) {
        self.report.probes += 1;
        let number = self.shell.incarnation;
        if self.kernel.link(&probe.device).is_none() {
            let wait = Duration::from_micros(self.luck.u64(0..200));
            self.note_in(wait, Happening::SendFailed(number, probe.id));
        } else if self.net.answers(&self.kernel, probe, &mut self.luck) {
            let family = probe.echo().map_or(Family::V4, Family::of);
            let uplink = self.scenario.config.uplink(&probe.uplink);
            let access = uplink.and_then(|u| u.access(family));
            let timeout = access.map_or(100, |a| a.probe.timeout.as_millis() as u64);
            let rtt = Duration::from_micros(self.luck.u64(100..timeout * 400));
            self.note_in(rtt, Happening::Reply(number, probe.id, rtt));
        }
    }

    pub(super) fn take_look(&mut self, nft: bool) -> Result<(), String> {
        self.report.looks += 1;
        self.watch.looked(self.agenda.now())?;
        self.shell.jobs.push_back(Job::Look {
            nft,
            part: 0,
            observed: Box::default(),
        });
        self.work();
        Ok(())
    }

    pub(super) fn take_plan(&mut self, plan: Plan) -> Result<(), String> {
        self.report.plans += 1;
        self.watch
            .applied(self.agenda.now(), &self.said.in_service)?;
        self.say(|| format!("          plan of {} steps", plan.steps.len()));
        self.judge_plan(&plan)?;
        let outcomes = Vec::with_capacity(plan.steps.len());
        self.shell.jobs.push_back(Job::Plan { plan, outcomes });
        self.work();
        Ok(())
    }

    /// Whether a plan waits or is under way.
    pub(super) fn is_planning(&self) -> bool {
        let mut jobs = self.shell.jobs.iter();
        self.shell.reports || jobs.any(|j| matches!(j, Job::Plan { .. }))
    }

    /// Begins the next job, if nothing is under way.
    fn work(&mut self) {
        if self.shell.is_working {
            return;
        }
        let number = self.shell.incarnation;
        let next = match self.shell.jobs.front() {
            None => return,
            Some(Job::Look { .. }) => Happening::LookPart(number),
            Some(Job::Plan { .. }) => Happening::Step(number),
        };
        self.shell.is_working = true;
        let wait = Duration::from_micros(self.luck.u64(10..300));
        self.note_in(wait, next);
    }

    /// The job under way is done.
    fn done(&mut self, result: Happening) {
        self.shell.jobs.pop_front();
        self.shell.is_working = false;
        let wait = Duration::from_micros(self.luck.u64(0..500));
        self.note_in(wait, result);
        self.work();
    }

    pub(super) fn look_part(&mut self) {
        let number = self.shell.incarnation;
        let Some(Job::Look {
            nft,
            part,
            observed,
        }) = self.shell.jobs.front_mut()
        else {
            return;
        };
        if *part == 0 && self.trouble.look_fails > 0 {
            self.trouble.look_fails -= 1;
            self.watch.disturb(self.agenda.now(), 8);
            self.say(|| "a look fails".to_owned());
            self.done(Happening::Looked(number, None));
            return;
        }
        self.kernel
            .observe_part(*part, *nft, &self.sysctls, observed);
        *part += 1;
        if *part < LOOK_PARTS {
            let millis = self.scenario.look_ms_max * 1000;
            let wait = Duration::from_micros(self.luck.u64(20..millis));
            self.note_in(wait, Happening::LookPart(number));
        } else {
            let observed = std::mem::take(observed);
            self.done(Happening::Looked(number, Some(observed)));
        }
    }

    pub(super) fn looked(&mut self, observed: Option<Box<Observed>>) -> Result<(), String> {
        let text = "cannot list routes: device or resource busy".to_owned();
        self.feed(match observed {
            Some(observed) => Event::Observed(observed),
            None => Event::ObserveFailed { text },
        })
    }

    pub(super) fn report(&mut self, outcomes: Vec<Outcome>) -> Result<(), String> {
        self.shell.reports = false;
        self.feed(Event::Outcomes(outcomes))
    }

    pub(super) fn step(&mut self) -> Result<(), String> {
        let number = self.shell.incarnation;
        let Some(Job::Plan { plan, outcomes }) = self.shell.jobs.front_mut() else {
            return Ok(());
        };
        let at = outcomes.len();
        let Some(planned) = plan.steps.get(at) else {
            let outcomes = std::mem::take(outcomes);
            self.shell.reports = true;
            self.done(Happening::Outcomes(number, outcomes));
            return Ok(());
        };
        let step = planned.step.clone();
        if self.trouble.dies_before_step() {
            self.say(|| format!("the daemon dies before `{step}`"));
            self.crash();
            return Ok(());
        }
        let was_refused = outcomes
            .iter()
            .any(|o| matches!(o, Outcome::Refused { .. }));
        let outcome = if was_refused && step.removes() {
            Outcome::Skipped
        } else {
            self.execute(&step)?
        };
        self.say(|| format!("          {step}  => {}", word(&outcome)));
        let is_nft = matches!(step, Step::SetNft(_));
        if let Some(Job::Plan { outcomes, .. }) = self.shell.jobs.front_mut() {
            outcomes.push(outcome);
        }
        let longest = self.scenario.step_us_max * if is_nft { 20 } else { 1 };
        let wait = Duration::from_micros(self.luck.u64(10..longest));
        self.note_in(wait, Happening::Step(number));
        Ok(())
    }

    /// Executes one step, unless the weather is against it.
    pub(crate) fn execute(&mut self, step: &Step) -> Result<Outcome, String> {
        self.report.steps += 1;
        let before = self.exits_now();
        let connections = self.connections_before(step);
        let now = self.now();
        let chance = self.trouble.refusal(step, now);
        let outcome = match chance {
            Some(number) => refused(number, "by chance"),
            None => self.kernel.execute(step),
        };
        if let Outcome::Refused { text, .. } = &outcome {
            self.report.refusals += 1;
            if chance.is_none() {
                self.watch.judge_refusal(step, text, now)?;
            }
            self.watch.disturb(now, 8);
        }
        self.judge_step(step, &before, &connections)?;
        self.tell_notifications(true);
        Ok(outcome)
    }

    /// Sends what the kernel has to tell on its way.
    pub(super) fn tell_notifications(&mut self, by_us: bool) {
        let now = self.now();
        for notification in self.kernel.take_notifications() {
            let is_echo = by_us && matches!(notification, Notification::Hint(_));
            if self.daemon.is_none() || is_echo && !self.scenario.echo || self.trouble.is_deaf(now)
            {
                continue;
            }
            let at = now + Duration::from_micros(self.luck.u64(10..3_000));
            let at = at.max(self.shell.told_until);
            self.shell.told_until = at;
            let number = self.shell.incarnation;
            self.agenda.note(at, Happening::Tell(number, notification));
        }
    }

    pub(super) fn told(&mut self, notification: Notification) -> Result<(), String> {
        self.feed(match notification {
            Notification::Hint(what) => Event::Hint { what },
            Notification::Link {
                index,
                name,
                admin_up,
                carrier,
                gone,
            } => Event::LinkChanged {
                index,
                name,
                admin_up,
                carrier,
                gone,
            },
        })
    }
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::AlreadySo => "already so".to_owned(),
        Outcome::Refused { text, .. } => format!("REFUSED: {text}"),
        Outcome::Skipped => "skipped".to_owned(),
    }
}

//! Bringing the kernel to the desired state: when to look, what to apply, when to try again.

use std::time::Duration;

use uplinkd_model::{Desired, Observed, Outcome, Plan, Step, notice::Notice};

use super::Controller;
use crate::{
    FAMILY, Time,
    desired::{Inputs, desired},
    event::Action,
    probe::TargetKey,
    reconcile::{self, Backoff, RepairLimit},
};

/// How long things must be quiet after a hint before we look: a burst of changes is one look.
const QUIET: Duration = Duration::from_millis(20);
/// The longest a hint waits, so that constant noise cannot starve the look.
const NOISE_MAX: Duration = Duration::from_millis(100);
/// Time between looks when nothing hints at a change: the net under lost notifications.
const SLOW: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Settle {
    /// What made the present work necessary; none while everything is verified.
    pub(super) cause: Option<String>,
    look_at: Option<Time>,
    first_hint: Option<Time>,
    slow_at: Option<Time>,
    looking: bool,
    look_again: bool,
    with_nft: bool,
    in_flight: Option<Plan>,
    waiting: Option<Plan>,
    /// What the last full plan was to achieve; the same again means that it did not.
    tried: Option<Desired>,
    retry_at: Option<Time>,
    /// A step of the last plan was refused.
    was_refused: bool,
    /// What the last look verified.
    verified: Option<Desired>,
    steps: usize,
    backoff: Backoff,
    repairs: RepairLimit,
    pub(super) problem: Option<String>,
}

impl Settle {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        if self.looking || self.in_flight.is_some() {
            return None;
        }
        self.look_at.into_iter().chain(self.slow_at).min()
    }

    /// Notes a cause, unless an earlier one is still being worked on. What was waiting to be tried
    /// again may do now, so the next look need not wait for it.
    pub(super) fn because(&mut self, cause: impl FnOnce() -> String) {
        self.cause.get_or_insert_with(cause);
        if self.retry_at.take().is_some() {
            self.tried = None;
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        let is_busy = self.tried.is_some() || self.in_flight.is_some() || self.cause.is_some();
        self.verified.is_some() && !is_busy
    }
}

impl Controller {
    /// Looks at the kernel as soon as possible.
    pub(super) fn look_now(&mut self, now: Time, nft: bool) {
        self.settle.with_nft |= nft;
        self.settle.look_at = Some(now);
        self.look_if_due(now);
    }

    /// Looks at the kernel after a short quiet time.
    pub(super) fn look_soon(&mut self, now: Time, nft: bool) {
        self.settle.with_nft |= nft;
        let first = *self.settle.first_hint.get_or_insert(now);
        let at = (now + QUIET).min(first + NOISE_MAX);
        // A look that is due sooner anyway stays where it is.
        self.settle.look_at = Some(
            self.settle
                .look_at
                .filter(|t| self.settle.first_hint == Some(now) && *t < at)
                .unwrap_or(at),
        );
    }

    pub(super) fn look_if_due(&mut self, now: Time) {
        if self.settle.slow_at.is_some_and(|t| t <= now) {
            self.settle.with_nft = true;
            self.settle.look_at = Some(now);
            self.settle.slow_at = Some(now + SLOW);
        }
        if self.settle.look_at.is_none_or(|t| t > now) {
            return;
        }
        if self.settle.looking || self.settle.in_flight.is_some() {
            self.settle.look_again = true;
            self.settle.look_at = None;
            return;
        }
        self.settle.look_at = None;
        self.settle.first_hint = None;
        self.settle.looking = true;
        self.settle.slow_at = Some(now + SLOW);
        let nft = std::mem::take(&mut self.settle.with_nft);
        self.actions.push_back(Action::Observe { nft });
    }

    pub(super) fn observe_failed(&mut self, text: String, now: Time) {
        self.settle.looking = false;
        self.settle.with_nft = true;
        self.settle.problem = Some(text);
        let wait = self.settle.backoff.failed();
        self.settle.look_at = Some(now + wait);
    }

    pub(super) fn take_observed(&mut self, mut observed: Observed, now: Time) {
        self.settle.looking = false;
        let is_first = self.observed.is_none();
        if observed.nft.is_none() {
            let before = self.observed.as_mut();
            (observed.nft, observed.nft_earlier) = before.map_or_else(Default::default, |o| {
                (o.nft.take(), std::mem::take(&mut o.nft_earlier))
            });
        }
        if is_first {
            self.adopt_service(&observed);
        }
        self.observed = Some(observed);
        self.take_facts(now);
        self.start_probes(now);
        if self.settle.in_flight.is_some() {
            // An urgent plan was handed out after this look began: what it shows is out of date.
            self.settle.look_again = true;
        } else if std::mem::take(&mut self.settle.look_again) {
            self.look_now(now, false);
        } else {
            self.settle(now);
        }
    }

    /// At start an uplink of unknown health serves if the kernel has it in service from before, or
    /// nobody: a restart neither cuts a working line nor puts a dead one back.
    fn adopt_service(&mut self, observed: &Observed) {
        let reserve = &self.config.reserve;
        let serves = |slot| {
            let nexthop = observed
                .nexthops
                .get(&reserve.nexthop_service(FAMILY, slot));
            nexthop.is_some_and(|n| reserve.owns_nexthop(n))
        };
        let nobody = !self.config.uplinks.iter().any(|u| serves(u.slot));
        for (uplink, state) in self.config.uplinks.iter().zip(&mut self.uplinks) {
            state.serves_unknown = nobody || serves(uplink.slot);
            if !state.serves_unknown {
                // We may have died between taking it out and releasing its connections.
                state.flush = Some(reserve.mark_out(uplink.slot));
            } else if !nobody {
                self.service.uplinks.insert(uplink.name.clone());
            }
        }
    }

    /// Starts probing where the path table is in place, so that probes leave by their uplink.
    fn start_probes(&mut self, now: Time) {
        let Some(observed) = &self.observed else {
            return;
        };
        let reserve = &self.config.reserve;
        for (index, uplink) in self.config.uplinks.iter().enumerate() {
            let table = reserve.table_path(uplink.slot);
            let has_route = observed.routes.iter().any(|r| {
                r.table == table && r.destination.prefix_len() == 0 && reserve.owns_route(r)
            });
            let has_rule = observed.rules.iter().any(|r| {
                reserve.owns_rule(r)
                    && r.family == FAMILY
                    && r.oif.as_deref() == Some(uplink.interface.as_str())
            });
            let ready = self.uplinks[index].link.usable().is_some() && has_route && has_rule;
            if !ready {
                continue;
            }
            let count = u32::try_from(uplink.probe.targets.len())
                .unwrap_or(1)
                .max(1);
            for (target, offset) in (0..uplink.probe.targets.len()).zip(0_u32..) {
                let key = TargetKey {
                    uplink: index,
                    target,
                };
                if !self.schedule.is_running(key) && self.address_of(key).is_some() {
                    self.schedule
                        .start(key, now + uplink.probe.interval * offset / count);
                }
            }
        }
    }

    /// Everything that the kernel should hold, going by this look and what was decided.
    pub(super) fn desired(&self, observed: &Observed) -> Desired {
        let links: Vec<_> = self.uplinks.iter().map(|u| u.link.clone()).collect();
        desired(&Inputs {
            config: &self.config,
            links: &links,
            service: &self.service.uplinks,
            observed,
        })
    }

    /// Compares and acts; does nothing but note it where there is no difference.
    fn settle(&mut self, now: Time) {
        let Some(observed) = &self.observed else {
            return;
        };
        let wanted = self.desired(observed);
        let diff = reconcile::diff(&wanted, observed, &self.claims);
        let is_drift =
            self.settle.cause.is_none() && self.settle.verified.as_ref() == Some(&wanted);
        let last = self.config.reserve.rule_priority_last;
        let has_lost_rule = diff.rules_missing.iter().any(|r| r.priority.0 >= last);
        if has_lost_rule || is_drift && !diff.is_empty() {
            self.release_outsiders();
        }
        let flushes = self.due_flushes();
        if diff.is_empty() && flushes.is_empty() {
            self.settled(wanted);
            return;
        }
        if self.settle.retry_at.is_some_and(|t| now < t)
            && self.settle.tried.as_ref() == Some(&wanted)
        {
            self.settle.look_at = self.settle.retry_at;
            return;
        }
        let mut found = diff.describe();
        if is_drift {
            if let Some(wait) = self.settle.repairs.wait(now) {
                self.settle.problem = Some(
                    "somebody keeps changing what is ours; putting it back more slowly".into(),
                );
                self.settle.look_at = Some(now + wait);
                return;
            }
            self.notify(Notice::Drift {
                found: found.clone(),
            });
            self.settle.cause = Some("drift".to_owned());
        } else if self.settle.tried.as_ref() == Some(&wanted)
            && self.settle.retry_at.is_none()
            && (!found.is_empty() || self.settle.was_refused)
        {
            found.extend(flushes.iter().map(|(step, _)| format!("not done: {step}")));
            self.postpone(found, now);
            return;
        }
        let mut plan = reconcile::plan(&diff);
        for (step, reason) in flushes {
            plan.push(step, reason);
        }
        self.settle.retry_at = None;
        self.settle.tried = Some(wanted);
        self.settle.steps += plan.steps.len();
        self.apply(plan);
    }

    fn settled(&mut self, wanted: Desired) {
        self.settle.tried = None;
        self.settle.retry_at = None;
        self.settle.verified = Some(wanted);
        self.settle.backoff.reset();
        self.settle.problem = None;
        let steps = std::mem::take(&mut self.settle.steps);
        let cause = self.settle.cause.take();
        if steps > 0 {
            self.notify(Notice::Applied {
                steps,
                cause: cause.unwrap_or_else(|| "routine".to_owned()),
            });
        }
        // Objects under earlier reserves are verified to be gone.
        self.claims.truncate(1);
    }

    /// The same plan did not do: waits before it is tried again.
    fn postpone(&mut self, found: Vec<String>, now: Time) {
        let at = now + self.settle.backoff.failed();
        self.settle.retry_at = Some(at);
        self.settle.look_at = Some(at);
        self.settle.problem = Some(format!(
            "the kernel does not hold what it should: {}",
            found.join("; ")
        ));
        if self.settle.backoff.has_run_out_of_patience() {
            self.notify(Notice::Diverged { found });
        }
    }

    /// While something of ours was missing, the last resort or `main` led new connections out by any
    /// uplink. Those on uplinks out of service would stall for good once it is put back.
    fn release_outsiders(&mut self) {
        let reserve = &self.config.reserve;
        for (uplink, state) in self.config.uplinks.iter().zip(&mut self.uplinks) {
            if !self.service.uplinks.contains(&uplink.name) {
                state.flush.get_or_insert(reserve.mark_out(uplink.slot));
            }
        }
    }

    /// Connections of uplinks out of service, once somebody else serves.
    fn due_flushes(&self) -> Vec<(Step, String)> {
        if self.service.uplinks.is_empty() {
            return Vec::new();
        }
        let departed = self.departed.iter().map(|mark| {
            let reason = "the file no longer has the uplink".to_owned();
            (Step::FlushConnections(*mark), reason)
        });
        let leavers = self.config.uplinks.iter().zip(&self.uplinks);
        let leavers = leavers
            .filter(|(uplink, _)| !self.service.uplinks.contains(&uplink.name))
            .filter_map(|(uplink, state)| {
                let reason = format!("uplink {} is out of service", uplink.name);
                Some((Step::FlushConnections(state.flush?), reason))
            });
        departed.chain(leavers).collect()
    }

    /// Acts before anything else, or right after what is being done.
    pub(super) fn apply_urgent(&mut self, plan: Plan) {
        self.settle.steps += plan.steps.len();
        if self.settle.in_flight.is_some() {
            self.settle
                .waiting
                .get_or_insert_default()
                .steps
                .extend(plan.steps);
        } else {
            // Before the notices that tell of it: people can wait.
            self.settle.in_flight = Some(plan.clone());
            self.actions.push_front(Action::Apply(plan));
        }
    }

    fn apply(&mut self, plan: Plan) {
        self.settle.in_flight = Some(plan.clone());
        self.actions.push_back(Action::Apply(plan));
    }

    pub(super) fn take_outcomes(&mut self, outcomes: Vec<Outcome>, now: Time) {
        let Some(plan) = self.settle.in_flight.take() else {
            return;
        };
        let mut changed_nft = false;
        self.settle.was_refused = outcomes
            .iter()
            .any(|o| matches!(o, Outcome::Refused { .. }));
        for (planned, outcome) in plan.steps.iter().zip(&outcomes) {
            match (&planned.step, outcome) {
                // Where the uplink itself could not be taken out, new connections may have been
                // pinned to it since: they are released once more when it is.
                (Step::FlushConnections(mark), Outcome::Done | Outcome::AlreadySo)
                    if !self.settle.was_refused =>
                {
                    for state in self.uplinks.iter_mut().filter(|s| s.flush == Some(*mark)) {
                        state.flush = None;
                    }
                    self.departed.retain(|m| m != mark);
                }
                (step, Outcome::Refused { text, .. }) => {
                    let (step, text) = (step.to_string(), text.clone());
                    self.settle.problem = Some(format!("the kernel refused `{step}`: {text}"));
                    self.notify(Notice::Refused { step, text });
                }
                (Step::SetNft(_) | Step::DeleteNft { .. }, _) => changed_nft = true,
                _ => {}
            }
        }
        if let Some(mut urgent) = self.settle.waiting.take() {
            // An uplink may have come back into service while its plan was waiting.
            urgent.steps.retain(|s| !self.harms_service(&s.step));
            if !urgent.is_empty() {
                self.settle.with_nft |= changed_nft;
                self.apply(urgent);
                return;
            }
        }
        self.settle.look_again = false;
        self.look_now(now, changed_nft);
    }

    /// Whether a step takes away the service object or the connections of an uplink in service.
    fn harms_service(&self, step: &Step) -> bool {
        let reserve = &self.config.reserve;
        let serving = self.config.uplinks.iter();
        let mut serving = serving.filter(|u| self.service.uplinks.contains(&u.name));
        match step {
            Step::DeleteNexthop(id) => {
                serving.any(|u| *id == reserve.nexthop_service(FAMILY, u.slot))
            }
            Step::FlushConnections(mark) => {
                serving.any(|u| mark.matches(reserve.mark_out(u.slot).value))
            }
            Step::SetSysctl { .. }
            | Step::AddNexthop(_)
            | Step::ReplaceNexthop(_)
            | Step::AddRoute(_)
            | Step::ReplaceRoute(_)
            | Step::DeleteRoute(_)
            | Step::AddRule(_)
            | Step::DeleteRule(_)
            | Step::SetNft(_)
            | Step::DeleteNft { .. }
            | Step::NameTables(_) => false,
        }
    }
}

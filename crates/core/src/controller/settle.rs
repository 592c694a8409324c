//! Bringing the kernel to the desired state: when to look, what to apply, when to try again.

use std::time::Duration;

use uplinkd_model::{
    Config, Desired, Family, Mark, Observed, Outcome, Plan, Slot, Step, notice::Notice,
};

use super::Controller;
use crate::{
    Time,
    desired::{Inputs, Line, desired},
    event::Action,
    families::{FAMILIES, PerFamily},
    prefixes::Prefixes,
    probe::TargetKey,
    reconcile::{self, Backoff, RepairLimit},
    select::{Serving, distinct_tiers},
};

/// How long things must be quiet after a hint before we look: a burst of changes is one look.
const QUIET: Duration = Duration::from_millis(20);
/// The longest a hint waits, so that constant noise cannot starve the look.
const NOISE_MAX: Duration = Duration::from_millis(100);
/// How long a hint waits that hardly concerns us: others may change addresses by the thousand.
const LEISURE: Duration = Duration::from_secs(1);
/// How long after the end of a route a look is sure to see it: the kernel counts in hundredths.
const EXPIRED: Duration = Duration::from_millis(20);
/// Within which time the targets of a line are asked for the first time.
const FIRST_ROUND: Duration = Duration::from_millis(500);
/// Time between looks when nothing hints at a change: the net under lost notifications.
const SLOW: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Settle {
    /// What made the present work necessary; none while everything is verified.
    pub(super) cause: Option<String>,
    /// It is only weights that follow the lines: not worth telling.
    is_detail: bool,
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
    pub(super) was_refused: bool,
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
        self.is_detail = false;
        self.cause.get_or_insert_with(cause);
        if self.retry_at.take().is_some() {
            self.tried = None;
        }
    }

    /// The same of something that happens again and again.
    pub(super) fn because_in_detail(&mut self, cause: impl FnOnce() -> String) {
        let is_first = self.cause.is_none();
        self.because(cause);
        self.is_detail = is_first;
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

    /// Looks at the kernel some time soon, where nothing else makes it look before.
    pub(super) fn look_at_leisure(&mut self, now: Time) {
        self.settle.look_at.get_or_insert(now + LEISURE);
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
            self.prefixes = Prefixes::found(&self.config, &observed);
        }
        self.heed_expiry(&observed, now);
        self.observed = Some(observed);
        self.resolve_interfaces();
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

    /// The kernel does not tell when an advertised default route is over: somebody has to look then.
    fn heed_expiry(&mut self, observed: &Observed, now: Time) {
        let times = observed
            .foreign_defaults
            .iter()
            .filter_map(|d| d.expires_in);
        let at = times.min().map(|left| now + left + EXPIRED);
        self.settle.slow_at = self.settle.slow_at.into_iter().chain(at).min();
    }

    /// At start a line of unknown health serves if the kernel has it in service from before, or
    /// nobody: a restart neither cuts a working line nor puts a dead one back. Nor is it a failback:
    /// outlets go on with the tier that they have.
    fn adopt_service(&mut self, observed: &Observed) {
        let reserve = &self.config.reserve;
        let serves = |family, slot| {
            let id = reserve.nexthop_service(family, slot);
            let nexthop = observed.nexthops.get(&id);
            nexthop.is_some_and(|n| reserve.owns_nexthop(n))
        };
        for family in FAMILIES {
            let nobody = !self.config.uplinks.iter().any(|u| serves(family, u.slot));
            for line in self.lines.iter_mut().filter(|l| l.family == family) {
                let uplink = &self.config.uplinks[line.uplink];
                line.serves_unknown = nobody || serves(family, uplink.slot);
                if !line.serves_unknown {
                    // We may have died between taking it out and releasing its connections.
                    line.flush = Some(reserve.mark_out(uplink.slot));
                } else if !nobody {
                    let service = self.service.of_mut(family);
                    service.uplinks.insert(uplink.name.clone());
                }
            }
        }
        self.departed = departed_before(&self.config, observed);
        self.adopt_weights(observed);
        let numbers = distinct_tiers(&self.config);
        for (outlet, serving) in self.config.outlets.iter().zip(&mut self.serving) {
            *serving = PerFamily::from_fn(|family| {
                Serving::found(&self.config, &numbers, outlet, family, observed).unwrap_or_default()
            });
        }
    }

    /// Starts probing where the path table is in place, so that probes leave by their uplink.
    fn start_probes(&mut self, now: Time) {
        self.start_counting(now);
        self.balancer.start(now);
        let Some(observed) = &self.observed else {
            return;
        };
        let reserve = &self.config.reserve;
        for index in 0..self.lines.len() {
            let (line, uplink) = (&self.lines[index], self.uplink_of(index));
            let table = reserve.table_path(uplink.slot);
            let has_route = observed.routes.iter().any(|r| {
                let is_default = r.family() == line.family && r.destination.prefix_len() == 0;
                r.table == table && is_default && reserve.owns_route(r)
            });
            let has_rule = observed.rules.iter().any(|r| {
                reserve.owns_rule(r)
                    && r.family == line.family
                    && r.oif.as_deref() == Some(uplink.interface.as_str())
            });
            if line.link.usable().is_none() || !has_route || !has_rule {
                continue;
            }
            let (interval, targets) = (self.access_of(index).probe.interval, line.targets.len());
            let interval = interval.min(FIRST_ROUND);
            for key in TargetKey::all(index, targets) {
                if !self.schedule.is_running(key) && self.can_ask(key) {
                    let first = key.turn(now, interval, targets);
                    self.schedule.start(key, first);
                }
            }
        }
    }

    /// Everything that the kernel should hold, going by this look and what was decided.
    pub(super) fn desired(&self, observed: &Observed) -> Desired {
        let lines = self.lines.iter().map(|line| Line {
            uplink: &self.config.uplinks[line.uplink],
            family: line.family,
            link: &line.link,
        });
        desired(&Inputs {
            config: &self.config,
            claims: &self.claims,
            lines: lines.collect(),
            service: &self.service,
            serving: &self.serving,
            numbers: distinct_tiers(&self.config),
            policies: &self.policies,
            prefixes: &self.prefixes,
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
        self.release_outsiders(&diff, is_drift && !diff.is_empty());
        let releases = self.due_releases();
        if diff.is_empty() && releases.is_empty() {
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
            found.extend(releases.iter().map(|(step, _)| format!("not done: {step}")));
            self.postpone(found, now);
            return;
        }
        let mut plan = reconcile::plan(&diff, &self.config.reserve);
        for (step, reason) in releases {
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
        let is_detail = std::mem::take(&mut self.settle.is_detail);
        if steps > 0 && !is_detail {
            self.notify(Notice::Applied {
                steps,
                cause: cause.unwrap_or_else(|| "routine".to_owned()),
            });
        }
        // Objects under earlier reserves are verified to be gone.
        self.claims.truncate(1);
        self.begin_review();
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
        self.take_released(&plan, &outcomes);
        for (planned, outcome) in plan.steps.iter().zip(&outcomes) {
            match (&planned.step, outcome) {
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
}

/// Uplinks that the file lost while nobody ran: their rules are still there, and so may be connections
/// that bear their marks.
fn departed_before(config: &Config, observed: &Observed) -> Vec<(Mark, Family)> {
    let reserve = &config.reserve;
    let is_known = |slot: Slot| config.uplinks.iter().any(|u| u.slot == slot);
    let ours = observed.rules.iter().filter(|r| reserve.owns_rule(r));
    let departed = ours.filter_map(|rule| {
        let mark = rule.mark?;
        let slots = (1..=reserve.slot_max()).map(Slot);
        let slot = slots
            .filter(|slot| !is_known(*slot))
            .find(|slot| reserve.mark_out(*slot) == mark)?;
        Some((reserve.mark_all(slot), rule.family))
    });
    departed.collect()
}

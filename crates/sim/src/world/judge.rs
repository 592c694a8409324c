//! Judging what the daemon does at the moment when it does it: each step, each plan, each change of
//! service.

use std::time::Duration;

use uplinkd_core::Action;
use uplinkd_model::{Health, Plan, PlannedStep, Slot, Step};

use super::{Said, World, watch::Exits};
use crate::{kernel::Connection, scenario::FAMILIES};

impl World {
    /// What a release may be judged by afterwards.
    pub(super) fn connections_before(&self, step: &Step) -> Vec<Connection> {
        match step {
            Step::FlushConnections { .. }
            | Step::MoveConnections { .. }
            | Step::ReleasePrefix { .. }
            | Step::DeleteConnections(_) => self.kernel.connections.clone(),
            Step::SetSysctl { .. }
            | Step::SolicitRouters { .. }
            | Step::AddNexthop(_)
            | Step::ReplaceNexthop(_)
            | Step::DeleteNexthop(_)
            | Step::AddRoute(_)
            | Step::ReplaceRoute(_)
            | Step::DeleteRoute(_)
            | Step::AddRule(_)
            | Step::DeleteRule(_)
            | Step::SetNft(_)
            | Step::DeleteNft { .. }
            | Step::NameTables(_)
            | Step::ForgetSticky { .. } => Vec::new(),
        }
    }

    /// Judges what one step did: it must not take the way out, nor release connections that had no
    /// need to move.
    pub(super) fn judge_step(
        &mut self,
        step: &Step,
        before: &Exits,
        connections: &[Connection],
    ) -> Result<(), String> {
        if self.watch.is_removing {
            return Ok(());
        }
        self.judge_release(step, connections)?;
        if let Step::ForgetSticky { outlet, slots, .. } = step {
            self.judge_forgetting(step, *outlet, slots)?;
        }
        if self.now() < self.watch.shielded_until {
            return Ok(());
        }
        let after = self.exits_now();
        for family in FAMILIES {
            let (before, after) = (before.of(family).as_ref(), after.of(family).as_ref());
            if before == after {
                continue;
            }
            let now = self.now();
            let is_well = |l: &usize| {
                let since = self.watch.perfect_since[*l].filter(|_| self.net.lines[*l].routed);
                since.is_some_and(|t| now.since(t) > Duration::from_secs(2))
            };
            let mut all = self.net.of(family);
            if before.is_some() && after.is_none() && all.clone().any(|l| is_well(&l)) {
                return Err(format!(
                    "`{step}` left new connections ({family}) without a way"
                ));
            }
            // What left service while the plan was under way is the next plan's business.
            let serves = |l: &usize| self.said.takes_new(*l);
            let at_plan = |l: &usize| self.watch.at_plan.get(*l).is_some_and(|s| *s);
            let served = |exits: Option<&Vec<usize>>| {
                exits.is_some_and(|e| e.iter().any(|l| serves(l) || at_plan(l)))
            };
            let earlier = self.earlier.iter().map(|l| l.of(family));
            let default = earlier.chain([self.layouts[0].of(family)]);
            let default: Vec<_> = default.filter(|l| l.code == 0).collect();
            let promised = |l: &usize| {
                let is_there = default.iter().all(|d| d.has(*l));
                is_there && self.said.entered[*l] && self.watch.installed[*l] && is_well(l)
            };
            if served(before) && !served(after) && all.any(|l| promised(&l)) {
                return Err(format!(
                    "`{step}` turned new connections from {before:?} to {after:?}"
                ));
            }
        }
        Ok(())
    }

    /// A connection is released since its uplink failed, its outlet went back to a better tier and
    /// moves connections, or a new file forbids it its uplink.
    fn judge_release(&self, step: &Step, before: &[Connection]) -> Result<(), String> {
        let is_there = |id| self.kernel.connections.iter().any(|c| c.id == id);
        for connection in before.iter().filter(|c| !is_there(c.id)) {
            let is_fair = if let Step::ReleasePrefix { prefix, .. } = step {
                let mut links = self.kernel.links();
                !links.any(|l| l.addresses.iter().any(|a| prefix.contains(&a.addr())))
            } else if matches!(step, Step::DeleteConnections(_)) {
                self.review.ever.contains(&connection.id)
            } else if matches!(step, Step::MoveConnections { .. }) {
                self.was_left_behind(connection)
                    || self.may_move(connection.line, connection.direction)
            } else {
                self.may_move(connection.line, connection.direction)
            };
            if !is_fair {
                let Connection {
                    id,
                    line,
                    direction,
                    outlet,
                    ..
                } = connection;
                return Err(format!(
                    "`{step}` released connection {id} ({direction:?}, outlet {outlet}), though line {line} did not fail"
                ));
            }
        }
        Ok(())
    }

    fn judge_forgetting(&self, step: &Step, outlet: u16, slots: &[u16]) -> Result<(), String> {
        let uplinks = || self.scenario.uplinks.iter();
        let lines = |family| {
            let uplinks = slots
                .iter()
                .filter_map(|s| uplinks().position(|u| u.slot == Slot(*s)));
            uplinks.filter_map(|u| self.net.line(u, family)).collect()
        };
        // What keeps to a line that is drained, or not to one that is preferred, is forgotten too.
        if self.was_operated || self.may_forget(outlet, lines) {
            return Ok(());
        }
        Err(format!("`{step}`, though outlet {outlet} did not go back"))
    }

    /// A plan must not, at the moment when it is made, take away what is in service; and a plan that
    /// takes uplinks out at once is no longer for many outlets than for one.
    pub(super) fn judge_plan(&self, plan: &Plan) -> Result<(), String> {
        let reserve = &self.scenario.config.reserve;
        let lines = self.net.lines.iter().zip(&self.said.in_service);
        for (line, _) in lines.filter(|(_, s)| **s) {
            let uplink = &self.scenario.uplinks[line.uplink];
            let id = reserve.nexthop_service(line.family, uplink.slot);
            let pinned = reserve.mark_out(uplink.slot).value;
            for planned in &plan.steps {
                let is_wrong = match &planned.step {
                    Step::DeleteNexthop(gone) => *gone == id,
                    Step::FlushConnections { mark, family } => {
                        family.is_none_or(|f| f == line.family) && mark.matches(pinned)
                    }
                    Step::SetSysctl { .. }
                    | Step::SolicitRouters { .. }
                    | Step::AddNexthop(_)
                    | Step::ReplaceNexthop(_)
                    | Step::AddRoute(_)
                    | Step::ReplaceRoute(_)
                    | Step::DeleteRoute(_)
                    | Step::AddRule(_)
                    | Step::DeleteRule(_)
                    | Step::SetNft(_)
                    | Step::DeleteNft { .. }
                    | Step::NameTables(_)
                    | Step::MoveConnections { .. }
                    | Step::DeleteConnections(_)
                    | Step::ReleasePrefix { .. }
                    | Step::ForgetSticky { .. } => false,
                };
                if is_wrong {
                    return Err(format!(
                        "a plan holds `{}`, though uplink {} is in service",
                        planned.step, uplink.name
                    ));
                }
            }
        }
        let is_urgent = plan.steps.iter().all(|s| self.takes_out(s));
        if is_urgent && plan.steps.len() > 2 * self.net.lines.len() {
            return Err(format!("an urgent plan of {} steps", plan.steps.len()));
        }
        Ok(())
    }

    /// Whether a step takes an uplink out of service, or releases all its connections.
    fn takes_out(&self, planned: &PlannedStep) -> bool {
        let reserve = &self.scenario.config.reserve;
        if matches!(planned.step, Step::FlushConnections { .. }) {
            return true;
        }
        self.net.lines.iter().any(|line| {
            let slot = self.scenario.uplinks[line.uplink].slot;
            let id = reserve.nexthop_service(line.family, slot);
            planned.step == Step::DeleteNexthop(id)
        })
    }

    /// Where a line leaves service while another one stays, a plan takes it out at once. Of several
    /// that leave at one moment the others may have to wait for the first one's plan.
    pub(super) fn judge_urgency(&self, before: &[bool], actions: &[Action]) -> Result<(), String> {
        if self.is_planning() || self.now() < self.watch.shielded_until {
            return Ok(());
        }
        let reserve = &self.scenario.config.reserve;
        let id = |l: usize| {
            let line = &self.net.lines[l];
            let slot = self.scenario.uplinks[line.uplink].slot;
            reserve.nexthop_service(line.family, slot)
        };
        for line in 0..self.net.lines.len() {
            let is_routed = self.net.lines[line].routed;
            let has_left = before[line] && !self.said.in_service[line] && is_routed;
            let stays = |l: usize| {
                before[l] && self.said.in_service[l] && self.watch.installed[l] && l != line
            };
            if !has_left || !self.net.of(self.net.lines[line].family).any(stays) {
                continue;
            }
            let leaves = |l: usize| before[l] && !self.said.in_service[l];
            let takes_out = |plan: &Plan| {
                let mut leavers = (0..self.net.lines.len()).filter(|l| leaves(*l));
                let has = |l| {
                    let mut steps = plan.steps.iter();
                    steps.any(|s| s.step == Step::DeleteNexthop(id(l)))
                };
                leavers.any(has)
            };
            let is_done = actions.iter().any(|a| match a {
                Action::Apply(plan) => takes_out(plan),
                Action::Probe(_)
                | Action::Count(_)
                | Action::CountTcp(_)
                | Action::Observe { .. }
                | Action::ListConnections
                | Action::WriteLedger(_)
                | Action::KeepWishes(_)
                | Action::Notify(_)
                | Action::Advertise(_) => false,
            });
            if !is_done {
                return Err(format!("line {line} left service, and no plan says so"));
            }
        }
        Ok(())
    }

    /// A line that was up and is without fault must not be taken out of service.
    pub(super) fn judge_service_change(&mut self, before: &Said) -> Result<(), String> {
        if *before != self.said {
            self.watch.said_version += 1;
        }
        let now = self.now();
        for line in 0..self.said.in_service.len() {
            if (before.in_service[line], before.health[line])
                != (self.said.in_service[line], self.said.health[line])
            {
                let (serves, health) = (self.said.in_service[line], self.said.health[line]);
                self.say(|| format!("          line {line}: {health}, in service: {serves}"));
            }
            let margin = self.time_to_fall(line) + Duration::from_secs(2);
            let was_well = self.watch.perfect_since[line].is_some_and(|t| now.since(t) > margin);
            if before.in_service[line]
                && before.health[line] == Health::Up
                && !self.said.in_service[line]
                && self.watch.installed[line]
                && self.net.lines[line].routed
                && was_well
                && now >= self.watch.shielded_until
            {
                return Err(format!(
                    "line {line} was taken out of service, though it is without fault"
                ));
            }
        }
        for (index, (was, is)) in before
            .outlets
            .iter()
            .zip(self.said.outlets.clone())
            .enumerate()
        {
            for family in FAMILIES {
                let (was, is) = (was.of(family), is.of(family));
                if was != is && before.outlets.len() == self.said.outlets.len() {
                    self.say(|| format!("          outlet {index} ({family}): {is:?}"));
                }
            }
        }
        Ok(())
    }
}

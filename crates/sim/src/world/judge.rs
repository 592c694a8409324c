//! Judging what the daemon does at the moment when it does it: each step, each plan, each change of
//! service.

use std::time::Duration;

use uplinkd_model::{Health, Plan, Step};

use super::{Said, World};
use crate::kernel::Direction;

impl World {
    /// What a flush may be judged by afterwards.
    pub(super) fn connections_before(&self, step: &Step) -> Vec<(u32, usize, Direction)> {
        let connections = self.kernel.connections.iter();
        match step {
            Step::FlushConnections(_) => {
                connections.map(|c| (c.id, c.uplink, c.direction)).collect()
            }
            Step::SetSysctl { .. }
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
            | Step::NameTables(_) => Vec::new(),
        }
    }

    /// Judges what one step did: it must not take the way out, nor release a healthy uplink's connections.
    pub(super) fn judge_step(
        &mut self,
        step: &Step,
        before: Option<&Vec<usize>>,
        connections: &[(u32, usize, Direction)],
    ) -> Result<(), String> {
        if self.watch.is_removing {
            return Ok(());
        }
        for (id, uplink, direction) in connections {
            let is_there = self.kernel.connections.iter().any(|c| c.id == *id);
            if !is_there && !self.may_move(*uplink, *direction) {
                return Err(format!(
                    "`{step}` released connection {id} ({direction:?}), though uplink {uplink} did not fail"
                ));
            }
        }
        let now = self.now();
        if now < self.watch.shielded_until {
            return Ok(());
        }
        let after = self.exits();
        let is_well = |u: &usize| {
            self.watch.perfect_since[*u].is_some_and(|t| now.since(t) > Duration::from_secs(2))
        };
        let serves = |u: &usize| self.said.in_service[*u];
        let mut all = 0..self.net.lines.len();
        if before.is_some() && after.is_none() && all.clone().any(|u| is_well(&u)) {
            return Err(format!("`{step}` left new connections without a way"));
        }
        // What left service while the plan was under way is the next plan's business.
        let at_plan = |u: &usize| self.watch.at_plan.get(*u).is_some_and(|s| *s);
        let served = |exits: Option<&Vec<usize>>| {
            exits.is_some_and(|e| e.iter().any(|u| serves(u) || at_plan(u)))
        };
        if served(before)
            && !served(after.as_ref())
            && all.any(|u| serves(&u) && self.watch.installed[u] && is_well(&u))
        {
            return Err(format!(
                "`{step}` turned new connections from {before:?} to {after:?}"
            ));
        }
        Ok(())
    }

    /// A plan must not, at the moment when it is made, take away what is in service.
    pub(super) fn judge_plan(&self, plan: &Plan) -> Result<(), String> {
        let reserve = &self.scenario.config.reserve;
        let uplinks = self.scenario.config.uplinks.iter();
        for (uplink, _) in uplinks.zip(&self.said.in_service).filter(|(_, s)| **s) {
            let id = reserve.nexthop_service(uplinkd_model::Family::V4, uplink.slot);
            let flush = reserve.mark_out(uplink.slot).value;
            for planned in &plan.steps {
                let is_wrong = match &planned.step {
                    Step::DeleteNexthop(gone) => *gone == id,
                    Step::FlushConnections(mark) => mark.matches(flush),
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
                };
                if is_wrong {
                    return Err(format!(
                        "a plan holds `{}`, though uplink {} is in service",
                        planned.step, uplink.name
                    ));
                }
            }
        }
        Ok(())
    }

    /// An uplink that was up and whose line is without fault must not be taken out of service.
    pub(super) fn judge_service_change(&mut self, before: &Said) -> Result<(), String> {
        self.watch.said_version += 1;
        let now = self.now();
        for uplink in 0..self.said.in_service.len() {
            if (before.in_service[uplink], before.health[uplink])
                != (self.said.in_service[uplink], self.said.health[uplink])
            {
                let (serves, health) = (self.said.in_service[uplink], self.said.health[uplink]);
                self.say(|| format!("          uplink {uplink}: {health}, in service: {serves}"));
            }
            let spec = &self.scenario.config.uplinks[uplink].probe;
            let margin = spec.timeout + spec.interval * (spec.fall + 1) + Duration::from_secs(2);
            let was_well = self.watch.perfect_since[uplink].is_some_and(|t| now.since(t) > margin);
            if before.in_service[uplink]
                && before.health[uplink] == Health::Up
                && !self.said.in_service[uplink]
                && self.watch.installed[uplink]
                && was_well
                && now >= self.watch.shielded_until
            {
                return Err(format!(
                    "uplink {uplink} was taken out of service, though its line is without fault"
                ));
            }
        }
        Ok(())
    }
}

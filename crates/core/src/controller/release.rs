//! Releasing connections: what is owed to whom, and when it is paid.

use ipnet::IpNet;
use uplinkd_model::{Outcome, Plan, Step};

use super::Controller;
use crate::{families::FAMILIES, reconcile::Diff};

impl Controller {
    /// While something of ours was missing, the last resort or `main` led new connections out by any
    /// uplink. Those on uplinks out of service would stall for good once it is put back.
    pub(super) fn release_outsiders(&mut self, diff: &Diff, is_drift: bool) {
        let reserve = &self.config.reserve;
        // While the default group's table is empty, `main` leads.
        let table = reserve.table_outlet(0);
        let routes = self.observed.iter().flat_map(|o| &o.routes);
        let led: Vec<_> = routes
            .filter(|r| r.table == table && r.destination.prefix_len() == 0)
            .map(uplinkd_model::Route::family)
            .collect();
        let first = reserve.rule_priority_last + crate::desired::OUTLETS;
        for family in FAMILIES {
            let missing = diff.rules_missing.iter();
            let mut missing = missing.filter(|r| r.family == family);
            let was_led = led.contains(&family) || self.service.of(family).uplinks.is_empty();
            if !is_drift && was_led && !missing.any(|r| r.priority.0 >= first) {
                continue;
            }
            let service = &self.service.of(family).uplinks;
            for line in self.lines.iter_mut().filter(|l| l.family == family) {
                let uplink = &self.config.uplinks[line.uplink];
                if !line.is_absent() && !service.contains(&uplink.name) {
                    line.flush.get_or_insert(reserve.mark_out(uplink.slot));
                }
            }
        }
    }

    /// What is to be done to connections, once somebody serves: those of lines out of service go, and
    /// then those that an outlet left behind on its worse tiers, and those that a new file forbids.
    pub(super) fn due_releases(&self) -> Vec<(Step, String)> {
        let mut due = Vec::new();
        for family in FAMILIES {
            let service = &self.service.of(family).uplinks;
            if service.is_empty() {
                continue;
            }
            let departed = self.departed.iter().filter(|(_, f)| *f == family);
            due.extend(departed.map(|(mark, _)| {
                let reason = "the file no longer has the uplink".to_owned();
                (flush(*mark, family), reason)
            }));
            for line in self.lines.iter().filter(|l| l.family == family) {
                let name = &self.config.uplinks[line.uplink].name;
                if let Some(mark) = line.flush.filter(|_| !service.contains(name)) {
                    let reason = format!("uplink {name} ({family}) is out of service");
                    due.push((flush(mark, family), reason));
                }
                due.extend(line.stale.iter().map(|address| {
                    let reason = format!("uplink {name} no longer has {address}");
                    let mark = self
                        .config
                        .reserve
                        .mark_all(self.config.uplinks[line.uplink].slot);
                    (release(mark, IpNet::from(*address)), reason)
                }));
            }
        }
        due.extend(self.lost_prefixes.iter().map(|(mark, prefix)| {
            let reason = format!("the uplink does not have {prefix} any more");
            (release(*mark, (*prefix).into()), reason)
        }));
        due.extend(
            self.moves
                .iter()
                .map(|m| (m.step.clone(), m.reason.clone())),
        );
        due.extend(self.review.due());
        due
    }

    /// Forgets what was done.
    pub(super) fn take_released(&mut self, plan: &Plan, outcomes: &[Outcome]) {
        for (planned, outcome) in plan.steps.iter().zip(outcomes) {
            // Where the uplink itself could not be taken out, new connections may have been pinned to
            // it since: they are released once more when it is.
            let is_done = matches!(outcome, Outcome::Done | Outcome::AlreadySo);
            if !matches!(outcome, Outcome::Skipped) {
                // A connection that cannot be taken out is let be: it was allowed a moment ago.
                self.review.done(&planned.step);
            }
            if !is_done || self.settle.was_refused {
                continue;
            }
            let step = &planned.step;
            for line in &mut self.lines {
                line.flush = line.flush.filter(|mark| flush(*mark, line.family) != *step);
                let slot = self.config.uplinks[line.uplink].slot;
                let mark = self.config.reserve.mark_all(slot);
                line.stale
                    .retain(|address| release(mark, IpNet::from(*address)) != *step);
            }
            self.departed
                .retain(|(mark, family)| flush(*mark, *family) != *step);
            self.lost_prefixes
                .retain(|(mark, prefix)| release(*mark, (*prefix).into()) != *step);
            self.moves.retain(|m| m.step != *step);
        }
    }

    /// Whether a step takes away the service object or the connections of an uplink in service.
    pub(super) fn harms_service(&self, step: &Step) -> bool {
        let reserve = &self.config.reserve;
        let serves = |line: &&super::LineState| {
            let name = &self.config.uplinks[line.uplink].name;
            self.service.of(line.family).uplinks.contains(name)
        };
        let slot = |line: &super::LineState| self.config.uplinks[line.uplink].slot;
        let mut serving = self.lines.iter().filter(serves);
        match step {
            Step::DeleteNexthop(id) => {
                serving.any(|l| *id == reserve.nexthop_service(l.family, slot(l)))
            }
            Step::FlushConnections { mark, family } => serving.any(|l| {
                let is_of = family.is_none_or(|f| f == l.family);
                is_of && mark.matches(reserve.mark_out(slot(l)).value)
            }),
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
        }
    }
}

fn flush(mark: uplinkd_model::Mark, family: uplinkd_model::Family) -> Step {
    Step::FlushConnections {
        mark,
        family: Some(family),
    }
}

fn release(mark: uplinkd_model::Mark, prefix: IpNet) -> Step {
    Step::ReleasePrefix { mark, prefix }
}

//! After a reload: connections that a policy of the new file forbids the uplink they are on.
//!
//! Existing connections stay where they are. Only where a policy says `flows = "move"` and the file's
//! policies changed, they are listed once everything new is in place, and those of which it is
//! certain that the policy takes them, and that it would not lead them out by their uplink, are
//! released.

use std::collections::VecDeque;

use uplinkd_model::{
    Config, Connection, Family, OutletKind, Step,
    classify::{Condition, RuleStage, Stage},
    connection::{Tuple, TupleKind},
    policy::{End, PolicyFlows},
};
use uplinkd_policy::{Answer, Flow, Origin, evaluate};

use super::Controller;
use crate::{Action, Time};

/// Connections that one plan releases. The rest waits for the next look, so that a router with a
/// million connections is not busy with them for seconds.
const RELEASED_AT_ONCE: usize = 1000;

/// How far a review has come.
#[derive(Debug, Default)]
pub(super) struct Review {
    is_wanted: bool,
    /// Connections to release, each with its policy's name, those of one policy together.
    condemned: VecDeque<(Tuple, String)>,
}

impl Review {
    /// Notes that the policies changed.
    pub(super) fn ask(&mut self, config: &Config) {
        self.condemned.clear();
        self.is_wanted = moves_anything(config);
    }

    /// The next batch.
    pub(super) fn due(&self) -> Option<(Step, String)> {
        let (_, policy) = self.condemned.front()?;
        let batch = self.condemned.iter().take(RELEASED_AT_ONCE);
        let batch = batch.take_while(|(_, p)| p == policy);
        let tuples = batch.map(|(tuple, _)| *tuple).collect();
        let reason = format!("policy {policy} forbids the uplink they are on, and says `move`");
        Some((Step::DeleteConnections(tuples), reason))
    }

    /// Notes a batch as released.
    pub(super) fn done(&mut self, step: &Step) {
        if let Step::DeleteConnections(tuples) = step {
            let is_front = self.condemned.front().map(|(tuple, _)| tuple) == tuples.first();
            let count = if is_front { tuples.len() } else { 0 };
            self.condemned.drain(..count.min(self.condemned.len()));
        }
    }
}

fn moves_anything(config: &Config) -> bool {
    let mut policies = config.policies.iter();
    policies.any(|p| p.flows == PolicyFlows::Move)
}

impl Controller {
    /// Everything that was decided is in place: asks for the connections, if they are to be reviewed.
    pub(super) fn begin_review(&mut self) {
        if std::mem::take(&mut self.review.is_wanted) {
            self.actions.push_back(Action::ListConnections);
        }
    }

    pub(super) fn take_connections(&mut self, connections: &[Connection], now: Time) {
        let found = connections.iter().filter_map(|c| {
            let policy = self.forbidden_by(c)?;
            Some((policy, c.original))
        });
        let mut found: Vec<_> = found.collect();
        found.sort_unstable();
        let named =
            |(policy, tuple): (usize, Tuple)| (tuple, self.config.policies[policy].name.clone());
        self.review.condemned = found.into_iter().map(named).collect();
        if !self.review.condemned.is_empty() {
            self.settle
                .because(|| "policies of the new file forbid connections their uplink".to_owned());
            self.look_now(now, false);
        }
    }

    /// The policy that certainly takes a connection, says that such connections move, and would not
    /// lead it out by the uplink that it is on.
    fn forbidden_by(&self, connection: &Connection) -> Option<usize> {
        let marks = self.config.reserve.marks();
        let is_outgoing = connection.mark & marks.inbound == 0;
        let slot = connection.mark & marks.uplink;
        if !is_outgoing || slot == 0 {
            return None;
        }
        let flow = self.flow_of(connection);
        let Answer::Policy { policy, stage, .. } = evaluate(&self.policies.classifier, &flow)
        else {
            return None;
        };
        let is_certain = !self.hangs_on_a_mark(&flow, stage);
        let moves = self.config.policies[policy].flows == PolicyFlows::Move;
        let mut uplinks = self.config.uplinks.iter();
        let uplink = uplinks.find(|u| self.config.reserve.mark_out(u.slot).value == slot)?;
        let is_allowed = self.may_lead(policy, &uplink.name, flow.family);
        (is_certain && moves && !is_allowed).then_some(policy)
    }

    /// What is known of the packet that began a connection. Where it came in, by whom it was sent and
    /// how it was marked, nobody remembers.
    pub(crate) fn flow_of(&self, connection: &Connection) -> Flow {
        let tuple = connection.original;
        let mut flow = Flow {
            source: Some(tuple.source),
            destination: Some(tuple.destination),
            protocol: Some(tuple.protocol),
            ..Flow::unknown(tuple.family())
        };
        match tuple.kind {
            TupleKind::Ports {
                source,
                destination,
            } => {
                flow.source_port = Some(source);
                flow.destination_port = Some(destination);
            }
            TupleKind::Icmp { icmp_type, .. } => flow.icmp_type = Some(icmp_type),
            TupleKind::Other => {}
        }
        if self.has_address(tuple.source) {
            flow.origin = Origin::Own;
        }
        flow
    }

    /// Whether some stage up to this one would decide by a mark that the packet may have borne.
    fn hangs_on_a_mark(&self, flow: &Flow, last: usize) -> bool {
        let stages = self
            .policies
            .classifier
            .of(flow.family)
            .iter()
            .take(last + 1);
        let mut by_mark = stages.filter_map(|stage| match stage {
            Stage::Map(_) => None,
            Stage::Rule(rule) => without_marks(rule),
        });
        by_mark.any(|rule| {
            let mut alone = uplinkd_model::Classifier::default();
            match flow.family {
                Family::V4 => alone.v4.push(Stage::Rule(rule)),
                Family::V6 => alone.v6.push(Stage::Rule(rule)),
            }
            evaluate(&alone, flow) != Answer::Default
        })
    }

    /// Whether a policy may lead out by an uplink: one of its outlet's, or, where the outlet has
    /// nobody now and leaves it to the default group, one of that.
    fn may_lead(&self, policy: usize, uplink: &uplinkd_model::UplinkName, family: Family) -> bool {
        let index = self.config.policies[policy].outlet;
        match &self.config.outlets[index].kind {
            OutletKind::Block | OutletKind::Main => false,
            OutletKind::Uplinks(outflow) => {
                let is_served = self.serving[index].of(family).tier.is_some();
                let default = self.config.outlets.first().and_then(|o| o.outflow());
                outflow.has(uplink)
                    || outflow.end == End::Default
                        && !is_served
                        && default.is_some_and(|o| o.has(uplink))
            }
        }
    }
}

/// A rule without its conditions on marks; none where it has no such condition.
fn without_marks(rule: &RuleStage) -> Option<RuleStage> {
    let is_mark = |c: &Condition| matches!(c, Condition::Mark { .. });
    rule.conditions.iter().any(is_mark).then(|| {
        let conditions = rule.conditions.iter().filter(|c| !is_mark(c));
        RuleStage {
            conditions: conditions.cloned().collect(),
            ..rule.clone()
        }
    })
}

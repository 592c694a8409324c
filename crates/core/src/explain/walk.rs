//! Asking the rules one after the other, as the kernel does.

use std::net::IpAddr;

use uplinkd_model::{
    Family, Nat, Outlet, OutletKind, Rule, TableId, UplinkName, kernel_state::RuleAction,
    policy::Outflow,
};

use super::{Decision, Exit, ExplainedStep, Flow};
use crate::{
    Controller, OutletState, Time,
    controller::state_of,
    select::{Candidate, Service, Serving, preferred_in, serving_of},
};

/// The world as the question wants it: with some uplinks thought away.
pub(super) struct Thought<'a> {
    flow: &'a Flow,
    family: Family,
    /// The mark under which rules are asked: the flow's, and what its policy adds.
    pub(super) mark: u32,
    /// The table that the kernel's own answer came from, where it could be asked.
    asked: Option<TableId>,
    service: Service,
    serving: Vec<Serving>,
}

impl Controller {
    pub(super) fn think<'a>(&self, flow: &'a Flow, asked: Option<TableId>) -> Thought<'a> {
        let family = flow.family();
        let candidates: Vec<_> = self.candidates(family).collect();
        let candidates = candidates.iter().map(|(name, candidate)| {
            if flow.if_down.contains(name) {
                (*name, Candidate::default())
            } else {
                (*name, *candidate)
            }
        });
        let service = if self.has_family(family) {
            self.service_by(family, candidates)
        } else {
            Service::default()
        };
        let outlets = self.config().outlets.iter().enumerate();
        let serving = outlets.map(|(index, outlet)| {
            let mut serving = self.serving_tier(index, family).clone();
            if let Some(outflow) = outlet.outflow() {
                // At no time: what waits for a better tier goes on waiting.
                serving.decide(outflow, &service, Time::default(), false);
            }
            serving
        });
        Thought {
            flow,
            family,
            mark: flow.mark,
            asked,
            serving: serving.collect(),
            service,
        }
    }

    /// Asks the rules. `depends` is the answer from the first rule on that asks what policies say.
    pub(super) fn walk(
        &self,
        thought: &Thought<'_>,
        depends: Option<Decision>,
    ) -> (Vec<ExplainedStep>, Decision) {
        let by_policy = self.config().reserve.rule_priority_last + crate::desired::OUTLETS;
        let mut steps = Vec::new();
        for rule in self.rules(thought.family) {
            if rule.priority.0 >= by_policy
                && let Some(depends) = depends
            {
                return (steps, depends);
            }
            let asked = self.ask(&rule, thought);
            let matched = asked.is_ok();
            let (why, decision) = match asked {
                Ok((why, decision)) => (why, Some(decision)),
                Err(why_not) => (why_not, None),
            };
            let rule = rule.to_string();
            steps.push(ExplainedStep { rule, matched, why });
            if let Some(decision) = decision {
                return (steps, decision);
            }
        }
        (steps, Decision::NotOurs)
    }

    fn ask(&self, rule: &Rule, thought: &Thought<'_>) -> Result<(String, Decision), String> {
        match (self.mismatch(rule, thought), rule.inverted) {
            (Some(why_not), false) => return Err(why_not),
            (None, true) => return Err("it is what the rule makes an exception of".to_owned()),
            (None, false) | (Some(_), true) => {}
        }
        match rule.action {
            RuleAction::Prohibit => {
                let outlets = &self.config().outlets;
                let reserve = &self.config().reserve;
                let own = |o: &&Outlet| rule.mark == Some(reserve.mark_outlet(o.code));
                let outlet = outlets.iter().find(own).map(|o| o.name.clone());
                let why = "its policy refuses it".to_owned();
                let outlet = outlet.unwrap_or_default();
                Ok((why, Decision::Blocked { outlet }))
            }
            RuleAction::Lookup(TableId::MAIN) if rule.suppress_prefix_length.is_some() => {
                match thought.asked {
                    Some(TableId::MAIN) => Ok((
                        "main has a connected or specific route for it".into(),
                        Decision::Main,
                    )),
                    Some(_) => {
                        Err("main has only a default for it, which does not count here".into())
                    }
                    None => Err(
                        "the kernel could not be asked; taken as having no specific route".into(),
                    ),
                }
            }
            RuleAction::Lookup(TableId::MAIN) => Ok((
                "its policy leaves it to the main table".into(),
                Decision::Main,
            )),
            RuleAction::Lookup(table) => self.look_up(table, thought),
            RuleAction::Other => Err("an action that we never make".to_owned()),
        }
    }

    /// Why a rule does not speak of a packet, leaving aside that it may be turned round.
    fn mismatch(&self, rule: &Rule, thought: &Thought<'_>) -> Option<String> {
        let flow = thought.flow;
        if let Some(oif) = &rule.oif {
            return Some(format!("the socket is not bound to {oif}"));
        }
        if let Some(mark) = rule.mark.filter(|m| !m.matches(thought.mark)) {
            return Some(format!("its mark {:#x} is not {mark}", thought.mark));
        }
        if let Some(from) = rule
            .from
            .filter(|net| flow.from.is_none_or(|a| !net.contains(&a)))
        {
            return Some(if from.prefix_len() == from.max_prefix_len() {
                format!("it does not come from {}", from.addr())
            } else {
                format!("it does not come from {from}")
            });
        }
        if let Some(to) = rule.to.filter(|net| !net.contains(&flow.to)) {
            return Some(format!("it does not go to {to}"));
        }
        if let Some(iif) = &rule.iif {
            let comes_in_by = self.incoming(flow);
            if *iif != comes_in_by {
                return Some(format!("it comes in by {comes_in_by}"));
            }
        }
        None
    }

    /// Whether a flow is the router's own.
    pub(super) fn is_own(&self, flow: &Flow) -> bool {
        match (&flow.iif, flow.from) {
            (Some(iif), _) => iif == "lo",
            (None, Some(from)) => self.has_address(from),
            (None, None) => true,
        }
    }

    /// The interface as rules see it: `lo` for the router's own traffic.
    fn incoming(&self, flow: &Flow) -> String {
        match &flow.iif {
            Some(iif) => iif.clone(),
            None if self.is_own(flow) => "lo".to_owned(),
            None => self.config().lan.first().cloned().unwrap_or_default(),
        }
    }

    fn look_up(&self, table: TableId, thought: &Thought<'_>) -> Result<(String, Decision), String> {
        let reserve = &self.config().reserve;
        for uplink in &self.config().uplinks {
            let exit = || self.exit(&uplink.name, thought.flow);
            if table == reserve.table_service(uplink.slot) {
                return if thought.service.uplinks.contains(&uplink.name) {
                    Ok((
                        format!("uplink {} is in service", uplink.name),
                        Decision::Uplink(exit()),
                    ))
                } else {
                    Err(format!(
                        "table {} is empty while the uplink is out of service",
                        uplink.name
                    ))
                };
            }
            if table == reserve.table_path(uplink.slot) {
                return if thought.flow.if_down.contains(&uplink.name) {
                    Err(format!("uplink {} is thought away", uplink.name))
                } else if !self.is_usable(thought.family, &uplink.name) {
                    Err(format!("the link of uplink {} is down", uplink.name))
                } else {
                    Ok((
                        format!("it came in by uplink {}", uplink.name),
                        Decision::Uplink(exit()),
                    ))
                };
            }
        }
        let mut outlets = self.config().outlets.iter().zip(&thought.serving);
        let own = outlets.find(|(o, _)| reserve.table_outlet(o.code) == table);
        match own {
            Some((outlet, serving)) => self.look_up_outlet(outlet, serving, table, thought),
            None => match thought.asked {
                Some(asked) if asked != table => {
                    Err(format!("table {table} of others has no route for it"))
                }
                Some(_) | None => Ok((
                    format!("a copy of a rule of others: table {table} decides"),
                    Decision::Foreign { table },
                )),
            },
        }
    }

    fn look_up_outlet(
        &self,
        outlet: &Outlet,
        serving: &Serving,
        table: TableId,
        thought: &Thought<'_>,
    ) -> Result<(String, Decision), String> {
        let name = &outlet.name;
        let outflow: &Outflow = match &outlet.kind {
            OutletKind::Uplinks(outflow) => outflow,
            OutletKind::Block | OutletKind::Main => return Err("no such table".to_owned()),
        };
        let is_usable = |uplink: &UplinkName| {
            let is_there = !thought.flow.if_down.contains(uplink);
            is_there && self.is_usable(thought.family, uplink)
        };
        let state = state_of(outflow, serving, &thought.service);
        let why = match &state {
            OutletState::Blocked => {
                let why = format!("{name} has nobody in service, and refuses then");
                let outlet = name.clone();
                return Ok((why, Decision::Blocked { outlet }));
            }
            OutletState::LastResort => {
                "nobody in it is up: the last good choice is kept".to_owned()
            }
            OutletState::Tier { .. } if preferred_in(outflow, &thought.service).is_some() => {
                "one uplink is preferred before all tiers".to_owned()
            }
            OutletState::Tier { rank, group, .. } => {
                let group = group.as_deref().unwrap_or(name);
                format!("tier {rank} of {group} serves")
            }
            OutletState::Default | OutletState::Main => {
                return Err(format!(
                    "{name} has nobody in service; what comes next decides"
                ));
            }
        };
        let yielding = self.yielding_in(outflow, &thought.service, thought.family);
        let yielding: String = yielding
            .iter()
            .map(|y| format!("; {} yields: {}", y.uplink, y.reason))
            .collect();
        let balance = self.why_served(outflow, serving, thought.family);
        let balance = balance.map(|text| format!("; {text}")).unwrap_or_default();
        let why = why + &yielding + &balance;
        let serving = serving_of(self.config(), outflow, serving, &thought.service, is_usable);
        if serving.is_empty() {
            return Err(format!("{name} has no usable uplink"));
        }
        let total: f64 = serving.iter().map(|s| f64::from(s.weight)).sum();
        let exits = serving.iter().map(|s| {
            let exit = self.exit(&s.uplink, thought.flow);
            (exit, f64::from(s.weight) / total)
        });
        let decision = Decision::Outlet {
            outlet: name.clone(),
            table,
            state,
            exits: exits.collect(),
            sticky: outflow.sticky,
        };
        Ok((why, decision))
    }

    /// How a flow leaves by an uplink.
    fn exit(&self, name: &UplinkName, flow: &Flow) -> Exit {
        Exit {
            uplink: name.clone(),
            nat: self.nat_address(name, flow),
        }
    }

    /// The source address that the far end sees of a flow that leaves by an uplink; none where it is
    /// left alone.
    pub fn nat_address(&self, name: &UplinkName, flow: &Flow) -> Option<IpAddr> {
        let family = flow.family();
        let own = || self.first_address(name, family);
        let by_prefix = |is_prefix| {
            let seen = flow.from.and_then(|from| {
                let seen = self.prefixes().seen_as(name, from, is_prefix)?;
                Some((from, seen))
            });
            match seen {
                Some((from, seen)) => Some(seen).filter(|s| *s != from),
                None => own(),
            }
        };
        match self.config().uplink(name)?.access(family)?.nat {
            Nat::Masquerade => own(),
            Nat::Source(address) => Some(address),
            Nat::None => None,
            Nat::Auto => by_prefix(false),
            Nat::Prefix => by_prefix(true),
        }
    }
}

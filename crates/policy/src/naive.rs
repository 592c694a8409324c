//! The reference: policies read one by one, clause by clause, as their meaning is written down.
//!
//! Slow and plain on purpose. It shares nothing with the compiler, so that the two can be compared.

use std::borrow::Borrow;

use uplinkd_model::{
    Family, Policy,
    classify::Field,
    policy::{Addresses, Clause, Outlet, PROTOCOLS_WITH_PORTS, Selector, Spans},
};

use crate::{
    fact::{Known, Truth},
    flow::{Answer, Flow, icmp_of, is_within},
};

/// What becomes of a flow at a local minute of the week: the first policy whose clauses all hold.
pub fn naive<P: Borrow<Policy>>(
    policies: &[P],
    outlets: &[Outlet],
    flow: &Flow,
    minute: u16,
) -> Answer {
    for (index, policy) in policies.iter().map(Borrow::borrow).enumerate() {
        match Truth::all(policy.clauses.iter().map(|c| truth(c, flow, minute))) {
            Truth::No => {}
            Truth::Depends(on) => return Answer::Depends { policy: index, on },
            Truth::Yes => {
                return Answer::Policy {
                    policy: index,
                    outlet: outlets[policy.outlet].code,
                    stage: index,
                };
            }
        }
    }
    Answer::Default
}

/// The first clause of a policy that does not hold for a flow; none where all hold, or may hold as
/// far as is known.
pub fn why_not<'a>(policy: &'a Policy, flow: &Flow, minute: u16) -> Option<&'a Clause> {
    policy
        .clauses
        .iter()
        .find(|clause| truth(clause, flow, minute) == Truth::No)
}

/// Which policies hold at a local minute of the week as far as their schedules go. Where this is the
/// same for two minutes, [`crate::compile`] makes the same of them.
pub fn active<P: Borrow<Policy>>(policies: &[P], minute: u16) -> Vec<bool> {
    let policies = policies.iter().map(Borrow::borrow);
    policies.map(|p| is_active(p, minute)).collect()
}

/// Whether all schedules of a policy hold.
pub(crate) fn is_active(policy: &Policy, minute: u16) -> bool {
    let mut schedules = policy
        .clauses
        .iter()
        .filter_map(|clause| Some((clause.selector.schedule()?, clause.not)));
    schedules.all(|(minutes, not)| minutes.contains(minute.into()) != not)
}

/// Whether one clause holds for a flow.
fn truth(clause: &Clause, flow: &Flow, minute: u16) -> Truth {
    let not = clause.not;
    // What every packet has, and what a clause never holds without, `not` or no.
    let present = |value: Known<u128>, values: &Spans| value.holds(|v| values.contains(v) != not);
    // What only some packets have: `not` holds for those that have none.
    let optional = |value: Known<u128>, values: &Spans| {
        if not {
            value.lacks(|v| values.contains(v))
        } else {
            value.holds(|v| values.contains(v))
        }
    };
    let address =
        |field, addresses: &Addresses| present(flow.number(field), addresses.of(flow.family));
    let port = |field, ports: &Spans| {
        let has_ports = flow
            .number(Field::Protocol)
            .holds(|p| PROTOCOLS_WITH_PORTS.map(u128::from).contains(&p));
        Truth::all([has_ports, present(flow.number(field), ports)])
    };
    match &clause.selector {
        Selector::Family(family) => ((*family == flow.family) != not).into(),
        Selector::Source(addresses) => address(Field::Source, addresses),
        Selector::Destination(addresses) => address(Field::Destination, addresses),
        Selector::Protocol(protocols) => present(flow.number(Field::Protocol), protocols),
        Selector::SourcePort(ports) => port(Field::SourcePort, ports),
        Selector::DestinationPort(ports) => port(Field::DestinationPort, ports),
        Selector::IcmpType { v4, v6 } => {
            let types = match flow.family {
                Family::V4 => v4,
                Family::V6 => v6,
            };
            let is_icmp = flow
                .number(Field::Protocol)
                .holds(|p| p == icmp_of(flow.family).into());
            Truth::all([is_icmp, present(flow.number(Field::IcmpType), types)])
        }
        Selector::Dscp(points) => present(flow.number(Field::Dscp), points),
        Selector::Interface(names) => {
            let among = |name: &str| names.iter().any(|n| n == name);
            if not {
                flow.interface().lacks(among)
            } else {
                flow.interface().holds(among)
            }
        }
        Selector::Mac(addresses) => optional(flow.number(Field::Mac), addresses),
        Selector::User(users) => optional(flow.number(Field::User), users),
        Selector::Group(groups) => optional(flow.number(Field::Group), groups),
        Selector::Mark(marks) => (marks.iter().any(|m| m.matches(flow.mark)) != not).into(),
        Selector::Cgroup(paths) => {
            if not {
                flow.cgroup().lacks(|c| is_within(c, paths))
            } else {
                flow.cgroup().holds(|c| is_within(c, paths))
            }
        }
        Selector::Domain { set, .. } => flow.domain_sets().holds(|s| s.contains(set) != not),
        Selector::Schedule(minutes) => (minutes.contains(minute.into()) != not).into(),
    }
}

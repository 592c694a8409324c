//! What must be true once everything has been quiet for long enough, worked out from the world
//! itself, without history and without a line of the core.

use std::collections::BTreeSet;

use uplinkd_model::{
    Config, Gateway, Group, Health, NexthopId, NexthopKind, RouteVia, TableId, Target,
    kernel_state::RuleAction,
};

use crate::{kernel::Kernel, net::Net};

/// What one uplink must have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its health.
    pub health: Health,
    /// Its link could carry traffic, whatever lies behind it.
    pub usable: bool,
}

/// The uplinks' health: up where the link is usable and enough of the targets that decide would
/// answer, else down.
pub fn expected(config: &Config, kernel: &Kernel, net: &Net) -> Vec<Expected> {
    let one = |(index, uplink): (usize, &uplinkd_model::Uplink)| {
        let line = &net.lines[index];
        let link = kernel.link(&uplink.interface);
        let usable = link.is_some_and(|l| l.admin_up && l.carrier && !l.addresses.is_empty());
        let mut asked: Vec<_> = uplink
            .probe
            .targets
            .iter()
            .filter_map(|t| match t {
                Target::Icmp(address) => Some(*address),
                Target::Gateway => None,
            })
            .collect();
        if asked.is_empty() && uplink.probe.targets.contains(&Target::Gateway) {
            asked.extend(line.gateway);
        }
        let is_provided = link.is_some_and(|l| l.addresses.contains(&line.address));
        let gateway_fits = match uplink.gateway {
            Gateway::Auto => true,
            Gateway::Address(gateway) => line.gateway == Some(gateway),
        };
        let answers = asked
            .iter()
            .filter(|a| is_provided && gateway_fits && net.would_answer(index, **a))
            .count();
        let enough = asked.is_empty() || answers >= uplink.probe.quorum.min(asked.len());
        Expected {
            health: if usable && enough {
                Health::Up
            } else {
                Health::Down
            },
            usable,
        }
    };
    config.uplinks.iter().enumerate().map(one).collect()
}

/// Whether these are the right uplinks in service: all that are up; with none, some that are usable.
///
/// # Errors
/// Says what is wrong.
pub fn judge_service(
    expected: &[Expected],
    serves: &[bool],
    last_resort: bool,
) -> Result<(), String> {
    let is_up = |e: &Expected| e.health == Health::Up;
    let pairs = || expected.iter().zip(serves.iter().copied());
    if expected.iter().any(is_up) {
        if last_resort || pairs().any(|(e, s)| is_up(e) != s) {
            return Err(format!("in service: {serves:?}, expected {expected:?}"));
        }
        return Ok(());
    }
    let none_usable = expected.iter().all(|e| !e.usable);
    let none_serves = serves.iter().all(|s| !s);
    if !last_resort || pairs().any(|(e, s)| s && !e.usable) || none_usable != none_serves {
        return Err(format!("as last resort: {serves:?}, expected {expected:?}"));
    }
    Ok(())
}

/// The ways of a group's new connections: members in service of the best tier that has any; with
/// none, every usable uplink.
pub fn ways(
    config: &Config,
    group: &Group,
    expected: &[Expected],
    serves: &[bool],
) -> Vec<(usize, u16)> {
    let index = |name| config.uplinks.iter().position(|u| &u.name == name);
    for tier in &group.tiers {
        let members = tier
            .iter()
            .filter_map(|m| Some((index(&m.uplink)?, m.weight)));
        let mut ways: Vec<_> = members.filter(|(u, _)| serves[*u]).collect();
        if !ways.is_empty() {
            ways.sort_unstable();
            return ways;
        }
    }
    let weight = |uplink: usize| {
        let members = config
            .groups
            .iter()
            .take(1)
            .flat_map(|g| g.tiers.iter().flatten());
        let mut own = members.filter(|m| index(&m.uplink) == Some(uplink));
        own.next().map_or(1, |m| m.weight)
    };
    let usable = (0..expected.len()).filter(|u| expected[*u].usable);
    usable.map(|u| (u, weight(u))).collect()
}

/// What of ours leads nowhere or is there twice.
pub fn leftovers(config: &Config, kernel: &Kernel) -> Vec<String> {
    let reserve = &config.reserve;
    let uplinks = config.uplinks.iter().map(|u| u.slot);
    let mut tables: BTreeSet<TableId> = uplinks
        .flat_map(|s| [reserve.table_service(s), reserve.table_path(s)])
        .collect();
    tables.extend((0..config.groups.len()).map(|n| reserve.table_group(n)));
    let mut found = Vec::new();
    let routes = || kernel.routes().filter(|r| kernel.is_our_route(r));
    found.extend(
        routes()
            .filter(|r| !tables.contains(&r.table))
            .map(|r| format!("route {r}")),
    );
    tables.insert(TableId::MAIN);
    let mut seen = BTreeSet::new();
    for rule in kernel.rules().iter().filter(|r| kernel.is_our_rule(r)) {
        let leads = matches!(rule.action, RuleAction::Lookup(table) if tables.contains(&table));
        if !leads || !seen.insert(rule) {
            found.push(format!("rule {rule}"));
        }
    }
    let members = kernel.nexthops().values().filter_map(|n| match &n.kind {
        NexthopKind::Group(members) => Some(members.iter().map(|(id, _)| *id)),
        NexthopKind::Single { .. } | NexthopKind::Other => None,
    });
    let mut used: BTreeSet<NexthopId> = members.flatten().collect();
    used.extend(routes().filter_map(|r| match r.via {
        RouteVia::Nexthop(id) => Some(id),
        RouteVia::Device { .. } | RouteVia::Unreachable | RouteVia::Other => None,
    }));
    let nexthops = kernel
        .nexthops()
        .values()
        .filter(|n| kernel.is_our_nexthop(n));
    found.extend(
        nexthops
            .filter(|n| !used.contains(&n.id))
            .map(|n| format!("nexthop {n}")),
    );
    found
}

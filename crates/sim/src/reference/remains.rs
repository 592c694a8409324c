//! What must not be left over.

use std::collections::BTreeSet;

use uplinkd_model::{Config, NexthopId, NexthopKind, RouteVia, TableId, kernel_state::RuleAction};

use crate::{kernel::Kernel, scenario::TUNNEL};

/// What of ours leads nowhere or is there twice.
pub fn leftovers(config: &Config, kernel: &Kernel) -> Vec<String> {
    let reserve = &config.reserve;
    let uplinks = config.uplinks.iter().map(|u| u.slot);
    let mut tables: BTreeSet<TableId> = uplinks
        .flat_map(|s| [reserve.table_service(s), reserve.table_path(s)])
        .collect();
    tables.extend(config.outlets.iter().map(|o| reserve.table_outlet(o.code)));
    let mut found = Vec::new();
    let routes = || kernel.routes().filter(|r| kernel.is_our_route(r));
    found.extend(
        routes()
            .filter(|r| !tables.contains(&r.table))
            .map(|r| format!("route {r}")),
    );
    // Copies of a stranger's rules lead where his do.
    tables.extend([TableId::MAIN, TUNNEL.1]);
    let mut seen = BTreeSet::new();
    for rule in kernel.rules().iter().filter(|r| kernel.is_our_rule(r)) {
        let leads = match rule.action {
            RuleAction::Lookup(table) => tables.contains(&table),
            RuleAction::Prohibit => true,
            RuleAction::Other => false,
        };
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
        RouteVia::Device { .. } | RouteVia::Prohibit | RouteVia::Other => None,
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

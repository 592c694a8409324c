//! A machine on paper that does what it is told at once: for playing histories through the core where
//! the kernel's own ways do not matter. `crates/sim` has one with those.

use uplinkd_model::{NexthopId, NexthopKind, Observed, RouteVia, Step, kernel_state::NftState};

/// Does a step.
pub fn obey(machine: &mut Observed, step: &Step) {
    match step {
        Step::SetSysctl { path, value } => {
            machine.sysctls.insert(path.clone(), value.clone());
        }
        Step::AddNexthop(nexthop) | Step::ReplaceNexthop(nexthop) => {
            machine.nexthops.insert(nexthop.id, nexthop.clone());
        }
        Step::DeleteNexthop(id) => delete_nexthop(machine, *id),
        Step::AddRoute(route) | Step::ReplaceRoute(route) => {
            machine.routes.retain(|r| r.key() != route.key());
            machine.routes.insert(route.clone());
        }
        Step::DeleteRoute(route) => {
            machine.routes.remove(route);
        }
        Step::AddRule(rule) => machine.rules.push(rule.clone()),
        Step::DeleteRule(rule) => machine.rules.retain(|r| r != rule),
        Step::SetNft(table) => machine.nft = Some(NftState::Holds(table.fingerprint())),
        Step::DeleteNft { .. } => machine.nft = Some(NftState::Absent),
        Step::NameTables(names) => machine.table_names = names.clone(),
        Step::FlushConnections { .. }
        | Step::MoveConnections { .. }
        | Step::DeleteConnections(_)
        | Step::ReleasePrefix { .. }
        | Step::SolicitRouters { .. }
        | Step::ForgetSticky { .. } => {}
    }
}

/// The kernel takes a nexthop out of its groups, and removes groups that are empty and the routes.
fn delete_nexthop(machine: &mut Observed, id: NexthopId) {
    let mut gone = vec![id];
    for nexthop in machine.nexthops.values_mut() {
        if let NexthopKind::Group(members) = &mut nexthop.kind {
            members.retain(|(member, _)| *member != id);
            if members.is_empty() {
                gone.push(nexthop.id);
            }
        }
    }
    machine.nexthops.retain(|id, _| !gone.contains(id));
    let is_lost = |via: &RouteVia| matches!(via, RouteVia::Nexthop(id) if gone.contains(id));
    machine.routes.retain(|r| !is_lost(&r.via));
}

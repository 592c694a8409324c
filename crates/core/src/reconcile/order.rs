//! The order of steps in which something carries traffic at every moment.
//!
//! Fill our tables, then nft in one transaction, then add rules; only then take away: rules, nft,
//! routes, nexthops. Rules are added from the first-asked to the last and removed the other way
//! round, so that `lookup main suppress_prefixlength 0`, which keeps connected networks reachable,
//! stands before and after all others.

use uplinkd_model::{Desired, Nexthop, NexthopKind, Observed, Plan, Reserve, Step};

use super::{Diff, diff};

/// Switched on last of all that is added: a connection that is forwarded before its source can be
/// translated is never translated, however long it lasts.
const FORWARDING: &str = "net/ipv4/ip_forward";

/// The steps that turn observed into desired.
pub fn plan(diff: &Diff) -> Plan {
    let mut plan = Plan::default();
    let (forwarding, others): (Vec<_>, Vec<_>) = diff
        .sysctls
        .iter()
        .partition(|(path, _)| *path == FORWARDING);
    let set = |plan: &mut Plan, sysctls: Vec<(&String, &String)>| {
        for (path, value) in sysctls {
            let (path, value) = (path.clone(), value.clone());
            let reason = "needed for routing over several uplinks";
            plan.push(Step::SetSysctl { path, value }, reason);
        }
    };
    set(&mut plan, others);
    if let Some(names) = diff.table_names.as_ref().filter(|names| !names.is_empty()) {
        plan.push(
            Step::NameTables(names.clone()),
            "so that `ip` knows our tables by name",
        );
    }
    add_nexthops(&mut plan, diff);
    for route in &diff.routes_missing {
        plan.push(Step::AddRoute(route.clone()), "missing");
    }
    for route in &diff.routes_wrong {
        plan.push(Step::ReplaceRoute(route.clone()), "leads another way");
    }
    if let Some(table) = &diff.nft {
        plan.push(
            Step::SetNft(table.clone()),
            diff.nft_found.as_deref().unwrap_or("out of date"),
        );
    }
    for rule in &diff.rules_missing {
        plan.push(Step::AddRule(rule.clone()), "missing");
    }
    set(&mut plan, forwarding);
    remove(&mut plan, diff);
    make_groups_anew(&mut plan, diff);
    plan
}

/// One after the other, and last, when only our present tables are asked: while one is gone, with the
/// routes on it, the last resort or the best tier beside it carries.
fn make_groups_anew(plan: &mut Plan, diff: &Diff) {
    for (group, routes) in &diff.groups_of_earlier_proto {
        let reason = "bears an earlier protocol number";
        plan.push(Step::DeleteNexthop(group.id), reason);
        plan.push(Step::AddNexthop(group.clone()), reason);
        for route in routes {
            plan.push(Step::AddRoute(route.clone()), "went with its group");
        }
    }
}

/// The steps that remove everything of ours.
pub fn removal(observed: &Observed, claims: &[Reserve]) -> Plan {
    let mut plan = Plan::default();
    remove(&mut plan, &diff(&Desired::default(), observed, claims));
    if !observed.table_names.is_empty() {
        plan.push(Step::NameTables(Default::default()), "no longer wanted");
    }
    plan
}

/// Single nexthops first: groups are made of them.
fn add_nexthops(plan: &mut Plan, diff: &Diff) {
    let is_group = |n: &&Nexthop| matches!(n.kind, NexthopKind::Group(_));
    for nexthop in diff.nexthops_missing.iter().filter(|n| !is_group(n)) {
        plan.push(Step::AddNexthop(nexthop.clone()), "missing");
    }
    for nexthop in diff.nexthops_wrong.iter().filter(|n| !is_group(n)) {
        plan.push(
            Step::ReplaceNexthop(nexthop.clone()),
            "the gateway or the interface changed",
        );
    }
    for nexthop in diff.nexthops_missing.iter().filter(is_group) {
        plan.push(Step::AddNexthop(nexthop.clone()), "missing");
    }
    for nexthop in diff.nexthops_wrong.iter().filter(is_group) {
        plan.push(
            Step::ReplaceNexthop(nexthop.clone()),
            "other members or weights",
        );
    }
}

fn remove(plan: &mut Plan, diff: &Diff) {
    let mut rules: Vec<_> = diff.rules_orphaned.iter().collect();
    rules.sort_by_key(|r| std::cmp::Reverse(r.priority));
    for rule in rules {
        plan.push(Step::DeleteRule(rule.clone()), "no longer wanted");
    }
    for name in &diff.nft_orphaned {
        plan.push(Step::DeleteNft { name: name.clone() }, "no longer wanted");
    }
    for route in &diff.routes_orphaned {
        plan.push(Step::DeleteRoute(route.clone()), "no longer wanted");
    }
    for nexthop in &diff.nexthops_orphaned {
        plan.push(Step::DeleteNexthop(nexthop.id), "no longer wanted");
    }
}

#[cfg(test)]
mod tests {
    use uplinkd_model::{Family, NexthopId, Route, RouteVia, TableId, ids::Proto};

    use super::*;

    fn group(id: u32, proto: Proto) -> (NexthopId, Nexthop) {
        let (id, kind) = (NexthopId(id), NexthopKind::Group(Vec::new()));
        (id, Nexthop { id, proto, kind })
    }

    fn default(metric: u32, id: u32, proto: Proto) -> Route {
        Route {
            table: TableId(7000),
            destination: Family::V4.default_route(),
            metric,
            via: RouteVia::Nexthop(NexthopId(id)),
            source: None,
            proto,
        }
    }

    #[test]
    fn a_group_under_an_earlier_protocol_number_is_made_anew_with_its_routes() {
        let now = Reserve::default();
        let earlier = Reserve {
            proto: Proto(99),
            ..now.clone()
        };
        let (first, second) = (now.nexthop_ids, now.nexthop_ids + 1);
        let groups = |proto| [group(first, proto), group(second, proto)].into();
        let routes = |proto| [default(10, second, proto), default(20, first, proto)].into();
        let desired = Desired {
            nexthops: groups(now.proto),
            routes: routes(now.proto),
            ..Desired::default()
        };
        let observed = Observed {
            nexthops: groups(earlier.proto),
            routes: routes(earlier.proto),
            ..Observed::default()
        };
        let plan = plan(&diff(&desired, &observed, &[now.clone(), earlier]));
        let steps: Vec<_> = plan.steps.into_iter().map(|s| s.step).collect();
        let anew = |id: u32, metric| {
            [
                Step::DeleteNexthop(NexthopId(id)),
                Step::AddNexthop(group(id, now.proto).1),
                Step::AddRoute(default(metric, id, now.proto)),
            ]
        };
        assert_eq!(steps[2..], [anew(first, 20), anew(second, 10)].concat());
        assert!(matches!(
            steps[..2],
            [Step::ReplaceRoute(_), Step::ReplaceRoute(_)]
        ));
    }

    #[test]
    fn an_nft_table_under_an_earlier_name_goes_after_the_new_one_is_there() {
        let now = Reserve::default();
        let table = uplinkd_model::nft::NftTable {
            name: now.nft_table.clone(),
            pin_mask: now.mark_pin_mask(),
            uplinks: Vec::new(),
        };
        let desired = Desired {
            nft: Some(table.clone()),
            ..Desired::default()
        };
        let observed = Observed {
            nft: Some(uplinkd_model::kernel_state::NftState::Absent),
            nft_earlier: ["older".to_owned()].into(),
            ..Observed::default()
        };
        let plan = plan(&diff(&desired, &observed, &[now]));
        let steps: Vec<_> = plan.steps.into_iter().map(|s| s.step).collect();
        let name = "older".to_owned();
        assert_eq!(steps, [Step::SetNft(table), Step::DeleteNft { name }]);
    }
}

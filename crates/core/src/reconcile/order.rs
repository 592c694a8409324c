//! The order of steps in which something carries traffic at every moment.
//!
//! Fill our tables, then nft in one transaction, then add rules; only then take away: rules, nft,
//! routes, nexthops. Rules are added from the first-asked to the last and removed the other way
//! round, so that `lookup main suppress_prefixlength 0`, which keeps connected networks reachable,
//! stands before and after all others.

use uplinkd_model::{Desired, Nexthop, NexthopKind, Observed, Plan, Reserve, Step};

use super::{Diff, diff};

/// The steps that turn observed into desired.
pub fn plan(diff: &Diff) -> Plan {
    let mut plan = Plan::default();
    for (path, value) in &diff.sysctls {
        plan.push(
            Step::SetSysctl {
                path: path.clone(),
                value: value.clone(),
            },
            "needed for routing over several uplinks",
        );
    }
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
    remove(&mut plan, diff);
    plan
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
    if let Some(name) = &diff.nft_orphaned {
        plan.push(Step::DeleteNft { name: name.clone() }, "no longer wanted");
    }
    for route in &diff.routes_orphaned {
        plan.push(Step::DeleteRoute(route.clone()), "no longer wanted");
    }
    for nexthop in &diff.nexthops_orphaned {
        plan.push(Step::DeleteNexthop(nexthop.id), "no longer wanted");
    }
}

//! The order of steps in which something carries traffic at every moment.
//!
//! Fill our tables, then the rules that read the marks of outlets, then nft in one transaction, which
//! sets those marks, then the other rules; only then take away: rules, nft, routes, nexthops. Rules
//! are added from the first-asked to the last and removed the other way round, so that `lookup main
//! suppress_prefixlength 0`, which keeps connected networks reachable, stands before and after all
//! others. A mark that no rule reads yet would lead what a policy refuses out by any uplink.

use uplinkd_model::{Desired, Nexthop, NexthopKind, Observed, Plan, Reserve, Rule, Step};

use super::{Diff, diff};
use crate::desired::{FORWARDING_V4, FORWARDING_V6, OUTLETS};

/// The steps that turn observed into desired, under the present reserve.
pub fn plan(diff: &Diff, reserve: &Reserve) -> Plan {
    let mut plan = Plan::default();
    let (forwarding, others): (Vec<_>, Vec<_>) = diff
        .sysctls
        .iter()
        .partition(|(path, _)| [FORWARDING_V4, FORWARDING_V6].contains(&path.as_str()));
    let set = |plan: &mut Plan, sysctls: Vec<(&String, &String)>| {
        for (path, value) in sysctls {
            let (path, value) = (path.clone(), value.clone());
            let reason = "needed for routing over several uplinks";
            let solicited = solicited_by(&path, &value);
            plan.push(Step::SetSysctl { path, value }, reason);
            if let Some(interface) = solicited {
                let reason = "the kernel does not, since it did not listen when the link came up";
                plan.push(Step::SolicitRouters { interface }, reason);
            }
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
    let (early, late): (Vec<_>, Vec<_>) = diff
        .rules_missing
        .iter()
        .partition(|rule| stands_before_marks(rule, reserve));
    for rule in early {
        plan.push(Step::AddRule(rule.clone()), "missing");
    }
    if let Some(table) = &diff.nft {
        plan.push(
            Step::SetNft(table.clone()),
            diff.nft_found.as_deref().unwrap_or("out of date"),
        );
    }
    for rule in late {
        plan.push(Step::AddRule(rule.clone()), "missing");
    }
    set(&mut plan, forwarding);
    remove(&mut plan, diff);
    make_groups_anew(&mut plan, diff);
    plan
}

/// The interface that begins to take router advertisements on a router, where the kernel would wait
/// for the next one by itself: many providers send none for half an hour.
fn solicited_by(path: &str, value: &str) -> Option<String> {
    let interface = path
        .strip_prefix("net/ipv6/conf/")?
        .strip_suffix("/accept_ra")?;
    (value == "2").then(|| interface.to_owned())
}

/// Whether a rule has to be there before nft sets marks: `main` for connected networks, the copies of
/// others' rules, and the outlets' own. The rest spreads connections that nft must pin and translate.
fn stands_before_marks(rule: &Rule, reserve: &Reserve) -> bool {
    let outlets = reserve.rule_priority_last..=reserve.rule_priority_last + OUTLETS;
    rule.priority.0 == reserve.rule_priority || outlets.contains(&rule.priority.0)
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
        let plan = plan(&diff(&desired, &observed, &[now.clone(), earlier]), &now);
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
    fn orphaned_defaults_go_from_the_worst_to_the_best() {
        let reserve = Reserve::default();
        let routes = [10, 20, 30].map(|metric| default(metric, reserve.nexthop_ids, reserve.proto));
        let observed = Observed {
            routes: routes.clone().into(),
            ..Observed::default()
        };
        let steps = removal(&observed, &[reserve]).steps.into_iter();
        let mut wanted = routes.map(Step::DeleteRoute).to_vec();
        wanted.reverse();
        assert_eq!(steps.map(|s| s.step).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn what_reads_marks_is_there_before_what_sets_them() {
        let reserve = Reserve::default();
        let rule = |priority| Rule::lookup(Family::V4, priority, TableId(7001), reserve.proto);
        let (main, copy, outlet, rest) = (rule(2000), rule(32000), rule(32020), rule(32040));
        let desired = Desired {
            rules: [&main, &copy, &outlet, &rest].map(Clone::clone).into(),
            nft: Some(table(&reserve)),
            ..Desired::default()
        };
        let observed = Observed {
            nft: Some(uplinkd_model::kernel_state::NftState::Absent),
            ..Observed::default()
        };
        let diff = diff(&desired, &observed, std::slice::from_ref(&reserve));
        let steps: Vec<_> = plan(&diff, &reserve)
            .steps
            .into_iter()
            .map(|s| s.step)
            .collect();
        let wanted = [
            Step::AddRule(main),
            Step::AddRule(copy),
            Step::AddRule(outlet),
            Step::SetNft(table(&reserve)),
            Step::AddRule(rest),
        ];
        assert_eq!(steps, wanted);
    }

    fn table(reserve: &Reserve) -> uplinkd_model::nft::NftTable {
        uplinkd_model::nft::NftTable {
            name: reserve.nft_table.clone(),
            marks: reserve.marks(),
            lan: Vec::new(),
            foreign_marks: Default::default(),
            uplinks: Vec::new(),
            outlets: Vec::new(),
            classifier: Default::default(),
            domains: Default::default(),
            cgroups: Default::default(),
        }
    }

    #[test]
    fn an_nft_table_under_an_earlier_name_goes_after_the_new_one_is_there() {
        let now = Reserve::default();
        let table = table(&now);
        let desired = Desired {
            nft: Some(table.clone()),
            ..Desired::default()
        };
        let observed = Observed {
            nft: Some(uplinkd_model::kernel_state::NftState::Absent),
            nft_earlier: ["older".to_owned()].into(),
            ..Observed::default()
        };
        let plan = plan(&diff(&desired, &observed, std::slice::from_ref(&now)), &now);
        let steps: Vec<_> = plan.steps.into_iter().map(|s| s.step).collect();
        let name = "older".to_owned();
        assert_eq!(steps, [Step::SetNft(table), Step::DeleteNft { name }]);
    }
}

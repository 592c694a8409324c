//! The difference between desired and observed, walking both sides: what is missing, what is other
//! than it should be, and what of ours nothing wants any more (orphans). Foreign objects never
//! appear in it.

use std::collections::BTreeMap;

use uplinkd_model::{
    Desired, Nexthop, NexthopKind, Observed, Reserve, Route, RouteVia, Rule, TableId,
    kernel_state::NftState, nft::NftTable,
};

/// What has to change. Each list is in the order of its objects' identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Sysctls with another value than they should have: path and new value.
    pub sysctls: BTreeMap<String, String>,
    /// The whole content for our file of table names.
    pub table_names: Option<BTreeMap<TableId, String>>,
    /// Nexthops that are not there.
    pub nexthops_missing: Vec<Nexthop>,
    /// Nexthops of ours that are other than they should be.
    pub nexthops_wrong: Vec<Nexthop>,
    /// Groups of ours that bear an earlier protocol number, with the routes on them. The kernel keeps
    /// a group's number when it is replaced, so they have to be made anew.
    pub groups_of_earlier_proto: Vec<(Nexthop, Vec<Route>)>,
    /// Nexthops of ours that nothing wants.
    pub nexthops_orphaned: Vec<Nexthop>,
    /// Routes that are not there.
    pub routes_missing: Vec<Route>,
    /// Routes whose key we hold with another way out.
    pub routes_wrong: Vec<Route>,
    /// Routes of ours that nothing wants.
    pub routes_orphaned: Vec<Route>,
    /// Rules that are not there.
    pub rules_missing: Vec<Rule>,
    /// Rules of ours that nothing wants, doubles included.
    pub rules_orphaned: Vec<Rule>,
    /// The whole nft table, where it is not as it should be.
    pub nft: Option<NftTable>,
    /// The names of nft tables of ours that nothing wants.
    pub nft_orphaned: Vec<String>,
    /// What the look at the nft table found, in words.
    pub nft_found: Option<String>,
}

impl Diff {
    /// Whether the kernel holds exactly what it should.
    pub fn is_empty(&self) -> bool {
        self.describe().is_empty()
    }

    /// What was found, one object a line, for the log.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(
            self.sysctls
                .iter()
                .map(|(path, value)| format!("sysctl {path} is not {value}")),
        );
        lines.extend(
            self.table_names
                .iter()
                .map(|_| "the file of table names differs".to_owned()),
        );
        lines.extend(
            self.nexthops_missing
                .iter()
                .map(|n| format!("missing: nexthop {n}")),
        );
        lines.extend(
            self.nexthops_wrong
                .iter()
                .map(|n| format!("changed: nexthop {n}")),
        );
        lines.extend(
            self.groups_of_earlier_proto
                .iter()
                .map(|(n, _)| format!("under an earlier protocol number: nexthop {n}")),
        );
        lines.extend(
            self.nexthops_orphaned
                .iter()
                .map(|n| format!("not wanted: nexthop {n}")),
        );
        lines.extend(
            self.routes_missing
                .iter()
                .map(|r| format!("missing: route {r}")),
        );
        lines.extend(
            self.routes_wrong
                .iter()
                .map(|r| format!("changed: route {r}")),
        );
        lines.extend(
            self.routes_orphaned
                .iter()
                .map(|r| format!("not wanted: route {r}")),
        );
        lines.extend(
            self.rules_missing
                .iter()
                .map(|r| format!("missing: rule {r}")),
        );
        lines.extend(
            self.rules_orphaned
                .iter()
                .map(|r| format!("not wanted: rule {r}")),
        );
        if let Some(table) = &self.nft {
            let found = self.nft_found.as_deref().unwrap_or("not read");
            lines.push(format!("nft table {}: {found}", table.name));
        }
        lines.extend(
            self.nft_orphaned
                .iter()
                .map(|name| format!("not wanted: nft table {name}")),
        );
        lines
    }
}

/// Compares. `claims` are the reserves whose objects are ours: the current one, and earlier ones
/// whose objects have to go.
pub fn diff(desired: &Desired, observed: &Observed, claims: &[Reserve]) -> Diff {
    let mut diff = Diff::default();
    diff_sysctls(&mut diff, desired, observed);
    if desired.table_names != observed.table_names {
        diff.table_names = Some(desired.table_names.clone());
    }
    diff_nexthops(&mut diff, desired, observed, claims);
    diff_routes(&mut diff, desired, observed, claims);
    diff_rules(&mut diff, desired, observed, claims);
    diff_nft(&mut diff, desired, observed, claims);
    diff
}

fn diff_sysctls(diff: &mut Diff, desired: &Desired, observed: &Observed) {
    for (path, value) in &desired.sysctls {
        if observed
            .sysctls
            .get(path)
            .is_some_and(|present| present != value)
        {
            diff.sysctls.insert(path.clone(), value.clone());
        }
    }
}

fn diff_nexthops(diff: &mut Diff, desired: &Desired, observed: &Observed, claims: &[Reserve]) {
    let is_ours = |n: &Nexthop| claims.iter().any(|c| c.owns_nexthop(n));
    for (id, wanted) in &desired.nexthops {
        match observed.nexthops.get(id) {
            Some(present) if present == wanted => {}
            Some(present) if is_ours(present) => {
                let is_group = matches!(present.kind, NexthopKind::Group(_));
                if is_group && present.proto != wanted.proto {
                    let routes = desired.routes.iter();
                    let routes = routes.filter(|r| r.via == RouteVia::Nexthop(*id)).cloned();
                    let anew = (wanted.clone(), routes.collect());
                    diff.groups_of_earlier_proto.push(anew);
                } else {
                    diff.nexthops_wrong.push(wanted.clone());
                }
            }
            // A stranger's object under our id is not replaced: the add is refused and says so.
            Some(_) | None => diff.nexthops_missing.push(wanted.clone()),
        }
    }
    let orphans = observed
        .nexthops
        .values()
        .filter(|n| is_ours(n) && !desired.nexthops.contains_key(&n.id));
    diff.nexthops_orphaned = orphans.cloned().collect();
    // Groups go before their members.
    diff.nexthops_orphaned
        .sort_by_key(|n| (!matches!(n.kind, NexthopKind::Group(_)), n.id));
}

fn diff_routes(diff: &mut Diff, desired: &Desired, observed: &Observed, claims: &[Reserve]) {
    let ours: BTreeMap<_, &Route> = observed
        .routes
        .iter()
        .filter(|r| claims.iter().any(|c| c.owns_route(r)))
        .map(|r| (r.key(), r))
        .collect();
    for wanted in &desired.routes {
        match ours.get(&wanted.key()) {
            Some(present) if *present == wanted => {}
            Some(_) => diff.routes_wrong.push(wanted.clone()),
            None => diff.routes_missing.push(wanted.clone()),
        }
    }
    let keys: std::collections::BTreeSet<_> = desired.routes.iter().map(Route::key).collect();
    diff.routes_orphaned = ours
        .values()
        .filter(|r| !keys.contains(&r.key()))
        .map(|r| (*r).clone())
        .collect();
    // The worst goes first: as long as something leads, the best of it does.
    diff.routes_orphaned
        .sort_by_key(|r| (r.table, r.destination, std::cmp::Reverse(r.metric)));
}

fn diff_rules(diff: &mut Diff, desired: &Desired, observed: &Observed, claims: &[Reserve]) {
    let mut seen = std::collections::BTreeSet::new();
    let ours = observed
        .rules
        .iter()
        .filter(|r| claims.iter().any(|c| c.owns_rule(r)));
    for present in ours {
        if !desired.rules.contains(present) || !seen.insert(present) {
            diff.rules_orphaned.push(present.clone());
        }
    }
    diff.rules_missing = desired
        .rules
        .iter()
        .filter(|r| !seen.contains(r))
        .cloned()
        .collect();
}

fn diff_nft(diff: &mut Diff, desired: &Desired, observed: &Observed, claims: &[Reserve]) {
    match (&desired.nft, &observed.nft) {
        (Some(wanted), Some(NftState::Holds(present))) if wanted.fingerprint() == *present => {}
        (Some(wanted), Some(found)) => {
            diff.nft = Some(wanted.clone());
            diff.nft_found = Some(match found {
                NftState::Absent => "missing".to_owned(),
                NftState::Holds(_) => "out of date".to_owned(),
                NftState::Altered { found } => found.clone(),
            });
        }
        (None, Some(NftState::Holds(_) | NftState::Altered { .. })) => {
            diff.nft_orphaned = claims.iter().take(1).map(|c| c.nft_table.clone()).collect();
        }
        (None, Some(NftState::Absent)) | (_, None) => {}
    }
    diff.nft_orphaned
        .extend(observed.nft_earlier.iter().cloned());
}

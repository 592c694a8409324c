//! The few functions through which everything changes, with what the kernel does on its own.

use std::collections::BTreeMap;

use uplinkd_core::event::HintKind;
use uplinkd_model::{Family, Nexthop, NexthopId, NexthopKind, Route, RouteVia, Rule, TableId};

use super::{Kernel, Nft, Notification, RouteKey};

/// The metric that the kernel makes of none for IPv6.
const METRIC_V6: u32 = 1024;

impl Kernel {
    pub(super) fn guard(&mut self, is_ours: bool, what: impl FnOnce() -> String) {
        self.version += 1;
        if self.by_us && !is_ours && self.trespass.is_none() {
            self.trespass = Some(what());
        }
    }

    pub(super) fn hint(&mut self, kind: HintKind) {
        self.notifications.push(Notification::Hint(kind));
    }

    /// Puts a rule behind those of its priority.
    pub fn put_rule(&mut self, rule: Rule) {
        self.guard(self.is_our_rule(&rule), || {
            format!("made the rule {rule}, which is not ours to make")
        });
        let at = self.rules.partition_point(|r| r.priority <= rule.priority);
        self.rules.insert(at, rule);
        self.hint(HintKind::Rule);
    }

    /// Removes the first rule that is exactly this one.
    pub fn drop_rule(&mut self, rule: &Rule) -> bool {
        let Some(at) = self.rules.iter().position(|r| r == rule) else {
            return false;
        };
        self.rules.remove(at);
        self.guard(self.is_our_rule(rule), || {
            format!("removed the foreign rule {rule}")
        });
        self.hint(HintKind::Rule);
        true
    }

    /// Puts a route in the place of its key.
    pub fn put_route(&mut self, route: Route) {
        let route = canonical(&route);
        let before = self.routes.insert(route.key(), route.clone());
        let is_ours =
            self.is_our_route(&route) && before.as_ref().is_none_or(|b| self.is_our_route(b));
        self.guard(is_ours, || match &before {
            Some(before) => format!("replaced the foreign route {before} by {route}"),
            None => format!("made the route {route}, which is not ours to make"),
        });
        self.hint(HintKind::Route);
    }

    /// Removes the route of a key; `told` says whether the kernel sends a notification.
    pub(crate) fn drop_route(&mut self, key: &RouteKey, told: bool) {
        if let Some(route) = self.routes.remove(key) {
            self.guard(self.is_our_route(&route), || {
                format!("removed the foreign route {route}")
            });
            if told {
                self.hint(HintKind::Route);
            }
        }
    }

    /// Puts a nexthop object, checks apart.
    pub(crate) fn put_nexthop(&mut self, nexthop: Nexthop) {
        let before = self.nexthops.insert(nexthop.id, nexthop.clone());
        let is_ours =
            self.is_our_nexthop(&nexthop) && before.as_ref().is_none_or(|b| self.is_our_nexthop(b));
        self.guard(is_ours, || match &before {
            Some(before) => format!("replaced the foreign nexthop {before} by {nexthop}"),
            None => format!("made the nexthop {nexthop}, which is not ours to make"),
        });
        self.hint(HintKind::Nexthop);
    }

    /// Removes a nexthop with all that stands on it: its places in groups, groups that become
    /// empty, routes. Only the removal itself is told, and only where somebody asked for it.
    pub fn drop_nexthop(&mut self, id: NexthopId, told: bool) {
        let Some(gone) = self.nexthops.remove(&id) else {
            return;
        };
        self.guard(self.is_our_nexthop(&gone), || {
            format!("removed the foreign nexthop {gone}")
        });
        let keys: Vec<_> = self
            .routes
            .values()
            .filter(|r| r.via == RouteVia::Nexthop(id))
            .map(Route::key)
            .collect();
        for key in keys {
            self.drop_route(&key, false);
        }
        let mut emptied = Vec::new();
        let mut changed = Vec::new();
        for nexthop in self.nexthops.values_mut() {
            if let NexthopKind::Group(members) = &mut nexthop.kind {
                let before = members.len();
                members.retain(|(member, _)| *member != id);
                let (is_changed, is_empty) = (members.len() != before, members.is_empty());
                if is_changed {
                    changed.push(nexthop.clone());
                }
                if is_empty {
                    emptied.push(nexthop.id);
                }
            }
        }
        for group in changed {
            self.guard(self.is_our_nexthop(&group), || {
                format!("took a member out of the foreign group {group}")
            });
        }
        for id in emptied {
            self.drop_nexthop(id, told);
        }
        if told {
            self.hint(HintKind::Nexthop);
        }
    }

    /// What somebody does to our nft table.
    pub fn set_nft(&mut self, state: Nft) {
        self.version += 1;
        match &state {
            Nft::Absent => self.sticky.clear(),
            Nft::Holds(table) => self.sticky.carry_over(table),
            Nft::Altered => {}
        }
        self.nft = state;
        self.hint(HintKind::Nft);
    }

    /// What somebody writes to a sysctl; nobody is told.
    pub fn set_sysctl(&mut self, path: &str, value: &str) {
        self.version += 1;
        self.sysctls.insert(path.to_owned(), value.to_owned());
    }

    /// What somebody writes to the file of table names; nobody is told.
    pub fn set_table_names(&mut self, names: BTreeMap<TableId, String>) {
        self.table_names = names;
    }
}

/// A route as the kernel keeps it.
pub(super) fn canonical(route: &Route) -> Route {
    let is_unsaid = route.metric == 0 && route.family() == Family::V6;
    Route {
        metric: if is_unsaid { METRIC_V6 } else { route.metric },
        ..route.clone()
    }
}

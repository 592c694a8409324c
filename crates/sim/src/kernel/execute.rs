//! Steps, with the kernel's checks and error numbers.

use std::net::IpAddr;

use uplinkd_model::{
    Family, Nexthop, NexthopKind, Outcome, Route, RouteVia, Step, intent::is_on_link,
};

use super::{Kernel, Nft, change::canonical};
use crate::net::is_link_local;

/// Error numbers, as the kernel counts them.
pub mod errno {
    /// Not permitted.
    pub const EPERM: i32 = 1;
    /// No such thing.
    pub const ENOENT: i32 = 2;
    /// No memory.
    pub const ENOMEM: i32 = 12;
    /// In use.
    pub const EBUSY: i32 = 16;
    /// There is one already.
    pub const EEXIST: i32 = 17;
    /// No such interface.
    pub const ENODEV: i32 = 19;
    /// Makes no sense.
    pub const EINVAL: i32 = 22;
    /// The interface or its carrier is down.
    pub const ENETDOWN: i32 = 100;
    /// The gateway is not reachable directly.
    pub const EHOSTUNREACH: i32 = 113;
}

/// The largest weight that every kernel takes.
const WEIGHT_MAX: u16 = 256;

/// The outcome of a refusal.
pub(crate) fn refused(errno: i32, text: &str) -> Outcome {
    Outcome::Refused {
        errno,
        text: text.to_owned(),
    }
}

impl Kernel {
    /// Executes one step of the daemon.
    pub fn execute(&mut self, step: &Step) -> Outcome {
        self.by_us = true;
        let outcome = self.attempt(step).unwrap_or_else(|outcome| outcome);
        self.by_us = false;
        outcome
    }

    fn attempt(&mut self, step: &Step) -> Result<Outcome, Outcome> {
        match step {
            Step::SetSysctl { path, value } => {
                if !self.sysctls.contains_key(path) {
                    return Err(refused(errno::ENOENT, "no such file"));
                }
                let is_ours = !path.ends_with("all/rp_filter");
                self.guard(is_ours, || format!("wrote {path}"));
                self.sysctls.insert(path.clone(), value.clone());
            }
            Step::SolicitRouters { .. } => {}
            Step::AddNexthop(nexthop) => {
                if let Some(present) = self.nexthops.get(&nexthop.id) {
                    return Err(exists(present == nexthop));
                }
                self.check_nexthop(nexthop)?;
                self.put_nexthop(nexthop.clone());
            }
            Step::ReplaceNexthop(nexthop) => {
                if let Some(present) = self.nexthops.get(&nexthop.id)
                    && std::mem::discriminant(&present.kind)
                        != std::mem::discriminant(&nexthop.kind)
                {
                    return Err(refused(errno::EINVAL, "cannot replace a group by a single"));
                }
                self.check_nexthop(nexthop)?;
                let mut nexthop = nexthop.clone();
                // A group keeps the number of who put it first.
                if let (Some(present), NexthopKind::Group(_)) =
                    (self.nexthops.get(&nexthop.id), &nexthop.kind)
                {
                    nexthop.proto = present.proto;
                }
                self.put_nexthop(nexthop);
            }
            Step::DeleteNexthop(id) => {
                if !self.nexthops.contains_key(id) {
                    return Ok(Outcome::AlreadySo);
                }
                self.drop_nexthop(*id, true);
            }
            Step::AddRoute(route) => {
                let route = canonical(route);
                if let Some(present) = self.routes.get(&route.key()) {
                    return Err(exists(*present == route));
                }
                self.check_route(&route)?;
                self.put_route(route.clone());
            }
            Step::ReplaceRoute(route) => {
                self.check_route(route)?;
                self.put_route(route.clone());
            }
            Step::DeleteRoute(route) => {
                if self.routes.get(&route.key()) != Some(route) {
                    return Ok(Outcome::AlreadySo);
                }
                self.drop_route(&route.key(), true);
            }
            Step::AddRule(rule) => {
                if self.rules.contains(rule) {
                    return Ok(Outcome::AlreadySo);
                }
                self.put_rule(rule.clone());
            }
            Step::DeleteRule(rule) => {
                if !self.drop_rule(rule) {
                    return Ok(Outcome::AlreadySo);
                }
            }
            Step::SetNft(table) => self.set_nft(Nft::Holds(table.clone())),
            Step::DeleteNft { name } => {
                let is_ours = *name == self.reserve.nft_table;
                self.guard(is_ours, || format!("removed the nft table {name}"));
                if self.nft == Nft::Absent {
                    return Ok(Outcome::AlreadySo);
                }
                self.set_nft(Nft::Absent);
            }
            Step::NameTables(names) => self.set_table_names(names.clone()),
            Step::FlushConnections { mark, family } => self.connections.retain(|c| {
                let is_of = family.is_none_or(|f| f == c.talk.family);
                !(is_of && mark.matches(c.mark))
            }),
            Step::MoveConnections { mark, family } => self
                .connections
                .retain(|c| *family != c.talk.family || !mark.matches(c.mark)),
            Step::ReleasePrefix { mark, prefix } => self.connections.retain(|c| {
                let bears = |a: IpAddr| prefix.contains(&a);
                let tuple = c.original();
                !mark.matches(c.mark) || !(bears(tuple.source) || bears(tuple.destination))
            }),
            Step::DeleteConnections(tuples) => {
                self.connections.retain(|c| !tuples.contains(&c.original()));
            }
            Step::ForgetSticky {
                table,
                outlet,
                slots,
            } => {
                let is_there = self.nft().is_some_and(|t| &t.name == table);
                if !is_there {
                    return Ok(Outcome::AlreadySo);
                }
                self.sticky.forget(*outlet, slots);
            }
        }
        Ok(Outcome::Done)
    }

    fn check_nexthop(&self, nexthop: &Nexthop) -> Result<(), Outcome> {
        match &nexthop.kind {
            NexthopKind::Single {
                device,
                gateway,
                family,
                on_link,
            } => {
                let Some(link) = self.links.get(&device.index) else {
                    return Err(refused(errno::ENODEV, "no such device"));
                };
                if !link.admin_up {
                    return Err(refused(errno::ENETDOWN, "Nexthop device is not up"));
                }
                if !link.carrier {
                    let text = "Carrier for nexthop device is down";
                    return Err(refused(errno::ENETDOWN, text));
                }
                if gateway.is_some_and(|g| Family::of(g) != *family) {
                    return Err(refused(errno::EINVAL, "Invalid address length"));
                }
                let is_direct = |g| *on_link || is_link_local(g) || is_on_link(g, &link.addresses);
                if gateway.is_some_and(|g| !is_direct(g)) {
                    return Err(refused(errno::EHOSTUNREACH, "Nexthop has invalid gateway"));
                }
                Ok(())
            }
            NexthopKind::Group(members) => {
                let is_single = |id| {
                    let present = self.nexthops.get(id).map(|n| &n.kind);
                    matches!(present, Some(NexthopKind::Single { .. }))
                };
                let mut ids: Vec<_> = members.iter().map(|(id, _)| id).collect();
                ids.sort_unstable();
                ids.dedup();
                if members.is_empty()
                    || ids.len() != members.len()
                    || !members.iter().all(|(id, _)| is_single(id))
                    || !members.iter().all(|(_, w)| (1..=WEIGHT_MAX).contains(w))
                {
                    return Err(refused(errno::EINVAL, "Invalid nexthop group"));
                }
                Ok(())
            }
            NexthopKind::Other => Err(refused(errno::EINVAL, "never made")),
        }
    }

    fn check_route(&self, route: &Route) -> Result<(), Outcome> {
        match &route.via {
            RouteVia::Nexthop(id) if !self.nexthops.contains_key(id) => {
                Err(refused(errno::EINVAL, "Nexthop id does not exist"))
            }
            RouteVia::Device { device, .. } => {
                let Some(link) = self.links.get(&device.index) else {
                    return Err(refused(errno::ENODEV, "no such device"));
                };
                if !link.admin_up {
                    return Err(refused(errno::ENETDOWN, "Nexthop device is not up"));
                }
                let mut local = self.links.values().flat_map(|l| &l.addresses);
                if route.source.is_some_and(|s| !local.any(|a| a.addr() == s)) {
                    return Err(refused(errno::EINVAL, "Invalid prefsrc address"));
                }
                Ok(())
            }
            RouteVia::Nexthop(_) | RouteVia::Prohibit => Ok(()),
            RouteVia::Other => Err(refused(errno::EINVAL, "never made")),
        }
    }
}

fn exists(is_same: bool) -> Outcome {
    if is_same {
        Outcome::AlreadySo
    } else {
        refused(errno::EEXIST, "there is another one")
    }
}

//! Which way a packet goes: the rules in order, each table by longest prefix and lowest metric.

use std::net::IpAddr;

use uplinkd_model::{
    Family, Link, NexthopKind, Route, RouteVia, Rule, TableId, kernel_state::RuleAction,
};

use super::Kernel;

/// A packet that looks for its way.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The interface that it came in by; `lo` for the router's own.
    pub iif: &'a str,
    /// The interface that its socket is bound to.
    pub oif: Option<&'a str>,
    /// Its source, where that is chosen already.
    pub from: Option<IpAddr>,
    /// Its destination.
    pub to: IpAddr,
    /// Its mark.
    pub mark: u32,
}

/// A way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The interface.
    pub ifindex: u32,
    /// The gateway; none where the destination is asked directly.
    pub gateway: Option<IpAddr>,
    /// Its share among the ways of the answer.
    pub weight: u16,
}

/// Where the tables send a packet: by one of these ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The table that answered.
    pub table: TableId,
    /// The prefix length of the route.
    pub prefix_length: u8,
    /// The ways, at least one.
    pub ways: Vec<Way>,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes out.
    By(Answer),
    /// Somebody does not want it (`prohibit`).
    Refused,
    /// The network is unreachable.
    Nowhere,
}

/// What one table says that does not refuse.
pub(crate) type Asked = Option<Result<Answer, ()>>;

impl Kernel {
    /// The way of a packet, if it has one.
    pub fn lookup(&self, packet: &Packet<'_>) -> Option<Answer> {
        match self.fate(packet) {
            Fate::By(answer) => Some(answer),
            Fate::Refused | Fate::Nowhere => None,
        }
    }

    /// What becomes of a packet.
    pub fn fate(&self, packet: &Packet<'_>) -> Fate {
        for rule in self.rules.iter().filter(|r| fits(r, packet)) {
            match rule.action {
                RuleAction::Prohibit => return Fate::Refused,
                RuleAction::Other => {}
                RuleAction::Lookup(table) => match self.ask(table, packet) {
                    Some(Err(())) => return Fate::Refused,
                    Some(Ok(answer)) => {
                        let too_short = rule
                            .suppress_prefix_length
                            .is_some_and(|n| u32::from(answer.prefix_length) <= n);
                        if !too_short {
                            return Fate::By(answer);
                        }
                    }
                    None => {}
                },
            }
        }
        Fate::Nowhere
    }

    /// What one table says: nothing, a refusal, or an answer.
    pub(crate) fn ask(&self, table: TableId, packet: &Packet<'_>) -> Asked {
        let start = (table, Family::of(packet.to).default_route(), 0);
        let mut best: Option<(&Route, Vec<Way>)> = None;
        for (key, route) in self.routes.range(start..) {
            if key.0 != table {
                break;
            }
            if !route.destination.contains(&packet.to) {
                continue;
            }
            let rank = |r: &Route| (std::cmp::Reverse(r.destination.prefix_len()), r.metric);
            if best.as_ref().is_some_and(|(b, _)| rank(b) <= rank(route)) {
                continue;
            }
            let ways = self.ways(route, packet);
            if !ways.is_empty() || route.via == RouteVia::Prohibit {
                best = Some((route, ways));
            }
        }
        let (route, ways) = best?;
        if route.via == RouteVia::Prohibit {
            return Some(Err(()));
        }
        Some(Ok(Answer {
            table,
            prefix_length: route.destination.prefix_len(),
            ways,
        }))
    }

    fn ways(&self, route: &Route, packet: &Packet<'_>) -> Vec<Way> {
        let single = |kind: &NexthopKind, weight| match kind {
            NexthopKind::Single {
                device, gateway, ..
            } => self.way(device.index, *gateway, weight, packet),
            NexthopKind::Group(_) | NexthopKind::Other => None,
        };
        match &route.via {
            RouteVia::Nexthop(id) => match self.nexthops.get(id).map(|n| &n.kind) {
                Some(NexthopKind::Group(members)) => members
                    .iter()
                    .filter_map(|(id, weight)| single(&self.nexthops.get(id)?.kind, *weight))
                    .collect(),
                Some(kind) => single(kind, 1).into_iter().collect(),
                None => Vec::new(),
            },
            RouteVia::Device { device, gateway } => {
                let family = Family::of(packet.to);
                let ignores = |l: &Link| self.ignores_linkdown(family, &l.device.name);
                let has_carrier = |l: &Link| l.carrier || !ignores(l);
                let usable = self.links.get(&device.index).is_some_and(has_carrier);
                let way = self.way(device.index, *gateway, 1, packet);
                way.filter(|_| usable).into_iter().collect()
            }
            RouteVia::Prohibit | RouteVia::Other => Vec::new(),
        }
    }

    fn way(
        &self,
        ifindex: u32,
        gateway: Option<IpAddr>,
        weight: u16,
        packet: &Packet<'_>,
    ) -> Option<Way> {
        let link = self.links.get(&ifindex).filter(|l| l.admin_up)?;
        let fits = packet.oif.is_none_or(|oif| oif == link.device.name);
        fits.then_some(Way {
            ifindex,
            gateway,
            weight,
        })
    }

    fn ignores_linkdown(&self, family: Family, name: &str) -> bool {
        let family = match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        let path = format!("net/{family}/conf/{name}/ignore_routes_with_linkdown");
        self.sysctls.get(&path).is_some_and(|v| v == "1")
    }

    /// The name of an interface.
    pub fn name_of(&self, ifindex: u32) -> Option<&str> {
        self.links.get(&ifindex).map(|l| l.device.name.as_str())
    }
}

fn fits(rule: &Rule, packet: &Packet<'_>) -> bool {
    if rule.family != Family::of(packet.to) {
        return false;
    }
    let matches = rule.mark.is_none_or(|m| m.matches(packet.mark))
        && rule.iif.as_deref().is_none_or(|iif| iif == packet.iif)
        && rule
            .oif
            .as_deref()
            .is_none_or(|oif| packet.oif == Some(oif))
        && rule
            .from
            .is_none_or(|net| packet.from.is_some_and(|a| net.contains(&a)))
        && rule.to.is_none_or(|net| net.contains(&packet.to));
    matches != rule.inverted
}

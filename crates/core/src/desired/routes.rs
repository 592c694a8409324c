//! Nexthop objects, groups and the routes in our tables.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use uplinkd_model::{
    Member, Nexthop, NexthopId, NexthopKind, Reserve, Route, RouteVia, TableId, Uplink, UplinkName,
};

use super::Inputs;
use crate::{
    FAMILY,
    facts::{LinkState, Usable},
};

/// Metric of the best tier's default in a group's table; each further tier adds as much.
const METRIC_STEP: u32 = 10;

/// A path object for each usable uplink, a service object for each in service, a group for each
/// tier with somebody in service, and the last resort over all paths.
pub(super) fn nexthops(inputs: &Inputs<'_>) -> BTreeMap<NexthopId, Nexthop> {
    let reserve = &inputs.config.reserve;
    let mut all = Vec::new();
    for (uplink, usable) in usable(inputs) {
        all.push(single(
            reserve,
            reserve.nexthop_path(FAMILY, uplink.slot),
            usable,
        ));
        if inputs.service.contains(&uplink.name) {
            all.push(single(
                reserve,
                reserve.nexthop_service(FAMILY, uplink.slot),
                usable,
            ));
        }
    }
    for (tier, index) in tiers(inputs) {
        let members = group_members(inputs, tier);
        if !members.is_empty() {
            let id = reserve.nexthop_group(FAMILY, index);
            all.push(Nexthop {
                id,
                proto: reserve.proto,
                kind: NexthopKind::Group(members),
            });
        }
    }
    let last_resort = last_resort_members(inputs);
    if !last_resort.is_empty() {
        let id = reserve.nexthop_last_resort(FAMILY);
        all.push(Nexthop {
            id,
            proto: reserve.proto,
            kind: NexthopKind::Group(last_resort),
        });
    }
    all.into_iter().map(|n| (n.id, n)).collect()
}

/// The routes of all our tables.
pub(super) fn routes(inputs: &Inputs<'_>) -> BTreeSet<Route> {
    let reserve = &inputs.config.reserve;
    let mut routes = BTreeSet::new();
    for (uplink, usable) in usable(inputs) {
        let (service, path) = (
            reserve.table_service(uplink.slot),
            reserve.table_path(uplink.slot),
        );
        routes.extend(connected(reserve, service, usable));
        routes.extend(connected(reserve, path, usable));
        routes.insert(default(
            reserve,
            path,
            0,
            reserve.nexthop_path(FAMILY, uplink.slot),
        ));
        if inputs.service.contains(&uplink.name) {
            routes.insert(default(
                reserve,
                service,
                0,
                reserve.nexthop_service(FAMILY, uplink.slot),
            ));
        }
    }
    let index_of = tiers(inputs);
    let has_last_resort = !last_resort_members(inputs).is_empty();
    for (number, group) in inputs.config.groups.iter().enumerate() {
        let table = reserve.table_group(number);
        for (tier, metric) in group.tiers.iter().zip((1_u32..).map(|n| n * METRIC_STEP)) {
            if !group_members(inputs, tier).is_empty() {
                let id = reserve.nexthop_group(FAMILY, index_of[tier]);
                routes.insert(default(reserve, table, metric, id));
            }
        }
        if has_last_resort {
            let id = reserve.nexthop_last_resort(FAMILY);
            routes.insert(default(reserve, table, Reserve::METRIC_LAST, id));
        }
    }
    routes
}

fn usable<'a>(inputs: &'a Inputs<'_>) -> impl Iterator<Item = (&'a Uplink, &'a Usable)> {
    inputs
        .config
        .uplinks
        .iter()
        .zip(inputs.links.iter().map(LinkState::usable))
        .filter_map(|(u, l)| Some((u, l?)))
}

/// The number of each distinct tier among all groups' tiers: equal tiers share one kernel object.
fn tiers<'a>(inputs: &Inputs<'a>) -> BTreeMap<&'a Vec<Member>, usize> {
    crate::select::distinct_tiers(inputs.config)
        .into_iter()
        .enumerate()
        .map(|(n, tier)| (tier, n))
        .collect()
}

/// The service objects of a tier's members that are in service and usable, in order of id.
fn group_members(inputs: &Inputs<'_>, tier: &[Member]) -> Vec<(NexthopId, u16)> {
    let mut members: Vec<_> = tier
        .iter()
        .filter(|m| inputs.service.contains(&m.uplink))
        .filter_map(|m| {
            let (uplink, _) = usable(inputs).find(|(u, _)| u.name == m.uplink)?;
            Some((
                inputs.config.reserve.nexthop_service(FAMILY, uplink.slot),
                m.weight,
            ))
        })
        .collect();
    members.sort_unstable();
    members
}

/// The path objects of all usable uplinks, with the weights that the default group gives them.
fn last_resort_members(inputs: &Inputs<'_>) -> Vec<(NexthopId, u16)> {
    let weight = |name: &UplinkName| {
        let members = inputs
            .config
            .groups
            .first()
            .into_iter()
            .flat_map(|g| g.tiers.iter().flatten());
        members
            .filter(|m| &m.uplink == name)
            .map(|m| m.weight)
            .next()
            .unwrap_or(1)
    };
    let mut members: Vec<_> = usable(inputs)
        .map(|(u, _)| {
            (
                inputs.config.reserve.nexthop_path(FAMILY, u.slot),
                weight(&u.name),
            )
        })
        .collect();
    members.sort_unstable();
    members
}

fn single(reserve: &Reserve, id: NexthopId, usable: &Usable) -> Nexthop {
    let kind = NexthopKind::Single {
        family: FAMILY,
        device: usable.device.clone(),
        gateway: usable.gateway,
    };
    Nexthop {
        id,
        proto: reserve.proto,
        kind,
    }
}

fn default(reserve: &Reserve, table: TableId, metric: u32, id: NexthopId) -> Route {
    let destination = FAMILY.default_route();
    Route {
        table,
        destination,
        metric,
        via: RouteVia::Nexthop(id),
        source: None,
        proto: reserve.proto,
    }
}

/// The uplink's own networks: what a packet for a neighbour needs when this table is asked.
/// Single-address prefixes are no network, and of two addresses in one network the first counts.
fn connected(reserve: &Reserve, table: TableId, usable: &Usable) -> Vec<Route> {
    let mut seen = BTreeSet::new();
    let networks = usable
        .addresses
        .iter()
        .filter(|a| a.prefix_len() < a.max_prefix_len());
    networks
        .filter(|a| seen.insert(a.trunc()))
        .map(|address: &IpNet| Route {
            table,
            destination: address.trunc(),
            metric: 0,
            via: RouteVia::Device {
                device: usable.device.clone(),
                gateway: None,
            },
            source: Some(address.addr()),
            proto: reserve.proto,
        })
        .collect()
}

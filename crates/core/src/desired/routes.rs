//! Nexthop objects, groups, and the routes in our tables.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use uplinkd_model::{
    Family, Nexthop, NexthopId, NexthopKind, Reserve, Route, RouteVia, TableId, UplinkName,
    notice::Share,
};

use super::{Inputs, outlets};
use crate::{facts::Usable, select::last_resort};

/// A path object for each usable uplink, a service object for each in service, a group for each
/// tier with somebody in service, and the last resort over paths.
pub(super) fn nexthops(inputs: &Inputs<'_>, family: Family) -> BTreeMap<NexthopId, Nexthop> {
    let reserve = &inputs.config.reserve;
    let service = inputs.service.of(family);
    let single = |id, usable: &Usable| Nexthop {
        id,
        proto: reserve.proto,
        kind: NexthopKind::Single {
            family: usable.gateway.map_or(family, Family::of),
            device: usable.device.clone(),
            gateway: usable.gateway,
            on_link: usable.on_link,
        },
    };
    let mut all = Vec::new();
    for (uplink, usable) in inputs.usable(family) {
        all.push(single(reserve.nexthop_path(family, uplink.slot), usable));
        if service.uplinks.contains(&uplink.name) {
            all.push(single(reserve.nexthop_service(family, uplink.slot), usable));
        }
    }
    let slot = |name: &UplinkName| inputs.config.uplink(name).map(|u| u.slot);
    let mut group = |id: NexthopId, members: Vec<Share>, object: &dyn Fn(_) -> NexthopId| {
        let members = members
            .iter()
            .filter(|s| inputs.is_usable(family, &s.uplink));
        let mut members: Vec<_> = members
            .filter_map(|s| Some((object(slot(&s.uplink)?), s.weight)))
            .collect();
        members.sort_unstable();
        if !members.is_empty() {
            all.push(Nexthop {
                id,
                proto: reserve.proto,
                kind: NexthopKind::Group(members),
            });
        }
    };
    for (pool, number) in &inputs.numbers {
        let id = reserve.nexthop_group(family, *number);
        group(id, pool.shares(service), &|slot| {
            reserve.nexthop_service(family, slot)
        });
    }
    if let Some((preferred, slot)) = service.preferred.as_ref().and_then(|p| Some((p, slot(p)?))) {
        let alone = Share {
            uplink: preferred.clone(),
            weight: 1,
        };
        group(
            reserve.nexthop_preferred(family, slot),
            vec![alone],
            &|slot| reserve.nexthop_service(family, slot),
        );
    }
    let kept = last_resort(inputs.config, |name| {
        inputs.is_usable(family, name) && !service.off.contains(name)
    });
    group(reserve.nexthop_last_resort(family), kept, &|slot| {
        reserve.nexthop_path(family, slot)
    });
    all.into_iter().map(|n| (n.id, n)).collect()
}

/// The routes of all our tables.
pub(super) fn routes(inputs: &Inputs<'_>, family: Family) -> BTreeSet<Route> {
    let reserve = &inputs.config.reserve;
    let service = inputs.service.of(family);
    let mut routes = outlets::routes(inputs, family);
    for (uplink, usable) in inputs.usable(family) {
        let mut fill = |table, id: Option<NexthopId>| {
            routes.extend(connected(reserve, table, usable, family));
            routes.extend(id.map(|id| {
                let metric = metric_default(family);
                Route {
                    // Left to itself the kernel would take any address of the machine, such as one in
                    // another provider's prefix.
                    source: usable.borrowed.map(Into::into),
                    ..outlets::default(reserve, table, metric, family, RouteVia::Nexthop(id))
                }
            }));
        };
        let path = reserve.nexthop_path(family, uplink.slot);
        fill(reserve.table_path(uplink.slot), Some(path));
        let is_in_service = service.uplinks.contains(&uplink.name);
        let id = reserve.nexthop_service(family, uplink.slot);
        fill(
            reserve.table_service(uplink.slot),
            is_in_service.then_some(id),
        );
    }
    routes
}

/// The metric of a route of which nobody said any: the kernel makes 1024 of none for IPv6.
fn metric_default(family: Family) -> u32 {
    match family {
        Family::V4 => 0,
        Family::V6 => 1024,
    }
}

/// The uplink's own networks: what a packet for a neighbour needs when this table is asked.
/// Single-address prefixes are no network, and of two addresses in one network the first counts.
fn connected(reserve: &Reserve, table: TableId, usable: &Usable, family: Family) -> Vec<Route> {
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
            metric: metric_default(family),
            via: RouteVia::Device {
                device: usable.device.clone(),
                gateway: None,
            },
            source: match family {
                Family::V4 => Some(address.addr()),
                // The kernel prefers an address of the outgoing interface by itself, and knows which
                // of several is the temporary one of today.
                Family::V6 => None,
            },
            proto: reserve.proto,
        })
        .collect()
}

//! The routes of the outlets' tables: one default for each tier, then the end.
//!
//! | metric | default by |
//! |---|---|
//! | 5 | the uplink that somebody prefers for a while, where it is in a tier |
//! | 10, 20, … | the first, second, … tier, from the one that serves on |
//! | one above the serving tier's, and so on | better tiers that wait for failback, or are full: should the serving tier be lost, the kernel turns to them before it turns to worse ones |
//! | [`Reserve::METRIC_LAST`] | the last resort (the default group), or a refusal (`otherwise = "block"`) |

use std::collections::BTreeSet;

use uplinkd_model::{
    Family, NexthopId, Outlet, Reserve, Route, RouteVia, TableId, net,
    policy::{End, Outflow},
};

use super::Inputs;
use crate::select::{Pool, Serving, preferred_in};

/// Metric of the best tier's default in an outlet's table; each further tier adds as much.
const METRIC_STEP: u32 = 10;
/// Metric of the default by the uplink that somebody prefers. The tiers stay behind it as they are: the
/// kernel turns to them by itself where that uplink is lost.
const METRIC_PREFERRED: u32 = 5;

/// The routes of all outlets' tables of a family.
pub(super) fn routes(inputs: &Inputs<'_>, family: Family) -> BTreeSet<Route> {
    let reserve = &inputs.config.reserve;
    let mut routes = BTreeSet::new();
    for (outlet, serving) in inputs.outlets(family) {
        let Some(outflow) = outlet.outflow() else {
            continue;
        };
        let table = reserve.table_outlet(outlet.code);
        for (metric, id) in tiers(inputs, family, outflow, serving) {
            routes.insert(default(
                reserve,
                table,
                metric,
                family,
                RouteVia::Nexthop(id),
            ));
        }
        if let Some(via) = end(inputs, family, outflow.end) {
            routes.insert(default(reserve, table, Reserve::METRIC_LAST, family, via));
        }
    }
    routes
}

/// Whether an outlet refuses what it cannot lead out.
pub(super) fn refuses(outlet: &Outlet) -> bool {
    match &outlet.kind {
        uplinkd_model::OutletKind::Uplinks(outflow) => outflow.end == End::Block,
        uplinkd_model::OutletKind::Block => true,
        uplinkd_model::OutletKind::Main => false,
    }
}

/// The metric and the nexthop group of each tier that has a member in service.
fn tiers(
    inputs: &Inputs<'_>,
    family: Family,
    outflow: &Outflow,
    serving: &Serving,
) -> Vec<(u32, NexthopId)> {
    let service = inputs.service.of(family);
    let Some(current) = serving.leading(outflow, service) else {
        return Vec::new();
    };
    let metric = |n: usize| {
        u32::try_from(n + 1)
            .unwrap_or(u32::MAX)
            .saturating_mul(METRIC_STEP)
    };
    let tiers = outflow.tiers.iter().enumerate();
    let mut routes = Vec::new();
    let preferred = preferred_in(outflow, service).and_then(|name| inputs.config.uplink(name));
    if let Some(uplink) = preferred {
        let id = inputs.config.reserve.nexthop_preferred(family, uplink.slot);
        routes.push((METRIC_PREFERRED, id));
    }
    for (n, tier) in tiers.filter(|(_, t)| Pool::of(t).is_served(service)) {
        let id = inputs
            .config
            .reserve
            .nexthop_group(family, inputs.numbers[&Pool::of(tier)]);
        if n >= current {
            routes.push((metric(n), id));
        } else if let Ok(behind) = u32::try_from(n + 1)
            && behind < METRIC_STEP
        {
            // The tenth of the better tiers, and those after it, have no room and are left out.
            routes.push((metric(current).saturating_add(behind), id));
        }
    }
    routes
}

fn end(inputs: &Inputs<'_>, family: Family, end: End) -> Option<RouteVia> {
    let has_link = || inputs.usable(family).next().is_some();
    match end {
        End::Keep => has_link().then(|| {
            let off = &inputs.service.of(family).off;
            let mut usable = inputs.usable(family);
            match usable.any(|(uplink, _)| !off.contains(&uplink.name)) {
                true => RouteVia::Nexthop(inputs.config.reserve.nexthop_last_resort(family)),
                // The main table's default would lead out by one whose budget is used up.
                false => RouteVia::Prohibit,
            }
        }),
        End::Block => Some(RouteVia::Prohibit),
        End::Default => None,
    }
}

pub(super) fn default(
    reserve: &Reserve,
    table: TableId,
    metric: u32,
    family: net::Family,
    via: RouteVia,
) -> Route {
    Route {
        table,
        destination: family.default_route(),
        metric,
        via,
        source: None,
        proto: reserve.proto,
    }
}

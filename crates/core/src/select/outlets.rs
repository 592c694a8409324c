//! The tiers of all outlets, and who serves by them.

use std::collections::{BTreeMap, BTreeSet};

use uplinkd_model::{
    Config, Member, Nexthop, NexthopId, NexthopKind, Observed, Outlet, Route, RouteVia, Slot,
    net::Family,
    notice::Share,
    policy::{Balance, Conduct, End, Outflow, OutletTier},
};

use super::{Pool, Service, Serving, preferred_in};

/// How many numbers there are for nexthop groups of one family, less than the reserve has room for.
const GROUPS: u64 = 500_000;

/// The distinct tiers of all outlets, each with the number of its kernel nexthop group. Equal tiers
/// share one: a failure touches the fewer objects, and bringing an uplink back costs one message for
/// all of them.
///
/// The number comes from the members, not from their place in the file: were it otherwise, a reload
/// would for a moment lead one outlet's table by the group of another.
pub(crate) fn distinct_tiers(config: &Config) -> BTreeMap<Pool<'_>, usize> {
    let slot = |m: &Member| config.uplink(&m.uplink).map(|u| u.slot);
    let outflows = config.outlets.iter().filter_map(|o| o.outflow());
    let tiers = outflows.flat_map(|o| &o.tiers);
    let (mut numbers, mut taken) = (BTreeMap::new(), BTreeSet::new());
    for pool in tiers.map(Pool::of) {
        if numbers.contains_key(&pool) {
            continue;
        }
        let slots = pool.members.iter().filter_map(slot).collect();
        let mut number = number_of(slots, pool.conduct);
        while !taken.insert(number) {
            number = (number + 1) % GROUPS;
        }
        #[expect(clippy::cast_possible_truncation, reason = "below GROUPS")]
        numbers.insert(pool, number as usize);
    }
    numbers
}

/// FNV-1a over the slots and what the group does with them. Weights are left out, so that a group whose
/// weights change is replaced in place.
fn number_of(slots: BTreeSet<Slot>, conduct: Conduct) -> u64 {
    let limit = conduct.yield_at;
    let loss = limit.and_then(|l| l.loss).map(|l| u64::from(l.0));
    let rtt = limit.and_then(|l| l.rtt);
    // Whole milliseconds, as the file gives them, are far below 2^64.
    let rtt = rtt.map(|t| t.as_millis() as u64);
    let slots = slots.iter().map(|s| u64::from(s.0));
    let limits = limit
        .iter()
        .flat_map(|_| [loss.unwrap_or(0), rtt.unwrap_or(0)]);
    let balance = match conduct.balance {
        Balance::Weights => None,
        Balance::LeastUsed => Some(1),
        Balance::LowestLatency => Some(2),
    };
    let overflow = conduct.overflow_at.map(|part| 3 + u64::from(part.0));
    let while_budget = conduct.while_budget.then_some(2000);
    let conduct = limits.chain(balance).chain(overflow).chain(while_budget);
    let hash = slots
        .chain(conduct)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, n| {
            (hash ^ n).wrapping_mul(0x0100_0000_01b3)
        });
    hash % GROUPS
}

/// Who carries new connections of an outlet, with weights: its serving tier's members in service;
/// for the default group, where there are none, the last resort.
pub(crate) fn serving_of(
    config: &Config,
    outflow: &Outflow,
    serving: &Serving,
    service: &Service,
    is_usable: impl Fn(&uplinkd_model::UplinkName) -> bool,
) -> Vec<Share> {
    if let Some(preferred) = preferred_in(outflow, service) {
        return vec![Share {
            uplink: preferred.clone(),
            weight: 1,
        }];
    }
    if let Some(tier) = serving
        .leading(outflow, service)
        .and_then(|n| outflow.tiers.get(n))
    {
        return Pool::of(tier).shares(service);
    }
    let is_decided = service.last_resort || !service.uplinks.is_empty();
    match outflow.end {
        End::Keep if !is_decided => Vec::new(),
        End::Keep => last_resort(config, |name| {
            is_usable(name) && !service.off.contains(name)
        }),
        End::Default | End::Block => Vec::new(),
    }
}

/// Who serves the default group when none of its members is in service: those whose link could
/// carry something; where it has none, every uplink's.
pub(crate) fn last_resort(
    config: &Config,
    is_usable: impl Fn(&uplinkd_model::UplinkName) -> bool,
) -> Vec<Share> {
    let default = config.outlets.first().and_then(|o| o.outflow());
    let mut seen = BTreeSet::new();
    let members = default.into_iter().flat_map(|o| o.members());
    let members: Vec<_> = members
        .filter(|m| is_usable(&m.uplink) && seen.insert(&m.uplink))
        .map(|m| Share {
            uplink: m.uplink.clone(),
            weight: m.weight,
        })
        .collect();
    if !members.is_empty() {
        return members;
    }
    let all = config.uplinks.iter().map(|u| &u.name);
    all.filter(|name| is_usable(name))
        .map(|name| Share {
            uplink: name.clone(),
            weight: 1,
        })
        .collect()
}

impl Serving {
    /// What the kernel serves for an outlet: the tier that its best route leads to.
    pub(crate) fn found(
        config: &Config,
        numbers: &BTreeMap<Pool<'_>, usize>,
        outlet: &Outlet,
        family: Family,
        observed: &Observed,
    ) -> Option<Self> {
        let outflow = outlet.outflow()?;
        let reserve = &config.reserve;
        let table = reserve.table_outlet(outlet.code);
        let routes = observed.routes.iter().filter(|r| {
            let is_default = r.family() == family && r.destination.prefix_len() == 0;
            let preferred = |u: &uplinkd_model::Uplink| {
                r.via == RouteVia::Nexthop(reserve.nexthop_preferred(family, u.slot))
            };
            let is_of_a_tier = !config.uplinks.iter().any(preferred);
            r.table == table && is_default && is_of_a_tier && reserve.owns_route(r)
        });
        let id = match routes.min_by_key(|r| r.metric)?.via {
            RouteVia::Nexthop(id) => id,
            RouteVia::Device { .. } | RouteVia::Prohibit | RouteVia::Other => return None,
        };
        let by_number = outflow.tiers.iter().position(|tier| {
            let number = numbers.get(&Pool::of(tier));
            number.is_some_and(|n| reserve.nexthop_group(family, *n) == id)
        });
        if let Some(tier) = by_number {
            // Behind it is whether a better one serves too. Where such a one overflows, that is why, and
            // not because it waited for its return.
            let has_route = |tier: &OutletTier| {
                let number = numbers.get(&Pool::of(tier));
                let id = number.map(|n| reserve.nexthop_group(family, *n));
                let own = |r: &&Route| r.table == table && reserve.owns_route(r);
                let mut routes = observed.routes.iter().filter(own);
                routes.any(|r| id.is_some_and(|id| r.via == RouteVia::Nexthop(id)))
            };
            let overflows = |tier: &OutletTier| tier.conduct.overflow_at.is_some();
            let mut better = outflow.tiers.iter().take(tier);
            let first = better.position(|t| overflows(t) && has_route(t));
            return Some(Self::adopted(first.unwrap_or(tier)));
        }
        // Under an earlier configuration: by the uplinks.
        let group = observed.nexthops.get(&id)?;
        let service = |m: &Member| {
            let slot = config.uplink(&m.uplink)?.slot;
            Some(reserve.nexthop_service(family, slot))
        };
        let tier = outflow.tiers.iter().position(|tier| {
            let own: Vec<_> = tier.members.iter().filter_map(service).collect();
            leads_only_to(group, &own)
        })?;
        Some(Self::adopted(tier))
    }
}

fn leads_only_to(group: &Nexthop, ids: &[NexthopId]) -> bool {
    match &group.kind {
        NexthopKind::Group(members) => members.iter().all(|(id, _)| ids.contains(id)),
        NexthopKind::Single { .. } | NexthopKind::Other => false,
    }
}

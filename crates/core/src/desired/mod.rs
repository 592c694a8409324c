//! From configuration, service and facts to everything of ours that the kernel should hold.
//!
//! The layout is explained in `docs/ARCHITECTURE.md`. Each function here makes one kind of object;
//! nothing here looks at what the kernel already has, except where a sysctl is good enough as it is,
//! and at the rules of others, which ours have to make way for.

mod mirrors;
mod nat;
mod outlets;
mod routes;
mod rules;
mod sysctls;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use uplinkd_model::{
    Config, Desired, Family, Observed, Outlet, Reserve, TableId, Uplink, UplinkName,
};

pub use mirrors::{MIRRORS_MAX, is_mirrored, lies_behind};
pub(crate) use rules::OUTLETS;
pub use sysctls::sysctl_paths;
pub(crate) use sysctls::{FORWARDING_V4, FORWARDING_V6};

use crate::{
    facts::{LinkState, Usable},
    families::{FAMILIES, PerFamily},
    policies::Policies,
    prefixes::Prefixes,
    select::{Pool, Service, Serving},
};

/// What the desired state is made of.
pub(crate) struct Inputs<'a> {
    pub(crate) config: &'a Config,
    /// The reserves whose objects are ours.
    pub(crate) claims: &'a [Reserve],
    /// Each family of each uplink that we route.
    pub(crate) lines: Vec<Line<'a>>,
    /// The uplinks in service.
    pub(crate) service: &'a PerFamily<Service>,
    /// Which tier serves, for each outlet of the configuration in its order.
    pub(crate) serving: &'a [PerFamily<Serving>],
    /// The numbers of the distinct tiers' kernel groups.
    pub(crate) numbers: BTreeMap<Pool<'a>, usize>,
    pub(crate) policies: &'a Policies,
    /// Which delegated IPv6 prefix is whose.
    pub(crate) prefixes: &'a Prefixes,
    pub(crate) observed: &'a Observed,
}

/// One family of an uplink.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) uplink: &'a Uplink,
    pub(crate) family: Family,
    pub(crate) link: &'a LinkState,
}

impl<'a> Inputs<'a> {
    /// The lines of a family that could carry something.
    fn usable(&self, family: Family) -> impl Iterator<Item = (&'a Uplink, &'a Usable)> {
        let lines = self.lines.iter().filter(move |l| l.family == family);
        lines.filter_map(|l| Some((l.uplink, l.link.usable()?)))
    }

    fn is_usable(&self, family: Family, name: &UplinkName) -> bool {
        self.usable(family).any(|(u, _)| &u.name == name)
    }

    /// Whether some uplink has this family, be it out of order.
    fn has_family(&self, family: Family) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|l| l.family == family && *l.link != LinkState::Absent)
    }

    /// The outlets with the tier that serves each now.
    fn outlets(&self, family: Family) -> impl Iterator<Item = (&'a Outlet, &'a Serving)> {
        let serving = self.serving.iter().map(move |s| s.of(family));
        self.config.outlets.iter().zip(serving)
    }
}

/// The whole desired state.
pub(crate) fn desired(inputs: &Inputs<'_>) -> Desired {
    let has = PerFamily::from_fn(|family| inputs.has_family(family));
    let mut desired = Desired {
        nft: Some(nat::table(inputs)),
        sysctls: sysctls::sysctls(inputs.config, &has, inputs.observed),
        table_names: table_names(inputs.config),
        ..Desired::default()
    };
    for family in FAMILIES {
        if *has.of(family) {
            desired.nexthops.extend(routes::nexthops(inputs, family));
            desired.routes.extend(routes::routes(inputs, family));
            desired.rules.extend(rules::rules(inputs, family));
        } else if inputs.observed.rules.iter().any(|r| r.family == family) {
            // What a policy refuses is refused in a family that no uplink has, too. A kernel without
            // the family has no rules of it, where others have at least that for `local`.
            desired.routes.extend(outlets::routes(inputs, family));
            desired.rules.extend(rules::refusals(inputs, family));
        }
    }
    desired
}

/// The names by which `ip` knows our tables: an uplink's own for the table in use, with `.path` for
/// the one that leads out by it whatever its health, `.outlet` behind an outlet's name, and
/// `default.group` for the default group's. No uplink can be called any of these, since a dot is not
/// allowed in an uplink's name.
fn table_names(config: &Config) -> BTreeMap<TableId, String> {
    let reserve = &config.reserve;
    let mut names = BTreeMap::new();
    for uplink in &config.uplinks {
        names.insert(reserve.table_service(uplink.slot), uplink.name.to_string());
        names.insert(
            reserve.table_path(uplink.slot),
            format!("{}.path", uplink.name),
        );
    }
    for outlet in config.outlets.iter().filter(|o| o.outflow().is_some()) {
        let kind = if outlet.code == 0 { "group" } else { "outlet" };
        names.insert(
            reserve.table_outlet(outlet.code),
            format!("{}.{kind}", outlet.name),
        );
    }
    names
}

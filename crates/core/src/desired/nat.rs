//! The content of our nft table.

use std::sync::Arc;

use ipnet::Ipv6Net;
use uplinkd_model::{
    Family, Nat, Outlet, Uplink,
    kernel_state::is_first_name,
    nft::{NftOutlet, NftTable, NftUplink, Refusal},
    policy::{End, OutletKind},
    prefix::Translation,
};

use super::{Inputs, mirrors};
use crate::facts::LinkState;

pub(super) fn table(inputs: &Inputs<'_>) -> NftTable {
    let (config, policies) = (inputs.config, inputs.policies);
    // nft would take a pattern for what it says, while one interface is meant.
    let named = config
        .uplinks
        .iter()
        .filter(|u| is_first_name(&u.interface));
    let mut uplinks: Vec<_> = named.map(|u| uplink(inputs, u)).collect();
    uplinks.sort_by_key(|u| u.slot);
    let mut outlets: Vec<_> = config.outlets.iter().map(|o| outlet(inputs, o)).collect();
    outlets.sort_by_key(|o| o.code);
    let cgroups = inputs.observed.cgroups.iter();
    NftTable {
        name: config.reserve.nft_table.clone(),
        marks: config.reserve.marks(),
        lan: config
            .lan
            .iter()
            .filter(|n| is_first_name(n))
            .cloned()
            .collect(),
        foreign_marks: mirrors::foreign_marks(inputs),
        uplinks,
        outlets,
        classifier: Arc::clone(&policies.classifier),
        domains: policies.domains.clone(),
        cgroups: cgroups
            .filter(|(path, _)| policies.cgroups.contains(*path))
            .map(|(path, inode)| (path.clone(), *inode))
            .collect(),
    }
}

fn uplink(inputs: &Inputs<'_>, uplink: &Uplink) -> NftUplink {
    let reserve = &inputs.config.reserve;
    // Addresses are taken from the interface even while its link is not usable: the table then does
    // not change with every flap of the carrier.
    let link = inputs.observed.link(&uplink.interface);
    let addresses = link.into_iter().flat_map(|l| &l.addresses);
    let mut addresses: Vec<_> = addresses
        .filter(|a| uplink.access(Family::of_net(**a)).is_some())
        .map(ipnet::IpNet::addr)
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    let nat = |family| uplink.access(family).map_or(Nat::None, |a| a.nat);
    // The kernel would masquerade a line without an address of its own behind any other of the machine.
    let has_own = addresses.iter().any(std::net::IpAddr::is_ipv6);
    let borrowed = inputs.prefixes.address_of(&uplink.name);
    let masquerade = match borrowed.filter(|_| !has_own && !is_absent(inputs, uplink)) {
        Some(address) => Nat::Source(address.into()),
        None => Nat::Masquerade,
    };
    let (kept, translations) = prefixes(inputs, uplink);
    NftUplink {
        slot: uplink.slot.0,
        interface: uplink.interface.clone(),
        mark: reserve.mark_out(uplink.slot).value,
        nat4: nat(Family::V4),
        nat6: match nat(Family::V6) {
            Nat::Auto | Nat::Prefix | Nat::Masquerade => masquerade,
            nat @ (Nat::Source(_) | Nat::None) => nat,
        },
        kept,
        translations,
        addresses,
    }
}

/// Whether an uplink has no IPv6. Of a line that is absent there are no rules either, from which the
/// next run could learn which prefix this one knew.
fn is_absent(inputs: &Inputs<'_>, uplink: &Uplink) -> bool {
    let mut lines = inputs.lines.iter();
    let is_absent = |l: &super::Line<'_>| *l.link == LinkState::Absent;
    lines.any(|l| l.uplink == uplink && l.family == Family::V6 && is_absent(l))
}

/// What leaves by an uplink as it is, and what is translated to its prefix.
fn prefixes(inputs: &Inputs<'_>, uplink: &Uplink) -> (Vec<Ipv6Net>, Vec<Translation>) {
    if is_absent(inputs, uplink) {
        return Default::default();
    }
    let all = inputs.prefixes;
    let kept = || all.all_of(&uplink.name).to_vec();
    match uplink.access(Family::V6).map(|access| access.nat) {
        Some(Nat::Auto) => (kept(), Vec::new()),
        Some(Nat::Prefix) => (kept(), all.translations(&uplink.name).given),
        Some(Nat::Masquerade | Nat::Source(_) | Nat::None) | None => Default::default(),
    }
}

fn outlet(inputs: &Inputs<'_>, outlet: &Outlet) -> NftOutlet {
    let config = inputs.config;
    let sticky = outlet.outflow().and_then(|o| o.sticky);
    let mut members: Vec<_> = match (sticky, outlet.outflow()) {
        (Some(_), Some(outflow)) => outflow
            .members()
            .filter_map(|m| Some(config.uplink(&m.uplink)?.slot.0))
            .collect(),
        (None, _) | (_, None) => Vec::new(),
    };
    members.sort_unstable();
    members.dedup();
    NftOutlet {
        code: outlet.code,
        mark: config.reserve.mark_outlet(outlet.code).value,
        sticky,
        members,
        refusal: refusal(inputs, &outlet.kind),
    }
}

/// Whether an outlet's own table or rule refuses what nothing else takes.
///
/// nft asks routing as if the packet were the router's own. Where rules of others go by the interface
/// that it came in by, the answer may be wrong, and the kernel's own way of refusing is left alone.
fn refusal(inputs: &Inputs<'_>, kind: &OutletKind) -> Refusal {
    let mut foreign = inputs.observed.rules.iter();
    let goes_by_interface = foreign.any(|rule| {
        rule.iif.as_deref().is_some_and(|name| name != "lo")
            && !inputs.claims.iter().any(|c| c.owns_rule(rule))
    });
    match kind {
        OutletKind::Block if !goes_by_interface => Refusal::Possible,
        OutletKind::Uplinks(outflow) if !goes_by_interface => match outflow.end {
            End::Block => Refusal::Possible,
            End::Keep | End::Default => Refusal::Never,
        },
        OutletKind::Block | OutletKind::Uplinks(_) | OutletKind::Main => Refusal::Never,
    }
}

//! What the kernel's interfaces, addresses and routes say about a line, before any probe. A line is
//! one family of one uplink.

use std::net::IpAddr;

use ipnet::IpNet;
use uplinkd_model::{
    Family, Gateway, NexthopKind, Observed, Reason, Reserve, Uplink,
    intent::is_on_link,
    kernel_state::{Device, Link},
};

use crate::families::FAMILIES;

/// Whether a line could carry traffic, going by its link alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Interface, carrier, address and gateway are there.
    Usable(Usable),
    /// Something is missing.
    Unusable(Reason),
    /// The uplink does not have this family, and nobody said that it should.
    Absent,
}

/// What is needed to route over an uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usable {
    /// The interface.
    pub device: Device,
    /// The gateway; none on a point-to-point line.
    pub gateway: Option<IpAddr>,
    /// The addresses of the family with their prefix length.
    pub addresses: Vec<IpNet>,
}

impl LinkState {
    /// The facts, where the link is usable.
    pub fn usable(&self) -> Option<&Usable> {
        match self {
            Self::Usable(usable) => Some(usable),
            Self::Unusable(_) | Self::Absent => None,
        }
    }
}

/// What is remembered of a line between two judgements of its link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The gateway that was learned before, which stays good while it is on-link even if the default
    /// route it came from is deleted.
    pub(crate) gateway: Option<IpAddr>,
    /// It had an address in this run: whatever is missing since then is a failure.
    pub(crate) was_seen: bool,
}

/// Judges the link of one family of an uplink. `known` says what is remembered of each family of it.
pub(crate) fn link_state(
    uplink: &Uplink,
    family: Family,
    observed: &Observed,
    reserve: &Reserve,
    known: impl Fn(Family) -> Known,
) -> LinkState {
    let Some(access) = uplink.access(family) else {
        return LinkState::Absent;
    };
    if is_absent(uplink, family, observed, &known) {
        return LinkState::Absent;
    }
    let Some(link) = observed.link(&uplink.interface) else {
        return LinkState::Unusable(Reason::InterfaceMissing {
            interface: uplink.interface.clone(),
        });
    };
    if !link.admin_up {
        return LinkState::Unusable(Reason::InterfaceAdminDown);
    }
    if !link.carrier {
        return LinkState::Unusable(Reason::NoCarrier);
    }
    let addresses: Vec<IpNet> = link.addresses_of(family).collect();
    if addresses.is_empty() {
        return LinkState::Unusable(Reason::NoAddress);
    }
    let gateway = match access.gateway {
        Gateway::Address(gateway) => Some(gateway),
        Gateway::Auto => {
            let own = reserve.nexthop_path(family, uplink.slot);
            let own = observed.nexthops.get(&own);
            let own = own.filter(|n| reserve.owns_nexthop(n)).map(|n| &n.kind);
            let known = known(family).gateway;
            match learned_gateway(family, link, &addresses, observed, known, own) {
                Some(gateway) => gateway,
                None => return LinkState::Unusable(Reason::NoGateway),
            }
        }
    };
    if let Some(gateway) = gateway
        && !is_direct(gateway, &addresses)
    {
        return LinkState::Unusable(Reason::GatewayOffLink { gateway });
    }
    LinkState::Usable(Usable {
        device: link.device.clone(),
        gateway,
        addresses,
    })
}

/// Whether a family is neither there nor missed. Of an uplink of which nothing is there and nothing
/// was announced, its first family is missed: otherwise nobody would hear of it.
fn is_absent(
    uplink: &Uplink,
    family: Family,
    observed: &Observed,
    known: &impl Fn(Family) -> Known,
) -> bool {
    let link = observed.link(&uplink.interface);
    let is_there = |family: Family| {
        let has_address = || link.is_some_and(|l| l.addresses_of(family).next().is_some());
        let access = uplink.access(family);
        access.is_some_and(|a| a.expected || known(family).was_seen || has_address())
    };
    if is_there(family) {
        return false;
    }
    let first = FAMILIES.into_iter().find(|f| uplink.access(*f).is_some());
    FAMILIES.into_iter().any(is_there) || first != Some(family)
}

/// Whether a gateway can be reached without another one. Link-local ones always can.
fn is_direct(gateway: IpAddr, addresses: &[IpNet]) -> bool {
    let is_link_local = match gateway {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    is_link_local || is_on_link(gateway, addresses)
}

// TODO(v6): a gateway whose router advertisement was withdrawn stays known. Bites where its router
// goes on answering probes while it no longer wants to be a default router.
/// The gateway by, in this order: the best default route that somebody else keeps over the
/// interface, the gateway known before, our own path nexthop from before a restart. `Some(None)`: a
/// line that needs none.
fn learned_gateway(
    family: Family,
    link: &Link,
    addresses: &[IpNet],
    observed: &Observed,
    known: Option<IpAddr>,
    own: Option<&NexthopKind>,
) -> Option<Option<IpAddr>> {
    let best = observed
        .foreign_defaults
        .iter()
        .filter(|d| d.ifindex == link.device.index && d.family == family)
        .min_by_key(|d| (d.metric, d.table));
    if let Some(best) = best {
        return Some(best.gateway);
    }
    if let Some(gateway) = known
        && is_direct(gateway, addresses)
    {
        return Some(Some(gateway));
    }
    if let Some(NexthopKind::Single {
        device, gateway, ..
    }) = own
        && device.index == link.device.index
        && gateway.is_none_or(|g| is_direct(g, addresses))
    {
        return Some(*gateway);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{both_families, config, machine};

    fn nothing(_: Family) -> Known {
        Known::default()
    }

    fn judge(config: &uplinkd_model::Config, family: Family, observed: &Observed) -> LinkState {
        link_state(
            &config.uplinks[0],
            family,
            observed,
            &config.reserve,
            nothing,
        )
    }

    /// Two uplinks with both families, none of them announced in the file.
    fn silent() -> uplinkd_model::Config {
        let mut config = both_families(config());
        for uplink in &mut config.uplinks {
            for access in [&mut uplink.ipv4, &mut uplink.ipv6].into_iter().flatten() {
                access.expected = false;
            }
        }
        config
    }

    #[test]
    fn a_family_that_nobody_spoke_of_is_absent_while_it_has_no_address() {
        let (config, observed) = (silent(), machine());
        assert_eq!(judge(&config, Family::V6, &observed), LinkState::Absent);
        assert!(judge(&config, Family::V4, &observed).usable().is_some());
        let mut expected = config;
        expected.uplinks[0].ipv6.as_mut().unwrap().expected = true;
        assert_eq!(
            judge(&expected, Family::V6, &observed),
            LinkState::Unusable(Reason::NoAddress)
        );
    }

    #[test]
    fn an_uplink_without_any_address_is_missed_once() {
        let mut observed = machine();
        observed.links.get_mut(&1).unwrap().addresses.clear();
        let config = silent();
        assert_eq!(
            judge(&config, Family::V4, &observed),
            LinkState::Unusable(Reason::NoAddress)
        );
        assert_eq!(judge(&config, Family::V6, &observed), LinkState::Absent);
    }

    #[test]
    fn what_was_seen_once_is_missed_when_it_is_gone() {
        let config = silent();
        let seen = |_| Known {
            was_seen: true,
            ..Known::default()
        };
        let uplink = &config.uplinks[0];
        let state = link_state(uplink, Family::V6, &machine(), &config.reserve, seen);
        assert_eq!(state, LinkState::Unusable(Reason::NoAddress));
    }

    #[test]
    fn a_link_local_gateway_is_always_on_the_link() {
        let mut observed = machine();
        let address: IpNet = "2001:db8:1::2/64".parse().unwrap();
        observed.links.get_mut(&1).unwrap().addresses.push(address);
        let mut config = silent();
        let usable =
            |config: &uplinkd_model::Config| judge(config, Family::V6, &observed).usable().cloned();
        assert_eq!(usable(&config), None, "no gateway is known");
        let access = config.uplinks[0].ipv6.as_mut().unwrap();
        access.gateway = Gateway::Address("fe80::1".parse().unwrap());
        assert_eq!(
            usable(&config).unwrap().gateway,
            Some("fe80::1".parse().unwrap())
        );
    }
}

//! What the kernel's interfaces, addresses and routes say about an uplink, before any probe.

use std::net::IpAddr;

use ipnet::IpNet;
use uplinkd_model::{
    Family, Gateway, NexthopKind, Observed, Reason, Reserve, Uplink,
    intent::is_on_link,
    kernel_state::{Device, Link},
};

/// Whether an uplink could carry traffic, going by its link alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Interface, carrier, address and gateway are there.
    Usable(Usable),
    /// Something is missing.
    Unusable(Reason),
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
            Self::Unusable(_) => None,
        }
    }
}

/// Judges the link of an uplink. `known_gateway` is the gateway that was learned before, which
/// stays good while it is on-link even if the default route it came from is deleted.
pub(crate) fn link_state(
    uplink: &Uplink,
    family: Family,
    observed: &Observed,
    reserve: &Reserve,
    known_gateway: Option<IpAddr>,
) -> LinkState {
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
    let gateway = match uplink.gateway {
        Gateway::Address(gateway) => Some(gateway),
        Gateway::Auto => {
            match learned_gateway(
                uplink,
                family,
                link,
                &addresses,
                observed,
                reserve,
                known_gateway,
            ) {
                Ok(gateway) => gateway,
                Err(reason) => return LinkState::Unusable(reason),
            }
        }
    };
    if let Some(gateway) = gateway
        && !is_on_link(gateway, &addresses)
    {
        return LinkState::Unusable(Reason::GatewayOffLink { gateway });
    }
    LinkState::Usable(Usable {
        device: link.device.clone(),
        gateway,
        addresses,
    })
}

/// The gateway by, in this order: the best default route that somebody else keeps over the
/// interface, the gateway known before, our own path nexthop from before a restart.
fn learned_gateway(
    uplink: &Uplink,
    family: Family,
    link: &Link,
    addresses: &[IpNet],
    observed: &Observed,
    reserve: &Reserve,
    known_gateway: Option<IpAddr>,
) -> Result<Option<IpAddr>, Reason> {
    let best = observed
        .foreign_defaults
        .iter()
        .filter(|d| d.ifindex == link.device.index && d.family == family)
        .min_by_key(|d| (d.metric, d.table));
    if let Some(best) = best {
        return Ok(best.gateway);
    }
    if let Some(gateway) = known_gateway
        && is_on_link(gateway, addresses)
    {
        return Ok(Some(gateway));
    }
    let own = observed
        .nexthops
        .get(&reserve.nexthop_path(family, uplink.slot));
    if let Some(nexthop) = own
        && reserve.owns_nexthop(nexthop)
        && let NexthopKind::Single {
            device, gateway, ..
        } = &nexthop.kind
        && device.index == link.device.index
        && gateway.is_none_or(|g| is_on_link(g, addresses))
    {
        return Ok(*gateway);
    }
    Err(Reason::NoGateway)
}

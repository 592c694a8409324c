//! Gateways that are in no network of their line.

use anyhow::Result;
use ipnet::IpNet;
use uplinkd_netns_tests::isp;

use crate::{
    common::{Way, ensure_carries, ip, ip_at, waiting},
    shapes::{FAR_END, tunnelled},
};

/// Typical for hosted machines: a single address, and a gateway that is somewhere else.
pub(crate) fn a_gateway_outside_the_subnet() -> Result<()> {
    let rig = waiting()?;
    ip_at(&rig, isp(1), "address add 10.9.9.1/32 dev cust")?;
    ip(&rig, "address add 100.64.1.2/32 dev wan1")?;
    ip(&rig, "route add default via 10.9.9.1 dev wan1 onlink")?;
    ensure_carries(&rig, Way::new([100, 64, 1, 2], [10, 9, 9, 1]))
}

/// The same as DHCP clients do it: with a route to the gateway instead of `onlink`.
pub(crate) fn a_gateway_behind_a_link_route() -> Result<()> {
    let rig = waiting()?;
    ip_at(&rig, isp(1), "address add 10.9.9.1/32 dev cust")?;
    ip(&rig, "address add 100.64.1.2/32 dev wan1")?;
    ip(&rig, "route add 10.9.9.1 dev wan1 scope link")?;
    ip(&rig, "route add default via 10.9.9.1 dev wan1")?;
    ensure_carries(&rig, Way::new([100, 64, 1, 2], [10, 9, 9, 1]))
}

/// A single IPv6 address with a global gateway that is in no network of the line.
pub(crate) fn an_ipv6_gateway_outside_the_subnet() -> Result<()> {
    let rig = waiting()?;
    ip_at(&rig, isp(1), "address add 2001:db8:9::1/128 dev cust")?;
    ip(&rig, "address add 2001:db8:1::2/128 dev wan1")?;
    ip(&rig, "route add default via 2001:db8:9::1 dev wan1 onlink")?;
    let (address, gateway): (IpNet, _) = ("2001:db8:1::2/128".parse()?, "2001:db8:9::1".parse()?);
    let way = Way {
        address,
        gateway: Some(gateway),
    };
    ensure_carries(&rig, way)
}

/// IPv4 by an IPv6 next hop (RFC 5549), as fabrics of data centres do it.
pub(crate) fn ipv4_by_an_ipv6_gateway() -> Result<()> {
    let rig = waiting()?;
    ip(&rig, "address add 100.64.1.2/32 dev wan1")?;
    ip(&rig, "-4 route add default via inet6 fe80::1 dev wan1")?;
    let way = Way {
        address: "100.64.1.2/32".parse()?,
        gateway: Some("fe80::1".parse()?),
    };
    ensure_carries(&rig, way)
}

/// A point-to-point line as other programs than pppd leave it: the far end is named.
pub(crate) fn a_point_to_point_line_with_a_gateway() -> Result<()> {
    let (rig, _tunnel) = tunnelled()?;
    ip(&rig, "address add 100.64.1.130 peer 100.64.1.129 dev tun0")?;
    ip(&rig, "route add default via 100.64.1.129 dev tun0")?;
    let way = Way {
        gateway: Some("100.64.1.129".parse()?),
        ..FAR_END
    };
    ensure_carries(&rig, way)
}

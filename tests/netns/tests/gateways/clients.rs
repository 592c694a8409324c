//! Whoever brings address and default route, they are learned while the daemon runs.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use uplinkd_lab::programs::{
    Advert, Dhclient, DhcpServer, Dhcpcd, NetworkManager, Networkd, Pool, Radvd, Udhcpc,
};
use uplinkd_netns_tests::{EVENTUALLY, Rig, find_uplink, isp, within};

use crate::{
    advertised::networks,
    common::{LEASED, Way, ensure_carries, ensure_forgotten, ip, ip_at, wait_way, waiting},
};

pub(crate) fn way(pool: &Pool) -> Way {
    let gateway = pool.gateway.unwrap_or(Ipv4Addr::UNSPECIFIED);
    Way::new(pool.address, gateway)
}

/// The line has moved to another network: it carries, and nothing is left of the old one.
fn ensure_moved(rig: &Rig, from: &Pool, to: &Pool) -> Result<()> {
    ensure_carries(rig, way(to))?;
    // The old address may have gone a moment ago.
    let (address, gateway) = (from.address.into(), from.gateway.map(IpAddr::from));
    within("the old one is forgotten", EVENTUALLY, || {
        Ok(ensure_forgotten(rig, address, gateway).is_ok())
    })
}

pub(crate) fn udhcpc() -> Result<()> {
    let rig = waiting()?;
    let (before, after) = (Pool::quarter(isp(1), 1), Pool::quarter(isp(1), 2));
    let mut server = DhcpServer::start(rig.lab(), isp(1), &before)?;
    let client = Udhcpc::start(rig.lab(), "wan1", 100)?;
    ensure_carries(&rig, way(&before))?;
    server.renumber(rig.lab(), &after)?;
    client.renew()?;
    ensure_moved(&rig, &before, &after)
}

pub(crate) fn dhclient() -> Result<()> {
    let rig = waiting()?;
    let (mut before, after) = (Pool::quarter(isp(1), 1), Pool::quarter(isp(1), 2));
    // It asks again when it was told to, and not when we say so.
    before.renew_after = 3;
    let mut server = DhcpServer::start(rig.lab(), isp(1), &before)?;
    let client = Dhclient::start(rig.lab(), "wan1", 100)?;
    ensure_carries(&rig, way(&before)).with_context(|| client.log())?;
    server.renumber(rig.lab(), &after)?;
    ensure_moved(&rig, &before, &after)
}

/// It has both families, and takes advertisements itself instead of the kernel.
pub(crate) fn dhcpcd() -> Result<()> {
    let rig = waiting()?;
    let (mut before, after) = (Pool::quarter(isp(1), 1), Pool::quarter(isp(1), 2));
    before.renew_after = 3;
    let [network, _] = networks()?;
    let _advertiser = Radvd::start(rig.lab(), isp(1), &Advert::of(network))?;
    let mut server = DhcpServer::start(rig.lab(), isp(1), &before)?;
    let client = Dhcpcd::start(rig.lab(), "wan1", 100)?;
    ensure_carries(&rig, way(&before)).with_context(|| client.log())?;
    ensure_carries(&rig, Way::advertised(network)).with_context(|| client.log())?;
    server.renumber(rig.lab(), &after)?;
    ensure_moved(&rig, &before, &after)?;
    ensure_carries(&rig, Way::advertised(network))
}

/// A line that networkd is to have by DHCP, without touching what others have in the kernel.
pub(crate) const NETWORKD: [(&str, &str); 2] = [
    (
        "10-wan1.network",
        "[Match]\nName=wan1\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n",
    ),
    (
        "networkd.conf",
        "[Network]\nManageForeignRoutingPolicyRules=no\nManageForeignRoutes=no\n",
    ),
];

pub(crate) fn networkd() -> Result<()> {
    let rig = waiting()?;
    let (mut before, after) = (Pool::quarter(isp(1), 1), Pool::quarter(isp(1), 2));
    before.renew_after = 3;
    let mut server = DhcpServer::start(rig.lab(), isp(1), &before)?;
    let _client = Networkd::start(rig.lab(), &NETWORKD)?;
    ensure_carries(&rig, way(&before))?;
    server.renumber(rig.lab(), &after)?;
    ensure_moved(&rig, &before, &after)
}

/// A line that NetworkManager is to have by DHCP.
pub(crate) const KEYFILE: &str = "[connection]\nid=wan1\ntype=ethernet\ninterface-name=wan1\n\
                                  [ipv4]\nmethod=auto\n[ipv6]\nmethod=ignore\n";

pub(crate) fn network_manager() -> Result<()> {
    let rig = waiting()?;
    let (mut before, after) = (Pool::quarter(isp(1), 1), Pool::quarter(isp(1), 2));
    before.renew_after = 3;
    let mut server = DhcpServer::start(rig.lab(), isp(1), &before)?;
    let _client = NetworkManager::start(rig.lab(), &[("wan1", KEYFILE)])?;
    ensure_carries(&rig, way(&before))?;
    server.renumber(rig.lab(), &after)?;
    ensure_moved(&rig, &before, &after)
}

pub(crate) fn a_person() -> Result<()> {
    let rig = waiting()?;
    let (before, after) = (Pool::quarter(isp(1), 1), Pool::quarter(isp(1), 2));
    // The provider has both networks for good.
    let _first = DhcpServer::start(rig.lab(), isp(1), &before)?;
    ip_at(
        &rig,
        isp(1),
        &format!("address add {} dev cust", after.provider),
    )?;
    let (old, new) = (before.lease(), after.lease());
    ip(&rig, &format!("address add {old} dev wan1"))?;
    rig.wait_for("its gateway is missed", EVENTUALLY, |s| {
        find_uplink(s, isp(1)).is_some_and(|u| !u.in_service && u.reason.contains("gateway"))
    })?;
    let gateway = |pool: &Pool| way(pool).gateway.map(|g| g.to_string()).unwrap_or_default();
    ip(
        &rig,
        &format!("route add default via {} dev wan1", gateway(&before)),
    )?;
    ensure_carries(&rig, way(&before))?;
    // With both for a while, the default route says which one leads out.
    ip(&rig, &format!("address add {new} dev wan1"))?;
    ip(
        &rig,
        &format!("route change default via {} dev wan1", gateway(&after)),
    )?;
    wait_way(&rig, isp(1), way(&after), LEASED)?;
    ip(&rig, &format!("address del {old} dev wan1"))?;
    ensure_moved(&rig, &before, &after)
}

//! IPv6 by router advertisements: a real radvd at the provider, the kernel or networkd here.

use anyhow::{Context, Result, ensure};
use ipnet::Ipv6Net;
use uplinkd_lab::programs::{Advert, NetworkManager, Networkd, Radvd};
use uplinkd_model::Family;
use uplinkd_netns_tests::{EVENTUALLY, Rig, find_line, isp, within};

use crate::common::{LEASED, Way, bare, ensure_carries, ensure_over, ip, ip_at, wait_way};

const ACCEPT: &str = "net.ipv6.conf.wan1.accept_ra";

/// The provider's network on the first line, and another one that it owns.
pub(crate) fn networks() -> Result<[Ipv6Net; 2]> {
    Ok(["2001:db8:1::/64".parse()?, "2001:db8:100:1::/64".parse()?])
}

/// The first line has IPv4 for good, takes advertisements as a host does, and there is no daemon.
pub(crate) fn host() -> Result<Rig> {
    let rig = bare()?;
    ip(&rig, "address add 100.64.1.2/24 dev wan1")?;
    ip(&rig, "route add default via 100.64.1.1 dev wan1 metric 100")?;
    rig.lab()
        .router()
        .set_sysctls(&[(ACCEPT, "1"), ("net.ipv6.conf.wan1.autoconf", "1")])?;
    Ok(rig)
}

/// IPv4 of the line goes on, whatever happens to its IPv6.
pub(crate) fn ensure_v4(rig: &Rig) -> Result<()> {
    ensure_carries(rig, Way::new([100, 64, 1, 2], [100, 64, 1, 1]))
}

/// The default route was there before us; that we make a router of this machine must not cost it.
pub(crate) fn forwarding_does_not_cost_the_default_route() -> Result<()> {
    let mut rig = host()?;
    let [network, _] = networks()?;
    let advertiser = Radvd::start(rig.lab(), isp(1), &Advert::of(network))?;
    within("the kernel has its route", EVENTUALLY, || {
        Ok(crate::common::told(rig.lab().router(), "-6 route")?
            .contains("default via fe80::1 dev wan1"))
    })?;
    rig.start_daemon()?;
    ensure_carries(&rig, Way::advertised(network)).with_context(|| advertiser.log())?;
    ensure!(rig.lab().router().sysctl("net.ipv6.conf.all.forwarding")? == "1");
    ensure!(rig.lab().router().sysctl(ACCEPT)? == "2");
    let routes = crate::common::told(rig.lab().router(), "-6 route")?;
    ensure!(
        routes.contains("default via fe80::1 dev wan1 proto ra"),
        "{routes}"
    );
    rig.stop_daemon()?;
    let cleaned = rig.tool("uplinkd", &["clean"])?;
    ensure!(cleaned.status.success(), "{}", cleaned.stderr);
    ensure!(rig.lab().router().sysctl(ACCEPT)? == "1");
    Ok(())
}

/// A router for long, on which advertisements are welcome only if somebody says so.
pub(crate) fn advertisements_are_welcome_on_a_router() -> Result<()> {
    let mut rig = host()?;
    let [network, _] = networks()?;
    rig.lab()
        .router()
        .set_sysctls(&[("net.ipv6.conf.all.forwarding", "1")])?;
    rig.start_daemon()?;
    ensure_v4(&rig)?;
    let _advertiser = Radvd::start(rig.lab(), isp(1), &Advert::of(network))?;
    ensure_carries(&rig, Way::advertised(network))
}

/// An interface that comes when forwarding is on already takes none by itself.
pub(crate) fn an_interface_that_comes_later_takes_advertisements() -> Result<()> {
    let mut rig = bare()?;
    let lab = rig.shared_lab();
    lab.router()
        .set_sysctls(&[("net.ipv6.conf.default.accept_ra", "1")])?;
    let unplugged = uplinkd_lab::Fault::Interface.apply(&lab, isp(1))?;
    rig.start_daemon()?;
    rig.wait_for("isp2 serves", EVENTUALLY, |s| {
        s.settled && find_line(s, isp(2), Family::V6).is_some_and(|u| u.in_service)
    })?;
    unplugged.heal()?;
    let [network, _] = networks()?;
    let _advertiser = Radvd::start(rig.lab(), isp(1), &Advert::of(network))?;
    ensure_carries(&rig, Way::advertised(network))
}

/// networkd does it all itself and switches the kernel's own off.
pub(crate) const NETWORKD: [(&str, &str); 2] = [
    (
        "10-wan1.network",
        "[Match]\nName=wan1\n[Network]\nIPv6AcceptRA=yes\nKeepConfiguration=static\n\
         Address=100.64.1.2/24\n[Route]\nGateway=100.64.1.1\nMetric=100\n",
    ),
    (
        "networkd.conf",
        "[Network]\nManageForeignRoutingPolicyRules=no\nManageForeignRoutes=no\n",
    ),
];

pub(crate) fn by_networkd() -> Result<()> {
    let mut rig = bare()?;
    let _networkd = Networkd::start(rig.lab(), &NETWORKD)?;
    rig.start_daemon()?;
    ensure_v4(&rig)?;
    let [network, _] = networks()?;
    let _advertiser = Radvd::start(rig.lab(), isp(1), &Advert::of(network))?;
    ensure_carries(&rig, Way::advertised(network))?;
    ensure!(
        rig.lab().router().sysctl(ACCEPT)? == "0",
        "not our business"
    );
    Ok(())
}

pub(crate) fn by_network_manager() -> Result<()> {
    let keyfile = "[connection]\nid=wan1\ntype=ethernet\ninterface-name=wan1\n\
                   [ipv4]\nmethod=manual\naddress1=100.64.1.2/24,100.64.1.1\n\
                   [ipv6]\nmethod=auto\naddr-gen-mode=eui64\n";
    let mut rig = bare()?;
    let [network, _] = networks()?;
    let _advertiser = Radvd::start(rig.lab(), isp(1), &Advert::of(network))?;
    rig.start_daemon()?;
    let manager = NetworkManager::start(rig.lab(), &[("wan1", keyfile)])?;
    ensure_v4(&rig).with_context(|| manager.log())?;
    ensure_carries(&rig, Way::advertised(network)).with_context(|| manager.log())
}

/// The provider gives out another prefix and deprecates the old one, whose addresses stay for hours.
pub(crate) fn another_prefix() -> Result<()> {
    let mut rig = host()?;
    let [before, after] = networks()?;
    ip_at(&rig, isp(1), "address add 2001:db8:100:1::1/64 dev cust")?;
    rig.start_daemon()?;
    let advertiser = Radvd::start(rig.lab(), isp(1), &Advert::of(before))?;
    ensure_carries(&rig, Way::advertised(before))?;
    advertiser.change(&Advert {
        prefixes: vec![(before, 0, 0), (after, 7200, 3600)],
        ..Advert::of(after)
    })?;
    wait_way(&rig, isp(1), Way::advertised(after), LEASED)?;
    // The old prefix is not routed any more.
    rig.lab().isp(isp(1)).nft(
        "table ip6 old { chain arriving { type filter hook prerouting priority -300; \
         iifname \"cust\" ip6 saddr 2001:db8:1::/64 drop; }; }\n",
    )?;
    ensure_over(&rig, Family::V6, &[isp(1), isp(2)])?;
    ensure_v4(&rig)
}

//! Two lines that look the same: one provider twice, or two whose carrier-grade NAT gives out the
//! same addresses.

use anyhow::{Result, ensure};
use uplinkd_lab::{
    Fault, Isp, LabSpec,
    traffic::{Transport, shares},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{Rig, isp, servers};

use crate::common::{LEASED, Way, ensure_over, file, ip, ip_at, wait_out, wait_way};

/// Both lines have 100.64.0.0/24 with the gateway .1, and these addresses. Beyond, each provider
/// translates to an address of its own, so that the internet can tell them apart.
fn twins(addresses: [&str; 2]) -> Result<Rig> {
    let spec = LabSpec {
        bare: 2,
        source_validation: false,
        ..LabSpec::default()
    };
    let mut rig = Rig::without_daemon(spec, &file())?;
    for (number, address) in [1, 2].into_iter().zip(addresses) {
        ip_at(&rig, isp(number), "address flush dev cust scope global")?;
        ip_at(&rig, isp(number), "address add 100.64.0.1/24 dev cust")?;
        rig.lab().isp(isp(number)).nft(&format!(
            "table ip cgnat {{ chain out {{ type nat hook postrouting priority 100; \
             oifname \"core\" ip saddr 100.64.0.0/24 snat to 100.64.{number}.200; }}; }}\n"
        ))?;
        let line = format!("address add {address}/24 dev wan{number}");
        ip(&rig, &line)?;
        ip(
            &rig,
            &format!("route add default via 100.64.0.1 dev wan{number} metric {number}00"),
        )?;
    }
    rig.start_daemon()?;
    Ok(rig)
}

/// New connections of the LAN use just these lines, and those of the router have some way.
fn ensure_lan_over(rig: &Rig, lines: &[Isp]) -> Result<()> {
    let (lab, servers) = (rig.lab(), servers(rig.lab()));
    for transport in [Transport::Udp, Transport::Tcp] {
        let counted = shares(lab.client(), transport, &servers, 60)?;
        let is_right = lab
            .isps()
            .all(|i| (counted.of(i) > 5) == lines.contains(&i));
        ensure!(
            counted.failed == 0 && counted.elsewhere == 0 && is_right,
            "{transport:?}: {counted}, not over {lines:?}"
        );
        // One address leads to one table, so that the first line has them all while it is up.
        let own = shares(lab.router(), transport, &servers, 60)?;
        let astray = lab.isps().any(|i| !lines.contains(&i) && own.of(i) > 0);
        ensure!(
            own.failed == 0 && own.elsewhere == 0 && !astray,
            "the router's own {transport:?}: {own}, not over {lines:?}"
        );
    }
    Ok(())
}

fn ensure_both(rig: &Rig, addresses: [&str; 2]) -> Result<()> {
    for (number, address) in [1, 2].into_iter().zip(addresses) {
        let way = Way {
            address: address.parse::<std::net::IpAddr>()?.into(),
            gateway: Some("100.64.0.1".parse()?),
        };
        wait_way(rig, isp(number), way, LEASED)?;
    }
    ensure_lan_over(rig, &[isp(1), isp(2)])
}

fn ensure_each_fails_alone(rig: &Rig, addresses: [&str; 2]) -> Result<()> {
    ensure_both(rig, addresses)?;
    for (dead, alive) in [(1, 2), (2, 1)] {
        let (dead, alive): (Isp, Isp) = (isp(dead), isp(alive));
        let fault = Fault::Silent.apply(rig.lab(), dead)?;
        wait_out(rig, dead, Family::V4)?;
        ensure_lan_over(rig, &[alive])?;
        fault.heal()?;
        ensure_both(rig, addresses)?;
    }
    Ok(())
}

pub(crate) fn the_same_gateway_in_the_same_subnet() -> Result<()> {
    let addresses = ["100.64.0.2", "100.64.0.3"];
    let rig = twins(addresses)?;
    ensure_each_fails_alone(&rig, addresses)?;
    // With addresses of their own, the router's connections are shared out too.
    ensure_over(&rig, Family::V4, &[isp(1), isp(2)])
}

pub(crate) fn the_same_address_too() -> Result<()> {
    let addresses = ["100.64.0.2", "100.64.0.2"];
    ensure_each_fails_alone(&twins(addresses)?, addresses)
}

//! Interfaces that come later, go, and come back as others.

use anyhow::{Result, ensure};
use uplinkd_lab::{
    Fault, Netns,
    plumbing::Plumber,
    programs::{DhcpServer, Pool, Udhcpc},
};
use uplinkd_model::{Family, NexthopKind};
use uplinkd_netns_tests::{EVENTUALLY, Rig, find_uplink, isp};

use crate::{
    clients::way,
    common::{Way, bare, ensure_carries, ensure_over, ip, wait_out, waiting},
};

pub(crate) fn leased(rig: &Rig, pool: &Pool) -> Result<(DhcpServer, Udhcpc)> {
    let server = DhcpServer::start(rig.lab(), isp(1), pool)?;
    Ok((server, Udhcpc::start(rig.lab(), "wan1", 100)?))
}

pub(crate) fn index(rig: &Rig) -> Result<u32> {
    Plumber::new(rig.lab().router())?.index("wan1")
}

/// All nexthops of ours on `wan1` are on the interface that has this number.
pub(crate) fn ensure_on(rig: &Rig, index: u32) -> Result<()> {
    let mut found = 0;
    for nexthop in rig.dump()?.nexthops.values() {
        if let NexthopKind::Single { device, .. } = &nexthop.kind
            && device.name == "wan1"
        {
            ensure!(device.index == index, "{nexthop} is not on {index}");
            found += 1;
        }
    }
    ensure!(found > 0, "no nexthop on wan1");
    Ok(())
}

pub(crate) fn missing_at_the_start() -> Result<()> {
    let mut rig = bare()?;
    let lab = rig.shared_lab();
    let unplugged = Fault::Interface.apply(&lab, isp(1))?;
    rig.start_daemon()?;
    rig.wait_for("isp2 serves alone", EVENTUALLY, |s| {
        let missing = |n| find_uplink(s, isp(n)).map(|u| !u.in_service);
        s.settled && missing(1) == Some(true) && missing(2) == Some(false)
    })?;
    let line = rig.uplink(isp(1))?;
    ensure!(line.reason.contains("wan1"), "{line:?}");
    unplugged.heal()?;
    let pool = Pool::quarter(isp(1), 1);
    let _both = leased(&rig, &pool)?;
    ensure_carries(&rig, way(&pool))
}

/// As a USB modem that is pulled and plugged in again: another index, another lease.
pub(crate) fn unplugged_and_plugged_in_again() -> Result<()> {
    let rig = waiting()?;
    let (before, after) = (Pool::quarter(isp(1), 1), Pool::quarter(isp(1), 2));
    let gone = leased(&rig, &before)?;
    ensure_carries(&rig, way(&before))?;
    let first = index(&rig)?;
    let unplugged = Fault::Interface.apply(rig.lab(), isp(1))?;
    let line = wait_out(&rig, isp(1), Family::V4)?;
    ensure!(line.reason.contains("wan1"), "{line:?}");
    ensure_over(&rig, Family::V4, &[isp(2)])?;
    drop(gone);
    unplugged.heal()?;
    let second = index(&rig)?;
    ensure!(first != second, "it came back as the same");
    let _both = leased(&rig, &after)?;
    ensure_carries(&rig, way(&after))?;
    ensure_on(&rig, second)
}

pub(crate) fn moved_to_another_namespace_and_back() -> Result<()> {
    let rig = waiting()?;
    let usual = Way::new([100, 64, 1, 2], [100, 64, 1, 1]);
    let lease = |rig: &Rig| -> Result<()> {
        ip(rig, "link set wan1 up")?;
        ip(rig, "address add 100.64.1.2/24 dev wan1")?;
        ip(rig, "route add default via 100.64.1.1 dev wan1")
    };
    lease(&rig)?;
    ensure_carries(&rig, usual)?;
    let other = Netns::new("container")?;
    Plumber::new(rig.lab().router())?.move_link("wan1", &other)?;
    let line = wait_out(&rig, isp(1), Family::V4)?;
    ensure!(line.reason.contains("wan1"), "{line:?}");
    ensure_over(&rig, Family::V4, &[isp(2)])?;
    Plumber::new(&other)?.move_link("wan1", rig.lab().router())?;
    lease(&rig)?;
    ensure_carries(&rig, usual)?;
    ensure_on(&rig, index(&rig)?)
}

/// Another interface takes the name: the old one is there, renamed, and no longer the uplink.
pub(crate) fn the_name_goes_to_another_interface() -> Result<()> {
    let rig = waiting()?;
    let usual = Way::new([100, 64, 1, 2], [100, 64, 1, 1]);
    ip(&rig, "address add 100.64.1.2/24 dev wan1")?;
    ip(&rig, "route add default via 100.64.1.1 dev wan1")?;
    ensure_carries(&rig, usual)?;
    ip(&rig, "link set wan1 name old1")?;
    let line = wait_out(&rig, isp(1), Family::V4)?;
    ensure!(line.reason.contains("wan1"), "{line:?}");
    ip(&rig, "link set old1 name wan1")?;
    ensure_carries(&rig, usual)
}

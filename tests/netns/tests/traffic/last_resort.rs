//! With nothing left, what was there last stays.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::libc;
use uplinkd_api::{State, Status};
use uplinkd_lab::{
    Fault,
    traffic::{Attempts, Ending, Load, Transport, shares},
};
use uplinkd_model::{NexthopKind, Reserve, RouteVia};
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, find_uplink, isp, servers};

pub(crate) fn nothing_is_unreachable_when_all_are_down() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let lab = rig.lab();
    let load = |netns| {
        let mut load = Load::new(Transport::Udp, 100, Duration::from_secs(60), servers(lab));
        load.patience = Duration::from_millis(300);
        load.start(netns)
    };
    let loads = [load(lab.client())?, load(lab.router())?];
    let first = Fault::Upstream.apply(lab, isp(1))?;
    rig.wait_out(isp(1))?;
    let second = Fault::Upstream.apply(lab, isp(2))?;
    let status = rig.wait_for("nothing is left", EVENTUALLY, is_last_resort)?;
    // The last one that worked is kept.
    let kept: Vec<_> = status.groups[0]
        .serving
        .iter()
        .map(|s| s.uplink.as_str())
        .collect();
    ensure!(kept == ["isp2"], "{kept:?}");
    ensure!(
        !status.groups[0].reason.is_empty() && status.summary.contains("isp2"),
        "{}",
        status.summary
    );
    let events = rig.events()?.events;
    let told = events.iter().filter(|e| e.kind == "last-resort");
    // Once in each family, whose lines are judged apart.
    let families: Vec<_> = told.map(|e| e.detail["family"].as_str()).collect();
    ensure!(
        families.contains(&Some("ipv4")) && families.len() <= 2,
        "{families:?}"
    );
    rig.wait_for("settled with nothing left", EVENTUALLY, |s| s.settled)?;
    has_default(&rig)?;
    // The one that was given up first is the first to work again.
    first.heal()?;
    rig.wait_for("isp1 serves", EVENTUALLY, |s| {
        let serves = |i| find_uplink(s, i).is_some_and(|u| u.in_service);
        s.settled && !s.groups[0].last_resort && serves(isp(1)) && !serves(isp(2))
    })?;
    let counted = shares(lab.client(), Transport::Udp, &servers(lab), 200)?;
    ensure!(counted.of(isp(1)) == 200, "{counted}");
    second.heal()?;
    rig.wait_settled()?;
    let counted = shares(lab.client(), Transport::Tcp, &servers(lab), 1000)?;
    ensure!(
        counted.failed == 0 && (counted.percent(isp(1)) - 60.0).abs() < 7.0,
        "{counted}"
    );
    for load in loads {
        never_unreachable(&load.stop()?)?;
    }
    Ok(())
}

pub(crate) fn one_carrier_of_none_brings_everything_back() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let lab = rig.lab();
    let first = Fault::Carrier.apply(lab, isp(1))?;
    let second = Fault::Carrier.apply(lab, isp(2))?;
    let status = rig.wait_for("no carrier anywhere", EVENTUALLY, |s| {
        s.state == State::Down && s.settled && s.uplinks.iter().all(|u| u.carrier == Some(false))
    })?;
    ensure!(
        status.groups[0].last_resort && status.groups[0].serving.is_empty(),
        "{:?}",
        status.groups
    );
    second.heal()?;
    rig.wait_for("isp2 serves", EVENTUALLY, |s| {
        s.settled
            && s.state == State::Degraded
            && find_uplink(s, isp(2)).is_some_and(|u| u.in_service)
    })?;
    for netns in [lab.client(), lab.router()] {
        let counted = shares(netns, Transport::Tcp, &servers(lab), 200)?;
        ensure!(counted.of(isp(2)) == 200, "{counted}");
    }
    first.heal()?;
    rig.wait_settled()?;
    let counted = shares(lab.client(), Transport::Udp, &servers(lab), 1000)?;
    ensure!(
        counted.failed == 0 && (counted.percent(isp(1)) - 60.0).abs() < 7.0,
        "{counted}"
    );
    Ok(())
}

fn is_last_resort(status: &Status) -> bool {
    status.state == State::Down && status.groups[0].last_resort
}

/// The table of the default group leads somewhere.
fn has_default(rig: &Rig) -> Result<()> {
    let found = rig.dump()?;
    let table = Reserve::default().table_outlet(0);
    let leads = found.routes.iter().any(|r| {
        let RouteVia::Nexthop(id) = r.via else {
            return false;
        };
        let group = found.nexthops.get(&id).map(|n| &n.kind);
        r.table == table
            && r.destination.prefix_len() == 0
            && matches!(group, Some(NexthopKind::Group(members)) if !members.is_empty())
    });
    ensure!(leads, "{:?}", found.routes);
    Ok(())
}

/// Packets were lost, but nobody was told that there is no network.
fn never_unreachable(attempts: &Attempts) -> Result<()> {
    let told = attempts.0.iter().find(|a| match a.ending {
        Ending::Answered(_) | Ending::Lost => false,
        // A socket that is in the middle of being moved.
        Ending::NotSent(e) => e != libc::EPERM,
        Ending::Refused(_) => true,
    });
    ensure!(told.is_none(), "{told:?}");
    Ok(())
}

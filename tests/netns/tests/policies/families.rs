//! The two families of a line live and die apart.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{
    Fault, Ipv6, LabSpec,
    traffic::{Flow, FlowSpec, Packet, Transport},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, find_line, isp, servers_of};

use crate::stage::{
    FAMILIES, ISP1_BY_DEFAULT,
    Sender::{Client, Router},
    Stage, ensure_over, policies,
};

pub(crate) fn ipv6_fails_alone() -> Result<()> {
    let list = [
        ("dport = 5001", "use = \"isp2\""),
        ("dport = 5002", "use = \"isp2\"\notherwise = \"block\""),
    ];
    let stage = Stage::set(&format!("{ISP1_BY_DEFAULT}{}", policies(list)))?;
    let lab = stage.rig.lab();
    let spec = |family| FlowSpec {
        port: 5001,
        ..FlowSpec::new(Transport::Udp, stage.server(family, 3))
    };
    for fault in [Fault::UpstreamOf(Family::V6), Fault::AddressOf(Family::V6)] {
        let steady = Flow::start(lab.client(), spec(Family::V4))?;
        let moving = Flow::start(lab.client(), spec(Family::V6))?;
        let begun = Instant::now();
        for flow in [&steady, &moving] {
            flow.wait_for_answer(begun, EVENTUALLY)
                .context("a flow does not begin")?;
        }
        let broken = fault.apply(lab, isp(2))?;
        let status = stage.rig.wait_out_of(isp(2), Family::V6)?;
        ensure!(
            find_line(&status, isp(2), Family::V4).is_some_and(|u| u.in_service),
            "{fault} took IPv4 out as well"
        );
        for sender in [Client, Router] {
            let packet = |family, port| Packet::udp(stage.server(family, 5), port);
            let fates = stage.fates_of(
                sender,
                &[packet(Family::V4, 5001), packet(Family::V4, 5002)],
            )?;
            ensure_over(&fates, isp(2), "IPv4 of the policy")?;
            let fates = stage.fates_of(
                sender,
                &[packet(Family::V6, 5001), packet(Family::V6, 5000)],
            )?;
            ensure_over(&fates, isp(1), "IPv6 of the policy")?;
            let fates = stage.fates_of(sender, &[packet(Family::V6, 5002)])?;
            ensure!(fates[0].isp().is_none(), "strict IPv6: {fates:?}");
        }
        let moved = moving.wait_for_answer(broken.since() + Duration::from_millis(500), EVENTUALLY);
        moved.context("the IPv6 flow does not go on")?;
        ensure!(
            moving.record().last_isp() == Some(isp(1)),
            "the IPv6 flow is elsewhere"
        );
        broken.heal()?;
        stage.rig.wait_settled()?;
        let record = steady.stop()?;
        ensure!(
            record.lost() == 0 && record.last_isp() == Some(isp(2)),
            "{fault}: {} of the IPv4 flow lost",
            record.lost()
        );
        let fates = stage.fates_of(Client, &[Packet::udp(stage.server(Family::V6, 5), 5001)])?;
        ensure_over(&fates, isp(2), "IPv6 is back")?;
    }
    Ok(())
}

/// Whether connections of a family reach the internet, from the LAN and from the router.
fn ensure_works(rig: &Rig, family: Family, lines: &[usize]) -> Result<()> {
    for netns in [rig.lab().client(), rig.lab().router()] {
        let servers = servers_of(rig.lab(), family);
        let counted = uplinkd_lab::traffic::shares(netns, Transport::Udp, &servers, 200)?;
        let is_right = (1..=2).all(|n| (counted.of(isp(n)) > 20) == lines.contains(&n));
        ensure!(
            counted.failed == 0 && is_right,
            "{} {family}: {counted}",
            netns.name()
        );
    }
    Ok(())
}

pub(crate) fn ipv6_comes_later() -> Result<()> {
    for ipv6 in [Ipv6::Advertised, Ipv6::Static] {
        let spec = LabSpec {
            ipv6,
            ..LabSpec::default()
        };
        let mut rig = Rig::without_daemon(spec, &config(&[1, 1]))?;
        let lab = rig.shared_lab();
        let prefixless = [1, 2].map(|n| Fault::AddressOf(Family::V6).apply(&lab, isp(n)));
        let [first, second] = prefixless;
        let (first, second) = (first?, second?);
        rig.start_daemon()?;
        rig.wait_settled()?;
        ensure_works(&rig, Family::V4, &[1, 2])?;
        first.heal()?;
        rig.wait_for("IPv6 of isp1 serves", EVENTUALLY, |s| {
            s.settled && find_line(s, isp(1), Family::V6).is_some_and(|u| u.in_service)
        })?;
        ensure_works(&rig, Family::V6, &[1])?;
        second.heal()?;
        rig.wait_for("IPv6 of isp2 serves", EVENTUALLY, |s| {
            s.settled && find_line(s, isp(2), Family::V6).is_some_and(|u| u.in_service)
        })?;
        for family in FAMILIES {
            ensure_works(&rig, family, &[1, 2])?;
        }
    }
    Ok(())
}

pub(crate) fn an_uplink_without_ipv6_is_no_fault() -> Result<()> {
    let spec = || LabSpec {
        ipv6: Ipv6::Absent,
        ..LabSpec::default()
    };
    // Not asked for, not missed.
    let rig = Rig::start_in(spec(), &config(&[1, 1]))?;
    ensure_works(&rig, Family::V4, &[1, 2])?;
    drop(rig);
    // Asked for, it is missed, and IPv4 goes on.
    let file = config(&[1, 1]) + "[uplink.isp1.ipv6]\n";
    let mut rig = Rig::without_daemon(spec(), &file)?;
    rig.start_daemon()?;
    rig.wait_for("IPv6 of isp1 is told to be down", EVENTUALLY, |s| {
        s.settled
            && find_line(s, isp(1), Family::V6).is_some_and(|u| !u.in_service && !u.absent)
            && find_line(s, isp(1), Family::V4).is_some_and(|u| u.in_service)
    })?;
    ensure_works(&rig, Family::V4, &[1, 2])
}

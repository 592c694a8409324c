//! What keeps to the uplink that it was given first, by source and by source and destination.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{
    Fault, Isp, addresses,
    traffic::{Fate, Packet},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::isp;

use crate::stage::{
    FAMILIES, ISP1_BY_DEFAULT,
    Sender::{Client, Router},
    Stage, policies,
};

const PORT: u16 = 5100;
/// How many sources.
const SOURCES: usize = 30;
/// How many servers each of them asks.
const SERVERS: usize = 6;

/// A group of both uplinks, with these weights, sticky by something.
fn sticky(by: &str, weights: [u16; 2], more: &str) -> String {
    let [first, second] = weights;
    let policies = policies([(&*format!("dport = {PORT}"), "use = \"bank\"")]);
    format!(
        "{ISP1_BY_DEFAULT}[group.bank]\nsticky = {by}\n\
         tiers = [[{{ uplink = \"isp1\", weight = {first} }}, \
         {{ uplink = \"isp2\", weight = {second} }}]]\n{more}{policies}"
    )
}

/// Which line each source got for each server.
type Choices = BTreeMap<(IpAddr, IpAddr), Isp>;

/// Every source asks every server once more, in both families.
fn choices(stage: &Stage) -> Result<Choices> {
    let mut packets = Vec::new();
    for family in FAMILIES {
        for source in 0..SOURCES {
            let from = addresses::client(family, source).addr();
            for server in 0..SERVERS {
                packets.push(Packet::udp(stage.server(family, server), PORT).from(from));
            }
        }
    }
    // One after the other: a choice is remembered once the first packet has left.
    let fates = stage.fates_of(Client, &packets)?;
    packets
        .iter()
        .zip(fates)
        .map(|(packet, fate)| {
            let from = packet.from.context("no source")?;
            let line = fate
                .isp()
                .with_context(|| format!("{packet:?}: {fate:?}"))?;
            Ok(((from, packet.to), line))
        })
        .collect()
}

/// The one line of each source; an error where one has several.
fn by_source(choices: &Choices) -> Result<BTreeMap<IpAddr, Isp>> {
    let mut all = BTreeMap::new();
    for ((source, to), line) in choices {
        let kept = *all.entry(*source).or_insert(*line);
        ensure!(
            kept == *line,
            "{source} went over {kept} and, to {to}, over {line}"
        );
    }
    Ok(all)
}

fn ensure_both_used<K>(choices: &BTreeMap<K, Isp>) -> Result<()> {
    for line in [isp(1), isp(2)] {
        let count = choices.values().filter(|l| **l == line).count();
        ensure!(
            count * 10 > choices.len(),
            "{count} of {} over {line}",
            choices.len()
        );
    }
    Ok(())
}

pub(crate) fn a_source_keeps_its_uplink() -> Result<()> {
    let mut stage = Stage::set(&sticky("\"source\"", [1, 1], ""))?;
    let first = by_source(&choices(&stage)?)?;
    ensure_both_used(&first)?;
    // Other weights and other policies change nothing for those who are known.
    stage.reload(&sticky("\"source\"", [1, 50], ""))?;
    ensure!(
        by_source(&choices(&stage)?)? == first,
        "after other weights"
    );
    let other = policies([("dport = 9", "use = \"block\"")]);
    stage.reload(&sticky("\"source\"", [50, 1], &other))?;
    ensure!(
        by_source(&choices(&stage)?)? == first,
        "after another policy"
    );
    // Neither does a restart of the daemon.
    stage.rig.stop_daemon()?;
    stage.rig.start_daemon()?;
    stage.rig.wait_settled()?;
    ensure!(by_source(&choices(&stage)?)? == first, "after a restart");
    // Who is new follows the weights of now.
    let newcomers: Vec<_> = (100..140)
        .map(|n| {
            Packet::udp(stage.server(Family::V4, 1), PORT)
                .from(addresses::client(Family::V4, n).addr())
        })
        .collect();
    let fates = stage.fates_of(Client, &newcomers)?;
    let over = fates.iter().filter(|f| f.isp() == Some(isp(1))).count();
    ensure!(over >= 33, "{over} of 40 newcomers by 50:1 over isp1");
    // The router's own connections have one source before they are translated, so one line.
    let own: Vec<_> = (0..20)
        .map(|n| {
            Packet::udp(stage.server(Family::V4, n), PORT).from(isp(1).router(Family::V4).addr())
        })
        .collect();
    let fates = stage.fates_of(Router, &own)?;
    let lines: std::collections::BTreeSet<_> = fates.iter().map(|f| f.isp()).collect();
    ensure!(lines.len() == 1, "{fates:?}");
    Ok(())
}

pub(crate) fn a_pair_keeps_its_uplink() -> Result<()> {
    let stage = Stage::set(&sticky("\"source-destination\"", [1, 1], ""))?;
    let first = choices(&stage)?;
    ensure_both_used(&first)?;
    ensure!(by_source(&first).is_err(), "every source has one line only");
    stage.reload(&sticky(
        "{ by = \"source-destination\", for = \"1h\" }",
        [1, 50],
        "",
    ))?;
    ensure!(choices(&stage)? == first, "after other weights");
    Ok(())
}

pub(crate) fn only_a_failure_moves_it() -> Result<()> {
    let stage = Stage::set(&sticky("\"source\"", [1, 1], ""))?;
    let first = by_source(&choices(&stage)?)?;
    for fault in [Fault::Upstream, Fault::Carrier] {
        let broken = fault.apply(stage.rig.lab(), isp(1))?;
        stage.rig.wait_out(isp(1))?;
        let moved = by_source(&choices(&stage)?)?;
        ensure!(moved.values().all(|l| *l == isp(2)), "{fault}: {moved:?}");
        broken.heal()?;
        stage.rig.wait_settled()?;
        // They have been given another, and keep that one now.
        let after = by_source(&choices(&stage)?)?;
        ensure!(after == moved, "{fault}: they moved back by themselves");
    }
    // Those of the healthy line were never touched; newcomers use both.
    let untouched = first.values().filter(|l| **l == isp(2)).count();
    ensure!(untouched > 0);
    let newcomers: Vec<_> = (100..160)
        .map(|n| {
            Packet::udp(stage.server(Family::V6, 1), PORT)
                .from(addresses::client(Family::V6, n).addr())
        })
        .collect();
    let fates: Vec<Fate> = stage.fates_of(Client, &newcomers)?;
    for line in [isp(1), isp(2)] {
        let count = fates.iter().filter(|f| f.isp() == Some(line)).count();
        ensure!(count > 10, "{count} of 60 newcomers over {line}");
    }
    Ok(())
}

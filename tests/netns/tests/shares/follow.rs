//! Shares that follow the lines: their rates, how full they are, how far away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use uplinkd_api::Status;
use uplinkd_lab::{
    Fault, Isp,
    traffic::{Transport, shares},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{
    Ask, EVENTUALLY, Rig,
    ask::{Conversation, ask_all},
    config, isp, servers,
};

use crate::common::{carried, group, under_load};

const V4: Family = Family::V4;
/// What is decided here has to last for seconds before it is done.
const SOON: Duration = Duration::from_secs(60);
/// The usual port, where somebody answers.
const PORT: u16 = uplinkd_lab::traffic::PORT;

fn weights(status: &Status) -> Vec<u16> {
    let serving = group(status, "default", V4).map(|g| g.serving.as_slice());
    serving
        .unwrap_or_default()
        .iter()
        .map(|s| s.weight)
        .collect()
}

fn rate(line: usize, up: &str) -> String {
    format!("[uplink.isp{line}.rate]\nup = \"{up}\"\n")
}

/// A connection that is under way over a line.
fn under_way(rig: &Rig, over: Isp) -> Result<Conversation> {
    let to = servers(rig.lab());
    for server in to.iter().cycle().take(200) {
        let mut open = Ask::new(Transport::Udp, *server).open(rig.lab().client())?;
        if open.ask().isp() == Some(over) {
            return Ok(open);
        }
    }
    anyhow::bail!("no connection of 200 began over {over}")
}

pub(crate) fn shares_follow_the_rates_of_the_lines() -> Result<()> {
    let text = config(&[1, 1]).replace("weight = 1", "weight = \"auto\"");
    let rig = Rig::start(&(text + &rate(1, "300mbit") + &rate(2, "100mbit")))?;
    let status = rig.status()?;
    ensure!(weights(&status) == [240, 80], "{:?}", weights(&status));
    let balance = group(&status, "default", V4).and_then(|g| g.balance.clone());
    ensure!(
        balance.as_deref() == Some("shares follow the rates of the lines"),
        "{balance:?}"
    );
    let counted = shares(
        rig.lab().client(),
        Transport::Udp,
        &servers(rig.lab()),
        3000,
    )?;
    let percent = counted.of(isp(1)) * 100 / 3000;
    ensure!((72..=78).contains(&percent), "{counted}");
    Ok(())
}

pub(crate) fn a_full_tier_overflows_and_comes_back() -> Result<()> {
    let tiers = "[group.default]\ntiers = [[\"isp1\"], [\"isp2\"]]\noverflow_at = \"80%\"\n\
                 failback = \"by-hand\"\n";
    let rig = Rig::start(&(config(&[1, 1]) + &rate(1, "4mbit") + &rate(2, "40mbit") + tiers))?;
    let mut before = under_way(&rig, isp(1))?;
    let server = servers(rig.lab())[5];
    let tier = |s: &Status| group(s, "default", V4).and_then(|g| g.tier);
    let meanwhile = under_load(&rig, server, 4000, || {
        let status = rig.wait_for("it overflows", SOON, |s| s.settled && tier(s) == Some(2))?;
        let why = group(&status, "default", V4).and_then(|g| g.balance.clone());
        ensure!(
            why.as_deref().is_some_and(|w| w.contains("tier 1 is full")),
            "{why:?}"
        );
        let [first, second, _] = carried(&rig, V4, PORT, 100)?;
        ensure!(
            (first, second) == (0, 100),
            "while it is full: {first} {second}"
        );
        ensure!(before.ask().isp() == Some(isp(1)), "a connection has moved");
        under_way(&rig, isp(2))
    })?;
    // The load began on the first line and has stayed there, and so has nobody said a word.
    rig.wait_for("it comes back", SOON, |s| s.settled && tier(s) == Some(1))?;
    let [first, second, _] = carried(&rig, V4, PORT, 100)?;
    ensure!((first, second) == (100, 0), "afterwards: {first} {second}");
    let mut both = [before, meanwhile];
    let answers: Vec<_> = ask_all(&mut both).iter().map(|a| a.isp()).collect();
    ensure!(answers == [Some(isp(1)), Some(isp(2))], "{answers:?}");
    let events = rig.events()?.events.into_iter();
    let told: Vec<_> = events
        .filter(|e| e.kind == "selection" && e.text.contains("full"))
        .map(|e| e.text)
        .collect();
    ensure!((2..=4).contains(&told.len()), "{told:#?}");
    Ok(())
}

pub(crate) fn new_connections_leave_a_line_that_becomes_slower() -> Result<()> {
    // A full line may answer late, and lose some.
    let text = config(&[1, 1]).replace("timeout = \"100ms\"", "timeout = \"1s\"");
    let text = text.replace("fall = 3", "fall = 10");
    let rig = Rig::start(&(text + "[group.default]\nbalance = \"lowest-latency\"\n"))?;
    let chosen = |s: &Status| -> Option<Isp> {
        let serving = &group(s, "default", V4)?.serving;
        let most = serving.iter().find(|s| s.share > 0.9)?;
        [1, 2]
            .map(isp)
            .into_iter()
            .find(|i| i.to_string() == most.uplink)
    };
    let status = rig.wait_for("one is chosen", EVENTUALLY, |s| {
        s.settled && chosen(s).is_some()
    })?;
    let near = chosen(&status).context("nobody is chosen")?;
    let far = if near == isp(1) { isp(2) } else { isp(1) };
    let mut held = under_way(&rig, near)?;
    let server = servers(rig.lab())[5];
    let slow = Fault::Slow(2000).apply(rig.lab(), near)?;
    under_load(&rig, server, 1960, || {
        under_load(&rig, server, 240, || {
            rig.wait_for("the other one is chosen", SOON, |s| {
                s.settled && chosen(s) == Some(far)
            })?;
            let count = carried(&rig, V4, PORT, 200)?;
            let of = |line: Isp| if line == isp(1) { count[0] } else { count[1] };
            ensure!(of(far) >= 190, "new connections: {count:?}, not by {far}");
            Ok(())
        })
    })?;
    slow.heal()?;
    ensure!(
        (0..5).any(|_| held.ask().isp() == Some(near)),
        "the connection under way has moved or died"
    );
    Ok(())
}

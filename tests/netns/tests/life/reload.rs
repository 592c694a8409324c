//! Issue 2, point 11: a changed file, by SIGHUP and across a restart.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use uplinkd_lab::{
    LabSpec, stretched,
    traffic::{Transport, shares},
};
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, isp, servers, within};

use crate::{
    common::{Ours, ensure_flowed, ensure_nothing_to_do, flows_on_both, steady_load},
    machine::Machine,
};

fn three_lines() -> LabSpec {
    LabSpec {
        uplinks: 3,
        ..LabSpec::default()
    }
}

pub(crate) fn an_invalid_file_is_refused_and_changes_nothing() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let ours = Ours::read(&rig)?;
    let before = Machine::read(&rig)?;
    for (n, bad) in [
        config(&[3, 0]),
        "nonsense".to_owned(),
        config(&[3, 2]).replace("wan2", "wan1"),
    ]
    .into_iter()
    .enumerate()
    {
        rig.places().write_config(&bad)?;
        rig.daemon()?.process().signal(Signal::SIGHUP)?;
        within("it is refused", EVENTUALLY, || {
            Ok(rig.count_events("reload-refused")? == n + 1)
        })?;
        Machine::read(&rig)?.ensure_is(&before)?;
    }
    // Still alive and routing by the old file, also after it had to repair something.
    let rule = ours.rules.last().context("no rules")?.clone();
    rig.execute(vec![uplinkd_model::Step::DeleteRule(rule)])?;
    crate::common::wait_restored(&rig, "repaired by the old file", &ours)?;
    ensure!(rig.count_events("reloaded")? == 0, "reloaded all the same");
    rig.wait_settled()?;
    Ok(())
}

pub(crate) fn a_valid_change_is_applied() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let load = steady_load(&rig)?;
    rig.reload(&config(&[1, 9]))?;
    ensure_nothing_to_do(&rig)?;
    let seen = shares(
        rig.lab().client(),
        Transport::Udp,
        &servers(rig.lab()),
        1000,
    )?;
    let percent = seen.percent(isp(2));
    ensure!((85.0..95.0).contains(&percent), "1:9 became {seen}");
    // The same again is no work.
    let machine = Machine::read(&rig)?;
    let applied = rig.count_events("applied")?;
    rig.reload(&config(&[1, 9]))?;
    thread::sleep(stretched(Duration::from_millis(300)));
    ensure!(
        rig.count_events("applied")? == applied,
        "work for an unchanged file"
    );
    Machine::read(&rig)?.ensure_is(&machine)?;
    ensure_flowed(load)
}

pub(crate) fn a_third_uplink_comes_and_another_goes() -> Result<()> {
    let mut rig = Rig::without_daemon(three_lines(), &config(&[1, 1]))?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    let two = Ours::read(&rig)?;
    let load = steady_load(&rig)?;
    rig.reload(&config(&[1, 1, 1]))?;
    rig.wait_settled()?;
    let seen = shares(rig.lab().client(), Transport::Udp, &servers(rig.lab()), 300)?;
    ensure!(seen.of(isp(3)) > 50, "the third line after it came: {seen}");
    ensure_nothing_to_do(&rig)?;

    let without_second =
        config(&[1, 1, 1]).replace("[uplink.isp2]\ninterface = \"wan2\"\nweight = 1\n", "");
    rig.reload(&without_second)?;
    rig.wait_settled()?;
    let seen = shares(rig.lab().client(), Transport::Udp, &servers(rig.lab()), 300)?;
    ensure!(
        seen.of(isp(2)) == 0 && seen.of(isp(1)) > 50,
        "the second line after it went: {seen}"
    );
    ensure_nothing_to_do(&rig)?;
    let left = Ours::read(&rig)?;
    let is_second = |words: String| words.contains("wan2") || words.contains("100.64.2.");
    ensure!(
        !left.rules.iter().any(|r| is_second(r.to_string()))
            && !left.routes.iter().any(|r| is_second(r.to_string()))
            && !left.nexthops.values().any(|n| is_second(n.to_string())),
        "something of the second uplink is left: {left:#?}"
    );
    ensure!(rig.uplink(isp(2)).is_err(), "the status still knows it");

    // It comes back under its old number, the third goes, and all is as at first.
    rig.reload(&config(&[1, 1]))?;
    rig.wait_settled()?;
    Ours::read(&rig)?.ensure_is(&two)?;
    ensure_flowed(load)
}

pub(crate) fn flows_of_a_removed_uplink_go_on_over_another() -> Result<()> {
    // With an address of its own for each line, a flow that kept its translation would go out with
    // the removed line's address for ever.
    let fixed = |n: usize| format!("[uplink.isp{n}.ipv4]\nnat = \"100.64.{n}.2\"\n");
    for text in [String::new(), fixed(1) + &fixed(2)] {
        let rig = Rig::start(&(config(&[1, 1]) + &text))?;
        let began = Instant::now();
        let [staying, moving] = flows_on_both(&rig)?;
        let without_second = (config(&[1, 1]) + &text)
            .replace("[uplink.isp2]\ninterface = \"wan2\"\nweight = 1\n", "")
            .replace(&fixed(2), "");
        rig.reload(&without_second)?;
        let after = Instant::now() + Duration::from_millis(300);
        for flow in &moving {
            flow.wait_for_answer(after, EVENTUALLY)
                .with_context(|| format!("a flow of the removed uplink is stuck ({text:?})"))?;
            let outage = flow.record().outage_since(began);
            ensure!(
                outage.is_none_or(|o| o.lost <= 25),
                "half a second: {outage:?}"
            );
            let over = flow.record().last_isp();
            ensure!(over == Some(isp(1)), "it goes over {over:?}");
        }
        for flow in staying {
            let lost = flow.stop()?.lost();
            ensure!(lost == 0, "a flow of the other uplink lost {lost}");
        }
    }
    Ok(())
}

pub(crate) fn an_uplink_moves_to_another_interface() -> Result<()> {
    let nat = |line: usize| format!("[uplink.isp2.ipv4]\nnat = \"100.64.{line}.2\"\n");
    let mut rig = Rig::without_daemon(three_lines(), &(config(&[1, 1]) + &nat(2)))?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    let flows = flows_on_both(&rig)?;
    let load = steady_load(&rig)?;
    let moved = (config(&[1, 1]) + &nat(3)).replace("wan2", "wan3");
    rig.reload(&moved)?;
    rig.wait_settled()?;
    ensure_nothing_to_do(&rig)?;
    let ours = Ours::read(&rig)?;
    ensure!(
        !ours.rules.iter().any(|r| r.to_string().contains("wan2"))
            && !ours
                .nexthops
                .values()
                .any(|n| n.to_string().contains("wan2")),
        "something is left on the old interface: {ours:#?}"
    );
    let seen = shares(rig.lab().client(), Transport::Udp, &servers(rig.lab()), 300)?;
    ensure!(
        seen.of(isp(2)) == 0 && seen.of(isp(1)) > 50 && seen.of(isp(3)) > 50,
        "after the move: {seen}"
    );
    ensure_flowed(load)?;
    let after = Instant::now();
    for flow in flows.iter().flatten() {
        flow.wait_for_answer(after, EVENTUALLY)
            .context("a flow is stuck after the move")?;
        let over = flow.record().last_isp();
        ensure!(over != Some(isp(2)), "a flow still uses the old line");
    }
    Ok(())
}

//! Issue 2, point 9, first half: start, crash, stop and restart.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{Fault, LabSpec, stretched, traffic::Flow};
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, find_uplink, isp};

use crate::{
    common::{
        Ours, ensure_none_lost, ensure_nothing_but_a_release, ensure_nothing_to_do, flows_on_both,
        says, steady_load,
    },
    machine::Machine,
};

/// A start takes about this long; it is interrupted at moments spread over it.
const START: Duration = Duration::from_millis(60);

/// Moments from zero to [`START`].
fn moments(count: u32) -> impl Iterator<Item = Duration> {
    (0..count).map(move |n| stretched(START) * n / count)
}

fn ensure_undisturbed(flows: [Vec<Flow>; 2]) -> Result<()> {
    for flow in flows.into_iter().flatten() {
        let record = flow.stop()?;
        ensure!(record.lost() == 0, "a flow lost {} answers", record.lost());
        let first = record.samples.iter().find_map(|s| s.answered.map(|a| a.1));
        let moved = record
            .samples
            .iter()
            .filter_map(|s| s.answered)
            .any(|a| Some(a.1) != first);
        ensure!(!moved, "a flow moved to another line");
    }
    Ok(())
}

pub(crate) fn killed_between_steps_of_its_first_start() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[3, 2]))?;
    let untouched = Machine::read(&rig)?.without_memory(&rig);
    rig.start_daemon()?;
    rig.wait_settled()?;
    let wanted = Ours::read(&rig)?;
    rig.kill_daemon()?;
    says(&rig, &["clean"], 0, &[])?;
    for (n, moment) in moments(14).enumerate() {
        let what = || format!("killed {moment:?} after its start");
        rig.start_daemon()?;
        thread::sleep(moment);
        rig.kill_daemon()?;
        // Half of the times it is started again, half of the times it is given up.
        if n % 2 == 0 {
            rig.start_daemon()?;
            rig.wait_settled().with_context(what)?;
            Ours::read(&rig)?.ensure_is(&wanted).with_context(what)?;
            ensure_nothing_to_do(&rig).with_context(what)?;
            rig.kill_daemon()?;
        }
        says(&rig, &["clean"], 0, &[]).with_context(what)?;
        let left = Machine::read(&rig)?.without_memory(&rig);
        left.ensure_is(&untouched).with_context(what)?;
    }
    Ok(())
}

pub(crate) fn killed_again_and_again_while_traffic_flows() -> Result<()> {
    let mut rig = Rig::start(&config(&[3, 2]))?;
    let wanted = Ours::read(&rig)?;
    let (load, flows) = (steady_load(&rig)?, flows_on_both(&rig)?);
    for moment in moments(20) {
        rig.kill_daemon()?;
        rig.start_daemon()?;
        thread::sleep(moment);
    }
    rig.wait_settled()?;
    thread::sleep(stretched(Duration::from_millis(300)));
    let attempts = load.stop()?;
    ensure_none_lost(&attempts)?;
    ensure_undisturbed(flows)?;
    let over = attempts.shares();
    ensure!(
        over.of(isp(1)) > 0 && over.of(isp(2)) > 0,
        "not shared out: {over}"
    );
    Ours::read(&rig)?.ensure_is(&wanted)?;
    ensure_nothing_to_do(&rig)
}

pub(crate) fn killed_while_something_of_ours_is_missing() -> Result<()> {
    // A restart that has work to do is killed in the middle of it.
    let mut rig = Rig::start(&config(&[3, 2]))?;
    let wanted = Ours::read(&rig)?;
    let load = steady_load(&rig)?;
    for moment in moments(8) {
        rig.kill_daemon()?;
        // A mark rule and the nft table: new connections flow without them, unless masquerading
        // stops, so the table is only emptied of what keeps flows in their place.
        let rule = wanted.rules.iter().find(|r| r.mark.is_some());
        let rule = rule.context("no rule for a mark")?.clone();
        rig.execute(vec![uplinkd_model::Step::DeleteRule(rule)])?;
        rig.lab()
            .router()
            .nft("add chain inet uplinkd stranger\n")?;
        rig.start_daemon()?;
        thread::sleep(moment);
        rig.kill_daemon()?;
        rig.start_daemon()?;
        rig.wait_settled()?;
        Ours::read(&rig)?.ensure_is(&wanted)?;
    }
    ensure_none_lost(&load.stop()?)?;
    ensure_nothing_to_do(&rig)
}

pub(crate) fn killed_during_failover() -> Result<()> {
    let mut rig = Rig::start(&config(&[3, 2]))?;
    let lab = rig.shared_lab();
    let both = Ours::read(&rig)?;
    let mut one = None;
    for moment in moments(5) {
        let what = || format!("killed {moment:?} after the carrier was lost");
        let load = steady_load(&rig)?;
        let fault = Fault::Carrier.apply(&lab, isp(1))?;
        thread::sleep(moment);
        rig.kill_daemon()?;
        rig.start_daemon()?;
        rig.wait_for("isp2 alone serves", EVENTUALLY, |s| {
            let is_in = |n| find_uplink(s, isp(n)).is_some_and(|u| u.in_service);
            s.settled && !is_in(1) && is_in(2)
        })
        .with_context(what)?;
        let found = Ours::read(&rig)?;
        let wanted = one.get_or_insert_with(|| found.clone());
        found.ensure_is(wanted).with_context(what)?;
        ensure_nothing_but_a_release(&rig).with_context(what)?;
        let settled = Instant::now();
        thread::sleep(stretched(Duration::from_millis(200)));
        let attempts = load.stop()?;
        ensure_none_lost(&attempts.since(settled)).with_context(what)?;
        // The kernel itself takes new connections off a line without a carrier, daemon or not. What
        // was on its way just then may be lost.
        ensure!(
            attempts.failed() <= 20,
            "{}: {} of {} connections lost",
            what(),
            attempts.failed(),
            attempts.0.len()
        );
        fault.heal()?;
        rig.wait_settled().with_context(what)?;
        Ours::read(&rig)?.ensure_is(&both).with_context(what)?;
    }
    Ok(())
}

pub(crate) fn killed_while_it_notices_a_silent_line() -> Result<()> {
    let mut rig = Rig::start(&config(&[3, 2]))?;
    let lab = rig.shared_lab();
    let both = Ours::read(&rig)?;
    // Three losses at 100 ms: the verdict falls somewhere between 300 and 450 ms.
    for wait in [280, 320, 360, 400] {
        let what = || format!("killed {wait} ms after the line fell silent");
        let fault = Fault::Silent.apply(&lab, isp(1))?;
        thread::sleep(stretched(Duration::from_millis(wait)));
        rig.kill_daemon()?;
        rig.start_daemon()?;
        rig.wait_out(isp(1)).with_context(what)?;
        ensure_nothing_but_a_release(&rig).with_context(what)?;
        let load = steady_load(&rig)?;
        thread::sleep(stretched(Duration::from_millis(300)));
        ensure_none_lost(&load.stop()?).with_context(what)?;
        fault.heal()?;
        rig.wait_settled().with_context(what)?;
        Ours::read(&rig)?.ensure_is(&both).with_context(what)?;
    }
    Ok(())
}

pub(crate) fn a_clean_stop_leaves_routing_in_place_and_a_restart_changes_nothing() -> Result<()> {
    let mut rig = Rig::start(&config(&[3, 2]))?;
    let running = Machine::read(&rig)?;
    let (load, flows) = (steady_load(&rig)?, flows_on_both(&rig)?);
    rig.stop_daemon()?;
    thread::sleep(stretched(Duration::from_millis(500)));
    Machine::read(&rig)?.ensure_is(&running)?;
    ensure_nothing_to_do(&rig)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    thread::sleep(stretched(Duration::from_millis(300)));
    Machine::read(&rig)?.ensure_is(&running)?;
    let events = rig.events()?.events;
    ensure!(
        events
            .iter()
            .all(|e| e.kind != "applied" && e.kind != "drift"),
        "the restart did something: {events:#?}"
    );
    ensure_none_lost(&load.stop()?)?;
    ensure_undisturbed(flows)
}

pub(crate) fn a_restart_does_not_put_a_dead_line_back_in_service() -> Result<()> {
    let mut rig = Rig::start(&config(&[3, 2]))?;
    let lab = rig.shared_lab();
    let fault = Fault::Upstream.apply(&lab, isp(1))?;
    rig.wait_out(isp(1))?;
    let out = Ours::read(&rig)?;
    let load = steady_load(&rig)?;
    for kill in [true, false] {
        if kill {
            rig.kill_daemon()?;
        } else {
            rig.stop_daemon()?;
        }
        ensure_nothing_but_a_release(&rig)?;
        rig.start_daemon()?;
        let until = Instant::now() + Duration::from_millis(1200);
        while Instant::now() < until {
            Ours::read(&rig)?
                .ensure_is(&out)
                .context("after a restart")?;
            thread::sleep(Duration::from_millis(10));
        }
        let status = rig.wait_out(isp(1))?;
        ensure!(
            find_uplink(&status, isp(2)).is_some_and(|u| u.in_service),
            "the healthy line is out"
        );
    }
    let attempts = load.stop()?;
    ensure_none_lost(&attempts)?;
    let over = attempts.shares();
    ensure!(over.of(isp(1)) == 0, "over the dead line: {over}");
    fault.heal()?;
    rig.wait_settled()?;
    Ok(())
}

//! `uplinkctl drain` and `undrain`.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use uplinkd_lab::{Fault, LabSpec, traffic::Transport};
use uplinkd_netns_tests::{Ask, EVENTUALLY, Rig, config, find_uplink, isp, servers, within};

use crate::common::{Held, ctl, events, json, says, wait_events, wait_new};

fn is_idle(status: &uplinkd_api::Status) -> bool {
    let own = status.uplinks.iter().filter(|u| u.name == "isp1");
    own.clone().count() > 0 && own.clone().all(|u| u.idle && u.drained.is_some())
}

pub(crate) fn new_connections_leave_the_line_and_those_under_way_stay() -> Result<()> {
    let mut rig = Rig::start(&config(&[1, 1]))?;
    let mut held = Held::open(&rig)?;
    ensure!(held.on(isp(1)) > 0, "nobody on the line that is drained");
    says(&rig, "drain isp1 --for 1h --why maintenance", 0)?;
    let idle = |rig: &Rig| rig.wait_for("drained", EVENTUALLY, |s| s.settled && is_idle(s));
    let status = idle(&rig)?;
    let drained = find_uplink(&status, isp(1)).and_then(|u| u.drained.clone());
    let drained = drained.expect("it was waited for");
    ensure!(drained.who.contains("uid 0"), "{drained:?}");
    ensure!(drained.why.as_deref() == Some("maintenance"), "{drained:?}");
    let left = drained.until.map(|until| until - status.time);
    ensure!(
        left.is_some_and(|l| (3000.0..=3600.0).contains(&l)),
        "{left:?}"
    );
    let shown = says(&rig, "status", 0)?;
    ensure!(shown.contains("drained for 5"), "{shown}");
    wait_new(&rig, &[isp(2)], "drained")?;
    held.ensure_stay("drained")?;
    let plan = rig.tool("uplinkd", &["plan"])?;
    ensure!(plan.stdout.is_empty(), "a plan is left:\n{}", plan.stdout);

    rig.kill_daemon()?;
    held.ensure_stay("killed")?;
    rig.start_daemon()?;
    idle(&rig)?;
    wait_new(&rig, &[isp(2)], "after a kill")?;
    rig.stop_daemon()?;
    rig.start_daemon()?;
    idle(&rig)?;
    held.ensure_stay("after a stop")?;
    rig.reload(&config(&[3, 1]))?;
    wait_new(&rig, &[isp(2)], "after a reload")?;

    says(&rig, "undrain isp1", 0)?;
    wait_new(&rig, &[isp(1), isp(2)], "undrained")?;
    held.ensure_stay("undrained")?;
    let told = events(&rig, "undrained")?;
    let who = told.first().map(|d| d["by"]["who"].to_string());
    ensure!(who.is_some_and(|w| w.contains("uid 0")), "{told:?}");
    says(&rig, "undrain isp1", 1)?;
    Ok(())
}

pub(crate) fn it_ends_by_itself_with_and_without_a_daemon() -> Result<()> {
    let mut rig = Rig::start(&config(&[1, 1]))?;
    let drained = json(&rig, "drain isp1 --for 2s --json", 0)?;
    ensure!(drained["until"].is_f64(), "{drained}");
    let told = wait_events(&rig, "undrained", 1)?;
    ensure!(told[0]["by"].is_null(), "{told:?}");
    wait_new(&rig, &[isp(1), isp(2)], "its time is over")?;

    says(&rig, "drain isp1 --for 1s", 0)?;
    rig.kill_daemon()?;
    thread::sleep(Duration::from_millis(1500));
    rig.start_daemon()?;
    wait_events(&rig, "undrained", 1)?;
    wait_new(&rig, &[isp(1), isp(2)], "it was over before the start")
}

pub(crate) fn a_drained_line_is_better_than_none() -> Result<()> {
    let rig = Rig::start(&config(&[1, 1]))?;
    says(&rig, "drain isp1", 0)?;
    wait_new(&rig, &[isp(2)], "drained")?;
    let broken = Fault::Upstream.apply(rig.lab(), isp(2))?;
    wait_new(&rig, &[isp(1)], "the other one is dead")?;
    broken.heal()?;
    wait_new(&rig, &[isp(2)], "the other one is back")?;
    // Both: then the word means nothing, and says so.
    let said = says(&rig, "drain isp2", 0)?;
    ensure!(said.contains("nothing else works"), "{said}");
    wait_new(&rig, &[isp(1), isp(2)], "both are drained")
}

pub(crate) fn a_policy_that_has_nothing_else_refuses() -> Result<()> {
    let policy = |name: &str, to: &str, otherwise: &str| {
        format!(
            "[[policy]]\nname = \"{name}\"\nmatch = {{ destination = \"{to}\" }}\n\
             use = \"isp1\"\notherwise = \"{otherwise}\"\n"
        )
    };
    let mut rig = Rig::without_daemon(LabSpec::default(), "")?;
    let to = servers(rig.lab());
    let file = config(&[1, 1])
        + &policy("strict", &to[0].to_string(), "block")
        + &policy("lax", &to[1].to_string(), "default");
    rig.places().write_config(&file)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    let ask = |n: usize| Ask::new(Transport::Udp, to[n]).once(rig.lab().client());
    let mut under_way = Ask::new(Transport::Udp, to[0]).open(rig.lab().client())?;
    let before = under_way.ask();
    ensure!(before.isp() == Some(isp(1)), "before: {before:?}");
    says(&rig, "drain isp1", 0)?;
    within("the policy refuses", EVENTUALLY, || Ok(!ask(0)?.is_seen()))?;
    within("the other falls back", EVENTUALLY, || {
        Ok(ask(1)?.isp() == Some(isp(2)))
    })?;
    let still = under_way.ask();
    ensure!(still.isp() == Some(isp(1)), "what is under way: {still:?}");
    says(&rig, "undrain isp1", 0)?;
    within("all is as before", EVENTUALLY, || {
        Ok(ask(0)?.isp() == Some(isp(1)) && ask(1)?.isp() == Some(isp(1)))
    })
}

pub(crate) fn orders_that_make_no_sense_change_nothing() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[1, 1]))?;
    says(&rig, "drain isp1", 3)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    for (words, code) in [
        ("drain isp9", 2),
        ("drain isp1 --for 2", 2),
        ("drain isp1 --for 0s", 2),
        ("undrain isp1", 1),
        ("undrain isp9", 2),
        ("prefer isp1", 2),
        ("prefer isp9 for 1h", 2),
        ("unprefer", 1),
        ("probe isp9", 2),
        ("confirm", 1),
        ("rollback", 1),
        ("reload --confirm 2d", 2),
    ] {
        says(&rig, words, code)?;
    }
    let long = "x".repeat(300);
    let output = rig.tool("uplinkctl", &["drain", "isp1", "--why", &long])?;
    ensure!(output.status.code() == Some(2), "{}", output.stderr);
    let refused = ctl(&rig, "undrain isp9")?;
    ensure!(
        refused.stderr.contains("there are: isp1, isp2"),
        "{}",
        refused.stderr
    );
    wait_new(&rig, &[isp(1), isp(2)], "nothing has changed")
}

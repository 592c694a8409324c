//! `uplinkctl reload`, `confirm` and `rollback`.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use uplinkd_lab::{
    stretched,
    traffic::{Load, Transport},
};
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, find_uplink, isp, servers};

use crate::common::{Held, ctl, events, json, says, wait_events};

/// The weights in force.
fn weights(status: &uplinkd_api::Status) -> Option<[u16; 2]> {
    let weight = |n| find_uplink(status, isp(n)).map(|u| u.weight);
    Some([weight(1)?, weight(2)?])
}

fn wait_weights(rig: &Rig, wanted: [u16; 2], when: &str) -> Result<uplinkd_api::Status> {
    rig.wait_for(when, EVENTUALLY, |s| {
        s.settled && weights(s) == Some(wanted)
    })
}

fn ensure_file(rig: &Rig, text: &str) -> Result<()> {
    let found = fs::read_to_string(rig.places().config())?;
    ensure!(found == text, "the user's file was written:\n{found}");
    Ok(())
}

pub(crate) fn a_reload_says_what_came_of_it() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    rig.places().write_config(&config(&[1, 9]))?;
    says(&rig, "reload --why capacity", 0)?;
    wait_weights(&rig, [1, 9], "reloaded")?;
    let told = events(&rig, "reloaded")?;
    let by = &told.first().context("no event")?["by"];
    ensure!(by["why"] == "capacity", "{by}");
    rig.places().write_config(&config(&[1, 0]))?;
    let said = says(&rig, "reload", 2)?;
    ensure!(said.contains("uplinkd.toml:"), "{said}");
    ensure!(said.contains("weight"), "{said}");
    let problems = json(&rig, "reload --json --confirm 60s", 2)?;
    ensure!(problems["problems"][0]["line"].is_u64(), "{problems}");
    ensure!(rig.status()?.trial.is_none(), "on trial all the same");
    wait_weights(&rig, [1, 9], "nothing has changed")?;
    rig.daemon()?.process().signal(Signal::SIGHUP)?;
    // `json` has asked twice.
    let refused = wait_events(&rig, "reload-refused", 4)?;
    ensure!(
        refused.last().is_some_and(|d| d["by"]["who"] == "SIGHUP"),
        "{refused:?}"
    );
    Ok(())
}

pub(crate) fn what_is_confirmed_stays() -> Result<()> {
    let mut rig = Rig::start(&config(&[3, 2]))?;
    let said = says(&rig, "reload --confirm 60s", 0)?;
    ensure!(said.contains("nothing has changed"), "{said}");
    says(&rig, "confirm", 1)?;
    rig.places().write_config(&config(&[1, 9]))?;
    let reloaded = ctl(&rig, "reload --confirm 1h --json")?;
    let reloaded: serde_json::Value = serde_json::from_str(&reloaded.stdout)?;
    ensure!(reloaded["until"].is_f64(), "{reloaded}");
    let status = wait_weights(&rig, [1, 9], "on trial")?;
    ensure!(status.trial.is_some(), "the status does not say so");
    let shown = says(&rig, "status", 0)?;
    ensure!(shown.contains("on trial"), "{shown}");
    says(&rig, "confirm", 0)?;
    ensure!(rig.status()?.trial.is_none(), "still on trial");
    says(&rig, "confirm", 1)?;
    rig.kill_daemon()?;
    rig.start_daemon()?;
    wait_weights(&rig, [1, 9], "after a kill")?;
    ensure!(events(&rig, "rolled-back")?.is_empty(), "it went back");
    ensure_file(&rig, &config(&[1, 9]))
}

pub(crate) fn what_nobody_confirms_goes_back_and_disturbs_nobody() -> Result<()> {
    let mut rig = Rig::start(&config(&[3, 2]))?;
    let mut held = Held::open(&rig)?;
    let mut load = Load::new(
        Transport::Udp,
        100,
        stretched(std::time::Duration::from_secs(60)),
        servers(rig.lab()),
    );
    load.patience = std::time::Duration::from_secs(3);
    let load = load.start(rig.lab().client())?;
    rig.places().write_config(&config(&[1, 9]))?;
    says(&rig, "reload --confirm 2s", 0)?;
    wait_events(&rig, "rolled-back", 1)?;
    let status = wait_weights(&rig, [3, 2], "back by itself")?;
    ensure!(
        status.trial.is_none() && status.rolled_back.is_some(),
        "{status:?}"
    );
    says(&rig, "confirm", 1)?;
    let lost = load.stop()?.0.iter().filter(|a| !a.is_answered()).count();
    ensure!(lost == 0, "{lost} new connections were lost");
    held.ensure_stay("went back")?;
    ensure_file(&rig, &config(&[1, 9]))?;
    // A start does not take the file that was given up, and a reload does.
    rig.stop_daemon()?;
    rig.start_daemon()?;
    wait_weights(&rig, [3, 2], "after a restart")?;
    says(&rig, "reload", 0)?;
    let status = wait_weights(&rig, [1, 9], "taken after all")?;
    ensure!(status.rolled_back.is_none(), "{status:?}");
    rig.kill_daemon()?;
    rig.start_daemon()?;
    wait_weights(&rig, [1, 9], "and kept")?;
    // By word.
    rig.places().write_config(&config(&[5, 5]))?;
    says(&rig, "reload --confirm 1h", 0)?;
    wait_weights(&rig, [5, 5], "on trial")?;
    says(&rig, "rollback --why slow", 0)?;
    wait_weights(&rig, [1, 9], "rolled back")?;
    let told = events(&rig, "rolled-back")?;
    let reason = told
        .last()
        .map(|d| d["reason"].to_string())
        .unwrap_or_default();
    ensure!(reason.contains("slow"), "{told:?}");
    // Another file is taken at a start, since somebody wrote it after that.
    rig.places().write_config(&config(&[7, 1]))?;
    rig.stop_daemon()?;
    rig.start_daemon()?;
    wait_weights(&rig, [7, 1], "another file")?;
    Ok(())
}

pub(crate) fn another_run_of_the_daemon_goes_back_too() -> Result<()> {
    let mut rig = Rig::start(&config(&[3, 2]))?;
    let mut held = Held::open(&rig)?;
    for kill in [true, false] {
        let file = config(&[1, 9 - u16::from(kill)]);
        rig.places().write_config(&file)?;
        says(&rig, "reload --confirm 1h", 0)?;
        wait_weights(&rig, [1, 9 - u16::from(kill)], "on trial")?;
        match kill {
            true => rig.kill_daemon()?,
            false => rig.stop_daemon()?,
        }
        rig.start_daemon()?;
        wait_weights(&rig, [3, 2], "another run")?;
        let told = wait_events(&rig, "rolled-back", 1)?;
        ensure!(
            told[0]["reason"].to_string().contains("not confirmed"),
            "{told:?}"
        );
        held.ensure_stay("another run")?;
        ensure_file(&rig, &file)?;
    }
    // The file may be past reading by then.
    rig.places().write_config(&config(&[1, 9]))?;
    says(&rig, "reload --confirm 1h", 0)?;
    rig.kill_daemon()?;
    rig.places().write_config("nonsense")?;
    rig.start_daemon()?;
    wait_weights(&rig, [3, 2], "with a broken file")?;
    Ok(())
}

pub(crate) fn nothing_but_a_confirmation_confirms() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    rig.places().write_config(&config(&[1, 9]))?;
    says(&rig, "reload --confirm 1h", 0)?;
    // A second file, by a signal.
    rig.places().write_config(&config(&[2, 8]))?;
    rig.daemon()?.process().signal(Signal::SIGHUP)?;
    let status = wait_weights(&rig, [2, 8], "a second file")?;
    ensure!(status.trial.is_some(), "a signal confirmed it");
    let said = says(&rig, "reload", 0)?;
    ensure!(said.contains("goes back in"), "{said}");
    // A bad one changes neither.
    rig.places().write_config("nonsense")?;
    says(&rig, "reload", 2)?;
    ensure!(rig.status()?.trial.is_some(), "a refused one confirmed it");
    // Another time for a third one; the way back is still the first.
    rig.places().write_config(&config(&[4, 4]))?;
    says(&rig, "reload --confirm 2s", 0)?;
    wait_weights(&rig, [3, 2], "back to what was confirmed")?;
    Ok(())
}

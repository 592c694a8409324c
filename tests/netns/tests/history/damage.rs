//! Files that are damaged, not ours, or cannot be written: told, and nothing else of the router notices.

use std::fs;

use anyhow::{Result, ensure};
use uplinkd_lab::Fault;
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, isp, within};

pub(crate) fn a_damaged_file_is_put_aside_and_a_new_one_begun() -> Result<()> {
    let mut rig = Rig::start(&config(&[1, 1]))?;
    rig.stop_daemon()?;
    let state = rig.places().state();
    let file = state.join("history.db");
    let length = fs::metadata(&file)?.len();
    fs::write(&file, vec![0x5a; usize::try_from(length)?])?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    within("it is put aside", EVENTUALLY, || {
        Ok(rig
            .daemon_log()
            .contains("it is put aside, a new one begins"))
    })?;
    ensure!(fs::metadata(state.join("history.damaged.db"))?.len() == length);
    let report = rig.report()?;
    ensure!(
        report.uplinks.len() == 2 && report.trouble.is_none(),
        "{report:?}"
    );
    rig.stop_daemon()
}

pub(crate) fn a_full_disk_stops_history_and_nothing_else() -> Result<()> {
    let mut rig = Rig::without_daemon(Default::default(), &config(&[1, 1]))?;
    // Room for what the daemon cannot do without, and for no database.
    rig.start_daemon_by_shell(
        "mount -t tmpfs -o size=64k full \"$UPLINKD_STATE_DIR\"; exec uplinkd run",
    )?;
    rig.wait_settled()?;
    within("the log says so", EVENTUALLY, || {
        Ok(rig
            .daemon_log()
            .contains("no history is written; routing goes on"))
    })?;
    let report = rig.report()?;
    ensure!(report.trouble.is_some(), "{report:?}");
    // What is in memory is told all the same.
    let broken = Fault::Silent.apply(rig.lab(), isp(1))?;
    rig.wait_out(isp(1))?;
    drop(broken);
    rig.wait_settled()?;
    let report = rig.report()?;
    let lines = report.uplinks.iter().flat_map(|u| &u.lines);
    ensure!(
        lines.map(|l| l.outages_count).sum::<usize>() > 0,
        "{report:?}"
    );
    rig.stop_daemon()
}

pub(crate) fn a_file_of_another_program_is_left_alone() -> Result<()> {
    let mut rig = Rig::without_daemon(Default::default(), &config(&[1, 1]))?;
    let file = rig.places().state().join("history.db");
    // Where the file should be.
    fs::create_dir_all(&file)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    within("the log says so", EVENTUALLY, || {
        Ok(rig
            .daemon_log()
            .contains("no history is written; routing goes on"))
    })?;
    ensure!(file.is_dir(), "it is gone");
    rig.stop_daemon()
}

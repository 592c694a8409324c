//! Issue 2, point 11: `plan` says what `run` does, `check` says yes.

use std::{env, path::Path, process::Command, time::Duration};

use anyhow::{Result, ensure};
use uplinkd_lab::LabSpec;
use uplinkd_netns_tests::{Rig, config};

use crate::{
    common::{Ours, ensure_nothing_to_do, ensure_said, plan, says, uplinkd},
    machine::Machine,
};

pub(crate) fn check_says_yes_and_changes_nothing() -> Result<()> {
    let rig = Rig::without_daemon(LabSpec::default(), &config(&[3, 2]))?;
    let before = Machine::read(&rig)?;
    says(&rig, &["check"], 0, &["the file and this machine are fine"])?;
    says(&rig, &["check", "--file-only"], 0, &["the file is fine"])?;
    let output = uplinkd(&rig, &["check", "--json"])?;
    ensure_said("uplinkd check --json", &output, 0, &[])?;
    let _: serde_json::Value = serde_json::from_str(&output.stdout)?;
    Machine::read(&rig)?.ensure_is(&before)
}

pub(crate) fn plan_prints_what_run_then_does() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[3, 2]))?;
    let before = Machine::read(&rig)?;
    let planned = plan(&rig)?;
    Machine::read(&rig)?.ensure_is(&before)?;
    ensure!(planned.len() > 20, "a short plan: {planned:#?}");
    rig.start_daemon()?;
    rig.wait_settled()?;
    ensure_nothing_to_do(&rig)?;
    // Every step that the daemon did, by its log, is one that was printed, in the same order.
    let log = rig.daemon()?.log();
    let done: Vec<_> = log.lines().filter_map(logged_step).collect();
    let mut rest = planned.iter().map(|line| comparable(line));
    for step in &done {
        let step = comparable(step);
        ensure!(
            rest.any(|p| p == step),
            "the daemon did `{step}`, which is not in this place of the plan:\n{}",
            planned.join("\n")
        );
    }
    ensure!(
        done.len() == planned.len(),
        "{} of {} steps done",
        done.len(),
        planned.len()
    );
    Ok(())
}

/// The step in a line of the log such as `… DEBUG step step=ip … reason="missing" outcome=Done`.
fn logged_step(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("DEBUG step step=")?;
    Some(rest.split_once(" reason=")?.0)
}

/// A line of a plan without its reason. The table of nft is printed whole, and logged by its name.
fn comparable(line: &str) -> &str {
    if line.starts_with("nft -f -") {
        return "nft -f -";
    }
    line.split_once("  # ").map_or(line, |(step, _)| step)
}

#[expect(clippy::print_stderr, reason = "a skip must be seen")]
pub(crate) fn the_lines_of_a_plan_do_what_the_daemon_would() -> Result<()> {
    // Tests need no `ip`; where it is there, the claim that a person could type the plan is tried.
    let lacks: Vec<_> = ["ip", "sysctl", "sh"]
        .into_iter()
        .filter(|program| !is_installed(program))
        .collect();
    if !lacks.is_empty() {
        ensure!(
            env::var_os("CI").is_none(),
            "skipped in CI: {} not installed",
            lacks.join(" and ")
        );
        eprintln!(
            "SKIPPED: the lines of a plan are not tried without {}",
            lacks.join(" and ")
        );
        return Ok(());
    }
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[3, 2]))?;
    let printed = uplinkd(&rig, &["plan"])?.stdout;
    let mut shell = Command::new("sh");
    shell.arg("-e");
    let output = rig
        .lab()
        .router()
        .output(shell, &printed, Duration::from_secs(20))?;
    ensure_said("the plan, typed", &output, 0, &[])?;
    let typed = Ours::read(&rig)?;
    // All that is left is the nft table, which nobody remembers putting there.
    let left = plan(&rig)?;
    ensure!(
        left.len() == 1 && left[0].starts_with("nft -f -"),
        "left after typing the plan:\n{}",
        left.join("\n")
    );
    rig.start_daemon()?;
    rig.wait_settled()?;
    let run = Ours::read(&rig)?;
    ensure!(
        (&typed.rules, &typed.routes, &typed.nexthops) == (&run.rules, &run.routes, &run.nexthops),
        "typed: {typed:#?}\nby the daemon: {run:#?}"
    );
    Ok(())
}

fn is_installed(program: &str) -> bool {
    let path = env::var("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    path.split(':')
        .chain(more)
        .any(|folder| Path::new(folder).join(program).is_file())
}

//! `cargo xtask bench status`: what it takes to be asked.
//!
//! How long `uplinkctl status` takes from its start to its end, and what of a core the daemon uses while a
//! hundred follow its events, beside what it uses while nobody does. Two uplinks, both families.

use std::{
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use uplinkd_lab::{
    Lab, LabSpec, Places, RouterDaemon, enter_private,
    traffic::{PORT, Servers},
};
use uplinkd_model::Family;

use super::{
    disturbance::{clients, start},
    idle::{TICKS_PER_SECOND, Usage},
    machine::Machine,
    print,
    program::{self, Programs},
    statistics::{quantile, sorted},
    trial::wait_until_shared,
};

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// How often the status is asked for.
    #[arg(long, default_value_t = 200, value_name = "N")]
    runs: usize,
    /// How long processor time is looked at.
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    runs: usize,
    /// Of the whole program, milliseconds.
    status_p50_ms: f64,
    status_p99_ms: f64,
    seconds: u64,
    followers: usize,
    /// Of a core, percent.
    cpu_alone: f64,
    cpu_followed: f64,
    cpu_pages: f64,
    /// What the pages asked in a second.
    asked: f64,
    /// 10^6 bytes.
    memory_followed_mb: f64,
}

/// Measures, prints and writes the figures.
///
/// # Errors
/// When the machine cannot build laboratories, or a program is missing.
pub(super) fn run(args: &StatusArgs) -> Result<ExitCode> {
    let target = program::target_folder()?;
    let programs = Programs::prepare(&target, true, false)?;
    let uplinkctl = program::build(&target, "uplinkd-cli", "uplinkctl")?;
    let machine = programs.machine();
    enter_private()?;
    let lab = Lab::build(LabSpec::default())?;
    let _servers = Servers::start(lab.internet(), PORT)?;
    let places = Places::new(&lab)?;
    let daemon = start(&lab, &places, &programs, "")?;
    wait_until_shared(&lab, &daemon, Family::V4)?;
    thread::sleep(Duration::from_secs(3));

    let mut times = Vec::new();
    for _ in 0..args.runs.max(1) {
        let mut command: Command = places.command(&uplinkctl);
        command.arg("status").stdout(Stdio::null());
        let begun = Instant::now();
        let status = command.status().context("cannot start uplinkctl")?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        ensure!(status.success(), "uplinkctl status: {status}");
    }
    let times = sorted(times);
    let time = Duration::from_secs(args.seconds.max(1));
    let (cpu_alone, _) = cost(&daemon, time)?;
    let followers = clients::readers(&lab)?;
    let (cpu_followed, memory_followed_mb) = cost(&daemon, time)?;
    let pages = clients::pages(&lab);
    let (cpu_pages, _) = cost(&daemon, time)?;
    let asked = pages.rate();
    drop((pages, followers));
    let part = |part| quantile(&times, part).context("nothing was measured");
    let report = Report {
        machine,
        runs: times.len(),
        status_p50_ms: part(0.5)?,
        status_p99_ms: part(0.99)?,
        seconds: time.as_secs(),
        followers: clients::READERS,
        cpu_alone,
        cpu_followed,
        cpu_pages,
        asked,
        memory_followed_mb,
    };
    print::line(&format!(
        "{}\n`uplinkctl status`, {} runs: p50 {:.1} ms, p99 {:.1} ms\n\
         the daemon, of a core: {:.2} % alone, {:.2} % with {} followers of events ({:.1} MB),\n\
         {:.2} % where these are pages that also ask, {:.0} times a second in all",
        report.machine.line(),
        report.runs,
        report.status_p50_ms,
        report.status_p99_ms,
        report.cpu_alone,
        report.cpu_followed,
        report.followers,
        report.memory_followed_mb,
        report.cpu_pages,
        report.asked,
    ));
    print::json(&target, "status.json", &report)?;
    Ok(ExitCode::SUCCESS)
}

/// Percent of a core over some time, and memory at its end.
fn cost(daemon: &RouterDaemon, time: Duration) -> Result<(f64, f64)> {
    let (begun, before) = (Instant::now(), Usage::of(daemon)?);
    thread::sleep(time);
    let after = Usage::of(daemon)?;
    let ticks = after.ticks - before.ticks;
    let percent = 100.0 * ticks / TICKS_PER_SECOND / begun.elapsed().as_secs_f64();
    Ok((percent, after.resident_mb()))
}

//! `cargo xtask bench idle`: what the daemon costs while nothing happens.
//!
//! Two uplinks, one probe per second and target, no traffic. Memory is the resident set (`VmRSS`);
//! CPU is user and system time, that of ended children too, as a part of one core.

use std::{
    fs,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::unistd::geteuid;
use serde::Serialize;
use uplinkd_lab::{
    Lab, LabSpec, RouterDaemon, enter_private,
    traffic::{PORT, Servers},
};
use uplinkd_model::Family;

use super::{
    candidate::Candidate,
    machine::Machine,
    print,
    program::{self, Programs},
    trial::wait_until_shared,
};

/// Between readiness and the first look: what comes with the start is over by then.
const SETTLE: Duration = Duration::from_secs(5);
/// `USER_HZ`, in which the kernel counts processor time for everybody.
pub(super) const TICKS_PER_SECOND: f64 = 100.0;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// How long to look.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u64,
    /// Measure PolyWAN with its defaults (a probe each 5 s) as well; wants root.
    #[arg(long)]
    polywan: bool,
    /// Count it as a failure when uplinkd holds more memory than this.
    #[arg(long, default_value_t = 12.0, value_name = "MB")]
    memory: f64,
    /// Count it as a failure when uplinkd uses more of a core than this.
    #[arg(long, default_value_t = 0.3, value_name = "PERCENT")]
    cpu: f64,
}

#[derive(Debug, Serialize)]
struct Cost {
    candidate: Candidate,
    /// 10^6 bytes.
    memory_mb: f64,
    cpu_percent: f64,
    /// Wake-ups per second, by voluntary context switches.
    wakeups: f64,
    threads: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    seconds: u64,
    settings: String,
    costs: Vec<Cost>,
}

/// Measures, prints the table and writes the figures.
///
/// # Errors
/// When the machine cannot build laboratories, or a program is missing.
pub(super) fn run(args: &IdleArgs) -> Result<ExitCode> {
    let target = program::target_folder()?;
    ensure!(
        !args.polywan || geteuid().is_root(),
        "PolyWAN trusts only files of the real root: run this as root"
    );
    let programs = Programs::prepare(&target, true, args.polywan)?;
    let machine = programs.machine();
    enter_private()?;
    let mut candidates = vec![Candidate::UplinkdSlow];
    if args.polywan {
        candidates.push(Candidate::Polywan);
    }
    let report = Report {
        machine,
        seconds: args.seconds,
        settings: Candidate::UplinkdSlow.settings(),
        costs: measure(
            &candidates,
            &programs,
            Duration::from_secs(args.seconds.max(1)),
        )?,
    };
    print::line(&table(&report));
    print::json(&target, "idle.json", &report)?;
    let is_over = |c: &&Cost| c.memory_mb > args.memory || c.cpu_percent > args.cpu;
    let ours = report
        .costs
        .iter()
        .find(|c| c.candidate == Candidate::UplinkdSlow);
    if ours.filter(is_over).is_some() {
        print::talk(&format!(
            "uplinkd costs more than {} MB or {} % of a core",
            args.memory, args.cpu
        ));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// All at once, each in a laboratory of its own: idle programs do not disturb each other.
fn measure(candidates: &[Candidate], programs: &Programs, time: Duration) -> Result<Vec<Cost>> {
    let labs = candidates
        .iter()
        .map(|_| Lab::build(LabSpec::default()))
        .collect::<Result<Vec<_>>>()?;
    let mut running = Vec::new();
    for (candidate, lab) in candidates.iter().zip(&labs) {
        let _servers = Servers::start(lab.internet(), PORT)?;
        let daemon = candidate.start(lab, programs)?;
        wait_until_shared(lab, &daemon, Family::V4)?;
        running.push((*candidate, daemon));
    }
    print::talk(&format!("looking for {} s", time.as_secs()));
    thread::sleep(SETTLE);
    let begin = Instant::now();
    let look = || {
        running
            .iter()
            .map(|(_, daemon)| Usage::of(daemon))
            .collect::<Result<Vec<_>>>()
    };
    let before = look()?;
    thread::sleep(time);
    let after = look()?;
    let seconds = begin.elapsed().as_secs_f64();
    let pairs = before.iter().zip(&after);
    let costs = running
        .iter()
        .zip(pairs)
        .map(|((candidate, _), (before, after))| Cost {
            candidate: *candidate,
            memory_mb: after.resident_mb(),
            cpu_percent: 100.0 * (after.ticks - before.ticks) / TICKS_PER_SECOND / seconds,
            wakeups: (after.wakeups - before.wakeups) / seconds,
            threads: after.threads,
        });
    Ok(costs.collect())
}

/// What the kernel says about a process.
pub(super) struct Usage {
    /// User and system time, in [`TICKS_PER_SECOND`].
    pub(super) ticks: f64,
    resident_kib: f64,
    wakeups: f64,
    threads: u64,
}

impl Usage {
    /// The resident set, in 10^6 bytes.
    pub(super) fn resident_mb(&self) -> f64 {
        self.resident_kib * 1024.0 / 1e6
    }

    pub(super) fn of(daemon: &RouterDaemon) -> Result<Self> {
        let pid = daemon.process().pid();
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{pid}/{file}"))
                .with_context(|| format!("the daemon ended\n{}", daemon.log_tail()))
        };
        let (stat, status) = (read("stat")?, read("status")?);
        Self::read(&stat, &status).context("cannot read what the kernel says about the daemon")
    }

    fn read(stat: &str, status: &str) -> Option<Self> {
        // The name, in brackets, may hold anything; utime is the 12th word after it.
        let (_, numbers) = stat.rsplit_once(')')?;
        let times = numbers.split_whitespace().skip(11).take(4);
        let ticks = times.map(str::parse::<f64>).sum::<Result<f64, _>>().ok()?;
        let value = |key: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(key));
            line?.split_whitespace().next()?.parse::<f64>().ok()
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a program has a few threads"
        )]
        let threads = value("Threads:")? as u64;
        Some(Self {
            ticks,
            resident_kib: value("VmRSS:")?,
            wakeups: value("voluntary_ctxt_switches:")?,
            threads,
        })
    }
}

fn table(report: &Report) -> String {
    let mut text = format!(
        "{}\n{}\n{} s without traffic\n\n\
         {:<14} {:>8} {:>10} {:>10} {:>8}\n",
        report.machine.line(),
        report.machine.programs.join(", "),
        report.seconds,
        "",
        "RSS MB",
        "core %",
        "wakeups/s",
        "threads"
    );
    for cost in &report.costs {
        text += &format!(
            "{:<14} {:>8.1} {:>10.2} {:>10.1} {:>8}\n",
            cost.candidate.to_string(),
            cost.memory_mb,
            cost.cpu_percent,
            cost.wakeups,
            cost.threads
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_whatever_the_program_is_called() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 11 22 3 4 20 0 1 0 50 1 2";
        let status = "Name:\ta\nVmRSS:\t    2048 kB\nThreads:\t2\n\
                      voluntary_ctxt_switches:\t500\nnonvoluntary_ctxt_switches:\t9\n";
        let usage = Usage::read(stat, status).unwrap();
        assert_eq!((usage.ticks, usage.resident_kib), (40.0, 2048.0));
        assert_eq!((usage.wakeups, usage.threads), (500.0, 2));
    }
}

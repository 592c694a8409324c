//! `cargo xtask bench probes`: 4,000 targets over 50 uplinks, each asked once a second, by the real
//! daemon; what that costs beside the least that a program in C needs for the same, and beside fping.
//!
//! All of them ask the same hosts by the same uplinks of the same router, after the daemon has set it
//! up; over a veth whoever sends a packet carries it to its end and back, so that the kernel's work for
//! question and answer is in everybody's figure alike.

mod field;
mod late;

use std::{
    fmt::Write as _,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::{
    sys::resource::{UsageWho, getrusage},
    sys::time::TimeValLike as _,
    time::{ClockId, clock_gettime},
};
use serde::Serialize;
use uplinkd_lab::enter_private;
use uplinkd_model::UplinkName;
use uplinkd_probe::{Probe, Prober};

use self::{
    field::{ALL, Field, TARGETS, UPLINKS, device, host},
    late::Late,
};
use super::{
    idle::{TICKS_PER_SECOND, Usage},
    machine::Machine,
    print,
    program::{self, Programs, find_in_path},
};

/// The bursts with which the daemon begins are over by then.
const SETTLE: Duration = Duration::from_secs(15);
/// The least loop, in C, and small.
const LOOP: &str = include_str!("probes/loop.c");

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct ProbesArgs {
    /// How long to look at each program.
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    seconds: u64,
    /// Count it as a failure when the daemon uses more of a core than this.
    #[arg(long, default_value_t = 12.0, value_name = "PERCENT")]
    cpu: f64,
    /// Count it as a failure when the daemon holds more memory than this.
    #[arg(long, default_value_t = 64.0, value_name = "MB")]
    memory: f64,
    /// Count it as a failure when our prober needs more than so many times the least loop.
    #[arg(long, default_value_t = 1.3, value_name = "TIMES")]
    ratio: f64,
    /// Count it as a failure when times are off by more than this, at the 99th percentile.
    #[arg(long, default_value_t = 100.0, value_name = "MICROSECONDS")]
    late: f64,
}

/// What a program cost.
#[derive(Debug, Serialize)]
struct Cost {
    program: String,
    /// Questions that were answered, and asked, a second.
    answered: f64,
    asked: f64,
    cpu_percent: f64,
    /// Processor time for each question.
    us_per_probe: f64,
    memory_mb: Option<f64>,
}

impl Cost {
    fn new(program: &str, (asked, answered): (u64, u64), cpu: Duration, time: Duration) -> Self {
        let seconds = time.as_secs_f64();
        Self {
            program: program.to_owned(),
            answered: answered as f64 / seconds,
            asked: asked as f64 / seconds,
            cpu_percent: 100.0 * cpu.as_secs_f64() / seconds,
            us_per_probe: cpu.as_secs_f64() * 1e6 / asked.max(1) as f64,
            memory_mb: None,
        }
    }
}

/// An aim, and what became of it.
#[derive(Debug, Serialize)]
struct Aim {
    what: &'static str,
    measured: f64,
    at_most: f64,
    is_met: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    costs: Vec<Cost>,
    late: Late,
    aims: Vec<Aim>,
}

/// Measures, prints the tables and writes the figures.
///
/// # Errors
/// When the machine cannot build the network, or a program is missing or fails.
pub(super) fn run(args: &ProbesArgs) -> Result<ExitCode> {
    let target = program::target_folder()?;
    let programs = Programs::prepare(&target, true, false)?;
    let fping = find_in_path("fping")
        .context("there is no fping to compare with: `apt install fping` (Debian)")?;
    let least = compile(&target)?;
    let mut machine = programs.machine();
    machine.add_program(Command::new(&fping).arg("--version"));
    let uplinkd = programs.uplinkd.as_deref().context("there is no uplinkd")?;
    enter_private()?;
    let field = Field::build()?;
    let time = Duration::from_secs(args.seconds.max(5));
    let mut costs = vec![daemon(&field, uplinkd, time)?];
    // What the daemon leaves behind stays for the others: the same rules, the same tracking.
    costs.push(prober(&field, time)?);
    costs.push(least_loop(&field, &least, time)?);
    costs.push(fping_cost(&field, &fping, time)?);
    print::talk("measuring under load");
    let late = late::measure(&field, uplinkd)?;
    let aims = aims(args, &costs, &late);
    let report = Report {
        machine,
        costs,
        late,
        aims,
    };
    print::line(&table(&report));
    print::json(&target, "probes.json", &report)?;
    if report.aims.iter().all(|a| a.is_met) {
        return Ok(ExitCode::SUCCESS);
    }
    print::talk("not every aim was met");
    Ok(ExitCode::FAILURE)
}

fn compile(target: &Path) -> Result<PathBuf> {
    let folder = target.join("bench");
    fs::create_dir_all(&folder)?;
    let (source, program) = (folder.join("probes-loop.c"), folder.join("probes-loop"));
    fs::write(&source, LOOP)?;
    let status = Command::new("cc")
        .args(["-O2", "-o"])
        .args([&program, &source])
        .status()
        .context("there is no C compiler (cc) for the loop to compare with")?;
    ensure!(status.success(), "cc does not compile {}", source.display());
    Ok(program)
}

fn daemon(field: &Field, uplinkd: &Path, time: Duration) -> Result<Cost> {
    print::talk("uplinkd");
    let (daemon, _places) = field.start(uplinkd, &Field::config(""))?;
    thread::sleep(SETTLE);
    let (begun, before, first) = (Instant::now(), Usage::of(&daemon)?, field.echoes()?);
    thread::sleep(time);
    let (passed, after, last) = (begun.elapsed(), Usage::of(&daemon)?, field.echoes()?);
    let cpu = Duration::from_secs_f64((after.ticks - before.ticks) / TICKS_PER_SECOND);
    let echoes = (last.0 - first.0, last.1 - first.1);
    let mut cost = Cost::new("uplinkd, all of it", echoes, cpu, passed);
    cost.memory_mb = Some(after.resident_mb());
    daemon.stop(Duration::from_secs(10))?;
    Ok(cost)
}

/// Our prober alone, asked as the least loop asks.
fn prober(field: &Field, time: Duration) -> Result<Cost> {
    print::talk("the prober alone");
    let first = field.echoes()?;
    let begun = Instant::now();
    let cpu = field.lab.router().block_on(move || async move {
        let began = thread_time()?;
        let mut prober = Prober::new();
        let mut answered = 0_u64;
        let mut probes = Vec::new();
        for uplink in 1..=UPLINKS {
            for target in 1..=TARGETS {
                probes.push(Probe {
                    id: 0,
                    uplink: UplinkName::new(&format!("u{uplink}"))?,
                    device: device(uplink),
                    mark: None,
                    target: IpAddr::from(host(uplink, target)),
                });
            }
        }
        let step = Duration::from_secs(1) / u32::from(UPLINKS);
        let rounds = time.as_secs() * u64::from(UPLINKS);
        let mut clock = tokio::time::interval(step);
        let turns = probes.chunks(usize::from(TARGETS)).cycle();
        for (round, turn) in (0..rounds).zip(turns) {
            clock.tick().await;
            let turn = (round * u64::from(TARGETS)..).zip(turn);
            let turn: Vec<_> = turn
                .map(|(id, probe)| Probe {
                    id,
                    ..probe.clone()
                })
                .collect();
            if let Some((_, error)) = prober.send_all(&turn).pop() {
                return Err(error.into());
            }
            answered += prober.drain().len() as u64;
        }
        ensure!(answered > 0, "nothing was answered");
        Ok(thread_time()? - began)
    })?;
    let (passed, last) = (begun.elapsed(), field.echoes()?);
    let echoes = (last.0 - first.0, last.1 - first.1);
    Ok(Cost::new("uplinkd's prober alone", echoes, cpu, passed))
}

fn least_loop(field: &Field, program: &Path, time: Duration) -> Result<Cost> {
    print::talk("the least loop in C");
    let mut command = Command::new(program);
    command.args([
        time.as_secs().to_string(),
        UPLINKS.to_string(),
        TARGETS.to_string(),
    ]);
    let (said, why) = field.run(command, "")?;
    let numbers: Vec<u64> = said
        .split_whitespace()
        .map_while(|n| n.parse().ok())
        .collect();
    let [sent, answered, micros, _] = numbers[..] else {
        anyhow::bail!("the loop said: {said}{why}");
    };
    let cpu = Duration::from_micros(micros);
    Ok(Cost::new("least loop in C", (sent, answered), cpu, time))
}

fn fping_cost(field: &Field, fping: &Path, time: Duration) -> Result<Cost> {
    print::talk("fping");
    let mut hosts = String::new();
    for uplink in 1..=UPLINKS {
        for target in 1..=TARGETS {
            let _ = writeln!(hosts, "{}", host(uplink, target));
        }
    }
    let rounds = time.as_secs().to_string();
    let mut command = Command::new(fping);
    // As fast as it needs for all of them in a second.
    command.args(["-q", "-c", &rounds, "-p", "1000", "-i", "0.2", "-t", "900"]);
    let (begun, first, before) = (Instant::now(), field.echoes()?, children()?);
    let (_, said) = field.run(command, &hosts)?;
    let (passed, last, after) = (begun.elapsed(), field.echoes()?, children()?);
    ensure!(last.0 > first.0, "fping said: {said}");
    let echoes = (last.0 - first.0, last.1 - first.1);
    Ok(Cost::new("fping", echoes, after - before, passed))
}

fn thread_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// Processor time of all children that have ended.
fn children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

fn aims(args: &ProbesArgs, costs: &[Cost], late: &Late) -> Vec<Aim> {
    let [daemon, prober, least, fping] = costs else {
        return Vec::new();
    };
    let aim = |what, measured, at_most| Aim {
        what,
        measured,
        at_most,
        is_met: measured <= at_most,
    };
    let asked = ALL as f64;
    vec![
        aim("the daemon, % of a core", daemon.cpu_percent, args.cpu),
        aim(
            "the daemon, MB",
            daemon.memory_mb.unwrap_or(f64::NAN),
            args.memory,
        ),
        aim(
            "our prober : the least loop",
            prober.us_per_probe / least.us_per_probe,
            args.ratio,
        ),
        aim(
            "our prober : fping, for a probe",
            prober.us_per_probe / fping.us_per_probe,
            1.0,
        ),
        aim(
            "the daemon, all of it : fping, for a probe",
            daemon.us_per_probe / fping.us_per_probe,
            1.0,
        ),
        aim(
            "of 4,000 questions a second not answered, %",
            100.0 * (1.0 - daemon.answered / asked).max(0.0),
            1.0,
        ),
        aim("times off under load, p99, µs", late.p99_us, args.late),
    ]
}

fn table(report: &Report) -> String {
    let mut text = format!(
        "{}\n{}\n\n{ALL} targets over {UPLINKS} uplinks, each once a second\n\n\
         | program | asked a second | answered | core, % | µs for a probe | RSS, MB |\n\
         |---|---:|---:|---:|---:|---:|\n",
        report.machine.line(),
        report.machine.programs.join(", "),
    );
    for cost in &report.costs {
        let memory = cost
            .memory_mb
            .map_or_else(String::new, |m| format!("{m:.1}"));
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.0} | {:.1} | {:.1} | {memory} |",
            cost.program, cost.asked, cost.answered, cost.cpu_percent, cost.us_per_probe
        );
    }
    let late = &report.late;
    let _ = writeln!(
        text,
        "\nAll processors held by others: {} answers of {:.0} µs (median) measured, off by {:.0} µs at the \
         median, {:.0} at p99, {:.0} at most\n\n| aim | measured | at most | |\n|---|---:|---:|---|",
        late.samples, late.truth_us, late.median_us, late.p99_us, late.max_us
    );
    for aim in &report.aims {
        let word = if aim.is_met { "MET" } else { "**MISSED**" };
        let _ = writeln!(
            text,
            "| {} | {:.2} | {:.2} | {word} |",
            aim.what, aim.measured, aim.at_most
        );
    }
    text
}

//! `cargo xtask bench storm`: others change routes, addresses and carriers by the thousand. What does
//! the daemon spend on it, and does traffic notice?
//!
//! Processor time is user and system time of the daemon during the storm, as a part of one core, less
//! what it spends on its probes and traffic's bookkeeping in a quiet time before. After each storm the
//! daemon has to see a cable that goes out and comes back.

use std::{
    fmt::Write as _,
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use uplinkd_lab::{
    Isp, Lab, LabSpec, RouterDaemon, enter_private,
    plumbing::Plumber,
    traffic::{Load, PORT, Servers, Transport},
};
use uplinkd_model::Family;

use super::{
    candidate::Candidate,
    idle::{TICKS_PER_SECOND, Usage},
    machine::Machine,
    print,
    program::{self, Programs},
    trial::wait_until_shared,
};

/// New connections per second.
const RATE: u32 = 200;
const QUIET: Duration = Duration::from_secs(5);
/// Between two changes of a flapping link: down and up again fifty times a second.
const FLAP: Duration = Duration::from_millis(10);
const FLAPS: Duration = Duration::from_secs(5);
const ROUTES: u32 = 100_000;
const ADDRESSES: u32 = 500;
const STORM_MAX: Duration = Duration::from_secs(120);
/// A look at the kernel that began in the storm may end after it.
const AFTERMATH: Duration = Duration::from_millis(1500);

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct StormArgs {
    /// Count it as a failure when a storm that does not concern us costs more of a core.
    #[arg(long, default_value_t = 5.0, value_name = "PERCENT")]
    limit: f64,
}

/// What happens around the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Storm {
    /// Nothing.
    None,
    /// Routes of a feed come and go, over an uplink's gateway.
    Routes,
    /// Addresses come to an interface that is nobody's uplink, and go.
    Addresses,
    /// The same on an uplink.
    UplinkAddresses,
    /// A link that is nobody's uplink flaps.
    Flaps,
}

impl Storm {
    /// It does not concern us.
    fn is_foreign(self) -> bool {
        matches!(self, Self::Routes | Self::Addresses | Self::Flaps)
    }

    fn name(self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Routes => format!("{ROUTES} routes come and go"),
            Self::Addresses => format!("{} changes of others' addresses", 2 * ADDRESSES),
            Self::UplinkAddresses => format!("{} changes of an uplink's addresses", 2 * ADDRESSES),
            Self::Flaps => "a link of others flaps 50 times a second".to_owned(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Outcome {
    storm: Storm,
    seconds: f64,
    /// Of one core.
    cpu_percent: f64,
    connections: usize,
    lost: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    settings: String,
    outcomes: Vec<Outcome>,
}

/// Measures, prints the table and writes the figures.
///
/// # Errors
/// When the machine cannot build laboratories, or the daemon misses what comes after a storm.
pub(super) fn run(args: &StormArgs) -> Result<ExitCode> {
    let target = program::target_folder()?;
    let programs = Programs::prepare(&target, true, false)?;
    let machine = programs.machine();
    enter_private()?;
    let lab = Lab::build(LabSpec::default())?;
    ip(
        &lab,
        "link add aside type veth peer name aside-far\nlink set aside up\n",
    )?;
    let _servers = Servers::start(lab.internet(), PORT)?;
    let daemon = Candidate::UplinkdUndamped.start(&lab, &programs)?;
    wait_until_shared(&lab, &daemon, Family::V4)?;
    let mut outcomes = Vec::new();
    for storm in [
        Storm::None,
        Storm::Routes,
        Storm::Addresses,
        Storm::UplinkAddresses,
        Storm::Flaps,
    ] {
        let outcome = measure(&lab, &daemon, storm)?;
        print::talk(&format!("{outcome:?}"));
        outcomes.push(outcome);
        see_a_cable(&lab, &daemon).with_context(|| format!("after {}", storm.name()))?;
    }
    let report = Report {
        machine,
        settings: Candidate::UplinkdUndamped.settings(),
        outcomes,
    };
    print::line(&report.machine.line());
    print::line(&table(&report.outcomes));
    print::json(&target, "storm.json", &report)?;
    let quiet = report.outcomes[0].cpu_percent;
    let is_dear =
        |o: &Outcome| o.storm.is_foreign() && (o.cpu_percent - quiet > args.limit || o.lost > 0);
    if report.outcomes.iter().any(is_dear) {
        print::talk(&format!(
            "a storm costs more than {} % of a core, or traffic",
            args.limit
        ));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(lab: &Lab, daemon: &RouterDaemon, storm: Storm) -> Result<Outcome> {
    let load = Load::new(Transport::Udp, RATE, STORM_MAX, lab.servers(Family::V4));
    let load = load.start(lab.client())?;
    let (begun, before) = (Instant::now(), Usage::of(daemon)?);
    rage(lab, storm)?;
    thread::sleep(AFTERMATH);
    let (seconds, after) = (begun.elapsed().as_secs_f64(), Usage::of(daemon)?);
    let attempts = load.stop()?.since(begun);
    Ok(Outcome {
        storm,
        seconds,
        cpu_percent: 100.0 * (after.ticks - before.ticks) / TICKS_PER_SECOND / seconds,
        connections: attempts.0.len(),
        lost: attempts.failed(),
    })
}

fn rage(lab: &Lab, storm: Storm) -> Result<()> {
    let lines = |line: &dyn Fn(u32) -> String, many: u32| -> String {
        (0..many).fold(String::new(), |mut text, n| {
            // Writing into a `String` does not fail.
            let _ = writeln!(text, "{}", line(n));
            text
        })
    };
    let route = |n: u32| format!("20.{}.{}.{}/32", n >> 16, n >> 8 & 255, n & 255);
    let addresses = |device: &str| {
        let line = |what: &'static str| {
            move |n: u32| {
                let (high, low) = (n / 250, 1 + n % 250);
                format!("address {what} 172.30.{high}.{low}/32 dev {device}")
            }
        };
        lines(&line("add"), ADDRESSES) + &lines(&line("del"), ADDRESSES)
    };
    match storm {
        Storm::None => thread::sleep(QUIET),
        Storm::Routes => {
            let add = |n| format!("route add {} via 100.64.1.1 dev wan1", route(n));
            ip(lab, &lines(&add, ROUTES))?;
            let del = |n| format!("route del {}", route(n));
            ip(lab, &lines(&del, ROUTES))?;
        }
        Storm::Addresses => ip(lab, &addresses("aside"))?,
        Storm::UplinkAddresses => ip(lab, &addresses("wan2"))?,
        Storm::Flaps => {
            let mut plumber = Plumber::new(lab.router())?;
            let begun = Instant::now();
            for up in [true, false].into_iter().cycle() {
                if begun.elapsed() > FLAPS {
                    break;
                }
                plumber.set_up("aside-far", up)?;
                thread::sleep(FLAP);
            }
        }
    }
    Ok(())
}

/// Runs a batch of `ip` in the router.
fn ip(lab: &Lab, batch: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]);
    let output = lab.router().output(command, batch, STORM_MAX)?;
    ensure!(output.status.success(), "ip said: {}", output.stderr);
    Ok(())
}

/// The first provider's cable goes out and comes back, and the daemon sees both.
fn see_a_cable(lab: &Lab, daemon: &RouterDaemon) -> Result<()> {
    let isp = Isp::new(1).context("there is no first provider")?;
    let mut provider = Plumber::new(lab.isp(isp))?;
    let seen = |daemon: &RouterDaemon| daemon.log().matches("no carrier").count();
    let before = seen(daemon);
    provider.set_up("cust", false)?;
    daemon.wait_until("the cable is missed", STORM_MAX, || seen(daemon) > before)?;
    provider.set_up("cust", true)?;
    wait_until_shared(lab, daemon, Family::V4)
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text =
        "| storm | lasts, s | core, % | new connections lost |\n|---|---:|---:|---:|\n".to_owned();
    for o in outcomes {
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {} of {} |",
            o.storm.name(),
            o.seconds,
            o.cpu_percent,
            o.lost,
            o.connections
        );
    }
    text
}

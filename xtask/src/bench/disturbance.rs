//! `cargo xtask bench disturbance`: does what people and machines do to the daemon delay a failover?
//!
//! Each disturbance has laboratories of its own, and they take turns, so that what the machine does
//! meanwhile falls on all. In each laboratory two things are measured:
//!
//! - *outage*: a line is dead beyond its gateway, and new connections of the LAN fail until the daemon has
//!   found it out and led them elsewhere. Most of it is waiting for answers, and it varies with the
//!   moment of the fault within the second between two probes; each repetition tries the same moment with
//!   every disturbance.
//! - *reaction*: the cable is pulled, which the kernel tells at once, and the connections of the line are
//!   tracked until the daemon has released them. That is the daemon's own time alone.

pub(super) mod clients;

use std::{
    fmt::{self, Write as _},
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use nix::mount::{MsFlags, mount};
use serde::Serialize;
use uplinkd_kernel::Kernel;
use uplinkd_lab::{
    Fault, Isp, Lab, LabSpec, Places, RouterDaemon, enter_private,
    traffic::{self, Load, Servers, Transport},
};
use uplinkd_model::{Family, Mark};

use super::{
    candidate::Candidate,
    machine::Machine,
    print,
    program::{self, Programs},
    route_watch::RouteWatch,
    statistics::Spread,
    trial::wait_until_shared,
};

/// New connections per second; also how exactly an outage is known.
const RATE: u32 = 500;
/// Traffic before the fault, at least.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long a dead line is watched: several times what is needed.
const WINDOW: Duration = Duration::from_secs(3);
/// How long a mended line may take to serve again, and the release of its connections.
const RETURN_MAX: Duration = Duration::from_secs(20);
const RELEASE_MAX: Duration = Duration::from_secs(5);
/// The mark of what is on the first line, under the bits that number lines; as delivered.
const FIRST_LINE: (u32, u32) = (0x0100_0000, 0x0700_0000);
/// The disk that is full.
const DISK: &str = "size=512k";

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct DisturbanceArgs {
    /// How often each is tried, each time in a new laboratory.
    #[arg(long, default_value_t = 5, value_name = "N")]
    reps: usize,
    /// How often the cable is pulled in each.
    #[arg(long, default_value_t = 3, value_name = "N")]
    cuts: usize,
    /// Which; `none` is what the others are compared with.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "none,stalled-reader,readers,full-disk,damaged-history,hanging-hook,flood"
    )]
    only: Vec<Disturbance>,
    /// Count it as a failure when a median reaction is so many milliseconds longer than undisturbed.
    #[arg(long, value_name = "MS")]
    limit: Option<f64>,
}

/// What is done to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Disturbance {
    None,
    StalledReader,
    Readers,
    FullDisk,
    DamagedHistory,
    HangingHook,
    Flood,
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "undisturbed",
            Self::StalledReader => "a follower of events that never reads",
            Self::Readers => "100 followers of events",
            Self::FullDisk => "a full disk below state and history",
            Self::DamagedHistory => "a damaged history",
            Self::HangingHook => "a hook that hangs at each event",
            Self::Flood => "10,000 requests a second wanted",
        })
    }
}

#[derive(Clone, Debug, Serialize)]
struct Outcome {
    disturbance: Disturbance,
    repetition: usize,
    /// None: not over within the window.
    outage_ms: Option<f64>,
    reactions_ms: Vec<f64>,
    /// What the flood came to, per second.
    requests: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    machine: &'a Machine,
    connections_per_second: u32,
    outcomes: &'a [Outcome],
}

/// Measures, prints the table and writes the figures.
///
/// # Errors
/// When the machine cannot build laboratories, or a program is missing.
pub(super) fn run(args: &DisturbanceArgs) -> Result<ExitCode> {
    let target = program::target_folder()?;
    let programs = Programs::prepare(&target, true, false)?;
    let machine = programs.machine();
    enter_private()?;
    let mut outcomes = Vec::new();
    for repetition in 0..args.reps.max(1) {
        for disturbance in &args.only {
            let trial = Trial {
                disturbance: *disturbance,
                repetition,
                repetitions: args.reps.max(1),
                cuts: args.cuts.max(1),
            };
            let outcome = trial.run(&programs);
            let outcome = outcome.with_context(|| disturbance.to_string())?;
            print::talk(&format!(
                "{}/{} {disturbance}: outage {:?} ms, reactions {:.1?} ms",
                repetition + 1,
                args.reps,
                outcome.outage_ms,
                outcome.reactions_ms
            ));
            outcomes.push(outcome);
        }
    }
    print::line(&table(&machine, args, &outcomes));
    let report = Report {
        machine: &machine,
        connections_per_second: RATE,
        outcomes: &outcomes,
    };
    print::json(&target, "disturbance.json", &report)?;
    let before = reactions(Disturbance::None, &outcomes);
    let is_over = |limit: f64| {
        let mut all = args.only.iter().filter_map(|d| reactions(*d, &outcomes));
        before.is_some_and(|b| all.any(|s| s.median - b.median > limit))
    };
    if args.limit.is_some_and(is_over) {
        print::talk("a disturbance delays the daemon by more than it may");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

struct Trial {
    disturbance: Disturbance,
    repetition: usize,
    repetitions: usize,
    cuts: usize,
}

impl Trial {
    fn run(&self, programs: &Programs) -> Result<Outcome> {
        let lab = Lab::build(LabSpec::default())?;
        let isp = Isp::new(1).context("there is no first provider")?;
        let _servers = Servers::start(lab.internet(), traffic::PORT)?;
        let places = Places::new(&lab)?;
        self.prepare(&lab, &places)?;
        let started = Instant::now();
        let is_told = self.disturbance == Disturbance::HangingHook;
        let more = is_told.then(|| hanging_hook(&lab)).transpose()?;
        let more = more.unwrap_or_default();
        let daemon = start(&lab, &places, programs, &more)?;
        wait_until_shared(&lab, &daemon, Family::V4)?;
        let routes = RouteWatch::start(&lab, isp, Family::V4)?;
        let at_most = Duration::from_secs(300);
        let load = Load::new(Transport::Udp, RATE, at_most, lab.servers(Family::V4));
        let load = load.start(lab.client())?;
        let disturbing = self.begin(&lab, &places)?;
        thread::sleep(self.wait_for_phase(started));

        let before = Instant::now();
        let broken = Fault::Upstream.apply(&lab, isp)?;
        thread::sleep(WINDOW.saturating_sub(before.elapsed()));
        let over = Instant::now();
        broken.heal()?;
        wait_for(
            RETURN_MAX,
            "the mended line serves",
            || Ok(routes.is_used()),
        )?;
        let reactions_ms = (0..self.cuts)
            .map(|_| self.reaction(&lab, isp, &routes))
            .collect::<Result<Vec<_>>>()?;
        let requests = match &disturbing {
            Disturbing::Flood(work) => Some(work.rate()),
            Disturbing::Nothing | Disturbing::Stream(_) | Disturbing::Readers(_) => None,
        };
        drop(disturbing);

        let mut during = load.stop()?;
        during.0.retain(|a| a.begun >= before && a.begun < over);
        let outage = during.outage().and_then(|o| o.duration());
        Ok(Outcome {
            disturbance: self.disturbance,
            repetition: self.repetition,
            outage_ms: outage.map(|o| o.as_secs_f64() * 1000.0),
            reactions_ms,
            requests,
        })
    }

    /// What has to be so before the daemon starts.
    fn prepare(&self, lab: &Lab, places: &Places) -> Result<()> {
        let state = places.state();
        match self.disturbance {
            Disturbance::FullDisk => lab.mounts().run(|| {
                let kind = Some("tmpfs");
                mount(kind, &state, kind, MsFlags::empty(), Some(DISK))
                    .context("cannot mount a small disk")
            }),
            Disturbance::DamagedHistory => {
                fs::write(
                    state.join("history.db"),
                    b"SQLite format 3\0 and then nonsense".repeat(500),
                )?;
                Ok(())
            }
            Disturbance::None
            | Disturbance::StalledReader
            | Disturbance::Readers
            | Disturbance::HangingHook
            | Disturbance::Flood => Ok(()),
        }
    }

    /// What is done while it runs.
    fn begin(&self, lab: &Lab, places: &Places) -> Result<Disturbing> {
        let socket = clients::socket(places);
        Ok(match self.disturbance {
            Disturbance::None | Disturbance::DamagedHistory | Disturbance::HangingHook => {
                Disturbing::Nothing
            }
            Disturbance::StalledReader => Disturbing::Stream(clients::stalled(&socket)?),
            Disturbance::Readers => Disturbing::Readers(clients::readers(lab)?),
            Disturbance::FullDisk => {
                lab.mounts().run(|| fill(&places.state()))?;
                Disturbing::Nothing
            }
            Disturbance::Flood => Disturbing::Flood(clients::flood(&socket)),
        })
    }

    /// From pulling the cable until no connection of the line is tracked any more, in milliseconds.
    fn reaction(&self, lab: &Lab, isp: Isp, routes: &RouteWatch) -> Result<f64> {
        let (value, mask) = FIRST_LINE;
        let line = [(Family::V4, Mark::new(value, mask))];
        let tracked = |kernel: &mut Kernel| -> Result<u64> {
            Ok(kernel.count_connections(&line)?.iter().sum())
        };
        let mut kernel = lab.router().run(|| Ok(Kernel::open()?))?;
        thread::sleep(WARM_UP);
        let before = tracked(&mut kernel)?;
        ensure!(
            before > 10,
            "only {before} connections on the line that is cut"
        );
        let cut = Instant::now();
        let broken = Fault::Carrier.apply(lab, isp)?;
        wait_for(RELEASE_MAX, "its connections are released", || {
            Ok(tracked(&mut kernel)? == 0)
        })?;
        let reaction = cut.elapsed();
        broken.heal()?;
        wait_for(RETURN_MAX, "the line serves again", || Ok(routes.is_used()))?;
        Ok(reaction.as_secs_f64() * 1000.0)
    }

    /// How long to wait for the fault: until the daemon's probes, which began with it, are at the moment
    /// of this repetition, evenly spread over the second between two.
    fn wait_for_phase(&self, started: Instant) -> Duration {
        let part = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let period = Candidate::UplinkdUndamped.period();
        let phase = period * (2 * part(self.repetition) + 1) / (2 * part(self.repetitions));
        let earliest = started.elapsed() + WARM_UP;
        let into = Duration::from_secs_f64(earliest.as_secs_f64() % period.as_secs_f64());
        let more = if phase >= into {
            phase - into
        } else {
            period + phase - into
        };
        WARM_UP + more
    }
}

/// What goes on until it is dropped.
enum Disturbing {
    Nothing,
    Stream(#[expect(dead_code, reason = "it is held open")] std::os::unix::net::UnixStream),
    Readers(#[expect(dead_code, reason = "it goes on while it is held")] clients::Work),
    Flood(clients::Work),
}

/// Starts uplinkd as delivered, without damping, since lines fail here again and again, and with TCP.
pub(super) fn start(
    lab: &Lab,
    places: &Places,
    programs: &Programs,
    more: &str,
) -> Result<RouterDaemon> {
    let settings = Candidate::UplinkdUndamped.settings();
    places.write_config(&(settings + &clients::api(places)? + more))?;
    let program = programs.uplinkd.as_deref().context("there is no uplinkd")?;
    let mut command: Command = places.command(program);
    command.arg("run");
    RouterDaemon::start_command(lab, places, command).context("cannot start uplinkd")
}

/// A hook that does not end by itself, and the words that have it run at each event.
fn hanging_hook(lab: &Lab) -> Result<String> {
    let folder = lab.folder().join("hooks");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
    let hook = folder.join("10-hang");
    fs::write(&hook, "#!/bin/sh\nexec sleep 3600\n")?;
    fs::set_permissions(&hook, Permissions::from_mode(0o755))?;
    let folder = folder.display();
    Ok(format!(
        "[notify.hooks]\ndir = \"{folder}\"\nevents = [\"all\"]\n"
    ))
}

/// Takes all that is left of a disk.
fn fill(folder: &Path) -> Result<()> {
    let mut file = fs::File::create(folder.join("filler"))?;
    let piece = [0; 4096];
    for _ in 0..100_000 {
        if std::io::Write::write_all(&mut file, &piece).is_err() {
            return Ok(());
        }
    }
    anyhow::bail!("{} does not become full", folder.display())
}

fn wait_for(most: Duration, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !holds()? {
        ensure!(begun.elapsed() < most, "{what}: not within {most:?}");
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

fn reactions(disturbance: Disturbance, outcomes: &[Outcome]) -> Option<Spread> {
    let own = outcomes.iter().filter(|o| o.disturbance == disturbance);
    Spread::of(own.flat_map(|o| o.reactions_ms.iter().copied()))
}

fn outages(disturbance: Disturbance, outcomes: &[Outcome]) -> Option<Spread> {
    let own = outcomes.iter().filter(|o| o.disturbance == disturbance);
    Spread::of(own.map(|o| o.outage_ms.unwrap_or(f64::INFINITY)))
}

fn table(machine: &Machine, args: &DisturbanceArgs, outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "{}\n{} repetitions with {} cuts each; ms; median, max (difference of the median)\n\n{:40} {:>26} {:>26}\n",
        machine.line(),
        args.reps,
        args.cuts,
        "",
        "reaction",
        "outage"
    );
    let cell = |own: Option<Spread>, plain: Option<Spread>| match (own, plain) {
        (Some(own), Some(plain)) => {
            let more = own.median - plain.median;
            format!("{:.1}, {:.1} ({more:+.1})", own.median, own.max)
        }
        (Some(own), None) => format!("{:.1}, {:.1}", own.median, own.max),
        (None, _) => "-".to_owned(),
    };
    for disturbance in &args.only {
        let of = |all: fn(Disturbance, &[Outcome]) -> Option<Spread>| {
            cell(
                all(*disturbance, outcomes),
                all(Disturbance::None, outcomes),
            )
        };
        let _ = writeln!(
            text,
            "{:40} {:>26} {:>26}",
            disturbance.to_string(),
            of(reactions),
            of(outages)
        );
    }
    let flood = outcomes.iter().filter_map(|o| o.requests);
    if let Some(rate) = Spread::of(flood) {
        let _ = writeln!(
            text,
            "\nrequests that were made per second: {:.0}",
            rate.median
        );
    }
    text
}

//! `cargo xtask bench lines`: lines that are bad without being dead, or dead without anybody using them.
//!
//! What `bench failover` cannot show: how soon a silent line is noticed that carries nothing, whether a
//! full one is left alone, how soon a lossy one is known as such, and how often a flapping one is taken
//! up again. Each trial has a laboratory of its own.

use std::{
    process::{Command, ExitCode, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;
use uplinkd_lab::{
    Fault, Isp, Lab, LabSpec, RouterDaemon, enter_private,
    traffic::{self, Load, Servers, Transport},
};
use uplinkd_model::Family;

use super::{
    candidate::Candidate,
    machine::Machine,
    print,
    program::{self, Programs},
    route_watch::{Changes, RouteWatch},
    statistics::Spread,
    trial::wait_until_shared,
};

/// Without traffic, until the candidate takes the line for an idle one.
const QUIET: Duration = Duration::from_secs(12);
/// How long a dead or lossy line is watched.
const WATCH: Duration = Duration::from_secs(10);
/// How long a line is kept full.
const FULL: Duration = Duration::from_secs(60);
/// What it carries then, in kilobits a second.
const RATE: u32 = 20_000;
/// Connections that fill it, in each direction: with fewer all of them may take the other line.
const STREAMS: &str = "8";
/// What must have gone over it for it to have been full, in parts of its rate.
const FULL_LEAST: f64 = 0.7;
/// Trials without that, which do not count, in a run that is worth something.
const NOT_FULL_MAX: usize = 10;
/// How long a flapping line is watched, and how long each of its states lasts.
const FLAPPING: Duration = Duration::from_secs(300);
const FLAP: Duration = Duration::from_secs(2);
/// Traffic on lossy and flapping lines, in new connections a second.
const CONNECTIONS: u32 = 100;
/// Between two looks into a log.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a line is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// Nothing uses it, and its gateway falls silent.
    Idle,
    /// Its own traffic fills it.
    Full,
    /// It loses 30 % of packets each way.
    Loss,
    /// Its gateway is silent for two seconds, and there for two.
    Flap,
}

impl Line {
    const ALL: [Self; 4] = [Self::Idle, Self::Full, Self::Loss, Self::Flap];

    fn title(self) -> &'static str {
        match self {
            Self::Idle => "idle, falls silent: until out of use, ms",
            Self::Full => "full for a minute: switches",
            Self::Loss => "30 % lost each way: until degraded, ms",
            Self::Flap => "2 s silent, 2 s there, 5 min: switches",
        }
    }

    /// The most that uplinkd may come to.
    fn aim(self) -> f64 {
        match self {
            Self::Idle => 1500.0,
            Self::Full => 0.0,
            Self::Loss => 3000.0,
            Self::Flap => 3.0,
        }
    }
}

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct LinesArgs {
    /// Which lines.
    #[arg(long, value_delimiter = ',', default_value = "idle,full,loss,flap")]
    only: Vec<Line>,
    /// How often each is tried with each candidate.
    #[arg(long, default_value_t = 10, value_name = "N")]
    reps: usize,
    /// How many trials of a line run at a time, each in a laboratory of its own. Flapping lines last five
    /// minutes each and need hardly any of the machine.
    #[arg(long, default_value_t = 1, value_name = "N")]
    at_a_time: usize,
    /// Who takes part.
    #[arg(long, value_delimiter = ',', default_value = "uplinkd,script")]
    peers: Vec<Candidate>,
}

#[derive(Debug, Serialize)]
struct Row {
    line: Line,
    candidate: Candidate,
    /// In the unit of the line's title; infinite: never.
    results: Vec<f64>,
    /// In how many trials it was called down although it worked.
    called_down: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    rows: Vec<Row>,
}

/// Measures, prints the table and writes the figures.
///
/// # Errors
/// When the machine cannot build laboratories, or a program is missing.
pub(super) fn run(args: &LinesArgs) -> Result<ExitCode> {
    let target = program::target_folder()?;
    let has_iperf = program::find_in_path("iperf3").is_some();
    ensure!(
        has_iperf || !args.only.contains(&Line::Full),
        "there is no `iperf3` to fill a line with (package iperf3); or leave `full` out of --only"
    );
    let has_uplinkd = args.peers.iter().any(|c| c.is_uplinkd());
    let has_polywan = args.peers.iter().any(|c| c.is_polywan());
    let programs = Programs::prepare(&target, has_uplinkd, has_polywan)?;
    let machine = programs.machine();
    enter_private()?;
    let mut rows = Vec::new();
    for line in Line::ALL.into_iter().filter(|l| args.only.contains(l)) {
        for candidate in &args.peers {
            // What only the program itself could tell is not asked of others.
            if line == Line::Loss && !candidate.is_uplinkd() {
                continue;
            }
            let row = measure(line, *candidate, args, &programs)?;
            print::talk(&row.text());
            rows.push(row);
        }
    }
    let is_missed = rows.iter().any(Row::is_missed);
    print::line(&machine.line());
    rows.iter().for_each(|row| print::line(&row.text()));
    print::json(&target, "lines.json", &Report { machine, rows })?;
    Ok(match is_missed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

impl Row {
    fn is_missed(&self) -> bool {
        let most = self.results.iter().copied().fold(0.0, f64::max);
        self.candidate.is_uplinkd() && (most > self.line.aim() || self.called_down > 0)
    }

    fn text(&self) -> String {
        let Some(spread) = Spread::of(self.results.iter().copied()) else {
            return format!("{}: no trial came to its end", self.line.title());
        };
        let verdict = match (self.candidate.is_uplinkd(), self.is_missed()) {
            (false, _) => String::new(),
            (true, missed) => {
                let word = if missed { "MISSED" } else { "met" };
                format!("  at most {}: {word}", self.line.aim())
            }
        };
        let down = match self.called_down {
            0 => String::new(),
            n => format!(", called down in {n}"),
        };
        format!(
            "{:<42} {:<16} {:>7.0} {:>7.0} {:>7.0}  ({} trials{down}){verdict}",
            self.line.title(),
            self.candidate,
            spread.min,
            spread.median,
            spread.max,
            self.results.len(),
        )
    }
}

fn measure(line: Line, candidate: Candidate, args: &LinesArgs, programs: &Programs) -> Result<Row> {
    let count = args.reps.max(1);
    let (next, not_full) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return anyhow::Ok(done);
            }
            loop {
                match try_once(line, candidate, (number, count), programs) {
                    Ok(result) => break done.push(result),
                    Err(error)
                        if error.is::<NotFull>()
                            && not_full.fetch_add(1, Ordering::Relaxed) < NOT_FULL_MAX =>
                    {
                        print::talk(&format!("{error}; once more"));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    };
    let mut row = Row {
        line,
        candidate,
        results: Vec::new(),
        called_down: 0,
    };
    thread::scope(|scope| {
        let workers = (0..args.at_a_time.clamp(1, count)).map(|_| scope.spawn(work));
        for worker in workers.collect::<Vec<_>>() {
            let done = worker.join().map_err(|_| anyhow!("a trial died"))??;
            for (result, is_called_down) in done {
                row.results.push(result);
                row.called_down += usize::from(is_called_down);
            }
        }
        Ok(row)
    })
}

/// One trial in a laboratory of its own: its result, and whether a line that worked was called down.
fn try_once(
    line: Line,
    candidate: Candidate,
    (number, count): (usize, usize),
    programs: &Programs,
) -> Result<(f64, bool)> {
    let lab = Lab::build(LabSpec::default())?;
    let _servers = Servers::start(lab.internet(), traffic::PORT)?;
    let router = candidate.start(&lab, programs)?;
    wait_until_shared(&lab, &router, Family::V4)?;
    let trial = Trial {
        lab: &lab,
        router: &router,
        isp: Isp::new(1).context("there is no first provider")?,
    };
    Ok(match line {
        Line::Idle => (trial.idle(number, count)?, false),
        Line::Full => trial.full()?,
        Line::Loss => trial.lossy()?,
        Line::Flap => (trial.flapping()?, false),
    })
}

/// A trial that says nothing about full lines.
#[derive(Debug, thiserror::Error)]
#[error("the line was only {0:.2} full")]
struct NotFull(f64);

struct Trial<'a> {
    lab: &'a Lab,
    router: &'a RouterDaemon,
    isp: Isp,
}

impl Trial<'_> {
    /// Milliseconds until it is out of use; the faults of all trials are spread over a second.
    fn idle(&self, number: usize, count: usize) -> Result<f64> {
        thread::sleep(QUIET);
        let part = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        thread::sleep(Duration::from_secs(1) * part(number) / part(count));
        let routes = RouteWatch::start(self.lab, self.isp, Family::V4)?;
        let broken = Fault::Silent.apply(self.lab, self.isp)?;
        thread::sleep(WATCH);
        let out = routes.stop()?.out_of_use_after(broken.since());
        Ok(out.map_or(f64::INFINITY, |d| d.as_secs_f64() * 1000.0))
    }

    /// Switches while it is full, and whether it was called down.
    fn full(&self) -> Result<(f64, bool)> {
        // The other one, too: traffic that nothing holds would take the processors from this one.
        let _slow = self
            .lab
            .isps()
            .map(|isp| Fault::Slow(RATE).apply(self.lab, isp))
            .collect::<Result<Vec<_>>>()?;
        let routes = RouteWatch::start(self.lab, self.isp, Family::V4)?;
        self.wait_until_seen(&routes)?;
        let (before, log) = (self.received()?, self.router.log().len());
        let begun = Instant::now();
        self.fill()?;
        let carried = (self.received()? - before) * 8.0 / begun.elapsed().as_secs_f64();
        let part = carried / (f64::from(RATE) * 1000.0);
        let switches = switches(&routes.stop()?, begun);
        let is_called_down = self.says("is down", log);
        // Where it was switched it may be for that.
        ensure!(
            part >= FULL_LEAST || switches > 0.0 || is_called_down,
            NotFull(part)
        );
        Ok((switches, is_called_down))
    }

    /// Fills the lines by TCP in both directions.
    fn fill(&self) -> Result<()> {
        let seconds = FULL.as_secs().to_string();
        let mut server = Command::new("iperf3");
        server.args(["--server", "--one-off"]).stdout(Stdio::null());
        let server = self.lab.internet().spawn(server)?;
        thread::sleep(Duration::from_millis(500));
        let mut client = Command::new("iperf3");
        let to = self.lab.servers(Family::V4)[0].to_string();
        client.args([
            "--bidir",
            "--parallel",
            STREAMS,
            "--time",
            &seconds,
            "--client",
            &to,
        ]);
        let limit = FULL + Duration::from_secs(30);
        let said = self.lab.client().output(client, "", limit)?;
        ensure!(
            said.status.success(),
            "iperf3: {}{}",
            said.stdout,
            said.stderr
        );
        drop(server);
        Ok(())
    }

    /// Bytes that the router has received by the line.
    fn received(&self) -> Result<f64> {
        let mut ip = Command::new("ip");
        ip.args([
            "-json",
            "-stats",
            "link",
            "show",
            "dev",
            &self.isp.interface(),
        ]);
        let said = self.lab.router().output(ip, "", WATCH)?;
        let links: serde_json::Value = serde_json::from_str(&said.stdout)?;
        let bytes = links[0]["stats64"]["rx"]["bytes"].as_f64();
        bytes.context("`ip` does not say how much was received")
    }

    /// Milliseconds until it is called degraded, and whether it was called down.
    fn lossy(&self) -> Result<(f64, bool)> {
        let load = self.load(WATCH)?;
        thread::sleep(QUIET);
        let log = self.router.log().len();
        let broken = Fault::Loss(30).apply(self.lab, self.isp)?;
        let mut degraded = f64::INFINITY;
        while broken.since().elapsed() < WATCH {
            if degraded.is_infinite() && self.says("is degraded", log) {
                degraded = broken.since().elapsed().as_secs_f64() * 1000.0;
            }
            thread::sleep(LOOK_EVERY);
        }
        load.stop()?;
        Ok((degraded, self.says("is down", log)))
    }

    /// Switches while it flaps.
    fn flapping(&self) -> Result<f64> {
        let load = self.load(FLAPPING)?;
        let routes = RouteWatch::start(self.lab, self.isp, Family::V4)?;
        self.wait_until_seen(&routes)?;
        let begun = Instant::now();
        while begun.elapsed() < FLAPPING {
            let broken = Fault::Silent.apply(self.lab, self.isp)?;
            thread::sleep(FLAP);
            broken.heal()?;
            thread::sleep(FLAP);
        }
        load.stop()?;
        Ok(switches(&routes.stop()?, begun))
    }

    /// What a watch sees first is no switch.
    fn wait_until_seen(&self, routes: &RouteWatch) -> Result<()> {
        let what = "the line is in use";
        self.router.wait_until(what, WATCH, || {
            thread::sleep(LOOK_EVERY);
            routes.is_used()
        })
    }

    fn load(&self, at_least: Duration) -> Result<traffic::Running> {
        let destinations = self.lab.servers(Family::V4);
        // Ended by `stop`; this is the bound for a trial that hangs.
        let at_most = at_least * 2 + QUIET;
        Load::new(Transport::Udp, CONNECTIONS, at_most, destinations).start(self.lab.client())
    }

    /// Whether the log says this of the line since it was so long.
    fn says(&self, words: &str, since: usize) -> bool {
        let log = self.router.log();
        let news = log.get(since..).unwrap_or("");
        let uplink = format!("uplink isp{} (IPv4) {words}", self.isp.number());
        news.contains(&uplink)
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are few")]
fn switches(changes: &Changes, since: Instant) -> f64 {
    changes.count(since, Instant::now()) as f64
}

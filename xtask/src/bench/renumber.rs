//! `cargo xtask bench renumber`: a line that works gets another address and another gateway, under
//! traffic. How long until new connections are right, and what is left of the old address?
//!
//! No DHCP client takes part: what it would do to the kernel is done by netlink here, so that the
//! time counts from the kernel's last word.

mod watch;

use std::{
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;
use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;
use uplinkd_lab::{
    Isp, Lab, LabSpec, enter_private,
    plumbing::{DHCP, LabRoute, Plumber},
    traffic::{Attempts, Ending, Load, PORT, Servers, Transport},
};
use uplinkd_model::Family;

use super::{
    candidate::Candidate,
    machine::Machine,
    print,
    program::{self, Programs},
    statistics::Spread,
    trial::wait_until_shared,
};
use watch::{Found, Watch};

/// New connections per second.
const RATE: u32 = 400;
const WARM_UP: Duration = Duration::from_secs(1);
/// How long it is watched.
const WINDOW: Duration = Duration::from_secs(4);
/// How long a client that drops its address first is without one.
const GAP: Duration = Duration::from_millis(50);
/// This long before the change a connection may already have been under way.
const IN_FLIGHT: Duration = Duration::from_millis(5);

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct RenumberArgs {
    /// How often each way is tried.
    #[arg(long, default_value_t = 5, value_name = "N")]
    reps: usize,
    /// Count it as a failure when the median time until the kernel is right is longer.
    #[arg(long, default_value_t = 100.0, value_name = "MS")]
    limit: f64,
}

/// How a client renumbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Way {
    /// The new address and route come before the old address goes.
    Seamless,
    /// The old address goes first.
    Gap,
}

/// What became of one. Milliseconds; none: never within the window.
#[derive(Clone, Debug, Serialize)]
struct Outcome {
    way: Way,
    /// Until nexthops and rules know nothing but the new network.
    right_ms: Option<f64>,
    /// Until no tracked connection uses the old address.
    released_ms: Option<f64>,
    /// Until a new connection was begun that uses the new address.
    used_ms: Option<f64>,
    attempts: usize,
    lost: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    connections_per_second: u32,
    settings: String,
    outcomes: Vec<Outcome>,
}

/// Measures, prints the table and writes the figures.
///
/// # Errors
/// When the machine cannot build laboratories, or uplinkd does not build.
pub(super) fn run(args: &RenumberArgs) -> Result<ExitCode> {
    let target = program::target_folder()?;
    let programs = Programs::prepare(&target, true, false)?;
    let machine = programs.machine();
    enter_private()?;
    let mut outcomes = Vec::new();
    for _ in 0..args.reps.clamp(1, 100) {
        for way in [Way::Seamless, Way::Gap] {
            let outcome = trial(way, &programs)?;
            print::talk(&format!("{outcome:?}"));
            outcomes.push(outcome);
        }
    }
    let report = Report {
        machine,
        connections_per_second: RATE,
        settings: Candidate::Uplinkd.settings(),
        outcomes,
    };
    print::line(&report.machine.line());
    print::line(&table(&report.outcomes));
    print::json(&target, "renumber.json", &report)?;
    let is_slow = [Way::Seamless, Way::Gap].into_iter().any(|way| {
        let median = spread(&report.outcomes, way, |o| o.right_ms).map(|s| s.median);
        median.is_none_or(|m| m > args.limit)
    });
    if is_slow {
        print::talk(&format!("the kernel is right only after {} ms", args.limit));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// A network on the first line: the router's address and its gateway.
struct Network {
    router: IpNet,
    gateway: IpNet,
}

impl Network {
    fn new(first: u8) -> Self {
        let host = |n: u8| {
            let address = Ipv4Addr::new(100, 64, 1, first + n);
            IpNet::from(Ipv4Net::new_assert(address, 26))
        };
        Self {
            router: host(2),
            gateway: host(1),
        }
    }

    fn route(&self) -> LabRoute {
        LabRoute {
            destination: Family::V4.default_route(),
            gateway: self.gateway.addr(),
            metric: Some(100),
            protocol: DHCP,
        }
    }
}

fn trial(way: Way, programs: &Programs) -> Result<Outcome> {
    let isp = Isp::new(1).context("there is no first provider")?;
    let lab = Lab::build(LabSpec {
        bare: 1,
        ..LabSpec::default()
    })?;
    let (before, after) = (Network::new(64), Network::new(128));
    let mut provider = Plumber::new(lab.isp(isp))?;
    provider.add_addresses("cust", &[before.gateway, after.gateway])?;
    let mut router = Plumber::new(lab.router())?;
    router.add_addresses("wan1", &[before.router])?;
    router.add_routes("wan1", &[before.route()])?;
    let _servers = Servers::start(lab.internet(), PORT)?;
    let daemon = Candidate::Uplinkd.start(&lab, programs)?;
    wait_until_shared(&lab, &daemon, Family::V4)?;
    let at_most = Duration::from_secs(60);
    let load = Load::new(Transport::Udp, RATE, at_most, lab.servers(Family::V4));
    let load = load.start(lab.client())?;
    thread::sleep(WARM_UP);
    let watch = Watch::start(&lab, isp, before.router.addr(), after.router.addr())?;

    let begun = Instant::now();
    if way == Way::Gap {
        router.remove_addresses("wan1", &[before.router])?;
        thread::sleep(GAP);
    }
    router.add_addresses("wan1", &[after.router])?;
    router.add_routes("wan1", &[after.route()])?;
    if way == Way::Seamless {
        router.remove_addresses("wan1", &[before.router])?;
    }
    let done = Instant::now();
    thread::sleep(WINDOW);
    let Found { right, released } = watch.stop()?;
    let attempts = load.stop()?.since(begun - IN_FLIGHT);
    let later = |at: Instant| ms(at.saturating_duration_since(done));
    Ok(Outcome {
        way,
        right_ms: right.map(later),
        released_ms: released.map(later),
        used_ms: first_from(&attempts, after.router.addr()).map(later),
        attempts: attempts.0.len(),
        lost: attempts.failed(),
    })
}

/// When the first connection was begun that the internet saw with this source.
fn first_from(attempts: &Attempts, source: IpAddr) -> Option<Instant> {
    let first = attempts
        .0
        .iter()
        .find(|a| a.ending == Ending::Answered(source));
    first.map(|a| a.begun)
}

fn spread(outcomes: &[Outcome], way: Way, of: impl Fn(&Outcome) -> Option<f64>) -> Option<Spread> {
    let those = outcomes.iter().filter(|o| o.way == way);
    Spread::of(those.map(|o| of(o).unwrap_or(f64::INFINITY)))
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text = "| the client | kernel right, ms | old connections gone, ms | new address used, ms | lost |\n\
                    |---|---:|---:|---:|---:|\n"
        .to_owned();
    for (way, name) in [
        (Way::Seamless, "has the new address first"),
        (Way::Gap, "drops the old address first"),
    ] {
        let shown = |of: &dyn Fn(&Outcome) -> Option<f64>| {
            spread(outcomes, way, of).map_or_else(String::new, |s| {
                format!("{:.1} ({:.1}–{:.1})", s.median, s.min, s.max)
            })
        };
        let those = || outcomes.iter().filter(|o| o.way == way);
        let (lost, all) = those().fold((0, 0), |(l, a), o| (l + o.lost, a + o.attempts));
        text += &format!(
            "| {name} | {} | {} | {} | {lost} of {all} |\n",
            shown(&|o| o.right_ms),
            shown(&|o| o.released_ms),
            shown(&|o| o.used_ms),
        );
    }
    text
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

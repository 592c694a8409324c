//! Measurements. Each prints a table, writes its raw figures as JSON below `target/bench`, and runs
//! in network namespaces of its own: nothing of the machine's network is touched.
//!
//! | command | answers |
//! |---|---|
//! | `bench failover` | how long traffic suffers when a line breaks, here and with others |
//! | `bench decision` | how long it takes from knowing of a failure to the kernel's acknowledgement |
//! | `bench disturbance` | whether what people and machines do to the daemon delays a failover |
//! | `bench status` | what it takes to be asked, and to be followed by a hundred |
//! | `bench idle` | what the daemon costs while nothing happens |
//! | `bench lines` | whether idle, full, lossy and flapping lines are taken for what they are |
//! | `bench renumber` | how soon a line that gets another address is right, and what is left of the old |
//! | `bench storm` | what the daemon costs, and traffic loses, while others change things by the thousand |
//! | `bench history` | how many bytes history writes in a day, how large it gets, how soon it answers |
//! | `bench probes` | what asking 4,000 targets costs, and how right the times are under load |
//! | `bench policies` | what policies cost: for packets, and for whoever writes ten thousand |
//!
//! Times depend on the machine. Compare what one run printed, or ratios.

mod candidate;
mod decision;
mod disturbance;
mod failover;
mod families;
mod history;
mod idle;
mod lines;
mod machine;
mod policies;
pub(crate) mod print;
mod probes;
pub(crate) mod program;
mod renumber;
mod route_watch;
mod statistics;
mod status;
mod storm;
mod trial;

use std::{env, process::Command, process::ExitCode};

use anyhow::{Context, Result};
use clap::Subcommand;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Break a line under traffic and count what is lost, with uplinkd and with others.
    Failover(failover::FailoverArgs),
    /// From the fact that fails an uplink to the kernel's acknowledgement of the change.
    Decision(decision::DecisionArgs),
    /// Fail over while somebody disturbs the daemon: followers, a flood of requests, a full disk.
    Disturbance(disturbance::DisturbanceArgs),
    /// What history costs a disk, and how soon it answers.
    History(history::HistoryArgs),
    /// Memory and CPU of the daemon while nothing happens.
    Idle(idle::IdleArgs),
    /// Lines that are idle, full, lossy or flapping: how soon they are known, how often they are switched.
    Lines(lines::LinesArgs),
    /// Give a line another address and gateway under traffic.
    Renumber(renumber::RenumberArgs),
    /// How long the status takes, and what followers of events cost.
    Status(status::StatusArgs),
    /// Change routes, addresses and carriers around the daemon by the thousand.
    Storm(storm::StormArgs),
    /// What policies cost: per packet, and in checks, first applies and reloads.
    Policies(policies::PoliciesArgs),
    /// What asking thousands of targets costs, beside a loop in C and fping.
    Probes(probes::ProbesArgs),
}

/// Measures.
///
/// # Errors
/// When the machine cannot do it; that a target was missed is told by the exit code.
pub(crate) fn run(what: &Bench) -> Result<ExitCode> {
    // What history measures with is a program of its own, which is built for that in any case.
    if cfg!(debug_assertions) && !matches!(what, Bench::History(_)) {
        return run_optimised();
    }
    match what {
        Bench::Failover(args) => failover::run(args),
        Bench::Decision(args) => decision::run(args),
        Bench::Disturbance(args) => disturbance::run(args),
        Bench::Status(args) => status::run(args),
        Bench::History(args) => history::run(args),
        Bench::Idle(args) => idle::run(args),
        Bench::Lines(args) => lines::run(args),
        Bench::Renumber(args) => renumber::run(args),
        Bench::Storm(args) => storm::run(args),
        Bench::Policies(args) => policies::run(args),
        Bench::Probes(args) => probes::run(args),
    }
}

/// Runs the same command again from a release build: figures of a debug build say nothing.
fn run_optimised() -> Result<ExitCode> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "xtask", "--"])
        .args(env::args_os().skip(1))
        .status()
        .context("cannot start cargo")?;
    Ok(match status.code().map(u8::try_from) {
        Some(Ok(code)) => ExitCode::from(code),
        Some(Err(_)) | None => ExitCode::FAILURE,
    })
}

//! `cargo xtask bench policies`: what policies cost, at the scale of 10,000.
//!
//! Two parts. **Traffic**: the work for a packet of an established connection and of a new one, in
//! routers with few and many policies, few and many uplinks, with plain masquerade without us, and
//! with the same policies written as a list of rules. **Times**: checking a file of 10,000 policies
//! and 100,000 prefixes, applying it first, and reloading it with one policy changed.
//!
//! Every router of the first part stands in a laboratory of its own, all at once, and they are
//! measured in turn, so that a noisy machine is noisy to all of them alike.

mod door;
mod generator;
mod ratio;
mod router;
mod said;
mod scale;
mod table;
mod times;
mod traffic;
mod wish;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;
use uplinkd_lab::enter_private;
use uplinkd_model::Family;

use super::{
    machine::Machine,
    print,
    program::{self, Programs},
};
use ratio::Ratio;
use times::{Times, TimesArgs};
use traffic::Cost;

/// More rounds than this teach nothing.
const ROUNDS_MAX: usize = 10_000;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct PoliciesArgs {
    /// How often each router is measured.
    #[arg(long, default_value_t = 60, value_name = "N")]
    rounds: usize,
    /// How often checks, first applies and reloads are timed.
    #[arg(long, default_value_t = 7, value_name = "N")]
    reps: usize,
    /// Policies in the file whose check, first apply and reload are timed.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    policies: usize,
    /// Prefixes in it.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    prefixes: usize,
    /// Send IPv6 and not IPv4.
    #[arg(long)]
    ipv6: bool,
    /// Measure only this part.
    #[arg(long, value_enum)]
    only: Option<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Traffic,
    Times,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    family: Family,
    rounds: usize,
    /// The work for a packet, for each router.
    costs: Vec<Cost>,
    ratios: Vec<Ratio>,
    times: Option<Times>,
}

/// Measures, prints the tables and writes the figures.
///
/// # Errors
/// When the machine cannot build laboratories, or a router does not do what it should.
pub(super) fn run(args: &PoliciesArgs) -> Result<ExitCode> {
    let target = program::target_folder()?;
    let programs = Programs::prepare(&target, true, false)?;
    let machine = programs.machine();
    enter_private()?;
    let family = if args.ipv6 { Family::V6 } else { Family::V4 };
    let rounds = args.rounds.clamp(1, ROUNDS_MAX);
    let (mut costs, mut ratios, mut times) = (Vec::new(), Vec::new(), None);
    if args.only != Some(Part::Times) {
        let measured = traffic::measure(family, rounds, &programs)?;
        ratios = ratio::all(&measured);
        costs = measured.costs();
    }
    if args.only != Some(Part::Traffic) {
        let args = TimesArgs {
            policies: args.policies,
            prefixes: args.prefixes,
            repetitions: args.reps.max(1),
        };
        times = Some(times::measure(&args, &programs)?);
    }
    let report = Report {
        machine,
        family,
        rounds,
        costs,
        ratios,
        times,
    };
    print::line(&table::render(&report));
    print::json(&target, "policies.json", &report)?;
    let missed = table::missed(&report);
    for target in &missed {
        print::talk(&format!("missed: {target}"));
    }
    Ok(if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

//! `cargo xtask bench failover`: break a line under traffic, with uplinkd and with others.
//!
//! Every trial has a laboratory of its own ([`super::trial`]). Candidates take turns, so that what
//! the machine does meanwhile falls on all of them. uplinkd takes a turn with each family; the others
//! are set up for IPv4 alone.

mod even;
mod table;

use std::{process::Command, process::ExitCode, time::Instant};

use anyhow::{Result, bail};
use clap::Args;
use nix::unistd::geteuid;
use serde::Serialize;
use uplinkd_lab::{Fault, enter_private};
use uplinkd_model::Family;

use super::{
    candidate::Candidate,
    families::{self, Comparison, FamilyArgs},
    machine::Machine,
    print,
    program::{self, Programs},
    trial::{Outcome, RATE, Trial},
};

/// What the script is made of.
const SCRIPT_NEEDS: [(&str, &str); 3] = [
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("nft", "nftables"),
];
/// More repetitions would take hours.
const REPETITIONS_MAX: usize = 100;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct FailoverArgs {
    /// How often each fault is tried with each candidate.
    #[arg(long, default_value_t = 5, value_name = "N")]
    reps: usize,
    /// Which faults: carrier, silent, upstream, loss:PERCENT, flap:MILLISECONDS, …
    #[arg(long, value_delimiter = ',', default_value = "carrier,silent,upstream")]
    faults: Vec<Fault>,
    /// Who takes part.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "uplinkd,script,polywan,polywan-fast"
    )]
    peers: Vec<Candidate>,
    #[command(flatten)]
    families: FamilyArgs,
    /// Smoke test: one repetition of each fault with uplinkd, without the others.
    #[arg(long)]
    quick: bool,
    /// Count it as a failure when uplinkd's median outage is longer than so many milliseconds.
    #[arg(long, value_name = "MS")]
    limit: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    machine: &'a Machine,
    connections_per_second: u32,
    settings: Vec<(Candidate, String)>,
    outcomes: &'a [Outcome],
    /// IPv6 against IPv4.
    comparisons: &'a [Comparison],
}

/// Measures, prints the table and writes the figures.
///
/// # Errors
/// When the machine cannot build laboratories, or a program is missing.
pub(super) fn run(args: &FailoverArgs) -> Result<ExitCode> {
    let mut candidates = args.peers.clone();
    if args.quick {
        candidates = vec![Candidate::Uplinkd];
    }
    candidates.sort_unstable();
    candidates.dedup();
    let repetitions = if args.quick {
        1
    } else {
        args.reps.clamp(1, REPETITIONS_MAX)
    };

    let target = program::target_folder()?;
    leave_out_impossible(&mut candidates);
    let has_uplinkd = candidates.iter().any(|c| c.is_uplinkd());
    let has_polywan = candidates.iter().any(|c| c.is_polywan());
    let programs = Programs::prepare(&target, has_uplinkd, has_polywan)?;
    let mut machine = programs.machine();
    if candidates.contains(&Candidate::Script) {
        machine.add_program(Command::new("ping").arg("-V"));
        machine.add_program(Command::new("ip").arg("-V"));
    }
    // From here on there may be no way to the real internet, and threads may be started.
    enter_private()?;

    let families = args.families.families();
    let turns = turns(&candidates, &families);
    let trials: Vec<_> = (0..repetitions)
        .flat_map(|repetition| args.faults.iter().map(move |f| (repetition, *f)))
        .flat_map(|(repetition, fault)| {
            turns.iter().map(move |(candidate, family)| Trial {
                candidate: *candidate,
                family: *family,
                fault,
                repetition,
                repetitions,
            })
        })
        .collect();
    let outcomes = run_trials(&trials, &programs)?;
    print::line(&table::head(&machine, repetitions));
    print::line(&table::table(&args.faults, &turns, &outcomes));
    let comparisons = even::comparisons(&args.faults, &outcomes);
    if !comparisons.is_empty() {
        print::line(&families::table(&comparisons));
    }
    let report = Report {
        machine: &machine,
        connections_per_second: RATE,
        settings: candidates.iter().map(|c| (*c, c.settings())).collect(),
        outcomes: &outcomes,
        comparisons: &comparisons,
    };
    print::json(&target, "failover.json", &report)?;
    Ok(verdict(args, &families, &outcomes, &comparisons))
}

/// Who takes part with which family, in order.
fn turns(candidates: &[Candidate], families: &[Family]) -> Vec<(Candidate, Family)> {
    let of = |candidate: Candidate| {
        let spoken = families.iter().filter(move |f| candidate.speaks(**f));
        spoken.map(move |family| (candidate, *family))
    };
    candidates.iter().copied().flat_map(of).collect()
}

/// A comparison with fewer is better than none, but says so.
fn leave_out_impossible(candidates: &mut Vec<Candidate>) {
    let missing: Vec<_> = SCRIPT_NEEDS
        .iter()
        .filter(|(program, _)| program::find_in_path(program).is_none())
        .collect();
    for (program, package) in missing {
        if *program != "nft" && candidates.contains(&Candidate::Script) {
            print::talk(&format!(
                "left out: script, there is no `{program}` (package {package})"
            ));
            candidates.retain(|c| *c != Candidate::Script);
        }
    }
    if !geteuid().is_root() && candidates.iter().any(|c| c.is_polywan()) {
        print::talk("left out: PolyWAN, it trusts only files of the real root; run this as root");
        candidates.retain(|c| !c.is_polywan());
    }
}

/// One trial that fails is reported and left out; that all do is an error.
fn run_trials(trials: &[Trial], programs: &Programs) -> Result<Vec<Outcome>> {
    let start = Instant::now();
    let mut outcomes = Vec::new();
    for (number, trial) in trials.iter().enumerate() {
        let result = trial.run(programs);
        let done = format!(
            "{:>3}/{} {:>4} s ",
            number + 1,
            trials.len(),
            start.elapsed().as_secs()
        );
        match result {
            Ok(outcome) => {
                print::talk(&(done + &table::progress(&outcome)));
                outcomes.push(outcome);
            }
            Err(e) => print::talk(&format!("{done} left out: {e:#}")),
        }
    }
    if outcomes.is_empty() {
        bail!("no trial came to its end");
    }
    Ok(outcomes)
}

fn verdict(
    args: &FailoverArgs,
    families: &[Family],
    outcomes: &[Outcome],
    comparisons: &[Comparison],
) -> ExitCode {
    let mut is_good = true;
    if let Some(limit) = args.limit {
        let mut all = args
            .faults
            .iter()
            .flat_map(|fault| families.iter().map(move |f| (*fault, *f)));
        let is_over = all.any(|(fault, family)| {
            let outage = table::outage(fault, (Candidate::Uplinkd, family), outcomes);
            outage.is_none_or(|o| o.median > limit)
        });
        if is_over {
            print::talk(&format!("uplinkd's median outage is above {limit} ms"));
            is_good = false;
        }
    }
    if args.families.is_failed_by(comparisons) {
        print::talk("IPv6 is worse than IPv4 by more than it may");
        is_good = false;
    }
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

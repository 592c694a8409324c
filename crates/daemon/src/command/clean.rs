//! `uplinkd clean`: everything of ours goes, nothing else, whatever state it was left in.

use std::fs;

use anstream::{eprintln, println};
use anyhow::Context as _;
use uplinkd_core::reconcile;
use uplinkd_kernel::{Kernel, Look};
use uplinkd_model::{Outcome, Plan, Reserve, Step};

use crate::{args::Paths, exit::Exit, load, lock::Lock, state::State};

/// Removes, verifies, and says what was removed.
///
/// # Errors
/// When a daemon runs, or the kernel cannot be read.
pub fn run(paths: &Paths) -> anyhow::Result<Exit> {
    let _lock = Lock::take(&paths.runtime_dir)?;
    let state = State::load(&paths.state_dir)?;
    let mut kernel = Kernel::open()?.with_state_dir(Some(paths.state_dir.clone()));

    let mut claims = state.reserves.clone();
    if let Ok(loaded) = load::read(&paths.config) {
        claims.push(loaded.parsed.reserve().clone());
    }
    if claims.is_empty() {
        claims.push(Reserve::default());
    }
    claims.dedup();

    let mut refused = 0;
    for claim in &claims {
        let plan = removal(&mut kernel, claim)?;
        refused += execute(&mut kernel, &plan);
    }
    let mut plan = Plan::default();
    for (path, value) in &state.sysctls {
        // An interface that is gone took its sysctls with it.
        if uplinkd_kernel::sysctl::exists(path) {
            plan.push(
                Step::SetSysctl {
                    path: path.clone(),
                    value: value.clone(),
                },
                "as it was before",
            );
        }
    }
    refused += execute(&mut kernel, &plan);
    for claim in &claims {
        refused += removal(&mut kernel, claim)?.steps.len();
    }
    if refused > 0 {
        eprintln!("error: {refused} step(s) were not done; try again, as root");
        return Ok(Exit::NotApplied);
    }
    state.forget()?;
    for leftover in [
        paths.runtime_dir.join("uplinkd.sock"),
        paths.state_dir.join("nft.json"),
    ] {
        let _ = fs::remove_file(leftover);
    }
    eprintln!("nothing of ours is left");
    Ok(Exit::Yes)
}

fn removal(kernel: &mut Kernel, claim: &Reserve) -> anyhow::Result<Plan> {
    let look = Look {
        reserve: vec![claim.clone()],
        nft: true,
        table_names: true,
        ..Look::default()
    };
    let observed = kernel
        .observe(&look)
        .context("cannot look at this machine's network")?;
    Ok(reconcile::removal(&observed, std::slice::from_ref(claim)))
}

/// Executes, prints what was done, counts what was not.
fn execute(kernel: &mut Kernel, plan: &Plan) -> usize {
    let outcomes = kernel.execute(plan);
    let mut refused = 0;
    for (planned, outcome) in plan.steps.iter().zip(outcomes) {
        match outcome {
            Outcome::Done | Outcome::AlreadySo => {
                println!("{}  # {}", planned.step, planned.reason)
            }
            Outcome::Refused { text, .. } => {
                refused += 1;
                eprintln!("error: the kernel refused `{}`: {text}", planned.step);
            }
            Outcome::Skipped => refused += 1,
        }
    }
    refused
}

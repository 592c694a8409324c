//! `uplinkd clean`: everything of ours goes, nothing else, whatever state it was left in.

use std::fs;

use anstream::{eprintln, println};
use anyhow::{Context as _, bail};
use uplinkd_core::reconcile;
use uplinkd_kernel::{Kernel, Look, sysctl};
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
    // Before the first step, so that nothing is half removed.
    if !kernel.features().net_admin {
        bail!(
            "cannot remove anything without the right to change routing (CAP_NET_ADMIN): run as root"
        );
    }

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
    // Forwarding first: the kernel changes others along with it.
    let (first, rest): (Vec<_>, Vec<_>) = state
        .sysctls
        .iter()
        .partition(|(path, _)| sysctl::drags_others_along(path));
    for part in [first, rest] {
        refused += execute(&mut kernel, &restoration(&part));
    }
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

/// Gives sysctls the values from before us, where they have others.
fn restoration(before: &[(&String, &String)]) -> Plan {
    let mut plan = Plan::default();
    for (path, value) in before.iter().copied() {
        // An interface that is gone took its sysctls with it.
        if sysctl::exists(path) && sysctl::read(path).is_ok_and(|now| now != *value) {
            let (path, value) = (path.clone(), value.clone());
            plan.push(Step::SetSysctl { path, value }, "as it was before");
        }
    }
    plan
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

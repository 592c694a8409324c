//! `uplinkd plan`: the very steps that `run` would execute now, changing nothing.

use std::path::Path;

use anstream::{eprintln, println};
use anyhow::Context as _;
use uplinkd_core::{Action, Controller, Event, Time};
use uplinkd_kernel::{Kernel, nft};
use uplinkd_model::{PlannedStep, Step};

use crate::{exit::Exit, load, look::look, state::State};

/// Prints the plan.
///
/// # Errors
/// When the machine cannot be looked at.
pub fn run(file: &Path, state_dir: &Path) -> anyhow::Result<Exit> {
    let loaded = match load::read_or_show(file) {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let mut state = State::load(state_dir)?;
    let config = state.config(&loaded.parsed)?;
    let mut kernel = Kernel::open()?.with_state_dir(Some(state_dir.to_owned()));
    let mut controller = Controller::new(config, state.reserves, Time::default());
    let observed = kernel
        .observe(&look(controller.config(), controller.claims(), true))
        .context("cannot look at this machine's network")?;
    controller.handle(Event::Observed(Box::new(observed)), Time::default());
    let mut steps = Vec::new();
    while let Some(action) = controller.next_action() {
        if let Action::Apply(plan) = action {
            steps.extend(plan.steps);
        }
    }
    for PlannedStep { step, reason } in &steps {
        if let Step::SetNft(table) = step {
            let text = nft::render(table)?;
            println!("nft -f - <<'EOF'  # {reason}\n{}\nEOF", text.trim_end());
        } else {
            println!("{step}  # {reason}");
        }
    }
    if steps.is_empty() {
        eprintln!("nothing to do: the kernel holds exactly what it should");
    }
    Ok(Exit::Yes)
}

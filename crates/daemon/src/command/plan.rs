//! `uplinkd plan`: the very steps that `run` would execute now, changing nothing.

use std::path::Path;

use anstream::{eprintln, println};
use anyhow::Context as _;
use uplinkd_core::{Action, Controller, Event, Time, Wishes};
use uplinkd_kernel::{Kernel, nft};
use uplinkd_model::{
    Classifier, Family, Observed, Plan, PlannedStep, Step, budget::Ledger, classify::Stage,
    nft::NftTable,
};

use crate::{
    exit::Exit,
    ledger::{LedgerFile, boot_id},
    load, local_time,
    look::look,
    serve::unix_now,
    state::State,
    wishes,
};

/// Lines of our nft table that are printed where nobody asked for all of them. A longer one is
/// printed without the elements of its sets and maps beyond the first few.
const LINES_MAX: usize = 400;
/// Elements of a set or map that are printed then.
const ELEMENTS_MAX: usize = 5;

/// Prints the plan; `verbose`: with every element of every set.
///
/// # Errors
/// When the machine cannot be looked at.
pub fn run(file: &Path, state_dir: &Path, verbose: bool) -> anyhow::Result<Exit> {
    let loaded = match load::read_or_show(file) {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let mut state = State::load(state_dir)?;
    let config = state.config(&loaded.parsed)?;
    let mut kernel = Kernel::open()?.with_state_dir(Some(state_dir.to_owned()));
    let controller = Controller::new(config, state.reserves, Time::default());
    // What is not readable is as good as not there: the plan is only shown.
    let ledger = LedgerFile::new(state_dir).load().unwrap_or_default();
    let wishes = wishes::load(state_dir, Time::default(), unix_now());
    let (_, plan) = difference(&mut kernel, controller, ledger, wishes.unwrap_or_default())?;
    let (steps, minute) = (plan.steps, local_time::minute_now());
    for PlannedStep { step, reason } in &steps {
        if let Step::SetNft(table) = step {
            print_table(table, reason, minute, verbose)?;
        } else {
            println!("{step}  # {reason}");
        }
    }
    if steps.is_empty() {
        eprintln!("nothing to do: the kernel holds exactly what it should");
    }
    Ok(Exit::Yes)
}

/// What a controller that begins now sees, and what it would do.
///
/// # Errors
/// When the machine cannot be looked at.
pub(crate) fn difference(
    kernel: &mut Kernel,
    mut controller: Controller,
    ledger: Ledger,
    wishes: Wishes,
) -> anyhow::Result<(Observed, Plan)> {
    controller.restore_budgets(ledger, boot_id(), local_time::today());
    controller.restore_wishes(wishes);
    let minute = local_time::minute_now();
    controller.handle(Event::LocalTime { minute }, Time::default());
    let observed = kernel
        .observe(&look(
            controller.config(),
            controller.uplink_interfaces(),
            controller.claims(),
            true,
        ))
        .context("cannot look at this machine's network")?;
    controller.handle(Event::Observed(Box::new(observed.clone())), Time::default());
    let mut all = Plan::default();
    while let Some(action) = controller.next_action() {
        if let Action::Apply(plan) = action {
            all.steps.extend(plan.steps);
        }
    }
    Ok((observed, all))
}

fn print_table(table: &NftTable, reason: &str, minute: u16, verbose: bool) -> anyhow::Result<()> {
    let text = nft::render(table)?;
    for line in summary(&table.classifier, minute) {
        println!("# {line}");
    }
    let is_long = text.lines().count() > LINES_MAX;
    let shown = if verbose || !is_long {
        text
    } else {
        println!("# shortened; --verbose prints it whole, as `nft` would take it");
        shortened(&text)
    };
    println!("nft -f - <<'EOF'  # {reason}\n{}\nEOF", shown.trim_end());
    Ok(())
}

/// What the policies come to, family by family; nothing without policies.
fn summary(classifier: &Classifier, minute: u16) -> Vec<String> {
    let of = |family: Family| {
        let stages = classifier.of(family);
        let (mut maps, mut entries, mut rules) = (0, 0, 0);
        for stage in stages {
            match stage {
                Stage::Map(map) => {
                    maps += 1;
                    entries += map.entries.len();
                }
                Stage::Rule(_) => rules += 1,
            }
        }
        format!("policies for {family}: {maps} look-up(s) with {entries} entries, {rules} rule(s)")
    };
    if classifier.v4.is_empty() && classifier.v6.is_empty() {
        return Vec::new();
    }
    let when = format!(
        "policies as of {}, local time",
        local_time::in_words(minute)
    );
    vec![when, of(Family::V4), of(Family::V6)]
}

/// The text without most elements of long sets and maps, which stand one on a line.
fn shortened(text: &str) -> String {
    let mut shown = String::with_capacity(LINES_MAX * 80);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        shown += line;
        shown.push('\n');
        if line.trim_end().ends_with("elements = {") {
            elements(&mut shown, &mut lines);
        }
    }
    shown
}

/// The first few elements up to the line that ends them, and how many more there are.
fn elements<'a>(shown: &mut String, lines: &mut impl Iterator<Item = &'a str>) {
    for (count, line) in lines.enumerate() {
        let is_end = line.trim() == "}";
        if is_end && count > ELEMENTS_MAX {
            let indent = line.len() - line.trim_start().len();
            let more = count - ELEMENTS_MAX;
            *shown += &format!("{}\t# and {more} more\n", &line[..indent]);
        }
        if is_end || count < ELEMENTS_MAX {
            *shown += line;
            shown.push('\n');
        }
        if is_end {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sets_keep_their_first_elements() {
        let set = |count: usize| {
            let elements: String = (0..count).map(|n| format!("\t\t\t10.0.0.{n},\n")).collect();
            format!("\tset a {{\n\t\telements = {{\n{elements}\t\t}}\n\t}}\n")
        };
        assert_eq!(shortened(&set(ELEMENTS_MAX)), set(ELEMENTS_MAX));
        let short = shortened(&set(100));
        assert_eq!(short.lines().count(), set(ELEMENTS_MAX).lines().count() + 1);
        assert!(
            short.contains("\t\t\t10.0.0.4,\n\t\t\t# and 95 more\n\t\t}\n"),
            "{short}"
        );
    }
}

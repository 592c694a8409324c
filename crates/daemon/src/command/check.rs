//! `uplinkd check`: the file, then the machine.

use std::path::Path;

use anstream::{eprintln, println};
use uplinkd_config::Diagnostic;
use uplinkd_kernel::Kernel;

use crate::{
    exit::Exit,
    load::{self, LoadError},
    machine,
    state::State,
};

/// Reports every finding at once.
///
/// # Errors
/// When the machine cannot be looked at.
pub fn run(file: &Path, state_dir: &Path, file_only: bool, json: bool) -> anyhow::Result<Exit> {
    let loaded = match load::read(file) {
        Ok(loaded) => loaded,
        Err(LoadError::Unreadable(text)) => {
            report(json, &[Diagnostic::error(0..0, text)], file, "");
            return Ok(Exit::Usage);
        }
        Err(LoadError::Mistakes { diagnostics, text }) => {
            report(json, &diagnostics, file, &text);
            return Ok(Exit::Usage);
        }
    };
    let mut diagnostics = loaded.parsed.warnings().to_vec();
    let mut is_good = true;
    if !file_only {
        // One more finding among the others: `run` refuses to start with it.
        let state = State::load(state_dir).unwrap_or_else(|error| {
            is_good = false;
            diagnostics.push(Diagnostic::error(0..0, format!("{error:#}")));
            State::default()
        });
        let config = loaded.parsed.to_config(&state.slots);
        let mut kernel = Kernel::open()?;
        for problem in machine::examine(&mut kernel, &loaded.parsed, &config, &state.reserves)? {
            is_good &= !problem.is_error();
            diagnostics.push(problem.diagnostic);
        }
    }
    report(json, &diagnostics, file, &loaded.text);
    if !json {
        let what = if file_only {
            "the file is"
        } else {
            "the file and this machine are"
        };
        match (is_good, diagnostics.is_empty()) {
            (true, true) => println!("{what} fine"),
            (true, false) => println!("{what} usable; see the warnings"),
            (false, _) => eprintln!("this machine is not ready for {}", file.display()),
        }
    }
    Ok(if is_good { Exit::Yes } else { Exit::No })
}

fn report(json: bool, diagnostics: &[Diagnostic], file: &Path, text: &str) {
    if json {
        println!(
            "{}",
            uplinkd_config::to_json(diagnostics, &file.display().to_string(), text)
        );
        return;
    }
    load::show(diagnostics, file, text);
}

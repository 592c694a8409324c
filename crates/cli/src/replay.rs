//! Plays recorded history through the core, in virtual time, as if another file had been in force.
//!
//! ```text
//! trace ─┬─> survey    who was asked when, and when each line was dead, in hindsight
//!        ├─> player    the core asks, `answers` tells what the history says to that; once for each file
//!        └─> verdict   was it right to leave? what was missed?
//! ```
//! The trace is read once for each of them and never held in memory. Nothing here looks at the machine.

mod answers;
mod file;
mod hindsight;
mod player;
mod report;
mod site;
mod survey;
mod trace;
mod verdict;

use std::path::PathBuf;

pub(crate) use file::FileError;
pub(crate) use report::{Comparison, LineReport, Replayed, Switch};
pub(crate) use trace::TraceError;

use crate::replay::{file::Tried, survey::Survey, trace::Trace};

/// What keeps a replay from giving an answer.
#[derive(Debug)]
pub(crate) enum ReplayError {
    /// The history cannot be used.
    Trace(TraceError),
    /// A file cannot be used.
    File(FileError),
    /// They do not fit together.
    Apart(String),
}

impl From<TraceError> for ReplayError {
    fn from(error: TraceError) -> Self {
        Self::Trace(error)
    }
}

/// Plays the history once for each of these files.
pub(crate) fn run(history: &[PathBuf], files: &[PathBuf]) -> Result<Comparison, ReplayError> {
    let mut tried = Vec::new();
    for path in files {
        tried.push(Tried::read(path).map_err(ReplayError::File)?);
    }
    let trace = Trace::find(history)?;
    let survey = Survey::of(&trace)?;
    let mut notes = survey.notes();
    let mut played = Vec::new();
    for tried in tried {
        let site = site::Site::new(&tried, &survey).map_err(ReplayError::Apart)?;
        for note in &site.notes {
            let note = format!("{}: {note}", tried.name);
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        played.push((tried.name, player::play(&trace, &survey, site)?));
    }
    let replays = verdict::judge(&trace, &survey, played)?;
    Ok(report::comparison(&survey, notes, replays))
}

#[cfg(test)]
mod tests;

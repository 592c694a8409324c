//! `uplinkctl replay`. Needs no daemon.

use std::path::Path;

use crate::{
    args::ReplayArgs,
    exit::Exit,
    output, render,
    replay::{self, FileError, ReplayError},
};

const HINT_TRACE: &str =
    "a trace has lines of time,uplink,target,rtt_ms; `uplinkctl replay --help` shows one";

/// Plays history through the core with one file, or with two beside each other. `present` is the
/// daemon's file.
pub(crate) fn run(args: &ReplayArgs, present: &Path) -> Exit {
    let mut files = vec![present.to_owned()];
    files.extend(args.with.clone());
    let mut played = replay::run(&args.history, &files);
    if let (Some(with), Err(ReplayError::File(FileError::Missing(text)))) = (&args.with, &played)
        && !present.exists()
    {
        output::note(&format!("note: {text}: there is nothing to compare with"));
        played = replay::run(&args.history, std::slice::from_ref(with));
    }
    match played {
        Ok(comparison) => {
            let _ = output::data(&if args.json {
                render::json::pretty(&comparison)
            } else {
                render::replay::text(&comparison, args.all)
            });
            match comparison.is_good() {
                true => Exit::Yes,
                false => Exit::No,
            }
        }
        Err(error) => {
            match error {
                ReplayError::Trace(error) => output::problem(&error.to_string(), Some(HINT_TRACE)),
                ReplayError::Apart(text) => {
                    let hint = "the uplinks of the trace have to be named as in the file";
                    output::problem(&text, Some(hint));
                }
                ReplayError::File(FileError::Mistakes(text)) => output::lines(&text),
                ReplayError::File(FileError::Missing(text) | FileError::Unreadable(text)) => {
                    let hint = "--config names the file in force, --with another one to try";
                    output::problem(&text, Some(hint));
                }
            }
            Exit::Usage
        }
    }
}

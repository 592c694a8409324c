//! `uplinkctl`: asks a running uplinkd and shows what it says. Needs no privileges and decides
//! nothing. `replay` alone asks nobody: it plays recorded history through the core.
//!
//! `args` is the command line, `cmd` one file for each command, `render` turns answers into text
//! without touching the world, `output` is where text meets the terminal, `top` fills a whole screen.

mod accounts;
mod args;
mod cmd;
mod exit;
mod output;
mod render;
mod replay;
mod top;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Args, exit::Exit};

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::problem(&format!("cannot start: {error}"), None);
            return Exit::No.into();
        }
    };
    runtime.block_on(cmd::run(args)).into()
}

//! What is made of the command line itself: completions and the manual.

use std::{fs, io, path::Path};

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{args::Args, exit::Exit, output};

/// Prints what a shell needs to complete our commands.
pub(crate) fn completions(shell: Shell) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "uplinkctl", &mut text);
    // Nobody reading any more is no fault.
    let _ = output::data(&String::from_utf8_lossy(&text));
    Exit::Yes
}

/// Writes the pages of the manual into a folder.
pub(crate) fn manual(folder: &Path) -> Exit {
    match write(folder) {
        Ok(()) => Exit::Yes,
        Err(error) => {
            let text = format!("cannot write the manual to {}: {error}", folder.display());
            output::problem(&text, None);
            Exit::No
        }
    }
}

fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Args::command(), folder)
}

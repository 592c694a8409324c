//! `uplinkd resolver`: what a resolver has to be told for policies with `domain`.

use std::path::Path;

use anstream::{eprintln, print};

use crate::{args::Resolver, exit::Exit, load, resolver, state::State};

/// Prints the lines for the policies of the file.
///
/// # Errors
/// When the memory of the uplinks' numbers is damaged.
pub fn run(kind: Resolver, file: &Path, state_dir: &Path) -> anyhow::Result<Exit> {
    let loaded = match load::read_or_show(file) {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let config = State::load(state_dir)?.config(&loaded.parsed)?;
    let lines = match kind {
        Resolver::Dnsmasq => resolver::dnsmasq(&config),
    };
    if lines.is_empty() {
        eprintln!("no policy has a `domain`: there is nothing to tell");
    }
    print!("{lines}");
    Ok(Exit::Yes)
}

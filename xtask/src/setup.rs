//! What a command needs on this machine: installed where we may, said in one line where not.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::bench::print::talk;

/// Makes sure that `nft` is there, the one outside program that routing needs.
pub(crate) fn ensure_nft() -> Result<()> {
    if has_nft() {
        return Ok(());
    }
    let is_root = nix::unistd::geteuid().is_root();
    if is_root && runs("apt-get", &["--version"]) {
        talk("nft is missing: installing the package nftables");
        // An old package list may name a file that the mirror no longer has.
        let _ = quiet("apt-get", &["update", "-q"]).status();
        let installed = quiet("apt-get", &["install", "-q", "-y", "nftables"])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .status()
            .context("cannot run apt-get")?;
        if installed.success() && has_nft() {
            return Ok(());
        }
    }
    bail!(
        "the program nft is missing; type: sudo apt-get install nftables (or your system's package of that name)"
    )
}

fn has_nft() -> bool {
    ["nft", "/usr/sbin/nft", "/sbin/nft"]
        .iter()
        .any(|nft| runs(nft, &["--version"]))
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    quiet(program, arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

fn quiet(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs cargo; an error where it fails.
pub(crate) fn cargo(arguments: &[&str]) -> Result<()> {
    cargo_with(arguments, &[])
}

/// Runs cargo with more in its environment; an error where it fails.
pub(crate) fn cargo_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args(arguments)
        .envs(environment.iter().copied())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    Ok(())
}

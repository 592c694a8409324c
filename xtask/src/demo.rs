//! `cargo xtask demo`: builds the programs and shows the main job in the laboratory.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::setup;

/// Builds everything that the demo runs, then hands over to it.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    setup::ensure_nft()?;
    setup::cargo(&[
        "build",
        "--quiet",
        "--release",
        "--bins",
        "--workspace",
        "--exclude",
        "xtask",
    ])?;
    let status = Command::new("target/release/uplink-lab")
        .arg("demo")
        .args(arguments)
        .status()
        .context("cannot run target/release/uplink-lab")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

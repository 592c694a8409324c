//! What history costs a disk, and how soon it answers. A program of the history's own does it, so that not
//! all of these commands have to be built with a database.

use std::{collections::BTreeMap, process::Command, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::{machine::Machine, print, program::target_folder};

/// Bytes that may reach the disk in a day.
const WEAR_MAX: f64 = 10e6;

/// `cargo xtask bench history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Days to simulate.
    #[arg(long, default_value_t = 731)]
    days: u32,
}

/// Measures.
pub(super) fn run(args: &HistoryArgs) -> Result<ExitCode> {
    let target = target_folder()?;
    let folder = target.join("bench").join("history");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "uplinkd-history",
        ])
        .args(["--example", "wear", "--"])
        .arg(&folder)
        .arg(args.days.to_string())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "the measurement ended with {}",
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let figures = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    let figures: BTreeMap<String, f64> = figures.collect();
    print::line(&Machine::look().line());
    print::line("two uplinks with four targets each, asked each second");
    for (name, value) in &figures {
        print::line(&format!("{name:28} {value:>14.1}"));
    }
    print::json(&target, "history.json", &figures)?;
    let wear = figures
        .get("written_bytes_per_day")
        .context("nothing was measured")?;
    Ok(match *wear <= WEAR_MAX {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

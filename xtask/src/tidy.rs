//! House rules that no other tool knows: which crate may use which, how long a file may be, what must
//! not be written into the repository, and that what was compiled in it belongs to its source.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::bpf;

/// A crate, what it may use of ours (`None`: all), and what it must never use of others.
type Arrows = (
    &'static str,
    Option<&'static [&'static str]>,
    &'static [&'static str],
);

/// As in `docs/ARCHITECTURE.md`.
const ARROWS: [Arrows; 16] = [
    (
        "model",
        Some(&[]),
        &["tokio", "netlink-sys", "netlink-packet-route"],
    ),
    ("config", Some(&["model"]), &["tokio", "netlink-sys"]),
    (
        "policy",
        Some(&["model"]),
        &["tokio", "netlink-sys", "nix", "socket2", "rand", "fastrand"],
    ),
    (
        "core",
        Some(&["model", "policy"]),
        &["tokio", "netlink-sys", "nix", "socket2", "rand", "fastrand"],
    ),
    ("api", Some(&["model"]), &["netlink-sys"]),
    ("kernel", Some(&["model"]), &[]),
    ("probe", Some(&["model"]), &["netlink-sys"]),
    ("advertise", Some(&["model"]), &["netlink-sys"]),
    ("flows", Some(&["model"]), &["tokio", "netlink-sys"]),
    ("notify", Some(&["api", "model", "probe"]), &["netlink-sys"]),
    ("web", Some(&["api", "model"]), &["netlink-sys"]),
    ("lab", Some(&["model", "kernel"]), &[]),
    ("sim", Some(&["model", "policy", "core"]), &["tokio", "nix"]),
    ("daemon", None, &[]),
    (
        "cli",
        Some(&["api", "config", "model", "core"]),
        &["netlink-sys"],
    ),
    ("history", Some(&["model"]), &[]),
];

/// Lines from which on a file has to say at its top why it is one thing.
const FILE_LINES_MAX: usize = 800;

/// Checks all rules; the error lists every breach.
pub(crate) fn run() -> Result<()> {
    let mut breaches = Vec::new();
    arrows(&mut breaches)?;
    bpf::check(&mut breaches)?;
    for file in tracked_files()? {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        if file.ends_with(".rs")
            && text.lines().count() > FILE_LINES_MAX
            && !text.contains("one thing")
        {
            breaches.push(format!(
                "{file}: over {FILE_LINES_MAX} lines; split it, or say why it is one thing"
            ));
        }
        // Split so that this file does not find itself.
        for path in [
            concat!("/wo", "rk/"),
            concat!("/ho", "me/"),
            concat!("/root", "/."),
        ] {
            if text.contains(path) {
                breaches.push(format!("{file}: holds a path of one machine ({path}…)"));
            }
        }
    }
    if !breaches.is_empty() {
        bail!("{}", breaches.join("\n"));
    }
    Ok(())
}

fn arrows(breaches: &mut Vec<String>) -> Result<()> {
    for (name, allowed, never) in ARROWS {
        let path = format!("crates/{name}/Cargo.toml");
        if !Path::new(&path).exists() {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        for dependency in dependencies(&text) {
            let ours = dependency.strip_prefix("uplinkd-");
            if let (Some(ours), Some(allowed)) = (ours, allowed)
                && !allowed.contains(&ours)
            {
                breaches.push(format!("{path}: {name} may not use {ours}"));
            }
            if never.contains(&dependency) {
                breaches.push(format!("{path}: {name} may never use {dependency}"));
            }
        }
    }
    Ok(())
}

/// The names in `[dependencies]`; those for tests may be anything.
fn dependencies(manifest: &str) -> Vec<&str> {
    let lines = manifest
        .lines()
        .skip_while(|l| l.trim() != "[dependencies]")
        .skip(1);
    let section = lines.take_while(|l| !l.starts_with('['));
    section
        .filter_map(|l| l.split(['.', '=', ' ']).next())
        .filter(|w| !w.is_empty() && !w.starts_with('#'))
        .collect()
}

fn tracked_files() -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files"])
        .output()
        .context("cannot run git")?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ships_counts_as_a_dependency() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\n# no\nb = \"1\"\n\n[dev-dependencies]\nc = \"1\"\n";
        assert_eq!(dependencies(manifest), ["a", "b"]);
    }
}

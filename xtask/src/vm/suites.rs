//! What can be run in a virtual machine: the end-to-end tests, by suite.

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{bench::program::target_folder, setup};

/// All suites, in the order in which they are run: name, package and test target.
const SUITES: [(&str, &str, &str); 11] = [
    ("lines", "uplinkd-netns-tests", "lines"),
    ("traffic", "uplinkd-netns-tests", "traffic"),
    ("kernel", "uplinkd-kernel", "netns"),
    ("life", "uplinkd-netns-tests", "life"),
    ("policies", "uplinkd-netns-tests", "policies"),
    ("coexistence", "uplinkd-netns-tests", "coexistence"),
    ("probes", "uplinkd-netns-tests", "probes"),
    ("shares", "uplinkd-netns-tests", "shares"),
    ("operate", "uplinkd-netns-tests", "operate"),
    ("history", "uplinkd-netns-tests", "history"),
    ("told", "uplinkd-netns-tests", "told"),
];

/// Programs that the tests run, from the same folder as theirs.
const PROGRAMS: [&str; 3] = ["uplinkd", "uplinkctl", "uplink-lab"];

/// What CI runs: something of each kind that differs between kernels, in a few minutes.
const SMOKE: [&str; 4] = [
    "lines/pppoe::a_session_is_an_uplink",
    "lines/wireguard::wg_quick_sends_everything_through_the_tunnel",
    "traffic/routes::connected_networks_win",
    "kernel/execute::",
];

/// A suite and which of its tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) suite: &'static str,
    /// Parts of names; none means all.
    pub(super) filters: Vec<String>,
}

/// Reads words such as `traffic` and `lines/pppoe`; none means everything.
pub(super) fn wishes(words: &[String], is_smoke: bool) -> Result<Vec<Wish>> {
    let smoke = SMOKE.map(str::to_owned);
    let words = if is_smoke && words.is_empty() {
        &smoke[..]
    } else {
        words
    };
    let mut asked: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for word in words {
        let (suite, filter) = word.split_once('/').unwrap_or((word, ""));
        ensure!(
            SUITES.iter().any(|(name, ..)| *name == suite),
            "there is no suite `{suite}`; there are {}",
            SUITES.map(|(name, ..)| name).join(", ")
        );
        asked.entry(suite).or_default().push(filter.to_owned());
    }
    let wanted = SUITES.iter().filter_map(|(suite, ..)| {
        let filters = if words.is_empty() {
            Vec::new()
        } else {
            asked.remove(suite)?
        };
        // A suite that was asked for without a part of it is wanted whole.
        let is_whole = filters.iter().any(String::is_empty);
        let filters = if is_whole { Vec::new() } else { filters };
        Some(Wish { suite, filters })
    });
    Ok(wanted.collect())
}

/// Builds the programs and the tests that are asked for, and puts them into a folder without what
/// only a debugger needs: the machine reads them through a narrow pipe.
pub(super) fn build(wishes: &[Wish], folder: &Path) -> Result<()> {
    setup::cargo(&["build", "--quiet", "--workspace", "--bins"])?;
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (suite, package, target) in SUITES {
        if wishes.iter().any(|w| w.suite == suite) {
            stage(&executable(package, target)?, &folder.join(suite))?;
        }
    }
    let debug = target_folder()?.join("debug");
    for program in PROGRAMS {
        stage(&debug.join(program), &folder.join(program))?;
    }
    Ok(())
}

fn executable(package: &str, target: &str) -> Result<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["test", "--quiet", "--no-run", "--message-format", "json"])
        .args(["--package", package, "--test", target])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cannot build the tests `{target}`");
    find_executable(&String::from_utf8_lossy(&output.stdout), target)
        .with_context(|| format!("cargo names no program for the tests `{target}`"))
}

/// The last program that cargo's messages name for a test target.
fn find_executable(messages: &str, target: &str) -> Option<PathBuf> {
    let artifacts = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = artifacts.filter_map(|artifact| {
        let is_ours = artifact["target"]["name"] == target && artifact["profile"]["test"] == true;
        let program = artifact["executable"].as_str()?;
        is_ours.then(|| PathBuf::from(program))
    });
    programs.next_back()
}

fn stage(from: &Path, to: &Path) -> Result<()> {
    let stripped = Command::new("strip")
        .args(["--strip-debug", "-o"])
        .args([to, from])
        .status();
    if stripped.is_ok_and(|s| s.success()) {
        return Ok(());
    }
    // Without binutils it is larger, and right all the same.
    if let Err(e) = fs::copy(from, to) {
        bail!("cannot copy {} to {}: {e}", from.display(), to.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn words_choose_suites_and_their_tests() {
        let all = wishes(&[], false).unwrap();
        assert_eq!(all.len(), SUITES.len());
        assert!(all.iter().all(|w| w.filters.is_empty()));
        let some = wishes(&words("traffic/nat traffic/flows life"), false).unwrap();
        let expected = [("traffic", &["nat", "flows"][..]), ("life", &[])];
        for (wish, (suite, filters)) in some.iter().zip(expected) {
            assert_eq!(
                (wish.suite, &wish.filters[..]),
                (suite, &words(&filters.join(" "))[..])
            );
        }
        assert_eq!(some.len(), 2);
    }

    #[test]
    fn a_suite_without_a_part_is_wanted_whole() {
        let asked = wishes(&words("lines/pppoe lines"), false).unwrap();
        assert_eq!(
            asked,
            [Wish {
                suite: "lines",
                filters: Vec::new()
            }]
        );
    }

    #[test]
    fn an_unknown_suite_is_refused() {
        let error = wishes(&words("trafic"), false).unwrap_err().to_string();
        assert!(
            error.contains("`trafic`") && error.contains("traffic"),
            "{error}"
        );
    }

    #[test]
    fn the_smoke_subset_is_of_known_suites() {
        assert!(!wishes(&[], true).unwrap().is_empty());
        assert_eq!(wishes(&words("life"), true).unwrap().len(), 1);
    }

    #[test]
    fn only_the_test_program_is_taken_from_what_cargo_says() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"netns"},"profile":{"test":false},"executable":"/a"}
{"reason":"compiler-artifact","target":{"name":"netns"},"profile":{"test":true},"executable":"/b"}
{"reason":"compiler-artifact","target":{"name":"other"},"profile":{"test":true},"executable":"/c"}
{"reason":"compiler-artifact","target":{"name":"netns"},"profile":{"test":true},"executable":null}
not json"#;
        assert_eq!(
            find_executable(messages, "netns"),
            Some(PathBuf::from("/b"))
        );
        assert_eq!(find_executable(messages, "lines"), None);
    }
}

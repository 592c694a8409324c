//! `cargo xtask test`: everything that must hold, the same here and in CI.

use std::fs;

use anyhow::{Context, Result};
use uplinkd_lab::harness;

use crate::{
    bench::{print::talk, program},
    node, python, setup, tidy,
    vm::{self, Vm},
};

/// Runs all checks and tests. With `CI` in the environment warnings are errors, and a kernel test
/// that cannot run is a failure and not a skip; and a few tests are run under another kernel too.
pub(crate) fn run() -> Result<()> {
    setup::ensure_nft()?;
    let is_ci = std::env::var_os("CI").is_some_and(|v| !v.is_empty());
    if is_ci {
        // Elsewhere nobody asked for a network manager on the machine.
        setup::ensure_programs_beside();
        setup::ensure_unpacked();
    }
    for (what, ensured) in [
        ("schemathesis", python::ensure_schemathesis()),
        ("a browser", ensure_browser(is_ci)),
    ] {
        match ensured {
            // The tests that need it say that they were skipped.
            Err(error) if !is_ci => talk(&format!("without {what}: {error:#}")),
            ensured => ensured?,
        }
    }
    step("tidy", tidy::run)?;
    step("format", || setup::cargo(&["fmt", "--all", "--check"]))?;
    let deny: &[&str] = if is_ci {
        &["--", "-D", "warnings"]
    } else {
        &[]
    };
    let clippy = [
        &["clippy", "--quiet", "--workspace", "--all-targets"][..],
        deny,
    ]
    .concat();
    step("clippy", || setup::cargo(&clippy))?;
    // What only a virtual machine runs is not among `all`.
    let clippy = [
        &["clippy", "--quiet", "--package", "uplinkd-netns-tests"][..],
        &["--test", "lines"],
        deny,
    ]
    .concat();
    step("clippy of lines", || setup::cargo(&clippy))?;
    // The end-to-end tests run the programs themselves.
    step("programs", || {
        setup::cargo(&["build", "--quiet", "--workspace", "--bins"])
    })?;
    step("tests", || run_tests(is_ci))?;
    let documentation = ["doc", "--quiet", "--workspace", "--no-deps"];
    let deny: &[(&str, &str)] = if is_ci {
        &[("RUSTDOCFLAGS", "-D warnings")]
    } else {
        &[]
    };
    step("documentation", || setup::cargo_with(&documentation, deny))?;
    if is_ci {
        // Elsewhere it would be most of the time that the tests take.
        step("virtual machine, smoke", || vm::run(&Vm::smoke()))?;
    }
    talk("everything holds");
    Ok(())
}

/// Runs all tests. What failed of those in the laboratory is said again at the end, where it is found.
/// In CI such a test has a second try, and is told of all the same.
fn run_tests(is_ci: bool) -> Result<()> {
    let tests = ["test", "--quiet", "--workspace", "--no-fail-fast"];
    if !is_ci {
        return setup::cargo(&tests);
    }
    let report = program::target_folder()?.join("failed-tests.txt");
    fs::write(&report, "").with_context(|| format!("cannot write {}", report.display()))?;
    let name = report
        .to_str()
        .context("the target folder has no UTF-8 name")?;
    let outcome = setup::cargo_with(&tests, &[(harness::REPORT, name)]);
    talk(fs::read_to_string(&report)?.trim_end());
    outcome
}

/// Elsewhere than in CI only what drives a browser: that is small, and a browser is not.
fn ensure_browser(is_ci: bool) -> Result<()> {
    if is_ci {
        setup::ensure_browser();
    }
    node::ensure_driver()
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    talk(&format!("==> {name}"));
    let began = std::time::Instant::now();
    work()?;
    talk(&format!("    {name}: {} s", began.elapsed().as_secs()));
    Ok(())
}

//! `cargo xtask test`: everything that must hold, the same here and in CI.

use anyhow::Result;

use crate::{bench::print::talk, setup, tidy};

/// Runs all checks and tests. With `CI` in the environment warnings are errors, and a kernel test
/// that cannot run is a failure and not a skip.
pub(crate) fn run() -> Result<()> {
    setup::ensure_nft()?;
    let is_ci = std::env::var_os("CI").is_some_and(|v| !v.is_empty());
    if is_ci {
        // Elsewhere nobody asked for a network manager on the machine.
        setup::ensure_programs_beside();
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
    // The end-to-end tests run the programs themselves.
    step("programs", || {
        setup::cargo(&["build", "--quiet", "--workspace", "--bins"])
    })?;
    step("tests", || {
        setup::cargo(&["test", "--quiet", "--workspace", "--no-fail-fast"])
    })?;
    let documentation = ["doc", "--quiet", "--workspace", "--no-deps"];
    let deny: &[(&str, &str)] = if is_ci {
        &[("RUSTDOCFLAGS", "-D warnings")]
    } else {
        &[]
    };
    step("documentation", || setup::cargo_with(&documentation, deny))?;
    talk("everything holds");
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    talk(&format!("==> {name}"));
    let began = std::time::Instant::now();
    work()?;
    talk(&format!("    {name}: {} s", began.elapsed().as_secs()));
    Ok(())
}

//! Programs of PyPI, each in an environment of its own, so that the machine's Python stays as it is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    bench::{print::talk, program::target_folder},
    setup,
};

/// What tries the API by its document. Of this version, since a later one may find more.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// Makes sure that schemathesis is where the end-to-end tests look for it, below the target folder.
pub(crate) fn ensure_schemathesis() -> Result<()> {
    let environment = target_folder()?.join("python");
    program(&environment, SCHEMATHESIS, "schemathesis").map(drop)
}

/// A program of a package, in an environment that is made where it is missing or holds another version.
pub(crate) fn program(environment: &Path, package: &str, name: &str) -> Result<PathBuf> {
    let program = environment.join("bin").join(name);
    let stamp = environment.join(format!("has-{package}"));
    if program.is_file() && stamp.is_file() {
        return Ok(program);
    }
    talk(&format!("installing {package}"));
    let make = || {
        run(Command::new("python3")
            .args(["-m", "venv"])
            .arg(environment))
    };
    // Debian's Python is there without the part that makes environments.
    make()
        .or_else(|_| {
            setup::install_package("python3-venv");
            make()
        })
        .context("cannot make a Python environment (package python3-venv)")?;
    let pip = environment.join("bin/pip");
    run(Command::new(pip).args(["install", "--quiet", package]))
        .with_context(|| format!("cannot install {package} from PyPI"))?;
    ensure!(program.is_file(), "{package} has no {}", program.display());
    fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(program)
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}

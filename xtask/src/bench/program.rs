//! The programs that take part, built or installed when they are missing.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::{machine::Machine, print::talk};

/// The version of PolyWAN that we compare with.
const POLYWAN_VERSION: &str = "2.0.0";

fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The workspace's target folder.
///
/// # Errors
/// When cargo does not know it.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let output = Command::new(cargo())
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("cannot ask cargo for the target folder")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cannot read what cargo says")?;
    let folder = metadata["target_directory"].as_str();
    Ok(folder.context("cargo names no target folder")?.into())
}

/// Where the candidates' programs are.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) uplinkd: Option<PathBuf>,
    pub(super) polywan: Option<PathBuf>,
    /// Holds a copy of uplinkd, so that a build in the middle of a long run does not exchange it.
    _folder: TempDir,
}

impl Programs {
    /// Has those ready that are wanted.
    ///
    /// # Errors
    /// When one of them does not build.
    pub(super) fn prepare(target: &Path, uplinkd: bool, polywan: bool) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let ours = || -> Result<PathBuf> {
            let copy = folder.path().join("uplinkd");
            fs::copy(build(target, "uplinkd-daemon", "uplinkd")?, &copy)
                .context("cannot copy uplinkd")?;
            Ok(copy)
        };
        Ok(Self {
            uplinkd: uplinkd.then(ours).transpose()?,
            polywan: polywan.then(|| install_polywan(target)).transpose()?,
            _folder: folder,
        })
    }

    /// The machine, with the versions of these.
    pub(super) fn machine(&self) -> Machine {
        let mut machine = Machine::look();
        for program in [&self.uplinkd, &self.polywan].into_iter().flatten() {
            machine.add_program(Command::new(program).arg("--version"));
        }
        machine
    }
}

/// Builds one of our programs.
///
/// # Errors
/// When it does not build.
pub(super) fn build(target: &Path, package: &str, program: &str) -> Result<PathBuf> {
    talk(&format!("building {program}"));
    let status = Command::new(cargo())
        .args(["build", "--quiet", "--release"])
        .args(["--package", package, "--bin", program])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "{program} does not build");
    Ok(target.join("release").join(program))
}

/// PolyWAN, from crates.io, in a folder of its own below the target folder.
fn install_polywan(target: &Path) -> Result<PathBuf> {
    let root = target.join("peers");
    let program = root.join("bin/polywan");
    if polywan_version(&program).is_some_and(|v| v == POLYWAN_VERSION) {
        return Ok(program);
    }
    talk(&format!(
        "installing PolyWAN {POLYWAN_VERSION} from crates.io (once, a few minutes)"
    ));
    let status = Command::new(cargo())
        .args(["install", "polywan", "--quiet", "--locked", "--force"])
        .args(["--version", POLYWAN_VERSION, "--root"])
        .arg(&root)
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "cannot install PolyWAN {POLYWAN_VERSION}");
    match polywan_version(&program) {
        Some(version) if version == POLYWAN_VERSION => Ok(program),
        other => bail!(
            "{} is version {other:?}, not {POLYWAN_VERSION}",
            program.display()
        ),
    }
}

fn polywan_version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().strip_prefix("polywan ")?.to_owned())
}

/// A program of the system, by name.
pub(super) fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut places = env::split_paths(&path).chain(more);
    places.find_map(|folder| Some(folder.join(name)).filter(|f| f.is_file()))
}

//! Packages of npm, below the target folder, so that the machine's own stay as they are.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::bench::{print::talk, program::target_folder};

/// What drives a browser, and what tells whether everybody can use a page. Of these versions, since later
/// ones may find more.
const PACKAGES: [&str; 2] = ["playwright-core@1.65.1", "axe-core@4.14.1"];

/// Makes sure that what drives a browser is where the end-to-end tests look for it.
pub(crate) fn ensure_driver() -> Result<()> {
    let folder = target_folder()?.join("node");
    let stamp = folder.join(format!("has-{}", PACKAGES.join("-")));
    if stamp.is_file() {
        return Ok(());
    }
    talk(&format!("installing {}", PACKAGES.join(" ")));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let status = Command::new("npm")
        .args([
            "install",
            "--silent",
            "--no-save",
            "--ignore-scripts",
            "--prefix",
        ])
        .arg(&folder)
        .args(PACKAGES)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot run npm (package npm)")?;
    ensure!(status.success(), "npm ended with {status}");
    fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))
}

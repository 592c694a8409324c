//! Issue 2, bad input: what is lacking is not in the file but on the machine: rights, programs.

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, setgid, setgroups, setuid},
};
use uplinkd_lab::{LabSpec, find_program, process::Output};
use uplinkd_netns_tests::{Rig, config};

use crate::{
    common::{ensure_said, says},
    machine::Machine,
    refusals::{ensure_run_refused, fresh},
};

/// This test binary's own word for: give up all rights, then become that program.
pub(crate) const WITHOUT_RIGHTS: &str = "--without-rights";

pub(crate) fn too_little_privilege() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[3, 2]))?;
    // So that it is the missing right that speaks, and not the mode of a file.
    open_to_all(rig.lab().folder())?;
    for folder in [rig.places().runtime(), rig.places().state()] {
        fs::set_permissions(folder, PermissionsExt::from_mode(0o777))?;
    }
    let before = Machine::read(&rig)?;
    let words = ["CAP_NET_ADMIN", "run as root"];
    ensure_said("check", &without_rights(&rig, &["check"])?, 1, &words)?;
    ensure_said("run", &without_rights(&rig, &["run"])?, 4, &words)?;
    Machine::read(&rig)?.ensure_is(&before)?;
    // The file alone can be checked by everybody.
    ensure_said(
        "check --file-only",
        &without_rights(&rig, &["check", "--file-only"])?,
        0,
        &[],
    )?;

    rig.start_daemon()?;
    rig.wait_settled()?;
    rig.stop_daemon()?;
    for entry in fs::read_dir(rig.places().state())?.flatten() {
        fs::set_permissions(entry.path(), PermissionsExt::from_mode(0o666))?;
    }
    fs::set_permissions(
        rig.places().runtime().join("uplinkd.lock"),
        PermissionsExt::from_mode(0o666),
    )?;
    let settled = Machine::read(&rig)?;
    ensure_said("clean", &without_rights(&rig, &["clean"])?, 4, &["root"])?;
    Machine::read(&rig)?.ensure_is(&settled)
}

/// The folder and those above it let everybody through.
fn open_to_all(folder: &Path) -> Result<()> {
    Ok(fs::set_permissions(
        folder,
        PermissionsExt::from_mode(0o755),
    )?)
}

/// Runs `uplinkd` in the router as somebody who may not do anything there.
fn without_rights(rig: &Rig, arguments: &[&str]) -> Result<Output> {
    // A place that everybody can read, wherever the build directory is.
    let copy = rig.lab().folder().join("uplinkd");
    if !copy.is_file() {
        fs::copy(find_program("uplinkd")?, &copy)?;
        fs::set_permissions(&copy, PermissionsExt::from_mode(0o755))?;
    }
    let mut command = rig.places().command(&env::current_exe()?);
    command.arg(WITHOUT_RIGHTS).arg(&copy).args(arguments);
    rig.lab()
        .router()
        .output(command, "", Duration::from_secs(10))
}

/// What this binary does when called with [`WITHOUT_RIGHTS`]. Root becomes nobody; who is root only
/// in a user namespace has nobody to become, and goes into another one, from which there are no
/// rights over the router's network.
#[expect(
    clippy::print_stderr,
    reason = "a program of its own, whose parent reads this"
)]
pub(crate) fn become_without_rights(mut words: impl Iterator<Item = String>) -> ExitCode {
    const NOBODY: u32 = 65534;
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    let is_nobody = setgroups(&[]).is_ok() && setgid(gid).is_ok() && setuid(uid).is_ok();
    if !is_nobody && let Err(e) = unshare(CloneFlags::CLONE_NEWUSER) {
        eprintln!("cannot give up rights: {e}");
        return ExitCode::from(77);
    }
    let Some(program) = words.next() else {
        return ExitCode::from(77);
    };
    let error = Command::new(program).args(words).exec();
    eprintln!("cannot become another program: {error}");
    ExitCode::from(77)
}

pub(crate) fn no_nft() -> Result<()> {
    let (rig, before) = fresh(&config(&[3, 2]))?;
    // In the laboratory's own view of the files, which goes with it.
    let hidden = rig.lab().mounts().run(hide_nft)?;
    ensure!(!hidden.is_empty(), "there is no nft to hide");
    let words = ["the program nft", "apt-get install nftables"];
    says(&rig, &["check"], 1, &words)?;
    ensure_run_refused(&rig, 4, &words)?;
    rig.lab().mounts().run(|| {
        for folder in &hidden {
            nix::mount::umount(folder)?;
        }
        Ok(())
    })?;
    Machine::read(&rig)?.ensure_is(&before)?;
    says(&rig, &["check"], 0, &[])
}

/// Puts an empty folder over each one with an nft in it.
fn hide_nft() -> Result<Vec<PathBuf>> {
    let mut hidden = Vec::new();
    for place in ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"] {
        let folder = Path::new(place);
        // One may be a link to another that is hidden already.
        if folder.join("nft").is_file() {
            mount(
                Some("none"),
                folder,
                Some("tmpfs"),
                MsFlags::empty(),
                None::<&str>,
            )
            .with_context(|| format!("cannot hide {place}"))?;
            hidden.push(folder.to_owned());
        }
    }
    Ok(hidden)
}

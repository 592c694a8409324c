//! The files that programs in the laboratory see: the machine's own, except for the places where a
//! router daemon writes.
//!
//! The view is a mount namespace held by a descriptor, like a network namespace. All programs of a
//! laboratory share one, so that what the daemon leaves there is found by the next.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::fd::OwnedFd,
    path::Path,
};

use anyhow::{Context, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

use crate::netns::on_new_thread;

/// Where names of routing tables are read from and where a daemon may add some.
const IPROUTE2: &str = "/etc/iproute2";

/// A mount namespace with a private `/run` and private table names.
#[derive(Debug)]
pub struct MountView {
    fd: OwnedFd,
}

impl MountView {
    /// Makes one. A place that cannot be replaced is made read-only instead, or, for an ordinary
    /// user who could not write there anyway, left as it is.
    ///
    /// # Errors
    /// When this process may not make one (not root and not in a private namespace).
    pub fn new() -> Result<Self> {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
                .context("cannot make the mounts private")?;
            if replace_by_tmpfs(Path::new("/run")).is_err() {
                protect("/run");
            }
            match private_copy(&Path::new(IPROUTE2).join("rt_tables.d"))
                .or_else(|_| private_copy(Path::new(IPROUTE2)))
            {
                Ok(()) => {}
                Err(_) => protect("/etc"),
            }
            Ok(File::open("/proc/thread-self/ns/mnt")?.into())
        };
        Ok(Self {
            fd: on_new_thread("mounts", make)?,
        })
    }

    /// Moves the calling thread in, for good. Its working directory becomes `/`.
    pub(crate) fn enter(&self) -> Result<()> {
        // Threads share root and working directory; a mount namespace wants them unshared first.
        unshare(CloneFlags::CLONE_FS)?;
        setns(&self.fd, CloneFlags::CLONE_NEWNS).context("cannot enter the private mounts")
    }

    /// Runs something, such as a look at a file, as programs of the laboratory see it.
    ///
    /// # Errors
    /// What `f` returns, or that the view could not be entered.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_new_thread("mounts", || {
            self.enter()?;
            f()
        })
    }
}

fn replace_by_tmpfs(place: &Path) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("uplink-lab"),
        place,
        Some("tmpfs"),
        flags,
        Some("mode=755,size=16m"),
    )
    .with_context(|| format!("cannot put a private {} in place", place.display()))
}

/// Files and one level of folders, which is all that there is below `/etc/iproute2`.
fn private_copy(place: &Path) -> Result<()> {
    let files = read_all(place)?;
    let mut folders = Vec::new();
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push((entry.file_name(), read_all(&entry.path())?));
        }
    }
    replace_by_tmpfs(place)?;
    write_all(place, files)?;
    for (name, files) in folders {
        fs::create_dir(place.join(&name))?;
        write_all(&place.join(&name), files)?;
    }
    Ok(())
}

type Files = Vec<(OsString, Vec<u8>)>;

fn read_all(folder: &Path) -> Result<Files> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().is_file() {
            files.push((entry.file_name(), fs::read(entry.path())?));
        }
    }
    Ok(files)
}

fn write_all(folder: &Path, files: Files) -> Result<()> {
    for (name, content) in files {
        fs::write(folder.join(name), content)?;
    }
    Ok(())
}

/// Makes a place read-only. This can fail only where an ordinary user has no right to write anyway.
fn protect(place: &str) {
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    if mount(Some(place), place, None::<&str>, bind, None::<&str>).is_ok() {
        let _ = mount(None::<&str>, place, None::<&str>, read_only, None::<&str>);
    }
}

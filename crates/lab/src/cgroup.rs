//! Control groups (version 2) for the tests of policies that speak of them.
//!
//! They are the machine's own, since the kernel has only one hierarchy; each has a name that nobody
//! else uses and goes when it is dropped.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// A control group that was made here, with the groups above it that were.
#[derive(Debug)]
pub struct ControlGroup {
    root: PathBuf,
    path: String,
    /// What was made, the innermost last.
    made: Vec<PathBuf>,
}

impl ControlGroup {
    /// Makes a group of this path below the root of the hierarchy. Groups that are there stay.
    ///
    /// # Errors
    /// When this system has no such hierarchy or this process may not make groups in it.
    pub fn make(path: &str) -> Result<Self> {
        let root = root()?;
        let mut group = Self {
            root: root.clone(),
            path: path.to_owned(),
            made: Vec::new(),
        };
        let mut place = root;
        for part in path.split('/') {
            place.push(part);
            if !place.is_dir() {
                fs::create_dir(&place)
                    .with_context(|| format!("cannot make the control group {path}"))?;
                group.made.push(place.clone());
            }
        }
        Ok(group)
    }

    /// Its path below the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Moves this process in, does something, and moves back. Sockets that are opened meanwhile
    /// belong to the group for ever; programs that are started stay in it.
    ///
    /// # Errors
    /// When the process cannot be moved, or what `f` returns.
    pub fn inside<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|l| l.strip_prefix("0::"));
        let own = own.context("this process is in no control group of version 2")?;
        let before = self.root.join(own.trim_start_matches('/'));
        enter(&self.root.join(&self.path))?;
        let result = f();
        enter(&before)?;
        result
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        for place in self.made.iter().rev() {
            // Somebody may have made a group of his own below; then it stays.
            let _ = fs::remove_dir(place);
        }
    }
}

fn enter(place: &Path) -> Result<()> {
    fs::write(place.join("cgroup.procs"), std::process::id().to_string())
        .with_context(|| format!("cannot enter the control group {}", place.display()))
}

/// Where the hierarchy is mounted.
fn root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut mounts = mounts.lines().map(|l| l.split(' ').collect::<Vec<_>>());
    let mount = mounts.find(|m| m.get(2) == Some(&"cgroup2"));
    let place = mount.and_then(|m| m.get(1).map(PathBuf::from));
    place.context("this system has no control groups of version 2")
}

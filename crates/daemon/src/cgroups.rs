//! Tells when a control group that policies speak of comes or goes.

use std::{collections::BTreeSet, path::PathBuf};

use crate::dir_watch::{DirWatch, Wanted, nearest};

/// Where the hierarchy of version 2 is mounted, beside version 1 or alone. Elsewhere the look that
/// the core takes now and then finds the groups, only later.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// The control groups under watch.
#[derive(Debug)]
pub(crate) struct Cgroups {
    watch: DirWatch,
    root: Option<PathBuf>,
    paths: BTreeSet<String>,
}

impl Cgroups {
    /// No groups yet. Must be called inside a tokio runtime.
    pub(crate) fn open() -> Self {
        let mut roots = ROOTS.iter().map(PathBuf::from);
        Self {
            watch: DirWatch::open(),
            root: roots.find(|root| root.join("cgroup.procs").exists()),
            paths: BTreeSet::new(),
        }
    }

    /// Watches these groups, by path below the root, and no others.
    pub(crate) fn set(&mut self, paths: BTreeSet<String>) {
        self.paths = paths;
        let mut wanted = Wanted::new();
        for path in &self.paths {
            let group = self.root.as_ref().map(|root| root.join(path));
            if let Some((directory, name)) = group.as_deref().and_then(nearest) {
                wanted.entry(directory).or_default().insert(name);
            }
        }
        self.watch.set(wanted);
    }

    /// Waits until one of them, or a group above it, may have come or gone.
    pub(crate) async fn changed(&mut self) {
        self.watch.changed().await;
        // The next one may be a level below now.
        let paths = std::mem::take(&mut self.paths);
        self.set(paths);
    }
}

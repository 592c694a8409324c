//! Says that something came, went or changed in a directory: for the files that the configuration
//! names, and for control groups. Only a hint: whoever is told looks again.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
    os::fd::{AsFd as _, AsRawFd, RawFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor},
};
use tokio::io::{Interest, unix::AsyncFd};
use tracing::warn;

/// The entries of each directory that matter.
pub(crate) type Wanted = BTreeMap<PathBuf, BTreeSet<OsString>>;

/// Directories under watch.
///
/// Directories and not files, since editors write another file and move it to the old one's name:
/// a watch on the file would stay with the old one.
#[derive(Debug)]
pub(crate) struct DirWatch {
    /// None where the user has no more of them: then nothing is told.
    inotify: Option<AsyncFd<Descriptor>>,
    watched: BTreeMap<WatchDescriptor, (PathBuf, BTreeSet<OsString>)>,
}

/// Everything after which another file may be found under a name, or another content in it.
const EVENTS: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

impl DirWatch {
    /// A watch on nothing. Must be called inside a tokio runtime.
    pub(crate) fn open() -> Self {
        let inotify = open_inotify();
        if let Err(error) = &inotify {
            warn!(%error, "cannot watch files for changes; they are looked at now and then");
        }
        Self {
            inotify: inotify.ok(),
            watched: BTreeMap::new(),
        }
    }

    /// Watches these directories and no others from now on. Those that cannot be watched are left
    /// out: whoever uses this also looks now and then by itself.
    pub(crate) fn set(&mut self, wanted: Wanted) {
        let Some(inotify) = self.inotify.as_ref().map(|i| &i.get_ref().0) else {
            return;
        };
        let kept: BTreeSet<_> = wanted.keys().cloned().collect();
        for (watch, (path, _)) in &self.watched {
            if !kept.contains(path) {
                // It may be gone by itself.
                let _ = inotify.rm_watch(*watch);
            }
        }
        self.watched.clear();
        for (path, names) in wanted {
            // The kernel answers with the watch that is there already.
            if let Ok(watch) = inotify.add_watch(&path, EVENTS) {
                self.watched.insert(watch, (path, names));
            }
        }
    }

    /// Waits until something that matters may have changed. Nothing is lost when the wait is given
    /// up.
    pub(crate) async fn changed(&mut self) {
        let Some(inotify) = &self.inotify else {
            return std::future::pending().await;
        };
        loop {
            // An error means that the runtime is shutting down.
            let Ok(mut ready) = inotify.readable().await else {
                return std::future::pending().await;
            };
            match ready.get_inner().0.read_events() {
                Ok(events) => {
                    if events.iter().any(|e| matters(&self.watched, e)) {
                        return;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(_) => ready.clear_ready(),
            }
        }
    }
}

fn open_inotify() -> io::Result<AsyncFd<Descriptor>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for types that do not own the descriptor they name; an Inotify does"
    )]
    AsyncFd::with_interest(Descriptor(inotify), Interest::READABLE)
}

fn matters(
    watched: &BTreeMap<WatchDescriptor, (PathBuf, BTreeSet<OsString>)>,
    event: &InotifyEvent,
) -> bool {
    if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
        return true;
    }
    // What is no longer watched tells nothing, such as the end of its own watch.
    let Some((_, names)) = watched.get(&event.wd) else {
        return false;
    };
    // Without a name it is the directory itself.
    event.name.as_ref().is_none_or(|name| names.contains(name))
}

/// The nearest directory above a path that exists, and the next part of the path below it: what has
/// to be watched to see the path come.
pub(crate) fn nearest(path: &Path) -> Option<(PathBuf, OsString)> {
    path.ancestors()
        .zip(path.ancestors().skip(1))
        .find_map(|(below, above)| {
            let above = if above.as_os_str().is_empty() {
                Path::new(".")
            } else {
                above
            };
            above
                .is_dir()
                .then(|| Some((above.to_owned(), below.file_name()?.to_owned())))
                .flatten()
        })
}

/// An inotify descriptor with the trait that tokio asks for.
#[derive(Debug)]
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    async fn is_told(watch: &mut DirWatch) -> bool {
        tokio::time::timeout(SOON, watch.changed()).await.is_ok()
    }

    fn these(names: &[&str]) -> BTreeSet<OsString> {
        names.iter().map(OsString::from).collect()
    }

    #[tokio::test]
    async fn a_file_that_is_written_moved_in_or_removed_is_told_and_its_neighbours_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nets.txt");
        let mut watch = DirWatch::open();
        watch.set([(dir.path().to_owned(), these(&["nets.txt"]))].into());
        assert!(!is_told(&mut watch).await);
        fs::write(&file, "10.0.0.0/8\n").unwrap();
        assert!(is_told(&mut watch).await);
        // As an editor does it.
        let temporary = dir.path().join(".nets.txt.swp");
        fs::write(&temporary, "10.0.0.0/9\n").unwrap();
        assert!(!is_told(&mut watch).await, "a neighbour");
        fs::rename(&temporary, &file).unwrap();
        assert!(is_told(&mut watch).await);
        fs::remove_file(&file).unwrap();
        assert!(is_told(&mut watch).await);
    }

    #[tokio::test]
    async fn what_is_no_longer_watched_is_not_told() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut watch = DirWatch::open();
        watch.set([(one.path().to_owned(), these(&["a"]))].into());
        watch.set([(two.path().to_owned(), these(&["a"]))].into());
        fs::write(one.path().join("a"), "").unwrap();
        assert!(!is_told(&mut watch).await);
        fs::write(two.path().join("a"), "").unwrap();
        assert!(is_told(&mut watch).await);
        fs::remove_dir_all(two.path()).unwrap();
        assert!(is_told(&mut watch).await, "the directory itself went");
    }

    #[test]
    fn the_nearest_directory_that_exists_is_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        assert_eq!(
            nearest(&dir.path().join("a/b/c")),
            Some((dir.path().join("a"), "b".into()))
        );
        assert_eq!(
            nearest(&dir.path().join("a")),
            Some((dir.path().to_owned(), "a".into()))
        );
    }
}

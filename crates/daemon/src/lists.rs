//! Notices that a list file has changed, so that it is read again by itself.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    dir_watch::{DirWatch, Wanted, nearest},
    sources::Stamp,
};

/// How long a file must be left alone before it is read: whoever writes it may not be done.
const QUIET: Duration = Duration::from_millis(250);
/// How long somebody who never stops writing is waited for.
const QUIET_MAX: Duration = Duration::from_secs(2);
/// How often the files are looked at without a hint: file systems of other machines give none.
const UNASKED: Duration = Duration::from_secs(60);

/// The list files under watch.
#[derive(Debug)]
pub(crate) struct Lists {
    watch: DirWatch,
    stamps: BTreeMap<PathBuf, Stamp>,
    /// When a hint was not followed up yet: the first one, and the last.
    hinted: Option<(Instant, Instant)>,
}

impl Lists {
    /// No files yet. Must be called inside a tokio runtime.
    pub(crate) fn open() -> Self {
        Self {
            watch: DirWatch::open(),
            stamps: BTreeMap::new(),
            hinted: None,
        }
    }

    /// Watches these files from now on, and no others. The stamps are from before they were read,
    /// so that no change falls between.
    pub(crate) fn set(&mut self, files: &BTreeMap<PathBuf, Stamp>) {
        self.stamps = files.clone();
        self.watch_directories();
        let now = Instant::now();
        self.hinted = Some((now, now));
    }

    /// Waits until a file is another one than when it was last looked at, and is left alone.
    /// Nothing is lost when the wait is given up.
    pub(crate) async fn changed(&mut self) {
        loop {
            if self.stamps.is_empty() {
                return std::future::pending().await;
            }
            let due = self
                .hinted
                .map(|(first, last)| (last + QUIET).min(first + QUIET_MAX));
            tokio::select! {
                () = self.watch.changed() => {
                    let now = Instant::now();
                    let (first, _) = self.hinted.unwrap_or((now, now));
                    self.hinted = Some((first, now));
                }
                () = follow_up(due) => {
                    self.hinted = None;
                    if self.look() {
                        return;
                    }
                }
            }
        }
    }

    /// Whether a file is another one than before.
    fn look(&mut self) -> bool {
        // A directory may have come back, or a symbolic link lead elsewhere.
        self.watch_directories();
        let mut is_new = false;
        for (path, stamp) in &mut self.stamps {
            let now = Stamp::of(path);
            is_new |= *stamp != now;
            *stamp = now;
        }
        is_new
    }

    fn watch_directories(&mut self) {
        let mut wanted = Wanted::new();
        for path in self.stamps.keys() {
            for path in steps(path) {
                if let Some((directory, name)) = nearest(&path) {
                    wanted.entry(directory).or_default().insert(name);
                }
            }
        }
        self.watch.set(wanted);
    }
}

/// A path, and where it leads to by symbolic links of any of its directories: each may be changed.
fn steps(path: &Path) -> Vec<PathBuf> {
    let links = path.ancestors().filter(|p| p.is_symlink());
    let mut steps: Vec<_> = links.map(Path::to_owned).collect();
    steps.push(path.to_owned());
    steps.extend(path.canonicalize());
    steps
}

async fn follow_up(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => sleep(UNASKED).await,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    const LONG: Duration = Duration::from_secs(5);

    fn watched(paths: &[PathBuf]) -> Lists {
        let mut lists = Lists::open();
        let stamp = |path: &PathBuf| (path.clone(), Stamp::of(path));
        lists.set(&paths.iter().map(stamp).collect());
        lists
    }

    async fn is_told(lists: &mut Lists, within: Duration) -> bool {
        tokio::time::timeout(within, lists.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_is_told_once_after_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nets.txt");
        fs::write(&path, "a").unwrap();
        let mut lists = watched(std::slice::from_ref(&path));
        let began = Instant::now();
        let writer = tokio::spawn({
            let path = path.clone();
            async move {
                for n in 0..5 {
                    fs::write(&path, "b".repeat(n)).unwrap();
                    sleep(QUIET / 2).await;
                }
            }
        });
        assert!(is_told(&mut lists, LONG).await);
        assert!(began.elapsed() >= QUIET * 2, "{:?}", began.elapsed());
        writer.await.unwrap();
        // Touched, but not changed.
        fs::write(dir.path().join("other"), "").unwrap();
        assert!(!is_told(&mut lists, QUIET * 2).await);
    }

    #[tokio::test]
    async fn a_directory_that_comes_later_and_a_link_that_turns_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        for version in [&one, &two] {
            fs::create_dir(version).unwrap();
            fs::write(version.join("nets"), "a").unwrap();
        }
        symlink(&one, dir.path().join("now")).unwrap();
        let late = dir.path().join("late/nets");
        let mut lists = watched(&[dir.path().join("now/nets"), late.clone()]);
        symlink(&two, dir.path().join("next")).unwrap();
        fs::rename(dir.path().join("next"), dir.path().join("now")).unwrap();
        assert!(is_told(&mut lists, LONG).await, "the link");
        fs::create_dir(dir.path().join("late")).unwrap();
        let _ = is_told(&mut lists, QUIET * 2).await;
        fs::write(&late, "b").unwrap();
        assert!(is_told(&mut lists, LONG).await, "the late file");
    }

    #[tokio::test]
    async fn nothing_to_watch_is_no_work() {
        assert!(!is_told(&mut watched(&[]), QUIET * 2).await);
    }
}

//! A configuration on trial: what was in force before it, whole, so that also another run of the daemon
//! can go back to it.
//!
//! ```text
//!   reload --confirm ─> on trial ── confirm ──────────────> no file
//!                          │ time is over, rollback, or another run of the daemon
//!                          v
//!                      rolled back ── reload, or a start with another file ─> no file
//! ```
//! While it is rolled back the user's file is not what is in force. A start must not take it again just
//! because the machine was switched on.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use uplinkd_model::{By, policy::Addresses};

use crate::{
    load::{self, LoadError, Loaded},
    state::replace,
    wishes::Until,
};

/// What is kept of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The file of which this speaks. A daemon that is given another one does not heed it.
    pub(crate) path: PathBuf,
    /// Who wanted the trial.
    pub(crate) by: By,
    /// When it is over.
    pub(crate) until: Until,
    /// The text that was given up; none while the trial lasts.
    pub(crate) given_up: Option<String>,
    /// What was in force before.
    pub(crate) before: Before,
}

/// A configuration that was confirmed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Before {
    text: String,
    /// What its list files held.
    lists: BTreeMap<String, Addresses>,
}

impl Before {
    /// What is in force.
    pub(crate) fn of(loaded: &Loaded) -> Self {
        Self {
            text: loaded.text.to_string(),
            lists: loaded.parsed.lists().clone(),
        }
    }

    /// As a file that was read.
    ///
    /// # Errors
    /// Where this version of the daemon, or the machine's accounts, find mistakes in it.
    pub(crate) fn load(&self, path: &Path) -> Result<Loaded, LoadError> {
        load::kept(path, &self.text, &self.lists)
    }

    /// The same with the lists of now, where these are good: for a run that begins long after.
    ///
    /// # Errors
    /// As for [`Before::load`].
    pub(crate) fn load_later(&self, path: &Path) -> Result<Loaded, LoadError> {
        load::kept(path, &self.text, &BTreeMap::new()).or_else(|_| self.load(path))
    }
}

/// Where a trial is kept. Written and removed by several threads: what was wanted last counts, whoever
/// comes first.
#[derive(Clone, Debug)]
pub(crate) struct TrialFile {
    path: PathBuf,
    /// The number of the last change that was wanted; held while one is made.
    latest: Arc<(AtomicU64, Mutex<()>)>,
}

/// The number of a change. One that is older than the last does nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

impl TrialFile {
    pub(crate) const FILE: &'static str = "trial.json";

    /// The one in a directory.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            path: dir.join(Self::FILE),
            latest: Arc::default(),
        }
    }

    /// From now on earlier changes do nothing.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.latest.0.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Makes a change, if it is still wanted.
    fn change(&self, ticket: Ticket, make: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        // It guards no memory: nothing is spoilt by a panic elsewhere.
        let _one = self.latest.1.lock().unwrap_or_else(PoisonError::into_inner);
        match self.latest.0.load(Ordering::SeqCst) == ticket.0 {
            true => make(),
            false => Ok(()),
        }
    }

    /// Reads it; none where there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub(crate) fn load(&self) -> anyhow::Result<Option<Record>> {
        match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("{} is damaged", self.path.display())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", self.path.display())),
        }
    }

    /// Writes it so that a crash leaves either the old or the new one.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub(crate) fn save(&self, ticket: Ticket, record: &Record) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec(record).map_err(io::Error::from);
        bytes
            .and_then(|bytes| self.change(ticket, || replace(&self.path, &bytes)))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Removes it for good.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub(crate) fn remove(&self, ticket: Ticket) -> anyhow::Result<()> {
        let remove = || {
            fs::remove_file(&self.path)?;
            match self.path.parent() {
                // That the name is gone must survive too.
                Some(dir) => fs::File::open(dir)?.sync_all(),
                None => Ok(()),
            }
        };
        match self.change(ticket, remove) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("cannot remove {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_in_force_is_the_same_after_the_disk_lists_and_all() {
        let dir = tempfile::tempdir().unwrap();
        let (path, list) = (dir.path().join("u.toml"), dir.path().join("nets.txt"));
        let text = "[uplink.isp1]\ninterface = \"a\"\n[[policy]]\nname = \"x\"\n\
                    match = { destination = { file = \"nets.txt\" } }\nuse = \"isp1\"\n";
        fs::write(&path, text).unwrap();
        fs::write(&list, "10.0.0.0/8\n2001:db8::/32\n").unwrap();
        let loaded = load::read(&path).ok().unwrap();
        let file = TrialFile::new(dir.path());
        assert_eq!(file.load().unwrap(), None);
        let record = Record {
            path: path.clone(),
            by: By::new("root"),
            until: Until::after(Duration::from_secs(60), 7.0),
            given_up: None,
            before: Before::of(&loaded),
        };
        let early = file.ticket();
        file.save(file.ticket(), &record).unwrap();
        file.remove(early).unwrap();
        // Neither the text nor the list are as they were.
        fs::write(&path, "nonsense").unwrap();
        fs::write(&list, "192.0.2.0/24\n").unwrap();
        let found = file.load().unwrap().unwrap();
        assert_eq!(found, record);
        let again = found.before.load(&path).ok().unwrap();
        assert_eq!(again.parsed, loaded.parsed);
        let later = found.before.load_later(&path).ok().unwrap();
        assert_ne!(later.parsed.lists(), loaded.parsed.lists());
        fs::write(&list, "nonsense\n").unwrap();
        let later = found.before.load_later(&path).ok().unwrap();
        assert_eq!(later.parsed, loaded.parsed, "the lists of now are bad");
        // A list that changes later is read again.
        fs::write(&list, "198.51.100.0/24\n# longer\n").unwrap();
        let later = again.again().ok().unwrap();
        assert_ne!(later.parsed.lists(), loaded.parsed.lists());
        file.remove(file.ticket()).unwrap();
        file.remove(file.ticket()).unwrap();
        assert_eq!(file.load().unwrap(), None);
    }
}

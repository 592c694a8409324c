//! What is kept of budgets: in a file of its own, and written by a thread of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread::JoinHandle,
};

use anyhow::Context as _;
use tracing::warn;
use uplinkd_model::budget::Ledger;

use crate::{record::wait_for, state::replace};

/// What is remembered of budgets, in a file of its own, since it is written every few minutes.
#[derive(Debug)]
pub(crate) struct LedgerFile(PathBuf);

impl LedgerFile {
    pub(crate) const FILE: &'static str = "budgets.json";

    /// The one in a directory.
    pub(crate) fn new(dir: &Path) -> Self {
        Self(dir.join(Self::FILE))
    }

    /// Reads it; an empty one where there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub(crate) fn load(&self) -> anyhow::Result<Ledger> {
        match fs::read(&self.0) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged", self.0.display())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Ledger::new()),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", self.0.display())),
        }
    }

    /// Writes it so that a crash or a loss of power leaves either the old or the new one.
    ///
    /// # Errors
    /// When the directory cannot be written.
    fn save(&self, ledger: &Ledger) -> anyhow::Result<()> {
        serde_json::to_vec(ledger)
            .map_err(io::Error::from)
            .and_then(|bytes| replace(&self.0, &bytes))
            .with_context(|| format!("cannot write {}", self.0.display()))
    }
}

/// Writes beside the loop: a disk that is slow to keep things must not hold decisions up.
#[derive(Debug)]
pub(crate) struct LedgerWriter {
    file: Arc<LedgerFile>,
    /// From the first writing on.
    thread: Option<(Sender<Ledger>, JoinHandle<()>)>,
}

impl LedgerWriter {
    /// A writer that has written nothing.
    pub(crate) fn new(file: LedgerFile) -> Self {
        Self {
            file: Arc::new(file),
            thread: None,
        }
    }

    /// Has it written soon, or a newer one in its place.
    pub(crate) fn write(&mut self, ledger: Ledger) {
        if self.thread.is_none() {
            self.thread = self.start().ok();
        }
        let refused = match &self.thread {
            Some((queue, _)) => queue.send(ledger).err().map(|e| e.0),
            None => Some(ledger),
        };
        // Without a thread it takes its time here.
        if let Some(ledger) = refused {
            write(&self.file, &ledger);
        }
    }

    fn start(&self) -> io::Result<(Sender<Ledger>, JoinHandle<()>)> {
        let (queue, waiting) = mpsc::channel::<Ledger>();
        let file = Arc::clone(&self.file);
        let work = move || {
            while let Ok(first) = waiting.recv() {
                let newest = waiting.try_iter().last().unwrap_or(first);
                write(&file, &newest);
            }
        };
        let thread = std::thread::Builder::new().name("budgets".to_owned());
        Ok((queue, thread.spawn(work)?))
    }

    /// Waits until all is written: a little, and not for a disk that hangs.
    pub(crate) fn stop(&mut self) {
        let Some((queue, thread)) = self.thread.take() else {
            return;
        };
        drop(queue);
        wait_for(&thread);
    }
}

fn write(file: &LedgerFile, ledger: &Ledger) {
    if let Err(error) = file.save(ledger) {
        let reason = format!("{error:#}");
        warn!(
            reason,
            "routing goes on, but a restart may not know all that was used of budgets"
        );
    }
}

/// The present run of the kernel.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}

//! What is kept of budgets: in a file of its own, and written by a thread of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use uplinkd_model::budget::Ledger;

use crate::writer::Writer;

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
}

/// Has it written beside the loop.
#[derive(Debug)]
pub(crate) struct LedgerWriter(Writer);

impl LedgerWriter {
    /// A writer that has written nothing.
    pub(crate) fn new(file: LedgerFile) -> Self {
        let otherwise = "a restart may not know all that was used of budgets";
        Self(Writer::new(file.0, otherwise))
    }

    /// Has it written soon, or a newer one in its place.
    pub(crate) fn write(&mut self, ledger: &Ledger) {
        // Names and numbers always become JSON.
        let bytes = serde_json::to_vec(ledger).unwrap_or_default();
        self.0.write(bytes, Vec::new());
    }

    /// Waits until all is written: a little, and not for a disk that hangs.
    pub(crate) fn stop(&mut self) {
        self.0.stop();
    }
}

/// The present run of the kernel.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}

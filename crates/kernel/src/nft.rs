//! Our nft table: written as text, put by `nft` in one transaction, read back as a listing.
//!
//! `nft` prints a table in a form of its own, so what we wrote cannot be compared with what is
//! listed. Instead the listing is read right after each transaction of ours and remembered together
//! with the [`NftTable`] that it stands for; later the table holds what we put exactly when its
//! listing is still the same. A listing from any other moment is never trusted.

mod apply;
mod read;
pub mod render;

use std::{fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};
use uplinkd_model::nft::NftTable;

use crate::table_names;

pub use apply::version;
pub use render::{RenderError, render};

/// The file in the state directory.
const FILE: &str = "nft.json";

/// What went wrong with nft.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no `nft` in any of the places where systems keep it.
    #[error("the program nft is not installed")]
    Missing,
    /// It could not be run.
    #[error("cannot run nft")]
    Run(#[source] io::Error),
    /// It did not end.
    #[error("nft did not end within {} seconds", apply::WAIT.as_secs())]
    TimedOut,
    /// It refused; nothing was changed.
    #[error("nft refused: {text}")]
    Refused {
        /// Its words.
        text: String,
    },
    /// The table cannot be written as text.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// What we put, and what its listing looked like right afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    table: NftTable,
    listing: String,
}

/// Remembers [`Known`], in a file as well where there is a directory for it.
#[derive(Debug)]
pub(crate) struct Memory {
    file: Option<PathBuf>,
    known: Option<Known>,
}

impl Memory {
    /// What is remembered from before. A file that cannot be read or understood is as good as none:
    /// the table is then put once more than needed.
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        let file = dir.map(|d| d.join(FILE));
        let known = file
            .as_ref()
            .and_then(|f| fs::read(f).ok())
            .and_then(|text| serde_json::from_slice(&text).ok());
        Self { file, known }
    }

    fn set(&mut self, known: Option<Known>) {
        self.known = known;
        let Some(file) = &self.file else {
            return;
        };
        let written = match &self.known {
            Some(known) => serde_json::to_vec(known)
                .map_err(io::Error::from)
                .and_then(|text| table_names::replace(file, &text)),
            None => match fs::remove_file(file) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        };
        if let Err(error) = written {
            // An old file only costs us a needless transaction: its listing will not be found.
            tracing::warn!(file = %file.display(), %error, "cannot remember the nft table");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known {
            table: NftTable {
                name: "uplinkd".to_owned(),
                pin_mask: 0x1f00_0000,
                uplinks: Vec::new(),
            },
            listing: "table inet uplinkd {\n}\n".to_owned(),
        }
    }

    #[test]
    fn what_was_put_is_remembered_across_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = Memory::new(Some(dir.path().to_owned()));
        assert_eq!(memory.known, None);
        memory.set(Some(known()));
        assert_eq!(
            Memory::new(Some(dir.path().to_owned())).known,
            Some(known())
        );
        memory.set(None);
        assert_eq!(Memory::new(Some(dir.path().to_owned())).known, None);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_as_good_as_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{\"table\": 7").unwrap();
        assert_eq!(Memory::new(Some(dir.path().to_owned())).known, None);
    }
}

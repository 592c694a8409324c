//! Our nft table: made of an [`NftTable`], put, changed in place, looked at.
//!
//! ```text
//! NftTable --build--> Ruleset --text---> nft        all of it, in one transaction
//!                        |    --delta--> nft, and messages with elements: what is different
//!                     element (bytes)
//! ```
//!
//! `nft` prints a table in a form of its own, so what we wrote cannot be compared with what is there.
//! Instead the table's structure is read right after each transaction of ours and remembered together
//! with the [`NftTable::fingerprint`] that it stands for (`look.rs`); what we know of elements comes
//! from what we sent. A structure from any other moment is never trusted.

mod answers;
mod apply;
mod build;
mod bytecode;
mod carry;
mod datatype;
mod delta;
mod direct;
mod element;
mod look;
mod object;
mod program;
mod ruleset;
mod sets;
mod shared;
mod text;
pub(crate) mod wire;

use std::{collections::BTreeMap, fs, io, net::IpAddr, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use uplinkd_model::{Family, nft::NftTable};

use crate::{netlink::KernelError, table_names};

pub use build::Forms;
pub use program::{PATIENCE, listing, version};
pub(crate) use sets::is_dynamic;
pub use shared::OwnPorts;
pub(crate) use shared::Shared;

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
    #[error("nft did not end within {seconds} seconds")]
    TimedOut {
        /// How long it was waited for.
        seconds: u64,
    },
    /// It refused; nothing was changed.
    #[error("nft refused: {text}")]
    Refused {
        /// Its words.
        text: String,
    },
    /// The kernel refused elements of sets; none was changed.
    #[error("cannot change elements of nft sets: {0}")]
    Elements(KernelError),
    /// The kernel does not list rules.
    #[error("cannot list nft rules: {0}")]
    Rules(KernelError),
    /// The table cannot be written as text.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// Why a table cannot be written as text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The table's name is not one that nft understands.
    #[error("`{}` is not a usable name for an nft table", .0.escape_debug())]
    Table(String),
    /// An interface's name could be read as something else by nft.
    #[error("`{}` is not an interface name that can be written for nft", .0.escape_debug())]
    Interface(String),
    /// A set for addresses of domains has a name that nft does not understand, or is not there.
    #[error("`{}` is not a usable name for an nft set, or there is no such set", .0.escape_debug())]
    Set(String),
    /// A policy that is counted has a name that nft does not understand.
    #[error("`{}` is not a usable name for an nft counter", .0.escape_debug())]
    Counter(String),
    /// A source can only be replaced by one of its family.
    #[error("{address} is not an {family} address, and cannot replace one")]
    Source {
        /// The address.
        address: IpAddr,
        /// The family of what it was to replace.
        family: Family,
    },
}

/// The whole table as one transaction that replaces what is there, for people to read. Control groups
/// are not in it: nft may not find them.
///
/// # Errors
/// When a name in it could end a quotation or is otherwise unfit.
pub fn render(table: &NftTable) -> Result<String, RenderError> {
    let ruleset = build::ruleset(table, &Forms::default())?;
    Ok(text::whole(
        &ruleset,
        text::Fill::All,
        &BTreeMap::new(),
        &BTreeMap::new(),
    ))
}

/// What we put, and what the kernel showed right afterwards.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    /// The table's name.
    name: String,
    /// Of the [`NftTable`] that was put.
    fingerprint: u64,
    /// Its chains and sets, each as a number.
    structure: BTreeMap<String, u64>,
    /// The elements of each set and map that only we fill, each as a number.
    digests: BTreeMap<String, u64>,
    /// The kernel's count when all this was surely so.
    generation: Option<look::Generation>,
    /// The content. Not in the file: a restart puts the whole table once, when it changes.
    #[serde(skip)]
    ruleset: Option<Arc<ruleset::Ruleset>>,
}

/// Remembers [`Known`], in a file as well where there is a directory for it.
#[derive(Debug)]
pub(crate) struct Memory {
    file: Option<PathBuf>,
    known: Option<Known>,
    /// The forms of the maps that were put last, and of those that may be put next.
    forms: [Forms; 2],
    pub(crate) shared: Shared,
    /// Once `nft` has said it: to ask again at each reload would cost milliseconds each.
    version: Option<String>,
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
        Self {
            file,
            known,
            forms: Default::default(),
            shared: Shared::default(),
            version: None,
        }
    }

    /// What `nft` calls its version, asked until it has answered once.
    pub(crate) fn version(&mut self) -> Result<String, NftError> {
        if let Some(version) = &self.version {
            return Ok(version.clone());
        }
        let version = version()?;
        self.version = Some(version.clone());
        Ok(version)
    }

    fn set(&mut self, known: Option<Known>) {
        self.known = known;
        let Some(file) = &self.file else {
            return;
        };
        let written = match &self.known {
            Some(known) => serde_json::to_vec(known)
                .map_err(io::Error::from)
                // The kernel's table does not outlive the kernel.
                .and_then(|text| table_names::replace(file, &text, false)),
            None => match fs::remove_file(file) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        };
        if let Err(error) = written {
            // An old file only costs us a needless transaction: its structure will not be found.
            tracing::warn!(file = %file.display(), %error, "cannot remember the nft table");
        }
    }
}

#[cfg(test)]
mod tests;

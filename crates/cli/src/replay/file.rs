//! Reading a configuration file to try it: checked as the daemon checks it.

use std::{fs::File, io::Read as _, path::Path};

use uplinkd_config::{ListFile, OutletCodes, Slots, Sources, accounts, read, render};
use uplinkd_model::Config;

/// The longest file, as for the daemon.
const FILE_MAX: u64 = 32 << 20;

/// A file that is tried.
pub(crate) struct Tried {
    /// Its path as the user wrote it.
    pub(crate) name: String,
    pub(crate) config: Config,
}

/// Why a file cannot be tried.
#[derive(Debug)]
pub(crate) enum FileError {
    /// It is not there.
    Missing(String),
    /// It cannot be read.
    Unreadable(String),
    /// It has mistakes: all of them, ready to be shown.
    Mistakes(String),
}

impl Tried {
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let name = path.display().to_string();
        let text = text(path).map_err(|error| {
            let text = format!("cannot read {name}: {error}");
            match error.kind() == std::io::ErrorKind::NotFound {
                true => FileError::Missing(text),
                false => FileError::Unreadable(text),
            }
        })?;
        let draft = read(&name, &text);
        let parsed = draft
            .check(&sources(draft.files()))
            .map_err(|diagnostics| {
                FileError::Mistakes(render(&diagnostics, &name, &text, false))
            })?;
        Ok(Self {
            config: parsed.to_config(&Slots::default(), &OutletCodes::default()),
            name,
        })
    }
}

fn sources(files: &[ListFile]) -> Sources {
    let list = |file: &ListFile| {
        let content = text(Path::new(&file.path)).map_err(|e| e.to_string());
        (file.path.clone(), content)
    };
    let names = |path: &str| accounts(&text(Path::new(path)).unwrap_or_default());
    Sources {
        files: files.iter().map(list).collect(),
        users: names("/etc/passwd"),
        groups: names("/etc/group"),
    }
}

fn text(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(std::io::Error::other("it is too long"));
    }
    String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not text (UTF-8)"))
}

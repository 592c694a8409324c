//! Reading the file, and showing what is wrong with it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use anstream::eprintln;
use uplinkd_config::{Diagnostic, Draft, Parsed};
use uplinkd_model::policy::Addresses;

use crate::{
    exit::Exit,
    sources::{self, Stamp},
};

/// The longest configuration, in bytes: 100,000 policies. A longer one is refused.
const FILE_MAX: u64 = 32 << 20;

/// A file that was read, with its text for messages that point into it.
#[derive(Clone)]
pub struct Loaded {
    /// The checked content.
    pub parsed: Parsed,
    /// The text.
    pub text: Arc<str>,
    /// The list files that it names, as they were before they were read.
    pub(crate) lists: BTreeMap<PathBuf, Stamp>,
    /// What it was checked from, to check again when a list file changes.
    draft: Arc<Draft>,
}

/// What keeps a file from being used.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be read; the text says why and what to do.
    Unreadable(String),
    /// It has mistakes.
    Mistakes {
        /// All of them.
        diagnostics: Vec<Diagnostic>,
        /// The text that they point into.
        text: Arc<str>,
    },
}

impl LoadError {
    /// What is wrong, on one line: the first mistake, and how many more there are.
    pub fn in_short(&self, path: &Path) -> String {
        match self {
            Self::Unreadable(text) => text.clone(),
            Self::Mistakes { diagnostics, text } => {
                let path = path.display().to_string();
                let errors: Vec<_> = diagnostics
                    .iter()
                    .filter(|d| d.severity == uplinkd_config::Severity::Error)
                    .collect();
                let Some(first) = errors.first() else {
                    return format!("`uplinkd check {path}` says what is wrong");
                };
                let places = uplinkd_config::to_json(&[(*first).clone()], &path, text);
                let place = |key: &str| places[0][key].as_str().unwrap_or_default().to_owned();
                let line = places[0]["line"].as_u64().unwrap_or_default();
                let more = match errors.len() - 1 {
                    0 => String::new(),
                    more => format!(" (and {more} more; `uplinkd check {path}` shows all)"),
                };
                format!("{}:{line}: {}{more}", place("file"), first.message)
            }
        }
    }
}

/// List files as they were when they were read, and what they hold: those that have not changed
/// since need not be read again, which of a large list takes most of the time.
#[derive(Clone, Debug, Default)]
pub struct KnownLists {
    stamps: BTreeMap<PathBuf, Stamp>,
    lists: BTreeMap<String, Addresses>,
}

/// Reads and checks a file, and the lists that it names.
///
/// # Errors
/// Every mistake in them.
pub fn read(path: &Path) -> Result<Loaded, LoadError> {
    read_again(path, KnownLists::default())
}

/// The same, but for lists that have not changed.
///
/// # Errors
/// Every mistake in them.
pub fn read_again(path: &Path, known: KnownLists) -> Result<Loaded, LoadError> {
    let text = sources::text(path, FILE_MAX).map_err(|e| {
        let hint = if e.kind() == std::io::ErrorKind::NotFound {
            "; `uplinkd sample` prints one to start from, --config names another"
        } else {
            ""
        };
        LoadError::Unreadable(format!("cannot read {}: {e}{hint}", path.display()))
    })?;
    let draft = uplinkd_config::read(&path.display().to_string(), &text);
    check(Arc::new(draft), text.into(), known)
}

impl Loaded {
    /// The same file, with its lists read again.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn again(&self) -> Result<Self, LoadError> {
        let (draft, text) = (Arc::clone(&self.draft), Arc::clone(&self.text));
        check(draft, text, self.known_lists())
    }

    /// Its lists, for reading again.
    pub fn known_lists(&self) -> KnownLists {
        KnownLists {
            stamps: self.lists.clone(),
            lists: self.parsed.lists().clone(),
        }
    }
}

fn check(draft: Arc<Draft>, text: Arc<str>, mut known: KnownLists) -> Result<Loaded, LoadError> {
    let stamp = |path: PathBuf| (path.clone(), Stamp::of(&path));
    let files = draft.files().iter().map(|f| PathBuf::from(&f.path));
    let lists: BTreeMap<_, _> = files.map(stamp).collect();
    known.lists.retain(|path, _| {
        let stamps = (
            lists.get(Path::new(path)),
            known.stamps.get(Path::new(path)),
        );
        stamps.0 == stamps.1 && stamps.0.is_some_and(Stamp::is_there)
    });
    let unknown = draft.files().iter();
    let unknown = unknown.filter(|f| !known.lists.contains_key(&f.path));
    match draft.check_again(&sources::read(unknown), &known.lists) {
        Ok(parsed) => Ok(Loaded {
            parsed,
            text,
            lists,
            draft,
        }),
        Err(diagnostics) => Err(LoadError::Mistakes { diagnostics, text }),
    }
}

/// Reads a file; where that fails, shows why on stderr.
///
/// # Errors
/// [`Exit::Usage`].
pub fn read_or_show(path: &Path) -> Result<Loaded, Exit> {
    match read(path) {
        Ok(loaded) => {
            show(loaded.parsed.warnings(), path, &loaded.text);
            Ok(loaded)
        }
        Err(error) => {
            show_error(&error, path);
            Err(Exit::Usage)
        }
    }
}

/// Shows what keeps a file from being used, on stderr.
pub fn show_error(error: &LoadError, path: &Path) {
    match error {
        LoadError::Unreadable(text) => eprintln!("error: {text}"),
        LoadError::Mistakes { diagnostics, text } => show(diagnostics, path, text),
    }
}

/// Shows findings with the lines that they point at. One without a place in the file is a line or
/// two of its own.
pub fn show(diagnostics: &[Diagnostic], path: &Path, text: &str) {
    let (placed, general): (Vec<_>, Vec<_>) = diagnostics
        .iter()
        .cloned()
        .partition(|d| d.span != (0..0) || d.excerpt.is_some());
    if !placed.is_empty() {
        // anstream takes the colours out again where stderr is no terminal or NO_COLOR is set.
        eprintln!(
            "{}",
            uplinkd_config::render(&placed, &path.display().to_string(), text, true)
        );
    }
    for finding in &general {
        eprintln!("{}", without_place(finding));
    }
}

fn without_place(finding: &Diagnostic) -> String {
    let mut text = format!("{}: {}", finding.severity.as_str(), finding.message);
    if !finding.label.is_empty() {
        text += &format!("\n  {}", finding.label);
    }
    if let Some(hint) = &finding.hint {
        text += &format!("\n  hint: {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const FILE: &str = "[uplink.isp1]\ninterface = \"wan1\"\n\n[[policy]]\nname = \"company\"\n\
                        match = { destination = { file = \"nets.txt\" } }\nuse = \"isp1\"\n";

    #[test]
    fn lists_are_read_beside_the_file_and_can_be_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, list) = (dir.path().join("uplinkd.toml"), dir.path().join("nets.txt"));
        fs::write(&path, FILE).unwrap();
        let missing = read(&path).err().unwrap().in_short(&path);
        assert!(missing.contains("No such file"), "{missing}");
        fs::write(&list, "10.0.0.0/8\n# more\n2001:db8::/32\n").unwrap();
        let loaded = read(&path).ok().unwrap();
        assert_eq!(loaded.lists.len(), 1);

        fs::write(&list, "10.0.0.0/8\nnonsense\n").unwrap();
        let refused = loaded.again().err().unwrap().in_short(&path);
        assert!(refused.contains("nets.txt:2: "), "{refused}");
        fs::write(&list, "192.0.2.0/24\n").unwrap();
        let again = loaded.again().ok().unwrap();
        assert_ne!(again.parsed.policies(), loaded.parsed.policies());
    }

    #[test]
    fn only_a_regular_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("uplinkd.toml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [pipe.as_path(), dir.path(), Path::new("/dev/zero")] {
            let refused = read(path).err().unwrap().in_short(path);
            assert!(refused.contains("it is not a regular file"), "{refused}");
        }
    }

    #[test]
    fn a_finding_without_a_place_still_says_what_was_found() {
        let finding = Diagnostic::error(0..0, "a clash")
            .label("found: pref 5000")
            .hint("move it");
        assert_eq!(
            without_place(&finding),
            "error: a clash\n  found: pref 5000\n  hint: move it"
        );
    }
}

//! Reading the file, and showing what is wrong with it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use anstream::{eprint, eprintln};
use uplinkd_api::ApiError;
use uplinkd_config::{Diagnostic, Draft, Parsed, Sources};
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
    /// What it was checked from, to check again when a list file changes; none where only the policies
    /// that are different were read.
    draft: Option<Arc<Draft>>,
    /// The names of this machine's accounts, as they were.
    accounts: Arc<Sources>,
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

impl LoadError {
    /// The same for whoever asked from outside: in short, as `uplinkd check` shows it, and as its JSON.
    pub(crate) fn to_api(&self, path: &Path) -> ApiError {
        let error = ApiError::new(self.in_short(path));
        match self {
            Self::Unreadable(_) => error,
            Self::Mistakes { diagnostics, text } => {
                let path_text = path.display().to_string();
                ApiError {
                    report: Some(shown(diagnostics, path, text, false)),
                    problems: Some(uplinkd_config::to_json(diagnostics, &path_text, text)),
                    ..error
                }
            }
        }
    }
}

/// Reads and checks a file, and the lists that it names.
///
/// # Errors
/// Every mistake in them.
pub fn read(path: &Path) -> Result<Loaded, LoadError> {
    let text = text(path)?;
    check(draft(path, &text), text.into(), None)
}

/// The text of a file.
///
/// # Errors
/// Where it cannot be read.
pub(crate) fn text(path: &Path) -> Result<String, LoadError> {
    sources::text(path, FILE_MAX).map_err(|e| {
        let hint = if e.kind() == std::io::ErrorKind::NotFound {
            "; `uplinkd sample` prints one to start from, --config names another"
        } else {
            ""
        };
        LoadError::Unreadable(format!("cannot read {}: {e}{hint}", path.display()))
    })
}

fn draft(path: &Path, text: &str) -> Arc<Draft> {
    Arc::new(uplinkd_config::read(&path.display().to_string(), text))
}

impl Loaded {
    /// The file as it is now. Policies and lists that have not changed are not read again, which of
    /// thousands takes most of the time.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn fresh(&self, path: &Path) -> Result<Self, LoadError> {
        let text = text(path)?;
        if let Some(patched) = self.patched(path, &text) {
            return Ok(patched);
        }
        check(draft(path, &text), text.into(), Some(self))
    }

    /// The file as it is now, where all that has changed are a few policies without a mistake.
    fn patched(&self, path: &Path, text: &str) -> Option<Self> {
        let mut lists = self.lists.iter();
        let accounts = sources::read([]);
        let is_as_before = self.parsed.path() == path.display().to_string()
            && lists.all(|(path, stamp)| stamp.is_there() && Stamp::of(path) == *stamp)
            && accounts == *self.accounts;
        let parsed = is_as_before
            .then(|| self.parsed.patched(&self.text, text, &accounts))
            .flatten()?;
        let mut lists = self.lists.clone();
        lists.retain(|path, _| parsed.files().iter().any(|f| Path::new(&f.path) == path));
        Some(Self {
            parsed,
            text: text.into(),
            lists,
            draft: None,
            accounts: Arc::clone(&self.accounts),
        })
    }

    /// A user by number, as people are told who did something.
    pub(crate) fn who(&self, user: u32) -> String {
        let mut names = self.accounts.users.iter();
        match names.find(|(_, number)| **number == user) {
            Some((name, _)) => format!("{name} (uid {user})"),
            None => format!("uid {user}"),
        }
    }

    /// The same text, with the lists that have changed read again.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn again(&self) -> Result<Self, LoadError> {
        let drawn = || draft(Path::new(self.parsed.path()), &self.text);
        let draft = self.draft.clone().unwrap_or_else(drawn);
        check(draft, Arc::clone(&self.text), Some(self))
    }
}

fn check(draft: Arc<Draft>, text: Arc<str>, before: Option<&Loaded>) -> Result<Loaded, LoadError> {
    let lists = stamps(&draft);
    // What the lists hold that have not changed since.
    let mut known = before.map_or(BTreeMap::new(), |b| b.parsed.lists().clone());
    known.retain(|path, _| {
        let path = Path::new(path);
        let stamps = (lists.get(path), before.and_then(|b| b.lists.get(path)));
        stamps.0 == stamps.1 && stamps.0.is_some_and(Stamp::is_there)
    });
    complete(draft, text, lists, &known)
}

/// A text that was in force, with what its list files held then.
///
/// # Errors
/// Mistakes, where this is another version, or the machine has other accounts.
pub(crate) fn kept(
    path: &Path,
    text: &str,
    known: &BTreeMap<String, Addresses>,
) -> Result<Loaded, LoadError> {
    let draft = draft(path, text);
    // Those of now: a list is read again when it changes from here on.
    let lists = stamps(&draft);
    complete(draft, text.into(), lists, known)
}

/// The list files that a text names, as they are now.
fn stamps(draft: &Draft) -> BTreeMap<PathBuf, Stamp> {
    let stamp = |path: PathBuf| (path.clone(), Stamp::of(&path));
    let files = draft.files().iter().map(|f| PathBuf::from(&f.path));
    files.map(stamp).collect()
}

/// Reads what is not known of the list files, and checks all of it.
fn complete(
    draft: Arc<Draft>,
    text: Arc<str>,
    lists: BTreeMap<PathBuf, Stamp>,
    known: &BTreeMap<String, Addresses>,
) -> Result<Loaded, LoadError> {
    let unknown = draft.files().iter();
    let mut sources = sources::read(unknown.filter(|f| !known.contains_key(&f.path)));
    match draft.check_again(&sources, known) {
        Ok(parsed) => {
            sources.files.clear();
            Ok(Loaded {
                parsed,
                text,
                lists,
                draft: Some(draft),
                accounts: Arc::new(sources),
            })
        }
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

/// Shows findings with the lines that they point at, on stderr.
pub fn show(diagnostics: &[Diagnostic], path: &Path, text: &str) {
    // anstream takes the colours out again where stderr is no terminal or NO_COLOR is set.
    eprint!("{}", shown(diagnostics, path, text, true));
}

/// Findings with the lines that they point at. One without a place in the file is a line or two of its
/// own.
fn shown(diagnostics: &[Diagnostic], path: &Path, text: &str, color: bool) -> String {
    let (placed, general): (Vec<_>, Vec<_>) = diagnostics
        .iter()
        .cloned()
        .partition(|d| d.span != (0..0) || d.excerpt.is_some());
    let mut shown = String::new();
    if !placed.is_empty() {
        let path = path.display().to_string();
        shown += &uplinkd_config::render(&placed, &path, text, color);
        shown.push('\n');
    }
    for finding in &general {
        shown += &without_place(finding);
        shown.push('\n');
    }
    shown
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
    fn a_file_that_changed_in_one_policy_is_what_a_new_reading_finds() {
        let dir = tempfile::tempdir().unwrap();
        let (path, list) = (dir.path().join("uplinkd.toml"), dir.path().join("nets.txt"));
        fs::write(&list, "10.0.0.0/8\n").unwrap();
        fs::write(&path, FILE).unwrap();
        let loaded = read(&path).ok().unwrap();
        assert!(loaded.draft.is_some());
        let changed = format!("{FILE}otherwise = \"block\"\n").replace("company", "partners");
        fs::write(&path, changed.replace("otherwise = \"block\"\n", "")).unwrap();
        let fresh = loaded.fresh(&path).ok().unwrap();
        assert!(fresh.draft.is_none(), "only the policy was read");
        assert_eq!(fresh.parsed, read(&path).ok().unwrap().parsed);
        // The list changes as well, or a policy leads to what none led to before: all is read.
        fs::write(&path, &changed).unwrap();
        let whole = fresh.fresh(&path).ok().unwrap();
        assert!(whole.draft.is_some());
        fs::write(&path, FILE).unwrap();
        fs::write(&list, "192.0.2.0/24\n").unwrap();
        let listed = loaded.fresh(&path).ok().unwrap();
        assert!(listed.draft.is_some());
        assert_eq!(listed.parsed, read(&path).ok().unwrap().parsed);
        // A list that changes after such a reading is taken as after any other.
        fs::write(&list, "198.51.100.0/24\n").unwrap();
        let again = fresh.again().ok().unwrap();
        assert_ne!(again.parsed.policies(), fresh.parsed.policies());
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

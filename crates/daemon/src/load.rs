//! Reading the file, and showing what is wrong with it.

use std::{fs, path::Path};

use anstream::eprintln;
use uplinkd_config::{Diagnostic, Parsed};

use crate::exit::Exit;

/// A file that was read, with its text for messages that point into it.
#[derive(Debug)]
pub struct Loaded {
    /// The checked content.
    pub parsed: Parsed,
    /// The text.
    pub text: String,
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
        text: String,
    },
}

/// Reads and checks a file.
///
/// # Errors
/// Every mistake in it.
pub fn read(path: &Path) -> Result<Loaded, LoadError> {
    let text = fs::read_to_string(path).map_err(|e| {
        let hint = if e.kind() == std::io::ErrorKind::NotFound {
            "; `uplinkd sample` prints one to start from, --config names another"
        } else {
            ""
        };
        LoadError::Unreadable(format!("cannot read {}: {e}{hint}", path.display()))
    })?;
    match uplinkd_config::parse(&path.display().to_string(), &text) {
        Ok(parsed) => Ok(Loaded { parsed, text }),
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
        Err(LoadError::Unreadable(text)) => {
            eprintln!("error: {text}");
            Err(Exit::Usage)
        }
        Err(LoadError::Mistakes { diagnostics, text }) => {
            show(&diagnostics, path, &text);
            Err(Exit::Usage)
        }
    }
}

/// Shows findings with the lines that they point at. One without a place in the file is a line or
/// two of its own.
pub fn show(diagnostics: &[Diagnostic], path: &Path, text: &str) {
    let (placed, general): (Vec<_>, Vec<_>) =
        diagnostics.iter().cloned().partition(|d| d.span != (0..0));
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
    use super::*;

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

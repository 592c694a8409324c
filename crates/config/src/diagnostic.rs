//! What is wrong, where, and what to do about it.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, normalize_untrusted_str};
use serde_json::{Value, json};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but probably does not do what its author wants.
    Warning,
}

impl Severity {
    /// The word that people and scripts read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Another place of the text that belongs to a diagnostic, such as the first of two namesakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The place, in bytes of the text.
    pub span: Range<usize>,
    /// What is to be seen there.
    pub text: String,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The place, in bytes of the text. Places outside the text are moved into it when shown.
    pub span: Range<usize>,
    /// Which object, and why: lower case, no full stop.
    pub message: String,
    /// A word or two that stand under the underlined text; may be empty.
    pub label: String,
    /// The remedy.
    pub hint: Option<String>,
    /// Other places that belong to it.
    pub notes: Vec<Note>,
}

impl Diagnostic {
    /// A mistake that makes the file unusable.
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            span,
            message: message.into(),
            label: String::new(),
            hint: None,
            notes: Vec::new(),
        }
    }

    /// A doubt; the file is usable.
    pub fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(span, message)
        }
    }

    /// Sets what stands under the underlined text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets the remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn note(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.notes.push(Note {
            span,
            text: text.into(),
        });
        self
    }
}

/// Shows diagnostics the way compilers do: place, underlined text, hint. Ends with a newline unless
/// there is nothing to show.
///
/// Control characters of `path` and `text` are replaced by visible ones, so that a hostile file
/// cannot steer a terminal.
pub fn render(diagnostics: &[Diagnostic], path: &str, text: &str, color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let path = normalize_untrusted_str(path);
    let mut shown = String::new();
    for diagnostic in diagnostics {
        if !shown.is_empty() {
            shown.push('\n');
        }
        shown.push_str(&render_one(&renderer, diagnostic, &path, text));
        shown.push('\n');
    }
    shown
}

fn render_one(renderer: &Renderer, diagnostic: &Diagnostic, path: &str, text: &str) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut primary = AnnotationKind::Primary.span(within(text, &diagnostic.span));
    if !diagnostic.label.is_empty() {
        primary = primary.label(normalize_untrusted_str(&diagnostic.label));
    }
    let notes = diagnostic.notes.iter().map(|note| {
        AnnotationKind::Context
            .span(within(text, &note.span))
            .label(normalize_untrusted_str(&note.text))
    });
    let snippet = Snippet::source(text)
        .path(path)
        .annotation(primary)
        .annotations(notes);
    let mut group = level
        .primary_title(diagnostic.message.as_str())
        .element(snippet);
    if let Some(hint) = &diagnostic.hint {
        let hint = normalize_untrusted_str(hint);
        group = group.element(Level::HELP.with_name("hint").message(hint));
    }
    renderer.render(&[group])
}

/// The same for scripts: an array of objects with `severity`, `file`, `line`, `column`, `message`,
/// `label`, `hint` (or null) and `notes`. Lines and columns count from 1, columns in characters.
pub fn to_json(diagnostics: &[Diagnostic], path: &str, text: &str) -> Value {
    let object = |diagnostic: &Diagnostic| {
        let (line, column) = line_column(text, diagnostic.span.start);
        let note = |note: &Note| {
            let (line, column) = line_column(text, note.span.start);
            json!({ "line": line, "column": column, "message": note.text })
        };
        json!({
            "severity": diagnostic.severity.as_str(),
            "file": path,
            "line": line,
            "column": column,
            "message": diagnostic.message,
            "label": diagnostic.label,
            "hint": diagnostic.hint,
            "notes": diagnostic.notes.iter().map(note).collect::<Vec<_>>(),
        })
    };
    diagnostics.iter().map(object).collect()
}

/// The line and the column, both from 1, of a place in a text; the column counts characters.
fn line_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

/// Moves a span into the text and onto the boundaries of its characters.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start);
    let end = text.ceil_char_boundary(span.end.min(text.len()));
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_end_with_crlf_too() {
        let text = "# ä\r\nü = 1\r\n";
        assert_eq!(line_column(text, 0), (1, 1));
        assert_eq!(line_column(text, 4), (1, 4));
        assert_eq!(line_column(text, 6), (2, 1));
        assert_eq!(line_column(text, 8), (2, 2));
        assert_eq!(line_column(text, 9999), (3, 1));
    }

    #[test]
    fn a_span_in_the_middle_of_a_character_is_widened_to_it() {
        assert_eq!(within("aä", &(2..2)), 1..3);
        assert_eq!(within("aä", &(7..9)), 3..3);
        assert_eq!(within("", &(0..1)), 0..0);
    }

    #[test]
    fn both_faces_name_the_same_place() {
        let text = "# ä\r\n  ü = 1 # x\r\n";
        let found = [Diagnostic::error(8..10, "no").hint("yes")];
        assert!(render(&found, "f", text, false).contains("f:2:3"));
        let json = to_json(&found, "f", text);
        assert_eq!(
            (&json[0]["line"], &json[0]["column"]),
            (&2.into(), &3.into())
        );
    }

    #[test]
    fn control_characters_never_reach_a_terminal() {
        let evil = "\u{1b}]0;evil\u{7}";
        let found = [Diagnostic::error(0..4, evil)
            .label(evil)
            .hint(evil)
            .note(0..1, evil)];
        let shown = render(&found, evil, evil, false);
        assert!(!shown.contains(['\u{1b}', '\u{7}']), "{shown:?}");
    }
}

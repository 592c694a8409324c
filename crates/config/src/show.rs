//! How diagnostics are shown: to people like a compiler does, to scripts as JSON.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, normalize_untrusted_str};
use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Note, Severity};

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
    let lines = Lines::of(text);
    let mut shown = String::new();
    for diagnostic in diagnostics {
        if !shown.is_empty() {
            shown.push('\n');
        }
        shown.push_str(&render_one(&renderer, diagnostic, &path, &lines));
        shown.push('\n');
    }
    shown
}

fn render_one(
    renderer: &Renderer,
    diagnostic: &Diagnostic,
    path: &str,
    lines: &Lines<'_>,
) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let notes = diagnostic.notes.iter().map(|note| &note.span);
    let part = match &diagnostic.excerpt {
        None => lines.part(notes.chain([&diagnostic.span])),
        Some(_) => lines.part(notes),
    };
    let notes = diagnostic.notes.iter().map(|note| {
        AnnotationKind::Context
            .span(part.within(&note.span))
            .label(normalize_untrusted_str(&note.text))
    });
    let place = |span| {
        let primary = AnnotationKind::Primary.span(span);
        match diagnostic.label.as_str() {
            "" => primary,
            label => primary.label(normalize_untrusted_str(label)),
        }
    };
    let snippet = Snippet::source(part.text).path(path).line_start(part.line);
    let mut group =
        level
            .primary_title(diagnostic.message.as_str())
            .elements(diagnostic.excerpt.as_ref().map(|excerpt| {
                Snippet::source(excerpt.text.as_str())
                    .path(normalize_untrusted_str(&excerpt.path))
                    .line_start(excerpt.line)
                    .annotation(place(within(&excerpt.text, &diagnostic.span)))
            }));
    if diagnostic.excerpt.is_none() {
        let primary = place(part.within(&diagnostic.span));
        group = group.element(snippet.annotation(primary).annotations(notes));
    } else if !diagnostic.notes.is_empty() {
        group = group.element(snippet.annotations(notes));
    }
    if let Some(hint) = &diagnostic.hint {
        let hint = normalize_untrusted_str(hint);
        group = group.element(Level::HELP.with_name("hint").message(hint));
    }
    renderer.render(&[group])
}

/// The same for scripts: an array of objects with `severity`, `file`, `line`, `column`, `message`,
/// `label`, `hint` (or null) and `notes`. Lines and columns count from 1, columns in characters.
/// `file` is the file of prefixes where the mistake stands in one; notes are about `path`.
pub fn to_json(diagnostics: &[Diagnostic], path: &str, text: &str) -> Value {
    let lines = Lines::of(text);
    let object = |diagnostic: &Diagnostic| {
        let (path, line, column) = match &diagnostic.excerpt {
            None => {
                let (line, column) = lines.line_column(diagnostic.span.start);
                (path, line, column)
            }
            Some(excerpt) => {
                let (_, column) = Lines::of(&excerpt.text).line_column(diagnostic.span.start);
                (excerpt.path.as_str(), excerpt.line, column)
            }
        };
        let note = |note: &Note| {
            let (line, column) = lines.line_column(note.span.start);
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

/// A text with the beginnings of its lines, so that thousands of mistakes in a large file do not
/// each cost a walk through all of it.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

/// Some lines of a text.
struct Part<'t> {
    text: &'t str,
    /// Where it begins in the whole.
    start: usize,
    /// The number of its first line, from 1.
    line: usize,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(after).collect(),
        }
    }

    /// The index of the line around a place.
    fn index(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at) - 1
    }

    /// The line and the column, both from 1, of a place; the column counts characters.
    fn line_column(&self, at: usize) -> (usize, usize) {
        let at = self.text.floor_char_boundary(at);
        let index = self.index(at);
        let before = &self.text[self.starts[index]..at];
        (index + 1, before.chars().count() + 1)
    }

    /// The lines from the first to the last of some places.
    fn part<'s>(&self, spans: impl Iterator<Item = &'s Range<usize>>) -> Part<'t> {
        let ends = spans.map(|s| (s.start.min(self.text.len()), s.end.min(self.text.len())));
        let ends = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let (first, last) = ends.unwrap_or((0, 0));
        let line = self.index(first);
        let start = self.starts[line];
        let after = self.starts.get(self.index(last.max(first)) + 1);
        Part {
            text: &self.text[start..after.copied().unwrap_or(self.text.len())],
            start,
            line: line + 1,
        }
    }
}

impl Part<'_> {
    /// A span of the whole, moved into this part.
    fn within(&self, span: &Range<usize>) -> Range<usize> {
        let moved = span.start.saturating_sub(self.start)..span.end.saturating_sub(self.start);
        within(self.text, &moved)
    }
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
        assert_eq!(Lines::of(text).line_column(0), (1, 1));
        assert_eq!(Lines::of(text).line_column(4), (1, 4));
        assert_eq!(Lines::of(text).line_column(6), (2, 1));
        assert_eq!(Lines::of(text).line_column(8), (2, 2));
        assert_eq!(Lines::of(text).line_column(9999), (3, 1));
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

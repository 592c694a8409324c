//! Mistakes in the TOML itself. They are the only ones that keep the others from being seen.

use std::ops::Range;

use toml::de::{DeTable, Error};

use crate::{diagnostic::Diagnostic, quote::quoted};

/// Most mistakes that are shown: the parser goes on after each, and a stray bracket or quote makes
/// everything behind it look wrong.
const SHOWN_MAX: usize = 10;

/// The parser's errors in our words, in the order of the text, one for each line. `tree` is what
/// the parser made of the text in spite of them.
pub(crate) fn diagnose(text: &str, tree: &DeTable<'_>, errors: &[Error]) -> Vec<Diagnostic> {
    let mut errors: Vec<_> = errors
        .iter()
        .map(|e| (e.span().unwrap_or(0..0), e.message()))
        .collect();
    let first = errors.iter().min_by_key(|(span, _)| span.start).cloned();
    let mut found = Vec::new();
    if let Some(bracket) = unclosed(text, tree, &errors) {
        // It swallows the rest of the file, where nothing means what it says any more.
        errors.retain(|(span, _)| span.start < bracket);
        found.push(never_closed(text, bracket));
    }
    let again: Vec<_> = errors
        .iter()
        .filter(|(_, message)| *message == DUPLICATE)
        .map(|(span, _)| line_range(text, span.start).start)
        .collect();
    // The keys of a table that is there twice are bound to be there twice, too.
    errors.retain(|(span, message)| {
        *message != DUPLICATE
            || header_before(text, span.start).is_none_or(|header| !again.contains(&header))
    });
    found.extend(errors.into_iter().map(|(span, m)| explain(text, span, m)));
    found.sort_by_key(|d| d.span.start);
    found.dedup_by_key(|d| line_range(text, d.span.start).start);
    found.truncate(SHOWN_MAX);
    // Whatever was left out above as a mere consequence: a broken text never passes as a good one.
    if found.is_empty() {
        found.extend(first.map(|(span, m)| explain(text, span, m)));
    }
    found
}

/// Where the outermost bracket stands that is still open at the end of the text.
fn unclosed(text: &str, tree: &DeTable<'_>, errors: &[(Range<usize>, &str)]) -> Option<usize> {
    let is_unclosed =
        |m: &str| m.starts_with("unclosed array") || m.starts_with("unclosed inline table");
    let (end, _) = errors.iter().find(|(_, m)| is_unclosed(m))?;
    let mut tables = vec![tree];
    let mut first = None;
    while let Some(table) = tables.pop() {
        for (_, value) in table.iter() {
            let span = value.span();
            let opens = text
                .get(span.start..)
                .is_some_and(|t| t.starts_with(['[', '{']));
            // A header's span ends with the header.
            if opens && span.end >= end.start {
                first = Some(first.map_or(span.start, |f: usize| f.min(span.start)));
            } else if let Some(table) = value.get_ref().as_table() {
                tables.push(table);
            }
        }
    }
    first
}

fn never_closed(text: &str, bracket: usize) -> Diagnostic {
    let close = if text[bracket..].starts_with('[') {
        ']'
    } else {
        '}'
    };
    Diagnostic::error(bracket..bracket + 1, "a bracket is opened and never closed")
        .label("opened here")
        .hint(format!("close it with `{close}`"))
}

const UNQUOTED: &str = "string values must be quoted";
const DUPLICATE: &str = "duplicate key";

fn explain(text: &str, span: Range<usize>, message: &str) -> Diagnostic {
    if message == DUPLICATE {
        return duplicate(text, span);
    }
    if message.starts_with(UNQUOTED) {
        return match text.get(span.clone()).map(str::trim).unwrap_or_default() {
            "" => Diagnostic::error(span, "a value is missing after `=`")
                .label("expected a value")
                .hint("give a value, or remove the line for the default"),
            word => {
                let hint = format!("write \"{}\"", word.escape_debug());
                Diagnostic::error(span, format!("text must stand in quotes: {}", quoted(word)))
                    .label("not in quotes")
                    .hint(hint)
            }
        };
    }
    if message.starts_with("invalid basic string, expected `\"`")
        || message.starts_with("invalid literal string, expected `'`")
    {
        return Diagnostic::error(span, "the closing quote is missing")
            .label("the text does not end")
            .hint("close the quotes on the same line");
    }
    if message.starts_with("unclosed table") {
        return Diagnostic::error(span, "the closing `]` of a table's header is missing")
            .label("expected `]`")
            .hint("names in headers have no spaces: `[uplink.isp1]`");
    }
    Diagnostic::error(span, format!("not valid TOML: {message}"))
        .label("here")
        .hint("a line is `key = value`, `[table]` or `# comment`")
}

/// A table or a key that is there already.
fn duplicate(text: &str, span: Range<usize>) -> Diagnostic {
    let line = line_range(text, span.start);
    let first = first_definition(text, &line, &span);
    let word = text.get(span.clone()).unwrap_or_default();
    let diagnostic = match header_of(&text[line]) {
        Some(header) => match header.strip_prefix("uplink.") {
            Some(name) if !name.contains('.') => {
                Diagnostic::error(span, format!("uplink {} is defined twice", quoted(name)))
                    .label("again here")
                    .hint("give one of them another name, or make one table of both")
            }
            _ => {
                let message = format!("table {} is defined twice", quoted(&format!("[{header}]")));
                Diagnostic::error(span, message)
                    .label("again here")
                    .hint("make one table of both")
            }
        },
        None => Diagnostic::error(span, format!("key {} is set twice", quoted(word)))
            .label("again here")
            .hint("keep one of them"),
    };
    match first {
        Some(first) => diagnostic.note(first, "first here"),
        None => diagnostic,
    }
}

/// What stands between the brackets of a table's header, without spaces.
fn header_of(line: &str) -> Option<String> {
    let inner = line.trim_start().strip_prefix('[')?;
    let (header, _) = inner.split_once(']')?;
    Some(header.replace([' ', '\t', '[', '"', '\''], ""))
}

/// Finds the earlier namesake in the text, since the parser does not tell where it was.
fn first_definition(text: &str, line: &Range<usize>, span: &Range<usize>) -> Option<Range<usize>> {
    let header = header_of(&text[line.clone()]);
    let word = text.get(span.clone())?;
    let mut end = line.start;
    while end > 0 {
        let earlier = line_range(text, end - 1);
        let content = &text[earlier.clone()];
        match (&header, header_of(content)) {
            (Some(header), Some(other)) if *header == other => {
                let at = earlier.start + content.find(word)?;
                return Some(at..at + word.len());
            }
            // A key's namesake stands in the same table.
            (None, Some(_)) => return None,
            (None, None) => {
                let indent = content.len() - content.trim_start().len();
                let rest = content.trim_start().strip_prefix(word);
                if rest.is_some_and(|r| r.trim_start().starts_with(['=', '.'])) {
                    let at = earlier.start + indent;
                    return Some(at..at + word.len());
                }
            }
            (Some(_), _) => {}
        }
        end = earlier.start;
    }
    None
}

/// The start of the header's line that a key stands under; none for a header itself.
fn header_before(text: &str, at: usize) -> Option<usize> {
    let mut line = line_range(text, at);
    if header_of(&text[line.clone()]).is_some() {
        return None;
    }
    while line.start > 0 {
        line = line_range(text, line.start - 1);
        if header_of(&text[line.clone()]).is_some() {
            return Some(line.start);
        }
    }
    None
}

/// The line around a place, without its newline.
fn line_range(text: &str, at: usize) -> Range<usize> {
    let at = text.floor_char_boundary(at);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len(), |n| at + n);
    start..end
}

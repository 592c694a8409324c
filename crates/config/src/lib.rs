//! Text in, checked values out: the file `/etc/uplinkd/uplinkd.toml`.
//!
//! [`parse`] reads a whole file and reports every mistake in it at once, each as a [`Diagnostic`]
//! with its place in the text. Nothing here opens a file or looks at the machine; whether an
//! interface exists is for others to find out, and [`Parsed::span_of`] tells them where to point.
//!
//! The way of a file: [`toml`] makes a tree with spans of it, `raw` reads the tree against the list
//! of known keys in `keys`, `check` makes values of `model` of it. Start with `keys`.

mod check;
mod diagnostic;
mod keys;
mod parsed;
mod quote;
mod raw;
mod reader;
mod sample;
mod schema;
mod slots;
mod syntax;

pub use diagnostic::{Diagnostic, Note, Severity, render, to_json};
pub use parsed::{Field, Parsed, ParsedUplink, ReserveField};
pub use sample::sample;
pub use schema::json_schema;
pub use slots::{Slots, SlotsExhausted};

/// Reads the text of a configuration file. `path` is kept for messages; nothing is opened.
///
/// # Errors
/// Every mistake in the text, in the order of the text. Only mistakes in the TOML itself keep the
/// others from being seen.
pub fn parse(path: &str, text: &str) -> Result<Parsed, Vec<Diagnostic>> {
    let (tree, errors) = toml::de::DeTable::parse_recoverable(text);
    let mut found = syntax::diagnose(text, tree.get_ref(), &errors);
    if found.is_empty() {
        let raw = raw::RawFile::read(tree.get_ref(), &mut found);
        let parsed = check::check(path, &raw, &mut found);
        found.sort_by_key(|d| (d.span.start, d.span.end));
        if let Some(mut parsed) = parsed
            && found.iter().all(|d| d.severity == Severity::Warning)
        {
            parsed.warnings = found;
            return Ok(parsed);
        }
    }
    Err(found)
}

//! Text in, checked values out: the file `/etc/uplinkd/uplinkd.toml`.
//!
//! [`read`] takes a whole file, and [`Draft::check`] reports every mistake in it at once, each as a
//! [`Diagnostic`] with its place in the text. Between the two somebody else reads the files of
//! prefixes that policies name: nothing here opens a file or looks at the machine. Whether an
//! interface exists is for others to find out, and [`Parsed::span_of`] tells them where to point.
//!
//! The way of a file: [`toml`] makes a tree with spans of it, `raw` reads the tree against the list
//! of known keys in `keys`, `check` makes values of `model` of it. Start with `keys`.

mod api;
mod check;
mod diagnostic;
mod draft;
mod history;
mod keys;
mod notify;
mod numbers;
mod parsed;
mod patch;
mod quote;
mod raw;
mod reader;
mod record;
mod redact;
mod sample;
mod schema;
mod show;
mod sources;
mod syntax;

pub use api::{Api, Group};
pub use check::DOMAIN_TIMEOUT;
pub use diagnostic::{Diagnostic, Excerpt, Note, Severity};
pub use draft::Draft;
pub use history::History;
pub use numbers::{Numbers, NumbersExhausted, OutletCodes, Slots};
pub use parsed::{Field, Parsed, ParsedUplink, ReserveField};
pub use record::Record;
pub use redact::{LEFT_OUT, hide_secrets, without_secrets};
pub use sample::sample;
pub use schema::json_schema;
pub use show::{render, to_json};
pub use sources::{ListFile, Sources, accounts};

/// Reads the text of a configuration file. `path` is kept for messages, and files that it names are
/// looked for beside it; nothing is opened.
pub fn read(path: &str, text: &str) -> Draft {
    Draft::read(path, text)
}

/// Reads and checks a text that names no other files and no accounts.
///
/// # Errors
/// See [`Draft::check`].
pub fn parse(path: &str, text: &str) -> Result<Parsed, Vec<Diagnostic>> {
    read(path, text).check(&Sources::default())
}

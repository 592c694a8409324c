//! Probe targets as they are written: texts, or tables with more about them.

use std::ops::Range;

use toml::{Spanned, de::DeValue};

use crate::{
    keys,
    reader::{Found, Reader, Texts, as_number, as_text},
};

/// `targets`.
pub(crate) struct RawTargets {
    pub(crate) items: Vec<RawTarget>,
    pub(crate) span: Range<usize>,
    /// Whether every entry could be read.
    pub(crate) is_complete: bool,
}

/// An entry of `targets`.
pub(crate) struct RawTarget {
    pub(crate) span: Range<usize>,
    /// Who is asked; none where it is a command, or forgotten.
    pub(crate) word: Option<Spanned<String>>,
    pub(crate) options: RawOptions,
    /// Whether all of it could be read.
    pub(crate) is_sound: bool,
}

/// What else a table says.
#[derive(Default)]
pub(crate) struct RawOptions {
    pub(crate) command: Option<Texts>,
    pub(crate) family: Option<Spanned<String>>,
    pub(crate) answer: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) status: Option<Spanned<Vec<Spanned<i128>>>>,
    pub(crate) body: Option<Spanned<String>>,
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) ca: Option<Spanned<String>>,
    pub(crate) timeout: Option<Spanned<String>>,
    pub(crate) user: Option<Spanned<String>>,
}

impl RawTargets {
    /// Reads `targets`; entries that are neither text nor table are reported and left out.
    pub(super) fn read(reader: &Reader<'_>, header: &str, found: &mut Found) -> Option<Self> {
        let (span, list) = reader.list("targets", "a list of texts", found)?;
        let errors_before = found.len();
        let read = |entry| RawTarget::read(entry, reader, header, found);
        let items = list.iter().filter_map(read).collect();
        Some(Self {
            items,
            span,
            is_complete: found.len() == errors_before,
        })
    }
}

impl RawTarget {
    fn read(
        entry: &Spanned<DeValue<'_>>,
        probe: &Reader<'_>,
        header: &str,
        found: &mut Found,
    ) -> Option<Self> {
        let span = entry.span();
        if let Some(word) = as_text(entry) {
            return Some(Self {
                span,
                word: Some(word),
                options: RawOptions::default(),
                is_sound: true,
            });
        }
        let Some(table) = entry.get_ref().as_table() else {
            found.push(probe.wrong_entry("targets", entry, "text in quotes"));
            return None;
        };
        let errors_before = found.len();
        let place = format!("of a target in [{header}]");
        let reader = Reader::open_in(table, &keys::TARGET, "probe.targets", place, found);
        let (word, options) = (
            reader.text("target", found),
            RawOptions::read(&reader, found),
        );
        Some(Self {
            span,
            word,
            options,
            is_sound: found.len() == errors_before,
        })
    }
}

impl RawOptions {
    fn read(reader: &Reader<'_>, found: &mut Found) -> Self {
        let answer = reader.one_or_more("answer").map(|(span, items)| {
            let mut read = Vec::new();
            for item in items.iter() {
                match as_text(item) {
                    Some(text) => read.push(text),
                    None => found.push(reader.wrong_type("answer", item, "an address in quotes")),
                }
            }
            Spanned::new(span, read)
        });
        let status = reader.one_or_more("status").map(|(span, items)| {
            let mut read = Vec::new();
            for item in items.iter() {
                match as_number(item) {
                    Some(number) => read.push(Spanned::new(item.span(), number)),
                    None => found.push(reader.wrong_type("status", item, "a whole number")),
                }
            }
            Spanned::new(span, read)
        });
        Self {
            command: reader.texts("command", found),
            family: reader.text("family", found),
            answer,
            status,
            body: reader.text("body", found),
            name: reader.text("name", found),
            ca: reader.text("ca", found),
            timeout: reader.text("timeout", found),
            user: reader.text("user", found),
        }
    }
}

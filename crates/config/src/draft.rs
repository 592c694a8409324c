//! A file that was read and is not checked yet, since the check needs other files.

use std::{collections::BTreeMap, path::Path};

use toml::Spanned;
use uplinkd_model::policy::Addresses;

use crate::{
    check::{self, Lists, Scope},
    diagnostic::{Diagnostic, Severity},
    parsed::Parsed,
    raw::{RawFile, RawItem},
    reader::Found,
    sources::{ListFile, Sources},
    syntax,
};

/// The content of a file, types checked, values not. Its mistakes are kept until [`Draft::check`]
/// tells them together with those that only the other files show.
pub struct Draft {
    path: String,
    /// None where the text is not TOML: then nothing else can be said of it.
    raw: Option<RawFile>,
    files: Vec<ListFile>,
    found: Found,
}

impl Draft {
    pub(crate) fn read(path: &str, text: &str) -> Self {
        let (tree, errors) = toml::de::DeTable::parse_recoverable(text);
        let mut found = syntax::diagnose(text, tree.get_ref(), &errors);
        let raw = found
            .is_empty()
            .then(|| RawFile::read(tree.get_ref(), &mut found));
        Self {
            path: path.to_owned(),
            files: raw.as_ref().map_or(Vec::new(), |raw| files(path, raw)),
            raw,
            found,
        }
    }

    /// The files of prefixes that policies name, each once. [`Sources::files`] wants their content.
    pub fn files(&self) -> &[ListFile] {
        &self.files
    }

    /// What was read, where there is nothing to say about it so far.
    pub(crate) fn without_mistakes(&self) -> Option<&RawFile> {
        self.raw.as_ref().filter(|_| self.found.is_empty())
    }

    /// Checks everything. It can be asked again when one of the other files has changed.
    ///
    /// # Errors
    /// Every mistake in the text, in the order of the text, then those in the other files. Only
    /// mistakes in the TOML itself keep the others from being seen.
    pub fn check(&self, sources: &Sources) -> Result<Parsed, Vec<Diagnostic>> {
        self.check_again(sources, &BTreeMap::new())
    }

    /// The same where some files are known to be as they were when an earlier check parsed them
    /// ([`Parsed::lists`]): those need not be in the sources.
    ///
    /// # Errors
    /// As for [`Draft::check`].
    pub fn check_again(
        &self,
        sources: &Sources,
        known: &BTreeMap<String, Addresses>,
    ) -> Result<Parsed, Vec<Diagnostic>> {
        let mut found = self.found.clone();
        let Some(raw) = &self.raw else {
            return Err(found);
        };
        let lists = Lists::read(&self.path, &self.files, sources, known, &mut found);
        let scope = Scope::Whole;
        let (path, files) = (&self.path, &self.files);
        let parsed = check::check(path, raw, files, sources, lists, scope, &mut found);
        let place = |d: &Diagnostic| {
            let elsewhere = d.excerpt.as_ref().map(|e| (e.path.clone(), e.line));
            (elsewhere, d.span.start, d.span.end)
        };
        found.sort_by_cached_key(place);
        match parsed {
            Some(mut parsed) if found.iter().all(|d| d.severity == Severity::Warning) => {
                parsed.warnings = found;
                Ok(parsed)
            }
            Some(_) | None => Err(found),
        }
    }
}

/// The path of a file that the configuration names, as it has to be opened.
pub(crate) fn resolved(configuration: &str, file: &str) -> String {
    let folder = Path::new(configuration).parent().unwrap_or(Path::new(""));
    folder.join(file).to_string_lossy().into_owned()
}

fn files(configuration: &str, raw: &RawFile) -> Vec<ListFile> {
    let mut files: Vec<ListFile> = Vec::new();
    let conditions = raw.policies.iter().flat_map(|p| &p.conditions);
    for item in conditions.flat_map(|c| &c.items) {
        let RawItem::File(path) = item.get_ref() else {
            continue;
        };
        let path = resolved(configuration, path);
        let span = Spanned::span(item);
        match files.iter_mut().find(|f| f.path == path) {
            Some(file) => file.spans.push(span),
            None => files.push(ListFile {
                path,
                spans: vec![span],
            }),
        }
    }
    files
}

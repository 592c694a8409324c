//! The names that groups and policies lead to, and what to say of a name that nobody has.

use std::{collections::BTreeMap, ops::Range};

use toml::Spanned;
use uplinkd_model::Group;

use crate::{
    diagnostic::Diagnostic,
    quote::{meant, quoted},
    raw::RawFile,
    reader::Found,
};

/// The longest name of a group or a policy.
const LENGTH_MAX: usize = 32;

/// Whether a word can be the name of a group or a policy.
pub(crate) fn is_name(word: &str) -> bool {
    word.len() <= LENGTH_MAX
        && word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// The uplinks and groups that are written, whether they are good or not: a name that has mistakes
/// below it is not unknown as well.
pub(super) struct Names<'r> {
    uplinks: BTreeMap<&'r str, Range<usize>>,
    groups: BTreeMap<&'r str, Range<usize>>,
    /// False where something could not be read as an uplink or a group: then a name may be its.
    is_complete: bool,
}

impl<'r> Names<'r> {
    pub(super) fn of(raw: &'r RawFile) -> Self {
        let uplinks = raw.uplinks.iter().map(|u| &u.name);
        let groups = raw.groups.iter().map(|g| &g.name);
        let place = |name: &'r Spanned<String>| (name.get_ref().as_str(), name.span());
        Self {
            uplinks: uplinks.map(place).collect(),
            groups: groups.map(place).collect(),
            is_complete: raw.is_complete,
        }
    }

    /// Where the uplink of a name has it.
    pub(super) fn uplink(&self, name: &str) -> Option<&Range<usize>> {
        self.uplinks.get(name)
    }

    /// Whether there is a group of that name; `default` always is.
    pub(super) fn has_group(&self, name: &str) -> bool {
        name == Group::DEFAULT || self.groups.contains_key(name)
    }

    /// Where an uplink or group of a name has it.
    pub(super) fn place(&self, name: &str) -> Option<&Range<usize>> {
        self.uplinks.get(name).or_else(|| self.groups.get(name))
    }

    /// A member of a group that is no uplink.
    pub(super) fn unknown_member(&self, name: &Spanned<String>, whose: &str, found: &mut Found) {
        let word = name.get_ref();
        let message = format!("{whose} names an uplink {} that is not there", quoted(word));
        let diagnostic = Diagnostic::error(name.span(), message).label("no such uplink");
        if self.has_group(word) {
            let hint = "that is a group; only uplinks are members of a group";
            found.push(diagnostic.hint(hint));
        } else if self.is_complete {
            let known = self.uplinks.keys().copied();
            found.push(diagnostic.hint(proposal(word, known)));
        }
    }

    /// Where a policy leads to nobody. `words` stand beside the names.
    pub(super) fn unknown_destination(
        &self,
        name: &Spanned<String>,
        what: &str,
        words: &[&'static str],
        found: &mut Found,
    ) {
        if !self.is_complete {
            return;
        }
        let word = name.get_ref();
        let message = format!("{what} leads to {}, which is not there", quoted(word));
        let known = words.iter().filter(|w| !self.groups.contains_key(*w));
        let names = self.uplinks.keys().chain(self.groups.keys()).copied();
        found.push(
            Diagnostic::error(name.span(), message)
                .label("no group or uplink of that name")
                .hint(proposal(word, names.chain(known.copied()))),
        );
    }
}

/// The name that was meant, or those that there are.
fn proposal<'k>(word: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    const SHOWN_MAX: usize = 10;
    if let Some(meant) = meant(word, known.clone()) {
        return format!("did you mean \"{meant}\"?");
    }
    let mut shown: Vec<_> = known.clone().take(SHOWN_MAX).map(quoted).collect();
    if known.count() > SHOWN_MAX {
        shown.push("…".to_owned());
    }
    format!("there are: {}", shown.join(", "))
}

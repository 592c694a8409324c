//! A text that differs from an earlier one in a few policies that stand together, read without the
//! thousands of others.
//!
//! ```text
//! head       everything before the first [[policy]]        as before
//! policies   those before the change                       as before
//!            the changed ones                              read and checked, between head and tail
//!            those behind it                               as before, their places moved
//! tail       tables that are no policies                   as before, their places moved
//! ```
//!
//! It rests on what TOML is: from one header to the next a text means the same whatever stands before
//! it, if it ends on its own. Whatever is unusual is left to a reading of the whole: another number
//! of policies, another outlet first named, a change elsewhere, and any mistake or doubt, since only a
//! whole reading tells of all of them.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use toml::de::DeTable;
use uplinkd_model::Policy;

use crate::{
    check::{self, Lists, Scope},
    draft::Draft,
    parsed::{Parsed, ParsedOutlet, PolicyPlace},
    reader::Found,
    sources::{ListFile, Sources},
};

/// How the header of a policy begins.
const HEADER: &str = "[[policy]]";
/// How many bytes are compared at once.
const CHUNK: usize = 4096;

/// What [`Draft::check`] would make of the text `new`, where `before` is what it made of `old` with the
/// same accounts and files of prefixes. None where the whole has to be read to say so.
pub(crate) fn patched(before: &Parsed, old: &str, new: &str, accounts: &Sources) -> Option<Parsed> {
    if !before.warnings.is_empty() {
        return None;
    }
    if old == new {
        return Some(before.clone());
    }
    let change = Change::find(&before.policy_places, old, new)?;
    let read = change.read(before, accounts)?;
    let moved = change.moved();
    let mut parsed = before.clone();
    parsed.each_span(|span| {
        if span.start >= change.old.end {
            *span = change.shifted(span);
        }
    });
    let index = change.policies.start;
    let mut policies = read.policies;
    name_by_place(&mut policies, &read.policy_places, new, index, moved);
    lead_as_known(&mut policies, &read.outlets, before)?;
    let places = read.policy_places.into_iter().map(|mut place| {
        place.each_span(|span| *span = moved(span));
        place
    });
    parsed.policy_places.splice(change.policies.clone(), places);
    parsed.policies.splice(change.policies.clone(), policies);
    let (was, is) = (&before.policies[change.policies.clone()], &parsed.policies);
    let is = &is[change.policies.clone()];
    let same = |key: fn(&Policy) -> &str| was.iter().map(|p| key(p)).eq(is.iter().map(|p| key(p)));
    if !same(|p| &p.name) && !has_names_once(&parsed.policies) {
        return None;
    }
    let outlets =
        |policies: &[Arc<Policy>]| -> Vec<_> { policies.iter().map(|p| p.outlet).collect() };
    if outlets(was) != outlets(is) && !has_outlets_in_order(&parsed) {
        return None;
    }
    parsed.files = files(before, &change, read.files, moved);
    let named: BTreeSet<_> = parsed.files.iter().map(|f| &f.path).collect();
    parsed.lists.retain(|path, _| named.contains(path));
    Some(parsed)
}

/// Where two texts differ.
struct Change<'t> {
    /// The policies that stand there, by index.
    policies: Range<usize>,
    /// Their place in the old text.
    old: Range<usize>,
    /// What stands there now.
    text: &'t str,
    head: &'t str,
    tail: &'t str,
}

impl<'t> Change<'t> {
    /// The policies that a change lies within; none where it reaches beyond them.
    fn find(places: &[PolicyPlace], old: &str, new: &'t str) -> Option<Self> {
        let first = places.first()?.header;
        let end = end_of_policies(places.last()?.header, old)?;
        let before = common_prefix(old.as_bytes(), new.as_bytes());
        let most = old.len().min(new.len()) - before;
        let behind = common_suffix(old.as_bytes(), new.as_bytes()).min(most);
        // From the last header in front of the change to the first one behind it.
        let begin = places
            .partition_point(|p| p.header <= before)
            .checked_sub(1)?;
        let headers = places.iter().map(|p| p.header).chain([end]);
        let (next, until) = headers
            .enumerate()
            .skip(begin + 1)
            .find(|(_, start)| *start >= old.len() - behind)?;
        let range = places[begin].header..until;
        let text = new.get(range.start..new.len() - (old.len() - until))?;
        let rest = &old[until..];
        let is_whole = policies_of(text)? == next - begin
            && policies_of(&old[range.clone()])? == next - begin
            && (rest.is_empty() || ends_line(text) && rest.trim_start().starts_with('['));
        is_whole.then(|| Self {
            policies: begin..next,
            old: range,
            text,
            head: &new[..first],
            tail: &new[new.len() - (old.len() - end)..],
        })
    }

    /// Reads the changed policies as if there were no others; none where there is anything to say
    /// about them, or where head and tail are not all else that there is.
    fn read(&self, before: &Parsed, accounts: &Sources) -> Option<Parsed> {
        let text = [self.head, self.text, self.tail].concat();
        let draft = Draft::read(&before.path, &text);
        let mut found = Found::new();
        let raw = draft.without_mistakes()?;
        let files = draft.files();
        if !files.iter().all(|f| before.lists.contains_key(&f.path)) {
            return None;
        }
        let lists = Lists::read(&before.path, files, accounts, &before.lists, &mut found);
        let scope = Scope::SomePolicies;
        let read = check::check(&before.path, raw, files, accounts, lists, scope, &mut found)?;
        (found.is_empty() && has_same_frame(before, &read)).then_some(read)
    }

    /// Where something of the old text behind the change stands now.
    fn shifted(&self, span: &Range<usize>) -> Range<usize> {
        let shift = |at: usize| at - self.old.end + self.old.start + self.text.len();
        shift(span.start)..shift(span.end)
    }

    /// Where something of the changed policies stands, which were read right behind the head.
    fn moved(&self) -> impl Fn(&Range<usize>) -> Range<usize> + Copy + use<> {
        let by = self.old.start - self.head.len();
        move |span| span.start + by..span.end + by
    }
}

/// Where the tables begin that follow the last policy.
fn end_of_policies(last: usize, text: &str) -> Option<usize> {
    let (tree, errors) = DeTable::parse_recoverable(&text[last..]);
    if !errors.is_empty() {
        return None;
    }
    let others = tree
        .get_ref()
        .iter()
        .filter(|(key, _)| key.get_ref() != "policy");
    let Some(first) = others.map(|(key, _)| last + key.span().start).min() else {
        return Some(text.len());
    };
    let line = text[..first].rfind('\n')? + 1;
    Some(line)
}

/// How many policies a text consists of, each under its header; none where it holds anything else.
fn policies_of(text: &str) -> Option<usize> {
    if !text.starts_with(HEADER) {
        return None;
    }
    let (tree, errors) = DeTable::parse_recoverable(text);
    let tree = tree.get_ref();
    let policies = tree
        .get("policy")
        .filter(|_| errors.is_empty() && tree.len() == 1)?;
    let policies = policies.get_ref().as_array()?;
    let is_under_header = |p: &toml::Spanned<_>| text[p.span().start..].starts_with(HEADER);
    policies
        .iter()
        .all(is_under_header)
        .then_some(policies.len())
}

fn ends_line(text: &str) -> bool {
    text.trim_end_matches([' ', '\t']).ends_with('\n')
}

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let chunks = one.chunks(CHUNK).zip(other.chunks(CHUNK));
    let same = chunks
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.len())
        .sum();
    let rest = one[same..].iter().zip(&other[same..]);
    same + rest.take_while(|(a, b)| a == b).count()
}

fn common_suffix(one: &[u8], other: &[u8]) -> usize {
    let chunks = one.rchunks(CHUNK).zip(other.rchunks(CHUNK));
    let same: usize = chunks
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.len())
        .sum();
    let (one, other) = (&one[..one.len() - same], &other[..other.len() - same]);
    let rest = one.iter().rev().zip(other.iter().rev());
    same + rest.take_while(|(a, b)| a == b).count()
}

/// Whether everything but policies is the same, wherever it stands.
fn has_same_frame(one: &Parsed, other: &Parsed) -> bool {
    let uplinks = |parsed: &Parsed| -> Vec<_> {
        let bare = parsed.uplinks.iter().cloned().map(|mut uplink| {
            uplink.spans.clear();
            uplink
        });
        bare.collect()
    };
    one.lan().eq(other.lan())
        && one.deprecate == other.deprecate
        && one.advertise == other.advertise
        && uplinks(one) == uplinks(other)
        && one.groups == other.groups
        && one.group_spans.keys().eq(other.group_spans.keys())
        && one.reserve == other.reserve
        && one.reserve_spans.keys().eq(other.reserve_spans.keys())
}

/// Policies without a name are called by their place.
fn name_by_place(
    policies: &mut [Arc<Policy>],
    places: &[PolicyPlace],
    text: &str,
    first: usize,
    moved: impl Fn(&Range<usize>) -> Range<usize>,
) {
    for (n, (policy, place)) in policies.iter_mut().zip(places).enumerate() {
        // The place of the name is the header's where there is none.
        if text[moved(&place.name)].starts_with(HEADER) {
            Arc::make_mut(policy).name = format!("policy-{}", first + n + 1);
        }
    }
}

/// Has policies lead to the outlets of the earlier reading; none where one leads to another.
fn lead_as_known(
    policies: &mut [Arc<Policy>],
    outlets: &[ParsedOutlet],
    before: &Parsed,
) -> Option<()> {
    for policy in policies {
        let outlet = &outlets[policy.outlet];
        Arc::make_mut(policy).outlet = before.outlets.iter().position(|o| o == outlet)?;
    }
    Some(())
}

fn has_names_once(policies: &[Arc<Policy>]) -> bool {
    let mut names = BTreeSet::new();
    policies.iter().all(|p| names.insert(p.name.as_str()))
}

/// Whether the outlets are those that the policies lead to, in the order in which they are named.
fn has_outlets_in_order(parsed: &Parsed) -> bool {
    let mut known = 0;
    for policy in &parsed.policies {
        if policy.outlet > known + 1 {
            return false;
        }
        known = known.max(policy.outlet);
    }
    known + 1 == parsed.outlets.len()
}

/// The files of prefixes, in the order in which they are named.
fn files(
    before: &Parsed,
    change: &Change<'_>,
    read: Vec<ListFile>,
    moved: impl Fn(&Range<usize>) -> Range<usize>,
) -> Vec<ListFile> {
    let mut files = before.files.clone();
    for file in &mut files {
        file.spans.retain(|s| !change.old.contains(&s.start));
        for span in &mut file.spans {
            if span.start >= change.old.end {
                *span = change.shifted(span);
            }
        }
    }
    for file in read {
        let spans = file.spans.iter().map(&moved);
        // It is one of those that were known.
        if let Some(known) = files.iter_mut().find(|f| f.path == file.path) {
            known.spans.extend(spans);
            known.spans.sort_by_key(|s| s.start);
        }
    }
    files.retain(|f| !f.spans.is_empty());
    files.sort_by_key(|f| f.spans[0].start);
    files
}

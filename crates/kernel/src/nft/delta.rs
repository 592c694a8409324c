//! What must be done to make one [`Ruleset`] out of another. Pure.
//!
//! ```text
//! declare  new chains, new sets and maps (empty)      nft      nothing leads there yet
//! fill     elements: new, changed, and what they take the place of          messages
//! switch   changed chains                             nft      from here on the new is asked
//! drain    elements that nothing takes the place of                         messages
//! clear    chains, sets and maps that are gone        nft
//! ```
//!
//! New counters come before all this, and those that are gone after it, as messages.
//!
//! Each is a transaction, and most are empty: what changes only elements needs no nft at all, and
//! without elements to change the three texts are one. In between, a new connection finds the old
//! answer or the new one.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    element::Messages,
    object,
    ruleset::{Collection, Elements, Item, Ruleset},
    text::{self, Fill},
};
use crate::netlink::Message;

/// The steps from one content to another.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    /// The counters that come, before anything names them.
    pub(super) counters: Vec<Message>,
    pub(super) declare: String,
    pub(super) fill: Vec<Message>,
    pub(super) switch: String,
    pub(super) drain: Vec<Message>,
    pub(super) clear: String,
    /// The counters that go, when nothing names them any longer.
    pub(super) counters_gone: Vec<Message>,
    /// The chains that are new or changed.
    pub(super) chains: BTreeSet<String>,
    /// The digests of collections whose content becomes another one: by how much they grow.
    pub(super) digests: BTreeMap<String, u64>,
}

impl Delta {
    /// Whether anything but elements changes.
    pub(super) fn has_text(&self) -> bool {
        [&self.declare, &self.switch, &self.clear]
            .iter()
            .any(|text| !text.is_empty())
    }

    /// The texts for nft that can be run as one, since no messages come between them.
    pub(super) fn is_one_text(&self) -> bool {
        self.fill.is_empty() && self.drain.is_empty()
    }
}

/// The difference; none where only the whole table can be replaced.
pub(super) fn delta(old: &Ruleset, new: &Ruleset) -> Option<Delta> {
    let is_of_a_kind = |(name, collection): (&String, &Collection)| {
        let before = old.collections.get(name);
        before.is_none_or(|b| b.is_shaped_like(collection))
    };
    let has_other_hook = new
        .chains
        .iter()
        .any(|(name, c)| old.chains.get(name).is_some_and(|o| o.hook != c.hook));
    if old.name != new.name || has_other_hook || !new.collections.iter().all(is_of_a_kind) {
        return None;
    }
    let mut delta = Delta::default();
    let differ = |a: &Ruleset, b: &Ruleset, message: fn(&str, &str) -> Message| -> Vec<_> {
        let names = a.counters.difference(&b.counters);
        names.map(|name| message(&new.name, name)).collect()
    };
    delta.counters = differ(new, old, object::create);
    delta.counters_gone = differ(old, new, object::delete);
    declare(&mut delta, old, new);
    for (name, collection) in &new.collections {
        elements(
            &mut delta,
            &new.name,
            name,
            old.collections.get(name),
            collection,
        );
    }
    switch(&mut delta, old, new);
    clear(&mut delta, old, new);
    if delta.switch.is_empty() {
        // What moves from one set to another does so at once.
        delta.fill.append(&mut delta.drain);
    }
    Some(delta)
}

fn declare(delta: &mut Delta, old: &Ruleset, new: &Ruleset) {
    let mut block = String::new();
    for (name, collection) in &new.collections {
        if !old.collections.contains_key(name) {
            text::write_collection(&mut block, name, collection, Fill::Small(0), &[]);
        }
    }
    for (name, chain) in &new.chains {
        if !old.chains.contains_key(name) {
            text::write_chain(&mut block, name, chain);
            delta.chains.insert(name.clone());
        }
    }
    if !block.is_empty() {
        delta.declare = format!("table inet {} {{\n{block}}}\n", new.name);
    }
}

/// The changes of one collection. Where something is added, all of it goes in one message batch, so
/// that what takes the place of something (a prefix that is split, a key that leads elsewhere) does
/// so at once.
fn elements(
    delta: &mut Delta,
    table: &str,
    name: &str,
    old: Option<&Collection>,
    new: &Collection,
) {
    let Some(wanted) = new.elements() else {
        return;
    };
    let before = old.and_then(Collection::elements);
    if before.is_some_and(|b| b.is_same_list(wanted)) {
        return;
    }
    let mut added = Messages::new(table, name, new, true);
    let mut removed = Messages::new(table, name, new, false);
    let (mut adds, mut removes) = (false, false);
    compare(before, wanted, |change| match change {
        Change::Added(item) => {
            adds = true;
            added.push(&item);
        }
        Change::Removed(item) => {
            removes = true;
            removed.push(&item);
        }
    });
    if !adds && !removes {
        return;
    }
    let grows = added.digest.wrapping_add(removed.digest);
    delta.digests.insert(name.to_owned(), grows);
    if adds {
        delta.fill.extend(removed.finish());
        delta.fill.extend(added.finish());
    } else {
        delta.drain.extend(removed.finish());
    }
}

enum Change<'a> {
    Added(Item<'a>),
    Removed(Item<'a>),
}

/// Walks over two sorted lists at once.
fn compare<'a>(old: Option<&'a Elements>, new: &'a Elements, mut tell: impl FnMut(Change<'a>)) {
    let mut old = old.into_iter().flat_map(Elements::iter).peekable();
    let mut new = new.iter().peekable();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.key.cmp(b.key),
        };
        let (was, is) = match order {
            Ordering::Less => (old.next(), None),
            Ordering::Greater => (None, new.next()),
            Ordering::Equal => (old.next(), new.next()),
        };
        if was.map(|i| i.target) == is.map(|i| i.target) {
            continue;
        }
        was.into_iter().for_each(|i| tell(Change::Removed(i)));
        is.into_iter().for_each(|i| tell(Change::Added(i)));
    }
}

fn switch(delta: &mut Delta, old: &Ruleset, new: &Ruleset) {
    let table = &new.name;
    for (name, chain) in &new.chains {
        let Some(before) = old.chains.get(name).filter(|c| c.rules != chain.rules) else {
            continue;
        };
        delta.chains.insert(name.clone());
        if !before.rules.is_empty() {
            // Writing into a `String` does not fail.
            let _ = writeln!(delta.switch, "flush chain inet {table} {name}");
        }
        for rule in &chain.rules {
            let _ = writeln!(delta.switch, "add rule inet {table} {name} {rule}");
        }
    }
}

fn clear(delta: &mut Delta, old: &Ruleset, new: &Ruleset) {
    let table = &new.name;
    let gone = old.chains.keys().filter(|n| !new.chains.contains_key(*n));
    let gone: Vec<_> = gone.collect();
    for name in &gone {
        let _ = writeln!(delta.clear, "flush chain inet {table} {name}");
    }
    for (name, collection) in &old.collections {
        if !new.collections.contains_key(name) {
            let what = match collection.content {
                super::ruleset::Content::Map(_) | super::ruleset::Content::Counts(_) => "map",
                super::ruleset::Content::Set(_) | super::ruleset::Content::Dynamic { .. } => "set",
            };
            let _ = writeln!(delta.clear, "delete {what} inet {table} {name}");
        }
    }
    for name in &gone {
        let _ = writeln!(delta.clear, "delete chain inet {table} {name}");
    }
}

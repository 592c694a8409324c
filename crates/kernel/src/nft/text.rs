//! A [`Ruleset`] as text for `nft -f -`. Pure.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    carry::Kept,
    datatype::Datatype,
    ruleset::{Chain, Collection, Content, Elements, Item, Ruleset},
};

/// Most elements of a set that fills itself. A full one takes no more: what is not in it is judged as
/// if nothing were known of it.
const DYNAMIC_ELEMENTS_MAX: usize = 65_536;

/// Which elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// All that nft can read.
    All,
    /// None of collections with more elements than this; they are sent as messages.
    Small(usize),
}

impl Fill {
    /// Whether a collection's elements are written.
    pub(super) fn takes(self, collection: &Collection) -> bool {
        // nft looks for control groups below `/sys/fs/cgroup` only, so their numbers are sent as
        // messages in any case.
        let is_readable = collection.key != [Datatype::Cgroup];
        let length = collection.elements().map_or(0, Elements::len);
        is_readable
            && match self {
                Self::All => true,
                Self::Small(most) => length <= most,
            }
    }
}

/// The whole table as one transaction that replaces what is there. What sets that fill themselves are
/// to begin with comes from `kept`, and what counters have counted from `counted`.
pub(super) fn whole(
    ruleset: &Ruleset,
    fill: Fill,
    kept: &BTreeMap<String, Vec<Kept>>,
    counted: &BTreeMap<String, u64>,
) -> String {
    let name = &ruleset.name;
    // The first line makes the second one possible where there is no table yet.
    let mut text = format!("table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n");
    for name in &ruleset.counters {
        // Writing into a `String` does not fail.
        let packets = counted.get(name).copied().unwrap_or(0);
        let _ = writeln!(text, "\tcounter {name} {{ packets {packets} bytes 0 }}");
    }
    // Maps name chains and chains name maps: chains without a hook come first, empty of rules that
    // name anything is not needed, since nft takes a block as a whole.
    for (name, chain) in &ruleset.chains {
        write_chain(&mut text, name, chain);
    }
    for (name, collection) in &ruleset.collections {
        let kept = kept.get(name).map_or(&[][..], Vec::as_slice);
        write_collection(&mut text, name, collection, fill, kept);
    }
    text.push_str("}\n");
    text
}

/// A chain's declaration with its rules, inside a table's block.
pub(super) fn write_chain(text: &mut String, name: &str, chain: &Chain) {
    let _ = writeln!(text, "\tchain {name} {{");
    if let Some(hook) = chain.hook {
        let _ = writeln!(text, "\t\t{hook}");
    }
    for rule in &chain.rules {
        let _ = writeln!(text, "\t\t{rule}");
    }
    text.push_str("\t}\n");
}

/// A set's or map's declaration, inside a table's block. An empty one has no `elements`, for nft's
/// sake.
pub(super) fn write_collection(
    text: &mut String,
    name: &str,
    collection: &Collection,
    fill: Fill,
    kept: &[Kept],
) {
    let parts: Vec<_> = collection.key.iter().map(|d| d.name()).collect();
    let key = parts.join(" . ");
    // Writing into a `String` does not fail.
    let _ = match &collection.content {
        Content::Set(_) => writeln!(text, "\tset {name} {{\n\t\ttype {key}"),
        Content::Map(_) => writeln!(text, "\tmap {name} {{\n\t\ttype {key} : verdict"),
        Content::Counts(_) => writeln!(text, "\tmap {name} {{\n\t\ttype {key} : counter"),
        Content::Dynamic { timeout } => {
            // Less than a second would be none at all to nft, which is for ever.
            let seconds = timeout.as_secs().max(1);
            writeln!(
                text,
                "\tset {name} {{\n\t\ttype {key}\n\t\tsize {DYNAMIC_ELEMENTS_MAX}\n\
                 \t\tflags dynamic,timeout\n\t\ttimeout {seconds}s"
            )
        }
    };
    if collection.has_ranges {
        text.push_str("\t\tflags interval\n");
    }
    match collection.elements() {
        Some(elements) if elements.len() > 0 && fill.takes(collection) => {
            text.push_str("\t\telements = {\n");
            for item in elements.iter() {
                write_item(text, collection, &item);
            }
            text.push_str("\t\t}\n");
        }
        None if !kept.is_empty() => {
            text.push_str("\t\telements = {\n");
            for element in kept {
                element.write(text, &collection.key);
            }
            text.push_str("\t\t}\n");
        }
        Some(_) | None => {}
    }
    text.push_str("\t}\n");
}

fn write_item(text: &mut String, collection: &Collection, item: &Item<'_>) {
    text.push_str("\t\t\t");
    for (n, (datatype, span)) in collection.parts(item).enumerate() {
        let dot = if n > 0 { " . " } else { "" };
        let _ = write!(text, "{dot}{}", datatype.word(span.first));
        if !span.is_one() {
            let _ = write!(text, "-{}", datatype.word(span.last));
        }
    }
    if let Some(target) = item.target {
        let _ = write!(text, " : {target}");
    }
    text.push_str(",\n");
}

//! [`NftTable`] as a [`Ruleset`]. Pure.
//!
//! What the table does, with F for all bits of ours in a mark, U for those of the uplink and O for
//! those of the outlet:
//!
//! ```text
//! prerouting   from an uplink      new without F: ct mark is set (inbound). Its packets are never led
//!                                  out again, and get no bits of ours.
//! prerouting,  connection with F   meta mark = F of ct mark            <- nearly all packets
//! output       without F, older    adopted by its addresses
//!              without F, new      classified: O into meta mark and ct mark
//! postrouting  without U           leaves by an uplink: U into ct mark; sticky choices are learned
//! nat          first packet        leaves by an uplink: its source address is replaced, or the network's
//!                                  part of it
//! inward       first packet        comes in by an uplink for an address that stands for a host's: for it
//! all          without connection  reset or dropped instead of leaving untranslated
//! ```
//!
//! Bits outside F belong to others and pass unchanged. Kernels before 6.14 cannot combine two
//! registers (`ct mark and X or meta mark and Y`). Where nobody else has set a bit of the packet's
//! mark, one statement restores ours; otherwise two verdict maps jump to chains with constants.
//! Either way the work for a packet does not grow with the number of uplinks, outlets or policies.

mod classify;
mod conditions;
mod count;
mod delegated;
mod forms;
mod maps;
mod outlets;
mod prefixes;
mod refusal;
mod stray;
mod uplinks;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
};

use uplinkd_model::{
    Family, Nat,
    nft::NftTable,
    policy::{Span, Spans, address_number},
};

use super::{
    RenderError,
    datatype::Datatype,
    ruleset::{Chain, Collection, Elements, Ruleset, Target},
};

pub use forms::Forms;

/// The longest interface name that the kernel takes.
const INTERFACE_LENGTH_MAX: usize = 15;
/// Both families.
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The table's content.
///
/// # Errors
/// When a name in it could end a quotation or is otherwise unfit.
pub(super) fn ruleset(table: &NftTable, forms: &Forms) -> Result<Ruleset, RenderError> {
    check(table)?;
    let mut builder = Builder {
        table,
        forms,
        ruleset: Ruleset {
            name: table.name.clone(),
            chains: BTreeMap::new(),
            counters: BTreeSet::new(),
            collections: BTreeMap::new(),
        },
    };
    builder.counters();
    builder.uplinks();
    builder.outlets();
    builder.refusals();
    builder.strays();
    builder.classification()?;
    Ok(builder.ruleset)
}

/// A ruleset that is being made.
struct Builder<'a> {
    table: &'a NftTable,
    /// The forms of its maps, as far as they are known.
    forms: &'a Forms,
    ruleset: Ruleset,
}

/// Which own bits of a mark are set to something.
#[derive(Clone, Copy)]
enum Whose {
    Packet,
    Connection,
}

impl Builder<'_> {
    fn chain(&mut self, name: impl Into<String>, rules: Vec<String>) {
        self.ruleset
            .chains
            .insert(name.into(), Chain { hook: None, rules });
    }

    fn hook(&mut self, name: &str, hook: &'static str, rules: Vec<String>) {
        let hook = Some(hook);
        self.ruleset
            .chains
            .insert(name.to_owned(), Chain { hook, rules });
    }

    fn collection(&mut self, name: impl Into<String>, collection: Collection) {
        self.ruleset.collections.insert(name.into(), collection);
    }

    /// A map with keys of one part. Of two elements with one key, the first one holds: nft refuses a
    /// key that is there twice with different targets.
    fn map(
        &mut self,
        name: impl Into<String>,
        key: Datatype,
        entries: impl IntoIterator<Item = (u128, Target)>,
    ) {
        let mut listed = BTreeMap::new();
        for (value, target) in entries {
            listed.entry(vec![Span::one(value)]).or_insert(Some(target));
        }
        self.collection(name, Collection::map(vec![key], Elements::Listed(listed)));
    }

    /// A set for rules, named by its content so that rules with the same one share it.
    fn values(&mut self, key: Datatype, values: &Spans) -> String {
        let mut hasher = DefaultHasher::new();
        (key, values).hash(&mut hasher);
        let name = format!("values_{:016x}", hasher.finish());
        if !self.ruleset.collections.contains_key(&name) {
            let elements = Elements::Spans(values.clone());
            self.collection(name.clone(), Collection::set(vec![key], elements));
        }
        name
    }

    /// A statement that sets the bits under a mask, keeping all others.
    fn set_mark(whose: Whose, mask: u32, value: u32) -> String {
        let what = match whose {
            Whose::Packet => "meta",
            Whose::Connection => "ct",
        };
        let others = !mask;
        format!("{what} mark set {what} mark and {others:#010x} or {value:#010x}")
    }
}

/// A hash of lines, for names of chains that nobody but their content tells apart.
fn name_of(lines: &[String]) -> String {
    let mut hasher = DefaultHasher::new();
    lines.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// Whether this can be the name of a table.
pub(super) fn check_name(name: &str) -> Result<(), RenderError> {
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(is_word) {
        Ok(())
    } else {
        Err(RenderError::Table(name.to_owned()))
    }
}

fn check(table: &NftTable) -> Result<(), RenderError> {
    check_name(&table.name)?;
    // A digit may come first: these have a prefix.
    if let Some(bad) = table
        .domains
        .keys()
        .find(|n| n.is_empty() || !n.chars().all(is_word))
    {
        return Err(RenderError::Set(bad.clone()));
    }
    let mut counted = table.classifier.counted.values();
    if let Some(bad) = counted.find(|n| n.is_empty() || !n.chars().all(is_word)) {
        return Err(RenderError::Counter(bad.clone()));
    }
    let interfaces = table.uplinks.iter().map(|u| &u.interface);
    interfaces
        .chain(&table.lan)
        .try_for_each(|name| check_interface(name))?;
    for uplink in &table.uplinks {
        for (family, nat) in [(Family::V4, uplink.nat4), (Family::V6, uplink.nat6)] {
            if let Nat::Source(address) = nat
                && Family::of(address) != family
            {
                return Err(RenderError::Source { address, family });
            }
        }
    }
    Ok(())
}

/// A quotation mark ends the name for nft, a star makes it a pattern, and a backslash takes the
/// meaning of a star away.
fn check_interface(name: &str) -> Result<(), RenderError> {
    let is_unfit = |c: char| c.is_control() || c.is_whitespace() || "\"*\\/".contains(c);
    if name.is_empty() || name.len() > INTERFACE_LENGTH_MAX || name.contains(is_unfit) {
        return Err(RenderError::Interface(name.to_owned()));
    }
    Ok(())
}

/// An address as a key.
fn address(address: IpAddr) -> u128 {
    address_number(address)
}

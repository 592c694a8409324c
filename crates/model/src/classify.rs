//! The policies as the kernel asks them. `uplinkd-policy` makes this from the file, `kernel::nft`
//! writes it as text, and an explanation is read off the very same value.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    ops::{Deref, DerefMut},
    slice,
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Serialize};

use crate::{
    ids::Mark,
    net::Family,
    policy::{Span, Spans},
};

/// So many policies of the file, the first ones, may be counted. What the others decide is not.
pub const COUNTED_POLICIES_MAX: usize = 256;

/// The compiled policies: for each family the stages that a new connection goes through. The first
/// entry or rule that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classifier {
    /// For IPv4.
    pub v4: Vec<Stage>,
    /// For IPv6.
    pub v6: Vec<Stage>,
    /// The policies whose connections are counted: their indices in the configuration, below
    /// [`COUNTED_POLICIES_MAX`], and their names, which the kernel's counters bear.
    #[serde(default)]
    pub counted: BTreeMap<usize, String>,
    /// A number that another content would have another of, whoever made it. Zero with no stages and
    /// nothing to count.
    pub fingerprint: u64,
}

impl Classifier {
    /// The stages of a family.
    pub fn of(&self, family: Family) -> &[Stage] {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

/// One step of the classification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// One look-up, whatever the number of entries.
    Map(MapStage),
    /// One rule.
    Rule(RuleStage),
}

/// A look-up by the values of one field or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapStage {
    /// The fields, in the order of the keys' spans; in the order of [`Field`], none twice.
    pub fields: Vec<Field>,
    /// The entries, sorted by key. No two of them overlap.
    pub entries: Entries,
}

/// The entries of a map. Clones share them, and whoever holds two of them sees at once that they are
/// the same: of thousands of policies a change of one leaves most maps as they are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Entries(Arc<Shared>);

#[derive(Clone, Debug, Default)]
struct Shared {
    list: Vec<Entry>,
    /// Once somebody has asked for it.
    fingerprint: OnceLock<u64>,
}

impl Entries {
    /// Whether both are the very same list in memory.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What tells this list from every other that is in memory at the same time.
    pub fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// A number that other keys or outlets would have another of. The policies do not count.
    pub fn fingerprint(&self) -> u64 {
        *self.0.fingerprint.get_or_init(|| {
            // Its keys are fixed: equal content has an equal number in every run of one build.
            let mut hasher = DefaultHasher::new();
            self.0.list.len().hash(&mut hasher);
            for entry in &self.0.list {
                (&entry.key, entry.outlet).hash(&mut hasher);
            }
            hasher.finish()
        })
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.0.list == other.0.list
    }
}

impl Eq for Entries {}

impl Deref for Entries {
    type Target = Vec<Entry>;

    fn deref(&self) -> &Self::Target {
        &self.0.list
    }
}

impl DerefMut for Entries {
    /// Copies them first where somebody else has them as well.
    fn deref_mut(&mut self) -> &mut Self::Target {
        let shared = Arc::make_mut(&mut self.0);
        shared.fingerprint.take();
        &mut shared.list
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(list: Vec<Entry>) -> Self {
        Self(Arc::new(Shared {
            list,
            fingerprint: OnceLock::new(),
        }))
    }
}

impl From<Entries> for Vec<Entry> {
    fn from(entries: Entries) -> Self {
        Arc::unwrap_or_clone(entries.0).list
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        Self::from(Vec::from_iter(entries))
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// An entry of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// One span for each field.
    pub key: Vec<Span>,
    /// The outlet that it leads to, by code.
    pub outlet: u16,
    /// The policy that it comes from: its index in the configuration. Not part of what the kernel
    /// holds.
    pub policy: usize,
}

/// A rule: all conditions must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStage {
    /// The conditions; none: it matches everything.
    pub conditions: Vec<Condition>,
    /// The outlet that it leads to, by code.
    pub outlet: u16,
    /// The policy that it comes from: its index in the configuration.
    pub policy: usize,
}

/// Something of a packet that is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// The interface it came in by: the 16 bytes of its name, the first the most significant.
    Interface,
    /// The Ethernet source address, 48 bits.
    Mac,
    /// The source address of the stage's family.
    Source,
    /// The destination address of the stage's family.
    Destination,
    /// The IP protocol, 8 bits.
    Protocol,
    /// The source port, 16 bits. The rule or key also names protocols that have ports.
    SourcePort,
    /// The destination port, 16 bits. Likewise.
    DestinationPort,
    /// The ICMP type of the stage's family, 8 bits. The rule or key also names that protocol.
    IcmpType,
    /// The differentiated services code point, 6 bits.
    Dscp,
    /// The user of an own socket, 32 bits.
    User,
    /// The group of an own socket, 32 bits.
    Group,
}

impl Field {
    /// The largest value that a packet of a family can have there.
    pub fn max(self, family: Family) -> u128 {
        let bits = match (self, family) {
            (Self::Interface, _) | (Self::Source | Self::Destination, Family::V6) => 128,
            (Self::Source | Self::Destination, Family::V4) | (Self::User | Self::Group, _) => 32,
            (Self::Mac, _) => 48,
            (Self::SourcePort | Self::DestinationPort, _) => 16,
            (Self::Protocol | Self::IcmpType, _) => 8,
            (Self::Dscp, _) => 6,
        };
        u128::MAX >> (128 - bits)
    }
}

/// An interface's name as the number of [`Field::Interface`]. Bytes after the sixteenth are left out;
/// no interface's name has as many.
pub fn interface_number(name: &str) -> u128 {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    u128::from_be_bytes(bytes)
}

/// The name of an interface's number.
pub fn number_interface(number: u128) -> String {
    let bytes = number.to_be_bytes();
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Something that a rule demands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// The field's value is among these. Where the packet has no such field, it does not hold.
    Among {
        /// Which field.
        field: Field,
        /// The values.
        values: Spans,
    },
    /// The packet did not come in by one of these interfaces: by another, or it is the router's own.
    NotInterface(Vec<String>),
    /// The packet's Ethernet source address is not among these: another, or it has none.
    NotMac(Spans),
    /// The router's own traffic of none of these users, or not the router's own.
    NotUser(Spans),
    /// The router's own traffic of none of these groups, or not the router's own.
    NotGroup(Spans),
    /// The packet's mark is one of these (`not`: none of these).
    Mark {
        /// The marks, each under its mask.
        any_of: Vec<Mark>,
        /// None of them.
        not: bool,
    },
    /// The destination is (`not`: is not) in the sets that a resolver fills.
    Domain {
        /// The sets' name, without the family's digit in front.
        set: String,
        /// It is not in them.
        not: bool,
    },
    /// The own socket is (`not`: is not, or it is not the router's own) in a control group.
    Cgroup {
        /// The groups, by path below the root of the hierarchy.
        any_of: Vec<String>,
        /// It is in none of them.
        not: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_were_shared_and_changed_have_another_fingerprint() {
        let entry = |outlet| Entry {
            key: vec![Span::one(7_u8)],
            outlet,
            policy: 0,
        };
        let one = Entries::from(vec![entry(1)]);
        let mut other = one.clone();
        assert!(one.is_same(&other));
        assert_eq!(one.fingerprint(), other.fingerprint());
        other[0].outlet = 2;
        assert!(!one.is_same(&other));
        assert_eq!(one[0].outlet, 1);
        assert_ne!(one.fingerprint(), other.fingerprint());
        // Nobody else has it now, and yet what was found before must not stay.
        other[0].outlet = 1;
        other[0].policy = 5;
        assert_eq!(one.fingerprint(), other.fingerprint());
        assert_ne!(one, other);
    }

    #[test]
    fn a_name_survives_being_a_number() {
        for name in ["lo", "br-lan", "abcdefghijklmno"] {
            assert_eq!(number_interface(interface_number(name)), name);
        }
        assert!(interface_number("eth0") < interface_number("eth1"));
    }

    #[test]
    fn fields_have_their_width() {
        assert_eq!(Field::Dscp.max(Family::V4), 63);
        assert_eq!(Field::Source.max(Family::V4), u128::from(u32::MAX));
        assert_eq!(Field::Source.max(Family::V6), u128::MAX);
    }
}

//! The policies as the kernel asks them. `uplinkd-policy` makes this from the file, `kernel::nft`
//! writes it as text, and an explanation is read off the very same value.

use serde::{Deserialize, Serialize};

use crate::{
    ids::Mark,
    net::Family,
    policy::{Span, Spans},
};

/// The compiled policies: for each family the stages that a new connection goes through. The first
/// entry or rule that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classifier {
    /// For IPv4.
    pub v4: Vec<Stage>,
    /// For IPv6.
    pub v6: Vec<Stage>,
    /// A number that another content would have another of, whoever made it. Zero with no stages.
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
    pub entries: Vec<Entry>,
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

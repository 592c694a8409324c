//! What keys of sets and maps are made of: their names in nft's language, how a value is written
//! there, and how it lies in the kernel's memory.

use std::fmt;

use uplinkd_model::{
    Family,
    classify::{Field, number_interface},
    policy::{Span, number_address},
};

/// A type of nft's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Datatype {
    /// The name of an interface: 16 bytes, the unused ones zero.
    Interface,
    /// An Ethernet address.
    Ether,
    /// An address of a family.
    Address(Family),
    /// The protocol number.
    Protocol,
    /// A port.
    Port,
    /// An ICMP type of a family.
    Icmp(Family),
    /// A differentiated services code point.
    Dscp,
    /// A user.
    User,
    /// A group.
    Group,
    /// A mark.
    Mark,
    /// A control group of version 2, by number.
    Cgroup,
}

impl Datatype {
    /// The type of a field.
    pub(super) fn of(field: Field, family: Family) -> Self {
        match field {
            Field::Interface => Self::Interface,
            Field::Mac => Self::Ether,
            Field::Source | Field::Destination => Self::Address(family),
            Field::Protocol => Self::Protocol,
            Field::SourcePort | Field::DestinationPort => Self::Port,
            Field::IcmpType => Self::Icmp(family),
            Field::Dscp => Self::Dscp,
            Field::User => Self::User,
            Field::Group => Self::Group,
        }
    }

    /// What nft calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Interface => "ifname",
            Self::Ether => "ether_addr",
            Self::Address(Family::V4) => "ipv4_addr",
            Self::Address(Family::V6) => "ipv6_addr",
            Self::Protocol => "inet_proto",
            Self::Port => "inet_service",
            Self::Icmp(Family::V4) => "icmp_type",
            Self::Icmp(Family::V6) => "icmpv6_type",
            Self::Dscp => "dscp",
            Self::User => "uid",
            Self::Group => "gid",
            Self::Mark => "mark",
            Self::Cgroup => "cgroupsv2",
        }
    }

    /// How many bytes a value has. In a key of several parts each is filled up to a multiple of 4.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Interface | Self::Address(Family::V6) => 16,
            Self::Cgroup => 8,
            Self::Ether => 6,
            Self::Address(Family::V4) | Self::User | Self::Group | Self::Mark => 4,
            Self::Port => 2,
            Self::Protocol | Self::Icmp(_) | Self::Dscp => 1,
        }
    }

    /// The largest value.
    pub(super) fn last(self) -> u128 {
        if self == Self::Dscp {
            return 63;
        }
        u128::MAX >> (128 - 8 * self.width())
    }

    /// Whether the kernel holds it in the order of the machine. Where ranges are allowed it is
    /// turned around on the way to the look-up, since ranges are compared byte by byte.
    fn is_in_machine_order(self) -> bool {
        match self {
            Self::User | Self::Group | Self::Mark | Self::Cgroup => true,
            Self::Interface
            | Self::Ether
            | Self::Address(_)
            | Self::Protocol
            | Self::Port
            | Self::Icmp(_)
            | Self::Dscp => false,
        }
    }

    /// Writes a value as the kernel holds it, without filling up.
    pub(super) fn put(self, bytes: &mut Vec<u8>, value: u128, has_ranges: bool) {
        let wide = value.to_be_bytes();
        let narrow = &wide[16 - self.width()..];
        if self.is_in_machine_order() && !has_ranges && cfg!(target_endian = "little") {
            bytes.extend(narrow.iter().rev());
        } else {
            bytes.extend_from_slice(narrow);
        }
    }

    /// A value as nft reads it.
    pub(super) fn word(self, value: u128) -> Word {
        Word(self, value)
    }

    /// A span as nft reads it.
    pub(super) fn words(self, span: &Span) -> String {
        let first = self.word(span.first);
        if span.is_one() {
            first.to_string()
        } else {
            format!("{first}-{}", self.word(span.last))
        }
    }
}

/// A value, written as nft reads it.
pub(super) struct Word(Datatype, u128);

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(datatype, value) = *self;
        match datatype {
            Datatype::Interface => write!(f, "\"{}\"", number_interface(value)),
            Datatype::Ether => {
                let bytes = value.to_be_bytes();
                for (n, byte) in bytes[10..].iter().enumerate() {
                    write!(f, "{}{byte:02x}", if n > 0 { ":" } else { "" })?;
                }
                Ok(())
            }
            Datatype::Address(family) => write!(f, "{}", number_address(family, value)),
            Datatype::Mark => write!(f, "{value:#010x}"),
            Datatype::Protocol
            | Datatype::Port
            | Datatype::Icmp(_)
            | Datatype::Dscp
            | Datatype::User
            | Datatype::Group
            | Datatype::Cgroup => write!(f, "{value}"),
        }
    }
}

/// Where nft finds a field's value in a packet of a family.
pub(super) fn expression(field: Field, family: Family) -> &'static str {
    match (field, family) {
        (Field::Interface, _) => "iifname",
        (Field::Mac, _) => "ether saddr",
        (Field::Source, Family::V4) => "ip saddr",
        (Field::Source, Family::V6) => "ip6 saddr",
        (Field::Destination, Family::V4) => "ip daddr",
        (Field::Destination, Family::V6) => "ip6 daddr",
        (Field::Protocol, _) => "meta l4proto",
        (Field::SourcePort, _) => "th sport",
        (Field::DestinationPort, _) => "th dport",
        (Field::IcmpType, Family::V4) => "icmp type",
        (Field::IcmpType, Family::V6) => "icmpv6 type",
        (Field::Dscp, Family::V4) => "ip dscp",
        (Field::Dscp, Family::V6) => "ip6 dscp",
        (Field::User, _) => "meta skuid",
        (Field::Group, _) => "meta skgid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_nft_reads_them() {
        for (datatype, value, expected) in [
            (Datatype::Ether, 0x0200_0000_00ff, "02:00:00:00:00:ff"),
            (Datatype::Address(Family::V4), 0x0a00_0001, "10.0.0.1"),
            (Datatype::Address(Family::V6), 1, "::1"),
            (Datatype::Mark, 7, "0x00000007"),
            (Datatype::Port, 443, "443"),
        ] {
            assert_eq!(datatype.word(value).to_string(), expected);
        }
        let lan = uplinkd_model::classify::interface_number("br-lan");
        assert_eq!(Datatype::Interface.word(lan).to_string(), "\"br-lan\"");
    }

    #[test]
    fn only_without_ranges_a_number_lies_in_the_machines_order() {
        let bytes = |has_ranges| {
            let mut bytes = Vec::new();
            Datatype::User.put(&mut bytes, 1000, has_ranges);
            bytes
        };
        assert_eq!(bytes(true), [0, 0, 3, 0xe8]);
        assert_eq!(bytes(false), 1000_u32.to_ne_bytes());
    }
}

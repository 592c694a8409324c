//! A flow to be judged, and the answers.
//!
//! Every fact of a flow may be unknown. Unknown is not "no": an answer that hangs on an unknown fact
//! says so.

use std::{collections::BTreeSet, net::IpAddr};

use uplinkd_model::{
    Family,
    classify::{Field, interface_number},
    policy::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOLS_WITH_PORTS, address_number},
};

use crate::fact::{Fact, Known};

/// The first packet of a connection, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The family.
    pub family: Family,
    /// The source address, before translation. One of the other family counts as unknown.
    pub source: Option<IpAddr>,
    /// The destination address; of a forwarded port, the one after its translation.
    pub destination: Option<IpAddr>,
    /// The IP protocol number.
    pub protocol: Option<u8>,
    /// The source port; without meaning where the protocol has none.
    pub source_port: Option<u16>,
    /// The destination port; likewise.
    pub destination_port: Option<u16>,
    /// The ICMP or ICMPv6 type; without meaning for other protocols.
    pub icmp_type: Option<u8>,
    /// Where it comes from.
    pub origin: Origin,
    /// The Ethernet source address; without meaning for own traffic.
    pub mac: Option<u64>,
    /// The differentiated services code point.
    pub dscp: Option<u8>,
    /// The packet's mark as others set it.
    pub mark: u32,
    /// The user of the own socket; without meaning for forwarded traffic.
    pub user: Option<u32>,
    /// The group of the own socket; likewise.
    pub group: Option<u32>,
    /// The control group of the own socket, by path below the root; likewise.
    pub cgroup: Option<String>,
    /// The sets (named without the family's digit) that hold the destination. None: not known.
    pub domain_sets: Option<BTreeSet<String>>,
}

/// Where a flow comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In by an interface.
    Interface(String),
    /// From the router itself.
    Own,
    /// Not known.
    Unknown,
}

/// What becomes of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A policy decides.
    Policy {
        /// Which: its index.
        policy: usize,
        /// The code of the outlet that it leads to.
        outlet: u16,
        /// The stage of the family that matched: its index. Of [`crate::naive`], which knows no
        /// stages, the policy's index once more.
        stage: usize,
    },
    /// No policy speaks of it: the default group.
    Default,
    /// An unknown fact decides.
    Depends {
        /// The policy that would match or not: its index.
        policy: usize,
        /// What is not known. [`Fact::clause`] finds the clause that asks for it.
        on: Fact,
    },
}

impl Flow {
    /// A flow of which nothing is known but its family; it bears no mark.
    pub fn unknown(family: Family) -> Self {
        Self {
            family,
            source: None,
            destination: None,
            protocol: None,
            source_port: None,
            destination_port: None,
            icmp_type: None,
            origin: Origin::Unknown,
            mac: None,
            dscp: None,
            mark: 0,
            user: None,
            group: None,
            cgroup: None,
            domain_sets: None,
        }
    }

    /// Whether it is the router's own traffic. Where nobody says, a hardware address tells that it
    /// is not, and a user, group or control group that it is.
    fn is_own(&self) -> Option<bool> {
        match self.origin {
            Origin::Own => Some(true),
            Origin::Interface(_) => Some(false),
            Origin::Unknown if self.mac.is_some() => Some(false),
            Origin::Unknown => {
                (self.user.is_some() || self.group.is_some() || self.cgroup.is_some())
                    .then_some(true)
            }
        }
    }

    fn of_own<T>(&self, value: Option<T>, fact: Fact) -> Known<T> {
        match self.is_own() {
            Some(false) => Known::Absent,
            Some(true) | None => Known::of(value, fact),
        }
    }

    fn of_forwarded<T>(&self, value: Option<T>, fact: Fact) -> Known<T> {
        match self.is_own() {
            Some(true) => Known::Absent,
            Some(false) | None => Known::of(value, fact),
        }
    }

    fn of_protocols<T>(&self, protocols: &[u8], value: Option<T>, fact: Fact) -> Known<T> {
        match self.protocol {
            Some(protocol) if !protocols.contains(&protocol) => Known::Absent,
            Some(_) | None => Known::of(value, fact),
        }
    }

    /// The interface that it came in by.
    pub(crate) fn interface(&self) -> Known<&str> {
        let name = match &self.origin {
            Origin::Interface(name) => Some(name.as_str()),
            Origin::Own | Origin::Unknown => None,
        };
        self.of_forwarded(name, Fact::Interface)
    }

    /// The control group of its socket.
    pub(crate) fn cgroup(&self) -> Known<&str> {
        self.of_own(self.cgroup.as_deref(), Fact::Cgroup)
    }

    /// The sets that hold its destination.
    pub(crate) fn domain_sets(&self) -> Known<&BTreeSet<String>> {
        Known::of(self.domain_sets.as_ref(), Fact::Domain)
    }

    /// The number of a field.
    pub(crate) fn number(&self, field: Field) -> Known<u128> {
        let address = |address: Option<IpAddr>, fact| {
            let address = address.filter(|a| Family::of(*a) == self.family);
            Known::of(address.map(address_number), fact)
        };
        let port = |port: Option<u16>, fact| {
            self.of_protocols(&PROTOCOLS_WITH_PORTS, port.map(u128::from), fact)
        };
        match field {
            Field::Interface => match self.interface() {
                Known::Is(name) => Known::Is(interface_number(name)),
                Known::Absent => Known::Absent,
                Known::Unknown(fact) => Known::Unknown(fact),
            },
            Field::Mac => self.of_forwarded(self.mac.map(u128::from), Fact::Mac),
            Field::Source => address(self.source, Fact::Source),
            Field::Destination => address(self.destination, Fact::Destination),
            Field::Protocol => Known::of(self.protocol.map(u128::from), Fact::Protocol),
            Field::SourcePort => port(self.source_port, Fact::SourcePort),
            Field::DestinationPort => port(self.destination_port, Fact::DestinationPort),
            Field::IcmpType => self.of_protocols(
                &[icmp_of(self.family)],
                self.icmp_type.map(u128::from),
                Fact::IcmpType,
            ),
            Field::Dscp => Known::of(self.dscp.map(u128::from), Fact::Dscp),
            Field::User => self.of_own(self.user.map(u128::from), Fact::User),
            Field::Group => self.of_own(self.group.map(u128::from), Fact::Group),
        }
    }
}

/// The number of a family's ICMP.
pub(crate) fn icmp_of(family: Family) -> u8 {
    match family {
        Family::V4 => PROTOCOL_ICMP,
        Family::V6 => PROTOCOL_ICMPV6,
    }
}

/// Whether a control group is one of these or below one.
pub(crate) fn is_within(path: &str, any_of: &[String]) -> bool {
    any_of.iter().any(|above| {
        path.strip_prefix(above.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_flow_cannot_have_is_absent_and_what_nobody_said_is_unknown() {
        let mut flow = Flow::unknown(Family::V4);
        assert_eq!(flow.number(Field::User), Known::Unknown(Fact::User));
        assert_eq!(flow.number(Field::Mac), Known::Unknown(Fact::Mac));
        flow.origin = Origin::Own;
        assert_eq!(flow.number(Field::User), Known::Unknown(Fact::User));
        assert_eq!(flow.number(Field::Mac), Known::Absent);
        assert_eq!(flow.interface(), Known::Absent);
        flow.origin = Origin::Interface("lan".into());
        assert_eq!(flow.number(Field::User), Known::Absent);
        assert_eq!(flow.interface(), Known::Is("lan"));
        flow.protocol = Some(47);
        flow.source_port = Some(7);
        assert_eq!(flow.number(Field::SourcePort), Known::Absent);
        flow.protocol = None;
        assert_eq!(flow.number(Field::SourcePort), Known::Is(7));
    }

    #[test]
    fn a_hardware_address_or_a_user_tells_where_a_flow_comes_from() {
        let mut flow = Flow::unknown(Family::V6);
        flow.mac = Some(1);
        assert_eq!(flow.number(Field::User), Known::Absent);
        flow.mac = None;
        flow.cgroup = Some("system.slice".into());
        assert_eq!(flow.interface(), Known::Absent);
    }

    #[test]
    fn a_group_below_another_is_within_it_but_not_one_whose_name_goes_on() {
        let above = ["system.slice/a.service".to_owned()];
        assert!(is_within("system.slice/a.service", &above));
        assert!(is_within("system.slice/a.service/x", &above));
        assert!(!is_within("system.slice/a.service2", &above));
        assert!(!is_within("system.slice", &above));
    }
}

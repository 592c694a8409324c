//! The facts of a flow, and truths that hang on them.

use std::fmt;

use uplinkd_model::{
    Policy,
    policy::{Clause, Selector},
};

/// A fact of a flow that may be unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// The interface it comes in by, if any.
    Interface,
    /// The Ethernet source address, if any.
    Mac,
    /// The source address.
    Source,
    /// The destination address.
    Destination,
    /// The protocol.
    Protocol,
    /// The source port.
    SourcePort,
    /// The destination port.
    DestinationPort,
    /// The ICMP type.
    IcmpType,
    /// The code point.
    Dscp,
    /// The user of the own socket, if it is one.
    User,
    /// The group of the own socket, if it is one.
    Group,
    /// The control group of the own socket, if it is one.
    Cgroup,
    /// Whether a resolver found the destination for a name.
    Domain,
}

/// A fact as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known<T> {
    /// It is this.
    Is(T),
    /// A flow like this has no such thing.
    Absent,
    /// Unknown, for want of this fact.
    Unknown(Fact),
}

/// A truth that may hang on an unknown fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// It hangs on this.
    Depends(Fact),
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl Truth {
    /// Whether all hold: a single "no" decides, whatever is unknown.
    pub(crate) fn all(truths: impl IntoIterator<Item = Self>) -> Self {
        let mut so_far = Self::Yes;
        for truth in truths {
            match (truth, so_far) {
                (Self::No, _) => return Self::No,
                (Self::Depends(_), Self::Yes) => so_far = truth,
                (Self::Depends(_), Self::Depends(_) | Self::No) | (Self::Yes, _) => {}
            }
        }
        so_far
    }
}

impl<T> Known<T> {
    /// A value that is there in every such flow, known or not.
    pub(crate) fn of(value: Option<T>, fact: Fact) -> Self {
        value.map_or(Self::Unknown(fact), Self::Is)
    }

    /// Whether a value is there and passes.
    pub(crate) fn holds(self, test: impl FnOnce(T) -> bool) -> Truth {
        match self {
            Self::Is(value) => test(value).into(),
            Self::Absent => Truth::No,
            Self::Unknown(fact) => Truth::Depends(fact),
        }
    }

    /// Whether no value is there, or one that does not pass.
    pub(crate) fn lacks(self, test: impl FnOnce(T) -> bool) -> Truth {
        match self {
            Self::Is(value) => (!test(value)).into(),
            Self::Absent => Truth::Yes,
            Self::Unknown(fact) => Truth::Depends(fact),
        }
    }
}

impl Fact {
    /// The first clause of a policy that asks for this fact.
    pub fn clause(self, policy: &Policy) -> Option<&Clause> {
        policy
            .clauses
            .iter()
            .find(|clause| self.is_asked_by(&clause.selector))
    }

    fn is_asked_by(self, selector: &Selector) -> bool {
        match selector {
            Selector::Family(_) | Selector::Mark(_) | Selector::Schedule(_) => false,
            Selector::Source(_) => self == Self::Source,
            Selector::Destination(_) => self == Self::Destination,
            Selector::Protocol(_) => self == Self::Protocol,
            // Ports and ICMP types speak of protocols as well.
            Selector::SourcePort(_) => matches!(self, Self::SourcePort | Self::Protocol),
            Selector::DestinationPort(_) => matches!(self, Self::DestinationPort | Self::Protocol),
            Selector::IcmpType { .. } => matches!(self, Self::IcmpType | Self::Protocol),
            Selector::Interface(_) => self == Self::Interface,
            Selector::Mac(_) => self == Self::Mac,
            Selector::Dscp(_) => self == Self::Dscp,
            Selector::User(_) => self == Self::User,
            Selector::Group(_) => self == Self::Group,
            Selector::Cgroup(_) => self == Self::Cgroup,
            Selector::Domain { .. } => self == Self::Domain,
        }
    }
}

impl fmt::Display for Fact {
    /// As it reads after "depends on".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interface => "the interface it comes in by",
            Self::Mac => "the hardware address it comes from",
            Self::Source => "the source address",
            Self::Destination => "the destination address",
            Self::Protocol => "the protocol",
            Self::SourcePort => "the source port",
            Self::DestinationPort => "the destination port",
            Self::IcmpType => "the ICMP type",
            Self::Dscp => "the code point (DSCP)",
            Self::User => "the user it belongs to",
            Self::Group => "the group it belongs to",
            Self::Cgroup => "the control group it belongs to",
            Self::Domain => "the names that the destination was resolved for",
        })
    }
}

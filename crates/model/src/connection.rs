//! A tracked connection, as conntrack shows it.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::net::Family;

/// A tracked connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Connection {
    /// The addresses and ports of the packet that began it, before translation.
    pub original: Tuple,
    /// Those of an answer as it arrives, so that its destination is the translated source.
    pub reply: Tuple,
    /// The connection's mark.
    pub mark: u32,
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tuple {
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// The IP protocol.
    pub protocol: u8,
    /// What tells connections of one protocol between the same hosts apart.
    pub kind: TupleKind,
}

/// What tells connections of one protocol between the same hosts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TupleKind {
    /// Ports, of TCP, UDP and their like.
    Ports {
        /// From.
        source: u16,
        /// To.
        destination: u16,
    },
    /// ICMP's type, code and identifier.
    Icmp {
        /// The type.
        icmp_type: u8,
        /// The code.
        code: u8,
        /// The identifier.
        id: u16,
    },
    /// Nothing but the addresses.
    Other,
}

impl Tuple {
    /// The family.
    pub fn family(&self) -> Family {
        Family::of(self.source)
    }
}

impl fmt::Display for Tuple {
    /// As `conntrack` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "-p {} -s {} -d {}",
            self.protocol, self.source, self.destination
        )?;
        match self.kind {
            TupleKind::Ports {
                source,
                destination,
            } => write!(f, " --sport {source} --dport {destination}"),
            TupleKind::Icmp {
                icmp_type,
                code,
                id,
            } => write!(
                f,
                " --icmp-type {icmp_type} --icmp-code {code} --icmp-id {id}"
            ),
            TupleKind::Other => Ok(()),
        }
    }
}

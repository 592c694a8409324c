//! Tracked connections, as far as the simulator needs them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;
use uplinkd_model::{
    Family,
    connection::{Connection as Listed, Tuple, TupleKind},
};

/// Which way a connection began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the LAN, forwarded.
    Lan,
    /// From the router itself.
    Own,
    /// From outside, in by an uplink.
    Inbound,
}

/// Who talks with whom about what: what policies look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Talk {
    /// The family.
    pub family: Family,
    /// The host of the LAN, by number.
    pub client: u8,
    /// The host outside, by number.
    pub server: u8,
    /// The IP protocol.
    pub protocol: u8,
    /// The destination port.
    pub port: u16,
}

impl Talk {
    /// The address of the host of the LAN.
    pub fn client_address(&self) -> IpAddr {
        client(self.family, self.client)
    }

    /// The address of the host outside.
    pub fn server_address(&self) -> IpAddr {
        server(self.family, self.server)
    }
}

/// The address of a host of the LAN.
pub fn client(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 168, 77, number).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, number.into()).into(),
    }
}

/// The IPv6 network of these hosts, which is nobody's prefix.
pub fn client_network() -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0), 64)
}

/// The address of a host outside that nobody probes.
pub fn server(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, number).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x5e5, 0, 0, 0, 0, number.into()).into(),
    }
}

/// A tracked connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Counts up from 1.
    pub id: u32,
    /// The line that it began on.
    pub line: usize,
    /// That line's interface.
    pub device: String,
    /// The address that the router itself talks from, where it does.
    pub own_address: IpAddr,
    /// Its connection mark.
    pub mark: u32,
    /// Which way it began.
    pub direction: Direction,
    /// The code of the outlet that a policy led it to; 0: the default group.
    pub outlet: u16,
    /// Who talks with whom.
    pub talk: Talk,
    /// Its packets leave by another uplink than its address belongs to: it stalls until it is
    /// released, or its uplink is back.
    pub astray: bool,
}

impl Connection {
    /// The packet that began it.
    pub fn original(&self) -> Tuple {
        let (talk, port) = (
            self.talk,
            10_000 + u16::try_from(self.id % 50_000).unwrap_or(0),
        );
        let (source, destination) = match self.direction {
            Direction::Lan => (talk.client_address(), talk.server_address()),
            Direction::Own => (self.own_address, talk.server_address()),
            Direction::Inbound => (talk.server_address(), self.own_address),
        };
        Tuple {
            source,
            destination,
            protocol: talk.protocol,
            kind: TupleKind::Ports {
                source: port,
                destination: talk.port,
            },
        }
    }

    /// As a listing shows it.
    pub fn listed(&self) -> Listed {
        let original = self.original();
        let reply = Tuple {
            source: original.destination,
            destination: self.own_address,
            ..original
        };
        Listed {
            original,
            reply,
            mark: self.mark,
        }
    }
}

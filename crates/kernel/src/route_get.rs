//! Which way the kernel would send a packet (`ip route get`).

use std::net::IpAddr;

use nix::libc;
use uplinkd_model::{Family, TableId};

use crate::{
    Kernel,
    decode::{self, ip},
    encode::octets,
    netlink::{KernelError, Message, find, u32_at},
    wire::{fixed, link as ifla, message, route as rt},
};

/// Asks IPv4 for the table that really decided. IPv6 always says it and refuses the flag.
const FLAG_LOOKUP_TABLE: u32 = 0x1000;

/// A packet, as far as routing looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteQuery {
    /// Its source; none where the kernel chooses.
    pub source: Option<IpAddr>,
    /// Its destination.
    pub destination: IpAddr,
    /// Its protocol: 1 for ICMP, 6 for TCP, 17 for UDP. Ports need one.
    pub protocol: Option<u8>,
    /// Its source port.
    pub source_port: Option<u16>,
    /// Its destination port.
    pub dest_port: Option<u16>,
    /// The interface that it came in by; none for the router's own.
    pub iif: Option<String>,
    /// Its mark.
    pub mark: u32,
    /// The user whose socket sends it.
    pub uid: Option<u32>,
}

impl RouteQuery {
    /// A packet of the router's own to a destination.
    pub fn to(destination: IpAddr) -> Self {
        Self {
            source: None,
            destination,
            protocol: None,
            source_port: None,
            dest_port: None,
            iif: None,
            mark: 0,
            uid: None,
        }
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// It is sent.
    Unicast,
    /// It is the router's own.
    Local,
    /// Refused with an ICMP message. IPv4 says so by an error instead of an answer.
    Unreachable,
    /// Dropped.
    Blackhole,
    /// Refused by policy.
    Prohibit,
    /// Something else, by the kernel's number (`RTN_…`).
    Other(u8),
}

/// Which way a packet would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteAnswer {
    /// The interface that it would leave by.
    pub ifindex: u32,
    /// That interface's name.
    pub device: String,
    /// The gateway; none on a direct way.
    pub gateway: Option<IpAddr>,
    /// The table that decided.
    pub table: TableId,
    /// The source address that the kernel would choose.
    pub source: Option<IpAddr>,
    /// What becomes of the packet.
    pub kind: RouteKind,
}

impl Kernel {
    /// Asks the kernel which way a packet would go.
    ///
    /// # Errors
    /// `ENETUNREACH` or `EHOSTUNREACH` where there is no way, `ENODEV` for an unknown interface.
    pub fn route_get(&mut self, query: RouteQuery) -> Result<RouteAnswer, KernelError> {
        let iif = match &query.iif {
            Some(name) => Some(self.link_index(name)?),
            None => None,
        };
        let reply = self.route.ask(question(&query, iif))?;
        let malformed = || KernelError::from_errno(libc::EBADMSG);
        let outline = decode::route_outline(&reply.body).ok_or_else(malformed)?;
        let attributes = reply.body.get(fixed::ROUTE..).ok_or_else(malformed)?;
        let ifindex = find(attributes, rt::OIF).and_then(|v| u32_at(v, 0));
        let ifindex = ifindex.ok_or_else(malformed)?;
        Ok(RouteAnswer {
            ifindex,
            device: self.link_name(ifindex)?,
            gateway: decode::gateway(attributes),
            table: outline.table,
            source: find(attributes, rt::SOURCE).and_then(ip),
            kind: kind(reply.body[7]),
        })
    }

    fn link_index(&mut self, name: &str) -> Result<u32, KernelError> {
        let message = Message::new(message::GET_LINK, 0, &[0; fixed::LINK]).str(ifla::NAME, name);
        let reply = self.route.ask(message)?;
        u32_at(&reply.body, 4).ok_or_else(|| KernelError::from_errno(libc::EBADMSG))
    }

    fn link_name(&mut self, index: u32) -> Result<String, KernelError> {
        let mut header = [0; fixed::LINK];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        let reply = self
            .route
            .ask(Message::new(message::GET_LINK, 0, &header))?;
        let link = decode::link(&reply.body);
        let link = link.ok_or_else(|| KernelError::from_errno(libc::EBADMSG))?;
        Ok(link.device.name)
    }
}

fn question(query: &RouteQuery, iif: Option<u32>) -> Message {
    let family = Family::of(query.destination);
    let (length, flags) = match family {
        Family::V4 => (32, FLAG_LOOKUP_TABLE),
        Family::V6 => (128, 0),
    };
    let source_length = if query.source.is_some() { length } else { 0 };
    let mut header = vec![family.number(), length, source_length, 0, 0, 0, 0, 0];
    header.extend_from_slice(&flags.to_ne_bytes());
    let mut message = Message::new(message::GET_ROUTE, 0, &header)
        .attr(rt::DESTINATION, &octets(query.destination));
    if let Some(source) = query.source {
        message = message.attr(rt::SOURCE_PREFIX, &octets(source));
    }
    if let Some(protocol) = query.protocol {
        message = message.u8(rt::IP_PROTO, protocol);
    }
    let ports = [
        (rt::SOURCE_PORT, query.source_port),
        (rt::DESTINATION_PORT, query.dest_port),
    ];
    for (attribute, port) in ports {
        if let Some(port) = port {
            message = message.attr(attribute, &port.to_be_bytes());
        }
    }
    if let Some(index) = iif {
        message = message.u32(rt::IIF, index);
    }
    if query.mark != 0 {
        message = message.u32(rt::MARK, query.mark);
    }
    match query.uid {
        Some(uid) => message.u32(rt::UID, uid),
        None => message,
    }
}

fn kind(number: u8) -> RouteKind {
    match number {
        rt::UNICAST => RouteKind::Unicast,
        rt::LOCAL => RouteKind::Local,
        rt::UNREACHABLE => RouteKind::Unreachable,
        rt::BLACKHOLE => RouteKind::Blackhole,
        rt::PROHIBIT => RouteKind::Prohibit,
        other => RouteKind::Other(other),
    }
}

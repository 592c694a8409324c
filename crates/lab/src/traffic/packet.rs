//! Single first packets of connections, of any protocol, and what became of them.
//!
//! Nobody has to answer: a [`Witness`](super::Witness) in the internet tells over which line a
//! packet came, and the socket tells when it was refused on the way.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::Result;
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use super::{connections::next_port, guise::Guise, wire};
use crate::{addresses::Isp, netns::Netns};

/// Protocol numbers that need more than a body.
const ICMP: u8 = 1;
const DCCP: u8 = 33;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

/// A packet that begins a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where to.
    pub to: IpAddr,
    /// From which address; `None` leaves it to the kernel.
    pub from: Option<IpAddr>,
    /// What it is.
    pub kind: PacketKind,
    /// As whom it is sent.
    pub guise: Guise,
}

/// What a packet is. A source port of zero is replaced by one that nobody has used for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// A datagram.
    Udp {
        /// From this port.
        source_port: u16,
        /// To this port.
        port: u16,
    },
    /// The first packet of a handshake.
    Tcp {
        /// From this port.
        source_port: u16,
        /// To this port.
        port: u16,
    },
    /// An ICMP or ICMPv6 echo request.
    Echo,
    /// An ICMP or ICMPv6 message of this type. Connection tracking knows few beside the echo.
    Icmp(u8),
    /// A packet of any other protocol, by number. The ports are sent where that protocol has some.
    Other {
        /// The protocol.
        protocol: u8,
        /// From this port.
        source_port: u16,
        /// To this port.
        port: u16,
    },
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It came to the internet over this provider's line, from this source.
    Over(Isp, IpAddr),
    /// It was refused, here or on the way, with this error number.
    Refused(i32),
    /// Nobody ever saw it again.
    Vanished,
}

impl Fate {
    /// The provider whose line carried it.
    pub fn isp(self) -> Option<Isp> {
        match self {
            Self::Over(isp, _) => Some(isp),
            Self::Refused(_) | Self::Vanished => None,
        }
    }
}

/// By what a packet is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// A number in its body.
    Number(u64),
    /// A handshake has no body: its destination and both ports.
    Handshake {
        /// Where to.
        to: SocketAddr,
        /// From which port.
        source_port: u16,
    },
}

/// A packet on its way.
#[derive(Debug)]
pub struct Sent {
    pub(super) sign: Sign,
    pub(super) socket: Option<Socket>,
    pub(super) error: Option<i32>,
}

impl Packet {
    /// A packet with nothing chosen but what it is.
    pub fn new(to: IpAddr, kind: PacketKind) -> Self {
        Self {
            to,
            from: None,
            kind,
            guise: Guise::default(),
        }
    }

    /// A datagram to a port.
    pub fn udp(to: IpAddr, port: u16) -> Self {
        let source_port = 0;
        Self::new(to, PacketKind::Udp { source_port, port })
    }

    /// The first packet of a handshake with a port.
    pub fn tcp(to: IpAddr, port: u16) -> Self {
        let source_port = 0;
        Self::new(to, PacketKind::Tcp { source_port, port })
    }

    /// From an address.
    #[must_use]
    pub fn from(mut self, address: IpAddr) -> Self {
        self.from = Some(address);
        self
    }

    /// From a port, where its protocol has some.
    #[must_use]
    pub fn from_port(mut self, number: u16) -> Self {
        match &mut self.kind {
            PacketKind::Udp { source_port, .. }
            | PacketKind::Tcp { source_port, .. }
            | PacketKind::Other { source_port, .. } => *source_port = number,
            PacketKind::Echo | PacketKind::Icmp(_) => {}
        }
        self
    }

    /// As somebody.
    #[must_use]
    pub fn guise(mut self, guise: Guise) -> Self {
        self.guise = guise;
        self
    }

    fn send_here(self, number: u64) -> Sent {
        let mut sent = Sent {
            sign: Sign::Number(number),
            socket: None,
            error: None,
        };
        if let Err(e) = self.try_send(number, &mut sent) {
            sent.error = Some(e.raw_os_error().unwrap_or(libc::EIO));
        }
        sent
    }

    fn try_send(self, number: u64, sent: &mut Sent) -> io::Result<()> {
        let (kind, protocol, source_port, port) = self.socket_kind();
        let domain = Domain::for_address(SocketAddr::new(self.to, 0));
        let socket = self.guise.socket(domain, kind, protocol)?;
        socket.set_nonblocking(true)?;
        let any = match self.to {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let is_tcp = matches!(self.kind, PacketKind::Tcp { .. });
        // A chosen port may be that of another packet which is not yet forgotten.
        socket.set_reuse_address(true)?;
        if is_tcp {
            socket.set_linger(Some(std::time::Duration::ZERO))?;
        }
        socket.bind(&SocketAddr::new(self.from.unwrap_or(any), source_port).into())?;
        let to = SocketAddr::new(self.to, port);
        let connected = socket.connect(&to.into());
        if is_tcp {
            sent.sign = Sign::Handshake { to, source_port };
            sent.socket = Some(socket);
            return match connected {
                Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
                other => other,
            };
        }
        connected?;
        let own = socket.local_addr()?.as_socket().map_or(any, |a| a.ip());
        let body = self.body(number, own);
        let result = socket.send(&body).map(|_| ());
        sent.socket = Some(socket);
        result
    }

    /// The kind of socket and its protocol, and the ports to bind and connect it to.
    fn socket_kind(self) -> (Type, Option<Protocol>, u16, u16) {
        let own = |port: u16| if port == 0 { next_port() } else { port };
        let icmp = match self.to {
            IpAddr::V4(_) => Protocol::ICMPV4,
            IpAddr::V6(_) => Protocol::ICMPV6,
        };
        match self.kind {
            PacketKind::Udp { source_port, port } => (Type::DGRAM, None, own(source_port), port),
            PacketKind::Tcp { source_port, port } => (Type::STREAM, None, own(source_port), port),
            PacketKind::Echo => (Type::DGRAM, Some(icmp), 0, 0),
            PacketKind::Icmp(_) => (Type::RAW, Some(icmp), 0, 0),
            PacketKind::Other { protocol, .. } => {
                (Type::RAW, Some(Protocol::from(i32::from(protocol))), 0, 0)
            }
        }
    }

    fn body(self, number: u64, own: IpAddr) -> Vec<u8> {
        let question = wire::question(number);
        match (self.kind, self.to) {
            (PacketKind::Udp { .. } | PacketKind::Tcp { .. }, _) => question.to_vec(),
            (PacketKind::Echo, IpAddr::V4(_)) => icmp(8, &question),
            (PacketKind::Echo, IpAddr::V6(_)) => icmp(128, &question),
            (PacketKind::Icmp(kind), IpAddr::V4(_)) => icmp(kind, &question),
            // The kernel writes the checksum of these itself, since it needs the addresses.
            (PacketKind::Icmp(kind), IpAddr::V6(_)) => icmp(kind, &question),
            (
                PacketKind::Other {
                    protocol,
                    source_port,
                    port,
                },
                _,
            ) => {
                let source_port = if source_port == 0 {
                    next_port()
                } else {
                    source_port
                };
                let mut ports = source_port.to_be_bytes().to_vec();
                ports.extend_from_slice(&port.to_be_bytes());
                match protocol {
                    SCTP => sctp_init(&ports, &question),
                    UDP_LITE => udp_lite(&ports, &question, own, self.to),
                    ICMP | ICMPV6 => icmp(8, &question),
                    DCCP => [ports, vec![0; 12], question.to_vec()].concat(),
                    // Nobody looks into these but at the first bits, which name versions.
                    _ => [vec![0; 16], question.to_vec()].concat(),
                }
            }
        }
    }
}

/// Sends packets one after the other from a namespace.
///
/// # Errors
/// When the namespace could not be entered; what a packet meets is told by its fate.
pub fn send_all(netns: &Netns, packets: &[Packet]) -> Result<Vec<Sent>> {
    static NUMBER: AtomicU64 = AtomicU64::new(1 << 40);
    super::connections::allow_many_files();
    netns.run(|| {
        let send = |p: &Packet| p.send_here(NUMBER.fetch_add(1, Ordering::Relaxed));
        Ok(packets.iter().map(send).collect())
    })
}

/// Type, code 0, checksum, identifier, sequence number 1, and a body.
fn icmp(kind: u8, body: &[u8]) -> Vec<u8> {
    let id = next_port().to_be_bytes();
    let mut message = vec![kind, 0, 0, 0, id[0], id[1], 0, 1];
    message.extend_from_slice(body);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The beginning of an association (RFC 9260): header and INIT chunk, the body as a parameter that
/// nobody knows.
fn sctp_init(ports: &[u8], body: &[u8]) -> Vec<u8> {
    let mut message = [ports, &[0; 8]].concat();
    let chunk_length = u16::try_from(20 + 4 + body.len()).unwrap_or(0);
    message.extend_from_slice(&[1, 0]);
    message.extend_from_slice(&chunk_length.to_be_bytes());
    message.extend_from_slice(&[0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let parameter_length = u16::try_from(4 + body.len()).unwrap_or(0);
    message.extend_from_slice(&[0xc0, 0x77]);
    message.extend_from_slice(&parameter_length.to_be_bytes());
    message.extend_from_slice(body);
    let sum = crc32c(&message);
    message[8..12].copy_from_slice(&sum.to_le_bytes());
    message
}

/// A datagram that is covered by its checksum as a whole (RFC 3828).
fn udp_lite(ports: &[u8], body: &[u8], from: IpAddr, to: IpAddr) -> Vec<u8> {
    let mut message = [ports, &[0; 4], body].concat();
    let length = u32::try_from(message.len()).unwrap_or(0);
    let mut whole = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(a) => whole.extend_from_slice(&a.octets()),
            IpAddr::V6(a) => whole.extend_from_slice(&a.octets()),
        }
    }
    whole.extend_from_slice(&length.to_be_bytes());
    whole.extend_from_slice(&[0, 0, 0, UDP_LITE]);
    whole.extend_from_slice(&message);
    let sum = checksum(&whole);
    message[6..8].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Folded, so it fits.
    !u16::try_from(sum).unwrap_or(0)
}

/// The checksum of SCTP (Castagnoli's polynomial, reflected).
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standards() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        // RFC 1071, section 3, with the complement taken.
        assert_eq!(checksum(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }
}

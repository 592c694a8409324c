//! Devices whose far ends are the test itself, byte by byte.

use std::{
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    os::fd::AsRawFd,
    thread,
    time::Duration,
};

use crate::sh;

/// What a [`Virtual`] device carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// IP packets as they are.
    Ip,
    /// With an Ethernet header before them.
    Ethernet,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    None,
    Vlan,
}

/// A device whose far end is this test, byte by byte.
pub(crate) struct Virtual {
    wire: File,
    kind: Kind,
}

impl Virtual {
    pub(crate) fn new(name: &str, kind: Kind) -> Self {
        let mode = match kind {
            Kind::Ip => "tun",
            Kind::Ethernet => "tap",
        };
        let wire = File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .unwrap();
        let mut request = [0_u8; 40];
        request[..name.len()].copy_from_slice(name.as_bytes());
        // IFF_TUN or IFF_TAP, and IFF_NO_PI: nothing before the packet.
        let flags: u16 = 0x1000 | if kind == Kind::Ip { 1 } else { 2 };
        request[16..18].copy_from_slice(&flags.to_ne_bytes());
        const TUNSETIFF: nix::libc::c_ulong = 0x4004_54ca;
        #[expect(unsafe_code, reason = "no safe wrapper of this call is at hand")]
        // SAFETY: the descriptor is open, and the kernel reads and writes 40 bytes (`struct ifreq`).
        let done = unsafe { nix::libc::ioctl(wire.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
        assert_eq!(
            done,
            0,
            "a {mode} device: {}",
            std::io::Error::last_os_error()
        );
        sh(&format!("ip addr add 10.12.0.1/24 dev {name}"));
        sh(&format!("ip link set {name} up"));
        if kind == Kind::Ethernet {
            sh(&format!(
                "ip neigh replace 10.12.0.2 dev {name} lladdr 02:00:00:00:00:02 nud permanent"
            ));
        }
        Self { wire, kind }
    }

    /// Somebody calls a host over there; the SYN that arrives, from its IP header on.
    pub(crate) fn call(&mut self) -> Vec<u8> {
        thread::spawn(|| {
            let to = "10.12.0.2:7000".parse().unwrap();
            let _ = TcpStream::connect_timeout(&to, Duration::from_millis(500));
        });
        let header = self.header();
        loop {
            let mut packet = vec![0; 2000];
            let length = self.wire.read(&mut packet).unwrap();
            let packet = packet[header..length].to_vec();
            // IPv4, TCP.
            if packet[0] == 0x45 && packet[9] == 6 {
                return packet;
            }
        }
    }

    /// Acknowledges a SYN. Nobody here looks at checksums but the kernel, which comes later.
    pub(crate) fn answer(&mut self, syn: &[u8], tag: Tag) {
        let mut answer = syn.to_vec();
        answer[12..16].copy_from_slice(&syn[16..20]);
        answer[16..20].copy_from_slice(&syn[12..16]);
        answer[20..22].copy_from_slice(&syn[22..24]);
        answer[22..24].copy_from_slice(&syn[20..22]);
        let seq = u32::from_be_bytes(syn[24..28].try_into().unwrap());
        answer[28..32].copy_from_slice(&seq.wrapping_add(1).to_be_bytes());
        answer[33] = 0x12;
        let mut frame = Vec::new();
        if self.kind == Kind::Ethernet {
            frame.extend([0xff; 6]);
            frame.extend([2, 0, 0, 0, 0, 2]);
            if tag == Tag::Vlan {
                frame.extend([0x81, 0x00, 0x00, 0x07]);
            }
            frame.extend([0x08, 0x00]);
        }
        frame.extend(answer);
        self.wire.write_all(&frame).unwrap();
    }

    fn header(&self) -> usize {
        match self.kind {
            Kind::Ip => 0,
            Kind::Ethernet => 14,
        }
    }
}

pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

/// A TCP segment of the one connection of [`Forwarded`].
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) length: usize,
    pub(crate) stamps: Option<(u32, u32)>,
}

impl Default for Segment {
    fn default() -> Self {
        Self {
            seq: 0,
            ack: 0,
            flags: ACK,
            length: 0,
            stamps: None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Out,
    In,
}

/// A router between two devices whose far ends are this test.
pub(crate) struct Forwarded {
    lan: Virtual,
    wan: Virtual,
}

impl Forwarded {
    pub(crate) fn new() -> Self {
        let lan = Virtual::new("lan0", Kind::Ip);
        let wan = Virtual::new("wan0", Kind::Ip);
        sh("ip addr flush dev lan0");
        sh("ip addr add 10.13.0.1/24 dev lan0");
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        Self { lan, wan }
    }

    /// Puts a segment in on one side, and waits until it has come out at the other one.
    pub(crate) fn send(&mut self, way: Way, segment: &Segment) {
        let (lan, wan) = (([10, 13, 0, 9], 4000_u16), ([10, 12, 0, 9], 80_u16));
        let (from, to) = if way == Way::Out {
            (lan, wan)
        } else {
            (wan, lan)
        };
        let (into, out_of) = match way {
            Way::Out => (&mut self.lan, &mut self.wan),
            Way::In => (&mut self.wan, &mut self.lan),
        };
        let options = if segment.stamps.is_some() { 12 } else { 0 };
        let total = u16::try_from(40 + options + segment.length).unwrap();
        let mut packet = vec![0x45, 0];
        packet.extend(total.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        packet.extend(from.0);
        packet.extend(to.0);
        let sum: u32 = packet
            .chunks(2)
            .map(|c| u32::from(c[0]) << 8 | u32::from(c[1]))
            .sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(from.1.to_be_bytes());
        packet.extend(to.1.to_be_bytes());
        packet.extend(segment.seq.to_be_bytes());
        packet.extend(segment.ack.to_be_bytes());
        packet.extend([
            (((20 + options) / 4) << 4) as u8,
            segment.flags,
            0xff,
            0xff,
            0,
            0,
            0,
            0,
        ]);
        if let Some((own, echoed)) = segment.stamps {
            packet.extend([1, 1, 8, 10]);
            packet.extend(own.to_be_bytes());
            packet.extend(echoed.to_be_bytes());
        }
        packet.resize(total.into(), 0);
        into.wire.write_all(&packet).unwrap();
        loop {
            let mut out = [0; 2000];
            let length = out_of.wire.read(&mut out).unwrap();
            // All but the time to live and its checksum is as it was.
            if out[12..length] == packet[12..] {
                return;
            }
        }
    }
}

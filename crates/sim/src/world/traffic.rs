//! Connections: where they go and whether they stay there.

use std::{net::IpAddr, time::Duration};

use super::{Happening, World};
use crate::{
    kernel::{Connection, Direction, Packet, Way},
    scenario::LAN,
};

/// Connections at one time; older ones end when more begin.
const CONNECTIONS_MAX: usize = 20;
/// A host of the LAN.
pub(super) const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 77, 20));
/// A host that nobody probes.
pub(super) const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 80));

impl World {
    /// Begins a connection, where our nft table is there to mark it.
    pub(super) fn connect(&mut self) {
        let wait = Duration::from_millis(self.luck.u64(20..600));
        self.note_in(wait, Happening::Connect);
        if self.kernel.nft().is_none() || !self.said.has_settled {
            return;
        }
        let direction = match self.luck.u8(0..4) {
            0 => Direction::Inbound,
            1 => Direction::Own,
            _ => Direction::Lan,
        };
        let uplink = if direction == Direction::Inbound {
            let uplink = self.luck.usize(0..self.net.lines.len());
            self.net.is_perfect(&self.kernel, uplink).then_some(uplink)
        } else {
            self.draw_exit(direction)
        };
        let Some(uplink) = uplink else {
            return;
        };
        let device = self.net.lines[uplink].interface.clone();
        let Some(marks) = self
            .kernel
            .nft()
            .and_then(|t| t.uplinks.iter().find(|u| u.interface == device))
        else {
            return;
        };
        let mark = if direction == Direction::Inbound {
            marks.mark_in.value
        } else {
            marks.mark_out.value
        };
        let id = u32::try_from(self.report.connections + 1).unwrap_or(u32::MAX);
        let connection = Connection {
            id,
            uplink,
            device,
            mark,
            direction,
            astray: false,
        };
        if !self.stays(&connection) {
            // Nobody answers it, so it never comes about.
            return;
        }
        self.report.connections += 1;
        let connections = &mut self.kernel.connections;
        if connections.len() >= CONNECTIONS_MAX {
            // One that stalls does not end by itself: it waits to be released.
            let from = self.luck.usize(0..CONNECTIONS_MAX);
            let mut candidates = (from..CONNECTIONS_MAX).chain(0..from);
            let ends = candidates.find(|n| !connections[*n].astray).unwrap_or(from);
            connections.remove(ends);
        }
        connections.push(connection);
        self.say(|| format!("connection {id} ({direction:?}) begins on uplink {uplink}"));
    }

    fn draw_exit(&mut self, direction: Direction) -> Option<usize> {
        let packet = new_packet(direction);
        let ways = self.kernel.lookup(&packet)?.ways;
        let total: u32 = ways.iter().map(|w| u32::from(w.weight)).sum();
        let mut at = self.luck.u32(0..total.max(1));
        let way = ways.iter().find(|w| {
            let here = at < u32::from(w.weight);
            at = at.saturating_sub(u32::from(w.weight));
            here
        })?;
        self.uplink_of(way)
    }

    /// The uplink that a way leads out by.
    pub(super) fn uplink_of(&self, way: &Way) -> Option<usize> {
        let name = self.kernel.name_of(way.ifindex)?;
        self.net.lines.iter().position(|l| l.interface == name)
    }

    /// Whether the packets of a connection still leave by its uplink.
    pub(super) fn stays(&self, connection: &Connection) -> bool {
        let is_own = connection.direction == Direction::Own;
        let packet = Packet {
            iif: if is_own { "lo" } else { LAN },
            oif: None,
            from: Some(if is_own {
                self.net.lines[connection.uplink].address.addr()
            } else {
                CLIENT
            }),
            to: SERVER,
            mark: connection.mark,
        };
        let Some(answer) = self.kernel.lookup(&packet) else {
            return false;
        };
        let [way] = answer.ways.as_slice() else {
            return false;
        };
        self.uplink_of(way) == Some(connection.uplink)
    }
}

/// The first packet of a new connection.
pub(super) fn new_packet(direction: Direction) -> Packet<'static> {
    Packet {
        iif: if direction == Direction::Own {
            "lo"
        } else {
            LAN
        },
        oif: None,
        from: (direction != Direction::Own).then_some(CLIENT),
        to: SERVER,
        mark: 0,
    }
}

//! Connections: where they go and whether they stay there.

use std::time::Duration;

use uplinkd_model::Family;
use uplinkd_policy::{Answer, Flow, Origin, evaluate, naive};

use super::{Happening, World};
use crate::{
    kernel::{Connection, Direction, Fate, Packet, Talk, Way, client, server},
    reference::LayoutKind,
    scenario::{FAMILIES, LAN, talk},
};

/// Connections at one time; older ones end when more begin.
const CONNECTIONS_MAX: usize = 20;

impl World {
    /// Begins a connection, where our nft table is there to mark it.
    pub(super) fn connect(&mut self) -> Result<(), String> {
        let wait = Duration::from_millis(self.luck.u64(20..600));
        self.note_in(wait, Happening::Connect);
        if self.kernel.nft().is_none() || !self.said.has_settled {
            return Ok(());
        }
        let direction = match self.luck.u8(0..5) {
            0 => Direction::Inbound,
            1 => Direction::Own,
            _ => Direction::Lan,
        };
        let family = FAMILIES[self.luck.usize(0..2)];
        let talk = talk(&mut self.luck, family);
        let begun = if direction == Direction::Inbound {
            let line = self.luck.usize(0..self.net.lines.len());
            self.net.is_perfect(&self.kernel, line).then_some((line, 0))
        } else {
            self.begin(talk, direction)?
        };
        let Some((line, outlet)) = begun else {
            return Ok(());
        };
        self.track(line, outlet, direction, talk);
        Ok(())
    }

    /// Classifies the first packet as our nft table does, and finds its way. Gives the line that it
    /// leaves by and the outlet that it was led to.
    fn begin(&mut self, talk: Talk, direction: Direction) -> Result<Option<(usize, u16)>, String> {
        let Some(table) = self.kernel.nft() else {
            return Ok(None);
        };
        let is_ours = direction == Direction::Own || table.lan.is_empty() || table.lan[0] == LAN;
        let flow = flow(talk, direction);
        let outlet = led_to(&evaluate(&table.classifier, &flow)).filter(|_| is_ours);
        let outlet = outlet.unwrap_or(0);
        let config = &self.scenario.config;
        let wanted = led_to(&naive(
            &config.policies,
            &config.outlets,
            &flow,
            self.minute,
        ));
        let is_sure = self.daemon.is_some() && self.said.settled;
        if is_sure && self.now() >= self.watch.shielded_until && wanted != Some(outlet) {
            return Err(format!(
                "{talk:?} ({direction:?}) is led to outlet {outlet} instead of {wanted:?}"
            ));
        }
        let reserve = &self.scenario.config.reserve;
        let who = kept_by(talk, direction);
        let choice = self.kernel.sticky.choice(outlet, talk.family, who);
        let hint = choice.and_then(|slot| table.uplinks.iter().find(|u| u.slot == slot));
        let mark = reserve.mark_outlet(outlet).value | hint.map_or(0, |u| u.mark);
        let fate = self.kernel.fate(&new_packet(direction, talk.family, mark));
        let ways = match fate {
            Fate::By(answer) => answer.ways,
            Fate::Refused => {
                self.report.refused += 1;
                return Ok(None);
            }
            Fate::Nowhere => return Ok(None),
        };
        let Some(line) = self.draw_way(&ways, talk.family) else {
            return Ok(None);
        };
        self.judge_leak(outlet, talk.family, &[line], "a new connection")?;
        // What is left to `main` is left to `main`.
        let layouts = self.layouts.iter().chain(&self.earlier);
        let mut own = layouts.filter(|l| l.v4.code == outlet);
        let is_ours = own.all(|l| l.v4.kind != LayoutKind::Main);
        // A default group that has nobody else keeps those that are drained, as its last resort.
        let leads_by_tier = self.layouts.iter().position(|l| l.v4.code == outlet);
        let leads_by_tier = leads_by_tier.and_then(|index| self.said.tier(index, talk.family));
        // Nor has the daemon heard yet of a link that has just gone.
        let mut serving = (0..self.net.lines.len()).filter(|l| self.said.takes_new(*l));
        let is_heard = serving.all(|l| self.net.has_link(&self.kernel, l));
        let is_sure = is_sure && is_heard && leads_by_tier.is_some();
        let is_calm = is_sure && self.now() >= self.watch.shielded_until;
        if is_calm && is_ours && self.said.idle[line] {
            return Err(format!(
                "a new connection of outlet {outlet} ({}) leaves by line {line}, which is drained",
                talk.family
            ));
        }
        let slot = self.scenario.uplinks[self.net.lines[line].uplink].slot;
        let table = self.kernel.nft();
        let mut outlets = table.iter().flat_map(|t| &t.outlets);
        if outlets.any(|o| o.code == outlet && o.members.contains(&slot.0)) {
            self.kernel.sticky.note(outlet, slot.0, talk.family, who);
        }
        Ok(Some((line, outlet)))
    }

    fn track(&mut self, line: usize, outlet: u16, direction: Direction, talk: Talk) {
        let device = self.net.lines[line].interface.clone();
        let Some(uplink) = self
            .kernel
            .nft()
            .and_then(|t| t.uplinks.iter().find(|u| u.interface == device))
        else {
            return;
        };
        let reserve = &self.scenario.config.reserve;
        let talk = Talk {
            family: self.net.lines[line].family,
            ..talk
        };
        let mark = match direction {
            Direction::Inbound => uplink.mark | reserve.marks().inbound,
            Direction::Lan | Direction::Own => uplink.mark | reserve.mark_outlet(outlet).value,
        };
        let id = u32::try_from(self.report.connections + 1).unwrap_or(u32::MAX);
        let connection = Connection {
            id,
            line,
            device,
            own_address: self.net.lines[line].address.addr(),
            mark,
            direction,
            outlet,
            talk,
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
        self.say(|| {
            format!("connection {id} ({direction:?}, outlet {outlet}) begins on line {line}")
        });
    }

    fn draw_way(&mut self, ways: &[Way], family: Family) -> Option<usize> {
        let total: u32 = ways.iter().map(|w| u32::from(w.weight)).sum();
        let mut at = self.luck.u32(0..total.max(1));
        let way = ways.iter().find(|w| {
            let here = at < u32::from(w.weight);
            at = at.saturating_sub(u32::from(w.weight));
            here
        })?;
        self.line_by(way, family)
    }

    /// The line that a way leads out by.
    pub(super) fn line_by(&self, way: &Way, family: Family) -> Option<usize> {
        self.net.line_on(self.kernel.name_of(way.ifindex)?, family)
    }

    /// What becomes of a later packet of a connection.
    pub(super) fn fate_of(&self, connection: &Connection) -> Fate {
        let (is_own, talk) = (connection.direction == Direction::Own, connection.talk);
        self.kernel.fate(&Packet {
            iif: if is_own { "lo" } else { LAN },
            oif: None,
            from: Some(if is_own {
                connection.own_address
            } else {
                talk.client_address()
            }),
            to: talk.server_address(),
            mark: connection.mark,
        })
    }

    /// Whether the packets of a connection still leave by its uplink.
    pub(super) fn stays(&self, connection: &Connection) -> bool {
        self.stays_with(connection, &self.fate_of(connection))
    }

    /// The same, where their fate is known.
    pub(super) fn stays_with(&self, connection: &Connection, fate: &Fate) -> bool {
        let Fate::By(answer) = fate else {
            return false;
        };
        let [way] = answer.ways.as_slice() else {
            return false;
        };
        self.line_by(way, connection.talk.family) == Some(connection.line)
    }
}

/// The first packet of a new connection.
pub(super) fn new_packet(direction: Direction, family: Family, mark: u32) -> Packet<'static> {
    Packet {
        iif: if direction == Direction::Own {
            "lo"
        } else {
            LAN
        },
        oif: None,
        from: (direction != Direction::Own).then(|| client(family, 20)),
        to: server(family, 80),
        mark,
    }
}

/// By what a sticky outlet remembers who talks: the host of the LAN, or the router itself.
fn kept_by(talk: Talk, direction: Direction) -> u8 {
    match direction {
        Direction::Lan => talk.client,
        Direction::Own | Direction::Inbound => 0,
    }
}

/// The first packet as policies see it.
pub(crate) fn flow(talk: Talk, direction: Direction) -> Flow {
    Flow {
        source: Some(match direction {
            Direction::Lan | Direction::Inbound => talk.client_address(),
            Direction::Own => client(talk.family, 1),
        }),
        destination: Some(talk.server_address()),
        protocol: Some(talk.protocol),
        source_port: Some(10_000),
        destination_port: Some(talk.port),
        icmp_type: None,
        origin: match direction {
            Direction::Lan | Direction::Inbound => Origin::Interface(LAN.to_owned()),
            Direction::Own => Origin::Own,
        },
        mac: None,
        dscp: Some(0),
        user: Some(0),
        group: Some(0),
        ..Flow::unknown(talk.family)
    }
}

/// The code of the outlet that an answer leads to; none where nobody knows.
pub(crate) fn led_to(answer: &Answer) -> Option<u16> {
    match answer {
        Answer::Policy { outlet, .. } => Some(*outlet),
        Answer::Default => Some(0),
        Answer::Depends { .. } => None,
    }
}

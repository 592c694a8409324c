//! The world beyond the router: for each line a gateway and what lies behind it. A line is one family
//! of one uplink.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use uplinkd_core::Probe;
use uplinkd_model::{Family, UplinkName};

use crate::kernel::{Kernel, Packet, Way};

/// What lies at the far end of one family of an uplink.
#[derive(Clone, Debug)]
pub struct Line {
    /// The uplink's index among all that the file ever has.
    pub uplink: usize,
    /// The uplink's name.
    pub name: UplinkName,
    /// The file has it now.
    pub routed: bool,
    /// The family.
    pub family: Family,
    /// The interface here.
    pub interface: String,
    /// The provider has this family at all.
    pub provided: bool,
    /// The address here that the provider hands out.
    pub address: IpNet,
    /// The gateway's address; none on a point-to-point line.
    pub gateway: Option<IpAddr>,
    /// The gateway answers and forwards.
    pub gateway_alive: bool,
    /// What lies behind it answers.
    pub upstream_alive: bool,
    /// Packets lost on the way, in percent.
    pub loss: u8,
}

/// Everything beyond.
#[derive(Clone, Debug, Default)]
pub struct Net {
    /// The lines: those of the first uplink first, IPv4 before IPv6, as in the daemon's own picture.
    pub lines: Vec<Line>,
    /// Hosts that answer nobody.
    pub dead_hosts: BTreeSet<IpAddr>,
}

impl Net {
    /// The line of an uplink and a family.
    pub fn line(&self, uplink: usize, family: Family) -> Option<usize> {
        let mut lines = self.lines.iter();
        lines.position(|l| l.uplink == uplink && l.family == family)
    }

    /// The line of an uplink that the file has, by name, and a family.
    pub fn line_named(&self, name: &UplinkName, family: Family) -> Option<usize> {
        let mut lines = self.lines.iter();
        lines.position(|l| l.routed && &l.name == name && l.family == family)
    }

    /// The line of an interface and a family.
    pub fn line_on(&self, interface: &str, family: Family) -> Option<usize> {
        let mut lines = self.lines.iter();
        lines.position(|l| l.interface == interface && l.family == family)
    }

    /// The indices of a family's lines.
    pub fn of(&self, family: Family) -> impl Iterator<Item = usize> + Clone + '_ {
        let lines = self.lines.iter().enumerate();
        lines
            .filter(move |(_, l)| l.family == family)
            .map(|(n, _)| n)
    }

    /// Whether an address would answer over a line, loss apart.
    pub fn would_answer(&self, line: usize, target: IpAddr) -> bool {
        let line = &self.lines[line];
        if line.gateway == Some(target) {
            return line.gateway_alive;
        }
        line.gateway_alive && line.upstream_alive && !self.dead_hosts.contains(&target)
    }

    /// Which line a way leads out by, if it leads to a gateway that is there.
    pub fn line_of(&self, kernel: &Kernel, way: &Way, target: IpAddr) -> Option<usize> {
        let name = kernel.name_of(way.ifindex)?;
        let index = self.line_on(name, Family::of(target))?;
        let line = &self.lines[index];
        let link = kernel.link(name)?;
        let is_neighbour = line.gateway == Some(target) && way.gateway.is_none();
        let right_gateway = way.gateway == line.gateway || is_neighbour;
        (link.carrier && link.admin_up && right_gateway && link.addresses.contains(&line.address))
            .then_some(index)
    }

    /// Whether a probe is answered: it must leave by its uplink through the fake tables, and arrive.
    pub fn answers(&self, kernel: &Kernel, probe: &Probe, luck: &mut fastrand::Rng) -> bool {
        let Some(target) = probe.echo() else {
            return false;
        };
        let packet = Packet {
            iif: "lo",
            oif: Some(&probe.device),
            from: None,
            to: target,
            mark: probe.mark,
        };
        let line = if is_link_local(target) {
            // The device is the scope: no table is asked.
            self.line_on(&probe.device, Family::V6)
                .filter(|n| self.lines[*n].gateway == Some(target))
                .filter(|n| self.has_link(kernel, *n))
        } else {
            let answer = kernel.lookup(&packet);
            let way = answer.as_ref().and_then(|a| a.ways.first());
            way.and_then(|w| self.line_of(kernel, w, target))
        };
        line.is_some_and(|line| {
            self.would_answer(line, target) && luck.u8(0..100) >= self.lines[line].loss
        })
    }

    /// Whether the interface of a line can carry something, going by the kernel.
    pub fn has_link(&self, kernel: &Kernel, line: usize) -> bool {
        let line = &self.lines[line];
        kernel
            .link(&line.interface)
            .is_some_and(|l| l.admin_up && l.carrier && l.addresses.contains(&line.address))
    }

    /// Whether the line itself is without fault, so that only routing could spoil it.
    pub fn is_perfect(&self, kernel: &Kernel, line: usize) -> bool {
        let family = self.lines[line].family;
        let hosts = |h: &IpAddr| Family::of(*h) != family;
        let (has_link, line) = (self.has_link(kernel, line), &self.lines[line]);
        has_link
            && line.gateway_alive
            && line.upstream_alive
            && line.loss == 0
            && self.dead_hosts.iter().all(hosts)
    }
}

/// Whether an address is good on one link only.
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

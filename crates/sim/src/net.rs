//! The world beyond the router: per uplink a gateway and what lies behind it.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use uplinkd_core::Probe;

use crate::kernel::{Kernel, Packet, Way};

/// What lies at the far end of one uplink.
#[derive(Clone, Debug)]
pub struct Line {
    /// The interface here.
    pub interface: String,
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
    /// The lines, in the order of the configuration's uplinks.
    pub lines: Vec<Line>,
    /// Hosts that answer nobody.
    pub dead_hosts: BTreeSet<IpAddr>,
}

impl Net {
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
        let index = self.lines.iter().position(|l| l.interface == name)?;
        let line = &self.lines[index];
        let link = kernel.link(name)?;
        let is_neighbour = line.gateway == Some(target) && way.gateway.is_none();
        let right_gateway = way.gateway == line.gateway || is_neighbour;
        (link.carrier && link.admin_up && right_gateway && link.addresses.contains(&line.address))
            .then_some(index)
    }

    /// Whether a probe is answered: it must leave by its uplink through the fake tables, and arrive.
    pub fn answers(&self, kernel: &Kernel, probe: &Probe, luck: &mut fastrand::Rng) -> bool {
        let packet = Packet {
            iif: "lo",
            oif: Some(&probe.device),
            from: None,
            to: probe.target,
            mark: probe.mark,
        };
        let Some(answer) = kernel.lookup(&packet) else {
            return false;
        };
        let Some(way) = answer.ways.first() else {
            return false;
        };
        let Some(line) = self.line_of(kernel, way, probe.target) else {
            return false;
        };
        self.would_answer(line, probe.target) && luck.u8(0..100) >= self.lines[line].loss
    }

    /// Whether the line itself is without fault, so that only routing could spoil it.
    pub fn is_perfect(&self, kernel: &Kernel, line: usize) -> bool {
        let line = &self.lines[line];
        let link = kernel.link(&line.interface);
        let link_fits =
            link.is_some_and(|l| l.carrier && l.admin_up && l.addresses.contains(&line.address));
        link_fits
            && line.gateway_alive
            && line.upstream_alive
            && line.loss == 0
            && self.dead_hosts.is_empty()
    }
}

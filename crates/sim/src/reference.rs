//! What must be true once everything has been quiet for long enough, worked out from the world
//! itself, without history and without a line of the core.

mod layout;
mod remains;

use std::net::IpAddr;

use uplinkd_model::{Family, Gateway, Health, Target, Uplink};

pub use layout::{Layout, LayoutKind, layouts};
pub use remains::leftovers;

use crate::{kernel::Kernel, net::Net};

/// What one line must have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its health.
    pub health: Health,
    /// Its link could carry traffic, whatever lies behind it.
    pub usable: bool,
    /// The interface has no address of the family, and nobody said that it should.
    pub may_be_absent: bool,
    /// One of its hosts answers nobody: whether the line counts as down may hang on what the daemon
    /// knows of other lines at the moment.
    pub has_dead_host: bool,
}

/// The lines' health: up where the link is usable and enough of the targets that decide would
/// answer, else down.
pub fn expected(uplinks: &[Uplink], kernel: &Kernel, net: &Net) -> Vec<Expected> {
    let all = 0..net.lines.len();
    all.map(|line| expected_of(line, uplinks, kernel, net))
        .collect()
}

fn expected_of(index: usize, uplinks: &[Uplink], kernel: &Kernel, net: &Net) -> Expected {
    let line = &net.lines[index];
    let link = kernel.link(&line.interface);
    let has_address = link.is_some_and(|l| l.addresses_of(line.family).next().is_some());
    let usable = has_address && link.is_some_and(|l| l.admin_up && l.carrier);
    let access = uplinks[line.uplink].access(line.family);
    let Some(access) = access.filter(|_| line.routed) else {
        return Expected {
            health: Health::Unknown,
            usable: false,
            may_be_absent: true,
            has_dead_host: false,
        };
    };
    let mut asked: Vec<_> = access
        .probe
        .targets
        .iter()
        .filter_map(|t| match t {
            Target::Icmp(address) => Some(*address),
            Target::Gateway | Target::Neighbour | Target::Service(_) => None,
        })
        .collect();
    if asked.is_empty() && access.probe.targets.contains(&Target::Gateway) {
        asked.extend(line.gateway);
    }
    let is_provided = link.is_some_and(|l| l.addresses.contains(&line.address));
    let gateway_fits = match access.gateway {
        Gateway::Auto => true,
        Gateway::Address(gateway) => line.gateway == Some(gateway),
    };
    let has_dead_host = asked.iter().any(|a| net.dead_hosts.contains(a));
    asked.retain(|a| !is_at_fault(*a, line.family, uplinks, kernel, net));
    let answers = asked
        .iter()
        .filter(|a| is_provided && gateway_fits && net.would_answer(index, **a))
        .count();
    let enough = asked.is_empty() || answers >= access.probe.quorum.min(asked.len());
    Expected {
        health: if usable && enough {
            Health::Up
        } else {
            Health::Down
        },
        usable,
        may_be_absent: !has_address && !access.expected,
        has_dead_host,
    }
}

/// Whether a host answers nobody while another one does: seen where at least two lines ask them, and one
/// of these works.
fn is_at_fault(
    host: IpAddr,
    family: Family,
    uplinks: &[Uplink],
    kernel: &Kernel,
    net: &Net,
) -> bool {
    let asks = |line: &usize| {
        let line = &net.lines[*line];
        let link = kernel.link(&line.interface);
        let usable = link
            .is_some_and(|l| l.admin_up && l.carrier && l.addresses_of(family).next().is_some());
        line.routed && usable && uplinks[line.uplink].access(family).is_some()
    };
    let lines: Vec<_> = net.of(family).filter(asks).collect();
    let targets = |line: &usize| {
        let access = uplinks[net.lines[*line].uplink].access(family);
        access.map_or(&[][..], |a| &a.probe.targets)
    };
    let another_answers = |line: &usize| {
        targets(line).iter().any(|target| match target {
            Target::Icmp(other) => *other != host && net.would_answer(*line, *other),
            Target::Gateway | Target::Neighbour | Target::Service(_) => false,
        })
    };
    net.dead_hosts.contains(&host)
        && lines.len() > 1
        && lines
            .iter()
            .any(|l| net.has_link(kernel, *l) && another_answers(l))
}

/// Whether these are the right lines of a family in service: all that are up; with none, some that
/// are usable.
///
/// # Errors
/// Says what is wrong.
pub fn judge_service(
    expected: &[Expected],
    serves: &[bool],
    last_resort: bool,
) -> Result<(), String> {
    let is_up = |e: &Expected| e.health == Health::Up;
    let pairs = || expected.iter().zip(serves.iter().copied());
    if expected.iter().any(is_up) {
        if last_resort || pairs().any(|(e, s)| is_up(e) != s) {
            return Err(format!("in service: {serves:?}, expected {expected:?}"));
        }
        return Ok(());
    }
    let none_usable = expected.iter().all(|e| !e.usable);
    let none_serves = serves.iter().all(|s| !s);
    if expected.iter().all(|e| e.may_be_absent) && none_serves {
        return Ok(());
    }
    if !last_resort || pairs().any(|(e, s)| s && !e.usable) || none_usable != none_serves {
        return Err(format!("as last resort: {serves:?}, expected {expected:?}"));
    }
    Ok(())
}

//! What must be true once everything has been quiet for long enough, worked out from the world
//! itself, without history and without a line of the core.

mod layout;
mod remains;

use uplinkd_model::{Gateway, Health, Target, Uplink};

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
        };
    };
    let mut asked: Vec<_> = access
        .probe
        .targets
        .iter()
        .filter_map(|t| match t {
            Target::Icmp(address) => Some(*address),
            Target::Gateway => None,
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
    }
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

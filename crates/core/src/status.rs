//! What the status shows, as values.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use uplinkd_model::{Family, Health, Mark, Reason, TableId, Target, UplinkName, notice::Share};

use crate::{Time, probe::TargetVerdict};

/// Everything that a person may want to see at a glance.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// A fresh look at the kernel showed exactly what it should hold.
    pub settled: bool,
    /// What keeps it from settling.
    pub problem: Option<String>,
    /// No uplink is live; the last good choice is kept.
    pub last_resort: bool,
    /// The uplinks, in the order of the file.
    pub uplinks: Vec<UplinkSnapshot>,
    /// The groups, `default` first.
    pub groups: Vec<GroupSnapshot>,
}

/// An uplink.
#[derive(Clone, Debug)]
pub struct UplinkSnapshot {
    /// Its name.
    pub name: UplinkName,
    /// Its interface.
    pub interface: String,
    /// The family.
    pub family: Family,
    /// Its settled state.
    pub health: Health,
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub since: Time,
    /// New connections may use it.
    pub in_service: bool,
    /// Its weight in the default group.
    pub weight: u16,
    /// Its part of new connections of the default group now, 0 to 1.
    pub share: f64,
    /// Its table.
    pub table: TableId,
    /// The mark of connections that leave by it.
    pub mark: Mark,
    /// The mark of all its connections, those that came in by it too.
    pub all_mark: Mark,
    /// Its gateway, where one is known.
    pub gateway: Option<IpAddr>,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// The far end is there; none where there is no such interface.
    pub carrier: Option<bool>,
    /// Its targets.
    pub targets: Vec<TargetSnapshot>,
}

/// A target of an uplink.
#[derive(Clone, Debug)]
pub struct TargetSnapshot {
    /// Which one.
    pub target: Target,
    /// Its address, where it has one at the moment.
    pub address: Option<IpAddr>,
    /// What its answers say.
    pub verdict: TargetVerdict,
    /// Its answers decide about health.
    pub decides: bool,
    /// The newest round-trip time.
    pub last_rtt: Option<Duration>,
    /// Lost probes as a part of 1, over the last 100.
    pub loss: f64,
    /// Probes with a result since the start.
    pub sent: u64,
    /// Those that were lost.
    pub lost: u64,
}

/// A group.
#[derive(Clone, Debug)]
pub struct GroupSnapshot {
    /// Its name.
    pub name: String,
    /// The family.
    pub family: Family,
    /// Who serves, with weights.
    pub serving: Vec<Share>,
    /// They are only kept for want of anything better.
    pub last_resort: bool,
}

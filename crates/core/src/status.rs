//! What the status shows, as values.

use std::{net::IpAddr, time::Duration};

use ipnet::{IpNet, Ipv6Net};
use uplinkd_model::{
    Family, Health, Mark, Reason, TableId, Target, UplinkName,
    budget::{AtLimit, Day},
    notice::Share,
};

use crate::{
    PerFamily, Time, Waiting, Wish,
    health::segments::TcpFigures,
    probe::{Figures, TargetVerdict},
};

/// Everything that a person may want to see at a glance.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// A fresh look at the kernel showed exactly what it should hold.
    pub settled: bool,
    /// What keeps it from settling.
    pub problem: Option<String>,
    /// No uplink is live in this family; the last good choice is kept.
    pub last_resort: PerFamily<bool>,
    /// Each family of each uplink, in the order of the file, IPv4 before IPv6.
    pub lines: Vec<LineSnapshot>,
    /// Each family of each outlet, in the order of the configuration, `default` first; then of each
    /// group that no outlet uses. Families that no uplink has are left out.
    pub outlets: Vec<OutletSnapshot>,
}

/// One family of an uplink.
#[derive(Clone, Debug)]
pub struct LineSnapshot {
    /// The uplink's name.
    pub name: UplinkName,
    /// Its interface.
    pub interface: String,
    /// The family.
    pub family: Family,
    /// The uplink does not have this family, and nobody said that it should: it is not used, and
    /// nothing is wrong. Its health is unknown then.
    pub absent: bool,
    /// Its settled state.
    pub health: Health,
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub since: Time,
    /// New connections may use it, unless it is idle.
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
    /// The prefix that its provider routes to it, where one is known; of IPv6 only.
    pub prefix: Option<Ipv6Net>,
    /// The networks of the LAN in its prefixes that hosts are told to avoid.
    pub deprecated: Vec<Ipv6Net>,
    /// The far end is there; none where there is no such interface.
    pub carrier: Option<bool>,
    /// Its targets.
    pub targets: Vec<TargetSnapshot>,
    /// What its TCP connections did over the last minute; none where nobody watches them.
    pub tcp: Option<TcpFigures>,
    /// What it has used of its budget, both families together; none without one.
    pub budget: Option<BudgetSnapshot>,
    /// Somebody wants no new connections by it.
    pub drained: Option<Wish>,
    /// It is in service and takes no new connections, since it is drained and another one serves.
    pub is_idle: bool,
    /// Somebody wants new connections by it alone.
    pub preferred: Option<Wish>,
}

/// How one family of an uplink is: what costs nothing to ask for again and again.
#[derive(Clone, Copy, Debug)]
pub struct LineHealth<'c> {
    /// The uplink's name.
    pub name: &'c UplinkName,
    /// The family.
    pub family: Family,
    /// As [`LineSnapshot::absent`].
    pub absent: bool,
    /// Its settled state.
    pub health: Health,
    /// Why.
    pub reason: &'c Reason,
}

/// What an uplink has used of its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetSnapshot {
    /// Bytes used in this period.
    pub used: u64,
    /// Bytes that it has.
    pub limit: u64,
    /// The period's first day.
    pub since: Day,
    /// The first day of the next one.
    pub until: Day,
    /// Nothing is left.
    pub is_spent: bool,
    /// What becomes of the uplink then.
    pub at_limit: AtLimit,
}

/// A target of a line.
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
    /// What was wrong with its newest answer, where something was.
    pub refusal: Option<String>,
    /// Loss and round-trip times over the window.
    pub figures: Figures,
    /// Probes with a result since the start.
    pub sent: u64,
    /// Those that were lost.
    pub lost: u64,
}

/// One family of an outlet, or of a group that no outlet uses.
#[derive(Clone, Debug)]
pub struct OutletSnapshot {
    /// Its name.
    pub name: String,
    /// Its code; none for a group that no outlet uses.
    pub code: Option<u16>,
    /// Its table, where it has one.
    pub table: Option<TableId>,
    /// The group that it takes its first tiers from; none for an uplink, `block` and `main`.
    pub group: Option<String>,
    /// The family.
    pub family: Family,
    /// What it is at the moment.
    pub state: OutletState,
    /// Who serves, with weights.
    pub serving: Vec<Share>,
    /// Somebody wants its new connections by one uplink, and that one carries them, whatever its tiers.
    pub is_preferred: bool,
    /// A better tier that could serve and waits.
    pub waiting: Option<Waiting>,
    /// Why the shares are what they are, where they follow the lines.
    pub balance: Option<String>,
    /// Members in service that leave new connections to others.
    pub yielding: Vec<Yielding>,
}

/// A member of an outlet that is in service and leaves new connections to others, where these are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Yielding {
    /// Which one.
    pub uplink: UplinkName,
    /// Why.
    pub reason: Reason,
}

/// What an outlet does with new connections at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutletState {
    /// A tier serves.
    Tier {
        /// Its index in the outlet's list.
        index: usize,
        /// The group that it belongs to; none for an uplink that a policy names.
        group: Option<String>,
        /// Its rank in that group, from 1.
        rank: usize,
    },
    /// No tier has a live member: what is in `serving` is kept for want of anything better.
    LastResort,
    /// No tier has a live member: the default group serves.
    Default,
    /// Connections are refused: it is `block`, or it ends so.
    Blocked,
    /// It is `main`.
    Main,
}

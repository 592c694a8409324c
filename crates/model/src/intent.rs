//! The checked whole of what the user asked for.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    budget::Budget,
    ids::{Slot, UplinkName},
    net::Family,
    policy::{Conduct, Failback, Outlet, Policy, Sticky},
    prefix::PrefixSource,
    probe::{ProbeSpec, Rates},
    reserve::Reserve,
};

/// What the user wants, after every check that the file alone allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Interfaces whose traffic is shared out. Empty: every interface's.
    pub lan: Vec<String>,
    /// Whether hosts in the LAN are told to avoid prefixes of uplinks that are out of service.
    pub deprecate: bool,
    /// Whether IPv6 networks of the `lan` interfaces are advertised to hosts where nothing else on this
    /// machine does.
    pub advertise: bool,
    /// The uplinks, in the order of the file.
    pub uplinks: Vec<Uplink>,
    /// The groups; the first is `default` and serves what no policy takes.
    pub groups: Vec<Group>,
    /// The policies, in the order of the file. Those that a new file leaves as they are it shares with
    /// the old one.
    pub policies: Vec<Arc<Policy>>,
    /// Where traffic can be led: the default group's outlet first (code 0), then those that policies
    /// use, each once.
    pub outlets: Vec<Outlet>,
    /// The numbers and names that we claim in the kernel.
    pub reserve: Reserve,
}

impl Config {
    /// The uplink of a name.
    pub fn uplink(&self, name: &UplinkName) -> Option<&Uplink> {
        self.uplinks.iter().find(|u| &u.name == name)
    }
}

/// One way to the internet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// Its name, and its table's.
    pub name: UplinkName,
    /// Its lasting number.
    pub slot: Slot,
    /// The interface's name.
    pub interface: String,
    /// What the line can carry, where the file says so.
    pub rates: Rates,
    /// How much it may carry in a time; none: as much as it can.
    pub budget: Option<Budget>,
    /// Whether new connections use other uplinks of the tier while it is degraded, if these are well.
    pub yields: bool,
    /// How IPv4 leaves by it; none: not routed by us.
    pub ipv4: Option<Access>,
    /// How IPv6 leaves by it; none: not routed by us.
    pub ipv6: Option<Access>,
}

impl Uplink {
    /// How a family leaves by it.
    pub fn access(&self, family: Family) -> Option<&Access> {
        match family {
            Family::V4 => self.ipv4.as_ref(),
            Family::V6 => self.ipv6.as_ref(),
        }
    }
}

/// One family of an uplink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The file speaks of this family, so that its absence is a failure. Otherwise it is used where
    /// the interface has it, and not missed where not.
    pub expected: bool,
    /// Where its gateway comes from.
    pub gateway: Gateway,
    /// What becomes of source addresses.
    pub nat: Nat,
    /// Which prefix its provider routes to it. Of IPv6 only; `auto` for IPv4.
    pub prefix: PrefixSource,
    /// How it is watched: targets of this family only.
    pub probe: ProbeSpec,
}

/// Where an uplink's gateway comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gateway {
    /// Learned from the default route that somebody else (DHCP, PPP, the administrator) keeps.
    Auto,
    /// Always this address.
    Address(IpAddr),
}

/// What becomes of the source address of connections that leave by an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nat {
    /// Replaced by the uplink's own address.
    Masquerade,
    /// Replaced by this address.
    Source(IpAddr),
    /// Left alone.
    None,
    /// Of IPv6 only: left alone in the uplink's own delegated prefix, and replaced by the uplink's own
    /// address elsewhere.
    Auto,
    /// Of IPv6 only: left alone in the uplink's own delegated prefix. In the other networks of the LAN
    /// the network's part is replaced by a part of that prefix and the host's part kept; what has no
    /// such network is replaced by the uplink's own address.
    Prefix,
}

/// A named pool of uplinks that share or take over traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Preference levels, best first; a later one serves only while no member of an earlier one is live.
    pub tiers: Vec<Vec<Member>>,
    /// When it returns to a better tier.
    pub failback: Failback,
    /// What keeps to the uplink that it was given first.
    pub sticky: Option<Sticky>,
    /// How it treats its members.
    pub conduct: Conduct,
}

/// An uplink's place in a tier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Which uplink.
    pub uplink: UplinkName,
    /// Its share inside the tier, 1 to 256.
    pub weight: u16,
    /// Its share follows what the line can carry, instead.
    pub is_auto: bool,
}

impl Group {
    /// The name of the group that always exists.
    pub const DEFAULT: &'static str = "default";
    /// The largest weight that every kernel with nexthop groups takes (8 bits, stored minus one).
    pub const WEIGHT_MAX: u16 = 256;
}

/// Whether `gateway` can be reached directly from an interface with these networks.
pub fn is_on_link(gateway: IpAddr, networks: &[IpNet]) -> bool {
    networks
        .iter()
        .any(|n| n.contains(&gateway) && n.addr() != gateway)
}

//! What the kernel has ([`Observed`]) and what it should have ([`Desired`]), in one vocabulary.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{Mark, NexthopId, Proto, RulePriority, TableId},
    net::Family,
    nft::NftTable,
    prefix::PrefixFacts,
};

/// A network interface as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The kernel's index and the name.
    pub device: Device,
    /// Further names of it (`ip link property add … altname`).
    pub alternative_names: BTreeSet<String>,
    /// It has one other end only (PPP, tun, WireGuard): packets need no gateway to be sent by it.
    pub point_to_point: bool,
    /// Switched on by somebody (`IFF_UP`).
    pub admin_up: bool,
    /// The far end is there (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// Addresses with their prefix length, host bits kept, sorted; link-local and tentative ones left out.
    pub addresses: Vec<IpNet>,
}

impl Link {
    /// The addresses of one family.
    pub fn addresses_of(&self, family: Family) -> impl Iterator<Item = IpNet> + '_ {
        self.addresses
            .iter()
            .copied()
            .filter(move |a| Family::of_net(*a) == family)
    }

    /// Whether the file means this interface by `name`: its name, an alternative name, or a pattern
    /// with an asterisk at the end.
    pub fn is_called(&self, name: &str) -> bool {
        match name.strip_suffix('*') {
            Some(beginning) => self.device.name.starts_with(beginning),
            None => self.device.name == name || self.alternative_names.contains(name),
        }
    }
}

/// The longest name of an interface: the kernel's `IFNAMSIZ` less the closing zero. Alternative names
/// may be longer.
pub const INTERFACE_NAME_MAX: usize = 15;

/// Whether an interface may bear this as its first name, which rules, sockets, nft and sysctls go by;
/// other than a pattern or a long alternative name.
pub fn is_first_name(name: &str) -> bool {
    name.len() <= INTERFACE_NAME_MAX && !name.ends_with('*')
}

/// An interface's index, which the kernel goes by, with the name, which people go by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Device {
    /// The interface index, from 1.
    pub index: u32,
    /// The name at the time of looking.
    pub name: String,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A default route that somebody else keeps: where `gateway = "auto"` learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignDefault {
    /// The interface it leads out by.
    pub ifindex: u32,
    /// Its gateway, which may be of the other family; none on a point-to-point line.
    pub gateway: Option<IpAddr>,
    /// Its family.
    pub family: Family,
    /// Its table: `main` is believed first.
    pub table: TableId,
    /// Its metric: the lowest is believed.
    pub metric: u32,
    /// Who keeps it said that the gateway is on the link, whatever the addresses say (`onlink`).
    pub on_link: bool,
    /// A router has advertised it, and may take it back (protocol `ra`).
    pub advertised: bool,
    /// How long it still holds, where that is limited.
    pub expires_in: Option<Duration>,
}

/// A kernel nexthop object (`ip nexthop`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Nexthop {
    /// Its id.
    pub id: NexthopId,
    /// Who put it.
    pub proto: Proto,
    /// What it is.
    pub kind: NexthopKind,
}

/// The kinds of nexthop objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NexthopKind {
    /// One way out.
    Single {
        /// The family of its gateway, which IPv4 routes need not share; without one, of its routes.
        family: Family,
        /// The interface.
        device: Device,
        /// The gateway; none on a point-to-point line.
        gateway: Option<IpAddr>,
        /// The gateway is on the link although no address says so (`onlink`).
        on_link: bool,
    },
    /// Several, each with its weight (1 to 256, 65536 from kernel 6.12 on), in order of id.
    Group(Vec<(NexthopId, u16)>),
    /// Something we never make (blackhole, fdb, …).
    Other,
}

/// A route of ours, or of somebody else in one of our tables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// The table it is in.
    pub table: TableId,
    /// Where to, host bits cleared; the default is `0.0.0.0/0` or `::/0`.
    pub destination: IpNet,
    /// Lower is preferred. The kernel's default, 0 for IPv4, is written out.
    pub metric: u32,
    /// Which way.
    pub via: RouteVia,
    /// The source address that the router itself uses with it (`src`).
    pub source: Option<IpAddr>,
    /// Who put it.
    pub proto: Proto,
}

impl Route {
    /// The family.
    pub fn family(&self) -> Family {
        Family::of_net(self.destination)
    }

    /// What the kernel allows once only: two routes with one key replace each other.
    pub fn key(&self) -> (TableId, IpNet, u32) {
        (self.table, self.destination, self.metric)
    }
}

/// Which way a route leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RouteVia {
    /// A nexthop object or group.
    Nexthop(NexthopId),
    /// A device, with or without a gateway.
    Device {
        /// The interface.
        device: Device,
        /// The gateway.
        gateway: Option<IpAddr>,
    },
    /// Refused with an ICMP message that says that somebody does not want it (`prohibit`), which
    /// programs take as final.
    Prohibit,
    /// Something we never make (multipath without objects, blackhole, …).
    Other,
}

/// A routing rule (`ip rule`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// Lower is asked first.
    pub priority: RulePriority,
    /// Its family.
    pub family: Family,
    /// The source, canonical; none for `from all`.
    pub from: Option<IpNet>,
    /// The destination, canonical; none for `to all`.
    pub to: Option<IpNet>,
    /// The interface that the packet came in by; `lo` for the router's own.
    pub iif: Option<String>,
    /// The interface that the socket is bound to.
    pub oif: Option<String>,
    /// The mark.
    pub mark: Option<Mark>,
    /// `not`: the rule holds for what does not match.
    pub inverted: bool,
    /// Routes with a prefix this short or shorter do not count (`suppress_prefixlength`).
    pub suppress_prefix_length: Option<u32>,
    /// What it does.
    pub action: RuleAction,
    /// Who put it.
    pub proto: Proto,
    /// It has attributes that this type does not hold, so it cannot be one of ours as we made it.
    pub has_more: bool,
}

impl Rule {
    /// `from all lookup TABLE`.
    pub fn lookup(family: Family, priority: u32, table: TableId, proto: Proto) -> Self {
        Self {
            priority: RulePriority(priority),
            family,
            from: None,
            to: None,
            iif: None,
            oif: None,
            mark: None,
            inverted: false,
            suppress_prefix_length: None,
            action: RuleAction::Lookup(table),
            proto,
            has_more: false,
        }
    }
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RuleAction {
    /// Ask a table.
    Lookup(TableId),
    /// Refuse with an ICMP message that says that somebody does not want it.
    Prohibit,
    /// Something we never make (goto, blackhole, …).
    Other,
}

/// What was found of our nft table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NftState {
    /// There is none.
    Absent,
    /// A table with this [`NftTable::fingerprint`].
    Holds(u64),
    /// A table of our name whose content is not what we would have put there.
    Altered {
        /// What is different, for the log.
        found: String,
    },
}

/// What a look at the kernel showed.
///
/// Foreign objects are in it where they matter: rules all, nexthops all, routes only in our tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// All interfaces, by index.
    pub links: BTreeMap<u32, Link>,
    /// Default routes of others.
    pub foreign_defaults: Vec<ForeignDefault>,
    /// Networks that `main` says are on the link of an uplink's interface, by its index; IPv4 only,
    /// where routes say it.
    pub on_link: BTreeMap<u32, BTreeSet<IpNet>>,
    /// Interfaces that have a link-local IPv6 address which is ready for use, by index: by these a
    /// gateway can be reached although there is no other address.
    pub link_local: BTreeSet<u32>,
    /// Routes and addresses that tell of delegated prefixes.
    pub prefixes: PrefixFacts,
    /// All nexthop objects.
    pub nexthops: BTreeMap<NexthopId, Nexthop>,
    /// Routes with our protocol number or in our tables.
    pub routes: BTreeSet<Route>,
    /// All rules; the same one twice is there twice.
    pub rules: Vec<Rule>,
    /// Our nft table; none where nobody looked this time.
    pub nft: Option<NftState>,
    /// Names of nft tables that earlier configurations of ours had and that are still there; empty
    /// where nobody looked this time.
    pub nft_earlier: BTreeSet<String>,
    /// Values of the sysctls that were asked for, by path below `/proc/sys`; missing ones are left out.
    pub sysctls: BTreeMap<String, String>,
    /// What our file of table names says; empty where there is none.
    pub table_names: BTreeMap<TableId, String>,
    /// The control groups that were asked for and exist, with the number (inode) that the kernel
    /// knows them by.
    pub cgroups: BTreeMap<String, u64>,
}

impl Observed {
    /// The interface of a first name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|l| l.device.name == name)
    }

    /// The interface that the file means by `name`, also where that is an alternative name or a
    /// pattern, and which is not among `taken`. Of several that fit a pattern one with a carrier is
    /// taken, and of those the oldest.
    pub fn link_called(&self, name: &str, taken: &BTreeSet<String>) -> Option<&Link> {
        let first = self.link(name).filter(|l| !taken.contains(&l.device.name));
        first.or_else(|| {
            let links = self.links.values();
            links
                .filter(|l| l.is_called(name) && !taken.contains(&l.device.name))
                .min_by_key(|l| (!(l.admin_up && l.carrier), l.device.index))
        })
    }
}

/// What the kernel should have of ours: all of it, and nothing else of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Nexthop objects and groups.
    pub nexthops: BTreeMap<NexthopId, Nexthop>,
    /// Routes, in our tables.
    pub routes: BTreeSet<Route>,
    /// Rules, in our priority ranges.
    pub rules: BTreeSet<Rule>,
    /// Our nft table.
    pub nft: Option<NftTable>,
    /// Sysctls by path below `/proc/sys`.
    pub sysctls: BTreeMap<String, String>,
    /// The content of our file of table names.
    pub table_names: BTreeMap<TableId, String>,
}

/// What the kernel has found out about a neighbour (`NUD_…`, `linux/neighbour.h`); what is in between is
/// not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// It has answered just now.
    Reachable,
    /// It was known, and is asked again whether it is still there.
    Asked,
    /// It does not answer.
    Failed,
}

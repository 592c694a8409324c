//! A fake kernel with the quirks of the real one (`DATAPLANE.md`, "Traps").
//!
//! Holds links, routes of all tables, rules, nexthop objects, our nft table, sysctls, table names and
//! tracked connections, ours and those of others. Every change goes through the few functions of
//! `change.rs`, which note it when a step of the daemon touches anything that is not the daemon's.
//! Start with [`Kernel::execute`] (in `execute.rs`) and the events of `links.rs`.

mod change;
mod connection;
pub(crate) mod execute;
mod links;
mod lookup;
mod memory;
pub(crate) mod observe;
mod prefixes;

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv6Net};
use uplinkd_core::event::HintKind;
use uplinkd_model::{
    Family, Link, Nexthop, NexthopId, Reserve, Route, Rule, TableId, ids::RulePriority,
    nft::NftTable,
};

pub use connection::{Connection, Direction, Talk, client, client_network, server};
pub use execute::errno;
pub use lookup::{Answer, Fate, Packet, Way};
pub use memory::StickyMemory;
pub use prefixes::{lan_address, lan_network};

/// What a socket subscribed to the kernel's notifications would read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    /// An interface changed.
    Link {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
        /// Switched on.
        admin_up: bool,
        /// The far end is there.
        carrier: bool,
        /// It is gone altogether.
        gone: bool,
    },
    /// Something else changed.
    Hint(HintKind),
}

/// In what kernels differ.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quirks {
    /// Deleting an address deletes routes with it as `src` in all tables (before 6.1), not in `main` alone.
    pub address_takes_routes_of_all_tables: bool,
}

/// Our nft table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Nft {
    /// There is none.
    #[default]
    Absent,
    /// As we put it.
    Holds(NftTable),
    /// Changed by somebody else.
    Altered,
}

type RouteKey = (TableId, IpNet, u32);

/// The kernel of one network namespace.
#[derive(Debug)]
pub struct Kernel {
    links: BTreeMap<u32, Link>,
    routes: BTreeMap<RouteKey, Route>,
    rules: Vec<Rule>,
    nexthops: BTreeMap<NexthopId, Nexthop>,
    nft: Nft,
    /// What our nft table remembers by itself.
    pub sticky: StickyMemory,
    sysctls: BTreeMap<String, String>,
    table_names: BTreeMap<TableId, String>,
    /// Delegated prefixes, each with the interface that it came by.
    delegated: BTreeMap<Ipv6Net, String>,
    /// Tracked connections.
    pub connections: Vec<Connection>,
    reserve: Reserve,
    quirks: Quirks,
    notifications: Vec<Notification>,
    next_index: u32,
    version: u64,
    /// A step of the daemon is being executed.
    by_us: bool,
    trespass: Option<String>,
}

impl Kernel {
    /// A kernel with nothing in it but the three rules that every kernel has.
    pub fn new(reserve: Reserve, quirks: Quirks) -> Self {
        let mut kernel = Self {
            links: BTreeMap::new(),
            routes: BTreeMap::new(),
            rules: Vec::new(),
            nexthops: BTreeMap::new(),
            nft: Nft::Absent,
            sticky: StickyMemory::default(),
            sysctls: BTreeMap::new(),
            table_names: BTreeMap::new(),
            delegated: BTreeMap::new(),
            connections: Vec::new(),
            reserve,
            quirks,
            notifications: Vec::new(),
            next_index: 1,
            version: 0,
            by_us: false,
            trespass: None,
        };
        let proto = uplinkd_model::Proto(2);
        for (priority, table) in [(0, 255), (32766, TableId::MAIN.0), (32767, 253)] {
            kernel.put_rule(Rule::lookup(Family::V4, priority, TableId(table), proto));
        }
        for (priority, table) in [(0, 255), (32766, TableId::MAIN.0)] {
            kernel.put_rule(Rule::lookup(Family::V6, priority, TableId(table), proto));
        }
        for (path, value) in [
            ("net/ipv4/ip_forward", "0"),
            ("net/ipv4/fib_multipath_hash_policy", "0"),
            ("net/ipv4/nexthop_compat_mode", "1"),
            ("net/ipv4/conf/all/src_valid_mark", "0"),
            ("net/ipv4/conf/all/rp_filter", "1"),
            ("net/ipv6/conf/all/forwarding", "0"),
            ("net/ipv6/fib_multipath_hash_policy", "0"),
        ] {
            kernel.sysctls.insert(path.to_owned(), value.to_owned());
        }
        kernel
    }

    /// The notifications since the last call.
    pub fn take_notifications(&mut self) -> Vec<Notification> {
        std::mem::take(&mut self.notifications)
    }

    /// Grows with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What of others a step of the daemon has touched.
    pub fn trespass(&self) -> Option<&str> {
        self.trespass.as_deref()
    }

    /// The interfaces.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The interface of a name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|l| l.device.name == name)
    }

    /// All rules, in the order in which they are asked.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// All routes.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.values()
    }

    /// All nexthop objects.
    pub fn nexthops(&self) -> &BTreeMap<NexthopId, Nexthop> {
        &self.nexthops
    }

    /// Our nft table, where it is as we put it.
    pub fn nft(&self) -> Option<&NftTable> {
        match &self.nft {
            Nft::Holds(table) => Some(table),
            Nft::Absent | Nft::Altered => None,
        }
    }

    /// Whether anything of the daemon's is here, sysctls apart; says what.
    pub fn remains(&self) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let rules = self.rules.iter().filter(|r| self.is_our_rule(r));
        found.extend(rules.map(|r| format!("rule {r}")));
        let routes = self.routes.values().filter(|r| self.is_our_route(r));
        found.extend(routes.map(|r| format!("route {r}")));
        let nexthops = self.nexthops.values().filter(|n| self.is_our_nexthop(n));
        found.extend(nexthops.map(|n| format!("nexthop {n}")));
        if self.nft != Nft::Absent {
            found.push("the nft table".to_owned());
        }
        if !self.table_names.is_empty() {
            found.push("the file of table names".to_owned());
        }
        found
    }

    // Whose an object is, said here once more in other words than the model's.

    pub(crate) fn is_our_rule(&self, rule: &Rule) -> bool {
        let RulePriority(p) = rule.priority;
        let (first, last) = (self.reserve.rule_priority, self.reserve.rule_priority_last);
        let near = (p >= first && p - first < 100) || (p >= last && p - last < 100);
        near && rule.proto.0 == self.reserve.proto.0
    }

    pub(crate) fn is_our_route(&self, route: &Route) -> bool {
        let TableId(t) = route.table;
        t >= self.reserve.tables
            && t - self.reserve.tables < 65_536
            && route.proto.0 == self.reserve.proto.0
    }

    pub(crate) fn is_our_nexthop(&self, nexthop: &Nexthop) -> bool {
        let NexthopId(n) = nexthop.id;
        n >= self.reserve.nexthop_ids
            && n - self.reserve.nexthop_ids < 1_048_576
            && nexthop.proto.0 == self.reserve.proto.0
    }
}

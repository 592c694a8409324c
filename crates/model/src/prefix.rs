//! Delegated IPv6 prefixes: how an uplink comes by one, and what the kernel shows of them.

use std::{collections::BTreeSet, net::Ipv6Addr};

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

/// Which IPv6 prefix a provider routes to an uplink, for the networks behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrefixSource {
    /// Learned from routes and addresses that somebody else (a DHCPv6 client above all) keeps.
    #[default]
    Auto,
    /// Always this one.
    Fixed(Ipv6Net),
    /// Learned likewise, but only what lies within this range, and all of that.
    Within(Ipv6Net),
}

/// What the kernel shows of delegated prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixFacts {
    /// Default routes for one source prefix, by uplink interface: the only kind of route that says
    /// which line a prefix belongs to.
    pub sourced: Vec<SourcedDefault>,
    /// Prefixes whose unused rest is refused (`unreachable`, `blackhole`, `prohibit`), as whoever
    /// was delegated one has to.
    pub refused: BTreeSet<Ipv6Net>,
    /// Addresses, with their interface's index, that no new connection should use.
    pub deprecated: BTreeSet<(u32, Ipv6Addr)>,
}

/// A default route for one source prefix only (`default from PREFIX via … dev …`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourcedDefault {
    /// Lower is preferred.
    pub metric: u32,
    /// The source prefix.
    pub prefix: Ipv6Net,
    /// The interface it leads out by.
    pub ifindex: u32,
}

/// What becomes of the sources of a LAN network when they leave by an uplink.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Translation {
    /// The LAN network.
    pub network: Ipv6Net,
    /// What takes its place, of the same length.
    pub by: Ipv6Net,
    /// Whether connections from outside to that lead to the network. They do not where hosts of
    /// another network have these addresses as their own.
    pub inbound: bool,
    /// Addresses in `by` that stand for the router itself: no connection from outside leads to these.
    pub router: Vec<Ipv6Addr>,
}

impl Translation {
    /// What takes the place of an address; none where it is not of the network.
    pub fn apply(&self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        self.network.contains(&address).then(|| {
            let host = u128::from(address) & u128::from(self.network.hostmask());
            Ipv6Addr::from(u128::from(self.by.network()) | host)
        })
    }
}

/// Whether a prefix can be one that a provider has delegated: global unicast, and neither unique
/// local, which is nobody's, nor link-local.
pub fn is_global(prefix: Ipv6Net) -> bool {
    let address = prefix.addr();
    !(address.is_unique_local()
        || address.is_unicast_link_local()
        || address.is_multicast()
        || address.is_unspecified()
        || address.is_loopback()
        || address.to_ipv4_mapped().is_some())
}

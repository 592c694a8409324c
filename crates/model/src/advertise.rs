//! What hosts in the LAN are told by router advertisements (RFC 4861).

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv6Net;

/// What is told on each interface, and on no others: the whole wish.
pub type Advice = BTreeMap<String, LanAdvice>;

/// What is told on one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LanAdvice {
    /// Networks whose addresses hosts are not to use for anything new.
    pub avoid: BTreeSet<Ipv6Net>,
    /// What is advertised where nothing else on this machine does; none: nothing.
    pub own: Option<OwnAdvert>,
}

/// An advertisement of our own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnAdvert {
    /// The networks that hosts make addresses in, each a /64.
    pub networks: BTreeSet<Ipv6Net>,
    /// Whether this machine leads anywhere: hosts take it for a default router.
    pub is_router: bool,
}

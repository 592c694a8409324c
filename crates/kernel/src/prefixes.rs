//! Routes and addresses that tell of delegated IPv6 prefixes, as facts.
//!
//! Default routes for one source prefix are found among the default routes of the uplinks' interfaces.
//! Routes that refuse lie on the loopback interface for IPv6, by which the kernel picks them out: beside
//! 100,000 routes of others that is one walk of its own and no message.

use std::{collections::BTreeSet, net::Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use uplinkd_model::{
    Family, Proto, Reserve, TableId,
    prefix::{SourcedDefault, is_global},
};

use crate::{
    Kernel, ObserveError,
    decode::{self, RouteOutline},
    netlink::{Frame, find, u32_at},
    observe::get_routes,
    wire::{address as ifa, fixed, route as rt},
};

/// The kernel's index of the loopback interface, in every network namespace.
const LOOPBACK: u32 = 1;
/// Refused prefixes of others that are kept. Nobody is delegated that many; a feed of blackholes for
/// addresses under attack is cut off here, and what lies behind is not learned from.
const REFUSED_MAX: usize = 256;
/// The longest that networks of hosts are cut from.
const LENGTH_MAX: u8 = 64;

impl Kernel {
    /// The prefixes that routes of others in the main table refuse.
    pub(crate) fn refused_prefixes(
        &mut self,
        reserve: &[Reserve],
    ) -> Result<BTreeSet<Ipv6Net>, ObserveError> {
        let message = get_routes(Family::V6, Proto(0), 0)
            .u32(rt::TABLE, TableId::MAIN.0)
            .u32(rt::OIF, LOOPBACK);
        let is_refusal = |frame: &Frame<'_>| {
            let outline = decode::route_outline(frame.body);
            let is_foreign = |o: RouteOutline| !reserve.iter().any(|r| r.proto == o.proto);
            refused(frame.body).is_some() && outline.is_some_and(is_foreign)
        };
        let refusals = self.list_in_table(message, is_refusal)?;
        let prefixes = refusals.iter().filter_map(|r| refused(&r.body));
        Ok(prefixes.take(REFUSED_MAX).collect())
    }
}

/// A default route for one source prefix; none where it is for all sources.
pub(crate) fn sourced_default(body: &[u8]) -> Option<SourcedDefault> {
    let attributes = body.get(fixed::ROUTE..)?;
    let source = find(attributes, rt::SOURCE_PREFIX).and_then(decode::ip)?;
    let IpNet::V6(prefix) = IpNet::new(source, *body.get(2)?).ok()? else {
        return None;
    };
    let number = |kind| find(attributes, kind).and_then(|v| u32_at(v, 0));
    Some(SourcedDefault {
        metric: number(rt::PRIORITY).unwrap_or(0),
        prefix: prefix.trunc(),
        ifindex: number(rt::OIF)?,
    })
}

/// The prefix of an IPv6 route in the main table that refuses what it covers, where it can be one that
/// was delegated.
pub(crate) fn refused(body: &[u8]) -> Option<Ipv6Net> {
    let outline = decode::route_outline(body)?;
    let route_type = *body.get(7)?;
    let refuses = [rt::UNREACHABLE, rt::BLACKHOLE, rt::PROHIBIT].contains(&route_type);
    let is_delegation = (1..=LENGTH_MAX).contains(&outline.prefix_length)
        && outline.family == Family::V6
        && outline.table == TableId::MAIN;
    if !refuses || !is_delegation {
        return None;
    }
    let destination = find(body.get(fixed::ROUTE..)?, rt::DESTINATION).and_then(decode::ip)?;
    match IpNet::new(destination, outline.prefix_length).ok()? {
        IpNet::V6(prefix) => Some(prefix.trunc()).filter(|p| is_global(*p)),
        IpNet::V4(_) => None,
    }
}

/// An address that no new connection should use any more, with its interface's index.
pub(crate) fn deprecated(body: &[u8]) -> Option<(u32, Ipv6Addr)> {
    let attributes = body.get(fixed::ADDRESS..)?;
    let flags = find(attributes, ifa::FLAGS).and_then(|v| u32_at(v, 0));
    let flags = flags.unwrap_or(u32::from(*body.get(2)?));
    if flags & ifa::FLAG_DEPRECATED == 0 {
        return None;
    }
    match decode::address(body)? {
        (index, IpNet::V6(address)) => Some((index, address.addr())),
        (_, IpNet::V4(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::netlink::Message;

    fn route(family: u8, length: u8, table: u8, route_type: u8, destination: &str) -> Vec<u8> {
        let fixed = [family, length, 0, 0, table, 16, 0, route_type, 0, 0, 0, 0];
        let address = match destination.parse().unwrap() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let message = Message::new(0, 0, &fixed).attr(rt::DESTINATION, &address);
        message.body().to_vec()
    }

    #[test]
    fn a_refused_prefix_counts_where_it_can_have_been_delegated() {
        let refused = |family, length, table, kind, to| {
            refused(&route(family, length, table, kind, to)).map(|p| p.to_string())
        };
        let unreachable = rt::UNREACHABLE;
        for kind in [unreachable, rt::BLACKHOLE, rt::PROHIBIT] {
            let found = refused(10, 56, 254, kind, "2001:db8:100::");
            assert_eq!(found.as_deref(), Some("2001:db8:100::/56"));
        }
        assert_eq!(refused(10, 56, 254, rt::UNICAST, "2001:db8:100::"), None);
        assert_eq!(refused(10, 56, 100, unreachable, "2001:db8:100::"), None);
        assert_eq!(refused(10, 72, 254, unreachable, "2001:db8:100::"), None);
        assert_eq!(refused(10, 48, 254, unreachable, "fd00::"), None);
        assert_eq!(refused(2, 24, 254, unreachable, "192.0.2.0"), None);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (refused(&body), deprecated(&body), sourced_default(&body));
        }
    }
}

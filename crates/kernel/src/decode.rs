//! The kernel's messages, as the model's values.
//!
//! Every function takes what comes after a message's header and returns none where the message is
//! too short to be one of its kind; attributes that we do not know are passed over, or noted where
//! they make the object another one than ours. Nothing here panics on any bytes.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use ipnet::IpNet;
use uplinkd_model::{
    Family, Link, Mark, Nexthop, NexthopId, NexthopKind, Route, RouteVia, Rule, RulePriority,
    TableId,
    ids::Proto,
    kernel_state::{Device, RuleAction},
};

use crate::{
    netlink::{Attributes, find, text, u16_at, u32_at},
    wire::{address as ifa, fixed, link as ifla, nexthop as nh, route as rt, rule as fr},
};

/// Names of interfaces by index, from the dump of links.
pub type Names = BTreeMap<u32, String>;

/// The interface of an index. One that appeared after the links were listed has no name yet; the
/// next look will know it.
fn device(index: u32, names: &Names) -> Device {
    let name = names.get(&index).cloned();
    Device {
        index,
        name: name.unwrap_or_else(|| format!("if{index}")),
    }
}

/// A link (`RTM_NEWLINK`), without its addresses.
pub fn link(body: &[u8]) -> Option<Link> {
    let flags = u32_at(body, 8)?;
    let attributes = body.get(fixed::LINK..)?;
    let name = find(attributes, ifla::NAME)?;
    // Nested attributes bear a flag in their kind, or not, by who wrote them.
    let properties = find(attributes, ifla::PROPERTIES).unwrap_or_default();
    let alternative = Attributes(properties).filter(|(kind, _)| *kind == ifla::ALTERNATIVE_NAME);
    Some(Link {
        device: Device {
            index: u32_at(body, 4)?,
            name: text(name),
        },
        alternative_names: alternative.map(|(_, name)| text(name)).collect(),
        point_to_point: flags & ifla::FLAG_POINT_TO_POINT != 0,
        admin_up: flags & ifla::FLAG_UP != 0,
        carrier: flags & ifla::FLAG_LOWER_UP != 0,
        addresses: Vec::new(),
    })
}

/// The index of a link's interface and one of its addresses (`RTM_NEWADDR`), where it is one that
/// can be talked from to the internet: not link-local, and not still (or in vain) being claimed.
pub fn address(body: &[u8]) -> Option<(u32, IpNet)> {
    let (index, net) = ready_address(body)?;
    let is_usable = match net.addr() {
        IpAddr::V4(v4) => !v4.is_link_local(),
        IpAddr::V6(_) => !has_link_scope(body),
    };
    is_usable.then_some((index, net))
}

/// The index of the interface whose link-local IPv6 address this is (`RTM_NEWADDR`), where it is ready
/// for use.
pub fn link_local(body: &[u8]) -> Option<u32> {
    let (index, net) = ready_address(body)?;
    (net.addr().is_ipv6() && has_link_scope(body)).then_some(index)
}

fn has_link_scope(body: &[u8]) -> bool {
    body.get(3) == Some(&rt::SCOPE_LINK)
}

/// Any address that is not still (or in vain) being claimed.
fn ready_address(body: &[u8]) -> Option<(u32, IpNet)> {
    let [family, prefix_length, flags, _] = *body.first_chunk()?;
    let attributes = body.get(fixed::ADDRESS..)?;
    let flags = find(attributes, ifa::FLAGS)
        .and_then(|v| u32_at(v, 0))
        .unwrap_or_else(|| u32::from(flags));
    if flags & (ifa::FLAG_TENTATIVE | ifa::FLAG_DAD_FAILED) != 0 {
        return None;
    }
    // On a point-to-point line IFA_ADDRESS is the far end, and only IFA_LOCAL is ours.
    let value = find(attributes, ifa::LOCAL).or_else(|| find(attributes, ifa::ADDRESS))?;
    let net = IpNet::new(ip(value)?, prefix_length).ok()?;
    (Family::of_net(net).number() == family).then_some((u32_at(body, 4)?, net))
}

/// A nexthop object (`RTM_NEWNEXTHOP`).
pub fn nexthop(body: &[u8], names: &Names) -> Option<Nexthop> {
    let [family, _, proto, _] = *body.first_chunk()?;
    let attributes = body.get(fixed::NEXTHOP..)?;
    let id = NexthopId(find(attributes, nh::ID).and_then(|v| u32_at(v, 0))?);
    let on_link = u32_at(body, 4)? & rt::FLAG_ON_LINK != 0;
    Some(Nexthop {
        id,
        proto: Proto(proto),
        kind: nexthop_kind(family, on_link, attributes, names).unwrap_or(NexthopKind::Other),
    })
}

fn nexthop_kind(
    family: u8,
    on_link: bool,
    attributes: &[u8],
    names: &Names,
) -> Option<NexthopKind> {
    if [nh::BLACKHOLE, nh::ENCAP, nh::FDB]
        .iter()
        .any(|k| find(attributes, *k).is_some())
    {
        return None;
    }
    if let Some(entries) = find(attributes, nh::GROUP) {
        let plain = find(attributes, nh::GROUP_TYPE).is_none_or(|v| u16_at(v, 0) == Some(0));
        let mut members: Vec<_> = entries.chunks_exact(nh::ENTRY).filter_map(member).collect();
        members.sort_unstable();
        return plain.then_some(NexthopKind::Group(members));
    }
    let index = find(attributes, nh::OIF).and_then(|v| u32_at(v, 0))?;
    Some(NexthopKind::Single {
        family: family_of(family)?,
        device: device(index, names),
        gateway: find(attributes, nh::GATEWAY).and_then(ip),
        on_link,
    })
}

fn member(entry: &[u8]) -> Option<(NexthopId, u16)> {
    let stored = u16::from_le_bytes([*entry.get(4)?, *entry.get(5)?]);
    Some((NexthopId(u32_at(entry, 0)?), stored.saturating_add(1)))
}

/// What can be told of a route without decoding all of it, so that a walk over many routes of
/// others is cheap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteOutline {
    /// Its family.
    pub family: Family,
    /// Length of its destination; zero for a default route.
    pub prefix_length: u8,
    /// Who put it.
    pub proto: Proto,
    /// Its table.
    pub table: TableId,
    /// It leads to hosts on the link itself. IPv6 has no such scope and never says so.
    pub is_on_link: bool,
}

/// A route's outline (`RTM_NEWROUTE`, `RTM_DELROUTE`).
pub fn route_outline(body: &[u8]) -> Option<RouteOutline> {
    let [family, prefix_length, _, _, table, proto, scope] = *body.first_chunk()?;
    let attributes = body.get(fixed::ROUTE..)?;
    let wide = find(attributes, rt::TABLE).and_then(|v| u32_at(v, 0));
    Some(RouteOutline {
        family: family_of(family)?,
        prefix_length,
        proto: Proto(proto),
        table: TableId(wide.unwrap_or_else(|| u32::from(table))),
        is_on_link: scope == rt::SCOPE_LINK,
    })
}

/// A route (`RTM_NEWROUTE`).
pub fn route(body: &[u8], names: &Names) -> Option<Route> {
    let outline = route_outline(body)?;
    let [_, _, source_length, tos, _, _, _, route_type] = *body.first_chunk()?;
    if u32_at(body, 8)? & rt::FLAG_CLONED != 0 {
        return None;
    }
    let attributes = body.get(fixed::ROUTE..)?;
    let destination = destination(body, &outline)?;
    let is_plain = source_length == 0 && tos == 0;
    Some(Route {
        table: outline.table,
        destination,
        metric: metric(attributes),
        via: match route_type {
            rt::PROHIBIT if is_plain => RouteVia::Prohibit,
            rt::UNICAST if is_plain => route_via(attributes, names),
            _ => RouteVia::Other,
        },
        source: find(attributes, rt::SOURCE).and_then(ip),
        proto: outline.proto,
    })
}

/// Where a route leads to, host bits cleared.
pub fn destination(body: &[u8], outline: &RouteOutline) -> Option<IpNet> {
    match find(body.get(fixed::ROUTE..)?, rt::DESTINATION) {
        Some(value) => Some(IpNet::new(ip(value)?, outline.prefix_length).ok()?.trunc()),
        None => Some(outline.family.default_route()),
    }
}

fn metric(attributes: &[u8]) -> u32 {
    find(attributes, rt::PRIORITY)
        .and_then(|v| u32_at(v, 0))
        .unwrap_or(0)
}

fn route_via(attributes: &[u8], names: &Names) -> RouteVia {
    // With `nexthop_compat_mode` the kernel also writes out what the object stands for: the id
    // comes first.
    if let Some(id) = find(attributes, rt::NEXTHOP_ID).and_then(|v| u32_at(v, 0)) {
        return RouteVia::Nexthop(NexthopId(id));
    }
    let has = |kind| find(attributes, kind).is_some();
    match find(attributes, rt::OIF).and_then(|v| u32_at(v, 0)) {
        Some(index) if !has(rt::MULTIPATH) && !has(rt::ENCAP) => RouteVia::Device {
            device: device(index, names),
            gateway: gateway(attributes),
        },
        _ => RouteVia::Other,
    }
}

/// The gateway among the attributes of a route or of one way of a multipath route.
pub(crate) fn gateway(attributes: &[u8]) -> Option<IpAddr> {
    find(attributes, rt::GATEWAY).and_then(ip).or_else(|| {
        // A gateway of the other family has its family before it.
        find(attributes, rt::VIA)
            .and_then(|v| v.get(2..))
            .and_then(ip)
    })
}

/// Where a default route of somebody else leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hops {
    /// By a nexthop object or group.
    Object(NexthopId),
    /// By these.
    Ways(Vec<Way>),
}

/// One way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The interface's index.
    pub index: u32,
    /// The gateway.
    pub gateway: Option<IpAddr>,
    /// The gateway is on the link, whatever addresses say.
    pub on_link: bool,
}

/// The metric of a default route and where it leads; for what `route` says is `Other` too.
pub fn default_hops(body: &[u8]) -> Option<(u32, Hops)> {
    let attributes = body.get(fixed::ROUTE..)?;
    let hops = if let Some(id) = find(attributes, rt::NEXTHOP_ID).and_then(|v| u32_at(v, 0)) {
        Hops::Object(NexthopId(id))
    } else if let Some(ways) = find(attributes, rt::MULTIPATH) {
        Hops::Ways(multipath(ways))
    } else {
        Hops::Ways(vec![Way {
            index: find(attributes, rt::OIF).and_then(|v| u32_at(v, 0))?,
            gateway: gateway(attributes),
            on_link: u32_at(body, 8)? & rt::FLAG_ON_LINK != 0,
        }])
    };
    Some((metric(attributes), hops))
}

/// How long a route still holds; none where that is not limited. One whose time is over is listed
/// until the kernel tidies up, half a minute later, and is not used any more.
pub fn expires_in(body: &[u8]) -> Option<Duration> {
    let info = find(body.get(fixed::ROUTE..)?, rt::CACHE_INFO)?;
    let ticks = u32_at(info, 8)?.cast_signed();
    let ticks_left = u32::try_from(ticks.max(0)).unwrap_or_default();
    (ticks != 0).then(|| Duration::from_secs(1) * ticks_left / rt::TICKS_PER_SECOND)
}

/// The ways of a multipath route: a header with a length and an interface, then attributes.
fn multipath(mut bytes: &[u8]) -> Vec<Way> {
    let mut ways = Vec::new();
    while let (Some(length), Some(index)) = (u16_at(bytes, 0), u32_at(bytes, 4)) {
        let length = usize::from(length);
        let Some(attributes) = bytes.get(fixed::HOP..length) else {
            break;
        };
        let flags = bytes.get(2).copied().unwrap_or_default();
        ways.push(Way {
            index,
            gateway: gateway(attributes),
            on_link: u32::from(flags) & rt::FLAG_ON_LINK != 0,
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    ways
}

/// A rule (`RTM_NEWRULE`).
pub fn rule(body: &[u8]) -> Option<Rule> {
    let [family, to_length, from_length, tos, table, _, _, action] = *body.first_chunk()?;
    let family = family_of(family)?;
    let inverted = u32_at(body, 8)? & fr::FLAG_INVERT != 0;
    let mut rule = Rule::lookup(family, 0, TableId(u32::from(table)), Proto(0));
    rule.inverted = inverted;
    rule.has_more = tos != 0;
    let mut lookup = TableId(u32::from(table));
    let (mut mark, mut mask) = (None, None);
    for (kind, value) in Attributes(body.get(fixed::ROUTE..)?) {
        match kind {
            fr::TO => rule.to = prefix(value, to_length),
            fr::FROM => rule.from = prefix(value, from_length),
            fr::IIF => rule.iif = Some(text(value)),
            fr::OIF => rule.oif = Some(text(value)),
            fr::PRIORITY => rule.priority = RulePriority(u32_at(value, 0)?),
            fr::MARK => mark = u32_at(value, 0),
            fr::MASK => mask = u32_at(value, 0),
            // The kernel says -1 where nothing is suppressed.
            fr::SUPPRESS_PREFIX_LENGTH => {
                rule.suppress_prefix_length = u32_at(value, 0).filter(|l| *l != u32::MAX);
            }
            fr::TABLE => lookup = TableId(u32_at(value, 0)?),
            fr::PROTO => rule.proto = Proto(*value.first()?),
            fr::PADDING => {}
            _ => rule.has_more = true,
        }
    }
    if mark.is_some() || mask.is_some() {
        rule.mark = Some(Mark::new(mark.unwrap_or(0), mask.unwrap_or(u32::MAX)));
    }
    rule.action = match action {
        fr::ACTION_LOOKUP => RuleAction::Lookup(lookup),
        fr::ACTION_PROHIBIT => RuleAction::Prohibit,
        _ => RuleAction::Other,
    };
    Some(rule)
}

fn prefix(value: &[u8], length: u8) -> Option<IpNet> {
    Some(IpNet::new(ip(value)?, length).ok()?.trunc())
}

/// An address of four or of sixteen bytes.
pub(crate) fn ip(value: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(value) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(value).ok().map(IpAddr::from)
}

fn family_of(number: u8) -> Option<Family> {
    [Family::V4, Family::V6]
        .into_iter()
        .find(|f| f.number() == number)
}

#[cfg(test)]
mod tests;

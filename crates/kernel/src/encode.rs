//! Steps, as messages for the kernel.
//!
//! Written with our own [`Message`] instead of `netlink-packet-route`, and so is `decode`: that
//! crate has no nexthop objects and no conntrack, and refuses a whole message when one attribute in
//! it is of a form that it does not know, so that a foreign rule or link would be missing from what
//! we see. It serves as the oracle in the tests.
//!
//! A delete names every field that identifies the object, the protocol above all: the kernel
//! matches only what it is sent, and would take a stranger's object that fits the rest.

use std::net::IpAddr;

use ipnet::IpNet;
use uplinkd_model::{
    Family, Mark, Nexthop, NexthopId, NexthopKind, Route, RouteVia, Rule, Step,
    kernel_state::RuleAction,
};

use crate::{
    netlink::{Message, flags},
    wire::{connection, message, nexthop as nh, route as rt, rule as fr},
};

/// An object that can be observed but that we never make.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("uplinkd never makes {0}")]
pub struct NeverMade(pub &'static str);

/// How a step reaches the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// By a message to rtnetlink.
    Route(Message),
    /// By a message to netfilter.
    Netfilter(Message),
    /// By a file, by `nft` or by several messages.
    Elsewhere,
}

/// A step as a message, where it is one.
///
/// # Errors
/// When the step's object is of a kind that we never make.
pub fn step(step: &Step) -> Result<Encoded, NeverMade> {
    const ADD: u16 = flags::CREATE | flags::EXCL;
    const REPLACE: u16 = flags::CREATE | flags::REPLACE;
    Ok(match step {
        Step::AddNexthop(nexthop) => Encoded::Route(new_nexthop(nexthop, ADD)?),
        Step::ReplaceNexthop(nexthop) => Encoded::Route(new_nexthop(nexthop, REPLACE)?),
        Step::DeleteNexthop(id) => Encoded::Route(delete_nexthop(*id)),
        Step::AddRoute(route) => Encoded::Route(new_route(route, ADD)?),
        Step::ReplaceRoute(route) => Encoded::Route(new_route(route, REPLACE)?),
        Step::DeleteRoute(route) => Encoded::Route(delete_route(route)?),
        Step::AddRule(rule) => Encoded::Route(rule_message(rule, message::NEW_RULE, ADD)?),
        Step::DeleteRule(rule) => Encoded::Route(rule_message(rule, message::DELETE_RULE, 0)?),
        Step::FlushConnections { mark, family } => {
            Encoded::Netfilter(flush_connections(*mark, *family))
        }
        Step::SetSysctl { .. }
        | Step::SolicitRouters { .. }
        | Step::SetNft(_)
        | Step::DeleteNft { .. }
        | Step::NameTables(_)
        | Step::MoveConnections { .. }
        | Step::DeleteConnections(_)
        | Step::ReleasePrefix { .. }
        | Step::ForgetSticky { .. } => Encoded::Elsewhere,
    })
}

fn new_nexthop(nexthop: &Nexthop, how: u16) -> Result<Message, NeverMade> {
    let message = |family: u8, flags: u32| {
        let mut header = [family, 0, nexthop.proto.0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&flags.to_ne_bytes());
        Message::new(message::NEW_NEXTHOP, how, &header).u32(nh::ID, nexthop.id.0)
    };
    match &nexthop.kind {
        NexthopKind::Single {
            family,
            device,
            gateway,
            on_link,
        } => {
            let flags = if *on_link { rt::FLAG_ON_LINK } else { 0 };
            let single = message(family.number(), flags).u32(nh::OIF, device.index);
            Ok(match gateway {
                Some(gateway) => single.attr(nh::GATEWAY, &octets(*gateway)),
                None => single,
            })
        }
        NexthopKind::Group(members) => {
            let mut entries = Vec::with_capacity(members.len() * nh::ENTRY);
            for (id, weight) in members {
                // The weight is stored minus one. Kernels before 6.12 have eight bits for it and
                // refuse anything in the byte behind them, which stays zero up to 256.
                let [low, high] = weight.saturating_sub(1).to_le_bytes();
                entries.extend_from_slice(&id.0.to_ne_bytes());
                entries.extend_from_slice(&[low, high, 0, 0]);
            }
            Ok(message(0, 0).attr(nh::GROUP, &entries))
        }
        NexthopKind::Other => Err(NeverMade("a nexthop that is neither a way out nor a group")),
    }
}

fn delete_nexthop(id: NexthopId) -> Message {
    // The kernel refuses a delete whose header names a protocol.
    Message::new(message::DELETE_NEXTHOP, 0, &[0; 8]).u32(nh::ID, id.0)
}

fn new_route(route: &Route, how: u16) -> Result<Message, NeverMade> {
    route_message(route, message::NEW_ROUTE, how, new_scope(route))
}

fn delete_route(route: &Route) -> Result<Message, NeverMade> {
    // `nowhere` lets IPv4 match any scope, which is not part of a route's identity.
    route_message(route, message::DELETE_ROUTE, 0, rt::SCOPE_NOWHERE)
}

/// IPv4 wants a scope no wider than the network for a route without a gateway.
fn new_scope(route: &Route) -> u8 {
    match &route.via {
        RouteVia::Device { gateway: None, .. } if route.family() == Family::V4 => rt::SCOPE_LINK,
        RouteVia::Device { .. } | RouteVia::Nexthop(_) | RouteVia::Prohibit | RouteVia::Other => {
            rt::SCOPE_UNIVERSE
        }
    }
}

fn route_message(route: &Route, kind: u16, how: u16, scope: u8) -> Result<Message, NeverMade> {
    let route_type = match &route.via {
        RouteVia::Nexthop(_) | RouteVia::Device { .. } => rt::UNICAST,
        RouteVia::Prohibit => rt::PROHIBIT,
        RouteVia::Other => return Err(NeverMade("a route that leads several ways by itself")),
    };
    let family = route.family();
    let length = route.destination.prefix_len();
    let header = [
        family.number(),
        length,
        0,
        0,
        0, // The table is an attribute, which has room for all numbers.
        route.proto.0,
        scope,
        route_type,
        0,
        0,
        0,
        0,
    ];
    let mut message = Message::new(kind, how, &header);
    if length > 0 {
        message = message.attr(rt::DESTINATION, &octets(route.destination.network()));
    }
    message = message.u32(rt::TABLE, route.table.0);
    if let Some(metric) = metric(route) {
        message = message.u32(rt::PRIORITY, metric);
    }
    if let Some(source) = route.source {
        message = message.attr(rt::SOURCE, &octets(source));
    }
    Ok(match &route.via {
        RouteVia::Nexthop(id) => message.u32(rt::NEXTHOP_ID, id.0),
        RouteVia::Device { device, gateway } => {
            let message = message.u32(rt::OIF, device.index);
            match gateway {
                Some(gateway) if Family::of(*gateway) == family => {
                    message.attr(rt::GATEWAY, &octets(*gateway))
                }
                Some(gateway) => message.attr(rt::VIA, &via(*gateway)),
                None => message,
            }
        }
        RouteVia::Prohibit | RouteVia::Other => message,
    })
}

/// A gateway of the other family is written with its family before it.
fn via(gateway: IpAddr) -> Vec<u8> {
    let mut bytes = u16::from(Family::of(gateway).number())
        .to_ne_bytes()
        .to_vec();
    bytes.extend_from_slice(&octets(gateway));
    bytes
}

/// The metric as it is sent. IPv6 has no zero: the kernel would take 1024 for it when adding, and
/// any metric when deleting.
fn metric(route: &Route) -> Option<u32> {
    match (route.family(), route.metric) {
        (Family::V4, 0) => None,
        (Family::V6, 0) => Some(rt::METRIC_DEFAULT_V6),
        (_, metric) => Some(metric),
    }
}

fn rule_message(rule: &Rule, kind: u16, how: u16) -> Result<Message, NeverMade> {
    if rule.has_more {
        return Err(NeverMade("a rule with attributes that it does not know"));
    }
    let (action, table) = match rule.action {
        RuleAction::Lookup(table) => (fr::ACTION_LOOKUP, Some(table)),
        RuleAction::Prohibit => (fr::ACTION_PROHIBIT, None),
        RuleAction::Other => return Err(NeverMade("a rule with another action")),
    };
    let length = |net: Option<IpNet>| net.map_or(0, |n| n.prefix_len());
    let inverted = if rule.inverted { fr::FLAG_INVERT } else { 0 };
    let mut header = vec![
        rule.family.number(),
        length(rule.to),
        length(rule.from),
        0,
        0,
        0,
        0,
        action,
    ];
    header.extend_from_slice(&inverted.to_ne_bytes());
    let mut message = Message::new(kind, how, &header)
        .u32(fr::PRIORITY, rule.priority.0)
        .u8(fr::PROTO, rule.proto.0);
    for (attribute, net) in [(fr::FROM, rule.from), (fr::TO, rule.to)] {
        if let Some(net) = net.filter(|n| n.prefix_len() > 0) {
            message = message.attr(attribute, &octets(net.network()));
        }
    }
    for (attribute, name) in [(fr::IIF, &rule.iif), (fr::OIF, &rule.oif)] {
        if let Some(name) = name {
            message = message.str(attribute, name);
        }
    }
    if let Some(mark) = rule.mark {
        message = message.u32(fr::MARK, mark.value).u32(fr::MASK, mark.mask);
    }
    if let Some(length) = rule.suppress_prefix_length {
        message = message.u32(fr::SUPPRESS_PREFIX_LENGTH, length);
    }
    Ok(match table {
        Some(table) => message.u32(fr::TABLE, table.0),
        None => message,
    })
}

/// Removes the connections with a mark, of one family or of both (`AF_UNSPEC` in the header). The
/// mask is always sent: without it only connections with exactly this whole mark would go.
///
/// The kernel looks at the family only where the header's version is 1 (its own is 0): early users
/// filled the family in without meaning it.
/// Takes all connections with a mark out of tracking.
pub(crate) fn flush_connections(mark: Mark, family: Option<Family>) -> Message {
    let header = family.map_or([0; 4], |f| [f.number(), 1, 0, 0]);
    Message::new(message::DELETE_CONNECTIONS, 0, &header)
        .be32(connection::MARK, mark.value)
        .be32(connection::MARK_MASK, mark.mask)
}

/// An address as bytes in the network's order.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests;

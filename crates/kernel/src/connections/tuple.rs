//! A connection as conntrack writes it.

use std::net::IpAddr;

use uplinkd_model::{
    Connection, Family,
    connection::{Tuple, TupleKind},
};

use super::{FIXED, be32};
use crate::{
    decode::ip,
    encode::octets,
    netlink::{find, nest, put},
    wire::connection as cta,
};

/// A connection (`IPCTNL_MSG_CT_NEW`); none where it is of no family that we know.
pub(super) fn connection(body: &[u8]) -> Option<Connection> {
    let attributes = body.get(FIXED..)?;
    Some(Connection {
        original: tuple(find(attributes, cta::ORIGINAL)?)?,
        reply: tuple(find(attributes, cta::REPLY)?)?,
        // Connections without a mark have no attribute.
        mark: be32(attributes, cta::MARK).unwrap_or(0),
    })
}

fn tuple(body: &[u8]) -> Option<Tuple> {
    let addresses = find(body, cta::ADDRESSES)?;
    let address = |kind| find(addresses, kind).or_else(|| find(addresses, kind + 2));
    let (source, destination) = (ip(address(cta::SOURCE)?)?, ip(address(cta::DESTINATION)?)?);
    let protocol = find(body, cta::PROTOCOL)?;
    let number = *find(protocol, cta::NUMBER)?.first()?;
    Some(Tuple {
        source,
        destination,
        protocol: number,
        kind: kind(protocol),
    })
}

fn kind(protocol: &[u8]) -> TupleKind {
    let be16 = |kind| {
        let bytes = find(protocol, kind)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    };
    let byte = |kind| find(protocol, kind)?.first().copied();
    if let (Some(source), Some(destination)) = (be16(cta::SOURCE_PORT), be16(cta::DESTINATION_PORT))
    {
        return TupleKind::Ports {
            source,
            destination,
        };
    }
    for family in [0, 3] {
        if let (Some(id), Some(icmp_type), Some(code)) = (
            be16(cta::ICMP_ID + family),
            byte(cta::ICMP_TYPE + family),
            byte(cta::ICMP_CODE + family),
        ) {
            return TupleKind::Icmp {
                icmp_type,
                code,
                id,
            };
        }
    }
    TupleKind::Other
}

/// Writes a direction, as the kernel wants it to find the connection.
pub(super) fn put_tuple(body: &mut Vec<u8>, tuple: &Tuple) {
    let is_v6 = tuple.family() == Family::V6;
    nest(body, cta::ADDRESSES, |addresses| {
        let higher = if is_v6 { 2 } else { 0 };
        let mut address = |kind, address: IpAddr| put(addresses, kind + higher, &octets(address));
        address(cta::SOURCE, tuple.source);
        address(cta::DESTINATION, tuple.destination);
    });
    nest(body, cta::PROTOCOL, |protocol| {
        put(protocol, cta::NUMBER, &[tuple.protocol]);
        match tuple.kind {
            TupleKind::Ports {
                source,
                destination,
            } => {
                put(protocol, cta::SOURCE_PORT, &source.to_be_bytes());
                put(protocol, cta::DESTINATION_PORT, &destination.to_be_bytes());
            }
            TupleKind::Icmp {
                icmp_type,
                code,
                id,
            } => {
                let higher = if is_v6 { 3 } else { 0 };
                put(protocol, cta::ICMP_ID + higher, &id.to_be_bytes());
                put(protocol, cta::ICMP_TYPE + higher, &[icmp_type]);
                put(protocol, cta::ICMP_CODE + higher, &[code]);
            }
            TupleKind::Other => {}
        }
    });
}

//! Tracked connections: counted, listed, taken out of tracking one by one.

mod moving;
mod tuple;

use std::net::IpAddr;

use uplinkd_model::{
    Connection, Family, Mark,
    connection::{Tuple, TupleKind},
};

use crate::{
    Kernel,
    netlink::{Frame, KernelError, Message, find},
    wire::{connection as cta, message},
};

/// Length of `struct nfgenmsg`.
const FIXED: usize = 4;

/// Connections that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// The connections, in no order.
    pub list: Vec<Connection>,
    /// There are no more. Otherwise the bound was reached and the rest left out.
    pub complete: bool,
}

/// What is known of a connection, of the packet that began it. What is none may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionQuery {
    /// The IP protocol.
    pub protocol: Option<u8>,
    /// Where it came from.
    pub source: Option<IpAddr>,
    /// Where it went to, before translation.
    pub destination: Option<IpAddr>,
    /// From which port.
    pub source_port: Option<u16>,
    /// To which port.
    pub destination_port: Option<u16>,
}

impl ConnectionQuery {
    fn takes(&self, tuple: &Tuple) -> bool {
        let (source_port, destination_port) = match tuple.kind {
            TupleKind::Ports {
                source,
                destination,
            } => (Some(source), Some(destination)),
            TupleKind::Icmp { .. } | TupleKind::Other => (None, None),
        };
        self.protocol.is_none_or(|p| p == tuple.protocol)
            && self.source.is_none_or(|s| s == tuple.source)
            && self.destination.is_none_or(|d| d == tuple.destination)
            && (self.source_port.is_none() || self.source_port == source_port)
            && (self.destination_port.is_none() || self.destination_port == destination_port)
    }
}

impl Kernel {
    /// How many tracked connections each of these families and marks has, in the same order. One walk over
    /// all, however many are asked for; no connection is kept here. Costs about a microsecond for each
    /// connection that there is.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or where connections are not tracked.
    pub fn count_connections(&mut self, of: &[(Family, Mark)]) -> Result<Vec<u64>, KernelError> {
        let mut counts = vec![0; of.len()];
        let ask = Message::new(message::GET_CONNECTIONS, 0, &[0; FIXED]);
        self.netfilter.dump_matching(ask, |frame: &Frame<'_>| {
            let [number, ..] = *frame.body else {
                return false;
            };
            let attributes = frame.body.get(FIXED..).unwrap_or_default();
            let whole = be32(attributes, cta::MARK).unwrap_or(0);
            for ((family, mark), count) in of.iter().zip(&mut counts) {
                *count += u64::from(family.number() == number && mark.matches(whole));
            }
            false
        })?;
        Ok(counts)
    }

    /// The tracked connections of both families whose mark has any of these bits, `most` at most.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or where connections are not tracked.
    pub fn connections(&mut self, bits: u32, most: usize) -> Result<Connections, KernelError> {
        self.select(most, |connection| connection.mark & bits != 0)
    }

    /// The tracked connections that a query takes, whatever their mark, `most` at most.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or where connections are not tracked.
    pub fn find_connections(
        &mut self,
        query: &ConnectionQuery,
        most: usize,
    ) -> Result<Connections, KernelError> {
        self.select(most, |connection| query.takes(&connection.original))
    }

    /// Walks over all connections and keeps those that are wanted. A dump of conntrack never says
    /// that it was interrupted; one that comes or goes meanwhile is in it or not.
    fn select(
        &mut self,
        most: usize,
        wanted: impl Fn(&Connection) -> bool,
    ) -> Result<Connections, KernelError> {
        let mut found = Connections {
            list: Vec::new(),
            complete: true,
        };
        let ask = Message::new(message::GET_CONNECTIONS, 0, &[0; FIXED]);
        self.netfilter.dump_matching(ask, |frame: &Frame<'_>| {
            if let Some(connection) = tuple::connection(frame.body)
                && wanted(&connection)
            {
                if found.list.len() < most {
                    found.list.push(connection);
                } else {
                    found.complete = false;
                }
            }
            false
        })?;
        Ok(found)
    }
}

/// A request for the connections of a family with a mark: the kernel picks them out.
fn marked(family: Family, mark: Mark) -> Message {
    let mut header = [0; FIXED];
    header[0] = family.number();
    Message::new(message::GET_CONNECTIONS, 0, &header)
        .be32(cta::MARK, mark.value)
        .be32(cta::MARK_MASK, mark.mask)
}

/// The attribute of a connection that is a number of four bytes.
fn be32(attributes: &[u8], kind: u16) -> Option<u32> {
    let bytes = find(attributes, kind)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;

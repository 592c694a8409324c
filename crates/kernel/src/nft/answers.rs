//! Answers that are kept out for a moment, while what they answer moves to another uplink.
//!
//! When a connection that keeps its source is taken out of tracking, an answer to it that is still on
//! its way would be new to the kernel: the first packet of a connection from outside, inbound by the
//! uplink that is to be left, which would then hold the flow there.

use std::time::Duration;

use uplinkd_model::{
    Family,
    connection::{Tuple, TupleKind},
    policy::{Span, address_number},
};

use super::{
    datatype::Datatype,
    element::Messages,
    ruleset::{Collection, Item, digit},
    wire::SUBSYSTEM,
};
use crate::{Kernel, netlink::KernelError};

/// How long: longer than an answer is on its way.
const KEPT_OUT: Duration = Duration::from_secs(2);
/// Most answers of a family at once, fewer than the set has room for: a full set would take none.
const ANSWERS_MAX: usize = 60_000;

/// The set of a family.
pub(super) fn set(family: Family) -> (String, Collection) {
    let (address, port) = (Datatype::Address(family), Datatype::Port);
    let key = vec![address, Datatype::Protocol, port, address, port];
    let name = format!("answers{}", digit(family));
    (name, Collection::dynamic(key, KEPT_OUT))
}

/// The rule that drops them, among packets of new connections from an uplink.
pub(super) fn rule(family: Family) -> String {
    let ip = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    format!(
        "ct state new {ip} saddr . meta l4proto . th sport . {ip} daddr . th dport @answers{} drop",
        digit(family)
    )
}

impl Kernel {
    /// Keeps these out for a moment, as far as they have ports. Without a table of ours that is known
    /// to be there, nothing is done: nothing of ours would mark their connections either.
    pub(crate) fn keep_out(&mut self, answers: &[Tuple]) -> Result<(), KernelError> {
        let Some(table) = self.nft.known.as_ref().map(|k| k.name.clone()) else {
            return Ok(());
        };
        let mut messages = Vec::new();
        for family in [Family::V4, Family::V6] {
            let (name, collection) = set(family);
            let mut elements = Messages::new(&table, &name, &collection, true);
            let of_family = answers.iter().filter(|a| a.family() == family);
            for key in of_family.filter_map(key).take(ANSWERS_MAX) {
                elements.push(&Item {
                    key: &key,
                    target: None,
                });
            }
            messages.extend(elements.finish());
        }
        self.netfilter.transaction(SUBSYSTEM, &messages)
    }
}

/// An answer as an element.
fn key(answer: &Tuple) -> Option<[Span; 5]> {
    let (source, destination) = match answer.kind {
        TupleKind::Ports {
            source,
            destination,
        } => (source, destination),
        TupleKind::Icmp { .. } | TupleKind::Other => return None,
    };
    Some([
        Span::one(address_number(answer.source)),
        Span::one(answer.protocol),
        Span::one(source),
        Span::one(address_number(answer.destination)),
        Span::one(destination),
    ])
}

//! Delegated IPv6 prefixes: what leaves as it is, and what is translated one to one.
//!
//! Translation is stateful: connection tracking remembers the first packet's, so that answers, errors
//! and pinning work as for any other connection.
//!
//! ```text
//! nat      from a network of the LAN, by its uplink      the network's part is replaced
//! inward   to what stands for a network, by the uplink   and back, after the port forwards of others
//! ```

use uplinkd_model::{
    Family,
    nft::NftUplink,
    policy::{Span, address_number},
};

use super::Builder;
use crate::nft::{
    datatype::Datatype,
    ruleset::{Collection, Elements, Target},
};

impl Builder<'_> {
    /// What is looked up by interface and source, and the way inward.
    pub(super) fn delegated(&mut self) {
        let by_name = |u: &NftUplink| uplinkd_model::classify::interface_number(&u.interface);
        let uplinks = self.table.uplinks.iter();
        let kept = uplinks.clone().flat_map(|uplink| {
            uplink.kept.iter().map(move |prefix| {
                let first = address_number(prefix.network().into());
                let last = address_number(prefix.broadcast().into());
                let key = vec![Span::one(by_name(uplink)), Span { first, last }];
                (key, None)
            })
        });
        let key = vec![Datatype::Interface, Datatype::Address(Family::V6)];
        let kept = Elements::Listed(kept.collect());
        // Of the kind that holds ranges also while there are none, so that a prefix that comes is one
        // element more and not another set.
        self.collection("kept6", Collection::set_of_kind(key, kept, true));
        let inward = uplinks.clone().filter_map(|uplink| {
            let rules = inward(uplink);
            (!rules.is_empty()).then(|| (by_name(uplink), uplink.slot, rules))
        });
        let inward: Vec<_> = inward.collect();
        if inward.is_empty() {
            return;
        }
        let targets = inward.iter().map(|(name, slot, _)| {
            let chain = Target::Goto(inward_chain(*slot));
            (*name, chain)
        });
        self.map("inward", Datatype::Interface, targets.collect::<Vec<_>>());
        for (_, slot, rules) in inward {
            self.chain(inward_chain(slot), rules);
        }
        // Behind the port forwards of others: what these have translated is not asked here.
        self.hook(
            "inward",
            "type nat hook prerouting priority dstnat + 10; policy accept;",
            vec!["meta nfproto ipv6 iifname vmap @inward".to_owned()],
        );
    }
}

fn inward_chain(slot: u16) -> String {
    format!("inward6_{slot}")
}

/// How networks leave by an uplink. The router itself leaves as everything else does.
pub(super) fn outward(uplink: &NftUplink, otherwise: &str) -> Vec<String> {
    if uplink.translations.is_empty() {
        return Vec::new();
    }
    let translations = uplink.translations.iter();
    let rules =
        translations.map(|t| format!("ip6 saddr {} snat ip6 prefix to {}", t.network, t.by));
    std::iter::once(format!("fib saddr type local {otherwise}"))
        .chain(rules)
        .collect()
}

/// How connections from outside find back. Those to the router's own addresses do not: what listens
/// on them only is not meant for the internet.
fn inward(uplink: &NftUplink) -> Vec<String> {
    let translations = uplink.translations.iter().filter(|t| t.inbound);
    let rules = translations.flat_map(|t| {
        let router = t.router.iter().map(|a| format!("ip6 daddr {a} accept"));
        let back = format!("ip6 daddr {} dnat ip6 prefix to {}", t.by, t.network);
        router.chain(std::iter::once(back))
    });
    rules.collect()
}

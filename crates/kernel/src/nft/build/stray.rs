//! The part of packets that belong to no connection: what is left of those that were released.
//!
//! After a failover a connection's entry is gone. Its next data begins a new one, but a TCP packet
//! with FIN is `invalid` to connection tracking: it is neither classified nor translated, and would
//! leave with its private source address by whatever line the default group chose, payload included,
//! also where a policy forbids it.
//!
//! ```text
//! prerouting   TCP on its way out by a translated uplink   reset, so that its sender gives up
//! output       likewise, or judged by the policies where its source is the line's own address
//! postrouting  anything that leaves by a translated uplink dropped, unless from its own address
//! ```
//!
//! Packets whose connection has a mark are decided before any of this is asked.

use std::collections::BTreeSet;

use uplinkd_model::Nat;

use super::{Builder, FAMILIES, uplinks::nat};
use crate::nft::ruleset::digit;

/// The chain for what arrives from elsewhere than an uplink.
pub(super) const STRAY_IN: &str = "stray_in";
/// The chain for the router's own.
pub(super) const STRAY_OWN: &str = "stray_own";
/// The chain for what leaves.
pub(super) const STRAY_OUT: &str = "stray_out";

/// What may leave as it is: an uplink's own addresses, its own prefixes, and link-local ones.
const UNTRANSLATED: [&str; 4] = [
    "oifname . ip saddr @own4 accept",
    "oifname . ip6 saddr @own6 accept",
    "oifname . ip6 saddr @kept6 accept",
    "ip6 saddr fe80::/10 accept",
];
/// The same for the router's own, where no policy forbids it: the classification sets the packet's
/// mark, and the way is chosen again by that.
const JUDGED: [&str; 4] = [
    "oifname . ip saddr @own4 goto classify_own",
    "oifname . ip6 saddr @own6 goto classify_own",
    "oifname . ip6 saddr @kept6 goto classify_own",
    "ip6 saddr fe80::/10 accept",
];

impl Builder<'_> {
    pub(super) fn strays(&mut self) {
        // Written out, since nft does not take a named set after `fib`.
        let uplinks = self.table.uplinks.iter();
        let kept = uplinks.flat_map(|u| u.kept.iter().map(move |p| (&u.interface, p)));
        let mut arriving: Vec<_> = kept
            .map(|(name, p)| format!("ip6 saddr {p} fib daddr oifname \"{name}\" accept"))
            .collect();
        let mut own = JUDGED.map(str::to_owned).to_vec();
        let mut leaving = UNTRANSLATED.map(str::to_owned).to_vec();
        for family in FAMILIES {
            let digit = digit(family);
            let translated = self.table.uplinks.iter();
            let translated = translated.filter(|u| nat(u, family) != Nat::None);
            let names: BTreeSet<_> = translated.map(|u| format!("\"{}\"", u.interface)).collect();
            if names.is_empty() {
                continue;
            }
            // Written out, since nft does not take a named set of interfaces after `fib`.
            let names: Vec<_> = names.into_iter().collect();
            let lines = format!("oifname {{ {} }}", names.join(", "));
            let tcp = format!("meta nfproto ipv{digit} meta l4proto tcp tcp flags & rst == 0");
            arriving.push(format!("{tcp} fib daddr {lines} reject with tcp reset"));
            own.push(format!("{tcp} {lines} reject with tcp reset"));
            leaving.push(format!("meta nfproto ipv{digit} {lines} drop"));
        }
        self.chain(STRAY_IN, arriving);
        self.chain(STRAY_OWN, own);
        self.chain(STRAY_OUT, leaving);
    }
}

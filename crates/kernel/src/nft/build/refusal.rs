//! The part of the refusals: what routing refuses is told to whoever asked, in a form that every
//! protocol heeds.
//!
//! The kernel tells of a `prohibit` by ICMP, of which it sends few, and which TCP hears only with the
//! next attempt, if at all. So routing is asked beforehand, with the mark that the packet got: what
//! `main` leads to a specific network, a rule of others or a live uplink takes, is not refused.
//!
//! ```text
//!          forwarded                             the router's own
//! IPv4     `fib oif`, behind translation         not to be asked: what did not come out is
//!          of the destination                    remembered, and refused when TCP repeats it (1 s)
//! IPv6     `fib type`, in the outlet's chain     the same
//! ```
//!
//! The router's own packets that are not TCP need nothing for IPv4: sending them fails.

use std::time::Duration;

use uplinkd_model::{
    Family,
    nft::{NftOutlet, Refusal},
};

use super::Builder;
use crate::nft::{datatype::Datatype, ruleset::Collection};

/// The set of the router's own first packets of which none has come out yet.
const UNHEARD: &str = "unheard4";
/// How long they are remembered: TCP repeats its first packet after one second.
const UNHEARD_FOR: Duration = Duration::from_secs(3);
/// What they are remembered by.
const UNHEARD_KEY: &str = "ip saddr . ip daddr . tcp sport . tcp dport";

impl Builder<'_> {
    /// What all outlets that may refuse have in common.
    pub(super) fn refusals(&mut self) {
        let outlets = self.table.outlets.iter().filter(|o| can_refuse(o));
        let marks: Vec<_> = outlets.map(|o| format!("{:#010x}", o.mark)).collect();
        if marks.is_empty() {
            return;
        }
        let reject = [
            "meta l4proto tcp reject with tcp reset",
            "reject with icmpx type admin-prohibited",
        ];
        self.chain("refuse", reject.map(str::to_owned).to_vec());
        let port = Datatype::Port;
        let address = Datatype::Address(Family::V4);
        let key = vec![address, address, port, port];
        self.collection(UNHEARD, Collection::dynamic(key, UNHEARD_FOR));
        // A chain for NAT sees first packets only, so that established connections pay nothing.
        let is_refusing = format!(
            "ct mark and {:#010x} {{ {} }}",
            self.table.marks.outlet,
            marks.join(", ")
        );
        self.hook(
            "refuse4",
            "type nat hook prerouting priority dstnat + 10; policy accept;",
            vec![format!(
                "meta nfproto ipv4 {is_refusing} fib daddr type unicast \
                 fib daddr . mark oif missing goto refuse"
            )],
        );
    }

    /// The rules of an outlet's chain, where its marks are set.
    pub(super) fn refusal(&self, outlet: &NftOutlet, family: Family) -> Vec<String> {
        if !can_refuse(outlet) {
            return Vec::new();
        }
        match family {
            // Only what is on its way out has an outgoing interface already.
            Family::V4 => vec![
                format!("oif != 0 {UNHEARD_KEY} @{UNHEARD} goto refuse"),
                format!("oif != 0 add @{UNHEARD} {{ {UNHEARD_KEY} }}"),
            ],
            Family::V6 => vec!["fib daddr . mark type prohibit goto refuse".to_owned()],
        }
    }

    /// What becomes of the memory when a connection's first packet leaves by an uplink.
    pub(super) fn heard(&self) -> Option<String> {
        let can = self.table.outlets.iter().any(can_refuse);
        can.then(|| format!("delete @{UNHEARD} {{ {UNHEARD_KEY} }}"))
    }
}

/// The default group's outlet has no mark of its own, and never refuses.
fn can_refuse(outlet: &NftOutlet) -> bool {
    match outlet.refusal {
        Refusal::Never => false,
        Refusal::Possible => outlet.mark != 0,
    }
}

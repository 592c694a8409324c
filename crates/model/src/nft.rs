//! What our one nft table must do, as values. `kernel::nft` writes it as text.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use crate::{classify::Classifier, intent::Nat, policy::Sticky, prefix::Translation};

/// The content of our nft table (family inet), apart from what fills itself while it works: sticky
/// choices and the addresses that resolvers find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftTable {
    /// Its name.
    pub name: String,
    /// Which bits of a mark are ours, and for what.
    pub marks: MarkFields,
    /// Interfaces whose traffic policies speak of, beside the router's own. Empty: all but uplinks.
    pub lan: Vec<String>,
    /// Packet marks of others that are compared as a whole word by a rule: packets that bear one
    /// never get bits of ours, since that rule would no longer know them.
    pub foreign_marks: BTreeSet<u32>,
    /// The uplinks, by slot.
    pub uplinks: Vec<NftUplink>,
    /// The outlets, by code, the default group's first.
    pub outlets: Vec<NftOutlet>,
    /// The policies.
    pub classifier: Arc<Classifier>,
    /// The sets that resolvers fill, by name without the family's digit, and how long an address
    /// counts in them.
    pub domains: BTreeMap<String, Duration>,
    /// The control groups that policies speak of and that exist, with the number (inode) that the
    /// kernel knows them by. Conditions on others cannot be put, and never hold.
    pub cgroups: BTreeMap<String, u64>,
}

/// Which bits of a packet's or connection's mark are ours, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MarkFields {
    /// The uplink's slot.
    pub uplink: u32,
    /// Set where the connection came in by its uplink.
    pub inbound: u32,
    /// The outlet's code.
    pub outlet: u32,
}

impl MarkFields {
    /// All bits of ours.
    pub fn all(self) -> u32 {
        self.uplink | self.inbound | self.outlet
    }
}

/// An uplink's part in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NftUplink {
    /// The lasting number, which names its chains.
    pub slot: u16,
    /// The interface.
    pub interface: String,
    /// The uplink's bits of the mark.
    pub mark: u32,
    /// What becomes of IPv4 source addresses; left alone where the family is not routed by us.
    pub nat4: Nat,
    /// What becomes of IPv6 source addresses; likewise. Never what depends on prefixes: these are below.
    pub nat6: Nat,
    /// IPv6 prefixes whose addresses leave as they are.
    pub kept: Vec<Ipv6Net>,
    /// IPv6 networks whose addresses are translated one to one.
    pub translations: Vec<Translation>,
    /// The uplink's own addresses, both families, sorted: never rewritten when they leave by it, and
    /// the sign by which connections older than us are recognised as this uplink's.
    pub addresses: Vec<IpAddr>,
}

/// An outlet's part in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftOutlet {
    /// The lasting number, which names its chains and sets.
    pub code: u16,
    /// The outlet's bits of the mark; zero for the default group's.
    pub mark: u32,
    /// What keeps to the uplink that it was given first.
    pub sticky: Option<Sticky>,
    /// The slots of the uplinks it may lead to, sorted. Empty where nothing is sticky.
    pub members: Vec<u16>,
    /// Whether routing may refuse what it takes. A refusal is then told to whoever asked, in a form
    /// that every protocol heeds.
    pub refusal: Refusal,
}

/// Whether routing may refuse what an outlet takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// It never does: something behind the outlet always decides.
    #[default]
    Never,
    /// It does whatever `main` has no specific route for, always or while nothing of the outlet is
    /// live.
    Possible,
}

impl NftTable {
    /// A number that another content would have another of. It holds across restarts of one build; a
    /// later build may count otherwise, and then puts the table once more.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.name.hash(&mut hasher);
        self.marks.hash(&mut hasher);
        self.lan.hash(&mut hasher);
        self.foreign_marks.hash(&mut hasher);
        self.uplinks.hash(&mut hasher);
        for outlet in &self.outlets {
            (outlet.code, outlet.mark).hash(&mut hasher);
            outlet
                .sticky
                .map(|s| (s.by as u8, s.idle))
                .hash(&mut hasher);
            outlet.members.hash(&mut hasher);
            outlet.refusal.hash(&mut hasher);
        }
        self.classifier.fingerprint.hash(&mut hasher);
        self.domains.hash(&mut hasher);
        self.cgroups.hash(&mut hasher);
        hasher.finish()
    }
}

//! The part of the outlets: the chains that classification ends in, and sticky choices.
//!
//! A sticky outlet has one dynamic set for each family and member, which holds the sources (or pairs
//! of source and destination) that this uplink was given. Classification only gives the packet a
//! hint, as bits of the uplink in its mark: routing follows it while that uplink is in service. What
//! is true is learned where the packet leaves.

use uplinkd_model::{Family, nft::NftOutlet, policy::StickyBy};

use super::{Builder, FAMILIES, Whose};
use crate::nft::{
    datatype::Datatype,
    ruleset::{Collection, Target, digit},
};

impl Builder<'_> {
    /// Everything about the outlets that packets are not matched by.
    pub(super) fn outlets(&mut self) {
        let marks = self.table.marks;
        for outlet in self.table.outlets.iter().filter(|o| o.mark != 0) {
            self.chain(
                format!("restore_outlet_{}", outlet.code),
                vec![Self::set_mark(Whose::Packet, marks.outlet, outlet.mark)],
            );
        }
        for outlet in &self.table.outlets {
            for family in FAMILIES {
                self.outlet(outlet, family);
            }
        }
        for uplink in &self.table.uplinks {
            self.learning(uplink.slot, uplink.mark);
        }
    }

    /// The chain that a matching packet ends in.
    fn outlet(&mut self, outlet: &NftOutlet, family: Family) {
        let marks = self.table.marks;
        let mut rules = Vec::new();
        if outlet.mark != 0 {
            rules.push(Self::set_mark(Whose::Connection, marks.outlet, outlet.mark));
            rules.push(Self::set_mark(Whose::Packet, marks.all(), outlet.mark));
        }
        rules.extend(self.refusal(outlet, family));
        if let Some(sticky) = outlet.sticky {
            for slot in &self.members(outlet) {
                let name = set(family, outlet.code, *slot);
                let key = key(sticky.by, family);
                rules.push(format!("{key} @{name} goto hint_{slot}"));
                let part = Datatype::Address(family);
                let parts = match sticky.by {
                    StickyBy::Source => vec![part],
                    StickyBy::SourceDestination => vec![part, part],
                };
                self.collection(name, Collection::dynamic(parts, sticky.idle));
            }
        }
        rules.push("accept".to_owned());
        let name = format!("outlet{}_{}", digit(family), outlet.code);
        self.chain(name, rules);
    }

    /// The chains of an uplink that hint at it and learn that it was taken.
    fn learning(&mut self, slot: u16, mark: u32) {
        let table = self.table;
        let marks = table.marks;
        let mask = marks.uplink | marks.inbound;
        let learners: Vec<_> = table
            .outlets
            .iter()
            .filter_map(|o| Some((o, o.sticky.filter(|_| o.members.contains(&slot))?)))
            .collect();
        if learners.is_empty() {
            return;
        }
        self.chain(
            format!("hint_{slot}"),
            vec![
                Self::set_mark(Whose::Packet, mask, mark),
                "accept".to_owned(),
            ],
        );
        let mut entries = Vec::new();
        for (outlet, sticky) in learners {
            let mut rules = Vec::new();
            for family in FAMILIES {
                let key = key(sticky.by, family);
                let mut rule = |what: &str, of: u16| {
                    let set = set(family, outlet.code, of);
                    rules.push(format!("{what} @{set} {{ {key} }}"));
                };
                for other in self.members(outlet).into_iter().filter(|m| *m != slot) {
                    rule("delete", other);
                }
                rule("update", slot);
            }
            let chain = format!("learn_{}_{slot}", outlet.code);
            self.chain(chain.clone(), rules);
            entries.push((u128::from(outlet.mark), Target::Goto(chain)));
        }
        self.map(format!("learn_{slot}"), Datatype::Mark, entries);
        let mut leave = vec![Self::set_mark(Whose::Connection, mask, mark)];
        leave.extend(self.heard());
        leave.push(format!(
            "ct mark and {:#010x} vmap @learn_{slot}",
            marks.outlet
        ));
        self.chain(format!("leave_{slot}"), leave);
    }

    /// The slots of an outlet's members that have chains.
    fn members(&self, outlet: &NftOutlet) -> Vec<u16> {
        let is_there = |slot: &u16| self.table.uplinks.iter().any(|u| u.slot == *slot);
        outlet.members.iter().copied().filter(is_there).collect()
    }

    /// The chain of a packet that leaves by an uplink, the first of its connection.
    pub(super) fn leave_chain(&self, slot: u16) -> String {
        let is_learned = |o: &NftOutlet| o.sticky.is_some() && o.members.contains(&slot);
        if self.table.outlets.iter().any(is_learned) {
            format!("leave_{slot}")
        } else {
            format!("pin_out_{slot}")
        }
    }
}

/// The set of the choices of one uplink.
fn set(family: Family, code: u16, slot: u16) -> String {
    format!("sticky{}_{code}_{slot}", digit(family))
}

/// What a choice is remembered by. As conntrack saw it first, so that it is the same before and after
/// a translation of the destination.
fn key(by: StickyBy, family: Family) -> String {
    let ip = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    match by {
        StickyBy::Source => format!("ct original {ip} saddr"),
        StickyBy::SourceDestination => {
            format!("ct original {ip} saddr . ct original {ip} daddr")
        }
    }
}

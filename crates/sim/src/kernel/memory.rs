//! What our nft table remembers by itself: which client keeps to which uplink.

use std::collections::{BTreeMap, BTreeSet};

use uplinkd_model::{Family, nft::NftTable};

/// The sets of sticky choices, by the outlet's code and the uplink's slot.
#[derive(Clone, Debug, Default)]
pub struct StickyMemory {
    sets: BTreeMap<(u16, u16), BTreeSet<(Family, u8)>>,
}

impl StickyMemory {
    /// Another table takes the place of the one that is there: what it has no set for is forgotten.
    pub fn carry_over(&mut self, table: &NftTable) {
        self.sets.retain(|(code, slot), _| {
            let outlet = table.outlets.iter().find(|o| o.code == *code);
            outlet.is_some_and(|o| o.sticky.is_some() && o.members.contains(slot))
        });
    }

    /// The table is gone.
    pub fn clear(&mut self) {
        self.sets.clear();
    }

    /// Sets are flushed.
    pub fn forget(&mut self, code: u16, slots: &[u16]) {
        self.sets
            .retain(|(c, slot), _| *c != code || !slots.contains(slot));
    }

    /// The uplink that a client keeps to.
    pub fn choice(&self, code: u16, family: Family, client: u8) -> Option<u16> {
        let mut sets = self.sets.iter();
        let found = sets.find(|((c, _), set)| *c == code && set.contains(&(family, client)));
        found.map(|((_, slot), _)| *slot)
    }

    /// A new connection of a client left by an uplink.
    pub fn note(&mut self, code: u16, slot: u16, family: Family, client: u8) {
        for ((c, _), set) in &mut self.sets {
            if *c == code {
                set.remove(&(family, client));
            }
        }
        self.sets
            .entry((code, slot))
            .or_default()
            .insert((family, client));
    }

    /// Whether anybody of a family keeps to an uplink.
    pub fn is_kept(&self, code: u16, slot: u16, family: Family) -> bool {
        let set = self.sets.get(&(code, slot));
        set.is_some_and(|s| s.iter().any(|(f, _)| *f == family))
    }
}

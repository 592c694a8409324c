//! Which uplink has which lasting number.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uplinkd_model::{Slot, UplinkName};

/// The slots that have been given out, kept in the state directory across restarts.
///
/// Names that are gone from the file keep their slot until somebody needs it, so that an uplink
/// that is commented out for a while gets its marks back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slots(BTreeMap<UplinkName, Slot>);

/// More uplinks than there are slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{uplinks} uplinks need {uplinks} slots, and the mark mask has room for {max}")]
pub struct SlotsExhausted {
    /// How many uplinks there are.
    pub uplinks: usize,
    /// The highest slot.
    pub max: u16,
}

impl Slots {
    /// Makes sure that each of the names has a slot from 1 to `max` of its own.
    ///
    /// Slots that are in use already stay. New names get the lowest free ones, in the order given;
    /// when none is free, the lowest of a name that is gone. Calling it again changes nothing.
    ///
    /// # Errors
    /// There are more names than slots; nothing is changed then.
    pub fn allocate<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n UplinkName>,
        max: u16,
    ) -> Result<(), SlotsExhausted> {
        let mut wanted: Vec<&UplinkName> = Vec::new();
        for name in names {
            if !wanted.contains(&name) {
                wanted.push(name);
            }
        }
        if wanted.len() > usize::from(max) {
            return Err(SlotsExhausted {
                uplinks: wanted.len(),
                max,
            });
        }
        self.forget_unusable(&wanted, max);
        for name in wanted.iter().copied() {
            if !self.0.contains_key(name) {
                let slot = self.take_slot(&wanted, max);
                self.0.insert(name.clone(), slot);
            }
        }
        Ok(())
    }

    /// The slot of a name.
    pub fn get(&self, name: &UplinkName) -> Option<Slot> {
        self.0.get(name).copied()
    }

    /// All that are given out, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&UplinkName, Slot)> {
        self.0.iter().map(|(name, slot)| (name, *slot))
    }

    /// Drops slots out of range, and the later ones of two that are the same: a narrowed mask leaves
    /// the former behind, an edited state file the latter.
    fn forget_unusable(&mut self, wanted: &[&UplinkName], max: u16) {
        let mut taken = BTreeSet::new();
        let (in_use, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(name, _)| wanted.contains(&name));
        for (name, slot) in in_use.into_iter().chain(gone) {
            if (1..=max).contains(&slot.0) && taken.insert(slot) {
                self.0.insert(name, slot);
            }
        }
    }

    /// The lowest slot that nobody has, or else one of a name that is gone.
    fn take_slot(&mut self, wanted: &[&UplinkName], max: u16) -> Slot {
        let taken: BTreeSet<_> = self.0.values().copied().collect();
        if let Some(free) = (1..=max).map(Slot).find(|slot| !taken.contains(slot)) {
            return free;
        }
        let (slot, gone) = self
            .0
            .iter()
            .filter(|(name, _)| !wanted.contains(name))
            .map(|(name, slot)| (*slot, name.clone()))
            .min()
            .expect("there are no more wanted names than slots, so one belongs to another name");
        self.0.remove(&gone);
        slot
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(words: &[&str]) -> Vec<UplinkName> {
        words.iter().map(|w| UplinkName::new(w).unwrap()).collect()
    }

    fn slots(pairs: &[(&str, u16)]) -> Slots {
        let pair = |(name, slot): &(&str, u16)| (UplinkName::new(name).unwrap(), Slot(*slot));
        Slots(pairs.iter().map(pair).collect())
    }

    #[test]
    fn new_names_get_the_lowest_slots_in_the_order_of_the_file() {
        let mut given = Slots::default();
        given.allocate(&names(&["z", "a"]), 15).unwrap();
        assert_eq!(given, slots(&[("z", 1), ("a", 2)]));
    }

    #[test]
    fn a_name_keeps_its_slot_whatever_else_changes() {
        let mut given = slots(&[("a", 1), ("b", 2), ("c", 3)]);
        given.allocate(&names(&["d", "c"]), 15).unwrap();
        assert_eq!(given, slots(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)]));
    }

    #[test]
    fn a_name_that_is_gone_gives_its_slot_back_only_when_it_is_needed() {
        let mut given = slots(&[("a", 1), ("b", 2), ("c", 3)]);
        given.allocate(&names(&["c", "d"]), 3).unwrap();
        assert_eq!(given, slots(&[("b", 2), ("c", 3), ("d", 1)]));
        given.allocate(&names(&["a", "c", "d"]), 3).unwrap();
        assert_eq!(given, slots(&[("a", 2), ("c", 3), ("d", 1)]));
    }

    #[test]
    fn slots_that_cannot_be_used_are_given_anew() {
        let mut given = slots(&[("a", 0), ("b", 9), ("c", 2), ("d", 2)]);
        given.allocate(&names(&["a", "b", "d"]), 3).unwrap();
        assert_eq!(given, slots(&[("a", 1), ("b", 3), ("d", 2)]));
    }

    #[test]
    fn too_many_names_change_nothing() {
        let mut given = slots(&[("a", 1)]);
        let refused = given.allocate(&names(&["b", "c", "d"]), 2);
        assert_eq!(refused, Err(SlotsExhausted { uplinks: 3, max: 2 }));
        assert_eq!(given, slots(&[("a", 1)]));
    }

    #[test]
    fn they_are_a_plain_map_on_disk() {
        let text = serde_json::to_string(&slots(&[("a", 1), ("b", 2)])).unwrap();
        assert_eq!(text, r#"{"a":1,"b":2}"#);
        assert!(serde_json::from_str::<Slots>(r#"{"main":1}"#).is_err());
    }

    proptest! {
        #[test]
        fn every_name_has_a_slot_of_its_own_and_keeps_it(
            before in proptest::collection::btree_map("[a-h]", 0..8_u16, 0..8),
            wanted in proptest::collection::vec("[a-h]", 0..6),
        ) {
            let max = 6;
            let wanted = names(&wanted.iter().map(String::as_str).collect::<Vec<_>>());
            let mut given = Slots::default();
            for (name, slot) in &before {
                given.0.insert(UplinkName::new(name).unwrap(), Slot(*slot));
            }
            given.allocate(&wanted, max).unwrap();
            let once = given.clone();
            given.allocate(&wanted, max).unwrap();
            prop_assert_eq!(&once, &given);
            let distinct: BTreeSet<_> = given.0.values().collect();
            prop_assert_eq!(distinct.len(), given.0.len());
            for name in &wanted {
                let slot = given.get(name).unwrap().0;
                prop_assert!((1..=max).contains(&slot));
                let old = before.get(name.as_str()).copied();
                let was_unique = old.is_some_and(|o| before.values().filter(|s| **s == o).count() == 1);
                if was_unique && (1..=max).contains(&old.unwrap()) {
                    prop_assert_eq!(Some(slot), old);
                }
            }
        }
    }
}

//! Which uplink and which outlet has which lasting number.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};
use uplinkd_model::UplinkName;

/// The uplinks' numbers: their slots.
pub type Slots = Numbers<UplinkName>;

/// The outlets' numbers: their codes in the mark, by outlet name. The default group's, 0, is not
/// among them.
pub type OutletCodes = Numbers<String>;

/// The numbers that have been given out, from 1, kept in the state directory across restarts.
///
/// Names that are gone from the file keep their number until somebody needs it, so that an uplink
/// that is commented out for a while gets its marks back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[serde(bound(deserialize = "K: Ord + Deserialize<'de>"))]
pub struct Numbers<K>(BTreeMap<K, u16>);

/// More names than there are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} names need {wanted} numbers, and the mark mask has room for {max}")]
pub struct NumbersExhausted {
    /// How many names there are.
    pub wanted: usize,
    /// The highest number.
    pub max: u16,
}

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Numbers<K> {
    /// Makes sure that each of the names has a number from 1 to `max` of its own.
    ///
    /// Numbers that are in use already stay. New names get the lowest free ones, in the order given;
    /// when none is free, the lowest of a name that is gone. Calling it again changes nothing.
    ///
    /// # Errors
    /// There are more names than numbers; nothing is changed then.
    pub fn allocate<'n, Q>(
        &mut self,
        names: impl IntoIterator<Item = &'n Q>,
        max: u16,
    ) -> Result<(), NumbersExhausted>
    where
        K: Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized + 'n,
    {
        let mut wanted: BTreeSet<&Q> = BTreeSet::new();
        let mut in_order: Vec<&Q> = Vec::new();
        for name in names {
            if wanted.insert(name) {
                in_order.push(name);
            }
        }
        if wanted.len() > usize::from(max) {
            return Err(NumbersExhausted {
                wanted: wanted.len(),
                max,
            });
        }
        self.forget_unusable(&wanted, max);
        in_order.retain(|name| !self.0.contains_key(*name));
        let numbers = self.available(&wanted, max);
        for (name, (number, gone)) in in_order.into_iter().zip(numbers) {
            if let Some(gone) = gone {
                self.0.remove(gone.borrow());
            }
            self.0.insert(name.to_owned(), number);
        }
        Ok(())
    }

    /// The number of a name.
    pub fn get<Q>(&self, name: &Q) -> Option<u16>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.0.get(name).copied()
    }

    /// All that are given out, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&K, u16)> {
        self.0.iter().map(|(name, number)| (name, *number))
    }

    /// Drops numbers out of range, and the later ones of two that are the same: a narrowed mask
    /// leaves the former behind, an edited state file the latter.
    fn forget_unusable<Q>(&mut self, wanted: &BTreeSet<&Q>, max: u16)
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let mut taken = BTreeSet::new();
        let (in_use, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(name, _)| wanted.contains(name.borrow()));
        for (name, number) in in_use.into_iter().chain(gone) {
            if (1..=max).contains(&number) && taken.insert(number) {
                self.0.insert(name, number);
            }
        }
    }

    /// The numbers for new names: those that nobody has, then those of names that are gone.
    fn available<Q>(
        &self,
        wanted: &BTreeSet<&Q>,
        max: u16,
    ) -> impl Iterator<Item = (u16, Option<K>)> + use<K, Q>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let taken: BTreeSet<_> = self.0.values().copied().collect();
        let free = (1..=max)
            .filter(move |number| !taken.contains(number))
            .map(|number| (number, None));
        let gone: BTreeMap<_, _> = self
            .0
            .iter()
            .filter(|(name, _)| !wanted.contains((*name).borrow()))
            .map(|(name, number)| (*number, Some(name.clone())))
            .collect();
        free.chain(gone)
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
        let pair = |(name, slot): &(&str, u16)| (UplinkName::new(name).unwrap(), *slot);
        Numbers(pairs.iter().map(pair).collect())
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
        assert_eq!(refused, Err(NumbersExhausted { wanted: 3, max: 2 }));
        assert_eq!(given, slots(&[("a", 1)]));
    }

    #[test]
    fn outlets_are_numbered_by_the_same_rules() {
        let mut given = OutletCodes::default();
        given.allocate(["calls", "isp2-or-block"], 15).unwrap();
        given.allocate(["block", "isp2-or-block"], 15).unwrap();
        let all: Vec<_> = given.iter().map(|(n, c)| (n.as_str(), c)).collect();
        assert_eq!(all, [("block", 3), ("calls", 1), ("isp2-or-block", 2)]);
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
                given.0.insert(UplinkName::new(name).unwrap(), *slot);
            }
            given.allocate(&wanted, max).unwrap();
            let once = given.clone();
            given.allocate(&wanted, max).unwrap();
            prop_assert_eq!(&once, &given);
            let distinct: BTreeSet<_> = given.0.values().collect();
            prop_assert_eq!(distinct.len(), given.0.len());
            for name in &wanted {
                let slot = given.get(name).unwrap();
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

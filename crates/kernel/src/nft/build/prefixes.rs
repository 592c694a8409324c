//! A large map by address whose entries are prefixes of a few lengths: hash sets, asked by the
//! masked address.
//!
//! A tree of 10,000 intervals is some 14 steps deep, and traffic to all of them finds few of these
//! in the processor's cache: 1,300 ns for a look-up, against 430 by hash. Entries never overlap, so
//! that it does not matter which length is asked first.

use std::{cmp::Reverse, collections::BTreeMap, iter, sync::Arc};

use uplinkd_model::{
    Family,
    classify::{Entry, Field, MapStage},
    policy::Span,
};

use super::{Builder, forms::Picked, maps::Names};
use crate::nft::{
    datatype::{Datatype, expression},
    ruleset::{Collection, Elements, StageRef, TargetRef},
};

/// How many lengths a prefix can have.
const LENGTHS: usize = 129;
/// Most lengths with sets of their own, and most such sets: each is one more look-up for a new
/// connection that nothing before it takes, 50 ns where it finds nothing.
const LENGTHS_MAX: usize = 4;
const SETS_MAX: usize = 16;
/// A length with fewer prefixes has no sets of its own.
const LENGTH_PREFIXES_MIN: usize = 64;
/// Most entries that are not made of these lengths. They share one map of intervals, which is small
/// enough to stay in the cache.
const OTHERS_MAX: usize = 256;

impl Builder<'_> {
    /// The rules of such a map.
    pub(super) fn prefix_rules(
        &mut self,
        map: &MapStage,
        split: &Split,
        place: &StageRef,
        names: &mut Names,
    ) -> Vec<String> {
        let (family, field) = (place.family, map.fields[0]);
        let name = names.next(&map.fields, family, true);
        let (key, address) = (Datatype::of(field, family), expression(field, family));
        let mut rules = Vec::new();
        for ((length, outlet), firsts) in &split.sets {
            let set_name = format!("{name}_{length}_to_{outlet}");
            let elements = Elements::Keys(Arc::clone(firsts));
            let set = Collection::set_of_kind(vec![key], elements, false);
            self.collection(set_name.clone(), set);
            let host_bits = bits(family) - length;
            let masked = match host_bits {
                0 => address.to_owned(),
                _ => {
                    let mask = u128::MAX >> (128 - length) << host_bits;
                    format!("{address} and {}", key.word(mask))
                }
            };
            let target = TargetRef::Outlet(family, *outlet);
            rules.push(format!("{masked} @{set_name} {target}"));
        }
        if !split.others.is_empty() {
            let map_name = format!("{name}_others");
            let others = Elements::Stage(place.pick(&split.others));
            let others = Collection::map_of_kind(vec![key], others, true);
            self.collection(map_name.clone(), others);
            rules.push(format!("{address} vmap @{map_name}"));
        }
        rules
    }
}

/// How many bits an address has.
fn bits(family: Family) -> u32 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

/// The entries of a map, by the form that they get.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// By length and outlet the first addresses of the prefixes, sorted.
    sets: BTreeMap<(u32, u16), Arc<[Span]>>,
    /// Which entries are in none of these.
    others: Picked,
}

impl Split {
    /// None where a map has too many lengths, or is of something else.
    pub(super) fn of_map(map: &MapStage, family: Family) -> Option<Self> {
        match map.fields[..] {
            [Field::Source | Field::Destination] => Self::of(&map.entries, bits(family)),
            _ => None,
        }
    }

    /// None where too many entries, sets or look-ups would be left.
    fn of(entries: &[Entry], bits: u32) -> Option<Self> {
        let lengths = common_lengths(entries, bits);
        let mut sets: BTreeMap<(u32, u16), Vec<Span>> = BTreeMap::new();
        let mut others = Vec::new();
        for (n, entry) in entries.iter().enumerate() {
            let [span] = entry.key[..] else { return None };
            if prefixes(span, bits).all(|(_, length)| lengths[length as usize]) {
                for (first, length) in prefixes(span, bits) {
                    let set = sets.entry((length, entry.outlet)).or_default();
                    set.push(Span::one(first));
                }
            } else if others.len() < OTHERS_MAX {
                others.push(n);
            } else {
                return None;
            }
        }
        let is_fit = !sets.is_empty() && sets.len() <= SETS_MAX;
        let sets = sets.into_iter();
        is_fit.then(|| Self {
            sets: sets.map(|(kind, firsts)| (kind, firsts.into())).collect(),
            others: others.into(),
        })
    }
}

/// Whether a prefix's length is one of those that most have, by length.
fn common_lengths(entries: &[Entry], bits: u32) -> [bool; LENGTHS] {
    let mut counts = [0_usize; LENGTHS];
    for entry in entries {
        for (_, length) in prefixes(entry.key[0], bits) {
            counts[length as usize] += 1;
        }
    }
    let mut order: Vec<_> = (0..LENGTHS).collect();
    order.sort_by_key(|length| Reverse((counts[*length], *length)));
    let mut common = [false; LENGTHS];
    for length in order.into_iter().take(LENGTHS_MAX) {
        common[length] = counts[length] >= LENGTH_PREFIXES_MIN;
    }
    common
}

/// The prefixes that a span of addresses is made of, in order: the first address and the length of
/// each.
fn prefixes(span: Span, bits: u32) -> impl Iterator<Item = (u128, u32)> {
    let mut next = Some(span.first);
    iter::from_fn(move || {
        let first = next?;
        let aligned = first.trailing_zeros();
        let left = span.last - first;
        let fitting = left.checked_add(1).map_or(bits, u128::ilog2);
        let host_bits = aligned.min(fitting).min(bits);
        let size_less_one = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        next = (left > size_less_one).then(|| first + size_less_one + 1);
        Some((first, bits - host_bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(first: u128, last: u128, outlet: u16) -> Entry {
        Entry {
            key: vec![Span::new(first, last)],
            outlet,
            policy: 0,
        }
    }

    #[test]
    fn a_span_is_made_of_the_largest_prefixes_that_fit() {
        let made = |first: u128, last: u128, bits| -> Vec<_> {
            prefixes(Span::new(first, last), bits).collect()
        };
        assert_eq!(made(8, 11, 32), [(8, 30)]);
        assert_eq!(made(7, 12, 32), [(7, 32), (8, 30), (12, 32)]);
        assert_eq!(made(0, u128::from(u32::MAX), 32), [(0, 0)]);
        assert_eq!(made(0, u128::MAX, 128), [(0, 0)]);
        assert_eq!(made(u128::MAX - 1, u128::MAX, 128), [(u128::MAX - 1, 127)]);
        assert_eq!(made(1, 1, 128), [(1, 128)]);
    }

    /// Prefixes of a length, so many, in turn to two outlets, with a gap behind each.
    fn many(length: u32, count: u128, from: u128) -> Vec<Entry> {
        let size = 1_u128 << (32 - length);
        let entry = |n: u128| {
            let first = from + n * 2 * size;
            entry(first, first + size - 1, u16::from(n.is_multiple_of(2)))
        };
        (0..count).map(entry).collect()
    }

    #[test]
    fn every_address_leads_where_its_entry_does() {
        let mut entries = many(24, 300, 0x1000_0000);
        entries.extend(many(30, 300, 0x2000_0000));
        // Neither a prefix nor of one of the usual lengths.
        entries.push(entry(0x3000_0001, 0x3000_0006, 2));
        entries.push(entry(0x3100_0000, 0x31ff_ffff, 3));
        let split = Split::of(&entries, 32).unwrap();
        assert_eq!(*split.others, [600, 601]);
        assert_eq!(split.sets.len(), 4);
        let found = |address: u128| -> Vec<u16> {
            let in_sets = split.sets.iter().filter(|((length, _), firsts)| {
                let host_bits = 32 - length;
                let key = Span::one(address >> host_bits << host_bits);
                firsts.binary_search(&key).is_ok()
            });
            let others = split.others.iter().map(|n| &entries[*n]);
            let others = others.filter(|e| e.key[0].contains(address));
            let outlets = in_sets.map(|((_, outlet), _)| *outlet);
            outlets.chain(others.map(|e| e.outlet)).collect()
        };
        for entry in &entries {
            let Span { first, last } = entry.key[0];
            for address in [first - 1, first, first + 1, last, last + 1] {
                let mut wanted = entries.iter().filter(|e| e.key[0].contains(address));
                let wanted: Vec<_> = wanted.next().map(|e| e.outlet).into_iter().collect();
                assert_eq!(found(address), wanted, "{address:#x}");
            }
        }
    }

    #[test]
    fn a_map_of_many_lengths_stays_one_of_intervals() {
        let lengths = |lengths: std::ops::Range<u32>| -> Vec<Entry> {
            let place = |length| u128::from(length) << 24;
            lengths.flat_map(|l| many(l, 128, place(l))).collect()
        };
        assert!(Split::of(&lengths(24..28), 32).is_some());
        assert!(Split::of(&lengths(24..30), 32).is_some(), "256 others");
        assert_eq!(Split::of(&lengths(24..31), 32), None);
    }
}

//! Which policies' connections the kernel counts.
//!
//! A policy that is a rule counts as it decides. One that shares a map with others needs entries of its
//! own in a second map that leads to counters, so that those are bounded: a new connection pays one
//! more look-up in a small map, and whoever writes thousands of policies does not write them twice.

use std::{borrow::Borrow, collections::BTreeMap};

use uplinkd_model::{
    Policy,
    classify::{COUNTED_POLICIES_MAX, Field, MapStage, Stage},
};

/// Most entries of maps that lead to counters, in both families together. A policy that would go
/// beyond it is not counted; one after it that needs fewer may be.
const ENTRIES_MAX: usize = 2048;
/// Most fields of a key that the kernel has one map for.
const FIELDS_MAX: usize = 5;

/// The policies that are counted, with their names. Also those that no packet can reach now: their
/// counters are there when the hour of their schedule comes, and keep what they had.
pub(crate) fn counted<P: Borrow<Policy>>(
    policies: &[P],
    families: [&[Stage]; 2],
) -> BTreeMap<usize, String> {
    let mut entries = vec![0_usize; policies.len().min(COUNTED_POLICIES_MAX)];
    for stage in families.into_iter().flatten() {
        let Stage::Map(map) = stage else { continue };
        let price = if is_one_map(map) { 1 } else { ENTRIES_MAX + 1 };
        for entry in &map.entries {
            if let Some(count) = entries.get_mut(entry.policy) {
                *count = count.saturating_add(price);
            }
        }
    }
    let mut left = ENTRIES_MAX;
    let mut counted = BTreeMap::new();
    for (index, (policy, entries)) in policies.iter().zip(entries).enumerate() {
        if let Some(rest) = left.checked_sub(entries) {
            left = rest;
            counted.insert(index, policy.borrow().name.clone());
        }
    }
    counted
}

/// Whether its key can be that of one map of the kernel, as it is; others are cut by hand.
fn is_one_map(map: &MapStage) -> bool {
    map.fields.len() <= FIELDS_MAX && !map.fields.contains(&Field::Dscp)
}

//! The number of a classifier's content.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use uplinkd_model::classify::{Condition, Stage};

/// A number that another content would have another of; zero without stages and counters. The
/// policies' indices do not count, since the kernel does not know them; the names of those that are
/// counted do.
pub(crate) fn fingerprint(families: [&[Stage]; 2], counted: &BTreeMap<usize, String>) -> u64 {
    if families.iter().all(|stages| stages.is_empty()) && counted.is_empty() {
        return 0;
    }
    // Its keys are fixed: equal content has an equal number in every run of one build.
    let mut hasher = DefaultHasher::new();
    for stages in families {
        stages.len().hash(&mut hasher);
        for stage in stages {
            hash_stage(stage, &mut hasher);
            hash_counted(stage, counted, &mut hasher);
        }
    }
    for name in counted.values() {
        name.hash(&mut hasher);
    }
    hasher.finish().max(1)
}

fn hash_stage(stage: &Stage, hasher: &mut DefaultHasher) {
    match stage {
        Stage::Map(map) => {
            (0_u8, &map.fields, map.entries.fingerprint()).hash(hasher);
        }
        Stage::Rule(rule) => {
            (1_u8, rule.outlet, rule.conditions.len()).hash(hasher);
            for condition in &rule.conditions {
                hash_condition(condition, hasher);
            }
        }
    }
}

/// Whose connections are counted where.
fn hash_counted(stage: &Stage, counted: &BTreeMap<usize, String>, hasher: &mut DefaultHasher) {
    let Some((last, _)) = counted.last_key_value() else {
        return;
    };
    match stage {
        Stage::Rule(rule) => counted.get(&rule.policy).hash(hasher),
        Stage::Map(map) => {
            for (n, entry) in map.entries.iter().enumerate() {
                if entry.policy <= *last
                    && let Some(name) = counted.get(&entry.policy)
                {
                    (n, name).hash(hasher);
                }
            }
        }
    }
}

fn hash_condition(condition: &Condition, hasher: &mut DefaultHasher) {
    match condition {
        Condition::Among { field, values } => (0_u8, field, values).hash(hasher),
        Condition::NotInterface(names) => (1_u8, names).hash(hasher),
        Condition::NotMac(values) => (2_u8, values).hash(hasher),
        Condition::NotUser(values) => (3_u8, values).hash(hasher),
        Condition::NotGroup(values) => (4_u8, values).hash(hasher),
        Condition::Mark { any_of, not } => (5_u8, any_of, not).hash(hasher),
        Condition::Domain { set, not } => (6_u8, set, not).hash(hasher),
        Condition::Cgroup { any_of, not } => (7_u8, any_of, not).hash(hasher),
    }
}

//! Policies that are compiled once more after a change.
//!
//! Where a policy leads has no part in the arrangement: as long as all conditions are what they were,
//! the maps and rules are those of before, with other outlets in some places. After any other change
//! all is compiled, and maps that come out as they were are shared, so that whoever compares need not
//! look into them.

use std::{borrow::Borrow, collections::BTreeMap};

use uplinkd_model::{
    Classifier, Outlet, Policy,
    classify::{Entries, Stage},
};

use crate::{
    compile::{codes, compile},
    count::counted,
    fingerprint::fingerprint,
    naive::is_active,
};

/// What was compiled before.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a, P> {
    /// The policies.
    pub policies: &'a [P],
    /// When they were compiled.
    pub minute: u16,
    /// What they came to.
    pub classifier: &'a Classifier,
}

/// What compiling again came to.
#[derive(Clone, Debug)]
pub struct Again {
    /// What [`compile`] makes of the policies.
    pub classifier: Classifier,
    /// All conditions are those of before, at both times: nothing changed but where policies lead.
    pub conditions_hold: bool,
}

/// Compiles policies, with less work where they are nearly those of before. `is_same` tells in a
/// moment that two of them are the same one; where it does not, they are compared.
pub fn compile_again<P: Borrow<Policy>>(
    policies: &[P],
    outlets: &[Outlet],
    minute: u16,
    before: &Before<'_, P>,
    is_same: impl Fn(&P, &P) -> bool,
) -> Again {
    let is_timeless = minute == before.minute;
    let conditions_hold = policies.len() == before.policies.len()
        && policies.iter().zip(before.policies).all(|(new, old)| {
            (is_same(new, old) || new.borrow().clauses == old.borrow().clauses)
                && (is_timeless
                    || is_active(new.borrow(), minute) == is_active(old.borrow(), before.minute))
        });
    if conditions_hold {
        let mut classifier = before.classifier.clone();
        // They may have other names.
        classifier.counted = counted(policies, [&classifier.v4, &classifier.v6]);
        lead(&mut classifier, &codes(policies, outlets));
        return Again {
            classifier,
            conditions_hold,
        };
    }
    let mut classifier = compile(policies, outlets, minute);
    let stages = before.classifier.v4.iter().chain(&before.classifier.v6);
    let maps = stages.filter_map(|stage| match stage {
        Stage::Map(map) => Some((map.entries.fingerprint(), &map.entries)),
        Stage::Rule(_) => None,
    });
    let known: BTreeMap<u64, &Entries> = maps.collect();
    for stage in classifier.v4.iter_mut().chain(&mut classifier.v6) {
        let Stage::Map(map) = stage else { continue };
        // Equal numbers say that a comparison is worth its while.
        let known = known.get(&map.entries.fingerprint());
        if let Some(known) = known.filter(|known| ***known == map.entries) {
            map.entries = (*known).clone();
        }
    }
    Again {
        classifier,
        conditions_hold,
    }
}

/// Has every entry and rule lead where its policy does, by the outlets' codes.
fn lead(classifier: &mut Classifier, codes: &[u16]) {
    for stage in classifier.v4.iter_mut().chain(&mut classifier.v6) {
        match stage {
            Stage::Rule(rule) => rule.outlet = codes[rule.policy],
            Stage::Map(map) => {
                if map.entries.iter().any(|e| e.outlet != codes[e.policy]) {
                    for entry in map.entries.iter_mut() {
                        entry.outlet = codes[entry.policy];
                    }
                }
            }
        }
    }
    let families = [&*classifier.v4, &*classifier.v6];
    classifier.fingerprint = fingerprint(families, &classifier.counted);
}

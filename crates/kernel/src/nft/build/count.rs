//! The part that counts the connections that policies decide.
//!
//! Each policy that is counted has one counter, whatever it is made of. A rule names it before it leads
//! to the outlet. Before a map's rules another rule looks into a second map, with the same keys as far
//! as they belong to such policies, which leads to counters: nothing else is different for it, and the
//! packet goes on to the map that decides. No other packet than the one that is judged comes here.

use std::collections::BTreeMap;

use uplinkd_model::{Family, classify::MapStage};

use super::{
    Builder,
    maps::{Names, key_expression, split_field, telling_first},
};
use crate::nft::{
    datatype::Datatype,
    object::OF_POLICY,
    ruleset::{Collection, Elements, Target},
};

impl Builder<'_> {
    /// The counters.
    pub(super) fn counters(&mut self) {
        let names = self.table.classifier.counted.values();
        self.ruleset.counters = names.map(|name| counter(name)).collect();
    }

    /// The counter of a policy; none where it is not counted.
    pub(super) fn counter_of(&self, policy: usize) -> Option<String> {
        let counted = &self.table.classifier.counted;
        counted.get(&policy).map(|name| counter(name))
    }

    /// The rule that counts what a map decides; none where nobody in it is counted.
    pub(super) fn count_rule(
        &mut self,
        map: &MapStage,
        family: Family,
        names: &mut Names,
    ) -> Option<String> {
        if self.table.classifier.counted.is_empty() {
            return None;
        }
        let mut counted = BTreeMap::new();
        for (policy, entries) in self.forms.owned(map, family).iter() {
            if let Some(counter) = self.counter_of(*policy) {
                let keys = entries.iter().filter_map(|n| map.entries.get(*n));
                let target = || Some(Target::Counter(counter.clone()));
                counted.extend(keys.map(|entry| (entry.key.clone(), target())));
            }
        }
        if counted.is_empty() || split_field(&map.fields, family, counted.keys()).is_some() {
            return None;
        }
        let (mut fields, elements) = (map.fields.clone(), Elements::Listed(counted));
        let key = fields.iter().map(|f| Datatype::of(*f, family)).collect();
        let has_ranges = elements.has_ranges();
        let keys = elements.iter().map(|item| item.key);
        let order = (has_ranges && fields.len() > 1)
            .then(|| telling_first(fields.len(), elements.len(), keys));
        let mut collection = Collection::counts(key, elements);
        if let Some(order) = order {
            fields = order.iter().map(|n| fields[*n]).collect();
            collection = collection.in_order(order);
        }
        let name = format!("count_{}", names.next(&fields, family, has_ranges));
        let key = key_expression(&fields, family, has_ranges);
        self.collection(name.clone(), collection);
        Some(format!("counter name {key} map @{name}"))
    }
}

fn counter(policy: &str) -> String {
    format!("{OF_POLICY}{policy}")
}

//! A stage that is a map: one rule and one look-up, whatever the number of its entries, as long as
//! that is good for whoever changes it.
//!
//! nft 1.0.6 has bounds that some keys do not fit into; such a map is split by the values of one
//! field, each with a map of the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use uplinkd_model::{
    Family,
    classify::{Field, MapStage, number_interface},
    policy::{Span, Spans},
};

use super::Builder;
use crate::nft::{
    RenderError,
    datatype::{Datatype, expression},
    ruleset::{Collection, Elements, StageRef, Target, TargetRef, digit},
};

/// Most fields of a key: nft 1.0.6 keeps the types of five parts, and lists a sixth as nonsense.
const KEY_PARTS_MAX: usize = 5;
/// Most bytes of a key: what the kernel's registers hold.
const KEY_BYTES_MAX: usize = 64;
/// Most entries of a verdict map, where few outlets make sets possible. With each transaction that
/// adds a jump anywhere in the table, the kernel follows every entry of every verdict map into its
/// chain, from every hook: 50 ms for 100,000 entries. It does not look into sets.
const MAP_ENTRIES_MAX: usize = 256;
/// Most sets that take the place of one map, since each is one more look-up for a new connection.
const SETS_MAX: usize = 8;
/// About how many entries a map of ranges of several fields has. Taking one of them away costs some
/// 5 µs for each that is there.
const PART_ENTRIES: usize = 1024;
/// Most parts of such a map, since each is one more look-up for a new connection (50 ns).
const PARTS_MAX: usize = 16;
/// How many entries are looked at to find the most telling field.
const SAMPLE: usize = 512;

impl Builder<'_> {
    /// The rules of a map: one, unless it does not fit.
    pub(super) fn map_stage(
        &mut self,
        map: &MapStage,
        place: StageRef,
        names: &mut Names,
    ) -> Vec<String> {
        let family = place.family;
        if map.entries.is_empty() {
            return Vec::new();
        }
        if split_field(&map.fields, family, map.entries.iter().map(|e| &e.key)).is_none() {
            let elements = Elements::Stage(place.clone());
            return if map.fields.len() > 1 && elements.has_ranges() {
                self.map_rules(map, &place, names)
            } else if let Some(outlets) = outlets_of_large(map) {
                let prefixes = elements
                    .has_ranges()
                    .then(|| self.prefix_rules(map, &place, names));
                let sets = || self.set_rules(map, &place, &outlets, names);
                prefixes.flatten().unwrap_or_else(sets)
            } else {
                vec![self.map_rule(&map.fields, elements, family, names)]
            };
        }
        let entries = map.entries.iter().map(|entry| {
            let target = Target::Outlet(family, entry.outlet);
            (entry.key.clone(), Some(target))
        });
        self.split(&map.fields, entries.collect(), family, names, "")
    }

    /// A set and a rule for each outlet that a map leads to.
    fn set_rules(
        &mut self,
        map: &MapStage,
        place: &StageRef,
        outlets: &BTreeMap<u16, Vec<usize>>,
        names: &mut Names,
    ) -> Vec<String> {
        let family = place.family;
        let has_ranges = Elements::Stage(place.clone()).has_ranges();
        let name = names.next(&map.fields, family, has_ranges);
        let key: Vec<_> = map
            .fields
            .iter()
            .map(|f| Datatype::of(*f, family))
            .collect();
        let rule = |(outlet, picked): (&u16, &Vec<usize>)| {
            let place = StageRef {
                picked: Some(picked.as_slice().into()),
                is_set: true,
                ..place.clone()
            };
            // Its name says of which kind it is.
            let elements = Elements::Stage(place);
            let set = Collection::set_of_kind(key.clone(), elements, has_ranges);
            let set_name = format!("{name}_to_{outlet}");
            self.collection(set_name.clone(), set);
            let target = TargetRef::Outlet(family, *outlet);
            format!(
                "{} @{set_name} {target}",
                key_expression(&map.fields, family)
            )
        };
        outlets.iter().map(rule).collect()
    }

    /// The maps of ranges of several fields, of which each change costs as much as it has entries: in
    /// parts of a bearable size, by the value of the most telling field, so that an entry more or less
    /// changes its own part only.
    fn map_rules(&mut self, map: &MapStage, place: &StageRef, names: &mut Names) -> Vec<String> {
        let parts = map.entries.len().div_ceil(PART_ENTRIES).next_power_of_two();
        let parts = parts.min(PARTS_MAX);
        let order = telling_first(&map.fields, &Elements::Stage(place.clone()));
        let mut picked = vec![Vec::new(); parts];
        for (n, entry) in map.entries.iter().enumerate() {
            let mut hasher = DefaultHasher::new();
            entry.key[order[0]].hash(&mut hasher);
            // The remainder is below the number of parts.
            picked[(hasher.finish() % parts as u64) as usize].push(n);
        }
        let rule = |picked: Vec<usize>| {
            let part = StageRef {
                picked: Some(picked.into()),
                ..place.clone()
            };
            let elements = Elements::Stage(part);
            self.ranges_rule(&map.fields, elements, &order, place.family, names)
        };
        picked.into_iter().map(rule).collect()
    }

    /// A map that is of the kind that holds ranges of several fields, whichever are in it.
    fn ranges_rule(
        &mut self,
        fields: &[Field],
        elements: Elements,
        order: &[usize],
        family: Family,
        names: &mut Names,
    ) -> String {
        let key = fields.iter().map(|f| Datatype::of(*f, family)).collect();
        let mut map = Collection::map(key, elements).in_order(order.to_vec());
        map.has_ranges = true;
        let fields: Vec<_> = order.iter().map(|n| fields[*n]).collect();
        let name = names.next(&fields, family, true);
        self.collection(name.clone(), map);
        format!("{} vmap @{name}", key_expression(&fields, family))
    }

    fn map_rule(
        &mut self,
        fields: &[Field],
        elements: Elements,
        family: Family,
        names: &mut Names,
    ) -> String {
        if fields.len() > 1 && elements.has_ranges() {
            let order = telling_first(fields, &elements);
            return self.ranges_rule(fields, elements, &order, family, names);
        }
        let key = fields.iter().map(|f| Datatype::of(*f, family)).collect();
        let map = Collection::map(key, elements);
        let name = names.next(fields, family, map.has_ranges);
        self.collection(name.clone(), map);
        format!("{} vmap @{name}", key_expression(fields, family))
    }

    /// A rule and a map of the rest for each value of one field, until everything fits. The order
    /// does not matter, since no two entries overlap.
    fn split(
        &mut self,
        fields: &[Field],
        entries: BTreeMap<Vec<Span>, Option<Target>>,
        family: Family,
        names: &mut Names,
        before: &str,
    ) -> Vec<String> {
        let Some(at) = split_field(fields, family, entries.keys()) else {
            let rule = self.map_rule(fields, Elements::Listed(entries), family, names);
            return vec![format!("{before}{rule}")];
        };
        let mut groups: BTreeMap<Span, BTreeMap<Vec<Span>, Option<Target>>> = BTreeMap::new();
        for (mut key, target) in entries {
            let span = key.remove(at);
            groups.entry(span).or_default().insert(key, target);
        }
        let mut rest = fields.to_vec();
        let field = rest.remove(at);
        let mut rules = Vec::new();
        for (span, entries) in groups {
            let values = Spans::new([span]);
            let condition = self.among(field, family, &values);
            let before = format!("{before}{condition} ");
            if rest.is_empty() {
                let targets = entries.into_values().flatten();
                rules.extend(targets.map(|t| format!("{before}{}", t.as_ref())));
            } else {
                rules.extend(self.split(&rest, entries, family, names, &before));
            }
        }
        rules
    }
}

/// Refuses names of interfaces that nft could read as something else.
pub(super) fn check_interfaces(map: &MapStage) -> Result<(), RenderError> {
    let Some(at) = map.fields.iter().position(|f| *f == Field::Interface) else {
        return Ok(());
    };
    let numbers: BTreeSet<u128> = map.entries.iter().map(|e| e.key[at].first).collect();
    numbers
        .into_iter()
        .try_for_each(|n| super::check_interface(&number_interface(n)))
}

fn key_expression(fields: &[Field], family: Family) -> String {
    let parts: Vec<_> = fields.iter().map(|f| expression(*f, family)).collect();
    parts.join(" . ")
}

/// The entries by the outlet that they lead to, where they are better written as a set for each.
fn outlets_of_large(map: &MapStage) -> Option<BTreeMap<u16, Vec<usize>>> {
    if map.entries.len() <= MAP_ENTRIES_MAX {
        return None;
    }
    let mut outlets: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    for (n, entry) in map.entries.iter().enumerate() {
        outlets.entry(entry.outlet).or_default().push(n);
    }
    Some(outlets).filter(|o| o.len() <= SETS_MAX)
}

/// The places of the fields in the order in which the kernel should ask them.
///
/// With ranges of several fields it goes over all entries that still match, after each field but the
/// last: with 10,000 entries whose first field is the same everywhere a new connection costs ten
/// times as much. So the field with the most different values comes first. A sample is enough, and
/// only the magnitude counts, so that the order stays when a policy comes or goes.
fn telling_first(fields: &[Field], elements: &Elements) -> Vec<usize> {
    let step = elements.len().div_ceil(SAMPLE).max(1);
    let mut values = vec![BTreeSet::new(); fields.len()];
    for item in elements.iter().step_by(step) {
        for (seen, span) in values.iter_mut().zip(item.key) {
            seen.insert(*span);
        }
    }
    let mut order: Vec<usize> = (0..fields.len()).collect();
    order.sort_by_key(|n| std::cmp::Reverse(values[*n].len().checked_ilog2()));
    order
}

/// The field that a map must be split by, if it must be.
///
/// A code point always is: nft 1.0.6 shifts an IPv6 one wrongly on its way to a named map, and lists
/// an IPv4 one in a form that it does not read again.
fn split_field<'a>(
    fields: &[Field],
    family: Family,
    keys: impl Iterator<Item = &'a Vec<Span>>,
) -> Option<usize> {
    if let Some(dscp) = fields.iter().position(|f| *f == Field::Dscp) {
        return Some(dscp);
    }
    let bytes: usize = fields
        .iter()
        .map(|f| Datatype::of(*f, family).width().next_multiple_of(4))
        .sum();
    if fields.len() <= KEY_PARTS_MAX && bytes <= KEY_BYTES_MAX {
        return None;
    }
    let mut values = vec![BTreeSet::new(); fields.len()];
    for key in keys {
        for (seen, span) in values.iter_mut().zip(key) {
            seen.insert(*span);
        }
    }
    let fewest = values.iter().enumerate().min_by_key(|(_, v)| v.len());
    fewest.map(|(index, _)| index)
}

/// Names of maps: by what they look at, and counted. A policy more or less then leaves the names of
/// most maps as they are, so that only elements change.
#[derive(Default)]
pub(super) struct Names(BTreeMap<String, usize>);

impl Names {
    pub(super) fn next(&mut self, fields: &[Field], family: Family, has_ranges: bool) -> String {
        let mut name = format!("map{}", digit(family));
        for field in fields {
            name.push('_');
            name.push_str(match field {
                Field::Interface => "interface",
                Field::Mac => "mac",
                Field::Source => "source",
                Field::Destination => "destination",
                Field::Protocol => "protocol",
                Field::SourcePort => "sport",
                Field::DestinationPort => "dport",
                Field::IcmpType => "icmp",
                Field::Dscp => "dscp",
                Field::User => "user",
                Field::Group => "group",
            });
        }
        if has_ranges {
            name.push_str("_ranges");
        }
        let count = self.0.entry(name.clone()).or_default();
        *count += 1;
        format!("{name}_{count}")
    }
}

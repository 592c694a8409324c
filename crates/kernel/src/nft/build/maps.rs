//! A stage that is a map: one rule and one look-up, whatever the number of its entries, as long as
//! that is good for whoever changes it.
//!
//! nft 1.0.6 has bounds that some keys do not fit into; such a map is split by the values of one
//! field, each with a map of the rest.

use std::collections::{BTreeMap, BTreeSet};

use uplinkd_model::{
    Family,
    classify::{Field, MapStage, number_interface},
    policy::{Span, Spans},
};

use super::{
    Builder,
    forms::{Form, Picked},
};
use crate::nft::{
    RenderError,
    datatype::{Datatype, expression},
    ruleset::{Collection, Elements, StageRef, Target, TargetRef, digit},
};

/// Most fields of a key: nft 1.0.6 keeps the types of five parts, and lists a sixth as nonsense.
const KEY_PARTS_MAX: usize = 5;
/// Most bytes of a key: what the kernel's registers hold.
const KEY_BYTES_MAX: usize = 64;
/// How many entries are looked at to find the most telling field.
const SAMPLE: usize = 512;

impl Builder<'_> {
    /// The rules of a map: one, unless it does not fit.
    pub(super) fn map_stage(
        &mut self,
        map: &MapStage,
        place: &StageRef,
        names: &mut Names,
    ) -> Vec<String> {
        let family = place.family;
        if map.entries.is_empty() {
            return Vec::new();
        }
        match &*self.forms.get(map, family) {
            Form::Cut => {
                let entries = map.entries.iter().map(|entry| {
                    let target = Target::Outlet(family, entry.outlet);
                    (entry.key.clone(), Some(target))
                });
                self.split(&map.fields, entries.collect(), family, names, "")
            }
            Form::One { has_ranges } => {
                let elements = Elements::Stage(place.clone());
                vec![self.one_map(&map.fields, elements, *has_ranges, family, names)]
            }
            Form::Parts { order, parts } => {
                let rule = |picked: &Picked| {
                    let elements = Elements::Stage(place.pick(picked));
                    self.ranges_rule(&map.fields, elements, order, family, names)
                };
                parts.iter().map(rule).collect()
            }
            Form::Prefixes(split) => self.prefix_rules(map, split, place, names),
            Form::Outlets {
                has_ranges,
                outlets,
            } => self.set_rules(map, place, outlets, *has_ranges, names),
        }
    }

    /// A set and a rule for each outlet that a map leads to.
    fn set_rules(
        &mut self,
        map: &MapStage,
        place: &StageRef,
        outlets: &BTreeMap<u16, Picked>,
        has_ranges: bool,
        names: &mut Names,
    ) -> Vec<String> {
        let family = place.family;
        let name = names.next(&map.fields, family, has_ranges);
        let key: Vec<_> = map
            .fields
            .iter()
            .map(|f| Datatype::of(*f, family))
            .collect();
        let rule = |(outlet, picked): (&u16, &Picked)| {
            let place = StageRef {
                is_set: true,
                ..place.pick(picked)
            };
            // Its name says of which kind it is.
            let elements = Elements::Stage(place);
            let set = Collection::set_of_kind(key.clone(), elements, has_ranges);
            let set_name = format!("{name}_to_{outlet}");
            self.collection(set_name.clone(), set);
            let target = TargetRef::Outlet(family, *outlet);
            format!(
                "{} @{set_name} {target}",
                key_expression(&map.fields, family, has_ranges)
            )
        };
        outlets.iter().map(rule).collect()
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
        let map = Collection::map_of_kind(key, elements, true).in_order(order.to_vec());
        let fields: Vec<_> = order.iter().map(|n| fields[*n]).collect();
        let name = names.next(&fields, family, true);
        self.collection(name.clone(), map);
        format!("{} vmap @{name}", key_expression(&fields, family, true))
    }

    fn map_rule(
        &mut self,
        fields: &[Field],
        elements: Elements,
        family: Family,
        names: &mut Names,
    ) -> String {
        let has_ranges = elements.has_ranges();
        if fields.len() > 1 && has_ranges {
            let order = telling_first(fields.len(), elements.len(), elements.iter().map(|i| i.key));
            return self.ranges_rule(fields, elements, &order, family, names);
        }
        self.one_map(fields, elements, has_ranges, family, names)
    }

    fn one_map(
        &mut self,
        fields: &[Field],
        elements: Elements,
        has_ranges: bool,
        family: Family,
        names: &mut Names,
    ) -> String {
        let key = fields.iter().map(|f| Datatype::of(*f, family)).collect();
        let map = Collection::map_of_kind(key, elements, has_ranges);
        let name = names.next(fields, family, has_ranges);
        self.collection(name.clone(), map);
        format!(
            "{} vmap @{name}",
            key_expression(fields, family, has_ranges)
        )
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

/// Where nft finds a key.
///
/// Where one of several parts may be a range nft 1.0.6 has the kernel turn the bytes of
/// `meta l4proto` round, all one of it, as two. Kernels that look closely (6.12.117) refuse that: not
/// supported. So the protocol is read from where its byte needs no turning; behind the headers of IPv6
/// only connection tracking knows it, of whatever belongs to a connection.
pub(super) fn key_expression(fields: &[Field], family: Family, has_ranges: bool) -> String {
    let is_turned = has_ranges && fields.len() > 1;
    let parts = fields.iter().map(|field| match (field, family) {
        (Field::Protocol, Family::V4) if is_turned => "ip protocol",
        (Field::Protocol, Family::V6) if is_turned => "ct original protocol",
        _ => expression(*field, family),
    });
    parts.collect::<Vec<_>>().join(" . ")
}

/// The places of the fields in the order in which the kernel should ask them.
///
/// With ranges of several fields it goes over all entries that still match, after each field but the
/// last: with 10,000 entries whose first field is the same everywhere a new connection costs ten
/// times as much. So the field with the most different values comes first. A sample is enough, and
/// only the magnitude counts, so that the order stays when a policy comes or goes.
pub(super) fn telling_first<'a>(
    fields: usize,
    length: usize,
    keys: impl Iterator<Item = &'a [Span]>,
) -> Vec<usize> {
    let step = length.div_ceil(SAMPLE).max(1);
    let mut values = vec![BTreeSet::new(); fields];
    for key in keys.step_by(step) {
        for (seen, span) in values.iter_mut().zip(key) {
            seen.insert(*span);
        }
    }
    let mut order: Vec<usize> = (0..fields).collect();
    order.sort_by_key(|n| std::cmp::Reverse(values[*n].len().checked_ilog2()));
    order
}

/// The field that a map must be split by, if it must be.
///
/// A code point always is: nft 1.0.6 shifts an IPv6 one wrongly on its way to a named map, and lists
/// an IPv4 one in a form that it does not read again.
pub(super) fn split_field<'a>(
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

//! How two policies stand to each other: whether some packet can match both, whether one takes all
//! that the other would.

use std::collections::{BTreeMap, BTreeSet};

use uplinkd_model::{
    Mark,
    classify::{Condition, Field},
    policy::{Span, Spans},
};

use crate::{flow::is_within, normal::Normal};

impl Normal {
    /// Whether it speaks of everything.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.sets.is_empty() && self.rest.is_empty()
    }

    /// The values of a field, where it names any.
    pub(crate) fn set(&self, field: Field) -> Option<&Spans> {
        let place = self.sets.binary_search_by_key(&field, |(f, _)| *f).ok()?;
        Some(&self.sets[place].1)
    }

    /// Whether only the router's own traffic can match.
    pub(crate) fn is_own(&self) -> bool {
        self.set(Field::User).is_some()
            || self.set(Field::Group).is_some()
            || (self.rest.iter()).any(|c| matches!(c, Condition::Cgroup { not: false, .. }))
    }

    /// Whether only forwarded traffic can match.
    pub(crate) fn is_forwarded(&self) -> bool {
        self.set(Field::Interface).is_some() || self.set(Field::Mac).is_some()
    }

    /// Whether no packet that it matches can have such a field.
    pub(crate) fn excludes(&self, field: Field) -> bool {
        match field {
            Field::Interface | Field::Mac => self.is_own(),
            Field::User | Field::Group => self.is_forwarded(),
            Field::Source
            | Field::Destination
            | Field::Protocol
            | Field::SourcePort
            | Field::DestinationPort
            | Field::IcmpType
            | Field::Dscp => false,
        }
    }

    /// Whether some packet may match both. "No" is certain, "yes" is not: beyond the sets it does
    /// not look.
    pub(crate) fn may_meet(&self, other: &Self) -> bool {
        let apart = self
            .sets
            .iter()
            .any(|(field, values)| match other.set(*field) {
                Some(others) => !values.meets(others),
                None => other.excludes(*field),
            });
        !(apart || self.is_own() && other.is_forwarded())
    }

    /// Whether everything that `other` matches is matched by this one as well. "Yes" is certain.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let in_sets = self.sets.iter().all(|(field, values)| {
            other
                .set(*field)
                .is_some_and(|others| values.covers(others))
        });
        in_sets && self.rest.iter().all(|c| other.implies(c))
    }

    /// Whether a condition holds for everything that this one matches. "Yes" is certain.
    fn implies(&self, condition: &Condition) -> bool {
        let excepts = |field: Field, values: &Spans| {
            self.excludes(field) || self.set(field).is_some_and(|own| !own.meets(values))
        };
        let by_fields = match condition {
            Condition::Among { field, values } => {
                self.set(*field).is_some_and(|own| values.covers(own))
            }
            Condition::NotInterface(names) => {
                let numbers = names
                    .iter()
                    .map(|n| uplinkd_model::classify::interface_number(n));
                excepts(Field::Interface, &Spans::new(numbers.map(Span::one)))
            }
            Condition::NotMac(values) => excepts(Field::Mac, values),
            Condition::NotUser(values) => excepts(Field::User, values),
            Condition::NotGroup(values) => excepts(Field::Group, values),
            Condition::Cgroup { not: true, .. } => self.is_forwarded(),
            Condition::Mark { .. }
            | Condition::Domain { .. }
            | Condition::Cgroup { not: false, .. } => false,
        };
        by_fields || self.rest.iter().any(|own| is_stronger(own, condition))
    }
}

/// Whether `weak` holds wherever `strong` does. "Yes" is certain.
fn is_stronger(strong: &Condition, weak: &Condition) -> bool {
    use Condition::{Cgroup, Mark, NotGroup, NotInterface, NotMac, NotUser};
    match (strong, weak) {
        (NotInterface(strong), NotInterface(weak)) => weak.iter().all(|n| strong.contains(n)),
        (NotMac(strong), NotMac(weak))
        | (NotUser(strong), NotUser(weak))
        | (NotGroup(strong), NotGroup(weak)) => strong.covers(weak),
        (
            Mark {
                any_of: s,
                not: false,
            },
            Mark {
                any_of: w,
                not: false,
            },
        ) => are_among(s, w),
        (
            Mark {
                any_of: s,
                not: true,
            },
            Mark {
                any_of: w,
                not: true,
            },
        ) => are_among(w, s),
        (
            Cgroup {
                any_of: s,
                not: false,
            },
            Cgroup {
                any_of: w,
                not: false,
            },
        ) => s.iter().all(|path| is_within(path, w)),
        (
            Cgroup {
                any_of: s,
                not: true,
            },
            Cgroup {
                any_of: w,
                not: true,
            },
        ) => w.iter().all(|path| is_within(path, s)),
        (strong, weak) => strong == weak,
    }
}

/// Whether every mark that one of `few` takes is taken by one of `many`.
fn are_among(few: &[Mark], many: &[Mark]) -> bool {
    few.iter().all(|narrow| {
        many.iter()
            .any(|wide| narrow.mask & wide.mask == wide.mask && wide.matches(narrow.value))
    })
}

/// For the policies that name values of the same fields, the place of the field that tells most of
/// them apart, by those fields.
pub(crate) fn fields_to_search<'a>(
    normals: impl Iterator<Item = &'a Normal>,
) -> BTreeMap<Vec<Field>, usize> {
    let mut values: BTreeMap<Vec<Field>, Vec<BTreeSet<Span>>> = BTreeMap::new();
    for normal in normals {
        let fields = normal.sets.iter().map(|(field, _)| *field).collect();
        let seen = values.entry(fields).or_default();
        seen.resize(normal.sets.len(), BTreeSet::new());
        for (seen, (_, values)) in seen.iter_mut().zip(&normal.sets) {
            // One of its values stands for all.
            seen.extend(values.as_slice().first());
        }
    }
    let most = |seen: Vec<BTreeSet<Span>>| {
        let places = (0..seen.len()).rev();
        places.max_by_key(|place| seen[*place].len()).unwrap_or(0)
    };
    values
        .into_iter()
        .map(|(f, seen)| (f, most(seen)))
        .collect()
}

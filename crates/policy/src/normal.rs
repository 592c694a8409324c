//! A policy as one family sees it: one set of values for each field, and what no set can say.

use std::collections::BTreeMap;

use uplinkd_model::{
    Family, Policy,
    classify::{Condition, Field, interface_number, number_interface},
    policy::{Clause, PROTOCOLS_WITH_PORTS, Selector, Span, Spans},
};

use crate::flow::icmp_of;

/// The clauses of a policy for one family, apart from schedules: `not` is folded into the sets where
/// every packet has the field, clauses on one field are intersected, and what they imply (ports have
/// protocols) is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Normal {
    /// Per field the values of which the packet must have one, sorted by field, none empty. A field
    /// that may have any value is not here, unless its being there says something.
    pub(crate) sets: Vec<(Field, Spans)>,
    /// Everything else.
    pub(crate) rest: Vec<Condition>,
}

/// The normal form of a policy for a family; none where nothing of that family can match.
pub(crate) fn normalise(policy: &Policy, family: Family) -> Option<Normal> {
    let mut gathered = Gathered {
        family,
        sets: BTreeMap::new(),
        exceptions: BTreeMap::new(),
        rest: Vec::new(),
    };
    for clause in &policy.clauses {
        gathered.add(clause)?;
    }
    gathered.finish()
}

/// Clauses on their way to a normal form.
struct Gathered {
    family: Family,
    sets: BTreeMap<Field, Spans>,
    /// The values that packets must not have, of fields that not every packet has.
    exceptions: BTreeMap<Field, Vec<Span>>,
    rest: Vec<Condition>,
}

impl Gathered {
    /// Adds a clause; none where it holds for no packet of the family.
    fn add(&mut self, clause: &Clause) -> Option<()> {
        let not = clause.not;
        match &clause.selector {
            Selector::Family(family) => return ((*family == self.family) != not).then_some(()),
            Selector::Schedule(_) => {}
            Selector::Source(of) => self.narrow(Field::Source, of.of(self.family), not),
            Selector::Destination(of) => self.narrow(Field::Destination, of.of(self.family), not),
            Selector::Protocol(values) => self.narrow(Field::Protocol, values, not),
            Selector::SourcePort(values) => self.narrow_port(Field::SourcePort, values, not),
            Selector::DestinationPort(values) => {
                self.narrow_port(Field::DestinationPort, values, not);
            }
            Selector::IcmpType { v4, v6 } => {
                let icmp = Spans::new([Span::one(icmp_of(self.family))]);
                self.narrow(Field::Protocol, &icmp, false);
                let types = match self.family {
                    Family::V4 => v4,
                    Family::V6 => v6,
                };
                self.narrow(Field::IcmpType, types, not);
            }
            Selector::Dscp(values) => self.narrow(Field::Dscp, values, not),
            Selector::Interface(names) => {
                let spans = names.iter().map(|n| Span::one(interface_number(n)));
                self.narrow_optional(Field::Interface, &Spans::new(spans), not);
            }
            Selector::Mac(values) => self.narrow_optional(Field::Mac, values, not),
            Selector::User(values) => self.narrow_optional(Field::User, values, not),
            Selector::Group(values) => self.narrow_optional(Field::Group, values, not),
            Selector::Mark(any_of) if any_of.is_empty() => return not.then_some(()),
            Selector::Mark(any_of) => self.rest.push(Condition::Mark {
                any_of: any_of.clone(),
                not,
            }),
            Selector::Cgroup(any_of) if any_of.is_empty() => return not.then_some(()),
            Selector::Cgroup(any_of) => self.rest.push(Condition::Cgroup {
                any_of: any_of.clone(),
                not,
            }),
            Selector::Domain { set, .. } => self.rest.push(Condition::Domain {
                set: set.clone(),
                not,
            }),
        }
        Some(())
    }

    fn narrow(&mut self, field: Field, values: &Spans, not: bool) {
        let values = if not {
            values.complement(field.max(self.family))
        } else {
            values.clone()
        };
        self.sets
            .entry(field)
            .and_modify(|before| *before = before.intersection(&values))
            .or_insert(values);
    }

    fn narrow_port(&mut self, field: Field, values: &Spans, not: bool) {
        let protocols = Spans::new(PROTOCOLS_WITH_PORTS.map(Span::one));
        self.narrow(Field::Protocol, &protocols, false);
        self.narrow(field, values, not);
    }

    fn narrow_optional(&mut self, field: Field, values: &Spans, not: bool) {
        if not {
            let exceptions = self.exceptions.entry(field).or_default();
            exceptions.extend(values.as_slice());
        } else {
            self.narrow(field, values, false);
        }
    }

    fn finish(mut self) -> Option<Normal> {
        let has_cgroup = self
            .rest
            .iter()
            .any(|c| matches!(c, Condition::Cgroup { not: false, .. }));
        let is_own = has_cgroup || [Field::User, Field::Group].iter().any(|f| self.has(*f));
        let is_forwarded = [Field::Interface, Field::Mac].iter().any(|f| self.has(*f));
        if is_own && is_forwarded {
            return None;
        }
        let without: &[Field] = match (is_own, is_forwarded) {
            (true, _) => &[Field::Interface, Field::Mac],
            (false, true) => &[Field::User, Field::Group],
            (false, false) => &[],
        };
        for (field, spans) in std::mem::take(&mut self.exceptions) {
            let values = Spans::new(spans);
            if values.is_empty() {
                continue;
            }
            if self.has(field) {
                self.narrow(field, &values, true);
                continue;
            }
            // A flow that cannot have the field passes every exception.
            if !without.contains(&field) {
                self.rest.extend(exception(field, &values));
            }
        }
        if is_forwarded {
            self.rest
                .retain(|c| !matches!(c, Condition::Cgroup { not: true, .. }));
        }
        let family = self.family;
        let sets: Vec<_> = self
            .sets
            .into_iter()
            .filter(|(field, values)| {
                !(values.as_slice() == [Span::new(0_u128, (*field).max(family))]
                    && is_implied(*field))
            })
            .collect();
        sets.iter()
            .all(|(_, values)| !values.is_empty())
            .then_some(Normal {
                sets,
                rest: self.rest,
            })
    }

    fn has(&self, field: Field) -> bool {
        self.sets.contains_key(&field)
    }
}

/// Whether "any value" of a field says nothing: every packet has one, or the protocol, which is named
/// beside it, says that it has.
fn is_implied(field: Field) -> bool {
    match field {
        Field::Source
        | Field::Destination
        | Field::Protocol
        | Field::SourcePort
        | Field::DestinationPort
        | Field::IcmpType
        | Field::Dscp => true,
        Field::Interface | Field::Mac | Field::User | Field::Group => false,
    }
}

/// The condition that a packet has none of these values, or no such field.
fn exception(field: Field, values: &Spans) -> Option<Condition> {
    match field {
        Field::Interface => {
            let names = values.as_slice().iter();
            Some(Condition::NotInterface(
                names.map(|s| number_interface(s.first)).collect(),
            ))
        }
        Field::Mac => Some(Condition::NotMac(values.clone())),
        Field::User => Some(Condition::NotUser(values.clone())),
        Field::Group => Some(Condition::NotGroup(values.clone())),
        // Every packet that a clause on these speaks of has them: `narrow` took the complement.
        Field::Source
        | Field::Destination
        | Field::Protocol
        | Field::SourcePort
        | Field::DestinationPort
        | Field::IcmpType
        | Field::Dscp => None,
    }
}

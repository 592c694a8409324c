//! Policies that can never be reached, and who hides them.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
};

use uplinkd_model::{
    Family, Policy,
    classify::Field,
    policy::{MINUTES_PER_WEEK, Selector, Span, Spans},
};

use crate::{
    line::{Claim, settle},
    normal::{Normal, normalise},
    relation::fields_to_search,
    spans::{SpanIndex, Union},
    work::Work,
};

/// Comparisons in search of who hides whom, for one family. When they are used up, the
/// policies that follow may go unreported.
const COMPARISONS_MAX: usize = 500_000;

/// A policy that nothing can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The policy: its index.
    pub policy: usize,
    /// The earlier policies that take all of its traffic, sorted. None: nothing can match it, since
    /// its own clauses exclude each other or name no values at all.
    pub by: Vec<usize>,
}

/// All policies that can never be reached, in order.
///
/// What is reported is so, at every time of the week. A policy is found where another takes all that
/// it speaks of, or where several that name nothing but values of one field take all of its values
/// there; what needs trying out the combinations of several fields is not.
pub fn shadows<P: Borrow<Policy>>(policies: &[P]) -> Vec<Shadow> {
    let policies: Vec<&Policy> = policies.iter().map(Borrow::borrow).collect();
    let weeks: Vec<Spans> = policies.iter().map(|p| week(p)).collect();
    let v4 = fates(&policies, &weeks, Family::V4);
    let v6 = fates(&policies, &weeks, Family::V6);
    let fates = v4.into_iter().zip(v6).enumerate();
    fates
        .filter_map(|(policy, (v4, v6))| {
            let by: BTreeSet<usize> = v4.hiders()?.into_iter().chain(v6.hiders()?).collect();
            Some(Shadow {
                policy,
                by: by.into_iter().collect(),
            })
        })
        .collect()
}

/// What becomes of a policy in one family.
enum Fate {
    Reachable,
    Impossible,
    Hidden(Vec<usize>),
}

impl Fate {
    /// Who hides it, if it cannot be reached.
    fn hiders(self) -> Option<Vec<usize>> {
        match self {
            Self::Reachable => None,
            Self::Impossible => Some(Vec::new()),
            Self::Hidden(by) => Some(by),
        }
    }
}

/// The minutes of the week at which a policy holds.
fn week(policy: &Policy) -> Spans {
    let mut week = week_whole();
    for clause in &policy.clauses {
        if let Selector::Schedule(minutes) = &clause.selector {
            let minutes = if clause.not {
                minutes.complement(u128::from(MINUTES_PER_WEEK) - 1)
            } else {
                minutes.clone()
            };
            week = week.intersection(&minutes);
        }
    }
    week
}

fn fates(policies: &[&Policy], weeks: &[Spans], family: Family) -> Vec<Fate> {
    let always = week_whole();
    let possible = |(policy, week): (&&Policy, &Spans)| {
        let normal = normalise(policy, family)?;
        (!week.is_empty()).then(|| Shader {
            is_plain: normal.rest.is_empty() && normal.sets.len() <= 1 && *week == always,
            normal,
            week: week.clone(),
        })
    };
    let shaders: Vec<Option<Shader>> = policies.iter().zip(weeks).map(possible).collect();
    let mut earlier = Earlier {
        shaders: &shaders,
        family,
        searched: fields_to_search(shaders.iter().flatten().map(|s| &s.normal)),
        groups: BTreeMap::new(),
        unions: BTreeMap::new(),
        work: Work::new(COMPARISONS_MAX),
    };
    let fate = |(policy, shader): (usize, &Option<Shader>)| {
        let Some(shader) = shader else {
            return Fate::Impossible;
        };
        match earlier.who_hides(shader) {
            Some(by) => Fate::Hidden(by),
            // Whom others hide hides nobody whom these would not.
            None => {
                earlier.add(policy, shader);
                Fate::Reachable
            }
        }
    };
    shaders.iter().enumerate().map(fate).collect()
}

fn week_whole() -> Spans {
    Spans::new([Span::new(0_u16, MINUTES_PER_WEEK - 1)])
}

/// A policy as one that may hide others.
struct Shader {
    normal: Normal,
    week: Spans,
    /// It names values of one field, or nothing, and holds at all times.
    is_plain: bool,
}

impl Shader {
    fn covers(&self, other: &Self) -> bool {
        self.week.covers(&other.week) && self.normal.covers(&other.normal)
    }

    fn size(&self) -> usize {
        let sets = self.normal.sets.iter();
        1 + sets.map(|(_, v)| v.as_slice().len()).sum::<usize>()
    }
}

/// The policies before the one that is looked at, as far as they can be reached.
struct Earlier<'a> {
    shaders: &'a [Option<Shader>],
    family: Family,
    searched: BTreeMap<Vec<Field>, usize>,
    /// By the fields that they name values of.
    groups: BTreeMap<Vec<Field>, Group>,
    /// Of the plain ones, by field: all values.
    unions: BTreeMap<Field, Union>,
    work: Work,
}

/// Policies that name values of the same fields.
#[derive(Default)]
struct Group {
    /// Those that name no values.
    bare: Vec<usize>,
    /// The others, by their values of one field.
    index: SpanIndex,
}

impl Earlier<'_> {
    fn add(&mut self, policy: usize, shader: &Shader) {
        let sets = &shader.normal.sets;
        let fields: Vec<Field> = sets.iter().map(|(field, _)| *field).collect();
        let searched = self.searched.get(&fields).copied().unwrap_or(0);
        let group = self.groups.entry(fields).or_default();
        let Some((field, values)) = sets.get(searched) else {
            group.bare.push(policy);
            return;
        };
        for span in values.as_slice() {
            group.index.insert(*span, policy);
        }
        if shader.is_plain {
            let union = self.unions.entry(*field).or_default();
            for span in values.as_slice() {
                union.insert(*span);
            }
        }
    }

    /// Who takes all of a policy's traffic.
    fn who_hides(&mut self, shader: &Shader) -> Option<Vec<usize>> {
        let alone = self.who_hides_alone(shader).map(|policy| vec![policy]);
        alone.or_else(|| self.who_hides_together(shader))
    }

    fn who_hides_alone(&mut self, shader: &Shader) -> Option<usize> {
        for (fields, group) in &self.groups {
            // Whom one hides names values of at least the same fields.
            if !fields.iter().all(|f| shader.normal.set(*f).is_some()) {
                continue;
            }
            let place = self.searched.get(fields).copied().unwrap_or(0);
            let first = fields.get(place).and_then(|f| shader.normal.set(*f));
            let first = first.and_then(|values| values.as_slice().first());
            let indexed = first.map(|span| group.index.meeting(Span::one(span.first)));
            let candidates = indexed.into_iter().flatten().map(|(_, policy)| policy);
            for policy in group.bare.iter().copied().chain(candidates) {
                if self.work.is_done() {
                    return None;
                }
                let Some(candidate) = &self.shaders[policy] else {
                    continue;
                };
                self.work.spend(candidate.size().min(shader.size()));
                if candidate.covers(shader) {
                    return Some(policy);
                }
            }
        }
        None
    }

    fn who_hides_together(&mut self, shader: &Shader) -> Option<Vec<usize>> {
        let (field, values) = self.unions.iter().find_map(|(field, union)| {
            let values = values_of(&shader.normal, *field, self.family)?;
            union.covers(&values).then_some((*field, values))
        })?;
        let index = &self.groups.get(&vec![field])?.index;
        let mut claims = Vec::new();
        for span in values.as_slice() {
            for (claimed, policy) in index.meeting(*span) {
                if self.work.is_done() {
                    return None;
                }
                self.work.spend(1);
                if self.shaders[policy].as_ref().is_some_and(|c| c.is_plain) {
                    let first = claimed.first.max(span.first);
                    let last = claimed.last.min(span.last);
                    let span = Span::new(first, last);
                    claims.push(Claim { span, policy });
                }
            }
        }
        let by: BTreeSet<usize> = settle(claims).iter().map(|c| c.policy).collect();
        Some(by.into_iter().collect())
    }
}

/// The values of a field that a policy's packets may have; none where some have no such field.
fn values_of(normal: &Normal, field: Field, family: Family) -> Option<Spans> {
    if let Some(values) = normal.set(field) {
        return Some(values.clone());
    }
    match field {
        Field::Source | Field::Destination | Field::Protocol | Field::Dscp => {
            Some(Spans::new([Span::new(0_u128, field.max(family))]))
        }
        Field::Interface
        | Field::Mac
        | Field::SourcePort
        | Field::DestinationPort
        | Field::IcmpType
        | Field::User
        | Field::Group => None,
    }
}

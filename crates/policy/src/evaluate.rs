//! Asks the compiled policies about a flow, as the kernel does.

use std::collections::BTreeSet;

use uplinkd_model::{
    Classifier, Family,
    classify::{Condition, Entry, Field, MapStage, RuleStage, Stage},
    policy::Span,
};

use crate::{
    fact::{Fact, Known, Truth},
    flow::{Answer, Flow, is_within},
    spans::SpanIndex,
};

/// What becomes of a flow. Where it hangs on an unknown fact, the answer names a policy that would
/// match with one value of it and not with another.
///
/// Of maps by several fields every entry may be looked at; [`Evaluator`] is for many flows.
pub fn evaluate(classifier: &Classifier, flow: &Flow) -> Answer {
    ask(classifier.of(flow.family), |_| None, flow)
}

/// Asks the same policies about many flows: maps by several fields are indexed once.
#[derive(Debug)]
pub struct Evaluator<'a> {
    classifier: &'a Classifier,
    v4: Vec<Option<MapIndex>>,
    v6: Vec<Option<MapIndex>>,
}

impl<'a> Evaluator<'a> {
    /// Indexes a classifier.
    pub fn new(classifier: &'a Classifier) -> Self {
        let indices = |family| {
            let stages = classifier.of(family).iter();
            stages.map(MapIndex::of).collect()
        };
        Self {
            classifier,
            v4: indices(Family::V4),
            v6: indices(Family::V6),
        }
    }

    /// What [`evaluate`] answers.
    pub fn evaluate(&self, flow: &Flow) -> Answer {
        let indices = match flow.family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        let stages = self.classifier.of(flow.family);
        ask(stages, |stage| indices[stage].as_ref(), flow)
    }
}

/// The entries of a map by several fields, by their values of one of them.
#[derive(Debug)]
struct MapIndex {
    field: usize,
    spans: SpanIndex,
}

impl MapIndex {
    fn of(stage: &Stage) -> Option<Self> {
        let map = match stage {
            Stage::Map(map) if map.fields.len() > 1 => map,
            Stage::Map(_) | Stage::Rule(_) => return None,
        };
        let different = |field: usize| {
            let spans: BTreeSet<_> = map.entries.iter().map(|e| e.key[field]).collect();
            spans.len()
        };
        let field = (0..map.fields.len()).max_by_key(|field| different(*field))?;
        let mut spans = SpanIndex::default();
        for (number, entry) in map.entries.iter().enumerate() {
            spans.insert(entry.key[field], number);
        }
        Some(Self { field, spans })
    }
}

fn ask<'a>(stages: &[Stage], index: impl Fn(usize) -> Option<&'a MapIndex>, flow: &Flow) -> Answer {
    for (number, stage) in stages.iter().enumerate() {
        let found = match stage {
            Stage::Map(map) => ask_map(map, index(number), flow),
            Stage::Rule(rule) => ask_rule(rule, flow),
        };
        match found {
            Found::Nothing => {}
            Found::Match { policy, outlet } => {
                return Answer::Policy {
                    policy,
                    outlet,
                    stage: number,
                };
            }
            Found::Perhaps { policy, on } => return Answer::Depends { policy, on },
        }
    }
    Answer::Default
}

/// What one stage says.
enum Found {
    Nothing,
    Match { policy: usize, outlet: u16 },
    Perhaps { policy: usize, on: Fact },
}

impl Found {
    fn new(truth: Truth, policy: usize, outlet: u16) -> Self {
        match truth {
            Truth::Yes => Self::Match { policy, outlet },
            Truth::No => Self::Nothing,
            Truth::Depends(on) => Self::Perhaps { policy, on },
        }
    }
}

fn ask_rule(rule: &RuleStage, flow: &Flow) -> Found {
    let truth = Truth::all(rule.conditions.iter().map(|c| truth(c, flow)));
    Found::new(truth, rule.policy, rule.outlet)
}

fn ask_map(map: &MapStage, index: Option<&MapIndex>, flow: &Flow) -> Found {
    let values: Vec<_> = map.fields.iter().map(|f| flow.number(*f)).collect();
    // No entry has anything to say of a packet that lacks one of the fields.
    if values.contains(&Known::Absent) {
        return Found::Nothing;
    }
    if let Some(index) = index
        && let Known::Is(value) = values[index.field]
    {
        let meeting = index.spans.meeting(Span::one(value));
        return ask_entries(meeting.map(|(_, number)| &map.entries[number]), &values);
    }
    // Sorted by the first field: entries that begin beyond its value are out. Of a single field no
    // two entries meet, so that only the last of the rest can hold it.
    let entries = match values.as_slice() {
        [Known::Is(value), others @ ..] => {
            let end = map.entries.partition_point(|e| e.key[0].first <= *value);
            let begin = if others.is_empty() {
                end.saturating_sub(1)
            } else {
                0
            };
            &map.entries[begin..end]
        }
        [Known::Absent | Known::Unknown(_), ..] | [] => &map.entries,
    };
    ask_entries(entries.iter(), &values)
}

fn ask_entries<'a>(entries: impl Iterator<Item = &'a Entry>, values: &[Known<u128>]) -> Found {
    let mut perhaps: Option<(usize, Fact)> = None;
    for entry in entries {
        match ask_entry(entry, values) {
            Truth::No => {}
            Truth::Yes => return Found::new(Truth::Yes, entry.policy, entry.outlet),
            Truth::Depends(on) => {
                // Of several, the first policy; of its entries all hang on the same facts.
                if perhaps.is_none_or(|(policy, _)| entry.policy < policy) {
                    perhaps = Some((entry.policy, on));
                }
            }
        }
    }
    perhaps.map_or(Found::Nothing, |(policy, on)| Found::Perhaps { policy, on })
}

fn ask_entry(entry: &Entry, values: &[Known<u128>]) -> Truth {
    let pairs = entry.key.iter().zip(values);
    Truth::all(pairs.map(|(span, value)| value.holds(|v| span.contains(v))))
}

fn truth(condition: &Condition, flow: &Flow) -> Truth {
    match condition {
        Condition::Among { field, values } => flow.number(*field).holds(|v| values.contains(v)),
        Condition::NotInterface(names) => flow
            .interface()
            .lacks(|name| names.iter().any(|n| n == name)),
        Condition::NotMac(values) => flow.number(Field::Mac).lacks(|v| values.contains(v)),
        Condition::NotUser(values) => flow.number(Field::User).lacks(|v| values.contains(v)),
        Condition::NotGroup(values) => flow.number(Field::Group).lacks(|v| values.contains(v)),
        Condition::Mark { any_of, not } => {
            (any_of.iter().any(|m| m.matches(flow.mark)) != *not).into()
        }
        Condition::Domain { set, not } => flow.domain_sets().holds(|s| s.contains(set) != *not),
        Condition::Cgroup { any_of, not: true } => {
            flow.cgroup().lacks(|path| is_within(path, any_of))
        }
        Condition::Cgroup { any_of, not: false } => {
            flow.cgroup().holds(|path| is_within(path, any_of))
        }
    }
}

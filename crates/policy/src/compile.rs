//! From policies to stages.
//!
//! Policies that only name values go into maps, one look-up each, however many they are; the others
//! become rules. Policies are taken in order, and two that a packet may both match never change
//! places: the later one goes to the stage of the earlier one, which settles who has what, or to a
//! later stage. A policy that meets nobody in the stages behind goes back to the first map of its
//! shape, so that policies of different shapes in turn, or one rule in the midst of thousands of
//! prefixes, do not make for many stages.

use std::{borrow::Borrow, collections::BTreeMap};

use uplinkd_model::{
    Classifier, Family, Policy,
    classify::{Condition, Entry, Field, MapStage, RuleStage, Stage},
    policy::{Outlet, Span, Spans},
};

use crate::{
    behind::{Behind, Placed},
    boxes::Boxes,
    count::counted,
    fingerprint::fingerprint,
    line::Line,
    naive::is_active,
    normal::Normal,
    normal::normalise,
    relation::fields_to_search,
    work::Work,
};

/// How many stages back a policy looks closely for a map to join.
const STAGES_BACK: usize = 32;
/// How many maps of its shape further back, the first ones, it looks at less closely. A policy that
/// finds no map begins a new one.
const MAPS_FAR_BACK: usize = 4;
/// The most entries of a map by several fields that one policy may make. One that needs more becomes
/// a rule, which asks for each field by itself.
const ENTRIES_MAX: usize = 64;
/// Comparisons in search of a better arrangement, for one family. When they are used up, policies
/// join only the last stage or begin a new one; the answers stay the same.
const COMPARISONS_MAX: usize = 1_000_000;

/// Compiles policies, in order, for the kernel. `minute` is the local time in minutes since Monday
/// 00:00: policies whose schedule does not hold are left out. So are those that no packet can reach
/// since one before them takes everything.
pub fn compile<P: Borrow<Policy>>(policies: &[P], outlets: &[Outlet], minute: u16) -> Classifier {
    let codes = codes(policies, outlets);
    let stages = |family| arrange(wanted(policies, family, minute), &codes);
    let (v4, v6) = (stages(Family::V4), stages(Family::V6));
    let counted = counted(policies, [&v4, &v6]);
    Classifier {
        fingerprint: fingerprint([&v4, &v6], &counted),
        counted,
        v4,
        v6,
    }
}

/// The outlets' codes, by policy.
pub(crate) fn codes<P: Borrow<Policy>>(policies: &[P], outlets: &[Outlet]) -> Vec<u16> {
    let outlets = policies.iter().map(|p| outlets[p.borrow().outlet].code);
    outlets.collect()
}

/// The policies that speak of a family at a time, up to the first that speaks of everything.
fn wanted<P: Borrow<Policy>>(policies: &[P], family: Family, minute: u16) -> Vec<(usize, Normal)> {
    let mut wanted = Vec::new();
    for (index, policy) in policies.iter().map(Borrow::borrow).enumerate() {
        if !is_active(policy, minute) {
            continue;
        }
        let Some(normal) = normalise(policy, family) else {
            continue;
        };
        let is_last = normal.is_unconditional();
        wanted.push((index, normal));
        if is_last {
            break;
        }
    }
    wanted
}

fn arrange(wanted: Vec<(usize, Normal)>, codes: &[u16]) -> Vec<Stage> {
    let mut arrangement = Arrangement {
        searched: fields_to_search(wanted.iter().map(|(_, normal)| normal)),
        drafts: Vec::new(),
        by_shape: BTreeMap::new(),
        behind: BTreeMap::new(),
        placed: Vec::new(),
        work: Work::new(COMPARISONS_MAX),
    };
    for (policy, normal) in wanted {
        arrangement.place(policy, normal);
    }
    let drafts = arrangement.drafts.into_iter();
    drafts.map(|draft| draft.settle(codes)).collect()
}

/// The fields of the map that a policy can be part of; none where it must be a rule.
fn shape(normal: &Normal) -> Option<Vec<Field>> {
    if !normal.rest.is_empty() || normal.sets.is_empty() {
        return None;
    }
    let fields = normal.sets.iter().map(|(field, _)| *field).collect();
    if normal.sets.len() == 1 {
        return Some(fields);
    }
    let is_exact = || {
        let mut spans = normal.sets.iter().flat_map(|(_, v)| v.as_slice());
        spans.all(Span::is_one)
    };
    let mut entries: usize = 1;
    for (field, values) in &normal.sets {
        entries = entries.saturating_mul(values.as_slice().len());
        let fits = match field {
            Field::Source
            | Field::Destination
            | Field::Protocol
            | Field::SourcePort
            | Field::DestinationPort => true,
            // Names and numbers in the byte order of the machine, and addresses that own packets
            // lack, share a key with others only where nothing is a range.
            Field::Interface | Field::Mac | Field::User | Field::Group => is_exact(),
            // Bits inside a byte, and a header that not every packet of the map has, share none.
            Field::Dscp | Field::IcmpType => false,
        };
        if !fits || entries > ENTRIES_MAX {
            return None;
        }
    }
    Some(fields)
}

/// Stages in the making.
struct Arrangement {
    searched: BTreeMap<Vec<Field>, usize>,
    drafts: Vec<Draft>,
    /// The stages of each shape, in order.
    by_shape: BTreeMap<Vec<Field>, Vec<usize>>,
    /// What stands behind the stages that were asked for from afar.
    behind: BTreeMap<usize, Behind>,
    placed: Placed,
    work: Work,
}

/// A stage in the making.
enum Draft {
    Line(Line),
    Boxes(Boxes),
    Rule { policy: usize, normal: Normal },
}

impl Arrangement {
    /// Places the next policy: in the first map of its shape that it can go back to, or at the end.
    fn place(&mut self, policy: usize, normal: Normal) {
        let stage = self.place_of(policy, &normal);
        self.placed.push((stage, normal));
    }

    fn place_of(&mut self, policy: usize, normal: &Normal) -> usize {
        let end = self.drafts.len();
        let Some(fields) = shape(normal) else {
            let normal = normal.clone();
            self.drafts.push(Draft::Rule { policy, normal });
            return end;
        };
        for stage in self.stages_to_join(&fields, normal) {
            if self.drafts[stage].add(policy, normal, &mut self.work) {
                return stage;
            }
        }
        let mut draft = match fields.as_slice() {
            [field] => Draft::Line(Line::new(*field)),
            _ => {
                let searched = self.searched.get(&fields).copied().unwrap_or(0);
                Draft::Boxes(Boxes::new(fields.clone(), searched))
            }
        };
        // An empty map takes everything, even when no more comparisons are to be had.
        draft.add(policy, normal, &mut self.work);
        self.by_shape.entry(fields).or_default().push(end);
        self.drafts.push(draft);
        end
    }

    /// The maps of a shape that a policy may join, best first: behind each there is nobody whom it
    /// meets. The first is best, so that maps stay as they are when a rule comes among them.
    fn stages_to_join(&mut self, fields: &[Field], normal: &Normal) -> Vec<usize> {
        let Some(stages) = self.by_shape.get(fields) else {
            return Vec::new();
        };
        let back = if self.work.is_done() { 1 } else { STAGES_BACK };
        let begin = self.drafts.len().saturating_sub(back);
        let (far, near) = stages.split_at(stages.partition_point(|s| *s < begin));
        let work = &mut self.work;
        let met = near.first().and_then(|first| {
            let mut behind = (first + 1..self.drafts.len()).rev();
            behind.find(|stage| self.drafts[*stage].may_meet(normal, work))
        });
        let mut join = Vec::new();
        // Whom it meets close by, it meets from afar as well.
        if met.is_none() {
            join.extend(far.iter().take(MAPS_FAR_BACK).copied().filter(|stage| {
                let behind = self.behind.entry(*stage).or_default();
                !behind.may_meet(*stage, &self.placed, normal, work)
            }));
        }
        join.extend(&near[near.partition_point(|s| Some(*s) < met)..]);
        join
    }
}

impl Draft {
    /// Adds a policy of this map's shape; false where the map does not take it.
    fn add(&mut self, policy: usize, normal: &Normal, work: &mut Work) -> bool {
        match self {
            Self::Line(line) => {
                for (_, values) in &normal.sets {
                    line.add(values, policy);
                }
                true
            }
            Self::Boxes(boxes) => boxes.add(normal, policy, work),
            Self::Rule { .. } => false,
        }
    }

    /// Whether some packet may match both this stage and a policy. "No" is certain.
    fn may_meet(&mut self, normal: &Normal, work: &mut Work) -> bool {
        match self {
            Self::Line(line) => match normal.set(line.field) {
                Some(values) => {
                    work.spend(values.as_slice().len());
                    line.meets(values)
                }
                None => !normal.excludes(line.field),
            },
            Self::Boxes(boxes) => boxes.may_meet(normal, work),
            Self::Rule { normal: other, .. } => {
                work.spend(normal.sets.iter().map(|(_, v)| v.as_slice().len()).sum());
                normal.may_meet(other)
            }
        }
    }

    fn settle(self, codes: &[u16]) -> Stage {
        let entry = |key, policy: usize| Entry {
            key,
            outlet: codes[policy],
            policy,
        };
        let (fields, entries): (Vec<Field>, Vec<Entry>) = match self {
            Self::Rule { policy, normal } => return rule(policy, codes[policy], normal),
            Self::Line(line) => {
                let fields = vec![line.field];
                let claims = line.settle().into_iter();
                (
                    fields,
                    claims.map(|c| entry(vec![c.span], c.policy)).collect(),
                )
            }
            Self::Boxes(boxes) => {
                let fields = boxes.fields.clone();
                let boxes = boxes.settle().into_iter();
                (fields, boxes.map(|b| entry(b.key, b.policy)).collect())
            }
        };
        match entries.as_slice() {
            [only] => rule_of_entry(&fields, only),
            _ => Stage::Map(MapStage {
                fields,
                entries: entries.into(),
            }),
        }
    }
}

fn rule(policy: usize, outlet: u16, normal: Normal) -> Stage {
    let among = normal.sets.into_iter();
    let among = among.map(|(field, values)| Condition::Among { field, values });
    Stage::Rule(RuleStage {
        conditions: among.chain(normal.rest).collect(),
        outlet,
        policy,
    })
}

/// A map of one entry is a rule: nothing is gained by a set of its own.
fn rule_of_entry(fields: &[Field], entry: &Entry) -> Stage {
    let among = fields.iter().zip(&entry.key);
    let among = among.map(|(field, span)| Condition::Among {
        field: *field,
        values: Spans::new([*span]),
    });
    Stage::Rule(RuleStage {
        conditions: among.collect(),
        outlet: entry.outlet,
        policy: entry.policy,
    })
}

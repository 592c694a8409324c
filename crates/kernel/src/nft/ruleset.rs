//! Our table as nft thinks of it: chains of rules, and sets and maps with their elements.
//!
//! [`super::build`] makes it from an [`uplinkd_model::nft::NftTable`]; it can be written as text
//! ([`super::text`]), compared with an earlier one ([`super::delta`]) and its elements sent as
//! messages ([`super::element`]). Large lists of elements stay where they are, behind an `Arc`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use uplinkd_model::{
    Family,
    classify::{Entries, Entry},
    policy::{Span, Spans},
};

use super::datatype::Datatype;

/// A whole table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ruleset {
    /// The table's name.
    pub(super) name: String,
    /// The chains by name.
    pub(super) chains: BTreeMap<String, Chain>,
    /// The counters by name. What they have counted is never looked at here.
    pub(super) counters: BTreeSet<String>,
    /// The sets and maps by name.
    pub(super) collections: BTreeMap<String, Collection>,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// Where the kernel enters it, in nft's words; none where only rules lead to it.
    pub(super) hook: Option<&'static str>,
    /// Its rules in nft's words, in their order.
    pub(super) rules: Vec<String>,
}

/// A set or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Collection {
    /// What its keys are made of.
    pub(super) key: Vec<Datatype>,
    /// For each part of the key, which span of an item it is, where that is not simply the next one.
    pub(super) order: Option<Vec<usize>>,
    /// What is in it.
    pub(super) content: Content,
    /// Some elements are ranges. Where there are only single values, it is a hash table.
    pub(super) has_ranges: bool,
}

/// What a collection holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A set: what we put, and nothing else.
    Set(Elements),
    /// A map to verdicts; likewise.
    Map(Elements),
    /// A map to counters; likewise.
    Counts(Elements),
    /// A set that fills itself while it works. We never touch what is in it.
    Dynamic {
        /// How long an element stays after it was last seen.
        timeout: Duration,
    },
}

/// Elements, sorted by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Elements {
    /// These; of a set, without a target.
    Listed(BTreeMap<Vec<Span>, Option<Target>>),
    /// The numbers of one field.
    Spans(Spans),
    /// Single values of one field, sorted, neighbours apart.
    Keys(Arc<[Span]>),
    /// The entries of a stage of the policies.
    Stage(StageRef),
}

/// A [`uplinkd_model::classify::MapStage`] in its place, whose entries are not copied.
#[derive(Clone, Debug)]
pub(super) struct StageRef {
    /// Its entries.
    pub(super) entries: Entries,
    /// The family.
    pub(super) family: Family,
    /// Only these of its entries; none: all.
    pub(super) picked: Option<Arc<[usize]>>,
    /// They are a set, wherever they lead to.
    pub(super) is_set: bool,
}

/// Where a map leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A chain that comes back.
    Jump(String),
    /// A chain that does not.
    Goto(String),
    /// The chain of an outlet for a family, by code; it does not come back.
    Outlet(Family, u16),
    /// A counter, by name.
    Counter(String),
}

/// An element that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item<'a> {
    /// A span for each part of the key.
    pub(super) key: &'a [Span],
    /// Where it leads to; none in a set.
    pub(super) target: Option<TargetRef<'a>>,
}

/// A [`Target`] that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetRef<'a> {
    /// A chain that comes back.
    Jump(&'a str),
    /// A chain that does not.
    Goto(&'a str),
    /// The chain of an outlet.
    Outlet(Family, u16),
    /// A counter.
    Counter(&'a str),
}

impl Collection {
    /// A set of these elements.
    pub(super) fn set(key: Vec<Datatype>, elements: Elements) -> Self {
        Self {
            key,
            order: None,
            has_ranges: elements.has_ranges(),
            content: Content::Set(elements),
        }
    }

    /// A set of these elements, of the kind that holds ranges or of the other, whichever are in it.
    pub(super) fn set_of_kind(key: Vec<Datatype>, elements: Elements, has_ranges: bool) -> Self {
        Self {
            key,
            order: None,
            has_ranges,
            content: Content::Set(elements),
        }
    }

    /// The same with the parts of its keys in another order.
    #[must_use]
    pub(super) fn in_order(mut self, order: Vec<usize>) -> Self {
        self.key = order.iter().map(|n| self.key[*n]).collect();
        self.order = Some(order);
        self
    }

    /// A map of these elements.
    pub(super) fn map(key: Vec<Datatype>, elements: Elements) -> Self {
        let has_ranges = elements.has_ranges();
        Self::map_of_kind(key, elements, has_ranges)
    }

    /// A map of these elements, of the kind that holds ranges or of the other, whichever are in it.
    pub(super) fn map_of_kind(key: Vec<Datatype>, elements: Elements, has_ranges: bool) -> Self {
        Self {
            key,
            order: None,
            has_ranges,
            content: Content::Map(elements),
        }
    }

    /// A map of these elements to counters.
    pub(super) fn counts(key: Vec<Datatype>, elements: Elements) -> Self {
        Self {
            key,
            order: None,
            has_ranges: elements.has_ranges(),
            content: Content::Counts(elements),
        }
    }

    /// A set that fills itself.
    pub(super) fn dynamic(key: Vec<Datatype>, timeout: Duration) -> Self {
        Self {
            key,
            order: None,
            has_ranges: false,
            content: Content::Dynamic { timeout },
        }
    }

    /// The spans of an item in the order of the key's parts.
    pub(super) fn parts<'a>(
        &'a self,
        item: &Item<'a>,
    ) -> impl Iterator<Item = (Datatype, &'a Span)> {
        let spans = item.key;
        self.key.iter().enumerate().map(move |(n, datatype)| {
            let at = self.order.as_ref().map_or(n, |order| order[n]);
            (*datatype, &spans[at])
        })
    }

    /// What we put in it; none where it fills itself.
    pub(super) fn elements(&self) -> Option<&Elements> {
        match &self.content {
            Content::Set(elements) | Content::Map(elements) | Content::Counts(elements) => {
                Some(elements)
            }
            Content::Dynamic { .. } => None,
        }
    }

    /// Whether another can take its place with nothing but elements changed.
    pub(super) fn is_shaped_like(&self, other: &Self) -> bool {
        let kind = |c: &Self| match c.content {
            Content::Set(_) => (0, None),
            Content::Map(_) => (1, None),
            Content::Dynamic { timeout } => (2, Some(timeout)),
            Content::Counts(_) => (3, None),
        };
        self.key == other.key
            && self.order == other.order
            && kind(self) == kind(other)
            && self.has_ranges == other.has_ranges
    }
}

impl Elements {
    /// How many.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Listed(listed) => listed.len(),
            Self::Spans(spans) => spans.as_slice().len(),
            Self::Keys(keys) => keys.len(),
            Self::Stage(stage) => stage.len(),
        }
    }

    /// Each of them, in the order of their keys.
    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = Item<'_>> + '_> {
        match self {
            Self::Listed(listed) => Box::new(listed.iter().map(|(key, target)| Item {
                key,
                target: target.as_ref().map(Target::as_ref),
            })),
            Self::Spans(spans) => Box::new(singles(spans.as_slice())),
            Self::Keys(keys) => Box::new(singles(keys)),
            Self::Stage(stage) => {
                let family = stage.family;
                let is_map = !stage.is_set;
                Box::new(stage.entries().map(move |entry| Item {
                    key: &entry.key,
                    target: is_map.then_some(TargetRef::Outlet(family, entry.outlet)),
                }))
            }
        }
    }

    /// Whether some are ranges.
    pub(super) fn has_ranges(&self) -> bool {
        self.iter().any(|item| item.key.iter().any(|s| !s.is_one()))
    }

    /// Whether both are the very same list in memory, so that nobody need compare them.
    pub(super) fn is_same_list(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Stage(a), Self::Stage(b)) => a.is_same(b),
            (Self::Spans(a), Self::Spans(b)) => std::ptr::eq(a.as_slice(), b.as_slice()),
            (Self::Keys(a), Self::Keys(b)) => Arc::ptr_eq(a, b),
            (Self::Stage(_) | Self::Spans(_) | Self::Keys(_) | Self::Listed(_), _) => false,
        }
    }
}

/// Elements of a set by one field.
fn singles(spans: &[Span]) -> impl Iterator<Item = Item<'_>> {
    spans.iter().map(|span| Item {
        key: std::slice::from_ref(span),
        target: None,
    })
}

impl StageRef {
    /// Only some of its entries.
    pub(super) fn pick(&self, picked: &Arc<[usize]>) -> Self {
        Self {
            picked: Some(Arc::clone(picked)),
            ..self.clone()
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        (0..self.len()).filter_map(|n| {
            let at = self.picked.as_ref().map_or(n, |p| p[n]);
            self.entries.get(at)
        })
    }

    fn len(&self) -> usize {
        let picked = self.picked.as_ref().map(|p| p.len());
        picked.unwrap_or(self.entries.len())
    }

    fn is_same(&self, other: &Self) -> bool {
        self.entries.is_same(&other.entries)
            && (self.family, self.is_set) == (other.family, other.is_set)
            && self.picked == other.picked
    }
}

impl PartialEq for StageRef {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
            || (self.family, self.is_set) == (other.family, other.is_set)
                && self.entries().eq(other.entries())
    }
}

impl Eq for StageRef {}

impl Target {
    /// The same, looked at.
    pub(super) fn as_ref(&self) -> TargetRef<'_> {
        match self {
            Self::Jump(chain) => TargetRef::Jump(chain),
            Self::Goto(chain) => TargetRef::Goto(chain),
            Self::Outlet(family, code) => TargetRef::Outlet(*family, *code),
            Self::Counter(name) => TargetRef::Counter(name),
        }
    }
}

impl fmt::Display for TargetRef<'_> {
    /// As nft takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Outlet(family, code) => write!(f, "goto outlet{}_{code}", digit(*family)),
            Self::Counter(name) => write!(f, "\"{name}\""),
        }
    }
}

/// The digit that names of chains, sets and maps tell families apart by.
pub(super) fn digit(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

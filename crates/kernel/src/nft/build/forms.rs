//! In which sets and maps a map of the policies is put. To find out every entry is looked at, often
//! several times, so that what was found is kept for as long as the entries are the very same.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use uplinkd_model::{
    Classifier, Family,
    classify::{COUNTED_POLICIES_MAX, Entries, Field, MapStage, Stage},
};

use super::{
    FAMILIES,
    maps::{split_field, telling_first},
    prefixes::Split,
};
use crate::nft::ruleset::digit;

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

/// Which of a map's entries.
pub(super) type Picked = Arc<[usize]>;

/// Which of a map's entries belong to each policy that may be counted.
pub(super) type Owned = BTreeMap<usize, Vec<usize>>;

/// The form of a map.
#[derive(Debug)]
pub(super) enum Form {
    /// It does not fit, and is cut by the values of one field.
    Cut,
    /// One map.
    One {
        /// Some entries are ranges.
        has_ranges: bool,
    },
    /// Ranges of several fields, of which each change costs as much as there are: in parts of a
    /// bearable size, by the value of the most telling field, so that an entry more or less changes
    /// its own part only.
    Parts {
        /// The fields, the most telling first.
        order: Vec<usize>,
        /// The parts.
        parts: Vec<Picked>,
    },
    /// Prefixes of a few lengths.
    Prefixes(Split),
    /// A set for each outlet.
    Outlets {
        /// Some entries are ranges.
        has_ranges: bool,
        /// The entries by outlet.
        outlets: BTreeMap<u16, Picked>,
    },
}

impl Form {
    /// The form that a map gets.
    pub(super) fn of(map: &MapStage, family: Family) -> Self {
        let entries = &map.entries;
        if split_field(&map.fields, family, entries.iter().map(|e| &e.key)).is_some() {
            return Self::Cut;
        }
        let has_ranges = entries.iter().any(|e| e.key.iter().any(|s| !s.is_one()));
        if map.fields.len() > 1 && has_ranges {
            return Self::parts(map);
        }
        let Some(outlets) = outlets_of_large(map) else {
            return Self::One { has_ranges };
        };
        let split = has_ranges.then(|| Split::of_map(map, family)).flatten();
        split.map_or(
            Self::Outlets {
                has_ranges,
                outlets,
            },
            Self::Prefixes,
        )
    }

    fn parts(map: &MapStage) -> Self {
        let count = map.entries.len().div_ceil(PART_ENTRIES).next_power_of_two();
        let count = count.min(PARTS_MAX);
        let keys = map.entries.iter().map(|e| e.key.as_slice());
        let order = telling_first(map.fields.len(), keys.len(), keys);
        let mut parts = vec![Vec::new(); count];
        for (n, entry) in map.entries.iter().enumerate() {
            let mut hasher = DefaultHasher::new();
            entry.key[order[0]].hash(&mut hasher);
            // The remainder is below the number of parts.
            parts[(hasher.finish() % count as u64) as usize].push(n);
        }
        Self::Parts {
            order,
            parts: parts.into_iter().map(Picked::from).collect(),
        }
    }
}

/// The entries by the outlet that they lead to, where they are better written as a set for each.
fn outlets_of_large(map: &MapStage) -> Option<BTreeMap<u16, Picked>> {
    if map.entries.len() <= MAP_ENTRIES_MAX {
        return None;
    }
    let mut outlets: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    for (n, entry) in map.entries.iter().enumerate() {
        outlets.entry(entry.outlet).or_default().push(n);
    }
    let outlets = outlets.into_iter();
    let outlets: BTreeMap<_, _> = outlets.map(|(o, n)| (o, Picked::from(n))).collect();
    Some(outlets).filter(|o| o.len() <= SETS_MAX)
}

/// The forms of the maps of some policies. They hold for these very maps, whatever else becomes of
/// the table, so that they can be found beside the loop that puts it.
#[derive(Clone, Debug, Default)]
pub struct Forms(BTreeMap<(usize, u8), Found>);

#[derive(Clone, Debug)]
struct Found {
    fields: Vec<Field>,
    /// Kept, so that no other list can have this one's address.
    _entries: Entries,
    form: Arc<Form>,
    owned: Arc<Owned>,
}

fn owned(map: &MapStage) -> Owned {
    let mut owned = Owned::new();
    for (n, entry) in map.entries.iter().enumerate() {
        if entry.policy < COUNTED_POLICIES_MAX {
            owned.entry(entry.policy).or_default().push(n);
        }
    }
    owned
}

fn key(entries: &Entries, family: Family) -> (usize, u8) {
    (entries.address(), digit(family))
}

impl Forms {
    /// The forms of these policies' maps. Those that are known are taken over.
    #[must_use]
    pub fn of(classifier: &Classifier, known: &[Self]) -> Self {
        let mut forms = BTreeMap::new();
        for family in FAMILIES {
            for stage in classifier.of(family) {
                if let Stage::Map(map) = stage {
                    let found = Self::found(known, map, family).cloned();
                    let found = found.unwrap_or_else(|| Found {
                        fields: map.fields.clone(),
                        _entries: map.entries.clone(),
                        form: Arc::new(Form::of(map, family)),
                        owned: Arc::new(owned(map)),
                    });
                    forms.insert(key(&map.entries, family), found);
                }
            }
        }
        Self(forms)
    }

    /// The form of a map, found now where it is not known.
    pub(super) fn get(&self, map: &MapStage, family: Family) -> Arc<Form> {
        let found = Self::found(std::slice::from_ref(self), map, family);
        found.map_or_else(
            || Arc::new(Form::of(map, family)),
            |found| Arc::clone(&found.form),
        )
    }

    /// Which of a map's entries belong to whom, found now where it is not known.
    pub(super) fn owned(&self, map: &MapStage, family: Family) -> Arc<Owned> {
        let found = Self::found(std::slice::from_ref(self), map, family);
        found.map_or_else(|| Arc::new(owned(map)), |found| Arc::clone(&found.owned))
    }

    fn found<'a>(known: &'a [Self], map: &MapStage, family: Family) -> Option<&'a Found> {
        let key = key(&map.entries, family);
        let mut known = known.iter().filter_map(|forms| forms.0.get(&key));
        known.find(|f| f.fields == map.fields)
    }

    /// Whether this map's form is known.
    #[cfg(test)]
    pub(in crate::nft) fn has(&self, entries: &Entries) -> bool {
        FAMILIES
            .iter()
            .any(|f| self.0.contains_key(&key(entries, *f)))
    }
}

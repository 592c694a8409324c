//! What sets that fill themselves hold, kept when the whole table is replaced.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    datatype::Datatype,
    element,
    ruleset::{Content, Ruleset},
    wire::element as attribute,
};
use crate::{Kernel, netlink::find};

/// Most elements that are kept in one replacement, so that a table with many full sets is not slow to
/// replace. What is beyond is learned again.
const KEPT_MAX: usize = 200_000;

/// An element of a set that fills itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    key: Vec<u8>,
    /// How much longer it stays, in milliseconds.
    left: u64,
}

impl Kept {
    fn of(element: &[u8], timeout: u64) -> Option<Self> {
        let key = find(find(element, attribute::KEY)?, attribute::VALUE)?;
        let left = find(element, attribute::EXPIRATION).and_then(|v| v.first_chunk());
        let left = left.map_or(timeout, |v| u64::from_be_bytes(*v));
        Some(Self {
            key: key.to_vec(),
            // The kernel refuses more than the set's own timeout.
            left: left.min(timeout),
        })
    }

    /// Writes it as nft takes it, where the key is of these parts.
    pub(super) fn write(&self, text: &mut String, parts: &[Datatype]) {
        let mut rest = self.key.as_slice();
        text.push_str("\t\t\t");
        for (n, part) in parts.iter().enumerate() {
            let width = part.width().min(rest.len());
            let value = rest[..width]
                .iter()
                .fold(0_u128, |value, byte| value << 8 | u128::from(*byte));
            rest = &rest[width..];
            let dot = if n > 0 { " . " } else { "" };
            // Writing into a `String` does not fail.
            let _ = write!(text, "{dot}{}", part.word(value));
        }
        let _ = writeln!(text, " expires {}ms,", self.left.max(1000));
    }
}

impl Kernel {
    /// What the dynamic sets of our table hold that the new one has as well, with the same keys.
    /// A set that cannot be read begins empty.
    pub(super) fn kept(&mut self, ruleset: &Ruleset) -> BTreeMap<String, Vec<Kept>> {
        let mut left = KEPT_MAX;
        let mut kept = BTreeMap::new();
        for (name, collection) in &ruleset.collections {
            let Content::Dynamic { timeout } = collection.content else {
                continue;
            };
            let question = element::question(&ruleset.name, name, None);
            let Ok(replies) = self.netfilter.dump(question) else {
                continue;
            };
            let timeout = u64::try_from(timeout.as_millis())
                .unwrap_or(u64::MAX)
                .max(1000);
            let length: usize = collection.key.iter().map(|d| d.width()).sum();
            let elements: Vec<_> = replies
                .iter()
                .flat_map(|r| element::elements(&r.body))
                .filter_map(|e| Kept::of(e, timeout))
                .filter(|k| k.key.len() == length)
                .take(left)
                .collect();
            left -= elements.len();
            if !elements.is_empty() {
                kept.insert(name.clone(), elements);
            }
        }
        kept
    }
}

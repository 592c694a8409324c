//! Elements of sets and maps as the kernel holds them, in messages of our own.
//!
//! nft 1.0.6 reads a whole set of ranges before it adds one more, which for 100,000 of them takes
//! more than a second; a message takes microseconds. The sets themselves are made by nft, whose rules
//! know how they look into them. There are three kinds:
//!
//! - only single values: the key as it is;
//! - ranges of one part: an element at the first value, and one flagged as an end at the first value
//!   behind the last (none where there is no value behind it). Ranges that touch have both there;
//! - ranges of several parts: an element with a first and a last key.

use std::{
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{
    ruleset::{Collection, Item, TargetRef},
    wire::{FIXED, INET, SET, TABLE, element as attribute, message},
};
use crate::netlink::{Attributes, Message, find, flags, nest, put, text};

/// Most bytes of elements in one message: an attribute has 16 bits for its length.
const LIST_BYTES_MAX: usize = 60_000;

/// An element as the kernel holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Raw<'a> {
    key: &'a [u8],
    last: Option<&'a [u8]>,
    is_end: bool,
    target: Option<Aim<'a>>,
}

/// Where an element leads to, as the kernel holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Aim<'a> {
    /// A verdict's code, and the chain.
    Verdict(i32, &'a str),
    /// A counter.
    Object(&'a str),
}

impl Raw<'_> {
    /// A number that another element would have another of; those of many can be added up in any
    /// order.
    fn digest(&self) -> u64 {
        // nft puts an end at zero into a set of ranges, which says that nothing is in it before the
        // first one. It does so only when it fills an empty set.
        if self.is_end && self.key.iter().all(|b| *b == 0) {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    fn put(&self, list: &mut Vec<u8>) {
        nest(list, attribute::ONE, |body| {
            let value = |bytes: &[u8]| {
                let mut body = Vec::with_capacity(bytes.len() + 8);
                put(&mut body, attribute::VALUE, bytes);
                body
            };
            let nested = |body: &mut Vec<u8>, kind, inner: &[u8]| {
                nest(body, kind, |b| b.extend_from_slice(inner));
            };
            nested(body, attribute::KEY, &value(self.key));
            if let Some(last) = self.last {
                nested(body, attribute::KEY_END, &value(last));
            }
            if self.is_end {
                let flags = attribute::FLAG_END.to_be_bytes();
                put(body, attribute::FLAGS, &flags);
            }
            let zero_ended = |name: &str| [name.as_bytes(), &[0]].concat();
            match self.target {
                Some(Aim::Verdict(code, chain)) => nest(body, attribute::DATA, |data| {
                    nest(data, attribute::VERDICT, |verdict| {
                        put(verdict, attribute::CODE, &code.to_be_bytes());
                        put(verdict, attribute::CHAIN, &zero_ended(chain));
                    });
                }),
                Some(Aim::Object(name)) => put(body, attribute::OBJECT, &zero_ended(name)),
                None => {}
            }
        });
    }
}

/// Makes elements of items, again and again in the same memory.
#[derive(Default)]
struct Encoder {
    first: Vec<u8>,
    last: Vec<u8>,
    chain: String,
}

impl Encoder {
    /// Hands the element, or the two, that an item is in the kernel to somebody.
    fn each(
        &mut self,
        collection: &Collection,
        item: &Item<'_>,
        mut receive: impl FnMut(&Raw<'_>),
    ) {
        let Self { first, last, chain } = self;
        let target = item.target.map(|target| {
            chain.clear();
            let code = match target {
                TargetRef::Counter(name) => return Aim::Object(name),
                TargetRef::Jump(name) => {
                    chain.push_str(name);
                    attribute::JUMP
                }
                TargetRef::Goto(name) => {
                    chain.push_str(name);
                    attribute::GOTO
                }
                TargetRef::Outlet(family, code) => {
                    let digit = super::ruleset::digit(family);
                    // Writing into a `String` does not fail.
                    let _ = write!(chain, "outlet{digit}_{code}");
                    attribute::GOTO
                }
            };
            Aim::Verdict(code, chain.as_str())
        });
        first.clear();
        last.clear();
        let has_ranges = collection.has_ranges;
        let is_one_part = collection.key.len() == 1;
        for (datatype, span) in collection.parts(item) {
            datatype.put(first, span.first, has_ranges);
            if !is_one_part {
                first.resize(first.len().next_multiple_of(4), 0);
            }
            if has_ranges && !is_one_part {
                datatype.put(last, span.last, has_ranges);
                last.resize(last.len().next_multiple_of(4), 0);
            }
        }
        receive(&Raw {
            key: first,
            last: (has_ranges && !is_one_part).then_some(last),
            is_end: false,
            target,
        });
        if let ([datatype], [span], true) = (&collection.key[..], item.key, has_ranges)
            && span.last < datatype.last()
        {
            first.clear();
            datatype.put(first, span.last + 1, has_ranges);
            receive(&Raw {
                key: first,
                last: None,
                is_end: true,
                target: None,
            });
        }
    }
}

/// A number that another content of a collection would have another of.
pub(super) fn digest(collection: &Collection) -> u64 {
    let mut encoder = Encoder::default();
    let mut sum = 0_u64;
    for item in collection.elements().into_iter().flat_map(|e| e.iter()) {
        encoder.each(collection, &item, |raw| {
            sum = sum.wrapping_add(raw.digest())
        });
    }
    sum
}

/// Messages that add elements to one collection or take them away.
pub(super) struct Messages<'a> {
    table: &'a str,
    name: &'a str,
    collection: &'a Collection,
    adds: bool,
    encoder: Encoder,
    list: Vec<u8>,
    done: Vec<Message>,
    /// By how much the collection's digest grows.
    pub(super) digest: u64,
}

impl<'a> Messages<'a> {
    pub(super) fn new(
        table: &'a str,
        name: &'a str,
        collection: &'a Collection,
        adds: bool,
    ) -> Self {
        Self {
            table,
            name,
            collection,
            adds,
            encoder: Encoder::default(),
            list: Vec::new(),
            done: Vec::new(),
            digest: 0,
        }
    }

    /// One more.
    pub(super) fn push(&mut self, item: &Item<'_>) {
        let Self {
            collection,
            adds,
            encoder,
            list,
            digest,
            ..
        } = self;
        encoder.each(collection, item, |raw| {
            *digest = if *adds {
                digest.wrapping_add(raw.digest())
            } else {
                digest.wrapping_sub(raw.digest())
            };
            raw.put(list);
        });
        if self.list.len() > LIST_BYTES_MAX {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.list.is_empty() {
            return;
        }
        let (kind, how) = if self.adds {
            (message::NEW_ELEMENTS, flags::CREATE)
        } else {
            (message::DELETE_ELEMENTS, 0)
        };
        let list = std::mem::take(&mut self.list);
        let message = Message::new(kind, how, &INET)
            .str(TABLE, self.table)
            .str(SET, self.name)
            .nest(attribute::LIST, |body| body.extend_from_slice(&list));
        self.done.push(message);
    }

    /// All messages.
    pub(super) fn finish(mut self) -> Vec<Message> {
        self.flush();
        self.done
    }
}

/// The digest of the elements in a reply to a listing.
pub(super) fn digest_of_reply(body: &[u8]) -> u64 {
    elements(body).fold(0, |sum, body| {
        let value = |kind| find(find(body, kind)?, attribute::VALUE);
        let name;
        let verdict = find(body, attribute::DATA).and_then(|data| find(data, attribute::VERDICT));
        let target = match (verdict, find(body, attribute::OBJECT)) {
            (Some(verdict), _) => {
                let code = find(verdict, attribute::CODE).and_then(|c| c.first_chunk());
                name = find(verdict, attribute::CHAIN)
                    .map(text)
                    .unwrap_or_default();
                let code = code.map_or(0, |c| i32::from_be_bytes(*c));
                Some(Aim::Verdict(code, &name))
            }
            (None, Some(object)) => {
                name = text(object);
                Some(Aim::Object(&name))
            }
            (None, None) => None,
        };
        let raw = Raw {
            key: value(attribute::KEY).unwrap_or_default(),
            last: value(attribute::KEY_END),
            is_end: flags_of(body) & attribute::FLAG_END != 0,
            target,
        };
        sum.wrapping_add(raw.digest())
    })
}

fn flags_of(element: &[u8]) -> u32 {
    let flags = find(element, attribute::FLAGS).and_then(|f| f.first_chunk());
    flags.map_or(0, |f| u32::from_be_bytes(*f))
}

/// The elements in a reply to a listing, each as its attributes.
pub(super) fn elements(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let list = body
        .get(FIXED..)
        .and_then(|attributes| find(attributes, attribute::LIST))
        .unwrap_or_default();
    Attributes(list).map(|(_, element)| element)
}

/// A question about elements of a set: all of them, or one by its key.
pub(super) fn question(table: &str, set: &str, key: Option<&[u8]>) -> Message {
    let message = Message::new(message::GET_ELEMENTS, 0, &INET)
        .str(TABLE, table)
        .str(SET, set);
    match key {
        None => message,
        Some(key) => message.nest(attribute::LIST, |list| {
            let raw = Raw {
                key,
                last: None,
                is_end: false,
                target: None,
            };
            raw.put(list);
        }),
    }
}

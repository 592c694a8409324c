//! Tallies as few bytes: what is written wears flash out. Numbers are of variable length (LEB128), and
//! slots are differences.
//!
//! ```text
//! block: version, then for each slot: slots since the last one, kind, and
//!   answers: asked, lost, where any was answered: sum, min, max - min, jitter, jitters,
//!            buckets, and for each: buckets since the last one, count
//!   time:    a bit for each health that is not zero, then these
//!   bytes:   rx, tx
//! ```

use std::collections::BTreeMap;

use crate::{
    sketch::Histogram,
    tally::{Answers, Bytes, LineTime, Stats},
};

/// The first byte of each block.
const VERSION: u8 = 1;

/// Tallies by their slot in a block.
pub(crate) type Slots = BTreeMap<u16, Stats>;

/// A block as bytes.
pub(crate) fn encode(slots: &Slots) -> Vec<u8> {
    let mut out = vec![VERSION];
    let mut before = 0;
    for (slot, stats) in slots {
        put(&mut out, u64::from(slot - before));
        before = *slot;
        match stats {
            Stats::Answers(answers) => {
                out.push(0);
                put_answers(&mut out, answers);
            }
            Stats::Time(time) => {
                out.push(1);
                let bits = (0..4).filter(|i| time.millis[*i] > 0);
                out.push(bits.fold(0, |byte, i| byte | 1 << i));
                let present = time.millis.iter().filter(|m| **m > 0);
                present.for_each(|m| put(&mut out, *m));
            }
            Stats::Bytes(bytes) => {
                out.push(2);
                put(&mut out, bytes.rx);
                put(&mut out, bytes.tx);
            }
        }
    }
    out
}

/// What a block holds; none where it is not one of ours.
pub(crate) fn decode(bytes: &[u8]) -> Option<Slots> {
    let mut bytes = Cursor(bytes);
    if bytes.byte()? != VERSION {
        return None;
    }
    let mut slots = Slots::new();
    let mut slot = 0_u16;
    while !bytes.0.is_empty() {
        slot = slot.checked_add(u16::try_from(bytes.number()?).ok()?)?;
        let stats = match bytes.byte()? {
            0 => Stats::Answers(bytes.answers()?),
            1 => {
                let (bits, mut time) = (bytes.byte()?, LineTime::default());
                for index in (0..4).filter(|i| bits & 1 << i != 0) {
                    time.millis[index] = bytes.number()?;
                }
                Stats::Time(time)
            }
            2 => Stats::Bytes(Bytes {
                rx: bytes.number()?,
                tx: bytes.number()?,
            }),
            _ => return None,
        };
        slots.insert(slot, stats);
    }
    Some(slots)
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_answers(out: &mut Vec<u8>, answers: &Answers) {
    put(out, answers.asked);
    put(out, answers.lost);
    if answers.answered_count() == 0 {
        return;
    }
    let range = answers.max.saturating_sub(answers.min);
    for number in [
        answers.sum,
        answers.min,
        range,
        answers.jitter,
        answers.jitters,
    ] {
        put(out, number);
    }
    let counts = answers.spread.counts();
    put(out, counts.len() as u64);
    let mut before = 0;
    for (bucket, count) in counts {
        out.push(bucket - before);
        before = *bucket;
        put(out, *count);
    }
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && part > 1 {
                return None;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn answers(&mut self) -> Option<Answers> {
        let mut answers = Answers {
            asked: self.number()?,
            lost: self.number()?,
            ..Answers::default()
        };
        if answers.answered_count() == 0 {
            return Some(answers);
        }
        answers.sum = self.number()?;
        answers.min = self.number()?;
        answers.max = answers.min.checked_add(self.number()?)?;
        answers.jitter = self.number()?;
        answers.jitters = self.number()?;
        let (mut counts, mut bucket) = (Vec::new(), 0_u8);
        for _ in 0..self.number()? {
            bucket = bucket.checked_add(self.byte()?)?;
            counts.push((bucket, self.number()?));
        }
        answers.spread = Histogram::from_counts(counts)?;
        Some(answers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tally::tests::any_stats;

    #[test]
    fn ten_seconds_of_a_target_take_little() {
        let mut answers = Answers::default();
        for (i, micros) in [12_100, 12_400, 11_900, 12_300, 12_000, 14_800]
            .iter()
            .enumerate()
        {
            answers.answered(*micros, (i > 0).then_some(12_000));
        }
        let slots: Slots = (0..30)
            .map(|s| (s, Stats::Answers(answers.clone())))
            .collect();
        let length = encode(&slots).len();
        assert!(length <= 30 * 25, "{length} bytes for 30 slots");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            slots in prop::collection::btree_map(0_u16..400, any_stats(), 0..20),
        ) {
            prop_assert_eq!(decode(&encode(&slots)), Some(slots));
        }

        #[test]
        fn damage_is_refused_or_harmless(
            slots in prop::collection::btree_map(0_u16..400, any_stats(), 1..5),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encode(&slots);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
            // Must not panic, nor take for ever.
            let _ = decode(&bytes);
        }
    }
}

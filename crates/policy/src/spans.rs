//! Sets of spans that grow, and that can be asked quickly what they meet.

use std::collections::BTreeMap;

use uplinkd_model::policy::{Span, Spans};

/// A set of numbers that grows. No two of its spans meet or touch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Union {
    /// Last by first.
    spans: BTreeMap<u128, u128>,
}

impl Union {
    /// Adds a span.
    pub(crate) fn insert(&mut self, span: Span) {
        let Span {
            mut first,
            mut last,
        } = span;
        if let Some((f, l)) = self.spans.range(..=first).next_back() {
            if *l >= last {
                return;
            }
            if *l >= first.saturating_sub(1) {
                first = *f;
            }
        }
        // Those that begin inside the new span, or right behind it, become part of it.
        while let Some((f, l)) = self.spans.range(first..=last.saturating_add(1)).next() {
            let (f, l) = (*f, *l);
            last = last.max(l);
            self.spans.remove(&f);
        }
        self.spans.insert(first, last);
    }

    /// Whether some number of a span is in it.
    pub(crate) fn meets_span(&self, span: Span) -> bool {
        let before = self.spans.range(..=span.last).next_back();
        before.is_some_and(|(_, last)| *last >= span.first)
    }

    /// Whether some number is in both.
    pub(crate) fn meets(&self, values: &Spans) -> bool {
        if self.spans.len() < values.as_slice().len() {
            let mut own = self.spans.iter();
            own.any(|(first, last)| meets_span(values, Span::new(*first, *last)))
        } else {
            values.as_slice().iter().any(|span| self.meets_span(*span))
        }
    }

    /// Whether all these numbers are in it.
    pub(crate) fn covers(&self, values: &Spans) -> bool {
        values.as_slice().iter().all(|span| {
            let before = self.spans.range(..=span.first).next_back();
            before.is_some_and(|(_, last)| *last >= span.last)
        })
    }
}

/// Whether some number of a span is among values.
pub(crate) fn meets_span(values: &Spans, span: Span) -> bool {
    let after = values.as_slice().partition_point(|s| s.first <= span.last);
    after > 0 && values.as_slice()[after - 1].last >= span.first
}

/// Numbered spans, any of which may overlap, to be asked which of them meet a span.
///
/// They are kept by the number of bits of their length: in a class of like lengths, all that meet a
/// span begin inside it or within that length before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpanIndex {
    /// By class: last by first and number.
    classes: BTreeMap<u32, BTreeMap<(u128, usize), u128>>,
}

impl SpanIndex {
    /// Adds a span under a number.
    pub(crate) fn insert(&mut self, span: Span, number: usize) {
        let bits = u128::BITS - (span.last - span.first).leading_zeros();
        let class = self.classes.entry(bits).or_default();
        class.insert((span.first, number), span.last);
    }

    /// All that meet a span, with their numbers, those of the longest class first.
    pub(crate) fn meeting(&self, span: Span) -> impl Iterator<Item = (Span, usize)> {
        self.classes.iter().rev().flat_map(move |(bits, class)| {
            let reach = u128::MAX.checked_shr(u128::BITS - bits).unwrap_or(0);
            let begin = (span.first.saturating_sub(reach), 0);
            class
                .range(begin..=(span.last, usize::MAX))
                .filter(move |(_, last)| **last >= span.first)
                .map(|((first, number), last)| (Span::new(*first, *last), *number))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(of: impl Fn(u128) -> bool) -> Vec<bool> {
        (0..=40).map(of).collect()
    }

    #[test]
    fn a_union_is_what_its_spans_hold_together() {
        let spans = [
            (5, 9),
            (20, 22),
            (10, 11),
            (1, 2),
            (4, 4),
            (21, 30),
            (0, 40),
        ];
        let mut union = Union::default();
        let mut so_far = Vec::new();
        for (first, last) in spans {
            union.insert(Span::new(first as u128, last as u128));
            so_far.push(Span::new(first as u128, last as u128));
            let whole = Spans::new(so_far.clone());
            assert_eq!(
                numbers(|n| union.meets_span(Span::one(n))),
                numbers(|n| whole.contains(n))
            );
            assert_eq!(union.spans.len(), whole.as_slice().len());
            assert!(union.covers(&whole));
        }
    }

    #[test]
    fn a_union_reaches_the_ends_of_the_numbers() {
        let mut union = Union::default();
        union.insert(Span::new(5_u128, u128::MAX));
        union.insert(Span::new(0_u128, 4_u128));
        assert_eq!(union.spans.len(), 1);
        union.insert(Span::one(u128::MAX));
        assert!(union.covers(&Spans::new([Span::new(0_u128, u128::MAX)])));
    }

    #[test]
    fn an_index_finds_all_that_meet_and_nothing_else() {
        let spans = [
            (0, 40),
            (3, 3),
            (4, 9),
            (8, 8),
            (10, 11),
            (12, 30),
            (40, 40),
        ];
        let spans = spans.map(|(a, b)| Span::new(a as u128, b as u128));
        let mut index = SpanIndex::default();
        for (number, span) in spans.iter().enumerate() {
            index.insert(*span, number);
        }
        for first in 0..=42_u128 {
            for last in first..=43 {
                let mut found: Vec<_> =
                    index.meeting(Span::new(first, last)).map(|m| m.1).collect();
                found.sort_unstable();
                let meeting = |s: &Span| s.first <= last && s.last >= first;
                let expected: Vec<_> = (0..spans.len()).filter(|n| meeting(&spans[*n])).collect();
                assert_eq!(found, expected, "{first}-{last}");
            }
        }
        index.insert(Span::new(0_u128, u128::MAX), 99);
        let mut found = index.meeting(Span::one(u128::MAX));
        assert_eq!(found.next(), Some((Span::new(0_u128, u128::MAX), 99)));
    }
}

//! Maps by one field: overlapping policies are cut so that of each value the first one has it.

use std::{cmp::Reverse, collections::BinaryHeap};

use uplinkd_model::{
    classify::Field,
    policy::{Span, Spans},
};

use crate::spans::Union;

/// A map by one field in the making.
#[derive(Debug)]
pub(crate) struct Line {
    /// The field.
    pub(crate) field: Field,
    /// The spans of all policies, in the order of the policies.
    claims: Vec<Claim>,
    /// All values of the first `united` claims. Brought up to date only when asked for, since most
    /// maps never are.
    union: Union,
    united: usize,
}

/// A span that a policy would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The values.
    pub(crate) span: Span,
    /// The policy; of two, the lower one has what both claim.
    pub(crate) policy: usize,
}

impl Line {
    /// A map by a field, without entries.
    pub(crate) fn new(field: Field) -> Self {
        Self {
            field,
            claims: Vec::new(),
            union: Union::default(),
            united: 0,
        }
    }

    /// Adds a policy's values. Policies come in their order.
    pub(crate) fn add(&mut self, values: &Spans, policy: usize) {
        let claims = values.as_slice().iter().map(|span| Claim {
            span: *span,
            policy,
        });
        self.claims.extend(claims);
    }

    /// Whether some policy claims one of these values.
    pub(crate) fn meets(&mut self, values: &Spans) -> bool {
        for claim in &self.claims[self.united..] {
            self.union.insert(claim.span);
        }
        self.united = self.claims.len();
        self.union.meets(values)
    }

    /// Who has what, sorted, without overlaps.
    pub(crate) fn settle(self) -> Vec<Claim> {
        settle(self.claims)
    }
}

/// Gives every value to the first policy that claims it: sorted, without overlaps, neighbours of one
/// policy joined.
pub(crate) fn settle(mut claims: Vec<Claim>) -> Vec<Claim> {
    claims.sort_unstable_by_key(|c| (c.span.first, c.policy));
    let mut settled = Vec::with_capacity(claims.len());
    // Those that hold at the place we are at, and some that have ended.
    let mut open: BinaryHeap<Reverse<(usize, u128)>> = BinaryHeap::new();
    let mut coming = claims.iter().peekable();
    let mut place = 0;
    loop {
        while open.peek().is_some_and(|Reverse((_, last))| *last < place) {
            open.pop();
        }
        if open.is_empty() {
            let Some(next) = coming.peek() else { break };
            place = next.span.first;
        }
        while let Some(claim) = coming.next_if(|c| c.span.first == place) {
            open.push(Reverse((claim.policy, claim.span.last)));
        }
        let Some(Reverse((policy, last))) = open.peek().copied() else {
            break;
        };
        let end = match coming.peek() {
            Some(next) => last.min(next.span.first - 1),
            None => last,
        };
        push(&mut settled, Span::new(place, end), policy);
        let Some(next) = end.checked_add(1) else {
            break;
        };
        place = next;
    }
    settled
}

fn push(settled: &mut Vec<Claim>, span: Span, policy: usize) {
    match settled.last_mut() {
        Some(before)
            if before.policy == policy && before.span.last.checked_add(1) == Some(span.first) =>
        {
            before.span.last = span.last;
        }
        Some(_) | None => settled.push(Claim { span, policy }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(claims: &[(u128, u128, usize)]) -> Vec<(u128, u128, usize)> {
        let claims = claims.iter().map(|(first, last, policy)| Claim {
            span: Span::new(*first, *last),
            policy: *policy,
        });
        let settled = settle(claims.collect()).into_iter();
        settled
            .map(|c| (c.span.first, c.span.last, c.policy))
            .collect()
    }

    #[test]
    fn the_first_policy_has_what_two_claim() {
        assert_eq!(
            settled(&[(0, 9, 1), (4, 5, 0), (8, 12, 2)]),
            [(0, 3, 1), (4, 5, 0), (6, 9, 1), (10, 12, 2)]
        );
    }

    #[test]
    fn a_later_policy_inside_an_earlier_one_leaves_no_trace() {
        assert_eq!(
            settled(&[(0, 9, 0), (4, 5, 1), (9, 9, 2), (0, 0, 3)]),
            [(0, 9, 0)]
        );
    }

    #[test]
    fn neighbours_of_one_policy_are_one_entry_and_of_two_are_two() {
        assert_eq!(settled(&[(0, 3, 0), (4, 9, 0)]), [(0, 9, 0)]);
        assert_eq!(settled(&[(0, 3, 0), (4, 9, 1)]), [(0, 3, 0), (4, 9, 1)]);
    }

    #[test]
    fn the_last_number_of_all_is_not_passed() {
        let end = u128::MAX;
        assert_eq!(
            settled(&[(5, end, 1), (end, end, 0)]),
            [(5, end - 1, 1), (end, end, 0)]
        );
        assert_eq!(settled(&[]), []);
    }
}

//! Maps by several fields: entries are boxes, no two of which may overlap.

use uplinkd_model::{
    classify::Field,
    policy::{Span, Spans},
};

use crate::{
    normal::Normal,
    spans::{SpanIndex, Union, meets_span},
    work::Work,
};

/// Into how many pieces the boxes of one policy may be cut by earlier ones beyond their own number.
/// A policy that would need more goes to a stage of its own.
const PIECES_MAX: usize = 32;
/// How many earlier boxes are looked at for one policy. Likewise.
const NEIGHBOURS_MAX: usize = 2048;

/// A map by several fields in the making.
#[derive(Debug)]
pub(crate) struct Boxes {
    /// The fields, sorted.
    pub(crate) fields: Vec<Field>,
    /// The entries, in the order of their policies.
    boxes: Vec<Boxed>,
    /// By which of the fields boxes are searched: the one that tells most of them apart.
    searched: usize,
    index: SpanIndex,
    /// Per field all values of the first `united` boxes. Brought up to date only when asked for.
    unions: Vec<Union>,
    united: usize,
}

/// An entry.
#[derive(Clone, Debug)]
pub(crate) struct Boxed {
    /// One span for each field.
    pub(crate) key: Vec<Span>,
    /// The policy that has it.
    pub(crate) policy: usize,
}

impl Boxes {
    /// A map by these fields, without entries, searched by one of them.
    pub(crate) fn new(fields: Vec<Field>, searched: usize) -> Self {
        Self {
            unions: vec![Union::default(); fields.len()],
            united: 0,
            fields,
            boxes: Vec::new(),
            searched,
            index: SpanIndex::default(),
        }
    }

    /// Adds a policy of just these fields, less what earlier ones have of it. Policies come in their
    /// order. False, with nothing done, where it would go to pieces.
    pub(crate) fn add(&mut self, normal: &Normal, policy: usize, work: &mut Work) -> bool {
        let mut keys = Vec::new();
        let whole = product(&normal.sets);
        let pieces_max = whole.len() + PIECES_MAX;
        let mut neighbours = 0;
        for key in whole {
            let near = key[self.searched];
            let mut pieces = vec![key];
            for (_, number) in self.index.meeting(near) {
                neighbours += 1;
                if neighbours > NEIGHBOURS_MAX || work.is_done() {
                    return false;
                }
                work.spend(1);
                let taken = &self.boxes[number].key;
                pieces = pieces.into_iter().flat_map(|p| cut(p, taken)).collect();
                if keys.len() + pieces.len() > pieces_max {
                    return false;
                }
                if pieces.is_empty() {
                    break;
                }
            }
            keys.extend(pieces);
        }
        for key in keys {
            self.index.insert(key[self.searched], self.boxes.len());
            self.boxes.push(Boxed { key, policy });
        }
        true
    }

    /// Whether some packet may match both an entry and a policy. "No" is certain.
    pub(crate) fn may_meet(&mut self, normal: &Normal, work: &mut Work) -> bool {
        for boxed in &self.boxes[self.united..] {
            for (union, span) in self.unions.iter_mut().zip(&boxed.key) {
                union.insert(*span);
            }
        }
        self.united = self.boxes.len();
        let sets: Vec<Option<&Spans>> = self.fields.iter().map(|f| normal.set(*f)).collect();
        let apart = self.fields.iter().zip(&self.unions).zip(&sets);
        for ((field, union), values) in apart {
            let meets = match values {
                Some(values) => {
                    work.spend(values.as_slice().len());
                    union.meets(values)
                }
                None => !normal.excludes(*field),
            };
            if !meets {
                return false;
            }
        }
        let Some(values) = sets[self.searched] else {
            return true;
        };
        for span in values.as_slice() {
            for (_, number) in self.index.meeting(*span) {
                if work.is_done() {
                    return true;
                }
                work.spend(1);
                let mut pairs = self.boxes[number].key.iter().zip(&sets);
                if pairs.all(|(span, values)| values.is_none_or(|v| meets_span(v, *span))) {
                    return true;
                }
            }
        }
        false
    }

    /// The entries, sorted by key.
    pub(crate) fn settle(mut self) -> Vec<Boxed> {
        self.boxes.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        self.boxes
    }
}

/// All combinations of one span of each set.
fn product(sets: &[(Field, Spans)]) -> Vec<Vec<Span>> {
    sets.iter().fold(vec![Vec::new()], |keys, (_, values)| {
        let with = |key: &Vec<Span>, span: &Span| {
            let mut key = key.clone();
            key.push(*span);
            key
        };
        keys.iter()
            .flat_map(|key| values.as_slice().iter().map(move |s| with(key, s)))
            .collect()
    })
}

/// What is left of a box without another: at most two pieces for each field.
fn cut(mut piece: Vec<Span>, taken: &[Span]) -> Vec<Vec<Span>> {
    let meet = |(a, b): (&Span, &Span)| a.first <= b.last && b.first <= a.last;
    if !piece.iter().zip(taken).all(meet) {
        return vec![piece];
    }
    let mut left = Vec::new();
    for (field, taken) in taken.iter().enumerate() {
        let span = piece[field];
        if span.first < taken.first {
            let mut below = piece.clone();
            below[field].last = taken.first - 1;
            left.push(below);
            piece[field].first = taken.first;
        }
        if span.last > taken.last {
            let mut above = piece.clone();
            above[field].first = taken.last + 1;
            left.push(above);
            piece[field].last = taken.last;
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_box_and_what_cut_it_make_up_the_whole() {
        let span = |a: u128, b: u128| Span::new(a, b);
        let whole = vec![span(2, 8), span(3, 9)];
        for taken in [
            vec![span(0, 9), span(0, 9)],
            vec![span(4, 5), span(5, 6)],
            vec![span(0, 3), span(9, 12)],
            vec![span(0, 1), span(3, 9)],
            vec![span(2, 8), span(4, 4)],
        ] {
            let pieces = cut(whole.clone(), &taken);
            for x in 0..=12 {
                for y in 0..=12 {
                    let holds = |key: &[Span]| key[0].contains(x) && key[1].contains(y);
                    let times = pieces.iter().filter(|p| holds(p)).count();
                    let expected = usize::from(holds(&whole) && !holds(&taken));
                    assert_eq!(times, expected, "{taken:?} at {x} {y}");
                }
            }
        }
    }
}

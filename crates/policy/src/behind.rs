//! What stands behind a stage, in short: enough to tell that a policy meets nobody there.

use std::collections::BTreeMap;

use uplinkd_model::classify::Field;

use crate::{normal::Normal, spans::Union, work::Work};

/// Who went to which stage, in order.
pub(crate) type Placed = Vec<(usize, Normal)>;

/// The policies in the stages behind one stage.
///
/// Thousands of rules may stand between a map and the next policy that could join it. They are not
/// asked one by one: where all of them name values of some field, a policy that names other values
/// of that field meets none.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    /// How many of those placed have been looked at.
    seen: usize,
    /// The fields that all of them name values of, with all of these values; none before the first.
    common: Option<BTreeMap<Field, Union>>,
}

impl Behind {
    /// Whether a policy may meet anybody placed behind a stage. "No" is certain.
    pub(crate) fn may_meet(
        &mut self,
        stage: usize,
        placed: &Placed,
        normal: &Normal,
        work: &mut Work,
    ) -> bool {
        for (place, other) in &placed[self.seen..] {
            if work.is_done() {
                return true;
            }
            self.seen += 1;
            if *place > stage {
                self.add(other, work);
            }
        }
        let Some(common) = &self.common else {
            return false;
        };
        let mut apart = common.iter().filter_map(|(field, union)| {
            let values = normal.set(*field)?;
            work.spend(values.as_slice().len());
            Some(!union.meets(values))
        });
        !apart.any(|apart| apart)
    }

    fn add(&mut self, other: &Normal, work: &mut Work) {
        let all = || {
            other
                .sets
                .iter()
                .map(|(f, _)| (*f, Union::default()))
                .collect()
        };
        let common = self.common.get_or_insert_with(all);
        common.retain(|field, union| {
            let Some(values) = other.set(*field) else {
                return false;
            };
            work.spend(values.as_slice().len());
            for span in values.as_slice() {
                union.insert(*span);
            }
            true
        });
    }
}

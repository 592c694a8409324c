//! Few numbers out of many.

use serde::Serialize;

/// The least, the middle and the greatest of some numbers. Infinity stands for "never".
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of at least one number.
    pub(super) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let sorted = sorted(numbers);
        Some(Self {
            min: *sorted.first()?,
            median: quantile(&sorted, 0.5)?,
            max: *sorted.last()?,
        })
    }
}

/// In rising order.
pub(super) fn sorted(numbers: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<_> = numbers.into_iter().collect();
    all.sort_by(f64::total_cmp);
    all
}

/// The number below or at which this part of all sorted ones lies (nearest rank), which for the
/// middle of an even count is the lower one. Never a number that was not measured.
pub(super) fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "counts of measurements are small and positive"
    )]
    let rank = (part * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_measured_number() {
        let spread = Spread::of([3.0, 1.0, f64::INFINITY, 2.0]).unwrap();
        assert_eq!((spread.min, spread.median), (1.0, 2.0));
        assert!(spread.max.is_infinite());
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn the_99th_percentile_of_few_is_the_greatest() {
        let few = sorted([1.0, 2.0, 3.0]);
        assert_eq!(quantile(&few, 0.99), Some(3.0));
        let many = sorted((1..=200).map(f64::from));
        assert_eq!(quantile(&many, 0.99), Some(198.0));
        assert_eq!(quantile(&many, 0.5), Some(100.0));
    }
}

//! Round-trip times as counts in buckets: two of them add up to that of both, so that percentiles of an
//! hour or a month come from those of seconds.

/// Buckets for each doubling, so that a bucket is an eighth of its lower bound wide at most.
const PARTS: u64 = 8;
const PARTS_BITS: u32 = 3;
/// Longer times count as this one: 67 seconds, in microseconds.
const LONGEST: u64 = (1 << 26) - 1;
/// The highest bucket.
const LAST: u8 = 191;

/// How many of some times, in microseconds, fell into which bucket. A percentile is right to a sixteenth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By bucket, rising; those that are empty are left out.
    counts: Vec<(u8, u64)>,
}

impl Histogram {
    /// From counts by bucket, rising; none where they are not, or there is no such bucket.
    #[cfg(feature = "store")]
    pub(crate) fn from_counts(counts: Vec<(u8, u64)>) -> Option<Self> {
        let is_rising = counts.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let is_known = counts.iter().all(|(b, n)| *b <= LAST && *n > 0);
        (is_rising && is_known).then_some(Self { counts })
    }

    #[cfg(feature = "store")]
    pub(crate) fn counts(&self) -> &[(u8, u64)] {
        &self.counts
    }

    /// Counts one time.
    pub fn add(&mut self, micros: u64) {
        self.add_to(bucket_of(micros), 1);
    }

    /// Counts all that another one has counted.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.counts {
            self.add_to(*bucket, *count);
        }
    }

    fn add_to(&mut self, bucket: u8, count: u64) {
        match self.counts.binary_search_by_key(&bucket, |(b, _)| *b) {
            Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(count),
            Err(at) => self.counts.insert(at, (bucket, count)),
        }
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, n)| n).sum()
    }

    /// The time, in microseconds, that this part of all did not exceed; none where there are none.
    pub fn percentile(&self, part: f64) -> Option<u64> {
        let total = self.count();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts are far below 2^52, and what is less than nothing becomes nothing"
        )]
        let rank = ((part * total as f64).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        for (bucket, count) in &self.counts {
            seen += count;
            if seen >= rank {
                let (low, width) = bounds(*bucket);
                return Some(low + (width - 1) / 2);
            }
        }
        None
    }

    /// How many of the times were at most so many microseconds, to the width of a bucket.
    pub fn at_most(&self, micros: u64) -> u64 {
        let within = self.counts.iter().filter(|(bucket, _)| {
            let (low, width) = bounds(*bucket);
            low + (width - 1) / 2 <= micros
        });
        within.map(|(_, n)| n).sum()
    }
}

fn bucket_of(micros: u64) -> u8 {
    let micros = micros.min(LONGEST);
    let bucket = if micros < PARTS {
        micros
    } else {
        let power = micros.ilog2();
        let part = (micros >> (power - PARTS_BITS)) % PARTS;
        u64::from(power - PARTS_BITS + 1) * PARTS + part
    };
    u8::try_from(bucket).unwrap_or(LAST)
}

/// A bucket's lowest value, and how many values it holds.
fn bounds(bucket: u8) -> (u64, u64) {
    let (doubling, part) = (u64::from(bucket) / PARTS, u64::from(bucket) % PARTS);
    match doubling {
        0 => (part, 1),
        _ => ((PARTS + part) << (doubling - 1), 1 << (doubling - 1)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut next = 0;
        for bucket in 0..=LAST {
            let (low, width) = bounds(bucket);
            assert_eq!(low, next, "bucket {bucket}");
            assert_eq!(
                (bucket_of(low), bucket_of(low + width - 1)),
                (bucket, bucket)
            );
            next = low + width;
        }
        assert_eq!(next, LONGEST + 1);
        assert_eq!(bucket_of(u64::MAX), LAST);
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Histogram::default().percentile(0.5), None);
    }

    proptest! {
        #[test]
        fn percentiles_are_right_to_a_sixteenth(
            mut times in prop::collection::vec(0..LONGEST, 1..200),
            part in 0.0..=1.0_f64,
        ) {
            let mut histogram = Histogram::default();
            times.iter().for_each(|t| histogram.add(*t));
            times.sort_unstable();
            let rank = ((part * times.len() as f64).ceil() as usize).clamp(1, times.len());
            let (exact, told) = (times[rank - 1], histogram.percentile(part).unwrap());
            prop_assert!(exact.abs_diff(told) <= exact / 16 + 1, "{told} instead of {exact}");
        }

        #[test]
        fn the_sum_of_parts_is_the_whole(
            times in prop::collection::vec(0..LONGEST, 0..200),
            cut in 0_usize..200,
        ) {
            let of = |times: &[u64]| {
                let mut histogram = Histogram::default();
                times.iter().for_each(|t| histogram.add(*t));
                histogram
            };
            let (one, other) = times.split_at(cut.min(times.len()));
            let mut sum = of(other);
            sum.merge(&of(one));
            prop_assert_eq!(sum, of(&times));
        }
    }
}

//! `[record]`.

use super::{Bounds, Keys, Kind, optional};

/// From what eight files of a useful length take, to a terabyte.
pub(crate) const RECORD_MB: Bounds = Bounds::new(1, 1_000_000);

pub(crate) static RECORD: Keys = Keys {
    header: "record",
    keys: &[
        optional(
            "samples",
            Kind::Truth,
            "false",
            "whether every sample is written down, for `uplinkctl replay`",
        ),
        optional(
            "size_mb",
            Kind::Integer(RECORD_MB),
            "64",
            "how many megabytes of disk that may take; the oldest go first",
        ),
    ],
    later: &[],
};

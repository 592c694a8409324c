//! `[history]`.

use super::{Bounds, Keys, Kind, optional};

/// From what a few uplinks need for a month, to a terabyte.
pub(crate) const HISTORY_MB: Bounds = Bounds::new(4, 1_000_000);

pub(crate) static HISTORY: Keys = Keys {
    header: "history",
    keys: &[
        optional(
            "enabled",
            Kind::Truth,
            "true",
            "whether loss, round-trip times, traffic and outages are remembered, for `uplinkctl history` and `report`",
        ),
        optional(
            "size_mb",
            Kind::Integer(HISTORY_MB),
            "64",
            "how many megabytes of disk that may take; the oldest go first",
        ),
    ],
    later: &[],
};

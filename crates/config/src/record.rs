//! `[record]`: whether every sample is written down.

use crate::{check::bounded, keys, raw::RawRecord, reader::Found};

/// What the daemon writes down of its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whether anything is.
    pub samples: bool,
    /// How much disk it may take, in megabytes; the oldest goes first.
    pub size_mb: u32,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            samples: false,
            size_mb: 64,
        }
    }
}

impl Record {
    pub(crate) fn check(raw: &RawRecord, found: &mut Found) -> Self {
        let default = Self::default();
        let size = raw.size_mb.as_ref().and_then(|size| {
            let hint = "a busy line comes to some 60 MB a day, a quiet one to 10";
            bounded(size, keys::RECORD_MB, "`record.size_mb`", hint, found)
        });
        Self {
            samples: raw.samples.as_ref().is_some_and(|s| *s.get_ref()),
            size_mb: size.unwrap_or(default.size_mb),
        }
    }
}

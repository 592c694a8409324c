//! `[history]`: what is remembered of the lines.

use crate::{check::bounded, keys, raw::RawHistory, reader::Found};

/// What the daemon remembers of its lines, in steps of seconds to hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Whether anything is.
    pub enabled: bool,
    /// How much disk it may take, in megabytes; the oldest goes first.
    pub size_mb: u32,
}

impl Default for History {
    fn default() -> Self {
        Self {
            enabled: true,
            size_mb: 64,
        }
    }
}

impl History {
    pub(crate) fn check(raw: &RawHistory, found: &mut Found) -> Self {
        let default = Self::default();
        let size = raw.size_mb.as_ref().and_then(|size| {
            let hint = "two uplinks with four targets each come to some 30 MB in two years";
            bounded(size, keys::HISTORY_MB, "`history.size_mb`", hint, found)
        });
        Self {
            enabled: raw.enabled.as_ref().is_none_or(|e| *e.get_ref()),
            size_mb: size.unwrap_or(default.size_mb),
        }
    }
}

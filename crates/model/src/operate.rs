//! What people tell a running daemon to do, and who says so.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::ids::UplinkName;

/// Who caused something, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// A user, a signal, or what else it was.
    pub who: String,
    /// The reason that was given.
    pub why: Option<String>,
}

impl By {
    /// Somebody who gives no reason.
    pub fn new(who: impl Into<String>) -> Self {
        Self {
            who: who.into(),
            why: None,
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.who)?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
    }
}

/// What somebody wants of a running daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// No new connections by an uplink, where another one works.
    Drain {
        /// Which one.
        uplink: UplinkName,
        /// For how long; none: until somebody ends it.
        span: Option<Duration>,
    },
    /// The end of that.
    Undrain {
        /// Which one.
        uplink: UplinkName,
    },
    /// New connections by this uplink alone, wherever it may carry them, while it works.
    Prefer {
        /// Which one.
        uplink: UplinkName,
        /// For how long.
        span: Duration,
    },
    /// The end of that.
    Unprefer,
}

/// A length of time with its two largest units: `2h`, `1h 30m`, `45s`.
pub fn span_in_words(span: Duration) -> String {
    let mut left = span.as_secs();
    let mut words = Vec::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        if left >= seconds {
            words.push(format!("{}{unit}", left / seconds));
            left %= seconds;
        }
    }
    words.truncate(2);
    match words.is_empty() {
        true => format!("{}ms", span.as_millis()),
        false => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_two_units_at_most() {
        for (seconds, words) in [
            (0, "0ms"),
            (45, "45s"),
            (60, "1m"),
            (5400, "1h 30m"),
            (7200, "2h"),
            (90_061, "1d 1h"),
        ] {
            assert_eq!(span_in_words(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn a_reason_is_told_where_one_was_given() {
        let mut by = By::new("root (uid 0)");
        assert_eq!(by.to_string(), "root (uid 0)");
        by.why = Some("new modem".to_owned());
        assert_eq!(by.to_string(), "root (uid 0): new modem");
    }
}

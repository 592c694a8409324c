//! What in a line's traffic looks as if it were dead, so that its targets are asked at once.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::probe::Permille;

/// A sign that a line may be dead. None of them takes it out of service; only its targets do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "sign", rename_all = "kebab-case")]
pub enum Sign {
    /// Packets leave its interface, and too few come in.
    TooFewComeIn,
    /// Its gateway does not answer the kernel's own question for its hardware address.
    GatewayMissed,
    /// TCP connections send again, and nothing at all is acknowledged.
    NothingAcknowledged {
        /// How many, at least.
        connections: usize,
        /// How many segments they sent again.
        segments: u64,
    },
    /// Far more of what TCP connections send is sent again than usual.
    MuchSentAgain {
        /// How much.
        part: Permille,
        /// How much it usually is.
        usual: Permille,
    },
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewComeIn => f.write_str("packets leave and too few come in"),
            Self::GatewayMissed => f.write_str("the gateway does not answer the kernel"),
            Self::NothingAcknowledged {
                connections,
                segments,
            } => write!(
                f,
                "{connections} TCP connections sent {segments} segments again and nothing was \
                 acknowledged"
            ),
            Self::MuchSentAgain { part, usual } => write!(
                f,
                "{part} of what TCP connections sent was sent again, usually {usual}"
            ),
        }
    }
}

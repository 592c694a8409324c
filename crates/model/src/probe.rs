//! What is asked of the world to learn whether an uplink works.

use std::{fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// An address that is asked again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The uplink's gateway, whatever its address is at the moment.
    Gateway,
    /// ICMP echo to a host beyond the gateway.
    Icmp(IpAddr),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("gateway"),
            Self::Icmp(address) => write!(f, "icmp:{address}"),
        }
    }
}

/// How an uplink is probed.
///
/// Targets beyond the gateway decide; the gateway decides only where it is the one target, since a
/// gateway that answers proves nothing about the internet behind it, and many never answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSpec {
    /// Who is asked. Empty: the link alone decides.
    pub targets: Vec<Target>,
    /// How many of the deciding targets must answer, at least 1.
    pub quorum: usize,
    /// Time between two questions to one target.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Consecutive losses that fail a target, at least 1.
    pub fall: u32,
    /// Consecutive answers that make a failed target pass again, at least 1.
    pub rise: u32,
}

impl ProbeSpec {
    /// Whether this target's answers decide about health, rather than only explain it.
    pub fn decides(&self, target: Target) -> bool {
        target != Target::Gateway || self.targets.iter().all(|t| *t == Target::Gateway)
    }

    /// How many targets decide.
    pub fn deciding(&self) -> usize {
        self.targets.iter().filter(|t| self.decides(**t)).count()
    }
}

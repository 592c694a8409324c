//! Who is told of what happens, and what becomes of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A channel by which somebody is told, since the daemon's start. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotifyStatus {
    /// `hooks`, `mail`, or the name of a webhook.
    pub channel: String,
    /// Messages that arrived; of hooks: events that all of them were told.
    pub sent: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Events that were left out: there were too many, or nobody would ever take them.
    pub dropped: u64,
    /// Events that wait.
    pub waiting: u64,
    /// What was wrong with the last try; none where it was good.
    pub problem: Option<String>,
}

/// What came of a test of the channels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NotifyTested {
    /// Everybody was told.
    pub told: bool,
    /// Each channel, and each hook.
    pub results: Vec<NotifyResult>,
}

/// What came of a test of one channel or hook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NotifyResult {
    /// The channel.
    pub channel: String,
    /// The hook; none: the channel as a whole.
    pub part: Option<String>,
    /// How long it took.
    pub took_ms: f64,
    /// What was wrong; none where it was told.
    pub problem: Option<String>,
}

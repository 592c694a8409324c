//! Where a connection would go, and why.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::query::ExplainQuery;

/// Where a connection would go, step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explain {
    /// What was asked.
    pub query: ExplainQuery,
    /// The rules in the order in which the kernel asks them, to the one that decides.
    pub steps: Vec<ExplainStep>,
    /// What they lead to.
    pub decision: Decision,
    /// What the kernel itself answers to the same question; none where it was not asked, as with
    /// uplinks that are only imagined to be down.
    pub kernel_says: Option<KernelSays>,
    /// The decision as one sentence for people.
    pub text: String,
}

/// A rule that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainStep {
    /// The rule, as `ip rule` would write it.
    pub rule: String,
    /// It decides, or takes part in the decision.
    pub matched: bool,
    /// Why it does or does not.
    pub why: String,
}

/// What the rules lead to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The kind of way out.
    pub kind: DecisionKind,
    /// The routing table that answers.
    pub table: Option<u32>,
    /// The group that is used.
    pub group: Option<String>,
    /// The uplinks it may leave by, with their share of such connections.
    pub uplinks: Vec<ExplainUplink>,
    /// No uplink is up; these are only kept for want of anything better.
    pub last_resort: bool,
}

/// The kinds of ways out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// One uplink.
    Uplink,
    /// One of a group's uplinks, chosen by weight for each connection.
    Group,
    /// Somebody else's route in the main table.
    Main,
    /// The router itself.
    Local,
    /// Nowhere.
    Unreachable,
    /// Nothing of ours applies: other rules and the main table decide.
    Foreign,
}

/// An uplink that the connection may leave by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainUplink {
    /// Which one.
    pub uplink: String,
    /// Its part of such connections, 0 to 1.
    pub share: f64,
    /// The source address it gets on the way out; none where it keeps its own.
    pub nat_address: Option<IpAddr>,
}

/// The kernel's own answer (`ip route get`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelSays {
    /// The interface.
    pub device: Option<String>,
    /// The gateway.
    pub gateway: Option<IpAddr>,
    /// The source address.
    pub source: Option<IpAddr>,
    /// The table.
    pub table: Option<u32>,
}

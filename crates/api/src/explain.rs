//! Where a connection would go, and why.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    query::{ConnectionQuery, ExplainQuery},
    schema,
};

/// Where a connection would go, step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explain {
    /// What was asked.
    pub query: ExplainQuery,
    /// The policies in the order in which they are asked, to the one that takes it; of many the
    /// nearest before it. Empty where policies are not asked: of a connection that exists already,
    /// of inbound ones.
    #[serde(default)]
    pub policies: Vec<ExplainPolicy>,
    /// Policies before these that do not take it either.
    #[serde(default)]
    pub policies_before: usize,
    /// Why policies are not asked; none where they are.
    #[serde(default)]
    pub policies_not_asked: Option<String>,
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

/// A policy that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainPolicy {
    /// Its name.
    pub policy: String,
    /// It takes the connection.
    pub matched: bool,
    /// The clause that does not hold, or what it leads to.
    pub why: String,
}

/// A rule that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainStep {
    /// The rule, as `ip rule` would write it.
    pub rule: String,
    /// It decides, or takes part in the decision.
    pub matched: bool,
    /// Why it does or does not.
    pub why: String,
}

/// What the rules lead to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    /// The kind of way out.
    pub kind: DecisionKind,
    /// The routing table that answers.
    pub table: Option<u32>,
    /// The policy that led there; none where no policy took it.
    #[serde(default)]
    pub policy: Option<String>,
    /// The group that is used, or what its table is called where a policy names an uplink.
    pub group: Option<String>,
    /// Which of its levels serves, from 1.
    #[serde(default)]
    pub tier: Option<usize>,
    /// The uplinks it may leave by, with their share of such connections.
    pub uplinks: Vec<ExplainUplink>,
    /// No uplink is up; these are only kept for want of anything better.
    pub last_resort: bool,
}

/// The kinds of ways out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// Refused at once, since a policy says so.
    Blocked,
    /// It depends on something that was not said.
    Depends,
}

/// An uplink that the connection may leave by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExplainUplink {
    /// Which one.
    pub uplink: String,
    /// Its part of such connections, 0 to 1.
    pub share: f64,
    /// The source address it gets on the way out; none where it keeps its own.
    #[schema(value_type = Option<schema::Address>)]
    pub nat_address: Option<IpAddr>,
}

/// The kernel's own answer (`ip route get`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KernelSays {
    /// The interface.
    pub device: Option<String>,
    /// The gateway.
    #[schema(value_type = Option<schema::Address>)]
    pub gateway: Option<IpAddr>,
    /// The source address.
    #[schema(value_type = Option<schema::Address>)]
    pub source: Option<IpAddr>,
    /// The table.
    pub table: Option<u32>,
}

/// What becomes of a connection that exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExplainConnection {
    /// What was asked.
    pub query: ConnectionQuery,
    /// The connection, as the kernel tracks it.
    pub connection: ConnectionStatus,
    /// Where its next packet goes.
    pub now: Explain,
    /// Where it would go if it began now; none for what came in by an uplink, which is answered by
    /// that uplink whatever the policies say.
    pub anew: Option<Explain>,
    /// Both as one sentence for people.
    pub text: String,
}

/// A tracked connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionStatus {
    /// The transport, by name or number.
    pub protocol: String,
    /// Who began it.
    #[schema(value_type = schema::Address)]
    pub from: IpAddr,
    /// To whom.
    #[schema(value_type = schema::Address)]
    pub to: IpAddr,
    /// The source port, where it has ports.
    pub sport: Option<u16>,
    /// The destination port.
    pub dport: Option<u16>,
    /// The source address that the far end sees, where it is another one.
    #[schema(value_type = Option<schema::Address>)]
    pub nat_source: Option<IpAddr>,
    /// The address that really answers, where it is another one than `to` (a forwarded port).
    #[schema(value_type = Option<schema::Address>)]
    pub nat_destination: Option<IpAddr>,
    /// Its mark, as `0x…`.
    pub mark: String,
    /// The uplink that it is on; none where it has none yet, or none of ours.
    pub uplink: Option<String>,
    /// It came in by that uplink.
    pub inbound: bool,
    /// Where a policy led it; none where no policy took it.
    pub outlet: Option<String>,
}

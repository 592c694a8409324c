//! The policies that are in force, in the order in which they are asked.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All policies. The first that matches a new connection decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Policies {
    /// In the order of the file.
    pub policies: Vec<PolicyStatus>,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyStatus {
    /// Its name.
    pub name: String,
    /// What must hold, all of it, as people read it; empty: it takes everything.
    pub clauses: Vec<String>,
    /// Where it leads: a group, an uplink, `block`, `main`, with what comes after it.
    pub outlet: String,
    /// Existing connections that it forbids their uplink are released on reload.
    pub moves_flows: bool,
    /// Its schedule holds at this minute; always true without a schedule.
    pub active: bool,
    /// It can never be reached: these policies before it take everything that it would.
    pub hidden_by: Vec<String>,
    /// New connections that it has decided since it is there; null where they are not counted.
    /// One whose first packets are refused or not answered may count more than once.
    #[serde(default)]
    pub connections: Option<u64>,
}

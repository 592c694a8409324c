//! Orders to a running daemon, and what came of them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uplinkd_model::{Family, Health};
use utoipa::ToSchema;

use crate::schema;

/// The longest that an uplink can be drained or preferred, in seconds: a year.
pub const SPAN_MAX: u64 = 365 * 86_400;
/// The longest that a configuration can wait to be confirmed, in seconds: a day.
pub const CONFIRM_MAX: u64 = 86_400;
/// The longest reason, in characters.
pub const WHY_MAX: usize = 200;

/// What came of an order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Operated {
    /// What happens now, for people.
    pub text: String,
    /// Until when, unix seconds; none where it has no end, or is one.
    pub until: Option<f64>,
}

/// What somebody wants of an uplink for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WishStatus {
    /// Who: a user, as the kernel names it.
    pub who: String,
    /// The reason that was given.
    pub why: Option<String>,
    /// Until when, unix seconds; none: until somebody ends it.
    pub until: Option<f64>,
}

/// A configuration that is in force on trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TrialStatus {
    /// Who wanted it.
    pub who: String,
    /// The reason that was given.
    pub why: Option<String>,
    /// When the configuration of before is put back unless somebody confirms this one, unix seconds.
    pub until: f64,
}

/// What the targets of an uplink said when all were asked at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Probed {
    /// The uplink.
    pub uplink: String,
    /// Enough targets answered in each family that it has.
    pub up: bool,
    /// Each family that it has.
    pub families: Vec<ProbedFamily>,
}

/// One family of an uplink that was probed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProbedFamily {
    /// `ipv4` or `ipv6`.
    #[schema(value_type = schema::Family)]
    pub family: Family,
    /// Enough of the targets that decide answered.
    pub up: bool,
    /// How many of them have to.
    pub quorum: usize,
    /// Its settled health, which one round does not change by itself.
    #[schema(value_type = schema::Health)]
    pub health: Health,
    /// Why, for people.
    pub reason: String,
    /// Each target.
    pub targets: Vec<ProbedTarget>,
}

/// What one target said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProbedTarget {
    /// As the file names it.
    pub target: String,
    /// Its address, where it has one at the moment.
    #[schema(value_type = Option<schema::Address>)]
    pub address: Option<IpAddr>,
    /// Its answers decide about health.
    pub decides: bool,
    /// The round-trip time; none without an answer that is good.
    pub rtt_ms: Option<f64>,
    /// What is wrong, where there is none.
    pub problem: Option<String>,
}

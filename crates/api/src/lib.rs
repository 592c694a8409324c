//! What the daemon says about itself, and how to ask it.
//!
//! HTTP with JSON over the Unix socket `RUNTIME_DIR/uplinkd.sock`, everything under `/v1`.
//! `docs/openapi.json` has all of it, made of these types; in short:
//!
//! | path | answer |
//! |---|---|
//! | `GET /v1/status` | [`Status`] |
//! | `GET /v1/events?since=ID` | [`Events`] |
//! | `GET /v1/events/stream?since=ID` | server-sent events: an [`Event`] in each, or `resync` |
//! | `GET /v1/policies` | [`Policies`] |
//! | `GET /v1/explain?to=B&…` | [`Explain`]; the parameters are [`ExplainQuery`]'s fields |
//! | `GET /v1/explain/connection?from=A&to=B&…` | [`ExplainConnection`]; likewise [`ConnectionQuery`] |
//! | `GET /v1/history?uplink=&since=&until=&step=&format=` | [`History`], or CSV |
//! | `GET /v1/report?month=&format=` | [`Report`], or CSV |
//! | `GET /metrics` | for Prometheus, in its text format |
//! | `GET /v1/support` | [`Support`]; only for who may change something |
//! | `POST /v1/groups/NAME/failback` | [`Failback`]; like all that follow, only for who may change something |
//! | `POST /v1/uplinks/NAME/drain?for=SECONDS` | [`Operated`]; no new connections by it; without `for` until undrained |
//! | `POST /v1/uplinks/NAME/undrain` | [`Operated`] |
//! | `POST /v1/uplinks/NAME/prefer?for=SECONDS` | [`Operated`]; new connections by it alone |
//! | `POST /v1/unprefer` | [`Operated`] |
//! | `POST /v1/uplinks/NAME/probe` | [`Probed`]: all targets are asked at once |
//! | `POST /v1/notify-test?channel=NAME` | [`NotifyTested`]: all channels are told, or one, that this is a test |
//! | `POST /v1/reload?confirm=SECONDS` | [`Operated`]; 422 with a report where the file has mistakes |
//! | `POST /v1/confirm` | [`Operated`]: what is in force on trial stays |
//! | `POST /v1/rollback` | [`Operated`]: what was before is put back at once |
//!
//! Those that change something take `why=TEXT` as well, which the event log keeps.
//!
//! `GET /v1/openapi.json` says all this to programs.
//!
//! Anything but success answers with an [`ApiError`]: 400 for what cannot be understood, 401 for who comes
//! by TCP without a token, 403 for who may not, 404 for what is not there, 422 for what can be read but makes
//! no sense and for a file with mistakes, 409 for what has nothing to do, 503 while the daemon is too
//! busy. Within `/v1` fields are added, never renamed
//! or removed, so a reader must ignore what it does not know.
//!
//! The words are in `message`, `policy`, `query` and `explain`, the client in `client`.

mod client;
mod explain;
mod history;
mod message;
mod notify;
mod operate;
mod policy;
mod query;
mod schema;
mod sse;
mod transport;

use std::path::{Path, PathBuf};

pub use client::{Client, ClientError, Followed};
pub use explain::{
    ConnectionStatus, Decision, DecisionKind, Explain, ExplainConnection, ExplainPolicy,
    ExplainStep, ExplainUplink, KernelSays,
};
pub use history::{
    Format, HealthTime, History, HistoryPoint, HistoryQuery, HistorySeries, Quality, Report,
    ReportLine, ReportOutage, ReportQuery, ReportTarget, ReportUplink, Traffic,
};
pub use message::{
    ApiError, BudgetStatus, Budgeted, Event, Events, Failback, GroupStatus, Level, ReserveStatus,
    ServingStatus, State, Status, Support, SysctlStatus, TargetState, TargetStatus, TcpStatus,
    TierStatus, UplinkStatus, WaitingStatus, YieldingStatus,
};
pub use notify::{NotifyResult, NotifyStatus, NotifyTested};
pub use operate::{
    CONFIRM_MAX, Operated, Probed, ProbedFamily, ProbedTarget, SPAN_MAX, TrialStatus, WHY_MAX,
    WishStatus,
};
pub use policy::{Policies, PolicyStatus};
pub use query::{ConnectionQuery, ExplainQuery};
pub use transport::{IcmpType, MacAddress, Protocol, parse_dscp};

/// The name of the socket in the runtime directory.
pub const SOCKET_NAME: &str = "uplinkd.sock";

/// Where the daemon of a runtime directory listens.
pub fn socket_path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join(SOCKET_NAME)
}

/// The paths that are served.
pub mod path {
    /// [`crate::Status`].
    pub const STATUS: &str = "/v1/status";
    /// [`crate::Events`].
    pub const EVENTS: &str = "/v1/events";
    /// Server-sent events.
    pub const EVENTS_STREAM: &str = "/v1/events/stream";
    /// [`crate::Explain`].
    pub const EXPLAIN: &str = "/v1/explain";
    /// [`crate::ExplainConnection`].
    pub const EXPLAIN_CONNECTION: &str = "/v1/explain/connection";
    /// [`crate::Policies`].
    pub const POLICIES: &str = "/v1/policies";
    /// [`crate::History`].
    pub const HISTORY: &str = "/v1/history";
    /// [`crate::Report`].
    pub const REPORT: &str = "/v1/report";
    /// For Prometheus; outside of `/v1`, where it looks for it.
    pub const METRICS: &str = "/metrics";
    /// [`crate::Support`]; only for who may change something.
    pub const SUPPORT: &str = "/v1/support";
    /// [`crate::Failback`], by POST; `{name}` stands for the group.
    pub const FAILBACK: &str = "/v1/groups/{name}/failback";
    /// [`crate::Budgeted`], by POST; `{name}` stands for the uplink, `{used}` for the bytes that it has used.
    pub const BUDGET: &str = "/v1/uplinks/{name}/budget/{used}";
    /// [`crate::Operated`], by POST: `?for=SECONDS&why=TEXT`.
    pub const DRAIN: &str = "/v1/uplinks/{name}/drain";
    /// [`crate::Operated`], by POST.
    pub const UNDRAIN: &str = "/v1/uplinks/{name}/undrain";
    /// [`crate::Operated`], by POST: `?for=SECONDS&why=TEXT`.
    pub const PREFER: &str = "/v1/uplinks/{name}/prefer";
    /// [`crate::Operated`], by POST.
    pub const UNPREFER: &str = "/v1/unprefer";
    /// [`crate::Probed`], by POST.
    pub const PROBE: &str = "/v1/uplinks/{name}/probe";
    /// [`crate::NotifyTested`], by POST: `?channel=NAME&why=TEXT`.
    pub const NOTIFY_TEST: &str = "/v1/notify-test";
    /// [`crate::Operated`], by POST: `?confirm=SECONDS&why=TEXT`.
    pub const RELOAD: &str = "/v1/reload";
    /// [`crate::Operated`], by POST.
    pub const CONFIRM: &str = "/v1/confirm";
    /// [`crate::Operated`], by POST.
    pub const ROLLBACK: &str = "/v1/rollback";
    /// The session of a browser: begun by POST, ended by DELETE.
    pub const SESSION: &str = "/v1/session";
    /// The OpenAPI document of all this.
    pub const OPENAPI: &str = "/v1/openapi.json";
    /// The name of the server-sent event that says that some were missed.
    pub const RESYNC: &str = "resync";
}

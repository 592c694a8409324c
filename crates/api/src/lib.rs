//! What the daemon says about itself, and how to ask it.
//!
//! HTTP with JSON over the Unix socket `RUNTIME_DIR/uplinkd.sock`, everything under `/v1`:
//!
//! | path | answer |
//! |---|---|
//! | `GET /v1/status` | [`Status`] |
//! | `GET /v1/events?since=ID` | [`Events`] |
//! | `GET /v1/events/stream?since=ID` | server-sent events: an [`Event`] in each, or `resync` |
//! | `GET /v1/explain?to=B&…` | [`Explain`]; the parameters are [`ExplainQuery`]'s fields |
//!
//! Anything but success answers with an [`ApiError`]. Within `/v1` fields are added, never renamed
//! or removed, so a reader must ignore what it does not know.
//!
//! The words are in `message` and `explain`, the client in `client`.

mod client;
mod explain;
mod message;
mod query;
mod sse;

use std::path::{Path, PathBuf};

pub use client::{Client, ClientError, Followed};
pub use explain::{Decision, DecisionKind, Explain, ExplainStep, ExplainUplink, KernelSays};
pub use message::{
    ApiError, Event, Events, GroupStatus, Level, ReserveStatus, ServingStatus, State, Status,
    SysctlStatus, TargetState, TargetStatus, UplinkStatus,
};
pub use query::{ExplainQuery, Protocol};

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
    /// The name of the server-sent event that says that some were missed.
    pub const RESYNC: &str = "resync";
}

//! The decisions: which uplinks serve, what the kernel should therefore hold, and how to get there.
//!
//! Pure and deterministic: facts and the time come in through [`Controller::handle`], intentions go
//! out through [`Controller::next_action`]. There is no clock, no I/O and no runtime here, so that
//! every history can be replayed and simulated. Start with `controller.rs`.

mod controller;
pub mod desired;
pub mod event;
pub mod explain;
mod facts;
pub mod health;
pub mod probe;
pub mod reconcile;
mod select;
mod status;
mod time;

pub use controller::Controller;
pub use event::{Action, Event, Probe, ProbeId};
pub use facts::{LinkState, Usable};
pub use status::{GroupSnapshot, Snapshot, TargetSnapshot, UplinkSnapshot};
pub use time::Time;

use uplinkd_model::Family;

/// The family that is routed.
///
/// TODO(v6): health, selection and desired state exist once per uplink; IPv6 wants a second set
/// under its own family. Bites as soon as an uplink has IPv6: that traffic is left to `main`.
pub(crate) const FAMILY: Family = Family::V4;

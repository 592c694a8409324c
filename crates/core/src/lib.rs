//! The decisions: which uplinks serve, what the kernel should therefore hold, and how to get there.
//!
//! Pure and deterministic: facts and the time come in through [`Controller::handle`], intentions go
//! out through [`Controller::next_action`]. There is no clock, no I/O and no runtime here, so that
//! every history can be replayed and simulated. Start with `controller.rs`.

mod balance;
mod budget;
mod controller;
pub mod desired;
pub mod event;
pub mod explain;
mod facts;
mod families;
#[cfg(test)]
mod fixtures;
pub mod health;
pub mod paper;
mod policies;
mod prefixes;
mod prepared;
pub mod probe;
pub mod reconcile;
mod select;
mod status;
mod time;
mod wishes;

pub use controller::{Controller, with_first_names};
pub use event::{Action, Event, Probe, ProbeId};
pub use facts::{LinkState, Usable, link_of};
pub use families::PerFamily;
pub use health::segments::TcpFigures;
pub use policies::{Compiled, cgroup_paths};
pub use prefixes::{LanNetwork, Prefixes, Translations, Unclaimed};
pub use prepared::Prepared;
pub use select::Waiting;
pub use status::{
    BudgetSnapshot, LineHealth, LineSnapshot, OutletSnapshot, OutletState, Snapshot, TargetSnapshot,
};
pub use time::Time;
pub use wishes::{Wish, Wishes};

//! When to ask which target, and what its answers say.

mod burst;
mod memory;
mod patience;
mod schedule;
mod target;
mod window;

pub(crate) use burst::Burst;
pub(crate) use memory::{Memory, REMEMBERED};
pub(crate) use schedule::{Due, Reply, Schedule, TargetKey, Timing};
pub use target::{TargetState, TargetVerdict};
pub use window::Figures;
pub(crate) use window::quantile;

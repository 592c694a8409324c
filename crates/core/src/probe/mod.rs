//! When to ask which target, and what its answers say.

mod schedule;
mod target;

pub(crate) use schedule::{Due, Schedule, TargetKey};
pub use target::{TargetState, TargetVerdict};

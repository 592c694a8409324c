//! From desired and observed to a plan: what differs, whose it is, in which order to act, and how
//! long to wait before trying again.

mod diff;
mod order;
mod retry;

pub use diff::{Diff, diff};
pub use order::{plan, removal};
pub(crate) use retry::{Backoff, RepairLimit};

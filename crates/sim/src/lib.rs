//! The pure core in a simulator: a fake kernel with the real one's quirks, virtual time, seeded
//! trouble, and invariants that are checked after every step of every plan.
//!
//! Both families, groups, policies and outlets are drawn at random. What must serve is judged by a
//! few plain rules over what the daemon says of its lines, and where packets go by the fake kernel's
//! own rules and tables.
//!
//! [`run::run`] plays the history of one seed; the same seed plays the same history. Start with
//! `run.rs` (what a history is), then `world/watch.rs`, `world/outlets.rs` and `world/failback.rs`
//! (what must hold) and `kernel.rs` (what the kernel does on its own).

pub mod clock;
mod compare;
mod delegation;
pub mod faults;
pub mod kernel;
pub mod net;
pub mod operate;
pub mod reference;
pub mod run;
pub mod scenario;
pub mod seeds;
mod world;

pub use run::{Failure, Report, run};

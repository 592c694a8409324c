//! The daemon: a thin shell around the core. It reads clocks, files and the kernel, carries out what
//! the core intends, and tells people. It decides nothing.

pub mod args;
mod cgroups;
pub mod command;
mod connections;
mod dir_watch;
pub mod exit;
mod face;
mod ledger;
mod lists;
pub mod load;
mod local_time;
pub mod lock;
pub mod look;
pub mod machine;
#[cfg(feature = "history")]
mod memory;
#[cfg(not(feature = "history"))]
#[path = "memory_none.rs"]
mod memory;
mod meter;
mod record;
mod resolver;
mod serve;
mod service_manager;
mod sources;
pub mod state;
mod support;
mod token_file;
mod trial;
mod wishes;
mod writer;

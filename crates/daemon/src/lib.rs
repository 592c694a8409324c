//! The daemon: a thin shell around the core. It reads clocks, files and the kernel, carries out what
//! the core intends, and tells people. It decides nothing.

pub mod args;
pub mod command;
pub mod exit;
pub mod load;
pub mod lock;
pub mod look;
pub mod machine;
mod serve;
pub mod state;

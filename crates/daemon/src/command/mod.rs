//! One file for each command.

pub mod check;
pub mod clean;
pub mod plan;
pub mod run;

//! One file for each command.

pub mod check;
pub mod clean;
pub mod papers;
pub mod plan;
pub mod resolver;
pub mod run;

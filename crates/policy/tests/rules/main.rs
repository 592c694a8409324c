//! What each kind of clause compiles to, and who hides whom.

mod fixtures;
mod hidden;
mod stages;

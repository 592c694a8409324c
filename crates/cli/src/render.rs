//! Answers into text. Pure: what is shown depends on nothing but the answer.
//!
//! Text may hold colour; whoever writes it takes that out where it is not wanted. Colour only
//! repeats what the words say.

pub(crate) mod anonymous;
pub(crate) mod connection;
pub(crate) mod event;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod json;
pub(crate) mod notify;
pub(crate) mod policies;
pub(crate) mod probed;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod status;
pub(crate) mod words;

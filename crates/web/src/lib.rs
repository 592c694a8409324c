//! The daemon's face: HTTP on a Unix socket. Everybody may read; what changes something is for root
//! and the daemon's own user, as the kernel names them (`SO_PEERCRED`).
//!
//! Nothing is decided and nothing is kept here but the last events. What a request needs to know is
//! asked of the daemon's loop as a [`Request`], so that a daemon nobody asks does no work for it.
//!
//! [`bind`] opens the socket, [`serve`] serves it, [`Shared`] is what both sides hold. `routes` is
//! what is answered, `openapi` what is said of it, `connection` how little a client may take of us.

mod connection;
mod listener;
mod log;
mod operate;
mod openapi;
mod peer;
mod routes;
mod server;
mod shared;

pub use listener::{BindError, bind};
pub use log::EVENTS_MAX;
pub use openapi::openapi_json;
pub use server::serve;
pub use shared::{Answer, Caller, Operation, Refused, Request, Shared};

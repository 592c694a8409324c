//! The daemon's face: HTTP on a Unix socket, and on TCP of this machine's own where the file wants it.
//!
//! Nothing is decided and nothing is kept here but the last events and the sessions of browsers. What a
//! request needs to know is asked of the daemon's loop as a [`Request`], so that a daemon nobody asks
//! does no work for it.
//!
//! [`bind`] opens the socket, [`serve`] serves it, [`Shared`] is what both sides hold. `gate` is who
//! may come in: by the socket as the kernel names them (`peer`), by TCP with a `token`, and no page of
//! another site (`browser`). `page` is the dashboard, `routes` is what else is answered, `openapi` what is said of it, `connection`
//! how little a client may take of us.

mod access;
mod browser;
mod connection;
mod gate;
mod listener;
mod log;
mod openapi;
mod operate;
mod page;
mod peer;
mod routes;
mod server;
mod session;
mod shared;
mod token;

pub use access::{Access, Group};
pub use listener::{BindError, bind, bind_tcp, fit_socket};
pub use log::EVENTS_MAX;
pub use openapi::openapi_json;
pub use server::{serve, serve_tcp};
pub use shared::{Answer, Caller, Operation, Refused, Request, Shared};
pub use token::{TOKEN_LEAST, Tokens};

//! Asks hosts, out by a given uplink, and says how long the answers took or what was wrong with them.
//!
//! The engine only sends and reports. When to ask and what counts as a loss is decided elsewhere: a
//! probe whose answer never comes is simply never reported.
//!
//! For ICMP echoes of addresses, of which there may be thousands each second, start with [`Prober`]:
//! `packet` is the wire format, `socket` one socket with its probes under way, `outstanding` the table
//! of those. For everything else start with [`Asker`]: `service` says which question is asked how,
//! `line` binds sockets, `names` looks up hosts over the line that is tested, and asks the `resolvers`
//! that were given for it. What programs of users, HTTP and TLS need has a door of its own
//! ([`program`], [`http`], [`Trust`]), since whoever is told of events is told by the same means.

pub mod http;
pub mod program;

mod asker;
mod command;
mod dns;
mod line;
mod names;
mod neighbour;
mod outstanding;
mod packet;
mod prober;
mod resolvers;
mod service;
mod socket;
mod tls;

pub use asker::{Answer, Asker, Inquiry};
pub use line::{Line, bounded, in_words};
pub use prober::{Probe, Prober, Reply, SendError};
pub use tls::Trust;

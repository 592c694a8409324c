//! Asks hosts for an ICMP echo, out by a given uplink, and says how long the answers took.
//!
//! The engine only sends and reports. When to ask and what counts as a loss is decided elsewhere,
//! so there are no timers here: a probe whose answer never comes is simply never reported.
//!
//! Start with [`Prober`]. `packet` is the wire format, `socket` one socket with its probes under
//! way, `outstanding` the table of those.

mod outstanding;
mod packet;
mod prober;
mod socket;

pub use prober::{Probe, Prober, Reply, SendError};

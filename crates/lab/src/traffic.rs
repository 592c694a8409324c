//! Real traffic between namespaces, and what became of it.
//!
//! [`Servers`] answer on one UDP and one TCP port and say in each answer which source they saw, so
//! that the asking side learns which line its translated connection took. [`Load`] makes new
//! connections at a rate, [`shares`] many at once to count the lines, [`Flow`] is one connection
//! that lives long. [`Packet`] is one packet
//! of any kind and [`Witness`] tells over which line it came. What they return is plain records; [`Outage`] reads them.
//!
//! Every loop here ends by count or by time, also when nothing answers.

pub mod connections;
pub mod dns;
pub mod flow;
pub mod guise;
pub mod measure;
pub mod packet;
pub mod ping;
pub mod server;
pub mod wire;
pub mod witness;

pub use connections::{Load, Running, Transport, shares};
pub use flow::{Flow, FlowRecord, FlowSpec, Sample, TcpEvent};
pub use guise::Guise;
pub use measure::{Attempt, Attempts, Ending, Outage, Shares};
pub use packet::{Fate, Packet, PacketKind, Sent, send_all};
pub use ping::Ping;
pub use server::{PORT, Servers};
pub use witness::{Seen, Witness};

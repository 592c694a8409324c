//! A network laboratory of network namespaces on one machine.
//!
//! It builds a LAN, a router, providers and an internet ([`Lab`]), breaks the lines ([`Fault`]),
//! sends traffic and measures what became of it ([`traffic`]). It does not route: what makes the
//! router a router is the program under test ([`RouterDaemon`]). It needs no root and no outside
//! program but `nft`, and all its packets stay inside its namespaces.
//!
//! A program starts with [`enter_private`] in its `main`; a test binary with [`harness::run`].

pub mod addresses;
mod cgroup;
pub mod delegation;
pub mod demo;
pub mod faults;
pub mod harness;
mod lan;
pub mod lines;
pub mod mounts;
pub mod netns;
pub mod plumbing;
pub mod process;
pub mod programs;
pub mod router;
mod slowness;
pub mod topology;
pub mod traffic;

pub use addresses::Isp;
pub use cgroup::ControlGroup;
pub use faults::{Broken, Fault};
pub use lines::Line;
pub use mounts::MountView;
pub use netns::{Netns, enter_private};
pub use process::{Output, Process};
pub use router::{Places, RouterDaemon, find_program};
pub use slowness::{VARIABLE as SLOWNESS, slowness, stretched};
pub use topology::{FAMILIES, Ipv6, Lab, LabSpec};

//! The nouns that every other crate shares.
//!
//! Values here are comparable, orderable and printable, and hold their canonical form from
//! construction on, so that two of them can be compared without thinking. Nothing here reads a
//! clock, a file or a socket. Start with [`intent::Config`] (what the user asked for),
//! [`kernel_state`] (what the kernel has) and [`plan`] (how to get from one to the other).

pub mod advertise;
pub mod budget;
pub mod classify;
pub mod connection;
pub mod health;
pub mod ids;
pub mod intent;
pub mod kernel_state;
pub mod net;
pub mod nft;
pub mod notice;
pub mod notify;
pub mod operate;
pub mod plan;
pub mod policy;
pub mod prefix;
pub mod probe;
pub mod record;
pub mod reserve;
pub mod sign;
pub mod target;

pub use advertise::{Advice, LanAdvice, OwnAdvert};
pub use budget::Budget;
pub use classify::Classifier;
pub use connection::Connection;
pub use health::{Health, Reason};
pub use ids::{Mark, NexthopId, Proto, RulePriority, Slot, TableId, UplinkName};
pub use intent::{Access, Config, Gateway, Group, Member, Nat, Uplink};
pub use kernel_state::{
    Desired, Link, NeighbourState, Nexthop, NexthopKind, Observed, Route, RouteVia, Rule,
};
pub use net::Family;
pub use notify::Notify;
pub use operate::{By, Order};
pub use plan::{Outcome, Plan, PlannedStep, Step};
pub use policy::{Outlet, OutletKind, Policy};
pub use prefix::{PrefixFacts, PrefixSource};
pub use probe::{Counters, FLOW_NUMBERS, Limits, Permille, ProbeSpec, Profile, Rates, TcpCounters};
pub use reserve::Reserve;
pub use sign::Sign;
pub use target::{Host, Question, Service, Subject, Target};

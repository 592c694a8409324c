//! The only place that knows rtnetlink, ctnetlink and nft: facts out, steps in.
//!
//! Nothing is chosen here. Start with [`Kernel`]: [`Kernel::observe`] looks, [`Kernel::execute`]
//! acts, and [`watch::Watch`] says when it is worth looking again. All of it stands on [`netlink`].

mod cgroup;
mod connections;
mod counters;
pub mod decode;
pub mod encode;
mod errno;
mod execute;
pub mod feature;
mod handle;
pub mod netlink;
pub mod nft;
pub mod observe;
mod prefixes;
pub mod route_get;
mod solicit;
pub mod sysctl;
pub mod table_names;
pub mod watch;
mod wire;

pub use cgroup::cgroup_root;
pub use connections::{ConnectionQuery, Connections};
pub use feature::{Features, NoNft};
pub use handle::{Kernel, OpenError};
pub use nft::OwnPorts;
pub use observe::{Look, ObserveError};
pub use route_get::{RouteAnswer, RouteKind, RouteQuery};
pub use watch::{Hint, Watch};

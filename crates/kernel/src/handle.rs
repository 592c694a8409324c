//! The sockets, files and memories that looking and acting share.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    netlink::{Protocol, Socket},
    nft::{Memory, OwnPorts},
};

/// Where iproute2 reads the names of tables.
const IPROUTE2_DIR: &str = "/etc/iproute2";

/// The kernel of the network namespace that this was opened in.
///
/// It blocks while the kernel works, which takes microseconds to milliseconds; `nft` alone takes
/// longer and is waited for a bounded time.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) route: Socket,
    pub(crate) netfilter: Socket,
    pub(crate) nft: Memory,
    pub(crate) iproute2_dir: PathBuf,
}

/// Why the kernel cannot be talked to at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot open a netlink socket for {purpose}")]
pub struct OpenError {
    /// What it would have been for.
    pub purpose: &'static str,
    /// The reason.
    #[source]
    pub source: io::Error,
}

impl Kernel {
    /// Opens the sockets. Needs no right yet: the first change does.
    ///
    /// # Errors
    /// When the kernel has no such sockets.
    pub fn open() -> Result<Self, OpenError> {
        let open = |protocol, purpose| {
            Socket::open(protocol).map_err(|source| OpenError { purpose, source })
        };
        Ok(Self {
            route: open(Protocol::Route, "routes")?,
            netfilter: open(Protocol::Netfilter, "connection tracking")?,
            nft: Memory::new(None),
            iproute2_dir: PathBuf::from(IPROUTE2_DIR),
        })
    }

    /// Remembers in this directory what was put into nft, so that a restart need not put it again.
    #[must_use]
    pub fn with_state_dir(mut self, dir: Option<PathBuf>) -> Self {
        self.nft = Memory::new(dir);
        self
    }

    /// Names tables below this directory instead of `/etc/iproute2`.
    #[must_use]
    pub fn with_iproute2_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.iproute2_dir = dir.as_ref().to_owned();
        self
    }

    /// The ports of our sockets and of the processes that we start: multicast messages that carry one
    /// are echoes of our own steps. A watch that is given them tells us in turn what it sees others do
    /// to elements of our nft table.
    pub fn ports(&self) -> OwnPorts {
        let sockets = vec![self.route.port(), self.netfilter.port()];
        OwnPorts::new(sockets, self.nft.shared.clone())
    }
}

//! Who asks, as the kernel says.

use std::sync::LazyLock;

use tokio::net::UnixStream;

/// The user at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    user: u32,
}

impl Peer {
    /// A peer by its user's number.
    pub(crate) fn new(user: u32) -> Self {
        Self { user }
    }

    /// The user's number.
    pub(crate) fn user(self) -> u32 {
        self.user
    }

    /// Whether it may change something: root, and whoever the daemon itself runs as.
    pub(crate) fn may_change(self) -> bool {
        may_change(self.user, *OURSELVES)
    }
}

/// The daemon's own user; none where the kernel does not tell.
static OURSELVES: LazyLock<Option<u32>> = LazyLock::new(|| {
    // What it says of a connection to oneself is said of oneself.
    let (one_end, _other) = UnixStream::pair().ok()?;
    Some(one_end.peer_cred().ok()?.uid())
});

/// The number that every user has whom our user namespace does not know.
const NOBODY: u32 = 65534;

fn may_change(user: u32, ourselves: Option<u32>) -> bool {
    user == 0 || (ourselves == Some(user) && user != NOBODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_our_own_user_may_change_something() {
        assert!(may_change(0, Some(0)));
        assert!(may_change(0, Some(990)));
        assert!(may_change(990, Some(990)));
        assert!(!may_change(991, Some(990)));
        assert!(!may_change(990, None));
        assert!(!may_change(NOBODY, Some(NOBODY)), "could be anybody");
    }

    #[tokio::test]
    async fn we_may_ask_ourselves() {
        let (one_end, _other) = UnixStream::pair().unwrap();
        let peer = Peer::new(one_end.peer_cred().unwrap().uid());
        assert!(peer.may_change());
    }
}

//! Who asks, as the kernel says.

use std::{
    io,
    os::fd::{AsRawFd as _, RawFd},
    sync::LazyLock,
};

use tokio::net::UnixStream;

use crate::access::Rights;

/// Whoever asks, and what that one may do. A request carries it from the door to its route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// What it may do.
    pub(crate) rights: Rights,
    /// What it is known by.
    pub(crate) shown: Shown,
    /// Who may change something, for the refusal of who may not.
    pub(crate) changers: String,
}

impl Peer {
    /// Whether it may change something.
    pub(crate) fn may_change(&self) -> bool {
        self.rights == Rights::Change
    }

    /// Its user's number, where it has an account.
    pub(crate) fn user(&self) -> Option<u32> {
        match self.shown {
            Shown::Account(user) => Some(user),
            Shown::Token | Shown::Session | Shown::Nothing => None,
        }
    }
}

/// What somebody is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The account that the kernel names, by its user's number.
    Account(u32),
    /// A token.
    Token,
    /// A cookie that was given for a token.
    Session,
    /// Nothing: for what everybody may have.
    Nothing,
}

/// The user at the other end of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    user: u32,
    /// All groups that it was in when it connected.
    pub(crate) groups: Vec<u32>,
}

impl Account {
    /// An account by its numbers.
    #[cfg(test)]
    pub(crate) fn new(user: u32, groups: Vec<u32>) -> Self {
        Self { user, groups }
    }

    /// Whose a connection is.
    ///
    /// Its groups are those that the process had when it connected (`SO_PEERGROUPS`), as they also
    /// decide about files. Looking the user's groups up by its name would ask files and name services,
    /// some of them behind the very lines that we keep, and would give a process groups that it has
    /// laid down.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let mut groups = groups_of(stream.as_raw_fd())?;
        groups.push(credentials.gid());
        Ok(Self {
            user: credentials.uid(),
            groups,
        })
    }

    /// Its user's number.
    pub(crate) fn user(&self) -> u32 {
        self.user
    }

    /// Whether it is root, or whoever the daemon itself runs as.
    pub(crate) fn is_master(&self) -> bool {
        is_master(self.user, *OURSELVES)
    }
}

/// The most groups that the kernel lets a process have (`NGROUPS_MAX`).
const GROUPS_MAX: usize = 65_536;
/// Enough room for nearly everybody.
const GROUPS_USUAL: usize = 64;

/// The supplementary groups of whoever is at the other end.
fn groups_of(socket: RawFd) -> io::Result<Vec<u32>> {
    match read_groups(socket, GROUPS_USUAL) {
        Err(error) if error.raw_os_error() == Some(libc::ERANGE) => read_groups(socket, GROUPS_MAX),
        read => read,
    }
}

#[expect(unsafe_code, reason = "no crate in use here reads SO_PEERGROUPS")]
fn read_groups(socket: RawFd, room: usize) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; room];
    let bytes = room * size_of::<u32>();
    let mut length = libc::socklen_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of the buffer, and sets
    // `length` to what it wrote. A gid_t is a u32 on every Linux.
    let result = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(usize::try_from(length).map_err(io::Error::other)? / size_of::<u32>());
    Ok(groups)
}

/// The daemon's own user; none where the kernel does not tell.
static OURSELVES: LazyLock<Option<u32>> = LazyLock::new(|| {
    // What it says of a connection to oneself is said of oneself.
    let (one_end, _other) = UnixStream::pair().ok()?;
    Some(one_end.peer_cred().ok()?.uid())
});

/// The number that every user has whom our user namespace does not know.
const NOBODY: u32 = 65534;

fn is_master(user: u32, ourselves: Option<u32>) -> bool {
    user == 0 || (ourselves == Some(user) && user != NOBODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_our_own_user_are_asked_for_no_group() {
        assert!(is_master(0, Some(0)));
        assert!(is_master(0, Some(990)));
        assert!(is_master(990, Some(990)));
        assert!(!is_master(991, Some(990)));
        assert!(!is_master(990, None));
        assert!(!is_master(NOBODY, Some(NOBODY)), "could be anybody");
    }

    #[tokio::test]
    async fn the_groups_of_a_peer_are_those_that_its_process_has() {
        let (one_end, _other) = UnixStream::pair().unwrap();
        let account = Account::of(&one_end).unwrap();
        assert!(account.is_master());
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = |key: &str| status.lines().find_map(|l| l.strip_prefix(key)).unwrap();
        let numbers = |text: &str| -> Vec<u32> {
            text.split_whitespace()
                .map(|w| w.parse().unwrap())
                .collect()
        };
        let mut expected = numbers(line("Groups:"));
        expected.push(numbers(line("Gid:"))[1]);
        assert_eq!(account.groups, expected);
    }

    #[test]
    fn more_groups_than_usual_are_read_too() {
        let (one_end, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let all = read_groups(one_end.as_raw_fd(), GROUPS_MAX).unwrap();
        assert_eq!(groups_of(one_end.as_raw_fd()).unwrap(), all);
        if !all.is_empty() {
            let error = read_groups(one_end.as_raw_fd(), all.len() - 1).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ERANGE));
        }
    }
}

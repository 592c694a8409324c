//! Who may do what, as the file says it.

use std::fmt;

use crate::{peer::Account, token::Tokens};

/// What somebody may do. Who may do more may do all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rights {
    /// Not even ask.
    Nothing,
    /// Ask.
    Read,
    /// Change something.
    Change,
}

/// A group of users that the file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// As the file names it.
    pub name: String,
    /// Its number.
    pub id: u32,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}", self.name)
    }
}

/// Who may do what. Without groups everybody on this machine may ask; root and the daemon's own user
/// may always do all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Whose members may ask; none: everybody.
    pub read: Option<Group>,
    /// Whose members may change something.
    pub change: Option<Group>,
    /// What opens the door to those who come by TCP.
    pub tokens: Tokens,
}

/// The number of every group that our user namespace does not know.
const NOGROUP: u32 = 65534;

impl Access {
    /// What an account at the other end of the socket may do.
    pub(crate) fn rights_of(&self, account: &Account) -> Rights {
        let is_in = |group: &Option<Group>| {
            let group = group.as_ref().filter(|g| g.id != NOGROUP);
            group.is_some_and(|g| account.groups.contains(&g.id))
        };
        if account.is_master() || is_in(&self.change) {
            Rights::Change
        } else if self.read.is_none() || is_in(&self.read) {
            Rights::Read
        } else {
            Rights::Nothing
        }
    }

    /// Who may ask over the socket, in words.
    pub(crate) fn readers(&self) -> String {
        let groups = [&self.read, &self.change].into_iter().flatten();
        words(groups.map(ToString::to_string))
    }

    /// Who may change something over the socket, in words.
    pub(crate) fn changers(&self) -> String {
        words(self.change.iter().map(ToString::to_string))
    }

    /// The group that the socket can belong to so that nobody else even gets a connection; none where it
    /// has to be open to all, and only what is asked is refused.
    pub(crate) fn socket_group(&self) -> Option<u32> {
        let read = self.read.as_ref()?;
        // A file has one group.
        let is_only = self.change.as_ref().is_none_or(|c| c.id == read.id);
        is_only.then_some(read.id)
    }
}

fn words(groups: impl Iterator<Item = String>) -> String {
    let mut all = vec!["root".to_owned(), "the daemon's own user".to_owned()];
    all.extend(groups);
    all.dedup();
    let last = all.pop().unwrap_or_default();
    format!("{} and {last}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: u32) -> Option<Group> {
        Some(Group {
            name: format!("g{id}"),
            id,
        })
    }

    fn access(read: Option<Group>, change: Option<Group>) -> Access {
        Access {
            read,
            change,
            tokens: Tokens::default(),
        }
    }

    fn account(groups: &[u32]) -> Account {
        // Nobody's number is that of the user who runs these tests.
        Account::new(4_000_000_000, groups.to_vec())
    }

    #[tokio::test]
    async fn groups_open_the_door_to_their_members_and_to_nobody_else() {
        let open = access(None, None);
        assert_eq!(open.rights_of(&account(&[])), Rights::Read);
        let both = access(group(10), group(20));
        for (groups, rights) in [
            (&[][..], Rights::Nothing),
            (&[100, 1000], Rights::Nothing),
            (&[100, 10], Rights::Read),
            (&[20, 100], Rights::Change),
            (&[10, 20], Rights::Change),
        ] {
            assert_eq!(both.rights_of(&account(groups)), rights, "{groups:?}");
        }
        let root = Account::new(0, vec![]);
        assert_eq!(both.rights_of(&root), Rights::Change);
        let change = access(None, group(20));
        assert_eq!(change.rights_of(&account(&[10])), Rights::Read);
    }

    #[tokio::test]
    async fn a_group_that_the_kernel_cannot_name_is_nobodys() {
        let odd = access(group(NOGROUP), group(NOGROUP));
        assert_eq!(odd.rights_of(&account(&[NOGROUP])), Rights::Nothing);
    }

    #[test]
    fn the_socket_is_one_groups_where_one_group_is_all_that_may() {
        assert_eq!(access(None, None).socket_group(), None);
        assert_eq!(access(None, group(20)).socket_group(), None);
        assert_eq!(access(group(10), None).socket_group(), Some(10));
        assert_eq!(access(group(10), group(10)).socket_group(), Some(10));
        assert_eq!(access(group(10), group(20)).socket_group(), None);
    }

    #[test]
    fn refusals_name_all_who_may() {
        let both = access(group(10), group(20));
        assert_eq!(
            both.readers(),
            "root, the daemon's own user, group g10 and group g20"
        );
        assert_eq!(both.changers(), "root, the daemon's own user and group g20");
        assert_eq!(
            access(None, None).changers(),
            "root and the daemon's own user"
        );
    }
}

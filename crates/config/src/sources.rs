//! What a check needs from outside the text: files of prefixes, and the names of accounts.

use std::{collections::BTreeMap, ops::Range};

/// What the shell reads before a file can be checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The content of each file that [`crate::Draft::files`] names, by its path; or why it cannot be
    /// read.
    pub files: BTreeMap<String, Result<String, String>>,
    /// The numbers of this machine's users, by name.
    pub users: BTreeMap<String, u32>,
    /// The numbers of this machine's groups, by name.
    pub groups: BTreeMap<String, u32>,
}

/// A file of prefixes that policies name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFile {
    /// Where it is: the path as written, below the folder of the configuration file where it is not
    /// absolute.
    pub path: String,
    /// Where the configuration names it, at least once.
    pub spans: Vec<Range<usize>>,
}

/// The names and numbers of accounts, from the content of `/etc/passwd` or `/etc/group`.
///
/// Lines that are not `name:password:number…` are passed over, as the C library does.
pub fn accounts(text: &str) -> BTreeMap<String, u32> {
    let account = |line: &str| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        Some((name.to_owned(), number.trim().parse().ok()?))
    };
    // Of two lines with one name the first counts; later ones of the iterator would win otherwise.
    text.lines().rev().filter_map(account).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_from_both_files() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# x\n+nis\nbad:x:y:\nbackup:x:34:34::/:/bin/sh\nroot:x:9:9::/:\n";
        let expected = BTreeMap::from([("root".to_owned(), 0), ("backup".to_owned(), 34)]);
        assert_eq!(accounts(passwd), expected);
        assert_eq!(accounts("sudo:x:27:ann,bob\n")["sudo"], 27);
    }
}

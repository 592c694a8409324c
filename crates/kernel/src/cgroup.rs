//! Control groups (version 2): the numbers that the kernel knows them by.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::{Component, Path, PathBuf},
};

/// Those of the groups that exist, with their number: the inode of their directory, which on the
/// file system of control groups is the group's own number.
pub(crate) fn find(paths: &[String]) -> BTreeMap<String, u64> {
    if paths.is_empty() {
        return BTreeMap::new();
    }
    let Some(root) = cgroup_root() else {
        return BTreeMap::new();
    };
    paths
        .iter()
        .filter(|path| stays_below(path))
        .filter_map(|path| {
            let group = fs::metadata(root.join(path)).ok()?;
            group.is_dir().then(|| (path.clone(), group.ino()))
        })
        .collect()
}

/// Where the hierarchy of control groups of version 2 is mounted; none where it is not.
pub fn cgroup_root() -> Option<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mount_point(&table)
}

/// How deep a group lies below the root of the hierarchy.
pub(crate) fn level(path: &str) -> usize {
    path.split('/').filter(|name| !name.is_empty()).count()
}

/// Where the hierarchy of version 2 is mounted: usually `/sys/fs/cgroup`, beside version 1
/// `/sys/fs/cgroup/unified`. A mount of only a part of it has its number's level counted wrongly and
/// is left out.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, device) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let is_whole = root == "/" && device.split(' ').next() == Some("cgroup2");
        is_whole.then(|| unescaped(point))
    })
}

/// The kernel writes blanks, line ends and backslashes in a path as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// A path that cannot lead out of the hierarchy.
fn stays_below(path: &str) -> bool {
    let mut components = Path::new(path).components().peekable();
    components.peek().is_some() && components.all(|c| matches!(c, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_wherever_it_is_mounted() {
        let mixed = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                     32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                     38 31 0:38 / /sys/fs/cgroup/uni\\040fied rw shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mixed), Some("/sys/fs/cgroup/uni fied".into()));
        assert_eq!(
            mount_point("38 31 0:38 /a /x rw - cgroup2 cgroup2 rw"),
            None
        );
    }

    #[test]
    fn a_path_stays_below_the_root_and_has_a_level() {
        assert!(stays_below("system.slice/backup.service"));
        for bad in ["", "/", "..", "a/../../b", "/etc"] {
            assert!(!stays_below(bad), "{bad}");
        }
        assert_eq!(level("system.slice/backup.service"), 2);
    }
}

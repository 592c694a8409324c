//! The files beside the configuration that a check needs: lists of prefixes, and the accounts.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use nix::libc::O_NONBLOCK;
use uplinkd_config::{ListFile, Sources, accounts};

/// The longest list, in bytes: two million prefixes. A longer one is refused.
const LIST_MAX: u64 = 32 << 20;
/// The longest `/etc/passwd` or `/etc/group` that is looked at.
const ACCOUNTS_MAX: u64 = 16 << 20;

/// Reads everything that a check needs. What cannot be read is said by the check, at the place that
/// names it.
pub(crate) fn read<'a>(files: impl IntoIterator<Item = &'a ListFile>) -> Sources {
    let list = |file: &ListFile| {
        let content = text(Path::new(&file.path), LIST_MAX).map_err(|e| e.to_string());
        (file.path.clone(), content)
    };
    // A machine without these files has no names, only numbers.
    let names = |path| accounts(&text(Path::new(path), ACCOUNTS_MAX).unwrap_or_default());
    Sources {
        files: files.into_iter().map(list).collect(),
        users: names("/etc/passwd"),
        groups: names("/etc/group"),
    }
}

/// The content of a regular file that is not too long. Anything else could keep us waiting for ever,
/// or fill the memory.
pub(crate) fn text(path: &Path, most: u64) -> io::Result<String> {
    // Opening a pipe waits for its other end without this.
    let file = File::options()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    bounded(file, most)
}

/// What a reader has to say, where that is text and not too long.
pub(crate) fn bounded(from: impl io::Read, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let text = format!("it is longer than {} MiB", most >> 20);
        return Err(io::Error::other(text));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not text (UTF-8)"))
}

/// What tells one state of a file from another without reading it; none where there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(Option<(u64, u64, u64, i64, i64, i64)>);

impl Stamp {
    /// The state of a file now, behind symbolic links.
    pub(crate) fn of(path: &Path) -> Self {
        let stamp = |m: fs::Metadata| {
            let (device, inode, size) = (m.dev(), m.ino(), m.size());
            (
                device,
                inode,
                size,
                m.mtime(),
                m.mtime_nsec(),
                m.ctime_nsec(),
            )
        };
        Self(fs::metadata(path).ok().map(stamp))
    }

    /// Whether there was a file.
    pub(crate) fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    #[test]
    fn only_regular_files_of_text_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("good"), "10.0.0.0/8\n").unwrap();
        symlink(path("good"), path("link")).unwrap();
        fs::write(path("binary"), [0xff, 0xfe]).unwrap();
        mkfifo(&path("pipe"), Mode::S_IRWXU).unwrap();
        let file = |name: &str| ListFile {
            path: path(name).display().to_string(),
            spans: vec![],
        };
        let names = ["good", "link", "binary", "pipe", ".", "missing"];
        let sources = read(&names.map(file));
        let said = |name: &str| sources.files[&file(name).path].clone();
        assert_eq!(said("good"), Ok("10.0.0.0/8\n".to_owned()));
        assert_eq!(said("link"), said("good"));
        assert_eq!(said("binary"), Err("it is not text (UTF-8)".to_owned()));
        for name in ["pipe", "."] {
            assert_eq!(said(name), Err("it is not a regular file".to_owned()));
        }
        assert!(said("missing").unwrap_err().starts_with("No such file"));
        assert_eq!(sources.users["root"], 0);
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let refused = bounded(io::repeat(b'x'), 2 << 20).unwrap_err();
        assert_eq!(refused.to_string(), "it is longer than 2 MiB");
        assert_eq!(bounded(&b"abc"[..], 3).unwrap(), "abc");
    }

    #[test]
    fn a_stamp_changes_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nets");
        let none = Stamp::of(&path);
        fs::write(&path, "a").unwrap();
        let one = Stamp::of(&path);
        assert_ne!(none, one);
        assert_eq!(one, Stamp::of(&path));
        fs::write(dir.path().join("new"), "b").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert_ne!(one, Stamp::of(&path));
    }
}

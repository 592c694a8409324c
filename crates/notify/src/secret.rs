//! Files that hold a secret: read only where nobody else can have read or written them.

use std::{
    fmt,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use nix::{libc::O_NONBLOCK, unistd::geteuid};

/// The longest secret, in bytes.
pub const SECRET_MAX: u64 = 4096;
/// Others read or write, or the file's group writes.
const MODE_OPEN: u32 = 0o026;

/// Why a file is not taken. Never tells what is in it.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// Others may read or change it.
    #[error("others may read or write it (mode {0:04o})")]
    Open(u32),
    /// It is somebody else's.
    #[error("it belongs to user {0}, and not to root or to whom the daemon runs as")]
    Foreign(u32),
}

/// What is in a file that nobody else can read or write.
///
/// # Errors
/// [`Why`].
pub fn read(path: &Path, most: u64) -> Result<String, Why> {
    read_as(path, most, geteuid().as_raw())
}

fn read_as(path: &Path, most: u64, user: u32) -> Result<String, Why> {
    // Opening a pipe waits for its other end without this.
    let file = File::options()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)?;
    // Of what was opened, not of what the name leads to by now.
    guarded(&file.metadata()?, user)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is longer than {most} bytes")).into());
    }
    let text = String::from_utf8(bytes);
    text.map_err(|_| io::Error::other("it is not text (UTF-8)").into())
}

fn guarded(metadata: &Metadata, user: u32) -> Result<(), Why> {
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file").into());
    }
    if metadata.mode() & MODE_OPEN != 0 {
        return Err(Why::Open(metadata.mode() & 0o7777));
    }
    // Whoever it belongs to can write it at any time.
    let owner = metadata.uid();
    match owner == 0 || owner == user {
        true => Ok(()),
        false => Err(Why::Foreign(owner)),
    }
}

/// A word that nobody is shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// The word in a file.
    pub(crate) fn of(path: &Path) -> Result<Self, String> {
        let told =
            |why: &dyn fmt::Display| format!("cannot take a secret from {}: {why}", path.display());
        let text = read(path, SECRET_MAX).map_err(|why| told(&why))?;
        let word = text.trim();
        match !word.is_empty() && word.chars().all(|c| c.is_ascii_graphic()) {
            true => Ok(Self(word.to_owned())),
            false => Err(told(&"it holds not one word of ASCII")),
        }
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
    };

    use super::*;

    #[test]
    fn only_a_file_that_nobody_else_can_read_or_write_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(matches!(read(&path, 10), Err(Why::Unreadable(_))));
        fs::write(&path, "word").unwrap();
        for (mode, is_taken) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o644, false),
            (0o604, false),
            (0o602, false),
            (0o660, false),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let read = read(&path, 10);
            assert_eq!(read.is_ok(), is_taken, "{mode:o}: {read:?}");
            if let Err(error) = read {
                let words = format!("(mode {mode:04o})");
                assert!(error.to_string().contains(&words), "{error}");
            }
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "word").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let owner = fs::metadata(&path).unwrap().uid();
        assert!(read_as(&path, 10, owner).is_ok());
        // Root's file is anybody's to take, so the test needs another owner to see a refusal.
        if owner != 0 {
            let refused = read_as(&path, 10, owner + 1);
            assert!(matches!(refused, Err(Why::Foreign(of)) if of == owner));
        }
    }

    #[test]
    fn what_is_in_the_file_is_never_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for text in ["two hidden words", "hidden\nhidden", "", "h\u{e4}dden"] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let why = Secret::of(&path).unwrap_err();
            assert!(
                !why.contains("hidden") && why.contains("not one word"),
                "{why}"
            );
        }
        fs::write(&path, " hidden\n").unwrap();
        let secret = Secret::of(&path).unwrap();
        assert_eq!(secret.expose(), "hidden");
        assert!(!format!("{secret:?}").contains("hidden"));
        assert!(read(&path, 3).unwrap_err().to_string().contains("longer"));
    }
}

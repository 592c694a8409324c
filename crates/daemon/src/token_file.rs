//! The file of tokens: read only where nobody else can have read or written it.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::{libc::O_NONBLOCK, unistd::geteuid};
use uplinkd_web::Tokens;

use crate::sources;

/// The longest file, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// Others read or write, or the file's group writes.
const MODE_OPEN: u32 = 0o026;

/// Why the file is not taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot take tokens from {}: {why}", path.display())]
pub(crate) struct TokenFileError {
    path: PathBuf,
    pub(crate) why: Why,
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Why {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// Others may read or change it.
    #[error("others may read or write it (mode {0:04o})")]
    Open(u32),
    /// It is somebody else's.
    #[error("it belongs to user {0}, and not to root or to whom the daemon runs as")]
    Foreign(u32),
    /// What stands in it.
    #[error("{0}")]
    Text(String),
}

impl TokenFileError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        let path = self.path.display();
        match &self.why {
            Why::Unreadable(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("make it: `(umask 077; head -c 32 /dev/urandom | base64 >{path})`")
            }
            Why::Unreadable(_) => "the daemon's own user has to be able to read it".to_owned(),
            Why::Open(_) => {
                format!("`chmod 600 {path}`, and make new tokens: these may be known already")
            }
            Why::Foreign(_) => format!("`chown root {path}`"),
            Why::Text(_) => format!(
                "write a token on each line, {} signs or more, with `read ` before those that may only \
                 read",
                uplinkd_web::TOKEN_LEAST
            ),
        }
    }
}

/// Reads the tokens.
///
/// # Errors
/// [`TokenFileError`], which never tells what is in the file.
pub(crate) fn read(path: &Path) -> Result<Tokens, TokenFileError> {
    read_as(path, geteuid().as_raw()).map_err(|why| TokenFileError {
        path: path.to_owned(),
        why,
    })
}

fn read_as(path: &Path, user: u32) -> Result<Tokens, Why> {
    // Opening a pipe waits for its other end without this.
    let file = File::options()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)?;
    // Of what was opened, not of what the name leads to by now.
    guarded(&file.metadata()?, user)?;
    let text = sources::bounded(file, FILE_MAX)?;
    Tokens::parse(&text).map_err(Why::Text)
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

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
    };

    use super::*;

    const TOKEN: &str = "correct-horse-battery-staple";

    #[test]
    fn only_a_file_that_nobody_else_can_read_or_write_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let missing = read(&path).unwrap_err();
        assert!(
            missing.to_string().contains("tokens: No such file"),
            "{missing}"
        );
        assert!(missing.hint().contains("umask 077"), "{}", missing.hint());
        fs::write(&path, TOKEN).unwrap();
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
            let read = read(&path);
            assert_eq!(read.is_ok(), is_taken, "{mode:o}: {read:?}");
            if let Err(error) = read {
                assert!(
                    error.to_string().contains(&format!("(mode {mode:04o})")),
                    "{error}"
                );
                assert!(error.hint().contains("chmod 600"), "{}", error.hint());
            }
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        fs::write(&path, TOKEN).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let owner = fs::metadata(&path).unwrap().uid();
        assert!(read_as(&path, owner).is_ok());
        // Root's file is anybody's to take, so the test needs another owner to see a refusal.
        if owner != 0 {
            assert!(matches!(read_as(&path, owner + 1), Err(Why::Foreign(of)) if of == owner));
        }
    }

    #[test]
    fn what_is_in_the_file_is_never_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        for text in ["secret", "two secret words", "\u{0}secret"] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let error = read(&path).unwrap_err();
            let said = format!("{error} {error:?} {}", error.hint());
            assert!(!said.contains("secret"), "{said}");
        }
        assert!(
            read(dir.path())
                .unwrap_err()
                .to_string()
                .contains("not a regular file")
        );
    }
}

//! The file of tokens: read only where nobody else can have read or written it.

use std::{
    io,
    path::{Path, PathBuf},
};

use uplinkd_notify::secret;
use uplinkd_web::Tokens;

/// The longest file, in bytes.
const FILE_MAX: u64 = 1 << 20;

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
    /// It cannot be read, or others could have.
    #[error("{0}")]
    File(#[from] secret::Why),
    /// What stands in it.
    #[error("{0}")]
    Text(String),
}

impl TokenFileError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        let path = self.path.display();
        match &self.why {
            Why::File(secret::Why::Unreadable(error))
                if error.kind() == io::ErrorKind::NotFound =>
            {
                format!("make it: `(umask 077; head -c 32 /dev/urandom | base64 >{path})`")
            }
            Why::File(secret::Why::Unreadable(_)) => {
                "the daemon's own user has to be able to read it".to_owned()
            }
            Why::File(secret::Why::Open(_)) => {
                format!("`chmod 600 {path}`, and make new tokens: these may be known already")
            }
            Why::File(secret::Why::Foreign(_)) => format!("`chown root {path}`"),
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
    let text = secret::read(path, FILE_MAX).map_err(Why::from);
    let tokens = text.and_then(|text| Tokens::parse(&text).map_err(Why::Text));
    tokens.map_err(|why| TokenFileError {
        path: path.to_owned(),
        why,
    })
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
    fn what_to_do_about_a_file_that_is_not_taken_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let missing = read(&path).unwrap_err();
        assert!(
            missing.to_string().contains("tokens: No such file"),
            "{missing}"
        );
        assert!(missing.hint().contains("umask 077"), "{}", missing.hint());
        fs::write(&path, TOKEN).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(read(&path).is_ok());
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let open = read(&path).unwrap_err();
        assert!(open.to_string().contains("(mode 0644)"), "{open}");
        assert!(open.hint().contains("chmod 600"), "{}", open.hint());
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

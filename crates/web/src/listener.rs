//! Opens the socket, without pushing anybody aside who still uses it.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::{self, ErrorKind},
    net::SocketAddr,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, UnixListener};

use crate::access::Access;

/// Everybody on the machine gets a connection; what is asked on it is another matter.
const SOCKET_MODE: u32 = 0o666;
/// Only a group does.
const SOCKET_MODE_OF_GROUP: u32 = 0o660;
/// Nobody does.
const SOCKET_MODE_CLOSED: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o755;

/// Why the socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error("cannot listen on {}: another daemon does", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else than a socket has that name.
    #[error("cannot listen on {}: there is something that is no socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system does not let us listen for TCP.
    #[error("cannot listen on {address}")]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Listens on a Unix socket that everybody may use, in a directory that is made where missing.
///
/// A socket that a daemon left behind is replaced; one that somebody still listens on is not. Two
/// daemons that start in the same moment are kept apart by the lock in the same directory, which
/// the caller holds. Must be called inside a tokio runtime.
///
/// # Errors
/// [`BindError`].
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let io_error = |what| {
        move |source| BindError::Io {
            what,
            path: path.to_owned(),
            source,
        }
    };
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)
            .map_err(io_error("make the directory for"))?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {
            if has_listener(path).map_err(io_error("find out who listens on"))? {
                return Err(BindError::InUse {
                    path: path.to_owned(),
                });
            }
            fs::remove_file(path).map_err(io_error("remove the old socket"))?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("look at")(error)),
    }
    let listener = UnixListener::bind(path).map_err(io_error("listen on"))?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))
        .map_err(io_error("set the mode of"))?;
    Ok(listener)
}

/// Gives the socket to the one group that may ask, where there is one, so that nobody else gets as far
/// as being refused.
///
/// # Errors
/// When we may not give it away; who may ask is seen to all the same.
pub fn fit_socket(path: &Path, access: &Access) -> io::Result<()> {
    let set_mode = |mode| fs::set_permissions(path, Permissions::from_mode(mode));
    let Some(group) = access.socket_group() else {
        return set_mode(SOCKET_MODE);
    };
    // Closed first, so that the group before it is not let in meanwhile.
    set_mode(SOCKET_MODE_CLOSED)?;
    if let Err(error) = chown(path, None, Some(group)) {
        set_mode(SOCKET_MODE)?;
        return Err(error);
    }
    set_mode(SOCKET_MODE_OF_GROUP)
}

/// Listens for TCP. Must be called inside a tokio runtime.
///
/// # Errors
/// [`BindError::Tcp`].
pub fn bind_tcp(address: SocketAddr) -> Result<TcpListener, BindError> {
    let listen = || {
        // Sets SO_REUSEADDR: connections that have just ended hold up no restart.
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    listen().map_err(|source| BindError::Tcp { address, source })
}

fn has_listener(path: &Path) -> io::Result<bool> {
    match UnixStream::connect(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_left_behind_socket_is_replaced_a_used_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/run/uplinkd.sock");
        let listener = bind(&path).unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), SOCKET_MODE);
        assert!(matches!(bind(&path), Err(BindError::InUse { .. })));
        assert!(UnixStream::connect(&path).is_ok(), "the first one is hurt");
        drop(listener);
        bind(&path).unwrap();
    }

    #[tokio::test]
    async fn a_file_of_that_name_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uplinkd.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(BindError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}

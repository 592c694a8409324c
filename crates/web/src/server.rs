//! Accepts connections, within limits.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::{Id, JoinSet},
    time::sleep,
};

use crate::{connection::Guarded, gate::Door, page, peer::Account, routes::routes, shared::Shared};

/// Connections over the socket at a time; a further one is closed at once.
const CONNECTIONS_MAX: usize = 64;
/// Of these for one user, so that nobody can lock out the others. Root may have all.
const CONNECTIONS_PER_USER_MAX: usize = 16;
/// What root may have on top when the others have taken all there is.
const CONNECTIONS_FOR_ROOT: usize = 16;
/// Connections over TCP at a time, counted for themselves: whoever takes all of them, which needs no
/// token, leaves the socket as it is. Enough for a hundred pages that follow events.
const CONNECTIONS_TCP_MAX: usize = 128;
/// How long a request's head may take.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// The longest head of a request, in bytes. Longer ones are answered with 431.
const HEAD_MAX: usize = 16 * 1024;
/// The pause after accepting failed, as it does while the process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves the socket until `stop` is done, then ends every connection, streams too.
pub async fn serve(listener: UnixListener, shared: Shared, stop: impl Future<Output = ()>) {
    serve_all(&Listener::Unix(listener), shared, stop).await;
}

/// The same for TCP.
pub async fn serve_tcp(listener: TcpListener, shared: Shared, stop: impl Future<Output = ()>) {
    // Beside the loop, before anybody asks for the page.
    tokio::task::spawn_blocking(page::prepare);
    serve_all(&Listener::Tcp(listener), shared, stop).await;
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr),
}

impl Listener {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener) => listener.accept().await.map(|(s, _)| Stream::Unix(s)),
            Self::Tcp(listener) => listener
                .accept()
                .await
                .map(|(s, from)| Stream::Tcp(s, from)),
        }
    }
}

/// What a connection needs of either kind of stream.
trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Bytes for S {}

async fn serve_all(listener: &Listener, shared: Shared, stop: impl Future<Output = ()>) {
    let mut changes = shared.access_changes();
    let service = TowerToHyperService::new(routes(shared));
    let mut http = http1::Builder::new();
    // One request for each connection: no idle ones to count, and a limit that means something.
    http.keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_MAX);
    let mut connections = JoinSet::new();
    // Whose they are; none: somebody's who came by TCP.
    let mut users: BTreeMap<Id, Option<u32>> = BTreeMap::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            // Who comes after a change is not ended by it.
            biased;
            () = &mut stop => return,
            Ok(()) = changes.changed() => connections.abort_all(),
            Some(ended) = connections.join_next_with_id() => {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                users.remove(&id);
            }
            accepted = listener.accept() => match accepted {
                Ok(stream) => if let Some((user, door, stream)) = admit(stream, &users) {
                    let service = service.clone();
                    let by_door = hyper::service::service_fn(move |mut request| {
                        let extensions: &mut hyper::http::Extensions =
                            hyper::Request::extensions_mut(&mut request);
                        extensions.insert(door.clone());
                        service.call(request)
                    });
                    let connection =
                        http.serve_connection(TokioIo::new(Guarded::new(stream)), by_door);
                    let task = connections.spawn(async move {
                        // What goes wrong here is between the client and its patience.
                        let _ = connection.await;
                    });
                    users.insert(task.id(), user);
                },
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

/// Whose connection it is and by which door it came, where there is room for it.
fn admit(
    stream: Stream,
    users: &BTreeMap<Id, Option<u32>>,
) -> Option<(Option<u32>, Door, Box<dyn Bytes>)> {
    match stream {
        Stream::Unix(stream) => {
            let account = Account::of(&stream).ok()?;
            let user = account.user();
            let of_user = users.values().filter(|u| **u == Some(user)).count();
            let door = Door::Socket(Arc::new(account));
            has_room(user, users.len(), of_user).then(|| (Some(user), door, boxed(stream)))
        }
        Stream::Tcp(stream, from) => {
            // Where `route_localnet` is on, neighbours can ask for an address of ours alone.
            if !from.ip().is_loopback() || users.len() >= CONNECTIONS_TCP_MAX {
                return None;
            }
            let local = stream.local_addr().ok()?;
            // An answer that waits to be whole is slower, and nothing worse.
            let _ = stream.set_nodelay(true);
            Some((None, Door::Tcp(local), boxed(stream)))
        }
    }
}

fn boxed(stream: impl Bytes + 'static) -> Box<dyn Bytes> {
    Box::new(stream)
}

fn has_room(user: u32, all: usize, of_user: usize) -> bool {
    if user == 0 {
        all < CONNECTIONS_MAX + CONNECTIONS_FOR_ROOT
    } else {
        all < CONNECTIONS_MAX && of_user < CONNECTIONS_PER_USER_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_lock_out_another_and_nobody_locks_out_root() {
        assert!(has_room(1000, 15, 15));
        assert!(!has_room(1000, 16, 16));
        assert!(has_room(1001, 16, 0));
        assert!(!has_room(1001, 64, 0));
        assert!(has_room(0, 64, 0));
        assert!(has_room(0, 79, 79));
        assert!(!has_room(0, 80, 0));
    }
}

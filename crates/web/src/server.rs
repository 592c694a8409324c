//! Accepts connections, within limits.

use std::{collections::BTreeMap, time::Duration};

use hyper::{server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{UnixListener, UnixStream},
    task::{Id, JoinSet},
    time::sleep,
};

use crate::{connection::Guarded, peer::Peer, routes::routes, shared::Shared};

/// Connections at a time; a further one is closed at once.
const CONNECTIONS_MAX: usize = 64;
/// Of these for one user, so that nobody can lock out the others. Root may have all.
const CONNECTIONS_PER_USER_MAX: usize = 16;
/// What root may have on top when the others have taken all there is.
const CONNECTIONS_FOR_ROOT: usize = 16;
/// How long a request's head may take.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// The longest head of a request, in bytes. Longer ones are answered with 431.
const HEAD_MAX: usize = 16 * 1024;
/// The pause after accepting failed, as it does while the process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves until `stop` is done, then ends every connection, streams too.
pub async fn serve(listener: UnixListener, shared: Shared, stop: impl Future<Output = ()>) {
    let service = TowerToHyperService::new(routes(shared));
    let mut http = http1::Builder::new();
    // One request for each connection: no idle ones to count, and a limit that means something.
    http.keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_MAX);
    let mut connections = JoinSet::new();
    let mut users: BTreeMap<Id, u32> = BTreeMap::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            Some(ended) = connections.join_next_with_id() => {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                users.remove(&id);
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => if let Some(user) = admit(&stream, &users) {
                    let service = service.clone();
                    let peer = Peer::new(user);
                    let with_peer = hyper::service::service_fn(move |mut request| {
                        let extensions: &mut hyper::http::Extensions =
                            hyper::Request::extensions_mut(&mut request);
                        extensions.insert(peer);
                        service.call(request)
                    });
                    let connection =
                        http.serve_connection(TokioIo::new(Guarded::new(stream)), with_peer);
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

/// Whose connection it is, where there is room for it.
fn admit(stream: &UnixStream, users: &BTreeMap<Id, u32>) -> Option<u32> {
    let user = stream.peer_cred().ok()?.uid();
    let of_user = users.values().filter(|u| **u == user).count();
    has_room(user, users.len(), of_user).then_some(user)
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

//! The doors of the API: the socket, and TCP where the file wants it.
//!
//! They are served by a thread of their own, so that reading requests and writing answers, however many
//! ask at once, takes nothing of the loop's time: what reaches the loop are questions, one at a time and
//! behind everything else that it has to do.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
    task::JoinHandle,
};
use tracing::warn;
use uplinkd_config::Api;
use uplinkd_web::{Access, Group, Shared, Tokens};

use crate::token_file::{self, TokenFileError};

/// How long connections may take to end when we stop.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// What `[api]` says, with the tokens that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    access: Access,
    listen: Option<SocketAddr>,
}

impl Wish {
    /// Reads what the file names.
    ///
    /// # Errors
    /// Where the tokens cannot be taken.
    pub(crate) fn read(api: &Api) -> Result<Self, TokenFileError> {
        let group = |group: &Option<uplinkd_config::Group>| {
            group.as_ref().map(|g| Group {
                name: g.name.clone(),
                id: g.id,
            })
        };
        // Without TCP nobody asks for a token.
        let file = api.token_file.as_ref().filter(|_| api.listen.is_some());
        let tokens = file.map(|path| token_file::read(path)).transpose()?;
        Ok(Self {
            access: Access {
                read: group(&api.read_group),
                change: group(&api.change_group),
                tokens: tokens.unwrap_or_else(Tokens::default),
            },
            listen: api.listen,
        })
    }
}

/// A wish that can be fulfilled: what it listens on is open.
#[derive(Debug)]
pub(crate) struct Ready {
    wish: Wish,
    /// Where it listens somewhere else than before.
    listener: Option<TcpListener>,
}

/// What is served now.
#[derive(Debug)]
pub(crate) struct Face {
    thread: Thread,
    shared: Shared,
    socket: PathBuf,
    socket_server: Server,
    wish: Wish,
    tcp: Option<Server>,
}

impl Face {
    /// Opens the doors.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub(crate) fn open(socket: &Path, shared: Shared, wish: Wish) -> anyhow::Result<Self> {
        let thread = Thread::start()?;
        let listener = {
            let _inside = thread.handle().enter();
            uplinkd_web::bind(socket)?
        };
        let served = shared.clone();
        let socket_server = Server::start(thread.handle(), |stopped| {
            uplinkd_web::serve(listener, served, stopped.done())
        });
        let mut face = Self {
            thread,
            shared,
            socket: socket.to_owned(),
            socket_server,
            wish: Wish::default(),
            tcp: None,
        };
        let ready = face.prepare(wish)?;
        face.take(ready);
        Ok(face)
    }

    /// Opens what a wish needs and has not got. Nothing changes yet.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(crate) fn prepare(&self, wish: Wish) -> anyhow::Result<Ready> {
        let _inside = self.thread.handle().enter();
        let is_new = wish.listen != self.wish.listen;
        let listener = wish.listen.filter(|_| is_new).map(uplinkd_web::bind_tcp);
        Ok(Ready {
            listener: listener.transpose()?,
            wish,
        })
    }

    /// What is wished now.
    pub(crate) fn wish(&self) -> &Wish {
        &self.wish
    }

    /// Fulfils a wish. Where it is another one than before, all connections end.
    pub(crate) fn take(&mut self, ready: Ready) {
        let Ready { wish, listener } = ready;
        if wish.access != self.wish.access
            && let Err(error) = uplinkd_web::fit_socket(&self.socket, &wish.access)
        {
            // Nobody may do more because of it: rights are seen to with each request.
            let socket = self.socket.display();
            warn!(%socket, %error, "cannot give the socket to the group that may read");
        }
        self.shared.set_access(wish.access.clone());
        if wish.listen != self.wish.listen {
            if let Some(before) = self.tcp.take() {
                before.stop();
            }
            let shared = self.shared.clone();
            self.tcp = listener.map(|listener| {
                Server::start(self.thread.handle(), |stopped| {
                    uplinkd_web::serve_tcp(listener, shared, stopped.done())
                })
            });
        }
        self.wish = wish;
    }

    /// Closes all doors.
    pub(crate) async fn close(self) {
        let Self {
            thread,
            socket_server,
            tcp,
            ..
        } = self;
        let tasks = [Some(socket_server), tcp];
        let tasks: Vec<_> = tasks.into_iter().flatten().map(Server::stop).collect();
        for task in tasks {
            let _ = tokio::time::timeout(STOP_PATIENCE, task).await;
        }
        drop(thread);
    }
}

/// The thread that serves.
#[derive(Debug)]
struct Thread {
    /// Until it is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Thread {
    fn start() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("api")
            .enable_all()
            .build()
            .context("cannot have a thread for the API")?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Nobody is waited for who has not ended by now, and the loop must not be held up.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A server that runs until it is stopped.
#[derive(Debug)]
struct Server {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What a server waits for.
struct Stopped(oneshot::Receiver<()>);

impl Stopped {
    async fn done(self) {
        // Dropping the sender stops it too.
        let _ = self.0.await;
    }
}

impl Server {
    fn start<F: Future<Output = ()> + Send + 'static>(
        on: &Handle,
        serve: impl FnOnce(Stopped) -> F,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self {
            stop,
            task: on.spawn(serve(Stopped(stopped))),
        }
    }

    fn stop(self) -> JoinHandle<()> {
        let _ = self.stop.send(());
        self.task
    }
}

//! Clients of the API that nobody would wish for.

use std::{
    fs::{self, Permissions},
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{Lab, Places};

const TOKEN: &str = "a-token-of-a-laboratory-and-of-nobody";
const LISTEN: &str = "127.0.0.1:8177";
/// Who follows events. More than the socket admits, so they come by TCP.
pub(crate) const READERS: usize = 100;
/// Requests per second that are tried, and by how many at once.
pub(crate) const FLOOD: u32 = 10_000;
const FLOODERS: u32 = 48;

/// What the file says of TCP, with its tokens beside it.
///
/// # Errors
/// When they cannot be written.
pub(crate) fn api(places: &Places) -> Result<String> {
    let tokens = places.state().with_file_name("tokens");
    fs::write(&tokens, format!("{TOKEN}\n"))?;
    fs::set_permissions(&tokens, Permissions::from_mode(0o600))?;
    let tokens = tokens.display();
    Ok(format!(
        "\n[api]\nlisten = \"{LISTEN}\"\ntoken_file = \"{tokens}\"\n"
    ))
}

pub(crate) fn socket(places: &Places) -> PathBuf {
    places.runtime().join("uplinkd.sock")
}

/// Somebody who follows events and never reads one.
///
/// # Errors
/// When nobody listens.
pub(crate) fn stalled(socket: &Path) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"GET /v1/events/stream?since=0 HTTP/1.1\r\nHost: uplinkd\r\n\r\n")?;
    Ok(stream)
}

/// Work of threads, until it is dropped.
#[derive(Debug)]
pub(crate) struct Work {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    done: Arc<AtomicU64>,
    since: Instant,
}

impl Work {
    fn new() -> Self {
        Self {
            stop: Arc::default(),
            threads: Vec::new(),
            done: Arc::default(),
            since: Instant::now(),
        }
    }

    /// How much of it was done in each second.
    pub(crate) fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let done = self.done.load(Ordering::Relaxed) as f64;
        done / self.since.elapsed().as_secs_f64()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A hundred who follow events, and read them.
///
/// # Errors
/// When not all are let in.
pub(crate) fn readers(lab: &Lab) -> Result<Work> {
    let mut streams = lab.router().run(|| {
        let one = || -> Result<TcpStream> {
            let mut stream = TcpStream::connect(LISTEN)?;
            write!(
                stream,
                "GET /v1/events/stream?since=0 HTTP/1.1\r\nHost: {LISTEN}\r\n\
                 Authorization: Bearer {TOKEN}\r\n\r\n"
            )?;
            let mut head = [0; 12];
            stream.read_exact(&mut head)?;
            ensure!(head.ends_with(b"200"), "{}", head.escape_ascii());
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        (0..READERS).map(|_| one()).collect::<Result<Vec<_>>>()
    })?;
    let mut work = Work::new();
    let (stop, done) = (work.stop.clone(), work.done.clone());
    work.threads.push(thread::spawn(move || {
        let mut bytes = [0; 4096];
        while !stop.load(Ordering::Relaxed) {
            for stream in &mut streams {
                match stream.read(&mut bytes) {
                    Ok(length) => drop(done.fetch_add(length as u64, Ordering::Relaxed)),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
    }));
    Ok(work)
}

/// What as many pages of the dashboard as there are [`READERS`] ask beside the events that they follow: each the
/// status every five seconds and the policies every ten, one after the other on new connections.
pub(crate) fn pages(lab: &Lab) -> Work {
    const EACH: [(&str, Duration); 2] = [
        ("/v1/status", Duration::from_secs(5)),
        ("/v1/policies", Duration::from_secs(10)),
    ];
    let mut work = Work::new();
    for (path, every) in EACH {
        let (stop, done, router) = (work.stop.clone(), work.done.clone(), lab.router().clone());
        let every = every / u32::try_from(READERS).unwrap_or(u32::MAX);
        work.threads.push(thread::spawn(move || {
            let mut next = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                if router.run(|| ask_by_tcp(path)).is_ok() {
                    done.fetch_add(1, Ordering::Relaxed);
                }
                next += every;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }));
    }
    work
}

fn ask_by_tcp(path: &str) -> Result<()> {
    let mut stream = TcpStream::connect(LISTEN)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {LISTEN}\r\nConnection: close\r\n\
         Authorization: Bearer {TOKEN}\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

/// As many requests for the status as the daemon answers, up to [`FLOOD`] per second.
pub(crate) fn flood(socket: &Path) -> Work {
    let mut work = Work::new();
    for _ in 0..FLOODERS {
        let (stop, done, socket) = (work.stop.clone(), work.done.clone(), socket.to_owned());
        work.threads.push(thread::spawn(move || {
            let every = Duration::from_secs(1) * FLOODERS / FLOOD;
            let mut next = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                // What the daemon refuses is a request all the same.
                let _ = ask(&socket);
                done.fetch_add(1, Ordering::Relaxed);
                next = (next + every).max(Instant::now() - Duration::from_millis(10));
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }));
    }
    work
}

fn ask(socket: &Path) -> Result<usize> {
    let mut stream = UnixStream::connect(socket).context("nobody listens")?;
    // A daemon that stopped answering must not keep us.
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: uplinkd\r\n\r\n")?;
    let mut answer = Vec::new();
    Ok(stream.read_to_end(&mut answer)?)
}

//! New connections: at a rate, or many at once to see how they are shared out.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, UdpSocket},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    measure::{Attempt, Attempts, Ending, Shares},
    server::PORT,
    wire,
};
use crate::{netns::Netns, slowness::stretched};

/// Attempts that may wait for their answer at once. Beyond that an attempt is not begun and counts
/// as `NotSent(EAGAIN)`: the machine is too slow for the rate, or the time to wait too long.
const WAITING_MAX: usize = 4000;
/// How many connections [`shares`] keeps in the air.
const SHARES_AT_ONCE: usize = 128;
/// Most connections of one [`shares`] call.
const SHARES_MAX: usize = 1_000_000;
/// Source ports are given out one after the other from here on, up to 65,535.
const FIRST_PORT: u32 = 10_000;
/// Other programs may sit on a port; so many are tried for one connection.
const PORT_TRIES_MAX: usize = 16;

/// How a connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// One question, one answer.
    Udp,
    /// Handshake and greeting.
    Tcp,
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "udp" => Ok(Self::Udp),
            "tcp" => Ok(Self::Tcp),
            other => Err(format!("`{other}` is neither `udp` nor `tcp`")),
        }
    }
}

/// New connections at a steady rate, each from a fresh source port, to one destination after the
/// other.
#[derive(Clone, Debug)]
pub struct Load {
    /// How.
    pub transport: Transport,
    /// How many begin per second.
    pub per_second: u32,
    /// For how long.
    pub duration: Duration,
    /// Where to, in turn. All of one family.
    pub destinations: Vec<IpAddr>,
    /// Which port.
    pub port: u16,
    /// From which addresses, in turn; empty leaves it to the kernel.
    pub sources: Vec<IpAddr>,
    /// How long an answer is waited for. A TCP handshake repeats its first packet after a second:
    /// with more than that a lost one can still succeed.
    pub patience: Duration,
}

impl Load {
    /// A load on the usual port, with the patience of 900 ms.
    pub fn new(
        transport: Transport,
        per_second: u32,
        duration: Duration,
        destinations: Vec<IpAddr>,
    ) -> Self {
        Self {
            transport,
            per_second,
            duration,
            destinations,
            port: PORT,
            sources: Vec::new(),
            patience: Duration::from_millis(900),
        }
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When there is nobody to ask, or no room for the sockets' thread.
    pub fn run(self, netns: &Netns) -> Result<Attempts> {
        self.start(netns)?.finish()
    }

    /// Starts it in the background.
    ///
    /// # Errors
    /// When there is nobody to ask, or no room for a thread.
    pub fn start(self, netns: &Netns) -> Result<Running> {
        ensure!(!self.destinations.is_empty(), "no destination");
        ensure!(self.per_second > 0, "no connections per second");
        allow_many_files();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = netns.start_async(move || paced(self, stopped))?;
        Ok(Running { stop, thread })
    }
}

/// A load that is running in the background.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Attempts>>,
}

impl Running {
    /// Waits for its end.
    ///
    /// # Errors
    /// When it could not run at all.
    pub fn finish(self) -> Result<Attempts> {
        self.thread
            .join()
            .map_err(|_| anyhow::anyhow!("the load's thread panicked"))?
    }

    /// Begins no more connections, waits for those in the air and returns what there is.
    ///
    /// # Errors
    /// When it could not run at all.
    pub fn stop(self) -> Result<Attempts> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }
}

/// Makes many new connections as fast as they go and counts which lines carried them. 10,000 take
/// one to three seconds. All destinations are of one family.
///
/// # Errors
/// When there is nobody to ask or the count is beyond 1,000,000.
pub fn shares(
    netns: &Netns,
    transport: Transport,
    destinations: &[IpAddr],
    count: usize,
) -> Result<Shares> {
    ensure!(!destinations.is_empty(), "no destination");
    ensure!(count <= SHARES_MAX, "more than {SHARES_MAX} connections");
    allow_many_files();
    let load = Load::new(transport, 1, Duration::ZERO, destinations.to_vec());
    netns.block_on(|| async move {
        let load = Rc::new(load);
        let begun = Rc::new(RefCell::new(0));
        let workers: Vec<_> = (0..SHARES_AT_ONCE.min(count))
            .map(|_| {
                let (load, begun) = (Rc::clone(&load), Rc::clone(&begun));
                tokio::task::spawn_local(async move {
                    let mut done = Vec::new();
                    loop {
                        let number = *begun.borrow();
                        if number >= count {
                            return done;
                        }
                        *begun.borrow_mut() = number + 1;
                        done.push(attempt(&load, number).await);
                    }
                })
            })
            .collect();
        let mut attempts = Attempts::default();
        for worker in workers {
            attempts.0.extend(worker.await?);
        }
        Ok(attempts.shares())
    })
}

async fn paced(load: Load, stop: Arc<AtomicBool>) -> Result<Attempts> {
    let load = Rc::new(load);
    let done = Rc::new(RefCell::new(Vec::new()));
    let waiting = Rc::new(());
    let start = Instant::now();
    let mut ticks = interval(stretched(Duration::from_secs(1)) / load.per_second);
    // After a pause of the machine the missed ones follow at once: the rate is the promise.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut number = 0;
    loop {
        ticks.tick().await;
        if start.elapsed() >= load.duration || stop.load(Ordering::Relaxed) {
            break;
        }
        if Rc::strong_count(&waiting) > WAITING_MAX {
            done.borrow_mut().push(not_sent(nix::libc::EAGAIN));
            continue;
        }
        let (load, done, waiting) = (Rc::clone(&load), Rc::clone(&done), Rc::clone(&waiting));
        tokio::task::spawn_local(async move {
            let result = attempt(&load, number).await;
            done.borrow_mut().push(result);
            drop(waiting);
        });
        number += 1;
    }
    // Every attempt ends within its patience; the rest is for a busy machine.
    let deadline = Instant::now() + stretched(load.patience + Duration::from_secs(5));
    while Rc::strong_count(&waiting) > 1 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut attempts = done.take();
    attempts.sort_by_key(|a| a.begun);
    Ok(Attempts(attempts))
}

fn not_sent(errno: i32) -> Attempt {
    let now = Instant::now();
    Attempt {
        begun: now,
        ended: now,
        ending: Ending::NotSent(errno),
    }
}

/// Makes one connection.
async fn attempt(load: &Load, number: usize) -> Attempt {
    let begun = Instant::now();
    let to = SocketAddr::new(
        load.destinations[number % load.destinations.len()],
        load.port,
    );
    let from = (!load.sources.is_empty()).then(|| load.sources[number % load.sources.len()]);
    let asked = async {
        match load.transport {
            Transport::Udp => ask_udp(from, to).await,
            Transport::Tcp => ask_tcp(from, to).await,
        }
    };
    let ending = match timeout(stretched(load.patience), asked).await {
        Ok(Ok(seen)) => Ending::Answered(seen),
        Ok(Err(ending)) => ending,
        Err(_) => Ending::Lost,
    };
    Attempt {
        begun,
        ended: Instant::now(),
        ending,
    }
}

async fn ask_udp(from: Option<IpAddr>, to: SocketAddr) -> Result<IpAddr, Ending> {
    let open = || -> io::Result<UdpSocket> {
        let socket = fresh_socket(Type::DGRAM, from, to)?;
        socket.connect(&to.into())?;
        UdpSocket::from_std(socket.into())
    };
    let socket = open().map_err(|e| Ending::NotSent(errno(&e)))?;
    let question = wire::question(1);
    let sent = socket.send(&question).await;
    sent.map_err(|e| Ending::NotSent(errno(&e)))?;
    let mut answer = [0; wire::ANSWER];
    loop {
        let received = socket.recv(&mut answer).await;
        let length = received.map_err(|e| Ending::Refused(errno(&e)))?;
        if let Some((1, seen)) = wire::read_answer(&answer[..length]) {
            return Ok(seen);
        }
    }
}

async fn ask_tcp(from: Option<IpAddr>, to: SocketAddr) -> Result<IpAddr, Ending> {
    let open = || -> io::Result<TcpSocket> {
        let socket = fresh_socket(Type::STREAM, from, to)?;
        // Closing with a reset leaves no TIME_WAIT behind on either side, so that any number of
        // connections can be made.
        socket.set_linger(Some(Duration::ZERO))?;
        Ok(TcpSocket::from_std_stream(socket.into()))
    };
    let socket = open().map_err(|e| Ending::NotSent(errno(&e)))?;
    let connected = socket.connect(to).await;
    let mut stream = connected.map_err(|e| refusal(&e))?;
    let mut greeting = [0; wire::ANSWER];
    let read = stream.read_exact(&mut greeting).await;
    read.map_err(|e| Ending::Refused(errno(&e)))?;
    let seen = wire::read_answer(&greeting).map(|a| a.1);
    seen.ok_or(Ending::Refused(nix::libc::EPROTO))
}

/// What the own kernel refuses at once, as opposed to what somebody answered.
fn refusal(error: &io::Error) -> Ending {
    match errno(error) {
        e @ (nix::libc::ENETUNREACH
        | nix::libc::EPERM
        | nix::libc::EACCES
        | nix::libc::EADDRNOTAVAIL) => Ending::NotSent(e),
        e => Ending::Refused(e),
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(nix::libc::EIO)
}

/// A socket on a source port that was not used for a long time, so that no connection tracking
/// entry of an earlier connection decides about this one.
fn fresh_socket(kind: Type, from: Option<IpAddr>, to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), kind, None)?;
    socket.set_nonblocking(true)?;
    let any = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let mut result = Ok(());
    for _ in 0..PORT_TRIES_MAX {
        result = socket.bind(&SocketAddr::new(from.unwrap_or(any), next_port()).into());
        match &result {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
            _ => break,
        }
    }
    result.map(|()| socket)
}

/// A port that nobody here has used for a long time.
pub(crate) fn next_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let step = NEXT.fetch_add(1, Ordering::Relaxed);
    // Both parts of the sum are below 65,536.
    let port = FIRST_PORT + step % (65_536 - FIRST_PORT);
    u16::try_from(port).unwrap_or(0)
}

/// Raises the limit of open files to what the system lets us have: a busy line has a thousand
/// sockets open, and many systems start with 1,024.
pub(crate) fn allow_many_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Not fatal: attempts beyond the limit then count as not sent.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536).max(soft), hard);
    }
}

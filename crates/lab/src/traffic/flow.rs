//! One connection that lives long, as a call or a download does.

use std::{
    future, io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpSocket, TcpStream, UdpSocket},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{connections::Transport, measure::Outage, server::PORT, wire};
use crate::{addresses::Isp, netns::Netns, slowness::stretched};

/// Most questions of one flow: fifteen minutes at 100 per second. Then it falls silent.
const QUESTIONS_MAX: usize = 90_000;
/// How long a TCP connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// After a failed connection the next one is tried this much later.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// How long the last answers are waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// What kind of flow.
#[derive(Clone, Copy, Debug)]
pub struct FlowSpec {
    /// Over what.
    pub transport: Transport,
    /// Where to.
    pub destination: IpAddr,
    /// Which port.
    pub port: u16,
    /// From where; `None` leaves it to the kernel.
    pub source: Option<IpAddr>,
    /// Time between two questions.
    pub every: Duration,
    /// Whether a TCP flow that lost its connection makes another.
    pub reconnect: bool,
}

impl FlowSpec {
    /// A question each 10 ms on the usual port, with new TCP connections for lost ones.
    pub fn new(transport: Transport, destination: IpAddr) -> Self {
        Self {
            transport,
            destination,
            port: PORT,
            source: None,
            every: Duration::from_millis(10),
            reconnect: true,
        }
    }
}

/// One question of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was asked.
    pub sent: Instant,
    /// Why it could not be sent, as an error number. `ENOTCONN`: there was no connection.
    pub error: Option<i32>,
    /// When the answer came and which source the server saw.
    pub answered: Option<(Instant, IpAddr)>,
}

/// What happened to a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpEvent {
    /// It came about.
    Connected,
    /// It could not be made, with the error number.
    Refused(i32),
    /// It broke, with the error number.
    Broken(i32),
    /// The server closed it.
    Closed,
}

/// All that a flow met.
#[derive(Clone, Debug, Default)]
pub struct FlowRecord {
    /// Every question, in order.
    pub samples: Vec<Sample>,
    /// What happened to its TCP connections, in order; empty for UDP.
    pub events: Vec<(Instant, TcpEvent)>,
}

impl FlowRecord {
    /// Questions without an answer, for whatever reason.
    pub fn lost(&self) -> usize {
        self.samples.iter().filter(|s| s.answered.is_none()).count()
    }

    /// The first interruption after an instant.
    pub fn outage_since(&self, from: Instant) -> Option<Outage> {
        let later = self.samples.iter().filter(|s| s.sent >= from);
        Outage::of(later.map(|s| (s.sent, s.answered.is_some())))
    }

    /// The provider over whose line the last answered question went.
    pub fn last_isp(&self) -> Option<Isp> {
        let mut answers = self.samples.iter().rev().filter_map(|s| s.answered);
        answers.next().and_then(|(_, source)| Isp::of(source))
    }

    /// When the first question was asked, at or after an instant, that was answered over another
    /// line than this provider's.
    pub fn first_not_over(&self, isp: Isp, from: Instant) -> Option<Instant> {
        let mut later = self.samples.iter().filter(|s| s.sent >= from);
        later
            .find(|s| {
                let over = s.answered.and_then(|(_, source)| Isp::of(source));
                over.is_some_and(|i| i != isp)
            })
            .map(|s| s.sent)
    }

    /// When its TCP connection first broke after an instant.
    pub fn broken_since(&self, from: Instant) -> Option<Instant> {
        let mut later = self.events.iter().filter(|(at, _)| *at >= from);
        later
            .find(|(_, event)| matches!(event, TcpEvent::Broken(_) | TcpEvent::Closed))
            .map(|(at, _)| *at)
    }
}

/// A flow in the background. It stops when this is dropped.
#[derive(Debug)]
pub struct Flow {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    record: Mutex<FlowRecord>,
    stop: AtomicBool,
    is_abandoned: AtomicBool,
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, FlowRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self, event: TcpEvent) {
        self.record().events.push((Instant::now(), event));
    }
}

impl Flow {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no room for a thread.
    pub fn start(netns: &Netns, spec: FlowSpec) -> Result<Self> {
        ensure!(!spec.every.is_zero(), "no time between two questions");
        let shared = Arc::new(Shared::default());
        let inner = Arc::clone(&shared);
        let thread = netns.start_async(move || async move {
            drive(spec, &inner).await;
            Ok(())
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// What it met so far. The answers to the newest questions may still be on their way.
    pub fn record(&self) -> FlowRecord {
        self.shared.record().clone()
    }

    /// Waits until a question that was asked at or after an instant is answered.
    pub fn wait_for_answer(&self, from: Instant, limit: Duration) -> Option<Instant> {
        let deadline = Instant::now() + stretched(limit);
        loop {
            let found = {
                let record = self.shared.record();
                let mut newest = record.samples.iter().rev().take_while(|s| s.sent >= from);
                newest.find_map(|s| s.answered.map(|(at, _)| at))
            };
            if found.is_some() || Instant::now() >= deadline {
                return found;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Stops it without waiting for its last answers, or for its end.
    pub fn abandon(mut self) {
        self.shared.is_abandoned.store(true, Ordering::Relaxed);
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take());
    }

    /// Stops it and returns what it met.
    ///
    /// # Errors
    /// When its thread died.
    pub fn stop(mut self) -> Result<FlowRecord> {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("the flow's thread panicked"))??;
        }
        Ok(std::mem::take(&mut *self.shared.record()))
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
    None { retry: Instant },
}

impl Connection {
    async fn open(spec: &FlowSpec, shared: &Shared) -> Self {
        let failed = |error: &io::Error| {
            shared.event(TcpEvent::Refused(errno(error)));
            Self::None {
                retry: Instant::now() + RECONNECT_PAUSE,
            }
        };
        match spec.transport {
            Transport::Udp => match open_udp(spec).await {
                Ok(socket) => Self::Udp(socket),
                Err(e) => failed(&e),
            },
            Transport::Tcp => match open_tcp(spec).await {
                Ok(stream) => {
                    shared.event(TcpEvent::Connected);
                    Self::Tcp(stream)
                }
                Err(e) => failed(&e),
            },
        }
    }

    async fn readable(&self) {
        let ready = match self {
            Self::Udp(s) => s.readable().await,
            Self::Tcp(s) => s.readable().await,
            Self::None { .. } => future::pending().await,
        };
        // What is wrong will be told by the attempt to read.
        let _ = ready;
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Udp(s) => s.try_recv(buffer),
            Self::Tcp(s) => s.try_read(buffer),
            Self::None { .. } => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Udp(s) => s.try_send(bytes),
            // A question is far smaller than the least send buffer: it goes whole or not at all.
            Self::Tcp(s) => s.try_write(bytes),
            Self::None { .. } => Err(io::Error::from_raw_os_error(nix::libc::ENOTCONN)),
        }
    }
}

fn open_socket(spec: &FlowSpec, kind: Type) -> io::Result<Socket> {
    let to = SocketAddr::new(spec.destination, spec.port);
    let socket = Socket::new(Domain::for_address(to), kind, None)?;
    socket.set_nonblocking(true)?;
    if let Some(source) = spec.source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

async fn open_udp(spec: &FlowSpec) -> io::Result<UdpSocket> {
    let socket = open_socket(spec, Type::DGRAM)?;
    socket.connect(&SocketAddr::new(spec.destination, spec.port).into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    // Until it has been waited for once, tokio thinks that a socket cannot send.
    socket.writable().await?;
    Ok(socket)
}

async fn open_tcp(spec: &FlowSpec) -> io::Result<TcpStream> {
    let socket = TcpSocket::from_std_stream(open_socket(spec, Type::STREAM)?.into());
    let to = SocketAddr::new(spec.destination, spec.port);
    let stream = timeout(stretched(CONNECT_MAX), socket.connect(to)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks and listens until told to stop.
async fn drive(spec: FlowSpec, shared: &Shared) {
    let mut connection = Connection::open(&spec, shared).await;
    let mut inbox = Inbox::default();
    let mut ticks = interval(stretched(spec.every));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut end: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if end.is_some_and(|e| Instant::now() >= e) {
                    return;
                }
                if shared.is_abandoned.load(Ordering::Relaxed) {
                    return;
                }
                if end.is_none() && shared.stop.load(Ordering::Relaxed) {
                    end = Some(Instant::now() + stretched(LAST_ANSWERS));
                }
                if let Connection::None { retry } = connection
                    && (spec.reconnect || spec.transport == Transport::Udp) && end.is_none() && Instant::now() >= retry
                {
                    connection = Connection::open(&spec, shared).await;
                    inbox = Inbox::default();
                }
                if end.is_none() {
                    ask(&connection, shared);
                }
            }
            () = connection.readable() => {
                if inbox.take(&connection, shared).is_err() {
                    connection = Connection::None { retry: Instant::now() };
                }
            }
        }
    }
}

fn ask(connection: &Connection, shared: &Shared) {
    let mut record = shared.record();
    if record.samples.len() >= QUESTIONS_MAX {
        return;
    }
    // Questions are numbered from 1; 0 is the greeting of a TCP server.
    let id = u64::try_from(record.samples.len() + 1).unwrap_or(u64::MAX);
    let sent = Instant::now();
    let error = connection.try_send(&wire::question(id)).err();
    record.samples.push(Sample {
        sent,
        error: error.as_ref().map(errno),
        answered: None,
    });
}

/// Bytes of an answer that has not come whole.
#[derive(Default)]
struct Inbox(Vec<u8>);

/// The connection is no more.
struct Gone;

impl Inbox {
    fn take(&mut self, connection: &Connection, shared: &Shared) -> Result<(), Gone> {
        let mut buffer = [0; 4096];
        loop {
            match (connection.try_receive(&mut buffer), connection) {
                (Ok(0), Connection::Tcp(_)) => {
                    shared.event(TcpEvent::Closed);
                    return Err(Gone);
                }
                (Ok(length), _) => self.read(&buffer[..length], shared),
                (Err(e), _) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                (Err(e), Connection::Tcp(_)) => {
                    shared.event(TcpEvent::Broken(errno(&e)));
                    return Err(Gone);
                }
                // A router or host said that a datagram did not arrive. The next one may.
                (Err(_), _) => return Ok(()),
            }
        }
    }

    fn read(&mut self, bytes: &[u8], shared: &Shared) {
        let now = Instant::now();
        self.0.extend_from_slice(bytes);
        let mut record = shared.record();
        let whole = self.0.len() / wire::ANSWER * wire::ANSWER;
        for answer in self.0[..whole].chunks_exact(wire::ANSWER) {
            let Some((id, source)) = wire::read_answer(answer) else {
                continue;
            };
            let index = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
            if let Some(sample) = index.and_then(|i| record.samples.get_mut(i)) {
                sample.answered.get_or_insert((now, source));
            }
        }
        self.0.drain(..whole);
    }
}

fn errno(error: &io::Error) -> i32 {
    // These two come from tokio, without a number.
    let own = if error.kind() == io::ErrorKind::WouldBlock {
        nix::libc::EAGAIN
    } else {
        nix::libc::ETIMEDOUT
    };
    error.raw_os_error().unwrap_or(own)
}

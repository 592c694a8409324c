//! A source of UDP packets whose every microsecond is accounted for.
//!
//! Over a veth a packet is carried to its end by whoever sends it: `sendmmsg` returns when the
//! router has forwarded the packet and the provider has counted it. The processor time of the
//! sending thread is therefore the cost of the whole way, and time during which others had the
//! processor does not count. What the sender itself costs is measured by the same packets against a
//! router that drops them at its door, and taken off.

use std::{
    io::IoSlice,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

/// Packets of one system call.
const BATCH: usize = 64;
/// What a packet carries: small, so that the work for a packet counts and not its bytes.
const PAYLOAD: [u8; 18] = [0; 18];
/// New connections go to this port and the following ones, each to another.
const FIRST_PORT: u16 = 10_000;
/// From one destination to the next, so that a few hundred packets already go everywhere. A prime, so
/// that all destinations have their turn.
const LEAP: usize = 7919;
/// So many ports are used before the first comes again.
const PORTS: usize = 50_000;

/// What is sent.
#[derive(Clone, Debug)]
pub(super) enum Stream {
    /// One long flow.
    Established(SocketAddr),
    /// Every packet a connection of its own: these addresses in turn, each time another port.
    New(Vec<IpAddr>),
}

/// What a burst of packets took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    pub(super) packets: usize,
    /// Processor time of the sending thread, which is that of the whole way.
    pub(super) work: Duration,
}

impl Burst {
    /// The work for one packet, in nanoseconds.
    pub(super) fn nanoseconds(&self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a burst has some thousand packets"
        )]
        let packets = self.packets.max(1) as f64;
        self.work.as_secs_f64() * 1e9 / packets
    }
}

/// A socket in the namespace of the thread that made it.
pub(super) struct Generator {
    socket: UdpSocket,
    stream: Stream,
    /// How many packets were sent, by which the next destination is found.
    sent: usize,
}

impl Generator {
    /// Makes the socket here and now; packets can be sent from any thread.
    ///
    /// # Errors
    /// When there is no such source address here.
    pub(super) fn new(source: SocketAddr, stream: Stream) -> Result<Self> {
        let socket =
            UdpSocket::bind(source).with_context(|| format!("cannot send from {source}"))?;
        match &stream {
            Stream::Established(to) => socket
                .connect(to)
                .with_context(|| format!("cannot send to {to}"))?,
            Stream::New(addresses) => ensure!(!addresses.is_empty(), "there is nobody to send to"),
        }
        Ok(Self {
            socket,
            stream,
            sent: 0,
        })
    }

    /// Sends so many packets, rounded up to whole batches, as fast as they go.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub(super) fn send(&mut self, packets: usize) -> Result<Burst> {
        let batches = packets.div_ceil(BATCH);
        let destinations: Vec<_> = (0..batches).map(|_| self.next_destinations()).collect();
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        let payload = [IoSlice::new(&PAYLOAD)];
        let payloads = [&payload; BATCH];
        let work = work_done()?;
        for batch in &destinations {
            let fd = self.socket.as_raw_fd();
            let flags = MsgFlags::MSG_DONTWAIT;
            let results =
                sendmmsg(fd, &mut headers, payloads, batch, [], flags).context("cannot send")?;
            ensure!(results.count() == BATCH, "the socket's buffer is too small");
        }
        Ok(Burst {
            packets: batches * BATCH,
            work: work_done()?.saturating_sub(work),
        })
    }

    fn next_destinations(&mut self) -> [Option<SockaddrStorage>; BATCH] {
        std::array::from_fn(|_| {
            let number = self.sent;
            self.sent += 1;
            match &self.stream {
                Stream::Established(_) => None,
                Stream::New(addresses) => {
                    // Each round of all addresses has a port of its own, so that no two packets of
                    // `addresses * PORTS` belong to one connection.
                    let (round, place) = (number / addresses.len(), number % addresses.len());
                    let address = place * LEAP % addresses.len();
                    // Below PORTS, so it fits.
                    let port = FIRST_PORT + u16::try_from(round % PORTS).unwrap_or(0);
                    Some(SocketAddr::new(addresses[address], port).into())
                }
            }
        })
    }
}

/// Keeps the calling thread on the last processor it may use, so that a burst is not carried from
/// one to the other.
///
/// # Errors
/// When the kernel does not let us.
pub(super) fn stay_on_one_processor() -> Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let last = (0..CpuSet::count())
        .rev()
        .find(|n| allowed.is_set(*n).unwrap_or(false))
        .context("there is no processor")?;
    let mut one = CpuSet::new();
    one.set(last)?;
    sched_setaffinity(this, &one).context("cannot stay on one processor")
}

/// The processor time of this thread.
fn work_done() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

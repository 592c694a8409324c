//! Somebody in the internet who sees which packet came over which line.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    libc,
    sys::socket::{LinkAddr, recvfrom},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    packet::{Fate, Sent, Sign},
    wire,
};
use crate::{addresses::Isp, plumbing::Plumber, slowness::stretched, topology::Lab};

/// `ETH_P_ALL`, in the order of the network.
const ALL_PROTOCOLS: i32 = 0x0300;
/// How much of a packet is looked at.
const SNAP: usize = 256;
/// How soon the witness notices that it shall stop.
const STOP_LATENCY: Duration = Duration::from_millis(50);
/// How long a packet that somebody refused may still turn up: what refuses it may be its receiver.
const REFUSED_AFTER_ALL: Duration = Duration::from_millis(30);
const TCP: u8 = 6;

/// A packet as it came out of a provider's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whose.
    pub isp: Isp,
    /// From where, as the internet sees it.
    pub source: IpAddr,
    /// Where to.
    pub destination: IpAddr,
    /// Its protocol.
    pub protocol: u8,
    /// Its differentiated services code point.
    pub dscp: u8,
}

type Record = BTreeMap<Sign, Seen>;

/// Sees all packets of the laboratory that come to the internet. It stops when this is dropped.
#[derive(Debug)]
pub struct Witness {
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Witness {
    /// Begins to look.
    ///
    /// # Errors
    /// When there is no such socket for us.
    pub fn start(lab: &Lab) -> Result<Self> {
        let mut plumber = Plumber::new(lab.internet())?;
        let lines = lab
            .isps()
            .map(|isp| Ok((plumber.index(&isp.to_string())?, isp)))
            .collect::<Result<BTreeMap<u32, Isp>>>()?;
        let socket = lab.internet().run(|| {
            let protocol = Some(Protocol::from(ALL_PROTOCOLS));
            let socket = Socket::new(Domain::PACKET, Type::DGRAM, protocol)
                .context("cannot open a packet socket")?;
            socket.set_read_timeout(Some(STOP_LATENCY))?;
            // As much as the system allows; bursts are short.
            let _ = socket.set_recv_buffer_size(8 << 20);
            Ok(socket)
        })?;
        let record = Arc::new(Mutex::new(Record::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (Arc::clone(&record), Arc::clone(&stop));
        let thread = lab.internet().start(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Some((sign, seen)) = next(&socket, &lines)? {
                    // A repeated packet is not a new one.
                    lock(&kept).entry(sign).or_insert(seen);
                }
            }
            Ok(())
        })?;
        Ok(Self {
            record,
            stop,
            thread: Some(thread),
        })
    }

    /// What became of packets, in their order. One that is neither seen nor refused within
    /// `patience` has vanished.
    pub fn fates(&self, sent: &[Sent], patience: Duration) -> Vec<Fate> {
        let deadline = Instant::now() + stretched(patience);
        let mut fates = vec![None; sent.len()];
        loop {
            for (fate, sent) in fates.iter_mut().zip(sent) {
                if fate.is_none() {
                    *fate = self.fate(sent);
                }
            }
            if fates.iter().all(Option::is_some) || Instant::now() >= deadline {
                return fates
                    .into_iter()
                    .map(|f| f.unwrap_or(Fate::Vanished))
                    .collect();
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// How a packet looked.
    pub fn seen(&self, sent: &Sent) -> Option<Seen> {
        lock(&self.record).get(&sent.sign).copied()
    }

    fn fate(&self, sent: &Sent) -> Option<Fate> {
        let over = || self.seen(sent).map(|s| Fate::Over(s.isp, s.source));
        if let Some(fate) = over() {
            return Some(fate);
        }
        let told = || sent.socket.as_ref()?.take_error().ok()??.raw_os_error();
        let error = sent.error.or_else(told)?;
        thread::sleep(stretched(REFUSED_AFTER_ALL));
        Some(over().unwrap_or(Fate::Refused(error)))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next packet, if it came over a line and bears a sign.
fn next(socket: &Socket, lines: &BTreeMap<u32, Isp>) -> io::Result<Option<(Sign, Seen)>> {
    let mut buffer = [0; SNAP];
    let (length, from) = match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
        Ok(received) => received,
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let incoming = from.filter(|link| link.pkttype() != libc::PACKET_OUTGOING);
    let line = incoming.and_then(|link| lines.get(&u32::try_from(link.ifindex()).ok()?));
    Ok(line.and_then(|isp| read(&buffer[..length.min(SNAP)], *isp)))
}

fn read(packet: &[u8], isp: Isp) -> Option<(Sign, Seen)> {
    let (source, destination, protocol, class, body) = match packet.first()? >> 4 {
        4 => {
            let start = usize::from(packet[0] & 0xf) * 4;
            let address = |at: usize| -> Option<IpAddr> {
                let octets: [u8; 4] = *packet.get(at..)?.first_chunk()?;
                Some(Ipv4Addr::from(octets).into())
            };
            let protocol = *packet.get(9)?;
            (
                address(12)?,
                address(16)?,
                protocol,
                packet[1],
                packet.get(start..)?,
            )
        }
        6 => {
            let address = |at: usize| -> Option<IpAddr> {
                let octets: [u8; 16] = *packet.get(at..)?.first_chunk()?;
                Some(Ipv6Addr::from(octets).into())
            };
            let class = (packet[0] << 4) | (packet.get(1)? >> 4);
            (
                address(8)?,
                address(24)?,
                *packet.get(6)?,
                class,
                packet.get(40..)?,
            )
        }
        _ => return None,
    };
    let sign = match protocol {
        TCP => handshake(destination, body)?,
        _ => Sign::Number(wire::find_number(body)?),
    };
    let seen = Seen {
        isp,
        source,
        destination,
        protocol,
        dscp: class >> 2,
    };
    Some((sign, seen))
}

/// A packet with SYN and without ACK.
fn handshake(to: IpAddr, header: &[u8]) -> Option<Sign> {
    let port = |at: usize| Some(u16::from_be_bytes(*header.get(at..)?.first_chunk()?));
    let flags = header.get(13)? & 0x12;
    (flags == 2).then_some(Sign::Handshake {
        to: SocketAddr::new(to, port(2)?),
        source_port: port(0)?,
    })
}

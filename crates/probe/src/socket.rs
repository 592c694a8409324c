//! One ICMP socket, bound to one device, with its probes under way.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::{
        socket::{
            ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, setsockopt,
            sockopt,
        },
        time::TimeSpec,
    },
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};
use uplinkd_model::Family;

use crate::{
    outstanding::{Outstanding, Sent, Stamp, rtt},
    packet::{self, Echo},
    prober::Reply,
};

/// Packets taken with one system call. Usually there is one.
const BATCH: usize = 16;
/// Calls in a row before other work gets its turn, so that a flood cannot hold the daemon.
const BATCHES_MAX: usize = 16;
/// The longest IPv4 header and our packet, with room to notice one that is too long.
const BUFFER: usize = 128;
/// Errors in a row, with nothing read in between, after which a socket is given up.
const ERRORS_MAX: u32 = 3;

/// Which way a socket gets its echoes; both are bound and marked alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The kernel sets the identifier and delivers only answers to it. Needs our group to be in
    /// `net.ipv4.ping_group_range`, whatever capabilities we have.
    Ping,
    /// Every ICMP packet of the device, so that a filter leaves only answers. Needs CAP_NET_RAW.
    Raw,
}

/// What a socket is for; when any of it changes, it is opened anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) family: Family,
    pub(crate) device: String,
    /// The kernel binds to the index, not to the name: a device that was made anew under the old
    /// name has another one, and the old socket would be silent for ever.
    pub(crate) ifindex: u32,
    pub(crate) mark: Option<u32>,
}

/// A socket and what was sent by it.
#[derive(Debug)]
pub(crate) struct EchoSocket {
    pub(crate) binding: Binding,
    fd: AsyncFd<Socket>,
    inbox: Inbox,
}

impl EchoSocket {
    /// Opens a socket. `ident` only matters to raw sockets; the kernel gives ping sockets theirs.
    pub(crate) fn open(binding: Binding, ident: u16) -> io::Result<Self> {
        let (kind, socket) = match open_kind(Kind::Ping, &binding, ident) {
            Ok(socket) => (Kind::Ping, socket),
            // EACCES is the group range, which even root is subject to. Whatever it was, what the
            // raw socket says is the better explanation.
            Err(_) => (Kind::Raw, open_kind(Kind::Raw, &binding, ident)?),
        };
        Ok(Self {
            inbox: Inbox {
                family: binding.family,
                kind,
                ident,
                outstanding: Outstanding::default(),
                errors_in_a_row: 0,
            },
            binding,
            fd: watch(socket)?,
        })
    }

    /// Whether the next probe needs a new socket, since reading from this one fails.
    pub(crate) fn is_broken(&self) -> bool {
        self.inbox.is_broken()
    }

    /// Whether it can be used for this. The kernel is asked what the device that it is bound to is called
    /// now: that is one call, where looking up the index of the name takes three.
    pub(crate) fn is_current(&self, device: &str, mark: Option<u32>) -> bool {
        let is_same = self.binding.device == device && self.binding.mark == mark;
        let is_bound = || {
            let name = self.fd.get_ref().device();
            name.is_ok_and(|name| name.as_deref() == Some(device.as_bytes()))
        };
        is_same && !self.is_broken() && is_bound()
    }

    /// Sends one echo request and remembers it.
    pub(crate) fn send(&mut self, id: u64, target: IpAddr, token: u64) -> io::Result<()> {
        let echo = Echo {
            ident: self.inbox.ident,
            sequence: self.inbox.outstanding.next(),
            token,
        };
        let bytes = packet::request(self.binding.family, echo);
        let to = socket_address(target, self.binding.ifindex);
        let at = Stamp::now();
        self.fd.get_ref().send_to(&bytes, &to.into())?;
        self.inbox.outstanding.push(Sent {
            id,
            target,
            token,
            at,
        });
        Ok(())
    }

    /// Takes what is there, without waiting.
    pub(crate) fn drain(&mut self, found: &mut Vec<Reply>) {
        for _ in 0..BATCHES_MAX {
            if self.inbox.receive(self.fd.get_ref(), found) == Received::All {
                return;
            }
        }
    }

    /// Takes what is there and arranges to be woken for more. True where it stopped before the end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, found: &mut Vec<Reply>) -> bool {
        for _ in 0..BATCHES_MAX {
            // An error means that the runtime is shutting down.
            let Poll::Ready(Ok(mut guard)) = self.fd.poll_read_ready(cx) else {
                return false;
            };
            if self.inbox.receive(guard.get_inner(), found) == Received::All {
                guard.clear_ready();
            }
        }
        true
    }
}

impl AsFd for EchoSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }
}

/// Turns what arrives into replies.
#[derive(Debug)]
struct Inbox {
    family: Family,
    kind: Kind,
    ident: u16,
    outstanding: Outstanding,
    errors_in_a_row: u32,
}

/// How much a look at a socket took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    /// All there was.
    All,
    /// As much as one call takes; there may be more.
    Batch,
}

impl Inbox {
    fn is_broken(&self) -> bool {
        self.errors_in_a_row >= ERRORS_MAX
    }

    fn receive(&mut self, socket: &Socket, found: &mut Vec<Reply>) -> Received {
        let now = Instant::now();
        match receive_batch(socket, |bytes, source, stamp| {
            found.extend(self.accept(bytes, source, stamp, now));
        }) {
            Ok(received) => {
                self.errors_in_a_row = 0;
                received
            }
            Err(Errno::EAGAIN) => Received::All,
            Err(Errno::EINTR) => Received::Batch,
            // An error that was waiting on the socket is gone once it was reported; only one that
            // comes back again and again means that the socket is of no use any more.
            Err(_) => {
                self.errors_in_a_row = self.errors_in_a_row.saturating_add(1);
                if self.is_broken() {
                    Received::All
                } else {
                    Received::Batch
                }
            }
        }
    }

    fn accept(
        &mut self,
        bytes: &[u8],
        source: IpAddr,
        stamp: Option<SystemTime>,
        now: Instant,
    ) -> Option<Reply> {
        let message = match (self.kind, self.family) {
            (Kind::Raw, Family::V4) => packet::strip_ipv4_header(bytes)?,
            (Kind::Raw, Family::V6) | (Kind::Ping, Family::V4 | Family::V6) => bytes,
        };
        let echo = packet::reply(self.family, message)?;
        if self.kind == Kind::Raw && echo.ident != self.ident {
            return None;
        }
        let sent = self.outstanding.take(echo.sequence, source, echo.token)?;
        Some(Reply {
            id: sent.id,
            rtt: rtt(sent.at, stamp, now),
        })
    }
}

/// Puts a socket under the runtime's eyes.
#[expect(
    deprecated,
    reason = "its successor is unsafe, for types that do not own the descriptor they name; a Socket does"
)]
pub(crate) fn watch(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

fn open_kind(kind: Kind, binding: &Binding, ident: u16) -> io::Result<Socket> {
    let (domain, protocol) = match binding.family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket_type = match kind {
        Kind::Ping => Type::DGRAM,
        Kind::Raw => Type::RAW,
    };
    // SOCK_CLOEXEC and SOCK_NONBLOCK: `nft` and hooks must not inherit it.
    let socket = Socket::new(domain, socket_type.nonblocking(), Some(protocol))?;
    if kind == Kind::Raw {
        socket.attach_filter(&only_replies(binding.family, ident))?;
    }
    socket.bind_device(Some(binding.device.as_bytes()))?;
    if let Some(mark) = binding.mark {
        socket.set_mark(mark)?;
    }
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    // IP_RECVERR stays off on purpose: without it, "unreachable" and the like from routers on the
    // way neither fill an error queue nor fail the next call, and to us they are plain silence.
    Ok(socket)
}

/// A filter in the kernel that lets through echo replies with our identifier, so that the other
/// ICMP packets of the device do not wake us. What passes is checked again all the same.
fn only_replies(family: Family, ident: u16) -> Vec<SockFilter> {
    let op = |code: u16, jump_true: u8, jump_false: u8, k: u32| {
        SockFilter::new(code, jump_true, jump_false, k)
    };
    const LOAD_IP_HEADER_LENGTH_INTO_X: u16 = 0xb1;
    const LOAD_BYTE_AT_X: u16 = 0x50;
    const LOAD_HALF_AT_X: u16 = 0x48;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    // Raw IPv4 sockets see the IP header, raw IPv6 sockets do not; X starts as zero.
    let (header, reply) = match family {
        Family::V4 => (Some(op(LOAD_IP_HEADER_LENGTH_INTO_X, 0, 0, 0)), 0),
        Family::V6 => (None, 129),
    };
    header
        .into_iter()
        .chain([
            op(LOAD_BYTE_AT_X, 0, 0, 0),
            op(JUMP_IF_EQUAL, 0, 3, reply),
            op(LOAD_HALF_AT_X, 0, 0, 4),
            op(JUMP_IF_EQUAL, 0, 1, u32::from(ident)),
            op(RETURN, 0, 0, u32::MAX),
            op(RETURN, 0, 0, 0),
        ])
        .collect()
}

fn receive_batch(
    socket: &Socket,
    mut take: impl FnMut(&[u8], IpAddr, Option<SystemTime>),
) -> nix::Result<Received> {
    // Made anew each time: the kernel shortens the lengths in it to what it used, and the next call
    // would find no room for the stamp.
    let mut headers =
        MultiHeaders::<SockaddrStorage>::preallocate(BATCH, Some(cmsg_space!(TimeSpec)));
    let mut buffers = [[0; BUFFER]; BATCH];
    let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffers
        .iter_mut()
        .map(|buffer| [IoSliceMut::new(buffer)])
        .collect();
    let messages = recvmmsg(
        socket.as_raw_fd(),
        &mut headers,
        slices.iter_mut(),
        MsgFlags::MSG_DONTWAIT,
        None,
    )?;
    let mut count = 0;
    for message in messages {
        count += 1;
        let stamp = message.cmsgs().ok().and_then(|mut all| all.find_map(stamp));
        let source = message.address.as_ref().and_then(ip_address);
        if let (Some(bytes), Some(source)) = (message.iovs().next(), source) {
            take(bytes, source, stamp);
        }
    }
    Ok(if count < BATCH {
        Received::All
    } else {
        Received::Batch
    })
}

fn stamp(message: ControlMessageOwned) -> Option<SystemTime> {
    if let ControlMessageOwned::ScmTimestampns(time) = message {
        let seconds = u64::try_from(time.tv_sec()).ok()?;
        let nanoseconds = u32::try_from(time.tv_nsec()).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
    } else {
        None
    }
}

fn ip_address(address: &SockaddrStorage) -> Option<IpAddr> {
    address
        .as_sockaddr_in()
        .map(|v4| IpAddr::V4(v4.ip()))
        .or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// A link-local IPv6 address means nothing without its interface.
fn socket_address(target: IpAddr, ifindex: u32) -> SocketAddr {
    match target {
        IpAddr::V6(v6) => {
            let scope = if is_link_local(v6) { ifindex } else { 0 };
            SocketAddrV6::new(v6, 0, 0, scope).into()
        }
        IpAddr::V4(_) => SocketAddr::new(target, 0),
    }
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

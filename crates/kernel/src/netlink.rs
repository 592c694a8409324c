//! A thin transport for netlink: many messages in one datagram, an answer for each, and the kernel's
//! own words where it refuses.
//!
//! Here lives what all users of netlink share; what the messages mean is in `encode` and `decode`.
//! Start with [`Socket::request`] (change something), [`Socket::dump`] (read everything of a kind)
//! and [`Socket::ask`] (read one thing). A socket serves one user at a time: the kernel answers a
//! second dump on it with `EBUSY`, which `&mut self` rules out.

mod message;
mod reply;
mod transaction;

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use netlink_sys::SocketAddr;
use nix::{
    libc,
    sys::{
        socket::{setsockopt, sockopt},
        time::TimeVal,
    },
};
use socket2::{SockFilter, SockRef};

pub use message::{Message, flags, nest, put};
pub use reply::{Attributes, Frame, Frames, KernelError, Reply, find};
pub(crate) use reply::{text, u16_at, u32_at};

use reply::{MESSAGE_DONE, MESSAGE_ERROR, verdict};

/// Room for one datagram. The kernel fills dumps up to 32 KiB; single messages (a link with many
/// virtual functions) can be larger. What does not fit is an error (`EMSGSIZE`), never cut silently.
const DATAGRAM_MAX: usize = 256 * 1024;
/// Most messages in one datagram. Their acknowledgements, about 1 KiB of kernel memory each, must
/// fit into the receive buffer that an unprivileged socket gets (208 KiB, counted twice), since
/// they all come before `send` returns; when they do not, the kernel drops some and says `ENOBUFS`.
const BATCH_MESSAGES_MAX: usize = 200;
/// Most bytes in one datagram, for the same reason: an error may carry its request back.
const BATCH_BYTES_MAX: usize = 32 * 1024;
/// How often a dump is repeated that somebody's change interrupted. Under a permanent storm of
/// changes the caller gets `EAGAIN` and can try later.
const DUMP_TRIES_MAX: usize = 10;
/// The receive buffer that is asked for: thousands of events.
const RECEIVE_BUFFER: usize = 8 << 20;
/// How long an answer may take. The kernel answers inside `send`, so this only bounds the wait for
/// an answer that was lost (`ENOBUFS`); then the caller gets `EAGAIN`.
const ANSWER_WAIT_SECONDS: i64 = 10;

/// The netlink families that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes, rules, nexthops (`NETLINK_ROUTE`).
    Route,
    /// Connection tracking and nftables (`NETLINK_NETFILTER`).
    Netfilter,
}

impl Protocol {
    fn number(self) -> isize {
        match self {
            Self::Route => 0,
            Self::Netfilter => 12,
        }
    }
}

/// A netlink socket, talking to the kernel of the network namespace that it was opened in.
#[derive(Debug)]
pub struct Socket {
    inner: netlink_sys::Socket,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket with extended acknowledgements and, for routes, strict checking, without
    /// which the kernel ignores the filters of a dump.
    ///
    /// # Errors
    /// When the kernel does not know one of these (older than 4.20) or has no room for a socket.
    pub fn open(protocol: Protocol) -> io::Result<Self> {
        let mut inner = netlink_sys::Socket::new(protocol.number())?;
        let port = inner.bind_auto()?.port_number();
        // The kernel is port 0. Being connected to it, we cannot be told lies by another process.
        inner.connect(&SocketAddr::new(0, 0))?;
        inner.set_ext_ack(true)?;
        inner.set_cap_ack(true)?;
        if protocol == Protocol::Route {
            inner.set_netlink_get_strict_chk(true)?;
        }
        // Beyond the system's limit only root may go; what everybody gets is enough for requests.
        if setsockopt(&inner, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&inner, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        let wait = TimeVal::new(ANSWER_WAIT_SECONDS, 0);
        setsockopt(&inner, sockopt::ReceiveTimeout, &wait)?;
        Ok(Self {
            inner,
            port,
            sequence: 1,
            buffer: Vec::with_capacity(DATAGRAM_MAX),
        })
    }

    /// The socket's own address. Multicast messages about changes made through this socket carry it.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Subscribes to a multicast group.
    ///
    /// # Errors
    /// When the kernel has no such group.
    pub fn join(&self, group: u32) -> io::Result<()> {
        self.inner.add_membership(group)
    }

    /// Lets only those datagrams in that a filter program passes (`SO_ATTACH_FILTER`).
    ///
    /// # Errors
    /// When the kernel does not take the program.
    pub fn sift(&self, program: &[SockFilter]) -> io::Result<()> {
        SockRef::from(&self.inner).attach_filter(program)
    }

    /// Lets [`Self::receive`] return `WouldBlock` at once instead of waiting.
    ///
    /// # Errors
    /// When the descriptor is no longer a socket, which cannot happen while `self` owns it.
    pub fn set_non_blocking(&self, non_blocking: bool) -> io::Result<()> {
        self.inner.set_non_blocking(non_blocking)
    }

    /// Reads one datagram; iterate over it with [`Frames`].
    ///
    /// # Errors
    /// `ENOBUFS` when the kernel had to drop messages: then everything must be read again.
    pub fn receive(&mut self) -> io::Result<&[u8]> {
        self.buffer.clear();
        let length = loop {
            match self.inner.recv(&mut self.buffer, libc::MSG_TRUNC) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if length > self.buffer.len() {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        Ok(&self.buffer)
    }

    /// Sends messages in one datagram (several when there are very many) and returns what became of
    /// each, in order. This is not a transaction: what follows a refused message is still tried.
    ///
    /// # Errors
    /// Only when the talk itself breaks down; then nobody knows which messages took effect.
    pub fn request(
        &mut self,
        messages: &[Message],
    ) -> Result<Vec<Result<(), KernelError>>, KernelError> {
        let mut results = Vec::with_capacity(messages.len());
        let mut rest = messages;
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_length(rest));
            results.append(&mut self.exchange(batch)?);
            rest = later;
        }
        Ok(results)
    }

    fn exchange(&mut self, batch: &[Message]) -> Result<Vec<Result<(), KernelError>>, KernelError> {
        let first = self.send(batch, flags::REQUEST | flags::ACK)?;
        let mut results: Vec<Option<Result<(), KernelError>>> = vec![None; batch.len()];
        let mut missing = batch.len();
        while missing > 0 {
            for frame in Frames(self.receive()?) {
                let index =
                    usize::try_from(frame.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                let Some(slot @ None) = results.get_mut(index) else {
                    continue; // An answer to an earlier talk that broke down.
                };
                if frame.kind == MESSAGE_ERROR {
                    *slot = Some(verdict(&frame));
                    missing -= 1;
                }
            }
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// Sends one message and waits until it has been done.
    ///
    /// # Errors
    /// What the kernel says against it.
    pub fn one(&mut self, message: Message) -> Result<(), KernelError> {
        self.request(&[message])?.into_iter().collect()
    }

    /// Reads all objects that a GET message describes. A dump during which the objects changed is
    /// inconsistent (`NLM_F_DUMP_INTR`) and is done again, a bounded number of times.
    ///
    /// # Errors
    /// What the kernel says against it, or `EAGAIN` when changes never stopped.
    pub fn dump(&mut self, message: Message) -> Result<Vec<Reply>, KernelError> {
        self.dump_matching(message, |_| true)
    }

    /// As [`Self::dump`], but copies only the objects that are wanted out of the kernel's datagrams,
    /// for what the kernel cannot filter: a table may hold 100,000 routes of others.
    ///
    /// # Errors
    /// As [`Self::dump`].
    pub fn dump_matching(
        &mut self,
        message: Message,
        mut wanted: impl FnMut(&Frame<'_>) -> bool,
    ) -> Result<Vec<Reply>, KernelError> {
        let batch = [message];
        for _ in 0..DUMP_TRIES_MAX {
            let sequence = self.send(&batch, flags::REQUEST | flags::DUMP)?;
            if let Some(replies) = self.collect(sequence, &mut wanted)? {
                return Ok(replies);
            }
        }
        Err(KernelError {
            text: Some("the objects kept changing while they were listed".to_owned()),
            ..KernelError::from_errno(libc::EAGAIN)
        })
    }

    /// The replies of a dump; none when it was interrupted.
    fn collect(
        &mut self,
        sequence: u32,
        mut wanted: impl FnMut(&Frame<'_>) -> bool,
    ) -> Result<Option<Vec<Reply>>, KernelError> {
        let mut replies = Vec::new();
        let mut interrupted = false;
        loop {
            for frame in Frames(self.receive()?) {
                if frame.sequence != sequence {
                    continue;
                }
                interrupted |= frame.flags & flags::DUMP_INTR != 0;
                if frame.kind == MESSAGE_ERROR || frame.kind == MESSAGE_DONE {
                    verdict(&frame)?;
                    return Ok((!interrupted).then_some(replies));
                }
                if wanted(&frame) {
                    replies.push(frame.to_reply());
                }
            }
        }
    }

    /// Asks for one thing (a GET without `DUMP`).
    ///
    /// # Errors
    /// What the kernel says against it, such as `ENOENT`.
    pub fn ask(&mut self, message: Message) -> Result<Reply, KernelError> {
        let sequence = self.send(&[message], flags::REQUEST)?;
        loop {
            for frame in Frames(self.receive()?) {
                if frame.sequence != sequence {
                    continue;
                }
                if frame.kind != MESSAGE_ERROR {
                    return Ok(frame.to_reply());
                }
                verdict(&frame)?;
            }
        }
    }

    /// Sends messages in one datagram and returns the sequence number of the first.
    fn send(&mut self, batch: &[Message], extra_flags: u16) -> io::Result<u32> {
        let first = self.sequence;
        let mut datagram = Vec::new();
        for message in batch {
            message.write(&mut datagram, extra_flags, self.sequence);
            self.sequence = self.sequence.wrapping_add(1);
        }
        let sent = self.inner.send(&datagram, 0)?;
        if sent != datagram.len() {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        Ok(first)
    }
}

/// How many of the messages go into the next datagram; at least one.
fn batch_length(messages: &[Message]) -> usize {
    let mut bytes = 0;
    messages
        .iter()
        .take(BATCH_MESSAGES_MAX)
        .take_while(|m| {
            bytes += m.length();
            bytes <= BATCH_BYTES_MAX
        })
        .count()
        .max(1)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

#[cfg(test)]
mod tests;

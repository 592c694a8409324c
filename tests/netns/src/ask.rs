//! Single connections that a test holds in its hand: opened with a source, a port or a mark of its
//! choice, asked again and again.
//!
//! They speak the laboratory's echo protocol: each answer tells which source the far end saw, and
//! so which uplink carried the question.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::libc;
use socket2::{Domain, Socket, Type};
use uplinkd_lab::{
    Isp, Netns, stretched,
    traffic::{Guise, PORT, Transport, wire},
};

/// How long an answer is waited for by default. Here it takes well below a millisecond.
pub const PATIENCE: Duration = Duration::from_millis(800);

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// The far end answered; it saw this source.
    Seen(IpAddr),
    /// Nothing came in time.
    Lost,
    /// An error, by its number.
    Failed(i32),
}

impl Answer {
    /// The provider whose address the far end saw.
    pub fn isp(self) -> Option<Isp> {
        match self {
            Self::Seen(source) => Isp::of(source),
            Self::Lost | Self::Failed(_) => None,
        }
    }

    /// Whether there was one.
    pub fn is_seen(self) -> bool {
        matches!(self, Self::Seen(_))
    }
}

/// How a connection is made.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    transport: Transport,
    to: SocketAddr,
    from: SocketAddr,
    guise: Guise,
}

impl Ask {
    /// A connection to the usual port of an address, with nothing else chosen.
    pub fn new(transport: Transport, to: IpAddr) -> Self {
        let any = match to {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self {
            transport,
            to: SocketAddr::new(to, PORT),
            from: SocketAddr::new(any, 0),
            guise: Guise::default(),
        }
    }

    /// To another port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.to.set_port(port);
        self
    }

    /// From an address.
    #[must_use]
    pub fn from(mut self, address: IpAddr) -> Self {
        self.from.set_ip(address);
        self
    }

    /// From a port, also one that was used a moment ago.
    #[must_use]
    pub fn from_port(mut self, port: u16) -> Self {
        self.from.set_port(port);
        self
    }

    /// With a mark on the socket (`SO_MARK`).
    #[must_use]
    pub fn marked(mut self, mark: u32) -> Self {
        self.guise.mark = Some(mark);
        self
    }

    /// As somebody.
    #[must_use]
    pub fn guise(mut self, guise: Guise) -> Self {
        self.guise = guise;
        self
    }

    /// Opens it. A TCP connection that cannot be made is told by the first question.
    ///
    /// # Errors
    /// When there is no such socket for us.
    pub fn open(self, netns: &Netns) -> Result<Conversation> {
        netns.run(|| Ok(self.open_here()?))
    }

    fn open_here(self) -> io::Result<Conversation> {
        let kind = match self.transport {
            Transport::Udp => Type::DGRAM,
            Transport::Tcp => Type::STREAM,
        };
        let socket = self
            .guise
            .socket(Domain::for_address(self.to), kind, None)?;
        if self.transport == Transport::Tcp {
            socket.set_reuse_address(true)?;
            // Closed with a reset: the port is free at once.
            socket.set_linger(Some(Duration::ZERO))?;
            socket.set_tcp_nodelay(true)?;
        }
        socket.bind(&self.from.into())?;
        let mut conversation = Conversation {
            transport: self.transport,
            socket,
            unread: Vec::new(),
            asked: 0,
            broken: None,
        };
        let connected = match self.transport {
            Transport::Udp => conversation.socket.connect(&self.to.into()),
            Transport::Tcp => conversation
                .socket
                .connect_timeout(&self.to.into(), stretched(PATIENCE)),
        };
        match connected {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                conversation.broken = Some(Answer::Lost);
            }
            Err(e) => conversation.broken = Some(Answer::Failed(errno(&e))),
        }
        Ok(conversation)
    }

    /// Opens it, asks one question and closes it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn once(self, netns: &Netns) -> Result<Answer> {
        Ok(self.open(netns)?.ask())
    }
}

/// Opens many connections, on one thread.
///
/// # Errors
/// As [`Ask::open`].
pub fn open_all(
    netns: &Netns,
    asks: impl IntoIterator<Item = Ask> + Send,
) -> Result<Vec<Conversation>> {
    netns.run(|| {
        asks.into_iter()
            .map(|ask| {
                ask.open_here()
                    .with_context(|| format!("cannot open {ask:?}"))
            })
            .collect()
    })
}

/// Asks on each of them, all at once, and waits for the answers, in the same order.
pub fn ask_all(conversations: &mut [Conversation]) -> Vec<Answer> {
    let deadline = Instant::now() + stretched(PATIENCE);
    let sent: Vec<_> = conversations.iter_mut().map(Conversation::say).collect();
    conversations
        .iter_mut()
        .zip(sent)
        .map(|(c, sent)| sent.map_or_else(|failed| failed, |()| c.hear(deadline)))
        .collect()
}

/// An open connection.
#[derive(Debug)]
pub struct Conversation {
    transport: Transport,
    socket: Socket,
    /// What came of an answer that is not whole.
    unread: Vec<u8>,
    /// The number of the last question.
    asked: u64,
    /// What broke the connection: the answer to all questions from then on.
    broken: Option<Answer>,
}

impl Conversation {
    /// Asks one question and waits for the answer.
    pub fn ask(&mut self) -> Answer {
        match self.say() {
            Ok(()) => self.hear(Instant::now() + stretched(PATIENCE)),
            Err(failed) => failed,
        }
    }

    /// The own end.
    ///
    /// # Errors
    /// When the socket has none.
    pub fn local(&self) -> Result<SocketAddr> {
        let local = self.socket.local_addr()?.as_socket();
        local.context("no address")
    }

    /// The far end.
    ///
    /// # Errors
    /// When the socket is not connected.
    pub fn peer(&self) -> Result<SocketAddr> {
        let peer = self.socket.peer_addr()?.as_socket();
        peer.context("no address")
    }

    fn say(&mut self) -> Result<(), Answer> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        self.asked += 1;
        let question = wire::question(self.asked);
        let sent = self.socket.write(&question);
        sent.map(|_| ()).map_err(|e| self.failed(&e))
    }

    /// Waits for the answer to the last question; answers to earlier ones are passed over.
    fn hear(&mut self, deadline: Instant) -> Answer {
        loop {
            if self.unread.len() >= wire::ANSWER {
                let whole: Vec<u8> = self.unread.drain(..wire::ANSWER).collect();
                match wire::read_answer(&whole) {
                    Some((id, seen)) if id == self.asked => return Answer::Seen(seen),
                    _ => continue,
                }
            }
            // The kernel takes no time-out of zero; what is there already is still read.
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.max(Duration::from_millis(1));
            let mut bytes = [0; 512];
            let received = self
                .socket
                .set_read_timeout(Some(wait))
                .and_then(|()| self.socket.read(&mut bytes));
            match received {
                Ok(0) if self.transport == Transport::Tcp => {
                    let closed = Answer::Failed(libc::EPIPE);
                    self.broken = Some(closed);
                    return closed;
                }
                Ok(length) => self.unread.extend_from_slice(&bytes[..length]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Answer::Lost,
                Err(e) => return self.failed(&e),
            }
        }
    }

    /// An error ends a TCP connection; the next datagram may well arrive.
    fn failed(&mut self, error: &io::Error) -> Answer {
        let failed = Answer::Failed(errno(error));
        if self.transport == Transport::Tcp {
            self.broken = Some(failed);
        }
        failed
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

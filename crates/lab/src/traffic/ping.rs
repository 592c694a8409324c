//! One ICMP echo, to see whether something is there.

use std::{
    io,
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{netns::Netns, slowness::stretched};

/// What to ask, and how.
#[derive(Clone, Copy, Debug)]
pub struct Ping<'a> {
    /// Whom.
    pub to: IpAddr,
    /// By which device; `None` leaves it to the routes.
    pub device: Option<&'a str>,
    /// How long to wait.
    pub patience: Duration,
    /// Bytes beyond the eight of the header.
    pub payload: usize,
}

impl<'a> Ping<'a> {
    /// A small one with the patience of 300 ms.
    pub fn new(to: IpAddr) -> Self {
        Self {
            to,
            device: None,
            patience: Duration::from_millis(300),
            payload: 0,
        }
    }

    /// The same by a device.
    #[must_use]
    pub fn by(mut self, device: &'a str) -> Self {
        self.device = Some(device);
        self
    }

    /// Asks once. `None` when no answer came, or when the kernel knows no way.
    ///
    /// # Errors
    /// When there is no socket for us.
    pub fn ask(self, netns: &Netns) -> Result<Option<Duration>> {
        netns.run(|| {
            let protocol = match self.to {
                IpAddr::V4(_) => Protocol::ICMPV4,
                IpAddr::V6(_) => Protocol::ICMPV6,
            };
            let domain = Domain::for_address(SocketAddr::new(self.to, 0));
            let socket = Socket::new(domain, Type::DGRAM, Some(protocol))
                .context("cannot open a ping socket")?;
            Ok(self.exchange(&socket).ok())
        })
    }

    fn exchange(self, socket: &Socket) -> io::Result<Duration> {
        if let Some(device) = self.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        socket.connect(&SocketAddr::new(self.to, 0).into())?;
        socket.set_read_timeout(Some(stretched(self.patience)))?;
        // Identifier and checksum are the kernel's business on these sockets.
        let mut question = vec![0; 8 + self.payload];
        question[0] = if self.to.is_ipv4() { 8 } else { 128 };
        let start = Instant::now();
        socket.send(&question)?;
        // The socket gets nothing but answers to its own question, and errors as errors.
        let mut answer = [MaybeUninit::uninit(); 64];
        socket.recv(&mut answer)?;
        Ok(start.elapsed())
    }
}

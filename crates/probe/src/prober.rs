//! All sockets of all uplinks, and the one place where probes leave and replies come in.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    hash::{BuildHasher, RandomState},
    io,
    net::IpAddr,
    os::fd::AsFd,
    task::{Context, Poll},
    time::Duration,
};

use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use uplinkd_model::{Family, UplinkName};

use crate::socket::{Binding, EchoSocket};

/// One question to one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Comes back in the [`Reply`]; the caller keeps it unique.
    pub id: u64,
    /// On whose behalf. All targets of an uplink and family share a socket.
    pub uplink: UplinkName,
    /// The interface that the question leaves by, and the answer must come in by.
    pub device: String,
    /// The packet mark, which brings the question to the uplink's routing table.
    pub mark: Option<u32>,
    /// Who is asked.
    pub target: IpAddr,
}

impl Probe {
    /// Whether both leave by the same socket.
    fn is_beside(&self, other: &Self) -> bool {
        let of = |p: &Self| (Family::of(p.target), p.mark);
        of(self) == of(other) && self.uplink == other.uplink && self.device == other.device
    }
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The probe's.
    pub id: u64,
    /// How long it took, by the kernel's receive stamp.
    pub rtt: Duration,
}

/// Why a probe could not leave. To the caller that is a loss with a reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no such interface now.
    #[error("cannot probe {target}: there is no interface {device}")]
    NoDevice {
        /// The name asked for.
        device: String,
        /// Who was to be asked.
        target: IpAddr,
    },
    /// No socket could be had: a missing capability, or too many open files.
    #[error("cannot open an ICMP socket on {device}: {}", describe(*.errno))]
    Open {
        /// The interface.
        device: String,
        /// The error number.
        errno: i32,
    },
    /// The kernel did not take the packet: no route, interface down, barred by a filter.
    #[error("cannot send an echo request to {target} by {device}: {}", describe(*.errno))]
    Send {
        /// Who was to be asked.
        target: IpAddr,
        /// The interface.
        device: String,
        /// The error number.
        errno: i32,
    },
}

impl SendError {
    /// The kernel's error number (`ENODEV` for an interface that is not there).
    pub fn errno(&self) -> i32 {
        match self {
            Self::NoDevice { .. } => Errno::ENODEV as i32,
            Self::Open { errno, .. } | Self::Send { errno, .. } => *errno,
        }
    }
}

/// Sends echo requests and collects the answers: one socket for each uplink and family.
///
/// Needs CAP_NET_RAW, or a group in `net.ipv4.ping_group_range` and CAP_NET_ADMIN for the mark.
#[derive(Debug, Default)]
pub struct Prober {
    sockets: BTreeMap<(UplinkName, Family), EchoSocket>,
    /// A keyed hash over a counter: nobody who sees some tokens can tell the next one.
    key: RandomState,
    counter: u64,
}

impl Prober {
    /// A prober without sockets; they are opened as probes need them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends one probe. Never waits.
    ///
    /// A socket is opened where there is none yet, or the interface, its index or the mark is
    /// another one than before; answers to probes of the old socket are then lost. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// [`SendError`] where the packet did not leave. The next probe may work again without more
    /// ado: there is nothing to repair from outside.
    pub fn send(&mut self, probe: Probe) -> Result<(), SendError> {
        let Probe {
            id,
            uplink,
            device,
            mark,
            target,
        } = probe;
        let key = (uplink, Family::of(target));
        let mut error = match self.try_send(&key, &device, mark, target, id) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.errno() == Errno::ENODEV as i32 || error.errno() == Errno::ENXIO as i32 {
            // The interface went between our look at its index and the send. Where another one
            // took its name, a new socket on that one works at once.
            self.sockets.remove(&key);
            match self.try_send(&key, &device, mark, target, id) {
                Ok(()) => return Ok(()),
                Err(again) => error = again,
            }
        }
        Err(error)
    }

    /// Sends many; for those of one line that follow each other the device is looked at once. Never waits.
    /// Returns those that did not leave, as [`Prober::send`] would have.
    ///
    /// Each has a call of its own, and not all of them one: when it left is known to some microseconds
    /// only where nothing else lies between that moment and the call.
    pub fn send_all(&mut self, probes: &[Probe]) -> Vec<(u64, SendError)> {
        let mut refused = Vec::new();
        for line in probes.chunk_by(Probe::is_beside) {
            let mut rest = line;
            while let [first, others @ ..] = rest {
                let sent = self.send_together(rest);
                if sent > 0 {
                    rest = &rest[sent..];
                    continue;
                }
                // Again, with another socket, which says why it does not leave.
                if let Err(error) = self.send(first.clone()) {
                    refused.push((first.id, error));
                }
                rest = others;
            }
        }
        refused
    }

    /// Waits until at least one answer is there. Nothing is lost when the wait is given up.
    ///
    /// Waits for ever while no socket is open.
    pub async fn replies(&mut self) -> Vec<Reply> {
        poll_fn(|cx| self.poll_replies(cx)).await
    }

    /// The answers that are there now, without waiting. To be called before a probe is declared
    /// lost, since its answer may be waiting while the caller was busy.
    pub fn drain(&mut self) -> Vec<Reply> {
        // One question for all sockets: most have nothing, and of fifty uplinks that would be fifty
        // calls each time.
        let sockets = self.sockets.values();
        let mut asked: Vec<_> = sockets
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        // Where the kernel does not say, all are looked at.
        let is_told = poll(&mut asked, PollTimeout::ZERO).is_ok();
        let has_some: Vec<_> = asked
            .iter()
            .map(|fd| !is_told || fd.any().unwrap_or(true))
            .collect();
        let mut found = Vec::new();
        for (socket, has_some) in self.sockets.values_mut().zip(has_some) {
            if has_some {
                socket.drain(&mut found);
            }
        }
        found
    }

    /// Closes the sockets of uplinks that are gone.
    pub fn retain(&mut self, keep: impl Fn(&UplinkName) -> bool) {
        self.sockets.retain(|(uplink, _), _| keep(uplink));
    }

    /// Sends those of one line by its socket, where it has one. Says how many left; the next one did not.
    fn send_together(&mut self, probes: &[Probe]) -> usize {
        let Some(first) = probes.first() else {
            return 0;
        };
        let key = (first.uplink.clone(), Family::of(first.target));
        let Self {
            sockets,
            key: hash,
            counter,
        } = self;
        let socket = sockets.get_mut(&key);
        let Some(socket) = socket.filter(|s| s.is_current(&first.device, first.mark)) else {
            return 0;
        };
        let leaves = |p: &&Probe| socket.send(p.id, p.target, random(hash, counter)).is_ok();
        probes.iter().take_while(leaves).count()
    }

    fn try_send(
        &mut self,
        key: &(UplinkName, Family),
        device: &str,
        mark: Option<u32>,
        target: IpAddr,
        id: u64,
    ) -> Result<(), SendError> {
        let token = self.random();
        if let Some(socket) = self.sockets.get_mut(key)
            && socket.is_current(device, mark)
            && socket.send(id, target, token).is_ok()
        {
            return Ok(());
        }
        let Ok(ifindex) = if_nametoindex(device) else {
            self.sockets.remove(key);
            return Err(SendError::NoDevice {
                device: device.to_owned(),
                target,
            });
        };
        let binding = Binding {
            family: key.1,
            device: device.to_owned(),
            ifindex,
            mark,
        };
        let socket = self.socket(key, binding)?;
        socket
            .send(id, target, token)
            .map_err(|error| SendError::Send {
                target,
                device: device.to_owned(),
                errno: errno_of(&error),
            })
    }

    fn socket(
        &mut self,
        key: &(UplinkName, Family),
        binding: Binding,
    ) -> Result<&mut EchoSocket, SendError> {
        let fits = |socket: &EchoSocket| socket.binding == binding && !socket.is_broken();
        let socket = match self.sockets.remove(key).filter(fits) {
            Some(socket) => socket,
            None => {
                let ident = self.random_ident();
                let device = binding.device.clone();
                EchoSocket::open(binding, ident).map_err(|error| SendError::Open {
                    device,
                    errno: errno_of(&error),
                })?
            }
        };
        Ok(self.sockets.entry(key.clone()).or_insert(socket))
    }

    fn poll_replies(&mut self, cx: &mut Context<'_>) -> Poll<Vec<Reply>> {
        let mut found = Vec::new();
        let mut has_more = false;
        for socket in self.sockets.values_mut() {
            has_more |= socket.poll(cx, &mut found);
        }
        if !found.is_empty() {
            return Poll::Ready(found);
        }
        if has_more {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn random(&mut self) -> u64 {
        random(&self.key, &mut self.counter)
    }

    fn random_ident(&mut self) -> u16 {
        let [high, low, ..] = self.random().to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

fn random(key: &RandomState, counter: &mut u64) -> u64 {
    *counter += 1;
    key.hash_one(*counter)
}

fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

fn describe(errno: i32) -> String {
    let errno = Errno::from_raw(errno);
    format!("{} ({errno:?})", errno.desc())
}

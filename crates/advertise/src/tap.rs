//! Hearing what this machine itself advertises on an interface, and what hosts ask there.
//!
//! Not with an ICMPv6 socket: systemd-networkd and odhcpd switch off that their own multicast comes back,
//! and answers to a single host come back to nobody. A packet socket sees whatever leaves. The kernel
//! drops everything else from it by a filter, but pays a little for each packet that leaves by the
//! interface, so taps are open only where prefixes of several providers are.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    task::{Context, Poll},
};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    libc,
    net::if_::if_nametoindex,
    sys::socket::{
        AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
    },
};
use socket2::{SockFilter, SockRef};
use tokio::io::{Interest, unix::AsyncFd};

use crate::{
    advert::{Advert, PACKET_MAX},
    solicitation,
};

/// Packets that are read before others have their turn.
const TURN: usize = 16;
/// Where the kernel's filter finds the direction of a packet (`SKF_AD_OFF + SKF_AD_PKTTYPE`).
const DIRECTION: u32 = 0xffff_f000 + 4;
/// Behind the header of IPv6 without extensions, which advertisements have none of.
const MESSAGE: u32 = 40;

/// What was heard.
#[derive(Debug)]
pub(crate) enum Heard {
    /// This machine advertised.
    Advert(Advert),
    /// A host asks for advertisements.
    Question,
}

/// A packet socket on one interface.
#[derive(Debug)]
pub(crate) struct Tap {
    socket: AsyncFd<OwnedFd>,
    interface: String,
    pub(crate) index: u32,
}

impl Tap {
    /// Opens it.
    ///
    /// # Errors
    /// Where there is no such interface, and without CAP_NET_RAW.
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        // The only way to such an address without writing its bytes oneself.
        let here = getifaddrs()?
            .filter(|i| i.interface_name == interface)
            .find_map(|i| Some(*i.address?.as_link_addr()?))
            .ok_or(Errno::ENODEV)?;
        let socket = socket(
            AddressFamily::Packet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::EthAll,
        )?;
        SockRef::from(&socket).attach_filter(&filter())?;
        bind(socket.as_raw_fd(), &here)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that do not own the descriptor they name; an OwnedFd does"
        )]
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(Self {
            socket,
            interface: interface.to_owned(),
            index: u32::try_from(here.ifindex()).map_err(|_| Errno::ENODEV)?,
        })
    }

    /// Takes what is there, up to a bound. Nothing where the interface is gone or another one.
    pub(crate) fn poll_heard(&self, cx: &mut Context<'_>) -> Poll<Option<Vec<Heard>>> {
        let mut heard = Vec::new();
        for _ in 0..TURN {
            let mut ready = match self.socket.poll_read_ready(cx) {
                Poll::Ready(Ok(ready)) => ready,
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending if heard.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            };
            match ready.try_io(|socket| receive(socket.get_ref(), self.index)) {
                Ok(Ok(what)) => heard.extend(what),
                // Also told when the interface is only switched off.
                Ok(Err(_)) if if_nametoindex(self.interface.as_str()) != Ok(self.index) => {
                    return Poll::Ready(None);
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
        Poll::Ready(Some(heard))
    }
}

/// The next packet, if this machine sent it by the interface and it is an advertisement, or if it came in
/// there and is a host's question. Before the socket was bound it may have taken packets of others.
fn receive(socket: &OwnedFd, index: u32) -> io::Result<Option<Heard>> {
    let mut buffer = [0; PACKET_MAX];
    let (length, from) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer)?;
    let from = from.filter(|from| u32::try_from(from.ifindex()) == Ok(index));
    let (Some(from), Some(packet)) = (from, buffer.get(..length)) else {
        return Ok(None);
    };
    Ok(match from.pkttype() == libc::PACKET_OUTGOING {
        true => Advert::read(packet).map(Heard::Advert),
        false => solicitation::is_one(packet).then_some(Heard::Question),
    })
}

/// Router advertisements that leave, solicitations that come in, and nothing else.
fn filter() -> [SockFilter; 14] {
    let load = |place| SockFilter::new(0x30, 0, 0, place);
    // Goes on where equal, and otherwise so many steps further, to the end.
    let equal = |byte, otherwise| SockFilter::new(0x15, 0, otherwise, byte);
    [
        load(0),
        SockFilter::new(0x54, 0, 0, 0xf0),
        equal(0x60, 10),
        load(6),
        equal(58, 8),
        load(MESSAGE),
        equal(134, 2),
        load(DIRECTION),
        SockFilter::new(0x15, 3, 4, u32::from(libc::PACKET_OUTGOING)),
        equal(133, 3),
        load(DIRECTION),
        SockFilter::new(0x15, 1, 0, u32::from(libc::PACKET_OUTGOING)),
        SockFilter::new(0x06, 0, 0, u32::MAX),
        SockFilter::new(0x06, 0, 0, 0),
    ]
}

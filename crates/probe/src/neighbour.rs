//! Whether somebody is on the link: ARP for IPv4, neighbour solicitation for IPv6.
//!
//! A gateway that drops echoes still answers these, since nobody could send it anything otherwise.
//! They bear no number: whatever answer comes after the question counts.

mod arp;
mod solicitation;

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddrV6},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    net::if_::if_nametoindex,
    sys::socket::{LinkAddr, MsgFlags, bind, recvfrom, sendto},
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::{
    line::{Line, in_words},
    socket::watch,
};

/// An Ethernet address.
type Mac = [u8; 6];
/// Frames are longer; what is of interest is at the beginning.
const BUFFER: usize = 256;
/// `ARPHRD_ETHER`.
const ETHERNET: u16 = 1;

/// Asks whoever has this address: how long the answer took.
pub(crate) async fn ask(
    line: &Line,
    address: IpAddr,
    source: Option<IpAddr>,
) -> Result<Duration, String> {
    let own = ethernet(&line.device)?;
    let asked = match address {
        IpAddr::V4(target) => {
            let sender = match source {
                Some(IpAddr::V4(source)) => source,
                // As a machine asks that has no address yet (RFC 5227).
                Some(IpAddr::V6(_)) | None => std::net::Ipv4Addr::UNSPECIFIED,
            };
            let question = arp::Question {
                own: own.mac,
                sender,
                target,
            };
            by_arp(&own.link, question).await
        }
        IpAddr::V6(target) => by_solicitation(line, own.mac, target).await,
    };
    asked.map_err(|e| in_words(&e))
}

/// An interface that has neighbours.
struct Ethernet {
    mac: Mac,
    link: LinkAddr,
}

fn ethernet(device: &str) -> Result<Ethernet, String> {
    let all = getifaddrs().map_err(|e| in_words(&e.into()))?;
    let mut own = all.filter(|i| i.interface_name == device);
    let link = own.find_map(|i| i.address?.as_link_addr().copied());
    let link = link.ok_or("there is no such interface")?;
    match link.addr().filter(|_| link.hatype() == ETHERNET) {
        Some(mac) => Ok(Ethernet { mac, link }),
        None => Err(format!(
            "{device} is no Ethernet and has no neighbours: ask \"gateway\" instead"
        )),
    }
}

async fn by_arp(link: &LinkAddr, question: arp::Question) -> io::Result<Duration> {
    let protocol = Protocol::from(i32::from(arp::PROTOCOL.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(protocol))?;
    bind(socket.as_raw_fd(), link)?;
    let socket = watch(socket)?;
    let began = Instant::now();
    let frame = arp::frame(question);
    sendto(socket.as_raw_fd(), &frame, link, MsgFlags::empty())?;
    answered(&socket, |fd, buffer| {
        let (length, from) = recvfrom::<LinkAddr>(fd, buffer)?;
        // Frames of others may have come before it was bound.
        let is_own = from.is_some_and(|f| f.ifindex() == link.ifindex());
        Ok(is_own && arp::answers(&buffer[..length], question))
    })
    .await?;
    Ok(began.elapsed())
}

async fn by_solicitation(line: &Line, own: Mac, target: Ipv6Addr) -> io::Result<Duration> {
    let index = if_nametoindex(line.device.as_str())?;
    let protocol = Some(Protocol::ICMPV6);
    let socket = Socket::new(Domain::IPV6, Type::RAW.nonblocking(), protocol)?;
    socket.attach_filter(&only_advertisements())?;
    socket.bind_device(Some(line.device.as_bytes()))?;
    if let Some(mark) = line.mark {
        socket.set_mark(mark)?;
    }
    // Whoever hears it passes over what came through a router.
    socket.set_multicast_hops_v6(255)?;
    let socket = watch(socket)?;
    let began = Instant::now();
    let to = SocketAddrV6::new(solicitation::group(target), 0, 0, index);
    let message = solicitation::message(own, target);
    socket.get_ref().send_to(&message, &to.into())?;
    answered(&socket, |fd, buffer| {
        let length = nix::sys::socket::recv(fd, buffer, MsgFlags::empty())?;
        Ok(solicitation::answers(&buffer[..length], target))
    })
    .await?;
    Ok(began.elapsed())
}

/// Waits for what `take` calls an answer.
async fn answered(
    socket: &AsyncFd<Socket>,
    mut take: impl FnMut(i32, &mut [u8]) -> nix::Result<bool>,
) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        let mut guard = socket.readable().await?;
        match take(guard.get_inner().as_raw_fd(), &mut buffer) {
            Ok(true) => return Ok(()),
            Ok(false) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => guard.clear_ready(),
            Err(error) => return Err(error.into()),
        }
        // So that a flood of others cannot hold the thread.
        tokio::task::yield_now().await;
    }
}

/// Lets through neighbour advertisements that came through no router: their hop limit is untouched.
fn only_advertisements() -> [SockFilter; 6] {
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// From the beginning of the IP header (`SKF_NET_OFF`).
    const IN_HEADER: u32 = 0xfff0_0000;
    const HOP_LIMIT: u32 = 7;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, 0),
        SockFilter::new(JUMP_IF_EQUAL, 0, 3, u32::from(solicitation::ADVERTISEMENT)),
        SockFilter::new(LOAD_BYTE, 0, 0, IN_HEADER + HOP_LIMIT),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, 255),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

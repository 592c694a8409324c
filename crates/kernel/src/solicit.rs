//! Router solicitations (RFC 4861, 4.1 and 6.3.7).

use std::{
    io,
    net::{Ipv6Addr, SocketAddrV6},
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
    time::Duration,
};

use nix::{
    net::if_::if_nametoindex,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, setsockopt,
        socket, sockopt,
    },
};

/// `MAX_RTR_SOLICITATIONS`.
const TIMES: u32 = 3;
/// `RTR_SOLICITATION_INTERVAL`.
const INTERVAL: Duration = Duration::from_secs(4);
/// A solicitation without options: type 133, code 0, a checksum that the kernel fills in, reserved.
const SOLICITATION: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];
/// `ff02::2`.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Asks the routers behind an interface to advertise themselves, three times, from a thread of its own
/// that ends with the last. A question that cannot be sent, since the link-local address is still being
/// claimed, is made up for by the next.
///
/// # Errors
/// Where there is no such interface, and without CAP_NET_RAW.
pub(crate) fn ask(interface: &str) -> io::Result<()> {
    let (socket, index) = open(interface)?;
    let everybody = SockaddrIn6::from(SocketAddrV6::new(ALL_ROUTERS, 0, 0, index));
    let thread = thread::Builder::new().name("solicit".to_owned());
    thread.spawn(move || {
        for n in 0..TIMES {
            if n > 0 {
                thread::sleep(INTERVAL);
            }
            let flags = MsgFlags::empty();
            let _ = sendto(socket.as_raw_fd(), &SOLICITATION, &everybody, flags);
        }
    })?;
    Ok(())
}

/// A socket that is bound to an interface, and the interface's index.
fn open(interface: &str) -> io::Result<(OwnedFd, u32)> {
    let index = if_nametoindex(interface)?;
    let socket = socket(
        AddressFamily::Inet6,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::IcmpV6,
    )?;
    setsockopt(&socket, sockopt::BindToDevice, &interface.into())?;
    // Routers pass over what came through another one.
    setsockopt(&socket, sockopt::Ipv6MulticastHops, &255)?;
    Ok((socket, index))
}

//! Sending on an interface: a socket for each message, since there are few.

use std::{
    io,
    net::{Ipv6Addr, SocketAddrV6},
};

use nix::{errno::Errno, ifaddrs::getifaddrs};
use socket2::{Domain, Protocol, Socket, Type};

use crate::solicitation::{self, ALL_ROUTERS};

/// `ff02::1`.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Hosts pass over what came through a router.
const HOPS: u32 = 255;

/// Where to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    pub(crate) interface: &'a str,
    pub(crate) index: u32,
}

impl Way<'_> {
    /// Advertises to all hosts, from an address of this interface.
    ///
    /// # Errors
    /// Where the address is none of the interface's (then the advertisement that it was taken from was
    /// not this machine's own), where there is no such interface, and without CAP_NET_RAW.
    pub(crate) fn advertise(self, source: Ipv6Addr, message: &[u8]) -> io::Result<()> {
        let socket = self.socket()?;
        socket.bind(&SocketAddrV6::new(source, 0, 0, self.index).into())?;
        socket.set_multicast_hops_v6(HOPS)?;
        // This machine's own daemons need not be told, and radvd would complain.
        socket.set_multicast_loop_v6(false)?;
        self.send(&socket, message, ALL_NODES)
    }

    /// The interface's link-local address, from which routers have to advertise (RFC 4861, 6.1.2). The
    /// kernel refuses one that it has not yet found to be its own alone.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn link_local(self) -> io::Result<Ipv6Addr> {
        let here = getifaddrs()?.filter(|i| i.interface_name == self.interface);
        let mut addresses = here.filter_map(|i| Some(i.address?.as_sockaddr_in6()?.ip()));
        let found = addresses.find(Ipv6Addr::is_unicast_link_local);
        found.ok_or_else(|| Errno::EADDRNOTAVAIL.into())
    }

    /// Asks this machine's own daemon. Hosts hear the question too, and pass over it.
    ///
    /// # Errors
    /// Where there is no such interface, and without CAP_NET_RAW.
    pub(crate) fn solicit(self) -> io::Result<()> {
        let socket = self.socket()?;
        socket.set_header_included_v6(true)?;
        self.send(&socket, &solicitation::packet(), ALL_ROUTERS)
    }

    fn socket(self) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(self.interface.as_bytes()))?;
        // It is never read: what comes in is not to be kept for it.
        socket.set_recv_buffer_size(0)?;
        Ok(socket)
    }

    fn send(self, socket: &Socket, packet: &[u8], to: Ipv6Addr) -> io::Result<()> {
        let to = SocketAddrV6::new(to, 0, 0, self.index);
        socket.send_to(packet, &to.into())?;
        Ok(())
    }
}

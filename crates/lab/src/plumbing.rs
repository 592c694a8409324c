//! Links, addresses and routes inside a namespace, by netlink.
//!
//! These are the few messages that a laboratory needs, written out; the transport is the one of
//! `uplinkd-kernel`. Nothing here is idempotent: a laboratory starts from empty namespaces.

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use ipnet::{IpNet, Ipv6Net};
use uplinkd_kernel::netlink::{KernelError, Message, Socket, find, flags, nest, put};
use uplinkd_model::Family;

use crate::{netns::Netns, slowness::stretched};

/// Message kinds (`RTM_…`).
mod kind {
    pub(super) const NEW_LINK: u16 = 16;
    pub(super) const DEL_LINK: u16 = 17;
    pub(super) const GET_LINK: u16 = 18;
    pub(super) const NEW_ADDRESS: u16 = 20;
    pub(super) const DEL_ADDRESS: u16 = 21;
    pub(super) const NEW_ROUTE: u16 = 24;
    pub(super) const DEL_ROUTE: u16 = 25;
    pub(super) const GET_MULTICAST: u16 = 58;
    pub(super) const NEW_QDISC: u16 = 36;
    pub(super) const DEL_QDISC: u16 = 37;
}

/// Attributes of links (`IFLA_…`).
mod link {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MASTER: u16 = 10;
    pub(super) const OPERSTATE: u16 = 16;
    pub(super) const OPERSTATE_UP: u8 = 6;
    pub(super) const INFO: u16 = 18;
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_DATA: u16 = 2;
    pub(super) const VETH_PEER: u16 = 1;
    pub(super) const NET_NS_FD: u16 = 28;
    pub(super) const UP: u32 = 1;
}

/// How long a new connection may take to get ready; usually it is well below a millisecond.
const READY_MAX: Duration = Duration::from_secs(3);
/// `IFA_F_NODAD`: an IPv6 address is usable at once.
const ADDRESS_NO_DAD: u32 = 2;
/// `IFA_MULTICAST`.
const ADDRESS_MULTICAST: u16 = 7;
/// The root of a device's queues (`TC_H_ROOT`).
const QUEUE_ROOT: u32 = 0xffff_ffff;

/// A route of the laboratory.
#[derive(Clone, Copy, Debug)]
pub struct LabRoute {
    /// Where to.
    pub destination: IpNet,
    /// The next hop.
    pub gateway: IpAddr,
    /// The metric; `None` for the family's own default.
    pub metric: Option<u32>,
    /// Who put it there (`RTPROT_…`).
    pub protocol: u8,
}

/// `RTPROT_RA`: from a router advertisement.
pub const ADVERTISED: u8 = 9;
/// `RTPROT_STATIC`.
pub const STATIC: u8 = 4;
/// `RTPROT_DHCP`.
pub const DHCP: u8 = 16;

/// One end of a cable.
#[derive(Clone, Copy, Debug)]
pub struct Plug<'a> {
    /// The namespace.
    pub netns: &'a Netns,
    /// The interface's name there.
    pub name: &'a str,
    /// The interface's number there; 0 leaves it to the kernel.
    pub index: u32,
}

/// Lays a cable between two namespaces, both ends up.
///
/// # Errors
/// When one of the names is taken or this process may not.
pub fn connect(a: Plug<'_>, b: Plug<'_>) -> Result<()> {
    let peer = b.netns.as_fd();
    let message = Message::new(
        kind::NEW_LINK,
        flags::CREATE | flags::EXCL,
        &interface(a.index, true),
    )
    .str(link::NAME, a.name)
    .nest(link::INFO, |info| {
        put(info, link::INFO_KIND, b"veth");
        nest(info, link::INFO_DATA, |data| {
            nest(data, link::VETH_PEER, |end| veth_peer(end, b, peer));
        });
    });
    let mut near = Plumber::new(a.netns)?;
    let what = format!("connect {a} and {b}");
    near.one(message, &what)?;
    // Not with the message above: a veth cannot be up before it has its peer.
    let mut far = Plumber::new(b.netns)?;
    far.set_up(b.name, true)?;
    near.set_up(a.name, true)?;
    near.wait_ready(a.name)?;
    far.wait_ready(b.name)
}

fn veth_peer(end: &mut Vec<u8>, plug: Plug<'_>, netns: BorrowedFd<'_>) {
    end.extend_from_slice(&interface(plug.index, false));
    let mut text = plug.name.as_bytes().to_vec();
    text.push(0);
    put(end, link::NAME, &text);
    put(end, link::NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
}

impl fmt::Display for Plug<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.netns.name(), self.name)
    }
}

/// A namespace's interfaces, addresses and routes, for writing.
#[derive(Debug)]
pub struct Plumber {
    socket: Socket,
    place: String,
}

impl Plumber {
    /// Opens the way into a namespace.
    ///
    /// # Errors
    /// When there is no socket for us.
    pub fn new(netns: &Netns) -> Result<Self> {
        Ok(Self {
            socket: netns.netlink()?,
            place: netns.name().to_owned(),
        })
    }

    /// An interface's number.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn index(&mut self, name: &str) -> Result<u32> {
        let question = Message::new(kind::GET_LINK, 0, &[0; 16]).str(link::NAME, name);
        let reply = self
            .socket
            .ask(question)
            .with_context(|| format!("no interface {}:{name}", self.place))?;
        let index = reply.body.get(4..8).and_then(|b| b.first_chunk().copied());
        index.map(u32::from_ne_bytes).context("short link message")
    }

    /// Switches an interface on or off.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn set_up(&mut self, name: &str, up: bool) -> Result<()> {
        let index = self.index(name)?;
        let message = Message::new(kind::NEW_LINK, 0, &interface(index, up));
        let what = format!("switch {}:{name}", self.place);
        self.one(message, &what)
    }

    /// Waits until a connected interface really sends. The kernel switches it on a little after it
    /// has reported carrier, and drops what is sent before: a lost question for a neighbour is
    /// repeated only after a second.
    ///
    /// # Errors
    /// When the other end is not up.
    pub fn wait_ready(&mut self, name: &str) -> Result<()> {
        let deadline = Instant::now() + stretched(READY_MAX);
        loop {
            let question = Message::new(kind::GET_LINK, 0, &[0; 16]).str(link::NAME, name);
            let reply = self.socket.ask(question)?;
            let state = reply.body.get(16..).and_then(|b| find(b, link::OPERSTATE));
            if state == Some(&[link::OPERSTATE_UP]) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{}:{name} does not get ready",
                self.place
            );
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Gives an interface an Ethernet address.
    ///
    /// # Errors
    /// When there is none of that name, or its kind has none to give.
    pub fn set_mac(&mut self, name: &str, mac: [u8; 6]) -> Result<()> {
        let index = self.index(name)?;
        let message = Message::new(kind::NEW_LINK, 0, &unchanged(index)).attr(link::ADDRESS, &mac);
        let what = format!("give {}:{name} an Ethernet address", self.place);
        self.one(message, &what)
    }

    /// Makes a bridge and switches it on.
    ///
    /// # Errors
    /// When the name is taken, or this kernel has no bridges.
    pub fn add_bridge(&mut self, name: &str) -> Result<()> {
        let message = Message::new(
            kind::NEW_LINK,
            flags::CREATE | flags::EXCL,
            &interface(0, true),
        )
        .str(link::NAME, name)
        .nest(link::INFO, |info| put(info, link::INFO_KIND, b"bridge"));
        let what = format!("make the bridge {}:{name}", self.place);
        self.one(message, &what)
    }

    /// Makes an interface a port of a bridge.
    ///
    /// # Errors
    /// When there is no such interface or bridge.
    pub fn join_bridge(&mut self, name: &str, bridge: &str) -> Result<()> {
        let (index, bridge) = (self.index(name)?, self.index(bridge)?);
        let message = Message::new(kind::NEW_LINK, 0, &unchanged(index)).u32(link::MASTER, bridge);
        let what = format!("make {}:{name} a port", self.place);
        self.one(message, &what)
    }

    /// Makes every address of a network one of the namespace's own (`ip route add local`).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn own_network(&mut self, network: IpNet) -> Result<()> {
        const LOCAL_TABLE: u8 = 255;
        const LOCAL_TYPE: u8 = 2;
        let index = self.index("lo")?;
        let family = Family::of_net(network).number();
        let scope = match network {
            IpNet::V4(_) => 254, // of this host
            IpNet::V6(_) => 0,
        };
        let length = network.prefix_len();
        let fixed = [
            family,
            length,
            0,
            0,
            LOCAL_TABLE,
            STATIC,
            scope,
            LOCAL_TYPE,
            0,
            0,
            0,
            0,
        ];
        let message = Message::new(kind::NEW_ROUTE, flags::CREATE | flags::REPLACE, &fixed)
            .attr(1, &octets(network.network()))
            .u32(4, index);
        let what = format!("own {network} in {}", self.place);
        self.one(message, &what)
    }

    /// Removes an interface, with its peer when it is one end of a cable.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn remove_link(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        let message = Message::new(kind::DEL_LINK, 0, &interface(index, false));
        let what = format!("remove {}:{name}", self.place);
        self.one(message, &what)
    }

    /// Moves an interface to another namespace. What it had here, its addresses among it, is gone.
    ///
    /// # Errors
    /// When there is none of that name, or the name is taken there.
    pub fn move_link(&mut self, name: &str, to: &Netns) -> Result<()> {
        let index = self.index(name)?;
        let fd = to.as_fd().as_raw_fd().cast_unsigned();
        let message = Message::new(kind::NEW_LINK, 0, &unchanged(index)).u32(link::NET_NS_FD, fd);
        let what = format!("move {}:{name} to {}", self.place, to.name());
        self.one(message, &what)
    }

    /// Gives addresses to an interface, usable at once.
    ///
    /// # Errors
    /// At the first that the kernel refuses; the others are there.
    pub fn add_addresses(&mut self, name: &str, addresses: &[IpNet]) -> Result<()> {
        let index = self.index(name)?;
        let messages: Vec<_> = addresses
            .iter()
            .map(|a| {
                address(kind::NEW_ADDRESS, index, *a).u32(
                    8,
                    match a {
                        IpNet::V4(_) => 0,
                        IpNet::V6(_) => ADDRESS_NO_DAD,
                    },
                )
            })
            .collect();
        self.all(
            &messages,
            &format!("add addresses to {}:{name}", self.place),
        )?;
        self.wait_listening(name, index, addresses)
    }

    /// Waits until others can find new IPv6 addresses. The kernel joins their multicast groups a
    /// little later than it lists them, and a question for a neighbour that comes between is lost.
    fn wait_listening(&mut self, name: &str, index: u32, addresses: &[IpNet]) -> Result<()> {
        if name == "lo" {
            return Ok(()); // Nobody asks there.
        }
        let wanted: BTreeSet<_> = addresses.iter().filter_map(solicited_group).collect();
        let deadline = Instant::now() + stretched(READY_MAX);
        let mut fixed = vec![Family::V6.number(), 0, 0, 0];
        fixed.extend_from_slice(&index.to_ne_bytes());
        loop {
            let question = Message::new(kind::GET_MULTICAST, 0, &fixed);
            let replies = self.socket.dump(question)?;
            let groups: BTreeSet<_> = replies
                .iter()
                .filter_map(|r| find(r.body.get(8..)?, ADDRESS_MULTICAST)?.first_chunk::<16>())
                .copied()
                .collect();
            if wanted.is_subset(&groups) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{}:{name} does not listen for its neighbours",
                self.place
            );
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Takes addresses from an interface. Those that are not there are passed over.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn remove_addresses(&mut self, name: &str, addresses: &[IpNet]) -> Result<()> {
        let index = self.index(name)?;
        let messages: Vec<_> = addresses
            .iter()
            .map(|a| address(kind::DEL_ADDRESS, index, *a))
            .collect();
        self.socket.request(&messages)?;
        Ok(())
    }

    /// Adds routes through an interface to `main`, in the place of equal ones.
    ///
    /// # Errors
    /// At the first that the kernel refuses; the others are there.
    pub fn add_routes(&mut self, name: &str, routes: &[LabRoute]) -> Result<()> {
        let index = self.index(name)?;
        let messages: Vec<_> = routes
            .iter()
            .map(|r| route(kind::NEW_ROUTE, flags::CREATE | flags::REPLACE, index, r))
            .collect();
        self.all(
            &messages,
            &format!("add routes through {}:{name}", self.place),
        )
    }

    /// Removes routes through an interface from `main`. Those that are not there are passed over.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn remove_routes(&mut self, name: &str, routes: &[LabRoute]) -> Result<()> {
        let index = self.index(name)?;
        let messages: Vec<_> = routes
            .iter()
            .map(|r| route(kind::DEL_ROUTE, 0, index, r))
            .collect();
        self.socket.request(&messages)?;
        Ok(())
    }

    /// Adds a default route for one source prefix to `main`.
    ///
    /// # Errors
    /// When the kernel refuses, such as one without subtrees of IPv6.
    pub fn add_source_default(
        &mut self,
        name: &str,
        prefix: Ipv6Net,
        gateway: IpAddr,
    ) -> Result<()> {
        let index = self.index(name)?;
        let flags = flags::CREATE | flags::REPLACE;
        let message = source_default(kind::NEW_ROUTE, flags, index, prefix, gateway);
        let what = format!("route from {prefix} through {}:{name}", self.place);
        self.one(message, &what)
    }

    /// Removes it again; one that is not there is passed over.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn remove_source_default(
        &mut self,
        name: &str,
        prefix: Ipv6Net,
        gateway: IpAddr,
    ) -> Result<()> {
        let index = self.index(name)?;
        let message = source_default(kind::DEL_ROUTE, 0, index, prefix, gateway);
        self.socket.request(&[message])?;
        Ok(())
    }

    /// Refuses what nothing more specific in `main` takes of a prefix, or no longer does.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn refuse(&mut self, prefix: Ipv6Net, refuse: bool) -> Result<()> {
        const UNREACHABLE: u8 = 7;
        let (kind, flags) = if refuse {
            (kind::NEW_ROUTE, flags::CREATE | flags::REPLACE)
        } else {
            (kind::DEL_ROUTE, 0)
        };
        let (family, length) = (Family::V6.number(), prefix.prefix_len());
        let fixed = [family, length, 0, 0, 254, DHCP, 0, UNREACHABLE, 0, 0, 0, 0];
        let message = Message::new(kind, flags, &fixed).attr(1, &prefix.network().octets());
        self.one(message, &format!("refuse {prefix} in {}", self.place))
    }

    /// Lets an interface send at most so many kilobits per second, with a queue of a tenth of a
    /// second before it (TBF).
    ///
    /// # Errors
    /// When this kernel has no TBF.
    pub fn limit_rate(&mut self, name: &str, kilobits: u32) -> Result<()> {
        let index = self.index(name)?;
        let bytes_per_second = kilobits.saturating_mul(125).max(1);
        let queue = (bytes_per_second / 10).max(3_000);
        // `struct tc_tbf_qopt`: two rates of 12 bytes each, then limit, buffer and mtu. The second
        // byte of a rate says Ethernet, which spares the rate table of old times.
        let mut parameters = vec![0, 1, 0, 0, 0, 0, 0, 0];
        parameters.extend_from_slice(&bytes_per_second.to_ne_bytes());
        parameters.extend_from_slice(&[0; 12]);
        parameters.extend_from_slice(&queue.to_ne_bytes());
        parameters.extend_from_slice(&[0; 8]);
        let burst = (bytes_per_second / 250).max(3_000);
        let flags = flags::CREATE | flags::REPLACE;
        let message = Message::new(kind::NEW_QDISC, flags, &queues(index))
            .str(1, "tbf")
            .nest(2, |options| {
                put(options, 1, &parameters);
                put(options, 6, &burst.to_ne_bytes());
            });
        let what = format!("limit the rate of {}:{name}", self.place);
        self.one(message, &what)
    }

    /// Takes the limit away.
    ///
    /// # Errors
    /// When there is none.
    pub fn unlimit_rate(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        let what = format!("unlimit the rate of {}:{name}", self.place);
        self.one(Message::new(kind::DEL_QDISC, 0, &queues(index)), &what)
    }

    fn one(&mut self, message: Message, what: &str) -> Result<()> {
        self.all(&[message], what)
    }

    fn all(&mut self, messages: &[Message], what: &str) -> Result<()> {
        self.socket
            .request(messages)?
            .into_iter()
            .collect::<Result<(), KernelError>>()
            .with_context(|| format!("cannot {what}"))
    }
}

/// `struct ifinfomsg`, asking for up or down.
fn interface(index: u32, up: bool) -> [u8; 16] {
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&(if up { link::UP } else { 0 }).to_ne_bytes());
    fixed[12..16].copy_from_slice(&link::UP.to_ne_bytes());
    fixed
}

/// `struct ifinfomsg`, leaving up or down as it is.
fn unchanged(index: u32) -> [u8; 16] {
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed
}

/// `struct ifaddrmsg` with the address.
fn address(kind: u16, index: u32, net: IpNet) -> Message {
    let family = Family::of_net(net).number();
    let mut fixed = vec![family, net.prefix_len(), 0, 0];
    fixed.extend_from_slice(&index.to_ne_bytes());
    let octets = octets(net.addr());
    let flags = if kind == kind::NEW_ADDRESS {
        flags::CREATE | flags::EXCL
    } else {
        0
    };
    Message::new(kind, flags, &fixed)
        .attr(2, &octets)
        .attr(1, &octets)
}

/// `struct rtmsg`: a unicast route in `main` of universal scope, with its attributes.
fn route(kind: u16, flags: u16, index: u32, route: &LabRoute) -> Message {
    let family = Family::of_net(route.destination).number();
    let length = route.destination.prefix_len();
    let fixed = [family, length, 0, 0, 254, route.protocol, 0, 1, 0, 0, 0, 0];
    let message = Message::new(kind, flags, &fixed)
        .attr(1, &octets(route.destination.network()))
        .attr(5, &octets(route.gateway))
        .u32(4, index);
    match route.metric {
        Some(metric) => message.u32(6, metric),
        None => message,
    }
}

/// The same for a default that holds for one source prefix.
fn source_default(kind: u16, flags: u16, index: u32, prefix: Ipv6Net, gateway: IpAddr) -> Message {
    let (family, length) = (Family::V6.number(), prefix.prefix_len());
    let fixed = [family, 0, length, 0, 254, STATIC, 0, 1, 0, 0, 0, 0];
    Message::new(kind, flags, &fixed)
        .attr(2, &prefix.network().octets())
        .attr(5, &octets(gateway))
        .u32(4, index)
        .u32(6, 512)
}

/// `struct tcmsg` for the root of a device.
fn queues(index: u32) -> [u8; 20] {
    let mut fixed = [0; 20];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[12..16].copy_from_slice(&QUEUE_ROOT.to_ne_bytes());
    fixed
}

/// The multicast group where an IPv6 address is asked for (RFC 4291, 2.7.1).
fn solicited_group(net: &IpNet) -> Option<[u8; 16]> {
    let IpNet::V6(net) = net else {
        return None;
    };
    let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
    group[13..].copy_from_slice(&net.addr().octets()[13..]);
    Some(group)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

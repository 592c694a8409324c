//! Hints that something changed: worth a look, and no more than that.
//!
//! A hint carries no truth. Several changes may give one hint, some changes give none (carrier loss
//! takes nexthops away silently), and after [`Hint::Overrun`] anything may have happened.
//! Subscribe first, then look, so that nothing falls in between.

mod sieve;

use std::{collections::VecDeque, io, net::IpAddr};

use nix::libc;
use tokio::io::{Interest, unix::AsyncFd};
use uplinkd_model::{NeighbourState, Reserve};

use crate::{
    decode,
    netlink::{Frame, Frames, Protocol, Socket, find, text, u32_at},
    nft::{OwnPorts, is_dynamic, wire as nft},
    prefixes,
    wire::message,
};

/// `RTNLGRP_…`: links, addresses, routes and rules of both families, nexthops.
const ROUTE_GROUPS: [u32; 8] = [1, 5, 9, 7, 11, 8, 19, 32];
/// `RTNLGRP_NEIGH`.
const NEIGHBOUR_GROUP: u32 = 3;
/// `NFNLGRP_NFTABLES`.
const NFT_GROUP: u32 = 7;
/// Datagrams read before other tasks get their turn: a full routing feed must not starve them.
const DATAGRAMS_AT_ONCE: usize = 64;

/// That something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// An interface appeared, changed or went.
    Link {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
        /// It is switched on.
        admin_up: bool,
        /// The far end is there.
        carrier: bool,
        /// It is no more.
        gone: bool,
    },
    /// Some address of the interface of this index.
    Address(u32),
    /// A route of ours, in one of our tables, a default route, or in the main table one that refuses
    /// what may be a delegated prefix.
    Route,
    /// Some rule.
    Rule,
    /// Some nexthop.
    Nexthop,
    /// Our nft table.
    Nft,
    /// A neighbour answered, or does not. None of these is owed: what is dropped is dropped.
    Neighbour {
        /// The interface's index.
        index: u32,
        /// Its address.
        address: IpAddr,
        /// What the kernel found out.
        state: NeighbourState,
    },
    /// The kernel had to drop messages: everything must be read again.
    Overrun,
}

/// A subscription to changes by others.
#[derive(Debug)]
pub struct Watch {
    route: AsyncFd<Socket>,
    nft: AsyncFd<Socket>,
    /// On its own, so that somebody who scans the LAN makes nothing of the above be dropped.
    neighbours: AsyncFd<Socket>,
    interest: Filter,
    pending: VecDeque<Hint>,
}

/// What is worth a hint.
#[derive(Debug)]
struct Filter {
    reserve: Vec<Reserve>,
    own_ports: OwnPorts,
    /// Somebody else changed something in our nft table in the transaction that is being read.
    is_ours_changing: bool,
}

impl Watch {
    /// Subscribes. Changes with `own_ports` give no hints: those made through our sockets, and those
    /// of the `nft` processes that we start.
    ///
    /// # Errors
    /// When the kernel refuses a subscription, or outside a tokio runtime.
    pub fn open(reserve: &[Reserve], own_ports: OwnPorts) -> io::Result<Self> {
        let subscribe = |protocol, groups: &[u32], sieve: &[_]| {
            let socket = Socket::open(protocol)?;
            if !sieve.is_empty() {
                socket.sift(sieve)?;
            }
            groups.iter().try_for_each(|group| socket.join(*group))?;
            socket.set_non_blocking(true)?;
            #[expect(
                deprecated,
                reason = "its successor is unsafe, for types that lie about their descriptor; \
                          `Socket` owns the one it names until it is dropped"
            )]
            AsyncFd::with_interest(socket, Interest::READABLE)
        };
        let watch = Self {
            route: subscribe(Protocol::Route, &ROUTE_GROUPS, &sieve::program(reserve))?,
            nft: subscribe(Protocol::Netfilter, &[NFT_GROUP], &[])?,
            neighbours: subscribe(Protocol::Route, &[NEIGHBOUR_GROUP], &[])?,
            interest: Filter {
                reserve: reserve.to_vec(),
                own_ports,
                is_ours_changing: false,
            },
            pending: VecDeque::new(),
        };
        watch.interest.own_ports.watch();
        Ok(watch)
    }

    /// Waits for the next hint. May be dropped while waiting without losing one.
    ///
    /// # Errors
    /// When a socket breaks, which none is known to do.
    pub async fn next(&mut self) -> io::Result<Hint> {
        loop {
            for _ in 0..DATAGRAMS_AT_ONCE {
                if let Some(hint) = self.pending.pop_front() {
                    return Ok(hint);
                }
                let Self {
                    route,
                    nft,
                    neighbours,
                    interest,
                    pending,
                } = self;
                tokio::select! {
                    ready = route.readable_mut() => {
                        if let Ok(read) = ready?.try_io(|s| read(s.get_mut(), interest, pending)) {
                            read?;
                        }
                    }
                    ready = neighbours.readable_mut() => {
                        if let Ok(read) = ready?.try_io(|s| read_signs(s.get_mut(), pending)) {
                            read?;
                        }
                    }
                    ready = nft.readable_mut() => {
                        if let Ok(read) = ready?.try_io(|s| read(s.get_mut(), interest, pending)) {
                            read?;
                        }
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Reads one datagram. One that concerns nobody costs no memory.
fn read(
    socket: &mut Socket,
    interest: &mut Filter,
    pending: &mut VecDeque<Hint>,
) -> io::Result<()> {
    let datagram = match socket.receive() {
        Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
            pending.push_back(Hint::Overrun);
            interest.own_ports.suspect_all();
            return Ok(());
        }
        other => other?,
    };
    for frame in Frames(datagram) {
        if let Some(hint) = interest.hint(&frame)
            && !pending.contains(&hint)
        {
            pending.push_back(hint);
        }
    }
    Ok(())
}

/// Reads one datagram about neighbours. What the kernel had to drop is not missed.
fn read_signs(socket: &mut Socket, pending: &mut VecDeque<Hint>) -> io::Result<()> {
    let datagram = match socket.receive() {
        Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => return Ok(()),
        other => other?,
    };
    pending.extend(Frames(datagram).filter_map(|frame| neighbour(&frame)));
    Ok(())
}

/// `struct ndmsg` and the address behind it (`linux/neighbour.h`).
fn neighbour(frame: &Frame<'_>) -> Option<Hint> {
    const FIXED: usize = 12;
    const ADDRESS: u16 = 1;
    if frame.kind != message::NEW_NEIGHBOUR {
        return None;
    }
    let (fixed, attributes) = frame.body.split_at_checked(FIXED)?;
    let state = match u16::from_ne_bytes(*fixed.get(8..)?.first_chunk()?) {
        0x02 => NeighbourState::Reachable,
        0x10 => NeighbourState::Asked,
        0x20 => NeighbourState::Failed,
        _ => return None,
    };
    let address = find(attributes, ADDRESS)?;
    let address = match i32::from(fixed[0]) {
        libc::AF_INET => <[u8; 4]>::try_from(address).ok()?.into(),
        libc::AF_INET6 => <[u8; 16]>::try_from(address).ok()?.into(),
        _ => return None,
    };
    Some(Hint::Neighbour {
        index: u32_at(fixed, 4)?,
        address,
        state,
    })
}

impl Filter {
    fn hint(&mut self, frame: &Frame<'_>) -> Option<Hint> {
        if self.own_ports.has(frame.port) {
            return None;
        }
        match frame.kind {
            message::NEW_LINK => link(frame.body, false),
            message::DELETE_LINK => link(frame.body, true),
            message::NEW_ADDRESS | message::DELETE_ADDRESS => {
                u32_at(frame.body, 4).map(Hint::Address)
            }
            message::NEW_ROUTE | message::DELETE_ROUTE => {
                self.is_route_of_interest(frame.body).then_some(Hint::Route)
            }
            message::NEW_RULE | message::DELETE_RULE => Some(Hint::Rule),
            message::NEW_NEXTHOP | message::DELETE_NEXTHOP => Some(Hint::Nexthop),
            nft::message::NEW_GENERATION => {
                self.end_of_transaction(frame.body);
                None
            }
            nft if nft >> 8 == nft::SUBSYSTEM => self.nft(nft, frame.body),
            _ => None,
        }
    }

    fn is_route_of_interest(&self, body: &[u8]) -> bool {
        decode::route_outline(body).is_some_and(|route| {
            // In any table: DHCP clients put it where they are told to.
            let is_default = route.prefix_length == 0;
            let ours = |r: &Reserve| r.proto == route.proto || r.has_table(route.table);
            is_default || self.reserve.iter().any(ours)
        }) || prefixes::refused(body).is_some()
    }

    /// Something in nft that somebody else changed.
    fn nft(&mut self, kind: u16, body: &[u8]) -> Option<Hint> {
        let attributes = body.get(nft::FIXED..)?;
        let table = text(find(attributes, nft::TABLE)?);
        if !self.reserve.iter().any(|r| r.nft_table == table) {
            return None;
        }
        if [nft::message::NEW_ELEMENTS, nft::message::DELETE_ELEMENTS].contains(&kind) {
            let set = text(find(attributes, nft::SET)?);
            // Resolvers add addresses all day long.
            if is_dynamic(&set) {
                return None;
            }
            self.own_ports.suspect(set);
        }
        self.is_ours_changing = true;
        Some(Hint::Nft)
    }

    /// The kernel says who did what it has told of before.
    fn end_of_transaction(&mut self, body: &[u8]) {
        if !std::mem::take(&mut self.is_ours_changing) {
            return;
        }
        let attributes = body.get(nft::FIXED..).unwrap_or(&[]);
        let name = find(attributes, nft::generation::NAME).map(text);
        let number = find(attributes, nft::generation::PROCESS).and_then(|p| p.first_chunk());
        if let (Some(name), Some(number)) = (name, number) {
            let number = u32::from_be_bytes(*number);
            let process = format!("{} (pid {number})", name.escape_debug());
            self.own_ports.blame(process);
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        self.own_ports.unwatch();
    }
}

fn link(body: &[u8], gone: bool) -> Option<Hint> {
    let link = decode::link(body)?;
    Some(Hint::Link {
        index: link.device.index,
        name: link.device.name,
        admin_up: link.admin_up,
        carrier: link.carrier,
        gone,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        netlink::{Message, put},
        nft::Shared,
    };

    fn filter() -> Filter {
        Filter {
            reserve: vec![Reserve::default()],
            own_ports: OwnPorts::new(vec![4711], Shared::default()),
            is_ours_changing: false,
        }
    }

    fn route(table: u32, proto: u8, prefix_length: u8) -> Vec<u8> {
        let fixed = [2, prefix_length, 0, 0, 0, proto, 0, 1, 0, 0, 0, 0];
        Message::new(0, 0, &fixed).u32(15, table).body().to_vec()
    }

    fn hint(kind: u16, port: u32, body: &[u8]) -> Option<Hint> {
        filter().hint(&Frame {
            kind,
            flags: 0,
            sequence: 0,
            port,
            body,
        })
    }

    #[test]
    fn routes_count_by_protocol_by_table_or_as_default() {
        let counting = [(9, 177, 24), (7001, 4, 24), (254, 16, 0), (100, 16, 0)];
        for (table, proto, prefix_length) in counting {
            let body = route(table, proto, prefix_length);
            assert_eq!(hint(message::NEW_ROUTE, 0, &body), Some(Hint::Route));
        }
        for (table, proto, prefix_length) in [(254, 4, 24), (6999, 4, 24), (100, 16, 1)] {
            let body = route(table, proto, prefix_length);
            assert_eq!(hint(message::DELETE_ROUTE, 0, &body), None);
        }
    }

    #[test]
    fn a_route_that_refuses_what_may_be_delegated_counts() {
        let body = |route_type| {
            let fixed = [10, 56, 0, 0, 254, 16, 0, route_type, 0, 0, 0, 0];
            let prefix = "2001:db8:100::".parse::<std::net::Ipv6Addr>().unwrap();
            let message = Message::new(0, 0, &fixed).attr(1, &prefix.octets());
            message.body().to_vec()
        };
        assert_eq!(hint(message::DELETE_ROUTE, 0, &body(7)), Some(Hint::Route));
        assert_eq!(hint(message::NEW_ROUTE, 0, &body(1)), None);
    }

    #[test]
    fn our_own_steps_do_not_echo() {
        let body = route(7001, 177, 0);
        assert_eq!(hint(message::NEW_ROUTE, 4711, &body), None);
        assert_eq!(hint(message::NEW_ROUTE, 4712, &body), Some(Hint::Route));
    }

    #[test]
    fn neighbours_that_answer_or_do_not_are_told_and_nothing_in_between() {
        let told = |family: u8, state: u16, address: &[u8]| {
            let mut body = vec![family, 0, 0, 0];
            body.extend(7_u32.to_ne_bytes());
            body.extend(state.to_ne_bytes());
            body.extend([0, 1]);
            put(&mut body, 1, address);
            neighbour(&Frame {
                kind: message::NEW_NEIGHBOUR,
                flags: 0,
                sequence: 0,
                port: 0,
                body: &body,
            })
        };
        let gateway = [192, 0, 2, 1];
        let is = |state| {
            Some(Hint::Neighbour {
                index: 7,
                address: gateway.into(),
                state,
            })
        };
        assert_eq!(told(2, 0x02, &gateway), is(NeighbourState::Reachable));
        assert_eq!(told(2, 0x10, &gateway), is(NeighbourState::Asked));
        assert_eq!(told(2, 0x20, &gateway), is(NeighbourState::Failed));
        for between in [0x01, 0x04, 0x08, 0x40, 0x80] {
            assert_eq!(told(2, between, &gateway), None);
        }
        assert_eq!(told(10, 0x20, &gateway), None, "too short an address");
        assert_eq!(told(7, 0x20, &gateway), None, "a bridge's entry");
    }

    #[test]
    fn nft_counts_only_in_our_table() {
        let body = |name: &[u8]| {
            let mut body = vec![1, 0, 0, 0];
            put(&mut body, nft::TABLE, name);
            body
        };
        assert_eq!(hint(10 << 8, 0, &body(b"uplinkd\0")), Some(Hint::Nft));
        assert_eq!(hint(10 << 8, 0, &body(b"uplinkd2\0")), None);
        let generation = nft::message::NEW_GENERATION;
        assert_eq!(hint(generation, 0, &body(b"uplinkd\0")), None);
    }

    #[test]
    fn what_resolvers_put_into_sets_is_no_hint_and_what_others_put_is() {
        let element = |set: &[u8]| {
            let mut body = vec![1, 0, 0, 0];
            put(&mut body, nft::TABLE, b"uplinkd\0");
            put(&mut body, nft::SET, set);
            hint(nft::message::NEW_ELEMENTS, 99, &body)
        };
        for set in [b"dns4_zoom\0".as_slice(), b"sticky6_1_2\0"] {
            assert_eq!(element(set), None);
        }
        assert_eq!(element(b"uplinks\0"), Some(Hint::Nft));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(
            kind in any::<u16>(),
            body in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let _ = hint(kind, 0, &body);
            let _ = neighbour(&Frame {
                kind: message::NEW_NEIGHBOUR,
                flags: 0,
                sequence: 0,
                port: 0,
                body: &body,
            });
        }
    }
}

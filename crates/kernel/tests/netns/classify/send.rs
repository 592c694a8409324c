//! Packets made by hand, so that every field is what the test wants.

use std::{
    io::IoSlice,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendmsg,
        setsockopt, socket, sockopt,
    },
    unistd::{Gid, Uid, setfsgid, setfsuid},
};
use uplinkd_model::{Family, policy::number_address};

use super::oracle::Flow;

/// A stranger's table gives packets that are forwarded the mark `n` when they have this many hops
/// left, plus `n`.
pub(crate) const HOPS: u8 = 100;

/// The packet, headers and all.
fn packet(flow: &Flow) -> Vec<u8> {
    let mut payload = vec![0; 20];
    match flow.protocol {
        6 | 17 => {
            payload[..2].copy_from_slice(&flow.ports.0.to_be_bytes());
            payload[2..4].copy_from_slice(&flow.ports.1.to_be_bytes());
            if flow.protocol == 17 {
                payload[4..6].copy_from_slice(&20_u16.to_be_bytes());
            } else {
                payload[12] = 5 << 4;
                payload[13] = 2; // SYN
            }
        }
        _ => {
            payload[0] = flow.icmp_type;
            payload[4..6].copy_from_slice(&flow.ports.0.to_be_bytes());
        }
    }
    let hops = HOPS + u8::try_from(flow.mark).unwrap();
    let mut bytes = match flow.family {
        Family::V4 => {
            let mut header = vec![
                0x45,
                flow.dscp << 2,
                0,
                40,
                0,
                0,
                0,
                0,
                hops,
                flow.protocol,
                0,
                0,
            ];
            header.extend_from_slice(&(flow.source as u32).to_be_bytes());
            header.extend_from_slice(&(flow.destination as u32).to_be_bytes());
            header
        }
        Family::V6 => {
            let class = flow.dscp << 2;
            let mut header = vec![
                0x60 | class >> 4,
                class << 4,
                0,
                0,
                0,
                20,
                flow.protocol,
                hops,
            ];
            header.extend_from_slice(&flow.source.to_be_bytes());
            header.extend_from_slice(&flow.destination.to_be_bytes());
            header
        }
    };
    bytes.append(&mut payload);
    bytes
}

fn raw_socket(family: Family) -> OwnedFd {
    let family = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    socket(family, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).unwrap()
}

/// Sends packets from the namespace of this thread; those of the router's own as their user.
pub(crate) fn send(flows: &[Flow]) {
    for flow in flows {
        setfsgid(Gid::from_raw(flow.group));
        setfsuid(Uid::from_raw(flow.user));
        let socket = raw_socket(flow.family);
        setfsuid(Uid::from_raw(0));
        setfsgid(Gid::from_raw(0));
        if flow.interface.is_none() && flow.mark != 0 {
            setsockopt(&socket, sockopt::Mark, &flow.mark).unwrap();
        }
        let to: IpAddr = number_address(flow.family, flow.destination);
        let to = SockaddrStorage::from(SocketAddr::new(to, 0));
        let bytes = packet(flow);
        let sent = sendmsg(
            socket.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            &[],
            MsgFlags::empty(),
            Some(&to),
        );
        assert_eq!(
            sent.unwrap_or_else(|e| panic!("{flow:?}: {e}")),
            bytes.len()
        );
    }
}

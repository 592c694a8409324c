//! Delegated prefixes: what is left alone, what is translated one to one, how it is found from
//! outside, and what goes when a prefix does.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use ipnet::Ipv6Net;
use uplinkd_kernel::Kernel;
use uplinkd_model::{
    Nat, Reserve, Slot, Step, kernel_state::NftState, nft::NftTable, prefix::Translation,
};

use crate::{
    common::{done, execute, in_netns, nft, sh},
    nft::state,
    packets::{Net, SERVER6, address, ask, lead_by_marks, net, socket, uplinks},
};

/// The client's network, and what stands for it on wan1.
const NETWORK: &str = "2001:db8:a::/64";
const PREFIX: &str = "2001:db8:100::/56";
const STANDS: &str = "2001:db8:100:a::/64";

fn prefix(text: &str) -> Ipv6Net {
    text.parse().unwrap()
}

/// Both uplinks masquerade, but wan1 translates the client's network.
fn translating(by: &str) -> NftTable {
    let mut table = uplinks([Nat::Masquerade; 2]);
    for uplink in &mut table.uplinks {
        uplink.nat6 = Nat::Masquerade;
    }
    let router = u128::from(prefix(by).network()) | 1;
    table.uplinks[0].translations = vec![Translation {
        network: prefix(NETWORK),
        by: prefix(by),
        inbound: true,
        router: vec![Ipv6Addr::from(router)],
    }];
    table
}

/// The drawing in `packets`, with the prefix routed to the router.
fn delegated() -> (Net, Kernel) {
    let net = net();
    net.isp[0].run(|| sh(&format!("ip -6 route add {PREFIX} via 2001:db8:1::2")));
    let mut kernel = Kernel::open().unwrap();
    lead_by_marks(&mut kernel);
    (net, kernel)
}

fn seen_by_server(net: &Net) -> IpAddr {
    net.client.run(|| ask(&socket("[::]:0"), SERVER6).unwrap())
}

/// Answers questions, also after waiting for one in vain a few times.
fn answer_for_a_while(socket: &UdpSocket) {
    for _ in 0..20 {
        if let Ok((_, from)) = socket.recv_from(&mut [0; 9]) {
            let _ = socket.send_to(from.to_string().as_bytes(), from);
        }
    }
}

#[test]
fn a_network_is_translated_one_to_one_and_the_router_is_not() {
    in_netns(|| {
        let (net, mut kernel) = delegated();
        done(&mut kernel, [Step::SetNft(translating(STANDS))]);
        assert_eq!(seen_by_server(&net), address("2001:db8:100:a::2"));
        // The router's own address in the LAN leaves as the uplink's.
        let own = ask(&socket("[2001:db8:a::1]:0"), SERVER6).unwrap();
        assert_eq!(own, address("2001:db8:1::2"));
        // An error that quotes the translated packet finds the host that sent it.
        let refused = net.client.run(|| {
            let socket = socket("[::]:0");
            socket.connect("[2001:db8:ffff::1]:1").unwrap();
            socket.send(b"?").unwrap();
            socket.recv(&mut [0; 9]).unwrap_err().kind()
        });
        assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn an_own_prefix_is_left_alone_on_its_own_uplink_only() {
    in_netns(|| {
        let (net, mut kernel) = delegated();
        let mut table = translating(STANDS);
        table.uplinks[0].kept = vec![prefix("2001:db8:a::/56")];
        table.uplinks[0].translations.clear();
        done(&mut kernel, [Step::SetNft(table.clone())]);
        assert_eq!(seen_by_server(&net), address("2001:db8:a::2"));
        table.uplinks[1].kept = std::mem::take(&mut table.uplinks[0].kept);
        done(&mut kernel, [Step::SetNft(table)]);
        assert_eq!(seen_by_server(&net), address("2001:db8:1::2"));
    });
}

#[test]
fn a_host_is_found_from_outside_unless_somebody_elses_forward_takes_it() {
    in_netns(|| {
        let (net, mut kernel) = delegated();
        done(&mut kernel, [Step::SetNft(translating(STANDS))]);
        net.client.run(|| {
            for port in [98, 99] {
                let socket = socket(&format!("[2001:db8:a::2]:{port}"));
                std::thread::spawn(move || answer_for_a_while(&socket));
            }
        });
        let router = socket("[2001:db8:a::1]:99");
        std::thread::spawn(move || answer_for_a_while(&router));
        let call = |to: &'static str| {
            net.isp[0].run(move || ask(&socket("[2001:db8:ffff::1]:0"), to).map_err(|e| e.kind()))
        };
        let caller = address("2001:db8:ffff::1");
        assert_eq!(call("[2001:db8:100:a::2]:99"), Ok(caller));
        assert!(call("[2001:db8:100:a::1]:99").is_err(), "the router itself");
        let mark = kernel.connections(u32::MAX, 100).unwrap().list;
        let inbound = Reserve::default().mark_in(Slot(1)).value;
        let is_pinned = |c: &uplinkd_model::Connection| {
            c.original.destination == address("2001:db8:100:a::2") && c.mark == inbound
        };
        assert!(mark.iter().any(is_pinned), "{mark:?}");
        nft(
            "table ip6 others { chain pre { type nat hook prerouting priority dstnat; \
             ip6 daddr 2001:db8:100:a::7 udp dport 99 dnat to [2001:db8:a::2]:98; }; }",
        );
        assert_eq!(call("[2001:db8:100:a::7]:99"), Ok(caller));
    });
}

#[test]
fn another_prefix_is_a_small_change_and_what_hung_on_the_old_one_is_released() {
    in_netns(|| {
        let (net, mut kernel) = delegated();
        let reserve = Reserve::default();
        done(&mut kernel, [Step::SetNft(translating(STANDS))]);
        assert_eq!(seen_by_server(&net), address("2001:db8:100:a::2"));
        let _own = ask(&socket("[2001:db8:1::2]:0"), SERVER6).unwrap();
        let handle = || {
            let listed = sh("nft -a list tables");
            listed
                .lines()
                .find(|l| l.contains("uplinkd"))
                .unwrap()
                .to_owned()
        };
        let before = handle();
        let table = translating("2001:db8:100:b::/64");
        done(&mut kernel, [Step::SetNft(table.clone())]);
        assert_eq!(handle(), before, "the table was made anew");
        assert_eq!(state(&mut kernel), NftState::Holds(table.fingerprint()));
        assert_eq!(seen_by_server(&net), address("2001:db8:100:b::2"));

        let count = |kernel: &mut Kernel| kernel.connections(u32::MAX, 100).unwrap().list.len();
        let all = count(&mut kernel);
        let release = |prefix: &str| Step::ReleasePrefix {
            mark: reserve.mark_all(Slot(1)),
            prefix: prefix.parse().unwrap(),
        };
        let nothing = execute(&mut kernel, [release("2001:db8:900::/56")]);
        assert_eq!(nothing, [uplinkd_model::Outcome::AlreadySo]);
        done(&mut kernel, [release(STANDS)]);
        assert_eq!(count(&mut kernel), all - 1);
        let left = kernel.connections(u32::MAX, 100).unwrap().list;
        let old = address("2001:db8:100:a::2");
        assert!(left.iter().all(|c| c.reply.destination != old), "{left:?}");
    });
}

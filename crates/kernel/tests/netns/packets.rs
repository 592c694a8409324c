//! Real packets through our nft table.
//!
//! ```text
//! client 10.0.0.2 ── lan  router  wan1 ── isp 100.64.1.1 ┐ both own 203.0.113.1, the server,
//!                                 wan2 ── isp 100.64.2.1 ┘ each in a namespace of its own
//! ```
//! The same in IPv6: client `2001:db8:a::2`, router `2001:db8:N::2`, server `2001:db8:ffff::1`.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use uplinkd_kernel::Kernel;
use uplinkd_model::{
    Classifier, Family, Nat, Reserve, RouteVia, Rule, Slot, Step, TableId,
    classify::{RuleStage, Stage},
    nft::NftTable,
};

use crate::{
    common::{Neighbour, OURS, default_route, device, done, in_netns, nft, sh},
    nft::{outlet, table, uplink},
};

pub(crate) const SERVER: &str = "203.0.113.1:7";
pub(crate) const SERVER6: &str = "[2001:db8:ffff::1]:7";

/// Everybody but the router, which is the test's own namespace.
pub(crate) struct Net {
    pub(crate) client: Neighbour,
    pub(crate) isp: [Neighbour; 2],
}

/// Makes the drawing above; the router's default leads out by wan2, as somebody else's would.
pub(crate) fn net() -> Net {
    let net = Net {
        client: Neighbour::new(),
        isp: [Neighbour::new(), Neighbour::new()],
    };
    for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        std::fs::write(format!("/proc/sys/net/{path}"), "1").unwrap();
    }
    let join = |name: &str, id: i32, number: &str, far: &Neighbour| {
        sh(&format!(
            "ip link add {name} type veth peer name wire netns {id}"
        ));
        let far_addresses = match number {
            "0" => ["10.0.0.2/24".to_owned(), "2001:db8:a::2/64".to_owned()],
            n => [format!("100.64.{n}.1/24"), format!("2001:db8:{n}::1/64")],
        };
        let near_addresses = match number {
            "0" => ["10.0.0.1/24".to_owned(), "2001:db8:a::1/64".to_owned()],
            n => [format!("100.64.{n}.2/24"), format!("2001:db8:{n}::2/64")],
        };
        let gateways = near_addresses
            .clone()
            .map(|a| a.split('/').next().unwrap().to_owned());
        for address in &near_addresses {
            add_address(address, name);
        }
        sh(&format!("ip link set {name} up"));
        far.run(move || {
            for address in &far_addresses {
                add_address(address, "wire");
            }
            sh("ip link set wire up");
            for gateway in &gateways {
                sh(&format!("ip route add default via {gateway}"));
            }
        });
    };
    join("lan", net.client.id, "0", &net.client);
    for (number, isp) in ["1", "2"].into_iter().zip(&net.isp) {
        join(&format!("wan{number}"), isp.id, number, isp);
        isp.run(|| {
            add_address("203.0.113.1/32", "lo");
            add_address("2001:db8:ffff::1/128", "lo");
            for address in [SERVER, SERVER6] {
                let socket = UdpSocket::bind(address).unwrap();
                std::thread::spawn(move || echo(&socket));
            }
        });
    }
    sh("ip route add default via 100.64.2.1");
    sh("ip route add default via 2001:db8:2::1");
    net
}

/// Adds an address that can be used at once.
pub(crate) fn add_address(address: &str, device: &str) {
    let nodad = if address.contains(':') { "nodad" } else { "" };
    sh(&format!("ip addr add {address} dev {device} {nodad}"));
}

/// Tells everybody who asks where the question came from.
fn echo(socket: &UdpSocket) {
    let mut buffer = [0; 100];
    while let Ok((_, from)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(from.to_string().as_bytes(), from);
    }
}

pub(crate) fn socket(address: &str) -> UdpSocket {
    // A child of another test, which has not become another program yet, can still hold the one before.
    let deadline = Instant::now() + Duration::from_secs(5);
    let socket = loop {
        match UdpSocket::bind(address) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            bound => break bound.unwrap(),
        }
    };
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    socket
}

/// Asks the server how it sees us.
pub(crate) fn ask(socket: &UdpSocket, server: &str) -> io::Result<IpAddr> {
    socket.send_to(b"?", server)?;
    let mut buffer = [0; 100];
    let (length, _) = socket.recv_from(&mut buffer)?;
    let text = std::str::from_utf8(&buffer[..length]).unwrap();
    Ok(text.parse::<SocketAddr>().unwrap().ip())
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn uplinks(nat: [Nat; 2]) -> NftTable {
    let [one, two] = nat;
    table(vec![
        uplink(1, "wan1", one, &["100.64.1.2", "2001:db8:1::2"]),
        uplink(2, "wan2", two, &["100.64.2.2", "2001:db8:2::2"]),
    ])
}

/// The same without addresses, so that nothing can be adopted: what is pinned was pinned when it
/// began.
fn uplinks_that_adopt_nothing() -> NftTable {
    let mut table = uplinks([Nat::Masquerade; 2]);
    for uplink in &mut table.uplinks {
        uplink.addresses.clear();
    }
    table
}

/// A policy that sends everything to an outlet.
pub(crate) fn all_to(table: &mut NftTable, code: u16) {
    let all = Stage::Rule(RuleStage {
        conditions: Vec::new(),
        outlet: code,
        policy: 0,
    });
    table.outlets = (0..=code).map(outlet).collect();
    table.classifier = Arc::new(Classifier {
        v4: vec![all.clone()],
        v6: vec![all],
        fingerprint: u64::from(code) + 1,
        ..Classifier::default()
    });
}

/// Rules and routes that lead what has an uplink's mark out by that uplink, and the rest by wan1.
pub(crate) fn lead_by_marks(kernel: &mut Kernel) {
    let reserve = Reserve::default();
    for family in [Family::V4, Family::V6] {
        let main = Rule {
            suppress_prefix_length: Some(0),
            ..Rule::lookup(family, 2000, TableId::MAIN, OURS)
        };
        let table_of_wan1 = reserve.table_service(Slot(1));
        let last = Rule::lookup(family, 2300, table_of_wan1, OURS);
        done(kernel, [Step::AddRule(main), Step::AddRule(last)]);
        for slot in [1, 2] {
            let gateway = match family {
                Family::V4 => address(&format!("100.64.{slot}.1")),
                Family::V6 => address(&format!("2001:db8:{slot}::1")),
            };
            let via = RouteVia::Device {
                device: device(&format!("wan{slot}")),
                gateway: Some(gateway),
            };
            let table = reserve.table_service(Slot(slot));
            let rule = Rule {
                mark: Some(reserve.mark_all(Slot(slot))),
                ..Rule::lookup(family, 2100, table, OURS)
            };
            done(
                kernel,
                [
                    Step::AddRoute(default_route(family, table.0, 10, via)),
                    Step::AddRule(rule),
                ],
            );
        }
    }
}

/// The mark of the one connection with these words in its line.
pub(crate) fn connection_mark(words: &str) -> u32 {
    let all = sh("conntrack -L -p udp");
    let mut lines = all.lines().filter(|l| l.contains(words));
    let line = lines.next().unwrap_or_else(|| panic!("{words}: {all}"));
    assert_eq!(lines.next(), None, "{all}");
    let mark = line
        .split_whitespace()
        .find_map(|w| w.strip_prefix("mark="));
    mark.unwrap().parse().unwrap()
}

#[test]
fn bits_of_others_pass_unchanged_in_packets_and_connections() {
    in_netns(|| {
        let net = net();
        let mut kernel = Kernel::open().unwrap();
        lead_by_marks(&mut kernel);
        let mut content = uplinks_that_adopt_nothing();
        all_to(&mut content, 2);
        done(&mut kernel, [Step::SetNft(content)]);
        // A stranger marks packets and connections before us and counts what it sees after us.
        nft("table inet stranger {
               counter good { }
               counter bad { }
               chain before {
                 type filter hook prerouting priority -170
                 iifname lan udp dport 7 meta mark set 0x00e00005
                 iifname lan udp dport 7 ct state new ct mark set 0x00400007
               }
               chain after {
                 type filter hook forward priority 0
                 iifname lan udp dport 7 meta mark 0x20e00005 ct state new counter name good
                 iifname lan udp dport 7 meta mark 0x21e00005 ct state established counter name good
                 iifname lan udp dport 7 meta mark != { 0x20e00005, 0x21e00005 } counter name bad
               }
             }");
        let seen = net.client.run(|| {
            let socket = socket("0.0.0.0:0");
            [(); 3].map(|()| ask(&socket, SERVER).unwrap())
        });
        assert_eq!(seen, [address("100.64.1.2"); 3]);
        assert_eq!(connection_mark("src=10.0.0.2"), 0x2140_0007);
        let count = |name: &str| sh(&format!("nft list counter inet stranger {name}"));
        assert!(count("good").contains("packets 3"), "{}", count("good"));
        assert!(count("bad").contains("packets 0"), "{}", count("bad"));
    });
}

#[test]
fn connections_stay_where_they_began_and_inbound_ones_are_answered_where_they_came_in() {
    in_netns(|| {
        let net = net();
        let mut kernel = Kernel::open().unwrap();
        lead_by_marks(&mut kernel);
        done(&mut kernel, [Step::SetNft(uplinks_that_adopt_nothing())]);
        let reserve = Reserve::default();
        for (slot, isp) in (1..).zip(&net.isp) {
            let targets = [
                format!("100.64.{slot}.2:99"),
                format!("[2001:db8:{slot}::2]:98"),
            ];
            let sources = ["203.0.113.1:0", "[2001:db8:ffff::1]:0"];
            for target in &targets {
                let socket = UdpSocket::bind(target.as_str()).unwrap();
                std::thread::spawn(move || echo(&socket));
            }
            for (target, source) in targets.into_iter().zip(sources) {
                let seen = isp.run(move || {
                    let socket = socket(source);
                    [(); 2].map(|()| ask(&socket, &target).unwrap())
                });
                let from = source.parse::<SocketAddr>().unwrap().ip();
                assert_eq!(seen, [from; 2]);
                let words = format!(
                    "src={from} dst={}",
                    if from.is_ipv4() {
                        format!("100.64.{slot}.2")
                    } else {
                        format!("2001:db8:{slot}::2")
                    }
                );
                let expected = reserve.mark_in(Slot(slot)).value;
                assert_eq!(connection_mark(&words), expected, "{words}");
            }
        }
    });
}

#[test]
fn connections_older_than_us_are_adopted_by_their_addresses() {
    in_netns(|| {
        let net = net();
        let mut kernel = Kernel::open().unwrap();
        let reserve = Reserve::default();
        // Before us: somebody's masquerade, everything by wan2. Without a rule that needs it, the
        // kernel tracks no connections of that family, and to us they would all be new.
        nft("table inet before {
               chain nat {
                 type nat hook postrouting priority srcnat
                 meta nfproto ipv4 oifname wan2 masquerade
               }
             }");
        let (tell, socket_there) = std::sync::mpsc::channel();
        let forwarded = move || {
            let socket = socket("0.0.0.0:5001");
            tell.send(socket.try_clone().unwrap()).unwrap();
            ask(&socket, SERVER).unwrap()
        };
        assert_eq!(net.client.run(forwarded), address("100.64.2.2"));
        let forwarded = socket_there.recv().unwrap();
        // Bound, or the kernel would choose another source, which makes another connection.
        let own = [socket("100.64.2.2:5002"), socket("[2001:db8:2::2]:5003")];
        assert_eq!(ask(&own[0], SERVER).unwrap(), address("100.64.2.2"));
        assert_eq!(ask(&own[1], SERVER6).unwrap(), address("2001:db8:2::2"));
        // And from outside, in by wan2.
        let service = [socket("100.64.2.2:99"), socket("[2001:db8:2::2]:98")];
        let outside = net.isp[1].run(|| {
            [
                ("203.0.113.1:5004", "100.64.2.2:99"),
                ("[2001:db8:ffff::1]:5005", "[2001:db8:2::2]:98"),
            ]
            .map(|(source, target)| {
                let socket = socket(source);
                socket.connect(target).unwrap();
                socket.send(b"?").unwrap();
                socket
            })
        });
        let answer = |n: usize| {
            let mut buffer = [0; 9];
            let (_, from) = service[n].recv_from(&mut buffer).unwrap();
            service[n].send_to(b"!", from).unwrap();
            outside[n].recv(&mut buffer).unwrap();
        };
        answer(0);
        answer(1);

        done(&mut kernel, [Step::SetNft(uplinks([Nat::Masquerade; 2]))]);
        lead_by_marks(&mut kernel);

        // New connections leave by wan1; the old ones stay.
        let new = net
            .client
            .run(|| ask(&socket("0.0.0.0:0"), SERVER).unwrap());
        assert_eq!(new, address("100.64.1.2"));
        assert_eq!(ask(&forwarded, SERVER).unwrap(), address("100.64.2.2"));
        assert_eq!(ask(&own[0], SERVER).unwrap(), address("100.64.2.2"));
        assert_eq!(ask(&own[1], SERVER6).unwrap(), address("2001:db8:2::2"));
        let out = reserve.mark_out(Slot(2)).value;
        for port in ["sport=5001", "sport=5002", "sport=5003"] {
            assert_eq!(connection_mark(&format!("{port} dport=7")), out, "{port}");
        }
        // The outside speaks again, and is answered by the way it came.
        for (n, words) in ["sport=5004 dport=99", "sport=5005 dport=98"]
            .into_iter()
            .enumerate()
        {
            outside[n].send(b"?").unwrap();
            answer(n);
            let inbound = reserve.mark_in(Slot(2)).value;
            assert_eq!(connection_mark(words), inbound, "{words}");
        }
    });
}

#[test]
fn a_static_source_replaces_that_of_the_lan_but_not_the_uplinks_own() {
    in_netns(|| {
        let net = net();
        let mut kernel = Kernel::open().unwrap();
        lead_by_marks(&mut kernel);
        let extra = address("100.64.1.77");
        sh("ip addr add 100.64.1.77/32 dev wan1");
        let shape = uplinks([Nat::Source(extra), Nat::None]);
        done(&mut kernel, [Step::SetNft(shape)]);
        let lan = net
            .client
            .run(|| ask(&socket("0.0.0.0:0"), SERVER).unwrap());
        assert_eq!(lan, extra);
        let own = ask(&socket("100.64.1.2:0"), SERVER).unwrap();
        assert_eq!(own, address("100.64.1.2"));
        let six = net.client.run(|| ask(&socket("[::]:0"), SERVER6).unwrap());
        assert_eq!(six, address("2001:db8:a::2"), "IPv6 is not translated");
    });
}

#[test]
fn ipv6_is_translated_where_it_is_asked_for() {
    in_netns(|| {
        let net = net();
        let mut kernel = Kernel::open().unwrap();
        lead_by_marks(&mut kernel);
        for (nat, expected) in [
            (Nat::Masquerade, "2001:db8:1::2"),
            (Nat::Source(address("2001:db8:1::77")), "2001:db8:1::77"),
            (Nat::None, "2001:db8:a::2"),
        ] {
            let mut content = uplinks([Nat::None; 2]);
            content.uplinks[0].nat6 = nat;
            // Otherwise `masquerade` may choose it: the kernel has no first address.
            let how = if matches!(nat, Nat::Source(_)) {
                "add"
            } else {
                "del"
            };
            crate::common::try_sh(&format!(
                "ip -6 addr {how} 2001:db8:1::77/64 dev wan1 nodad"
            ));
            done(&mut kernel, [Step::SetNft(content)]);
            let seen = net.client.run(|| ask(&socket("[::]:0"), SERVER6).unwrap());
            assert_eq!(seen, address(expected));
            // The uplink's own address is not rewritten.
            let own = ask(&socket("[2001:db8:1::2]:0"), SERVER6).unwrap();
            assert_eq!(own, address("2001:db8:1::2"));
            let marked = kernel
                .connections(Reserve::default().mark_mask, 1000)
                .unwrap();
            assert!(marked.complete);
            assert!(marked.list.iter().any(|c| {
                c.original.source == address("2001:db8:a::2")
                    && c.reply.destination == address(expected)
                    && c.mark == Reserve::default().mark_out(Slot(1)).value
            }));
        }
    });
}

#[test]
fn what_is_of_no_uplink_is_left_alone() {
    in_netns(|| {
        let net = net();
        let mut kernel = Kernel::open().unwrap();
        done(&mut kernel, [Step::SetNft(table(Vec::new()))]);
        let service = socket("10.0.0.1:99");
        std::thread::spawn(move || echo(&service));
        let seen = net
            .client
            .run(|| ask(&socket("0.0.0.0:0"), "10.0.0.1:99").unwrap());
        assert_eq!(seen, address("10.0.0.2"));
        assert_eq!(connection_mark("src=10.0.0.2 dst=10.0.0.1"), 0);
    });
}

/// A VPN's network is known to its own table alone, whose rule is asked after ours.
#[test]
fn answers_reach_a_network_that_only_a_later_rule_knows() {
    in_netns(|| {
        let net = net();
        sh("ip route add 10.0.0.0/24 dev lan table 52");
        sh("ip route del 10.0.0.0/24 dev lan table main");
        sh("ip rule add pref 2200 lookup 52");
        let mut kernel = Kernel::open().unwrap();
        lead_by_marks(&mut kernel);
        done(&mut kernel, [Step::SetNft(uplinks_that_adopt_nothing())]);
        let seen = net.client.run(|| {
            let socket = socket("0.0.0.0:0");
            [(); 3].map(|()| ask(&socket, SERVER).map_err(|e| e.kind()))
        });
        assert_eq!(seen, [Ok(address("100.64.1.2")); 3]);
    });
}

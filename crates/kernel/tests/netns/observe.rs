//! What a look shows, and what it costs beside many routes of others.

use std::{collections::BTreeSet, fmt::Write as _, fs, time::Instant};

use uplinkd_kernel::{Kernel, Look};
use uplinkd_model::{Family, RouteVia, TableId, kernel_state::ForeignDefault};

use crate::common::{Neighbour, device, in_netns, look, observe, sh, veth};

#[test]
fn links_show_their_state_and_the_addresses_that_can_be_used() {
    in_netns(|| {
        veth(
            "wan1",
            &["192.0.2.9/24", "169.254.7.7/16", "2001:db8::9/64"],
        );
        sh("ip link add off type veth peer name ppp");
        sh("ip link set off up");
        sh("ip addr add 192.0.2.50 peer 198.51.100.1/32 dev ppp");
        sh("ip link set ppp up");
        sh("ip link set wan1-far down");
        sh("ip link add lan type bridge");
        sh("ip link property add dev wan1 altname enp3s0 altname a-rather-long-name");
        // One link-local address is ready for use, the other is still being claimed.
        sh("ip addr add fe80::9/64 dev ppp nodad");
        sh("ip link add slow type veth peer name slow-far");
        for (key, value) in [("dad_transmits", "1000"), ("accept_dad", "1")] {
            fs::write(format!("/proc/sys/net/ipv6/conf/slow/{key}"), value).unwrap();
        }
        sh("ip link set slow-far up");
        sh("ip link set slow up");
        sh("ip addr add fe80::8/64 dev slow");
        let seen = observe(&mut Kernel::open().unwrap());
        let has_link_local = |name| seen.link_local.contains(&device(name).index);
        assert!(has_link_local("ppp"));
        assert!(!has_link_local("slow") && !has_link_local("lan"));
        let wan = seen.link("wan1").unwrap();
        assert!(wan.admin_up && !wan.carrier && !wan.point_to_point);
        assert!(
            wan.alternative_names
                .iter()
                .eq(["a-rather-long-name", "enp3s0"])
        );
        let addresses: Vec<_> = wan.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.9/24", "2001:db8::9/64"]);
        assert!(!seen.link("lan").unwrap().admin_up);
        let ppp = seen.link("ppp").unwrap();
        assert_eq!(ppp.addresses, ["192.0.2.50/32".parse().unwrap()]);
        assert!(ppp.admin_up && ppp.carrier);
    });
}

fn look_for(interfaces: &[&str]) -> Look {
    Look {
        uplink_interfaces: interfaces.iter().map(|i| (*i).to_owned()).collect(),
        ..look()
    }
}

#[test]
fn default_routes_of_others_are_found_however_they_are_made() {
    in_netns(|| {
        veth("wan1", &["192.0.2.9/24", "2001:db8:1::9/64"]);
        veth("wan2", &["198.51.100.9/24", "2001:db8:2::9/64"]);
        veth("lan", &["10.0.0.1/24"]);
        for line in [
            "ip route add default via 192.0.2.1 dev wan1 metric 5 proto dhcp",
            "ip nexthop add id 5 via 192.0.2.2 dev wan1",
            "ip nexthop add id 6 via 198.51.100.2 dev wan2",
            "ip nexthop add id 7 group 5/6",
            "ip route add default nhid 5 metric 6",
            "ip route add default nhid 7 metric 7",
            "ip route add default metric 8 nexthop via 192.0.2.3 dev wan1 nexthop via 198.51.100.3 dev wan2",
            "ip route add default dev wan2 metric 9",
            "ip -6 route add default via 2001:db8:1::1 dev wan1 metric 10",
            "ip -4 route add default via inet6 fe80::5 dev wan2 metric 11",
            "ip route add default via 203.0.113.9 dev wan1 onlink metric 12",
            "ip route add default metric 13 nexthop via 203.0.113.8 dev wan1 onlink nexthop via 198.51.100.3 dev wan2",
            "ip route add default via 192.0.2.4 dev wan1 metric 14 table 100",
            "ip -6 route add default via 2001:db8:2::1 dev wan2 metric 15 table 100 proto ra",
            // Not of interest: ours, elsewhere, by another interface, not a default.
            "ip route add default via 192.0.2.4 dev wan1 metric 20 proto 177",
            "ip route add default via 10.0.0.2 dev lan metric 21",
            "ip route add 203.0.113.0/24 via 192.0.2.4 dev wan1",
            "ip route add 203.0.113.7 dev wan1",
            "ip route add 203.0.113.6 dev wan1 table 100",
        ] {
            sh(line);
        }
        let (wan1, wan2) = (device("wan1").index, device("wan2").index);
        let expected = [
            (wan1, Some("192.0.2.1"), 5),
            (wan1, Some("192.0.2.2"), 6),
            (wan1, Some("192.0.2.2"), 7),
            (wan2, Some("198.51.100.2"), 7),
            (wan1, Some("192.0.2.3"), 8),
            (wan2, Some("198.51.100.3"), 8),
            (wan2, None, 9),
            (wan1, Some("2001:db8:1::1"), 10),
            (wan2, Some("fe80::5"), 11),
            (wan1, Some("203.0.113.9"), 12),
            (wan1, Some("203.0.113.8"), 13),
            (wan2, Some("198.51.100.3"), 13),
            (wan1, Some("192.0.2.4"), 14),
            (wan2, Some("2001:db8:2::1"), 15),
        ];
        for compat in ["1", "0"] {
            fs::write("/proc/sys/net/ipv4/nexthop_compat_mode", compat).unwrap();
            let look = look_for(&["wan1", "wan2"]);
            let seen = Kernel::open().unwrap().observe(&look).unwrap();
            let networks: BTreeSet<_> = ["192.0.2.0/24", "203.0.113.7/32"]
                .map(|n| n.parse().unwrap())
                .into();
            assert_eq!(seen.on_link[&wan1], networks);
            let mut found = seen.foreign_defaults;
            found.sort_by_key(|d| (d.metric, d.ifindex));
            let expected = expected.map(|(ifindex, gateway, metric)| ForeignDefault {
                ifindex,
                gateway: gateway.map(|g| g.parse().unwrap()),
                family: if [10, 15].contains(&metric) {
                    Family::V6
                } else {
                    Family::V4
                },
                table: if metric < 14 {
                    TableId::MAIN
                } else {
                    TableId(100)
                },
                metric,
                on_link: ifindex == wan1 && [12, 13].contains(&metric),
                advertised: metric == 15,
                expires_in: None,
            });
            assert_eq!(found, expected);
        }
    });
}

/// A router advertisement from `fe80::1`, as its far end sends it: hop limit 255, lifetime 1800 s.
/// Whether it could be sent: the link needs a moment.
fn advertise(device: &str) -> bool {
    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, setsockopt,
        socket, sockopt,
    };
    let source: std::net::Ipv6Addr = "fe80::1".parse().unwrap();
    let target: std::net::Ipv6Addr = "ff02::1".parse().unwrap();
    let mut message = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let pseudo = [
        &source.octets()[..],
        &target.octets(),
        &[0, 0, 0, 16, 0, 0, 0, 58],
        &message,
    ];
    let words = pseudo.concat();
    let sum: u32 = words
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | u32::from(c[1]))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let packet = [
        &[0x60, 0, 0, 0, 0, 16, 58, 255][..],
        &source.octets(),
        &target.octets(),
        &message,
    ];
    let socket = socket(
        AddressFamily::Inet6,
        SockType::Raw,
        SockFlag::empty(),
        SockProtocol::Raw,
    )
    .unwrap();
    let index = nix::net::if_::if_nametoindex(device).unwrap();
    setsockopt(&socket, sockopt::BindToDevice, &device.into()).unwrap();
    let to = SockaddrIn6::from(std::net::SocketAddrV6::new(target, 0, 0, index));
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    sendto(fd, &packet.concat(), &to, MsgFlags::empty()).is_ok()
}

#[test]
fn default_routes_of_ipv6_are_found_by_advertisement_and_over_several_interfaces() {
    in_netns(|| {
        let far = Neighbour::new();
        sh(&format!(
            "ip link add wan1 type veth peer name wire netns {}",
            far.id
        ));
        sh("ip link set wan1 up");
        veth("wan2", &["2001:db8:2::9/64"]);
        far.run(|| {
            sh("ip addr add fe80::1/64 dev wire nodad");
            sh("ip link set wire up");
        });
        let mut kernel = Kernel::open().unwrap();
        let mut found = || {
            let seen = kernel.observe(&look_for(&["wan1", "wan2"])).unwrap();
            let found = seen.foreign_defaults.into_iter();
            let found = found.map(|d| (d.ifindex, d.gateway.unwrap().to_string(), d.metric));
            found.collect::<Vec<_>>()
        };
        let (wan1, wan2) = (device("wan1").index, device("wan2").index);
        for _ in 0..200 {
            if far.run(|| advertise("wire")) && !found().is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let advertised = (wan1, "fe80::1".to_owned(), 1024);
        assert_eq!(found(), vec![advertised.clone()]);
        sh(
            "ip -6 route add default metric 7 nexthop via fe80::7 dev wan1 nexthop via fe80::8 dev wan2",
        );
        let mut all = found();
        all.sort();
        let mut expected = [
            advertised,
            (wan1, "fe80::7".to_owned(), 7),
            (wan2, "fe80::8".to_owned(), 7),
        ];
        expected.sort();
        assert_eq!(all, expected);
    });
}

#[test]
fn routes_count_by_protocol_and_by_table() {
    in_netns(|| {
        veth("wan1", &["192.0.2.9/24", "2001:db8::9/64"]);
        for family in ["-4", "-6"] {
            let net = if family == "-4" {
                "203.0.113.0/24"
            } else {
                "2001:db8:9::/48"
            };
            let places = [
                "table 9 proto 177",
                "table 7001",
                "table 7500 proto 4",
                "table 9",
            ];
            for (metric, place) in (1..).zip(places) {
                sh(&format!(
                    "ip {family} route add {net} dev wan1 {place} metric {metric}"
                ));
            }
            // Nothing of ours is in table 7500, but a rule leads there.
            sh(&format!("ip {family} rule add pref 5000 lookup 7500"));
        }
        let seen = observe(&mut Kernel::open().unwrap());
        let tables: Vec<_> = seen.routes.iter().map(|r| (r.table.0, r.proto.0)).collect();
        assert_eq!(
            tables,
            [
                (9, 177),
                (9, 177),
                (7001, 3),
                (7001, 3),
                (7500, 4),
                (7500, 4)
            ]
        );
        assert!(
            seen.routes
                .iter()
                .all(|r| matches!(r.via, RouteVia::Device { .. }))
        );
    });
}

#[test]
fn routes_and_addresses_that_tell_of_delegated_prefixes_are_found() {
    in_netns(|| {
        veth("wan1", &["2001:db8:1::9/64"]);
        veth("wan2", &["2001:db8:2::9/64"]);
        veth("lan", &["2001:db8:100::1/64", "fd00::1/64"]);
        for line in [
            "default from 2001:db8:100::/56 via fe80::1 dev wan1 proto static metric 512",
            "default from 2001:db8:200::/56 via fe80::1 dev wan2",
            "default via fe80::1 dev wan1",
            "unreachable 2001:db8:100::/56 dev lo proto static metric 2147483647",
            "blackhole 2001:db8:300::/48 proto dhcp",
            "prohibit 2001:db8:400::/60",
            // Not of interest: ours, elsewhere, by another interface, too long, nobody's, no default.
            "default from 2001:db8:500::/56 via fe80::1 dev wan1 proto 177",
            "default from 2001:db8:600::/56 via fe80::1 dev wan1 table 100",
            "default from 2001:db8:700::/56 via fe80::1 dev lan",
            "unreachable 2001:db8:800::/56 proto 177",
            "unreachable 2001:db8:900::/56 table 100",
            "unreachable 2001:db8:a00::/72",
            "unreachable fc00::/7",
            "2001:db8:b00::/56 from 2001:db8:c00::/56 via fe80::1 dev wan1",
        ] {
            sh(&format!("ip -6 route add {line}"));
        }
        sh("ip addr change 2001:db8:100::1/64 dev lan preferred_lft 0 valid_lft 600");
        let look = look_for(&["wan1", "wan2"]);
        let found = Kernel::open().unwrap().observe(&look).unwrap().prefixes;
        let sourced = found.sourced.iter();
        let sourced: Vec<_> = sourced
            .map(|d| (d.metric, d.prefix.to_string(), d.ifindex))
            .collect();
        let expected = [
            (512, "2001:db8:100::/56".to_owned(), device("wan1").index),
            (1024, "2001:db8:200::/56".to_owned(), device("wan2").index),
        ];
        assert_eq!(sourced, expected);
        let refused: Vec<_> = found.refused.iter().map(ToString::to_string).collect();
        let expected = [
            "2001:db8:100::/56",
            "2001:db8:300::/48",
            "2001:db8:400::/60",
        ];
        assert_eq!(refused, expected);
        let address = "2001:db8:100::1".parse().unwrap();
        assert_eq!(
            found.deprecated,
            [(device("lan").index, address)].into(),
            "what is deprecated"
        );
        let elsewhere = Kernel::open().unwrap().observe(&look_for(&[])).unwrap();
        assert_eq!(elsewhere.prefixes.sourced, []);
    });
}

#[test]
fn a_look_stays_cheap_beside_100_000_routes_of_others() {
    in_netns(|| {
        veth("wan1", &["192.0.2.9/24"]);
        veth("lan", &["10.0.0.1/24"]);
        sh("ip route add default via 192.0.2.1 dev wan1");
        let dir = tempfile::tempdir().unwrap();
        let cost = |device: &str, gateway: &str, first: u32| {
            let mut batch = String::new();
            for n in first..first + 100_000 {
                let (a, b, c) = (n >> 16 & 255, n >> 8 & 255, n & 255);
                writeln!(
                    batch,
                    "route add {}.{a}.{b}.{c}/32 via {gateway} dev {device}",
                    20
                )
                .unwrap();
            }
            let file = dir.path().join("batch");
            fs::write(&file, batch).unwrap();
            sh(&format!("ip -batch {}", file.display()));
            let mut kernel = Kernel::open().unwrap();
            let start = Instant::now();
            let seen = kernel.observe(&look_for(&["wan1"])).unwrap();
            assert_eq!(seen.foreign_defaults.len(), 1);
            start.elapsed()
        };
        let start = Instant::now();
        let mut kernel = Kernel::open().unwrap();
        kernel.observe(&look_for(&["wan1"])).unwrap();
        let empty = start.elapsed();
        let by_lan = cost("lan", "10.0.0.2", 0);
        let by_uplink = cost("wan1", "192.0.2.1", 200_000);
        println!(
            "a look: {empty:?}; beside 100,000 routes: {by_lan:?}; by the uplink: {by_uplink:?}"
        );
        assert!(by_lan.as_millis() < 1000 && by_uplink.as_millis() < 3000);
    });
}

#[test]
fn a_look_stays_cheap_beside_100_000_ipv6_routes_of_others() {
    in_netns(|| {
        veth("wan1", &["2001:db8:1::9/64"]);
        veth("lan", &["fd00::1/64"]);
        sh("ip -6 route add default via 2001:db8:1::1 dev wan1");
        sh("ip -6 route add unreachable 2001:db8:100::/56");
        let dir = tempfile::tempdir().unwrap();
        for (what, way) in [
            ("by the LAN", "via fd00::2 dev lan"),
            ("by the uplink", "via 2001:db8:1::1 dev wan1"),
        ] {
            let mut batch = String::new();
            for n in 0..100_000 {
                let (a, b) = (n >> 16, n & 0xffff);
                let metric = what.len();
                let line = format!("route replace 2a00:{a:x}:{b:x}::/48 {way} metric {metric}");
                writeln!(batch, "{line}").unwrap();
            }
            let file = dir.path().join("batch");
            fs::write(&file, batch).unwrap();
            sh(&format!("ip -6 -batch {}", file.display()));
            let mut kernel = Kernel::open().unwrap();
            let start = Instant::now();
            let seen = kernel.observe(&look_for(&["wan1"])).unwrap();
            let whole = start.elapsed();
            assert_eq!(seen.foreign_defaults.len(), 1);
            assert_eq!(seen.prefixes.refused.len(), 1);
            println!("a look beside 100,000 routes {what}: {whole:?}");
            assert!(whole.as_millis() < 3000);
        }
    });
}

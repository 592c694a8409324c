//! Each step is carried out and seen again, and takes nothing of a stranger's with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::UdpSocket,
};

use nix::libc;
use uplinkd_kernel::{ConnectionQuery, Kernel, RouteKind, RouteQuery};
use uplinkd_model::{
    Family, Mark, Nat, NexthopId, NexthopKind, Outcome, Route, RouteVia, Rule, RulePriority, Step,
    TableId, ids::Proto, kernel_state::RuleAction,
};

use crate::common::{
    OURS, default_route, device, done, execute, group, in_netns, look, nft, observe, refusal, sh,
    single, try_sh, veth,
};

const ID: u32 = 177_000_001;

#[test]
fn nexthops_and_groups_come_and_go() {
    in_netns(|| {
        let wan = veth("wan1", &["192.0.2.9/24", "2001:db8::9/64"]);
        let mut kernel = Kernel::open().unwrap();
        let all = [
            single(ID, &wan, "192.0.2.1"),
            single(ID + 1, &wan, "192.0.2.2"),
            group(ID + 2, &[(ID, 3), (ID + 1, 256)]),
            single(ID + 3, &wan, "2001:db8::1"),
        ];
        done(&mut kernel, all.clone().map(Step::AddNexthop));
        let seen = observe(&mut kernel).nexthops;
        assert_eq!(seen.into_values().collect::<Vec<_>>(), all);
        let listing = sh("ip nexthop show id 177000003");
        assert!(
            listing.contains("group 177000001,3/177000002,256 proto 177"),
            "{listing}"
        );

        assert_eq!(
            execute(&mut kernel, all.clone().map(Step::AddNexthop)),
            [const { Outcome::AlreadySo }; 4]
        );
        let changed = single(ID, &wan, "192.0.2.77");
        let outcomes = execute(&mut kernel, [Step::AddNexthop(changed.clone())]);
        let (errno, text) = refusal(&outcomes[0]);
        assert_eq!(errno, libc::EEXIST);
        assert!(
            text.contains("there is: id 177000001 via 192.0.2.1"),
            "{text}"
        );

        done(&mut kernel, [Step::ReplaceNexthop(changed.clone())]);
        assert_eq!(observe(&mut kernel).nexthops[&changed.id], changed);
        done(&mut kernel, [Step::DeleteNexthop(changed.id)]);
        assert_eq!(
            execute(&mut kernel, [Step::DeleteNexthop(changed.id)]),
            [Outcome::AlreadySo]
        );
    });
}

#[test]
fn routes_of_every_kind_come_and_go() {
    in_netns(|| {
        let wan = veth("wan1", &["192.0.2.9/24", "2001:db8::9/64"]);
        let mut kernel = Kernel::open().unwrap();
        done(
            &mut kernel,
            [
                Step::AddNexthop(single(ID, &wan, "192.0.2.1")),
                Step::AddNexthop(group(ID + 1, &[(ID, 1)])),
                Step::AddNexthop(single(ID + 2, &wan, "2001:db8::1")),
            ],
        );
        let by = |gateway: Option<&str>| RouteVia::Device {
            device: wan.clone(),
            gateway: gateway.map(|g| g.parse().unwrap()),
        };
        let nexthop = |n: u32| RouteVia::Nexthop(NexthopId(n));
        let mut routes = vec![
            default_route(Family::V4, 7001, 0, nexthop(ID)),
            default_route(Family::V4, 7001, 10, nexthop(ID + 1)),
            default_route(Family::V4, 7001, 20, by(Some("192.0.2.1"))),
            default_route(Family::V4, 7001, 30, by(None)),
            default_route(Family::V4, 7001, 0xff00_0000, RouteVia::Prohibit),
            default_route(Family::V6, 7001, 1024, nexthop(ID + 2)),
            default_route(Family::V6, 7001, 20, by(Some("2001:db8::1"))),
            default_route(Family::V6, 7001, 30, by(None)),
            default_route(Family::V6, 7001, 0xff00_0000, RouteVia::Prohibit),
            Route {
                destination: "198.51.100.0/24".parse().unwrap(),
                source: Some("192.0.2.9".parse().unwrap()),
                ..default_route(Family::V4, 7002, 5, nexthop(ID))
            },
        ];
        routes.sort();
        done(&mut kernel, routes.iter().cloned().map(Step::AddRoute));
        let seen: Vec<_> = observe(&mut kernel).routes.into_iter().collect();
        assert_eq!(seen, routes);
        let again = execute(&mut kernel, routes.iter().cloned().map(Step::AddRoute));
        assert_eq!(again, vec![Outcome::AlreadySo; routes.len()]);

        for route in &routes {
            done(&mut kernel, [Step::DeleteRoute(route.clone())]);
            assert!(!observe(&mut kernel).routes.contains(route), "{route}");
        }
        let again = execute(&mut kernel, routes.iter().cloned().map(Step::DeleteRoute));
        assert_eq!(again, vec![Outcome::AlreadySo; routes.len()]);
    });
}

#[test]
fn a_route_is_replaced_in_place_and_a_taken_key_is_named() {
    in_netns(|| {
        let wan = veth("wan1", &["192.0.2.9/24"]);
        let mut kernel = Kernel::open().unwrap();
        done(
            &mut kernel,
            [Step::AddNexthop(single(ID, &wan, "192.0.2.1"))],
        );
        let old = default_route(Family::V4, 7001, 10, RouteVia::Prohibit);
        let new = default_route(Family::V4, 7001, 10, RouteVia::Nexthop(NexthopId(ID)));
        done(&mut kernel, [Step::AddRoute(old.clone())]);
        let outcomes = execute(&mut kernel, [Step::AddRoute(new.clone())]);
        let (errno, text) = refusal(&outcomes[0]);
        assert_eq!(errno, libc::EEXIST);
        assert!(
            text.contains("there is: prohibit default table 7001"),
            "{text}"
        );
        done(&mut kernel, [Step::ReplaceRoute(new.clone())]);
        assert_eq!(observe(&mut kernel).routes, [new].into());
    });
}

fn rules() -> Vec<Rule> {
    let lookup = |priority, table| Rule::lookup(Family::V4, priority, TableId(table), OURS);
    let mut rules = vec![
        Rule {
            suppress_prefix_length: Some(0),
            ..lookup(2000, 254)
        },
        Rule {
            oif: Some("wan1".to_owned()),
            ..lookup(2010, 7001)
        },
        Rule {
            mark: Some(Mark::new(0x1100_0000, 0x1f00_0000)),
            ..lookup(2020, 7001)
        },
        Rule {
            from: Some("192.0.2.9/32".parse().unwrap()),
            to: Some("198.51.100.0/24".parse().unwrap()),
            inverted: true,
            ..lookup(2030, 7001)
        },
        Rule {
            iif: Some("lan".to_owned()),
            action: RuleAction::Prohibit,
            ..lookup(2040, 0)
        },
    ];
    let v6: Vec<Rule> = rules
        .iter()
        .filter(|r| r.from.is_none())
        .map(|r| Rule {
            family: Family::V6,
            ..r.clone()
        })
        .collect();
    rules.extend(v6);
    rules
}

#[test]
fn rules_of_every_kind_come_and_go_and_are_never_there_twice() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let before = observe(&mut kernel).rules;
        let rules = rules();
        done(&mut kernel, rules.iter().cloned().map(Step::AddRule));
        let again = execute(&mut kernel, rules.iter().cloned().map(Step::AddRule));
        assert_eq!(again, vec![Outcome::AlreadySo; rules.len()]);
        let mut seen = observe(&mut kernel).rules;
        seen.retain(|r| r.proto == OURS);
        assert_eq!(seen, rules);
        done(&mut kernel, rules.iter().cloned().map(Step::DeleteRule));
        assert_eq!(observe(&mut kernel).rules, before);
        let again = execute(&mut kernel, rules.iter().cloned().map(Step::DeleteRule));
        assert_eq!(again, vec![Outcome::AlreadySo; rules.len()]);
    });
}

#[test]
fn what_is_a_strangers_survives_exact_deletes() {
    in_netns(|| {
        let wan = veth("wan1", &["192.0.2.9/24"]);
        sh("ip rule add pref 2000 lookup 7001 proto 4");
        sh("ip rule add pref 2001 lookup 7001 proto 177");
        sh("ip rule add pref 2000 lookup 7002 proto 177");
        sh("ip route add default via 192.0.2.1 dev wan1 table 7001 metric 10 proto 4");
        sh("ip route add default via 192.0.2.1 dev wan1 table 7002 metric 10 proto 177");
        sh("ip route add default via 192.0.2.2 dev wan1 table 7001 metric 11 proto 177");
        sh("ip nexthop add id 177000002 via 192.0.2.1 dev wan1 proto 4");
        let mut kernel = Kernel::open().unwrap();
        let before = observe(&mut kernel);
        let by = RouteVia::Device {
            device: wan.clone(),
            gateway: Some("192.0.2.1".parse().unwrap()),
        };
        let rule = Rule::lookup(Family::V4, 2000, TableId(7001), OURS);
        let route = default_route(Family::V4, 7001, 10, by);
        let outcomes = execute(
            &mut kernel,
            [
                Step::DeleteRule(rule.clone()),
                Step::DeleteRoute(route.clone()),
                Step::DeleteNexthop(NexthopId(ID)),
            ],
        );
        assert_eq!(outcomes, [const { Outcome::AlreadySo }; 3]);
        assert_eq!(observe(&mut kernel), before);

        // Nor is it taken over: the kernel refuses, and we say whose it is.
        let outcomes = execute(
            &mut kernel,
            [
                Step::AddRoute(route),
                Step::AddNexthop(single(ID + 1, &wan, "192.0.2.1")),
            ],
        );
        for outcome in &outcomes {
            let (errno, text) = refusal(outcome);
            assert_eq!(errno, libc::EEXIST);
            assert!(text.ends_with("proto 4"), "{text}");
        }
        assert_eq!(observe(&mut kernel), before);
    });
}

#[test]
fn a_refusal_stops_removals_and_nothing_else() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let rule = Rule::lookup(Family::V4, 2000, TableId(7001), OURS);
        let later = Rule {
            priority: RulePriority(2001),
            ..rule.clone()
        };
        let bad = default_route(Family::V4, 7001, 0, RouteVia::Nexthop(NexthopId(ID)));
        done(&mut kernel, [Step::AddRule(rule.clone())]);
        let outcomes = execute(
            &mut kernel,
            [
                Step::AddRoute(bad),
                Step::AddRule(later.clone()),
                Step::DeleteRule(rule.clone()),
                Step::AddRule(rule.clone()),
            ],
        );
        let (_, text) = refusal(&outcomes[0]);
        assert!(text.contains("Nexthop id does not exist"), "{text}");
        assert_eq!(
            outcomes[1..],
            [Outcome::Done, Outcome::Skipped, Outcome::AlreadySo]
        );
    });
}

#[test]
fn connections_are_flushed_by_mark_of_both_families() {
    in_netns(|| {
        nft("table inet t {
               chain o {
                 type filter hook output priority 0
                 udp dport 9 ct mark set 0x01000000
                 udp dport 10 ct mark set 0x02000007
               }
             }");
        let mut kernel = Kernel::open().unwrap();
        let flush = Step::FlushConnections {
            mark: Mark::new(0x0200_0000, 0x0f00_0000),
            family: None,
        };
        assert_eq!(execute(&mut kernel, [flush.clone()]), [Outcome::Done]);
        for address in ["127.0.0.1", "::1"] {
            let socket = UdpSocket::bind((address, 0)).unwrap();
            for port in [9, 10] {
                socket.send_to(b"x", (address, port)).unwrap();
            }
        }
        let count = |family| {
            sh(&format!("conntrack -L -f {family}"))
                .matches("udp")
                .count()
        };
        assert_eq!((count("ipv4"), count("ipv6")), (2, 2));
        done(&mut kernel, [flush]);
        for family in ["ipv4", "ipv6"] {
            let left = sh(&format!("conntrack -L -f {family}"));
            assert!(
                left.contains("dport=9 ") && !left.contains("dport=10 "),
                "{left}"
            );
        }
    });
}

#[test]
fn connections_are_flushed_by_family_deleted_one_by_one_and_listed() {
    in_netns(|| {
        nft("table inet t {
               chain o {
                 type filter hook output priority 0
                 meta l4proto { udp, icmp, ipv6-icmp } ct mark set 0x02000000
               }
             }");
        let mut kernel = Kernel::open().unwrap();
        for address in ["127.0.0.1", "::1"] {
            let socket = UdpSocket::bind((address, 0)).unwrap();
            for port in [9, 10] {
                socket.send_to(b"x", (address, port)).unwrap();
            }
            sh(&format!("ping -c 1 {address}"));
        }
        let all = |kernel: &mut Kernel| kernel.connections(0x0f00_0000, 1000).unwrap().list;
        let seen = all(&mut kernel);
        assert_eq!(seen.len(), 6, "{seen:?}");
        assert!(
            kernel
                .connections(0xf000_0000, 1000)
                .unwrap()
                .list
                .is_empty()
        );
        // Two to ports and a ping of each family; nothing is on another line.
        let of = |family, value| (family, Mark::new(value, 0x0f00_0000));
        let asked = [
            of(Family::V6, 0x0200_0000),
            of(Family::V4, 0x0300_0000),
            of(Family::V4, 0x0200_0000),
            (Family::V4, Mark::new(0, 0)),
        ];
        assert_eq!(kernel.count_connections(&asked).unwrap(), [3, 0, 3, 3]);
        let few = kernel.connections(0x0f00_0000, 2).unwrap();
        assert_eq!((few.list.len(), few.complete), (2, false));
        let query = ConnectionQuery {
            destination: Some("::1".parse().unwrap()),
            destination_port: Some(10),
            ..ConnectionQuery::default()
        };
        let found = kernel.find_connections(&query, 10).unwrap().list;
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].original.protocol, found[0].mark),
            (17, 0x0200_0000)
        );
        assert_eq!(found[0].reply.source, found[0].original.destination);

        let one = Step::DeleteConnections(vec![found[0].original]);
        done(&mut kernel, [one.clone()]);
        assert_eq!(execute(&mut kernel, [one]), [Outcome::AlreadySo]);
        assert_eq!(all(&mut kernel).len(), 5);

        let flush = Step::FlushConnections {
            mark: Mark::new(0x0200_0000, 0x0f00_0000),
            family: Some(Family::V4),
        };
        done(&mut kernel, [flush]);
        let left = all(&mut kernel);
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.iter().all(|c| c.original.family() == Family::V6));
        let rest = Step::DeleteConnections(left.iter().map(|c| c.original).collect());
        done(&mut kernel, [rest]);
        assert_eq!(all(&mut kernel), []);
    });
}

#[test]
fn connections_of_an_address_go_and_others_stay() {
    in_netns(|| {
        nft("table inet t {
               chain o {
                 type filter hook output priority 0
                 meta l4proto udp ct mark set 0x02000000
                 udp dport 11 ct mark set 0x03000000
               }
               chain i {
                 type filter hook input priority 0
                 ct mark set ct mark
               }
             }");
        sh("ip addr add 127.9.9.9 dev lo");
        sh("ip addr add 2001:db8::9/128 dev lo nodad");
        let mut kernel = Kernel::open().unwrap();
        for (gone, other) in [("127.9.9.9", "127.0.0.1"), ("2001:db8::9", "::1")] {
            // From it, to it, elsewhere, and from it with another mark.
            for (from, to, port) in [
                (gone, other, 9),
                (other, gone, 9),
                (other, other, 9),
                (gone, other, 11),
            ] {
                let socket = UdpSocket::bind((from, 0)).unwrap();
                socket.send_to(b"x", (to, port)).unwrap();
            }
            let left = |kernel: &mut Kernel| {
                let list = kernel.connections(0x0f00_0000, 1000).unwrap().list;
                let family = Family::of(gone.parse().unwrap());
                let of_family = list.into_iter().filter(|c| c.original.family() == family);
                of_family
                    .map(|c| (c.original.source.to_string(), c.mark))
                    .collect::<BTreeSet<_>>()
            };
            assert_eq!(left(&mut kernel).len(), 3);
            let address: std::net::IpAddr = gone.parse().unwrap();
            let flush = Step::ReleasePrefix {
                mark: Mark::new(0x0200_0000, 0x0f00_0000),
                prefix: address.into(),
            };
            done(&mut kernel, [flush]);
            let expected = [
                (gone.to_owned(), 0x0300_0000),
                (other.to_owned(), 0x0200_0000),
            ]
            .into();
            assert_eq!(left(&mut kernel), expected);
            let list = kernel.connections(0x0f00_0000, 1000).unwrap().list;
            assert!(
                !list
                    .iter()
                    .any(|c| c.original.destination.to_string() == gone)
            );
        }
    });
}

#[test]
fn a_gateway_may_lie_outside_all_networks_or_be_of_the_other_family() {
    in_netns(|| {
        veth("wan1", &["192.0.2.9/32", "2001:db8::9/64"]);
        let device = device("wan1");
        let mut kernel = Kernel::open().unwrap();
        let with = |id, gateway: &str, is_on_link| {
            let mut nexthop = single(id, &device, gateway);
            if let NexthopKind::Single { on_link, .. } = &mut nexthop.kind {
                *on_link = is_on_link;
            }
            nexthop
        };
        let off = Step::AddNexthop(with(177_000_001, "203.0.113.1", false));
        let refused = execute(&mut kernel, [off]);
        assert!(matches!(refused[0], Outcome::Refused { .. }), "{refused:?}");
        let nexthops = [
            with(177_000_001, "203.0.113.1", true),
            with(177_000_002, "fe80::1", false),
            with(177_000_003, "2001:db8:9::1", true),
        ];
        done(&mut kernel, nexthops.iter().cloned().map(Step::AddNexthop));
        let routes = [1, 2].map(|n| {
            let via = RouteVia::Nexthop(NexthopId(177_000_000 + n));
            default_route(Family::V4, 7000 + n, 0, via)
        });
        done(&mut kernel, routes.iter().cloned().map(Step::AddRoute));
        let seen = observe(&mut kernel);
        for nexthop in &nexthops {
            assert_eq!(seen.nexthops.get(&nexthop.id), Some(nexthop));
        }
        assert!(
            routes.iter().all(|r| seen.routes.contains(r)),
            "{:?}",
            seen.routes
        );
        let again = execute(&mut kernel, nexthops.into_iter().map(Step::AddNexthop));
        assert_eq!(
            again,
            [Outcome::AlreadySo, Outcome::AlreadySo, Outcome::AlreadySo]
        );
    });
}

#[test]
fn what_we_do_not_know_of_a_strangers_rule_is_noted() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        for (n, what) in [
            "uidrange 0-9",
            "ipproto tcp",
            "sport 7",
            "dport 7-9",
            "tos 0x10",
        ]
        .into_iter()
        .enumerate()
        {
            for family in ["-4", "-6"] {
                sh(&format!(
                    "ip {family} rule add pref {} {what} lookup 9",
                    50 + n
                ));
            }
        }
        let rules = observe(&mut kernel).rules;
        let theirs = rules.iter().filter(|r| (50..60).contains(&r.priority.0));
        assert_eq!(theirs.clone().filter(|r| r.has_more).count(), 10);
        assert_eq!(theirs.count(), 10);
    });
}

#[test]
fn sysctls_and_table_names_are_set_and_seen() {
    in_netns(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut kernel = Kernel::open().unwrap().with_iproute2_dir(dir.path());
        let path = "net/ipv4/fib_multipath_hash_policy";
        let names: BTreeMap<_, _> = [(TableId(7001), "fibre".to_owned())].into();
        let set = Step::SetSysctl {
            path: path.to_owned(),
            value: "1".to_owned(),
        };
        let steps = [set.clone(), Step::NameTables(names.clone())];
        done(&mut kernel, steps.clone());
        assert_eq!(
            execute(&mut kernel, steps),
            [const { Outcome::AlreadySo }; 2]
        );
        let mut look = look();
        look.sysctls = vec![path.to_owned(), "net/ipv4/nonsense".to_owned()];
        look.table_names = true;
        let seen = kernel.observe(&look).unwrap();
        assert_eq!(seen.sysctls, [(path.to_owned(), "1".to_owned())].into());
        assert_eq!(seen.table_names, names);
        done(&mut kernel, [Step::NameTables(BTreeMap::new())]);
        assert_eq!(
            execute(&mut kernel, [Step::NameTables(BTreeMap::new())]),
            [Outcome::AlreadySo]
        );
        for (path, value) in [(path, "99"), ("net/ipv4/nonsense", "1"), ("../x", "1")] {
            let step = Step::SetSysctl {
                path: path.to_owned(),
                value: value.to_owned(),
            };
            refusal(&execute(&mut kernel, [step])[0]);
        }
    });
}

#[test]
fn the_kernel_says_which_way_it_would_go() {
    in_netns(|| {
        let wan = veth("wan1", &["192.0.2.9/24", "2001:db8::9/64"]);
        let mut kernel = Kernel::open().unwrap();
        let gateways = ["192.0.2.1", "2001:db8::1"];
        for (family, gateway) in [Family::V4, Family::V6].into_iter().zip(gateways) {
            let nexthop = single(ID + u32::from(family.number()), &wan, gateway);
            let via = RouteVia::Nexthop(nexthop.id);
            let mut rule = Rule::lookup(family, 2000, TableId(7001), OURS);
            rule.mark = Some(Mark::new(0x0100_0000, 0x1f00_0000));
            done(
                &mut kernel,
                [
                    Step::AddNexthop(nexthop),
                    Step::AddRoute(default_route(family, 7001, 10, via)),
                    Step::AddRule(rule),
                ],
            );
            let far = match family {
                Family::V4 => "203.0.113.1",
                Family::V6 => "2001:db8:ffff::1",
            };
            let mut query = RouteQuery {
                protocol: Some(17),
                dest_port: Some(53),
                ..RouteQuery::to(far.parse().unwrap())
            };
            assert!(kernel.route_get(query.clone()).is_err());
            query.mark = 0x0100_0005;
            let answer = kernel.route_get(query).unwrap();
            assert_eq!(
                (answer.device.as_str(), answer.table),
                ("wan1", TableId(7001))
            );
            assert_eq!(answer.gateway, Some(gateway.parse().unwrap()));
            assert_eq!(answer.kind, RouteKind::Unicast);
            assert!(answer.source.is_some());
        }
        let own = kernel.route_get(RouteQuery::to("192.0.2.9".parse().unwrap()));
        assert_eq!(own.unwrap().kind, RouteKind::Local);
    });
}

#[test]
fn features_are_found_without_a_trace() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let before = observe(&mut kernel);
        let features = kernel.features();
        assert_eq!(features.missing(), Vec::<String>::new(), "{features:?}");
        let version = try_sh("nft --version").1;
        assert!(version.contains(&features.nft.unwrap()), "{version}");
        assert_eq!(observe(&mut kernel), before);
        assert_eq!(sh("nft list ruleset"), "");
    });
}

#[test]
fn kinds_that_we_never_make_are_seen_as_other() {
    in_netns(|| {
        veth("wan1", &["192.0.2.9/24"]);
        sh("ip nexthop add id 1 blackhole");
        sh("ip nexthop add id 2 via 192.0.2.1 dev wan1");
        sh("ip nexthop add id 3 group 2 type resilient buckets 8");
        sh("ip rule add pref 100 uidrange 1-5 lookup 9");
        sh("ip rule add pref 101 ipproto tcp dport 80 lookup 9");
        sh("ip rule add pref 102 goto 32766");
        sh("ip rule add pref 103 tos 0x10 lookup 9");
        sh("ip route add blackhole 198.51.100.0/24 table 7001");
        let seen = observe(&mut Kernel::open().unwrap());
        for id in [1, 3] {
            assert_eq!(
                seen.nexthops[&NexthopId(id)].kind,
                NexthopKind::Other,
                "{id}"
            );
        }
        for rule in seen
            .rules
            .iter()
            .filter(|r| (100..104).contains(&r.priority.0))
        {
            assert!(rule.has_more, "{rule}");
        }
        let route = seen.routes.first().unwrap();
        assert_eq!((&route.via, route.proto), (&RouteVia::Other, Proto(3)));
    });
}

#[test]
fn no_rule_leads_traffic_to_where_nobody_translates_it() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let rule = Rule::lookup(Family::V4, 32000, TableId(15192), OURS);
        let name = |interface| crate::nft::uplink(1, interface, Nat::Masquerade, &[]);
        let put = |interface| Step::SetNft(crate::nft::table(vec![name(interface)]));
        let unfit = || [put("a\"b"), Step::AddRule(rule.clone())];
        let outcomes = execute(&mut kernel, unfit());
        assert!(matches!(outcomes[0], Outcome::Refused { .. }));
        assert_eq!(outcomes[1], Outcome::Skipped);
        assert!(observe(&mut kernel).rules.iter().all(|r| r.proto != OURS));
        // The table from before still translates.
        done(&mut kernel, [put("wan1")]);
        assert_eq!(execute(&mut kernel, unfit())[1], Outcome::Done);
    });
}

//! What is encoded is decoded to the same; what makes no sense is decoded to nothing.

use proptest::{option, prelude::*};
use uplinkd_model::Step;

use super::*;
use crate::{
    encode::{self, Encoded},
    netlink::put,
};

fn body(step: &Step) -> Vec<u8> {
    match encode::step(step).unwrap() {
        Encoded::Route(message) | Encoded::Netfilter(message) => message.body().to_vec(),
        Encoded::Elsewhere => panic!("{step} is not a message"),
    }
}

fn names() -> Names {
    [(7, "wan1".to_owned())].into()
}

fn wan1() -> Device {
    device(7, &names())
}

fn any_address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => any::<[u8; 4]>().prop_map(IpAddr::from).boxed(),
        Family::V6 => any::<[u8; 16]>().prop_map(IpAddr::from).boxed(),
    }
}

fn any_family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn any_net(family: Family) -> impl Strategy<Value = IpNet> {
    let most: u8 = if family == Family::V4 { 32 } else { 128 };
    (any_address(family), 1..=most).prop_map(|(a, l)| IpNet::new(a, l).unwrap().trunc())
}

fn any_rule() -> impl Strategy<Value = Rule> {
    any_family().prop_flat_map(|family| {
        (
            (1_u32..40_000, 1_u32..100_000, any::<u8>()),
            (option::of(any_net(family)), option::of(any_net(family))),
            (option::of("[a-z.@-]{1,15}"), option::of("[a-z0-9]{1,15}")),
            option::of(any::<(u32, u32)>()),
            (any::<bool>(), option::of(0_u32..129), any::<bool>()),
        )
            .prop_map(move |(numbers, nets, devices, mark, rest)| {
                let (priority, table, proto) = numbers;
                let mut rule = Rule::lookup(family, priority, TableId(table), Proto(proto));
                (rule.from, rule.to) = nets;
                (rule.iif, rule.oif) = devices;
                rule.mark = mark.map(|(value, mask)| Mark::new(value, mask));
                rule.inverted = rest.0;
                rule.suppress_prefix_length = rest.1;
                if rest.2 {
                    rule.action = RuleAction::Prohibit;
                }
                rule
            })
    })
}

fn any_route() -> impl Strategy<Value = Route> {
    (any_family(), any_family()).prop_flat_map(|(family, gateway_family)| {
        let via = prop_oneof![
            any::<u32>().prop_map(|id| RouteVia::Nexthop(NexthopId(id))),
            option::of(any_address(gateway_family)).prop_map(|gateway| RouteVia::Device {
                device: wan1(),
                gateway
            }),
            Just(RouteVia::Prohibit),
        ];
        (
            (1_u32..100_000, 1_u32..u32::MAX, any::<u8>()),
            prop_oneof![Just(family.default_route()), any_net(family)],
            via,
            option::of(any_address(family)),
        )
            .prop_map(|((table, metric, proto), destination, via, source)| Route {
                table: TableId(table),
                destination,
                metric,
                via,
                source,
                proto: Proto(proto),
            })
    })
}

fn any_nexthop() -> impl Strategy<Value = Nexthop> {
    let single = any_family()
        .prop_flat_map(|f| (Just(f), option::of(any_address(f))))
        .prop_map(|(family, gateway)| NexthopKind::Single {
            on_link: false,
            family,
            device: wan1(),
            gateway,
        });
    let group = proptest::collection::btree_map(any::<u32>(), 1_u16..=256, 1..8)
        .prop_map(|m| NexthopKind::Group(m.into_iter().map(|(i, w)| (NexthopId(i), w)).collect()));
    (any::<u32>(), any::<u8>(), prop_oneof![single, group]).prop_map(|(id, proto, kind)| Nexthop {
        id: NexthopId(id),
        proto: Proto(proto),
        kind,
    })
}

proptest! {
    #[test]
    fn rules_survive_the_wire(a in any_rule()) {
        prop_assert_eq!(rule(&body(&Step::AddRule(a.clone()))), Some(a));
    }

    #[test]
    fn routes_survive_the_wire(a in any_route()) {
        prop_assert_eq!(route(&body(&Step::AddRoute(a.clone())), &names()), Some(a));
    }

    #[test]
    fn nexthops_survive_the_wire(a in any_nexthop()) {
        prop_assert_eq!(nexthop(&body(&Step::AddNexthop(a.clone())), &names()), Some(a));
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
        let _ = (link(&bytes), address(&bytes), rule(&bytes), default_hops(&bytes));
        let _ = (route(&bytes, &names()), nexthop(&bytes, &names()), multipath(&bytes));
    }

    #[test]
    fn hostile_attributes_never_panic(
        head in proptest::collection::vec(any::<u8>(), 16),
        kind in 0_u16..32,
        value in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        for length in [8, 12, 16] {
            let mut bytes = head[..length].to_vec();
            bytes[0] = Family::V6.number();
            for attribute in [1, 3, kind] {
                put(&mut bytes, attribute, &value);
            }
            let _ = (link(&bytes), address(&bytes), rule(&bytes), default_hops(&bytes));
            let _ = (route(&bytes, &names()), nexthop(&bytes, &names()));
        }
    }
}

#[test]
fn a_rule_with_more_than_we_make_says_so() {
    let plain = body(&Step::AddRule(Rule::lookup(
        Family::V4,
        5,
        TableId(9),
        Proto(177),
    )));
    assert!(!rule(&plain).unwrap().has_more);
    // goto, realm, tunnel, interface group, l3mdev, users, protocol, ports, and one of the future.
    for kind in [4, 11, 12, 13, 19, 20, 22, 23, 24, 77] {
        let mut bytes = plain.clone();
        put(&mut bytes, kind, &[1, 0, 0, 0]);
        assert!(rule(&bytes).unwrap().has_more, "attribute {kind}");
    }
    let mut with_tos = plain;
    with_tos[3] = 0x10;
    assert!(rule(&with_tos).unwrap().has_more);
}

#[test]
fn a_mask_alone_matches_packets_without_the_mark() {
    let mut bytes = body(&Step::AddRule(Rule::lookup(
        Family::V4,
        5,
        TableId(9),
        Proto(177),
    )));
    put(&mut bytes, fr::MASK, &0xff00_u32.to_ne_bytes());
    assert_eq!(rule(&bytes).unwrap().mark, Some(Mark::new(0, 0xff00)));
}

#[test]
fn addresses_that_cannot_be_talked_from_are_left_out() {
    let message = |family: u8, flags: u8, scope: u8, value: &[u8]| {
        let mut bytes = vec![family, 24, flags, scope, 7, 0, 0, 0];
        put(&mut bytes, ifa::LOCAL, value);
        bytes
    };
    let v6 = |first: u8| [first, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let good = message(2, 0x80, 0, &[192, 0, 2, 9]);
    assert_eq!(address(&good), Some((7, "192.0.2.9/24".parse().unwrap())));
    assert!(address(&message(10, 0x80, 0, &v6(0x20))).is_some());
    for bad in [
        message(2, 0x80, 253, &[169, 254, 0, 9]),
        message(10, 0x80, 253, &v6(0xfe)),
        message(10, 0x40, 0, &v6(0x20)),
        message(10, 0x08, 0, &v6(0x20)),
    ] {
        assert_eq!(address(&bad), None);
    }
}

#[test]
fn the_ways_of_a_multipath_route_are_all_seen() {
    let mut ways = Vec::new();
    for (index, last) in [(7_u32, 1_u8), (8, 2)] {
        let flags = if last == 2 { 4 } else { 0 };
        ways.extend_from_slice(&[16, 0, flags, 0]);
        ways.extend_from_slice(&index.to_ne_bytes());
        put(&mut ways, rt::GATEWAY, &[192, 0, 2, last]);
    }
    let mut bytes = vec![2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
    put(&mut bytes, rt::MULTIPATH, &ways);
    let expected = [(7, 1, false), (8, 2, true)].map(|(index, last, on_link)| Way {
        index,
        gateway: Some(IpAddr::from([192, 0, 2, last])),
        on_link,
    });
    assert_eq!(
        default_hops(&bytes),
        Some((0, Hops::Ways(expected.to_vec())))
    );
}

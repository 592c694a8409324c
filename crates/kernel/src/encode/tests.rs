//! Golden bytes, each with the `ip` command that asks for the same. The oracle is
//! `netlink-packet-route`, where it knows the message.

use netlink_packet_core::Parseable;
use netlink_packet_route::{
    route::{RouteAttribute, RouteMessage, RouteScope},
    rule::{RuleAttribute, RuleMessage},
};
use uplinkd_model::{RulePriority, TableId, ids::Proto, kernel_state::Device};

use super::*;

const OURS: Proto = Proto(177);

fn device() -> Device {
    Device {
        index: 7,
        name: "wan1".to_owned(),
    }
}

fn default_by(via: RouteVia) -> Route {
    Route {
        table: TableId(7001),
        destination: Family::V4.default_route(),
        metric: 10,
        via,
        source: None,
        proto: OURS,
    }
}

fn message(of: Step) -> Message {
    match step(&of).unwrap() {
        Encoded::Route(message) | Encoded::Netfilter(message) => message,
        Encoded::Elsewhere => panic!("{of} is not a message"),
    }
}

/// `ip nexthop add id 177000001 via 192.0.2.1 dev wan1 proto 177`
#[test]
fn a_nexthop_with_a_gateway() {
    let single = Nexthop {
        id: NexthopId(177_000_001),
        proto: OURS,
        kind: NexthopKind::Single {
            on_link: false,
            family: Family::V4,
            device: device(),
            gateway: Some([192, 0, 2, 1].into()),
        },
    };
    let message = message(Step::AddNexthop(single));
    assert_eq!((message.kind(), message.flags()), (104, 0x600));
    #[rustfmt::skip]
    assert_eq!(message.body(), [
        2, 0, 177, 0, 0, 0, 0, 0,
        8, 0, 1, 0, 0x41, 0xce, 0x8c, 0x0a,
        8, 0, 5, 0, 7, 0, 0, 0,
        8, 0, 6, 0, 192, 0, 2, 1,
    ]);
}

/// `ip nexthop replace id 9 group 1,3/2,256 proto 177`
#[test]
fn a_group_stores_weights_minus_one_in_the_low_byte() {
    let group = Nexthop {
        id: NexthopId(9),
        proto: OURS,
        kind: NexthopKind::Group(vec![(NexthopId(1), 3), (NexthopId(2), 256)]),
    };
    let message = message(Step::ReplaceNexthop(group));
    assert_eq!((message.kind(), message.flags()), (104, 0x500));
    #[rustfmt::skip]
    assert_eq!(message.body(), [
        0, 0, 177, 0, 0, 0, 0, 0,
        8, 0, 1, 0, 9, 0, 0, 0,
        20, 0, 2, 0,
        1, 0, 0, 0, 2, 0, 0, 0,
        2, 0, 0, 0, 255, 0, 0, 0,
    ]);
}

/// `ip nexthop del id 9`
#[test]
fn a_nexthop_is_deleted_without_a_protocol() {
    let message = message(Step::DeleteNexthop(NexthopId(9)));
    assert_eq!((message.kind(), message.flags()), (105, 0));
    assert_eq!(
        message.body(),
        [0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 9, 0, 0, 0]
    );
}

/// `ip route add default nhid 9 table 7001 metric 10 proto 177`
#[test]
fn a_route_by_a_nexthop() {
    let message = message(Step::AddRoute(default_by(RouteVia::Nexthop(NexthopId(9)))));
    assert_eq!((message.kind(), message.flags()), (24, 0x600));
    #[rustfmt::skip]
    assert_eq!(message.body(), [
        2, 0, 0, 0, 0, 177, 0, 1, 0, 0, 0, 0,
        8, 0, 15, 0, 0x59, 0x1b, 0, 0,
        8, 0, 6, 0, 10, 0, 0, 0,
        8, 0, 30, 0, 9, 0, 0, 0,
    ]);
}

/// `ip route del prohibit default table 7001 metric 10 proto 177`
#[test]
fn a_route_is_deleted_with_its_whole_identity_and_any_scope() {
    let message = message(Step::DeleteRoute(default_by(RouteVia::Prohibit)));
    assert_eq!((message.kind(), message.flags()), (25, 0));
    #[rustfmt::skip]
    assert_eq!(message.body(), [
        2, 0, 0, 0, 0, 177, 255, 8, 0, 0, 0, 0,
        8, 0, 15, 0, 0x59, 0x1b, 0, 0,
        8, 0, 6, 0, 10, 0, 0, 0,
    ]);
}

/// `ip route replace 198.51.100.0/24 dev wan1 src 192.0.2.9 table 7001 proto 177`
#[test]
fn a_route_without_a_gateway_has_the_scope_of_the_link() {
    let mut route = default_by(RouteVia::Device {
        device: device(),
        gateway: None,
    });
    route.destination = "198.51.100.0/24".parse().unwrap();
    route.metric = 0;
    route.source = Some([192, 0, 2, 9].into());
    let message = message(Step::ReplaceRoute(route));
    let seen = RouteMessage::parse(message.body()).unwrap();
    assert_eq!(message.flags(), 0x500);
    assert_eq!(seen.header.scope, RouteScope::Link);
    assert_eq!(seen.header.destination_prefix_length, 24);
    assert!(seen.attributes.contains(&RouteAttribute::Table(7001)));
    assert!(seen.attributes.contains(&RouteAttribute::Oif(7)));
    assert_eq!(seen.attributes.len(), 4, "{:?}", seen.attributes);
}

/// `ip -6 route add default dev wan1 table 7001`, where the kernel takes 1024 for no metric.
#[test]
fn ipv6_has_no_metric_of_zero() {
    let mut route = default_by(RouteVia::Prohibit);
    route.destination = Family::V6.default_route();
    route.metric = 0;
    let added = message(Step::AddRoute(route.clone()));
    let deleted = message(Step::DeleteRoute(route));
    for message in [added, deleted] {
        let metric = crate::netlink::find(&message.body()[12..], rt::PRIORITY);
        assert_eq!(metric, Some(1024_u32.to_ne_bytes().as_slice()));
    }
}

/// `ip rule add pref 2100 fwmark 0x1000000/0x1f000000 lookup 7001 proto 177`
#[test]
fn a_rule_carries_its_mask_and_its_protocol() {
    let mut rule = Rule::lookup(Family::V4, 2100, TableId(7001), OURS);
    rule.mark = Some(Mark::new(0x0100_0000, 0x1f00_0000));
    for (step, kind, flags) in [
        (Step::AddRule(rule.clone()), 32, 0x600),
        (Step::DeleteRule(rule.clone()), 33, 0),
    ] {
        let message = message(step);
        assert_eq!((message.kind(), message.flags()), (kind, flags));
        #[rustfmt::skip]
        assert_eq!(message.body(), [
            2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0,
            8, 0, 6, 0, 0x34, 8, 0, 0,
            5, 0, 21, 0, 177, 0, 0, 0,
            8, 0, 10, 0, 0, 0, 0, 1,
            8, 0, 16, 0, 0, 0, 0, 0x1f,
            8, 0, 15, 0, 0x59, 0x1b, 0, 0,
        ]);
    }
}

/// `ip -6 rule add pref 2200 not from 2001:db8::/32 to 2001:db8:1::/48 iif lan oif wan1
/// lookup main suppress_prefixlength 0 proto 177`
#[test]
fn another_crate_reads_every_field_of_a_rule() {
    let rule = Rule {
        priority: RulePriority(2200),
        family: Family::V6,
        from: Some("2001:db8::/32".parse().unwrap()),
        to: Some("2001:db8:1::/48".parse().unwrap()),
        iif: Some("lan".to_owned()),
        oif: Some("wan1".to_owned()),
        mark: None,
        inverted: true,
        suppress_prefix_length: Some(0),
        action: RuleAction::Lookup(TableId::MAIN),
        proto: OURS,
        has_more: false,
    };
    let message = message(Step::AddRule(rule));
    let seen = RuleMessage::parse(message.body()).unwrap();
    assert_eq!((seen.header.src_len, seen.header.dst_len), (32, 48));
    for expected in [
        RuleAttribute::Priority(2200),
        RuleAttribute::Protocol(177.into()),
        RuleAttribute::Source("2001:db8::".parse().unwrap()),
        RuleAttribute::Destination("2001:db8:1::".parse().unwrap()),
        RuleAttribute::Iifname("lan".to_owned()),
        RuleAttribute::Oifname("wan1".to_owned()),
        RuleAttribute::SuppressPrefixLen(0),
        RuleAttribute::Table(254),
    ] {
        assert!(seen.attributes.contains(&expected), "{expected:?}");
    }
    assert_eq!(seen.attributes.len(), 8);
}

/// `conntrack -D -m 0x1000000/0xf000000`
#[test]
fn connections_are_flushed_by_mark_and_mask_of_both_families() {
    let message = message(Step::FlushConnections {
        mark: Mark::new(0x0100_0000, 0x0f00_0000),
        family: None,
    });
    assert_eq!((message.kind(), message.flags()), (0x102, 0));
    #[rustfmt::skip]
    assert_eq!(message.body(), [
        0, 0, 0, 0,
        8, 0, 8, 0, 1, 0, 0, 0,
        8, 0, 21, 0, 0x0f, 0, 0, 0,
    ]);
}

/// `conntrack -D -f ipv6 -m 0x1000000/0xf000000`
#[test]
fn a_familys_connections_are_flushed_with_a_header_that_means_it() {
    let message = message(Step::FlushConnections {
        mark: Mark::new(0x0100_0000, 0x0f00_0000),
        family: Some(Family::V6),
    });
    assert_eq!(message.body()[..4], [10, 1, 0, 0]);
}

#[test]
fn what_we_never_make_is_not_encoded() {
    let mut rule = Rule::lookup(Family::V4, 2100, TableId(7001), OURS);
    rule.has_more = true;
    let nexthop = Nexthop {
        id: NexthopId(1),
        proto: OURS,
        kind: NexthopKind::Other,
    };
    for of in [
        Step::DeleteRule(rule),
        Step::AddNexthop(nexthop),
        Step::AddRoute(default_by(RouteVia::Other)),
    ] {
        assert!(step(&of).is_err(), "{of}");
    }
}

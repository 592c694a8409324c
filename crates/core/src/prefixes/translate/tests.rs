use std::collections::BTreeMap;

use super::*;
use crate::{fixtures::name, prefixes::LanNetwork};

fn net(text: &str) -> Ipv6Net {
    text.parse().unwrap()
}

/// Uplink 1 with this prefix, and these networks of the LAN, each with its interface.
fn prefixes(prefix: &str, networks: &[(&str, &str)]) -> Prefixes {
    let network = |(interface, text): &(&str, &str)| {
        let address: Ipv6Net = text.parse().unwrap();
        LanNetwork {
            interface: (*interface).to_owned(),
            network: address.trunc(),
            addresses: vec![address.addr()],
            owner: None,
        }
    };
    Prefixes {
        uplinks: BTreeMap::from([(name(1), vec![net(prefix)])]),
        networks: networks.iter().map(network).collect(),
        ..Prefixes::default()
    }
}

/// What stands for each network; `-` for none, `=` before one that is shared.
fn given(prefix: &str, networks: &[(&str, &str)]) -> Vec<String> {
    let found = prefixes(prefix, networks).translations(&name(1));
    let given = found.given.iter().map(|t| {
        let sign = if t.inbound { "" } else { "=" };
        format!("{} {sign}{}", t.network, t.by)
    });
    let left_over = found.left_over.iter().map(|n| format!("{n} -"));
    given.chain(left_over).collect()
}

#[test]
fn a_network_gets_the_part_with_its_own_subnet_number() {
    assert_eq!(
        given(
            "2001:db8:100::/56",
            &[("a", "fd00::7:0:0:0:1/64"), ("b", "2001:db8:200:3::1/64")]
        ),
        [
            "fd00:0:0:7::/64 2001:db8:100:7::/64",
            "2001:db8:200:3::/64 2001:db8:100:3::/64"
        ]
    );
}

#[test]
fn an_own_network_is_neither_translated_nor_given_away() {
    let lan = [("a", "2001:db8:100:7::1/64"), ("a", "fd00:0:0:7::1/64")];
    assert_eq!(
        given("2001:db8:100::/56", &lan),
        ["fd00:0:0:7::/64 2001:db8:100:ff::/64"]
    );
}

#[test]
fn no_two_networks_get_the_same_part() {
    let lan = [
        ("a", "2001:db8:200:5::1/64"),
        ("b", "fd00:0:0:5::1/64"),
        ("c", "fd00:0:0:ff::1/64"),
        ("d", "fd00:1:0:10::1/60"),
    ];
    assert_eq!(
        given("2001:db8:100::/56", &lan),
        [
            "2001:db8:200:5::/64 2001:db8:100:5::/64",
            "fd00:0:0:5::/64 2001:db8:100:fe::/64",
            "fd00:0:0:ff::/64 2001:db8:100:ff::/64",
            "fd00:1:0:10::/60 2001:db8:100:10::/60",
        ]
    );
}

#[test]
fn a_prefix_for_one_network_is_shared_on_the_same_interface_only() {
    let prefix = "2001:db8:100::/64";
    assert_eq!(
        given(prefix, &[("a", "fd00::1/64")]),
        ["fd00::/64 2001:db8:100::/64"]
    );
    assert_eq!(
        given(prefix, &[("a", "fd00::1/64"), ("b", "fd00:0:0:1::1/64")]),
        ["fd00::/64 2001:db8:100::/64", "fd00:0:0:1::/64 -"]
    );
    let lan = [
        ("a", "2001:db8:100::1/64"),
        ("a", "2001:db8:200::1/64"),
        ("a", "fd00::1/64"),
        ("b", "fd00:0:0:1::1/64"),
    ];
    assert_eq!(
        given(prefix, &lan),
        [
            "2001:db8:200::/64 =2001:db8:100::/64",
            "fd00::/64 -",
            "fd00:0:0:1::/64 -"
        ]
    );
}

#[test]
fn what_is_larger_than_the_prefix_or_smaller_than_a_network_of_hosts_is_left_over() {
    let lan = [("a", "fd00::1/56"), ("b", "fd01::1/80")];
    assert_eq!(
        given("2001:db8:100::/60", &lan),
        ["fd00::/56 -", "fd01::/80 -"]
    );
}

#[test]
fn the_router_itself_is_named_so_that_nobody_outside_reaches_it() {
    let found = prefixes("2001:db8:100::/56", &[("a", "fd00::1/64")]).translations(&name(1));
    let router: Vec<Ipv6Addr> = vec!["2001:db8:100::1".parse().unwrap()];
    assert_eq!(found.given[0].router, router);
}

#[test]
fn the_far_end_sees_what_nft_is_told() {
    let lan = [("a", "fd00::1/64"), ("a", "2001:db8:100:5::1/64")];
    let prefixes = prefixes("2001:db8:100::/56", &lan);
    let seen = |address: &str, is_prefix| {
        let seen = prefixes.seen_as(&name(1), address.parse().unwrap(), is_prefix);
        seen.map(|a| a.to_string())
    };
    assert_eq!(seen("fd00::9", true).as_deref(), Some("2001:db8:100::9"));
    assert_eq!(seen("fd00::9", false), None);
    assert_eq!(seen("fd00::1", true), None, "the router's own");
    let own = Some("2001:db8:100:5::9");
    assert_eq!(seen("2001:db8:100:5::9", true).as_deref(), own);
    assert_eq!(seen("2001:db8:100:5::9", false).as_deref(), own);
    assert_eq!(seen("fd01::9", true), None);
    assert_eq!(seen("192.0.2.1", true), None);
}

#[test]
fn without_a_prefix_nothing_is_translated() {
    let prefixes = prefixes("2001:db8:100::/56", &[("a", "fd00::1/64")]);
    assert_eq!(prefixes.translations(&name(2)), Translations::default());
}

use uplinkd_model::prefix::SourcedDefault;

use super::*;
use crate::fixtures::{add_lan, both_families, config, machine_with_both_families, name};

fn net(text: &str) -> Ipv6Net {
    text.parse().unwrap()
}

/// Two uplinks with both families, and a LAN with these addresses.
fn machine(addresses: &[&str]) -> Observed {
    let mut observed = machine_with_both_families();
    add_lan(&mut observed, addresses);
    observed
}

fn sourced(observed: &mut Observed, ifindex: u32, prefix: &str, metric: u32) {
    observed.prefixes.sourced.push(SourcedDefault {
        metric,
        prefix: net(prefix),
        ifindex,
    });
}

fn refused(observed: &mut Observed, prefix: &str) {
    observed.prefixes.refused.insert(net(prefix));
}

fn learn(config: &Config, observed: &Observed) -> Prefixes {
    Prefixes::learn(config, observed, &Prefixes::default(), |_| false)
}

fn set(config: &mut Config, n: u16, source: PrefixSource) {
    let uplink = &mut config.uplinks[usize::from(n) - 1];
    uplink.ipv6.as_mut().unwrap().prefix = source;
}

/// The same with the first uplink as the only one that could own anything.
fn with_one() -> Config {
    let mut config = both_families(config());
    config.uplinks[1].ipv6 = None;
    config
}

fn owners(prefixes: &Prefixes) -> Vec<(String, Option<UplinkName>)> {
    let networks = prefixes.networks.iter();
    networks
        .map(|n| (n.network.to_string(), n.owner.clone()))
        .collect()
}

#[test]
fn a_default_route_for_a_source_prefix_tells_whose_it_is() {
    let config = both_families(config());
    let mut observed = machine(&["2001:db8:100:1::1/64", "2001:db8:200::1/64", "fd00::1/64"]);
    sourced(&mut observed, 1, "2001:db8:100::/56", 512);
    sourced(&mut observed, 2, "2001:db8:200::/56", 512);
    refused(&mut observed, "2001:db8:200::/56");
    let found = learn(&config, &observed);
    assert_eq!(found.of(&name(1)), Some(net("2001:db8:100::/56")));
    assert_eq!(found.of(&name(2)), Some(net("2001:db8:200::/56")));
    assert_eq!(found.unclaimed, []);
    let expected = [
        ("2001:db8:100:1::/64", Some(name(1))),
        ("2001:db8:200::/64", Some(name(2))),
        ("fd00::/64", None),
    ];
    let expected = expected.map(|(n, owner)| (n.to_owned(), owner));
    assert_eq!(owners(&found), expected);
}

#[test]
fn nothing_is_guessed_where_two_uplinks_could_own_a_prefix() {
    let config = both_families(config());
    let mut observed = machine(&["2001:db8:100::1/64", "2001:db8:300::1/64"]);
    refused(&mut observed, "2001:db8:100::/56");
    let found = learn(&config, &observed);
    assert_eq!((found.of(&name(1)), found.of(&name(2))), (None, None));
    let unclaimed: Vec<_> = found.unclaimed.iter().map(|u| u.prefix).collect();
    assert_eq!(
        unclaimed,
        [net("2001:db8:100::/56"), net("2001:db8:300::/64")]
    );
    assert_eq!(found.unclaimed[0].uplinks, [name(1), name(2)]);
    assert!(found.networks.iter().all(|n| n.owner.is_none()));
}

#[test]
fn the_only_uplink_with_ipv6_owns_what_is_found() {
    let mut observed = machine(&["2001:db8:100::1/64", "fd00::1/64"]);
    let found = learn(&with_one(), &observed);
    assert_eq!(found.all_of(&name(1)), [net("2001:db8:100::/64")]);
    refused(&mut observed, "2001:db8:100::/56");
    let found = learn(&with_one(), &observed);
    assert_eq!(found.all_of(&name(1)), [net("2001:db8:100::/56")]);
    assert_eq!(found.networks[0].owner, Some(name(1)));
    assert_eq!(found.networks[1].owner, None, "unique local");
}

#[test]
fn a_line_that_is_there_without_ipv6_owns_nothing_and_one_that_is_not_there_may() {
    let mut config = both_families(config());
    config.uplinks[1].ipv6.as_mut().unwrap().expected = false;
    let mut observed = machine(&["2001:db8:100::1/64"]);
    let wan2 = observed.links.get_mut(&2).unwrap();
    wan2.addresses.retain(|a| matches!(a, IpNet::V4(_)));
    observed.foreign_defaults.retain(|d| d.ifindex == 1);
    assert!(learn(&config, &observed).of(&name(1)).is_some());
    let seen = |n: &UplinkName| *n == name(2);
    let found = Prefixes::learn(&config, &observed, &Prefixes::default(), seen);
    assert_eq!(found.unclaimed.len(), 1, "it had IPv6 a moment ago");
    observed.links.get_mut(&2).unwrap().carrier = false;
    let found = learn(&config, &observed);
    assert_eq!((found.of(&name(1)), found.unclaimed.len()), (None, 1));
}

#[test]
fn what_was_known_holds_while_the_prefix_is_there() {
    let config = both_families(config());
    let mut observed = machine(&["2001:db8:100::1/64"]);
    sourced(&mut observed, 1, "2001:db8:100::/56", 512);
    let before = learn(&config, &observed);
    observed.prefixes.sourced.clear();
    observed.links.get_mut(&1).unwrap().carrier = false;
    let found = Prefixes::learn(&config, &observed, &before, |_| true);
    assert_eq!(found.networks[0].owner, Some(name(1)));
    assert_eq!(found.unclaimed, []);
    observed.links.get_mut(&3).unwrap().addresses.clear();
    let gone = Prefixes::learn(&config, &observed, &found, |_| true);
    assert_eq!(gone.of(&name(1)), None);
}

#[test]
fn a_restart_knows_what_the_rules_of_the_run_before_say() {
    let config = both_families(config());
    let reserve = &config.reserve;
    let mut observed = machine(&["2001:db8:100::1/64"]);
    refused(&mut observed, "2001:db8:100::/56");
    let rule = |proto, slot: u16, from: &str| uplinkd_model::Rule {
        from: Some(from.parse().unwrap()),
        ..uplinkd_model::Rule::lookup(
            Family::V6,
            reserve.rule_priority_last + 30,
            reserve.table_service(uplinkd_model::Slot(slot)),
            proto,
        )
    };
    observed.rules = vec![
        rule(reserve.proto, 1, "2001:db8:1::2/128"),
        rule(uplinkd_model::Proto(4), 1, "2001:db8:100::/56"),
    ];
    let before = |observed: &Observed| Prefixes::found(&config, observed);
    assert_eq!(before(&observed), Prefixes::default());
    observed
        .rules
        .push(rule(reserve.proto, 2, "2001:db8:100::/56"));
    let found = Prefixes::learn(&config, &observed, &before(&observed), |_| false);
    assert_eq!(found.of(&name(2)), Some(net("2001:db8:100::/56")));
    assert_eq!(found.unclaimed, []);
}

#[test]
fn the_file_has_the_last_word() {
    let mut config = both_families(config());
    set(
        &mut config,
        1,
        PrefixSource::Fixed(net("2001:db8:100::/56")),
    );
    set(&mut config, 2, PrefixSource::Within(net("2001:db8::/32")));
    let mut observed = machine(&["2001:db8:100::1/64", "2001:db8:200::1/64"]);
    sourced(&mut observed, 1, "2001:db8:200::/60", 1);
    refused(&mut observed, "2001:db8:8000::/36");
    refused(&mut observed, "2001:dead::/48");
    let found = learn(&config, &observed);
    assert_eq!(found.all_of(&name(1)), [net("2001:db8:100::/56")]);
    let second = [net("2001:db8:8000::/36"), net("2001:db8:200::/60")];
    assert_eq!(
        found.all_of(&name(2)).iter().collect::<BTreeSet<_>>(),
        second.iter().collect()
    );
    assert_eq!(found.networks[0].owner, Some(name(1)));
    assert_eq!(found.networks[1].owner, Some(name(2)));
    assert_eq!(found.unclaimed, [], "nobody learns by itself");
    let nothing = learn(&config, &machine(&[]));
    assert_eq!(nothing.of(&name(1)), Some(net("2001:db8:100::/56")));
    assert_eq!(nothing.of(&name(2)), None);
}

#[test]
fn while_a_provider_renumbers_the_new_prefix_counts_first() {
    let config = both_families(config());
    let (old, new) = ("2001:db8:900::/56", "2001:db8:100::/56");
    let mut observed = machine(&["2001:db8:900::1/64"]);
    sourced(&mut observed, 1, old, 512);
    let before = learn(&config, &observed);
    sourced(&mut observed, 1, new, 1024);
    let found = Prefixes::learn(&config, &observed, &before, |_| true);
    assert_eq!(found.all_of(&name(1)), [net(new), net(old)]);
    let again = Prefixes::learn(&config, &observed, &found, |_| true);
    assert_eq!(again, found, "a second look changes nothing");
    let smaller = "2001:db8:80::/56";
    sourced(&mut observed, 1, smaller, 1024);
    let three = Prefixes::learn(&config, &observed, &found, |_| true);
    assert_eq!(three.all_of(&name(1)), [smaller, new, old].map(net));
    observed.prefixes.sourced.pop();
    // Without a memory the preferred route counts, unless nobody is to use its addresses any more.
    assert_eq!(learn(&config, &observed).of(&name(1)), Some(net(old)));
    let address = "2001:db8:900::1".parse().unwrap();
    observed.prefixes.deprecated.insert((3, address));
    assert_eq!(learn(&config, &observed).of(&name(1)), Some(net(new)));
}

#[test]
fn what_no_customer_was_delegated_is_nobodys() {
    let mut observed = machine(&["2001:db8:100::1/64", "fd00::1/48", "2001:db8:5::7/128"]);
    // A route for the line's own network, and routes that keep bogus addresses away.
    sourced(&mut observed, 1, "2001:db8:1::/64", 1);
    for prefix in [
        "2001::/32",
        "fc00::/7",
        "2001:db8:100::/72",
        "::/0",
        "fe80::/10",
    ] {
        refused(&mut observed, prefix);
    }
    let found = learn(&with_one(), &observed);
    assert_eq!(found.all_of(&name(1)), [net("2001:db8:100::/64")]);
    let networks: Vec<_> = found.networks.iter().map(|n| n.network).collect();
    assert_eq!(networks, [net("2001:db8:100::/64"), net("fd00::/48")]);
}

#[test]
fn without_lan_in_the_file_every_other_interface_is_of_the_lan() {
    let mut config = both_families(config());
    config.lan.clear();
    let observed = machine(&["fd00::1/64", "fd00::2/64"]);
    let found = learn(&config, &observed);
    assert_eq!(owners(&found), [("fd00::/64".to_owned(), None)]);
    assert_eq!(found.networks[0].interface, "lan0");
    // A tunnel's address is no sign that a provider has delegated anything.
    config.uplinks[1].ipv6 = None;
    let mut observed = machine(&["2001:db8:100::1/64"]);
    assert_eq!(learn(&config, &observed).of(&name(1)), None);
    refused(&mut observed, "2001:db8:100::/56");
    assert!(learn(&config, &observed).of(&name(1)).is_some());
}

#[test]
fn the_routers_address_in_a_prefix_is_one_that_may_be_used_in_the_lan_first() {
    let config = with_one();
    let address = |observed: &Observed| {
        let found = learn(&config, observed);
        found.address_of(&name(1)).map(|a| a.to_string())
    };
    let mut observed = machine(&["fd00::1/64", "2001:db8:100:5::1/64"]);
    sourced(&mut observed, 1, "2001:db8:100::/56", 512);
    // An interface that is not of the LAN, although its number is lower; and no uplink's at all.
    let mut other = observed.links[&3].clone();
    (other.device.index, other.device.name) = (0, "lo".to_owned());
    other.addresses = vec!["2001:db8:100:4::1/128".parse().unwrap()];
    observed.links.insert(0, other);
    let line = observed.links.get_mut(&2).unwrap();
    line.addresses.push("2001:db8:100:3::1/64".parse().unwrap());
    assert_eq!(address(&observed).as_deref(), Some("2001:db8:100:5::1"));
    let old = (3, "2001:db8:100:5::1".parse().unwrap());
    observed.prefixes.deprecated.insert(old);
    assert_eq!(address(&observed).as_deref(), Some("2001:db8:100:4::1"));
    observed.links.remove(&0);
    assert_eq!(address(&observed).as_deref(), Some("2001:db8:100:5::1"));
    observed.links.remove(&3);
    assert_eq!(address(&observed), None);
}

#[test]
fn the_router_is_not_known_by_an_address_in_a_part_that_is_another_uplinks() {
    let mut config = both_families(config());
    set(
        &mut config,
        1,
        PrefixSource::Fixed(net("2001:db8:100::/56")),
    );
    set(
        &mut config,
        2,
        PrefixSource::Fixed(net("2001:db8:100:8::/61")),
    );
    let found = learn(&config, &machine(&["2001:db8:100:9::1/64"]));
    assert_eq!(found.address_of(&name(1)), None);
    let inner = found.address_of(&name(2)).map(|a| a.to_string());
    assert_eq!(inner.as_deref(), Some("2001:db8:100:9::1"));
}

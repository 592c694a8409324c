//! What hosts are told, and when.

use std::collections::BTreeSet;

use ipnet::Ipv6Net;
use uplinkd_model::{Advice, LanAdvice, PrefixSource};

use super::{driver::Driver, *};
use crate::fixtures::{add_lan, both_families, config, machine_with_both_families};

const ISP1: &str = "2001:db8:100::/64";
const ISP2: &str = "2001:db8:200::/64";
const NOBODY: [&str; 0] = [];

/// Each uplink's prefix is fixed, and the LAN has a network of each and a unique local one.
fn two_prefixes() -> (Config, Observed) {
    let mut config = both_families(config());
    for (uplink, prefix) in config.uplinks.iter_mut().zip([ISP1, ISP2]) {
        let access = uplink.ipv6.as_mut().unwrap();
        access.prefix = PrefixSource::Fixed(prefix.parse().unwrap());
    }
    let mut machine = machine_with_both_families();
    let addresses = ["2001:db8:100::1/64", "2001:db8:200::1/64", "fd00::1/64"];
    add_lan(&mut machine, &addresses);
    (config, machine)
}

fn started() -> Driver {
    let (config, machine) = two_prefixes();
    Driver::new(config, machine, &["isp1", "isp2"])
}

fn networks(networks: &[&str]) -> BTreeSet<Ipv6Net> {
    networks.iter().map(|n| n.parse().unwrap()).collect()
}

fn on_lan(avoided: &[&str]) -> Advice {
    let lan = LanAdvice {
        avoid: networks(avoided),
        own: None,
    };
    Advice::from([("lan0".to_owned(), lan)])
}

fn last(driver: &Driver) -> &Advice {
    driver.wishes.last().unwrap()
}

fn told(driver: &Driver) -> Vec<String> {
    let notices = driver.notices.iter().filter(|n| {
        matches!(
            n,
            Notice::PrefixDeprecated { .. } | Notice::PrefixRestored { .. }
        )
    });
    notices.map(ToString::to_string).collect()
}

#[test]
fn the_prefix_of_a_dead_uplink_is_avoided_until_it_is_back() {
    let mut driver = started();
    assert_eq!(driver.wishes, [on_lan(&NOBODY)], "the whole wish, once");
    driver.answering(Family::V6, &["isp2"]);
    assert_eq!(driver.wishes[1..], [on_lan(&[ISP1])]);
    let lines = driver.controller.snapshot().lines;
    let shown: Vec<_> = lines.iter().map(|l| l.deprecated.len()).collect();
    assert_eq!(shown, [0, 1, 0, 0], "of IPv6 of the first uplink");
    driver.answering(Family::V6, &["isp1", "isp2"]);
    assert_eq!(driver.wishes[2..], [on_lan(&NOBODY)]);
    let told = told(&driver);
    assert_eq!(told.len(), 2, "{told:?}");
    let begin = "hosts on lan0 are to avoid 2001:db8:100::/64: uplink isp1 (IPv6) is down: ";
    assert!(told[0].starts_with(begin), "{told:?}");
    assert_eq!(
        told[1],
        "hosts on lan0 may use 2001:db8:100::/64 of uplink isp1 again"
    );
}

#[test]
fn a_lost_carrier_is_told_in_the_same_breath_as_it_is_acted_on() {
    let mut driver = started();
    driver.carrier("wan2", false);
    assert_eq!(last(&driver), &on_lan(&[ISP2]));
}

#[test]
fn only_ipv6_matters() {
    let mut driver = started();
    driver.answering(Family::V4, &["isp2"]);
    assert_eq!(driver.wishes.len(), 1);
}

#[test]
fn while_all_are_down_the_last_good_ones_prefix_is_used() {
    let mut driver = started();
    driver.answering(Family::V6, &["isp2"]);
    driver.answering(Family::V6, &[]);
    assert_eq!(last(&driver), &on_lan(&[ISP1]));
}

#[test]
fn a_restart_says_it_again() {
    let mut driver = started();
    driver.answering(Family::V6, &["isp2"]);
    driver.restart();
    driver.wishes.clear();
    driver.run(1000);
    assert_eq!(driver.wishes, [on_lan(&[ISP1])]);
}

#[test]
fn the_file_can_forbid_it() {
    let mut driver = started();
    driver.answering(Family::V6, &["isp2"]);
    let (mut config, _) = two_prefixes();
    config.deprecate = false;
    driver.tell(Event::Config(Box::new(config)));
    assert_eq!(last(&driver), &Advice::new());
    driver.answering(Family::V6, &["isp1", "isp2"]);
    driver.answering(Family::V6, &["isp2"]);
    assert_eq!(last(&driver), &Advice::new());
}

#[test]
fn with_a_single_line_there_is_nothing_to_prefer() {
    let (mut config, machine) = two_prefixes();
    config.uplinks[1].ipv6 = None;
    let mut driver = Driver::new(config, machine, &["isp1", "isp2"]);
    driver.answering(Family::V6, &[]);
    assert_eq!(driver.wishes, [Advice::new()]);
}

#[test]
fn networks_that_come_later_are_told_too() {
    let mut driver = started();
    driver.answering(Family::V6, &["isp2"]);
    let own = "2001:db8:100::1/64".parse().unwrap();
    driver.link(3).addresses.retain(|a| *a != own);
    let what = HintKind::Address(3);
    driver.tell(Event::Hint { what });
    driver.run(3000);
    assert_eq!(last(&driver), &on_lan(&NOBODY));
    driver.link(3).addresses.push(own);
    driver.tell(Event::Hint { what });
    driver.run(3000);
    assert_eq!(last(&driver), &on_lan(&[ISP1]));
}

/// Where the file wants all of it: what is advertised on the LAN, and whether as a router.
fn own(driver: &Driver) -> (BTreeSet<Ipv6Net>, bool) {
    let own = last(driver)["lan0"].own.clone().unwrap();
    (own.networks, own.is_router)
}

fn advertising() -> Driver {
    let (mut config, mut machine) = two_prefixes();
    config.advertise = true;
    config.lan = vec!["lan0".to_owned()];
    let lan = machine.links.get_mut(&3).unwrap();
    // No host makes addresses in a network of another length.
    lan.addresses.push("2001:db8:100:1::1/80".parse().unwrap());
    Driver::new(config, machine, &["isp1", "isp2"])
}

#[test]
fn where_it_is_wished_the_lans_networks_are_advertised() {
    let mut driver = advertising();
    let all = networks(&[ISP1, ISP2, "fd00::/64"]);
    assert_eq!(own(&driver), (all.clone(), true));
    driver.answering(Family::V6, &["isp2"]);
    assert_eq!(own(&driver), (all, true), "also those to be avoided");
    assert_eq!(last(&driver)["lan0"].avoid, networks(&[ISP1]));
    driver.link(3).addresses.remove(0);
    driver.tell(Event::Hint {
        what: HintKind::Address(3),
    });
    driver.run(3000);
    assert_eq!(own(&driver).0, networks(&[ISP2, "fd00::/64"]));
}

#[test]
fn without_a_way_out_this_machine_is_no_router_of_hosts() {
    let mut driver = advertising();
    driver.answering(Family::V4, &[]);
    assert!(own(&driver).1, "IPv4 does not matter");
    driver.answering(Family::V6, &[]);
    assert!(!own(&driver).1);
    driver.answering(Family::V6, &["isp1"]);
    assert!(own(&driver).1);
}

#[test]
fn a_restart_does_not_take_the_router_from_hosts() {
    let mut driver = advertising();
    driver.wishes.clear();
    driver.restart();
    driver.run(3000);
    let wishes = driver.wishes.iter().filter_map(|w| w.get("lan0"));
    let are_routers: Vec<_> = wishes
        .filter_map(|lan| Some(lan.own.as_ref()?.is_router))
        .collect();
    assert!(
        !are_routers.is_empty() && are_routers.iter().all(|is| *is),
        "{are_routers:?}"
    );
}

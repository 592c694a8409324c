//! Policies in the controller: schedules, reloads, and what they do to existing connections.

use std::{net::IpAddr, sync::Arc};

use uplinkd_model::{
    Connection, OutletKind,
    connection::{Tuple, TupleKind},
    policy::{Addresses, PolicyFlows, Selector, Span, Spans, address_number},
};

use super::{driver::Driver, *};
use crate::{
    Prepared,
    fixtures::{add_outlet, add_policy, config, machine, with_calls},
};

fn running(config: Config) -> Driver {
    Driver::new(config, machine(), &["isp1", "isp2"])
}

fn addresses(all: &[&str]) -> Addresses {
    let spans = all.iter().map(|a| {
        let address: IpAddr = a.parse().unwrap();
        Span::one(address_number(address))
    });
    Addresses {
        v4: Spans::new(spans),
        v6: Spans::default(),
    }
}

/// One policy: what comes from this client goes by `outlet`.
fn policy(config: &mut Config, from: &str, outlet: usize, flows: PolicyFlows) {
    let selector = Selector::Source(addresses(&[from]));
    add_policy(config, &format!("of {from}"), vec![selector], outlet);
    Arc::make_mut(config.policies.last_mut().unwrap()).flows = flows;
}

/// A connection of a client under this mark.
fn connection(from: &str, mark: u32) -> Connection {
    let (source, destination) = (from.parse().unwrap(), "198.51.100.1".parse().unwrap());
    let kind = TupleKind::Ports {
        source: 1000,
        destination: 443,
    };
    let original = Tuple {
        source,
        destination,
        protocol: 6,
        kind,
    };
    Connection {
        original,
        reply: original,
        mark,
    }
}

const CLIENT: &str = "192.168.1.7";
const OTHER: &str = "192.168.1.8";
const BY_ISP1: u32 = 0x0100_0000;
const BY_ISP2: u32 = 0x0200_0000;
const INBOUND_ISP2: u32 = 0x0a00_0000;

/// An outlet for the first uplink alone.
fn with_isp1_only(end: uplinkd_model::policy::End) -> Config {
    with_calls(config(), |outflow| {
        outflow.tiers.pop();
        outflow.end = end;
    })
}

/// Reloads from no policy to these, with these connections; returns what is released.
fn reload(config: Config, connections: &[Connection]) -> Vec<String> {
    let mut before = config.clone();
    before.policies.clear();
    let mut driver = running(before);
    driver.connections = connections.to_vec();
    driver.tell(Event::Config(Box::new(config)));
    driver.run(500);
    assert!(driver.controller.snapshot().settled);
    let steps = driver.steps().into_iter();
    let releases = steps.filter(|s| s.starts_with("conntrack"));
    releases.map(str::to_owned).collect()
}

#[test]
fn a_schedule_that_begins_changes_the_nft_table_and_nothing_else() {
    let mut config = with_calls(config(), |_| {});
    let hours = Selector::Schedule(Spans::new([Span::new(60_u16, 119_u16)]));
    add_policy(&mut config, "at night", vec![hours], 1);
    let mut driver = running(config);
    assert!(driver.controller.wants_local_time());
    driver.tell(Event::LocalTime { minute: 59 });
    driver.run(100);
    assert!(driver.plans.is_empty(), "{:?}", driver.plans);
    driver.tell(Event::LocalTime { minute: 60 });
    driver.run(100);
    let nft = "nft -f - # table inet uplinkd, whole, in one transaction";
    assert_eq!(driver.plans, [[nft]]);
    driver.tell(Event::LocalTime { minute: 61 });
    driver.run(100);
    assert_eq!(driver.plans.len(), 1);
    driver.tell(Event::LocalTime { minute: 120 });
    driver.run(100);
    assert_eq!(driver.plans.len(), 2);
}

#[test]
fn the_compiled_policies_are_shared_and_not_made_again_at_every_look() {
    let mut config = with_calls(config(), |_| {});
    policy(&mut config, CLIENT, 1, PolicyFlows::Keep);
    let mut driver = running(config.clone());
    let compiled = |d: &Driver| Arc::as_ptr(&d.controller.policies().classifier);
    let before = compiled(&driver);
    config.lan.push("lan1".into());
    driver.tell(Event::Config(Box::new(config)));
    driver.run(1000);
    assert_eq!(compiled(&driver), before);
    assert!(!driver.controller.wants_local_time());
}

#[test]
fn what_is_prepared_from_the_policies_in_force_is_what_is_prepared_from_none() {
    let mut before = with_calls(config(), |_| {});
    let hours = Selector::Schedule(Spans::new([Span::new(60_u16, 119_u16)]));
    add_policy(&mut before, "at night", vec![hours.clone()], 1);
    policy(&mut before, CLIENT, 1, PolicyFlows::Keep);
    let compiled = running(before.clone()).controller.compiled();
    let mut elsewhere = before.clone();
    Arc::make_mut(&mut elsewhere.policies[1]).outlet = 0;
    let mut more = elsewhere.clone();
    let names = vec!["zoom.us".to_owned()];
    let domain = Selector::Domain {
        names,
        set: "calls".to_owned(),
        timeout: std::time::Duration::from_secs(60),
    };
    add_policy(&mut more, "calls", vec![domain], 1);
    for config in [before, elsewhere, more] {
        for minute in [0, 60, 120] {
            let from_none = Prepared::new(config.clone(), minute);
            let after = Prepared::after(config.clone(), minute, &compiled);
            assert_eq!(
                format!("{:?}", after.policies),
                format!("{:?}", from_none.policies)
            );
        }
    }
}

#[test]
fn policies_that_come_compiled_are_not_compiled_again_unless_others_hold_by_now() {
    let mut config = with_calls(config(), |_| {});
    let hours = Selector::Schedule(Spans::new([Span::new(60_u16, 119_u16)]));
    add_policy(&mut config, "at night", vec![hours], 1);
    let before = config.clone();
    policy(&mut config, CLIENT, 1, PolicyFlows::Keep);
    let after_reload = |minute| {
        let mut driver = running(before.clone());
        driver.tell(Event::LocalTime { minute });
        let prepared = Prepared::new(config.clone(), 59);
        let compiled = Arc::clone(&prepared.policies.classifier);
        driver.tell(Event::Prepared(Box::new(prepared)));
        driver.run(500);
        assert!(driver.controller.snapshot().settled);
        let held = Arc::clone(&driver.controller.policies().classifier);
        (compiled, held)
    };
    let (compiled, held) = after_reload(58);
    assert!(Arc::ptr_eq(&compiled, &held));
    let (compiled, held) = after_reload(60);
    assert_eq!(
        *held,
        uplinkd_policy::compile(&config.policies, &config.outlets, 60)
    );
    assert_ne!(held, compiled);
}

#[test]
fn a_reload_that_changes_one_policy_changes_the_nft_table_and_nothing_else() {
    let mut config = with_calls(config(), |_| {});
    policy(&mut config, CLIENT, 1, PolicyFlows::Keep);
    let mut driver = running(config.clone());
    policy(&mut config, OTHER, 1, PolicyFlows::Keep);
    driver.tell(Event::Config(Box::new(config)));
    driver.run(200);
    let nft = "nft -f - # table inet uplinkd, whole, in one transaction";
    assert_eq!(driver.plans, [[nft]]);
}

#[test]
fn an_outlet_that_a_reload_brings_serves_at_once() {
    let mut driver = running(config());
    driver.tell(Event::Config(Box::new(with_calls(config(), |_| {}))));
    driver.run(200);
    assert_eq!(driver.serving("calls", Family::V4), ["isp1"]);
    let flushes = driver
        .steps()
        .into_iter()
        .filter(|s| s.contains("conntrack"));
    assert_eq!(flushes.count(), 0);
}

#[test]
fn a_reload_leaves_connections_where_they_are_unless_a_policy_says_move() {
    let mut config = with_isp1_only(uplinkd_model::policy::End::Default);
    policy(&mut config, CLIENT, 1, PolicyFlows::Keep);
    assert!(reload(config, &[connection(CLIENT, BY_ISP2)]).is_empty());
}

#[test]
fn a_policy_that_says_move_releases_what_it_forbids_its_uplink() {
    let mut config = with_isp1_only(uplinkd_model::policy::End::Default);
    policy(&mut config, CLIENT, 1, PolicyFlows::Move);
    let found = reload(
        config,
        &[
            connection(CLIENT, BY_ISP2),
            // Allowed where it is; none of this policy's; came in by its uplink; not on an uplink.
            connection(CLIENT, BY_ISP1),
            connection(OTHER, BY_ISP2),
            connection(CLIENT, INBOUND_ISP2),
            connection(CLIENT, 0),
        ],
    );
    assert_eq!(
        found,
        ["conntrack -D -p 6 -s 192.168.1.7 -d 198.51.100.1 --sport 1000 --dport 443"]
    );
}

#[test]
fn block_and_main_allow_no_uplink_at_all() {
    for kind in [OutletKind::Block, OutletKind::Main] {
        let mut config = config();
        add_outlet(&mut config, "it", kind);
        policy(&mut config, CLIENT, 1, PolicyFlows::Move);
        assert_eq!(reload(config, &[connection(CLIENT, BY_ISP1)]).len(), 1);
    }
}

#[test]
fn what_hangs_on_something_that_nobody_remembers_stays() {
    let selectors = [
        Selector::Mark(vec![Mark::new(0x10, 0xff)]),
        Selector::Dscp(Spans::new([Span::one(46_u8)])),
    ];
    for unknown in selectors {
        let mut config = with_isp1_only(uplinkd_model::policy::End::Default);
        add_policy(&mut config, "perhaps", vec![unknown], 0);
        policy(&mut config, CLIENT, 1, PolicyFlows::Move);
        assert!(reload(config, &[connection(CLIENT, BY_ISP2)]).is_empty());
    }
}

#[test]
fn where_the_outlet_has_nobody_the_default_groups_uplinks_are_allowed() {
    let mut config = with_isp1_only(uplinkd_model::policy::End::Default);
    let mut driver = running(config.clone());
    driver.carrier("wan1", false);
    driver.run(200);
    driver.forget();
    driver.connections = vec![connection(CLIENT, BY_ISP2)];
    policy(&mut config, CLIENT, 1, PolicyFlows::Move);
    driver.tell(Event::Config(Box::new(config)));
    driver.run(500);
    assert!(driver.steps().iter().all(|s| !s.contains("-s 192")));
}

#[test]
fn many_connections_are_released_in_batches() {
    let mut config = with_isp1_only(uplinkd_model::policy::End::Block);
    add_policy(&mut config, "all", vec![], 1);
    Arc::make_mut(&mut config.policies[0]).flows = PolicyFlows::Move;
    let all: Vec<_> = (0..2500_u32)
        .map(|n| {
            let from = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
            connection(&from.to_string(), BY_ISP2)
        })
        .collect();
    let found = reload(config, &all);
    let counts = found.iter().map(|s| s.split(' ').nth(3).unwrap());
    assert_eq!(counts.collect::<Vec<_>>(), ["1000", "1000", "500"]);
}

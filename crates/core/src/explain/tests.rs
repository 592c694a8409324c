//! What is said about single flows, on a machine where everything is in place.

use std::net::IpAddr;

use uplinkd_model::{
    Config, Connection, Mark, OutletKind, Rule,
    connection::{Tuple, TupleKind},
    policy::{
        Addresses, End, FailbackWhen, Outflow, Selector, Span, Spans, StickyBy, address_number,
    },
};

use super::*;
use crate::{
    Event, Time,
    fixtures::{
        add_outlet, add_policy, both_families, config, delegated_only, machine,
        machine_with_both_families, name, with_calls,
    },
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Outlets 1 `calls` (isp1, then isp2), 2 `block`, 3 `main`, and a policy for each port.
fn with_policies(config: Config, change: impl FnOnce(&mut Outflow)) -> Config {
    let mut config = with_calls(config, change);
    add_outlet(&mut config, "block", OutletKind::Block);
    add_outlet(&mut config, "main", OutletKind::Main);
    let port = |n: u16| Selector::DestinationPort(Spans::new([Span::one(n)]));
    add_policy(&mut config, "voice", vec![port(5060)], 1);
    add_policy(&mut config, "no mail", vec![port(25)], 2);
    add_policy(&mut config, "vpn", vec![port(500)], 3);
    config
}

fn controller(config: Config, observed: uplinkd_model::Observed) -> Controller {
    let mut controller = Controller::new(config, Vec::new(), Time::default());
    controller.handle(Event::Observed(Box::new(observed)), Time::default());
    controller
}

fn usual() -> Controller {
    controller(with_policies(config(), |_| {}), machine())
}

/// A client's TCP connection to this port.
fn flow(port: u16) -> Flow {
    Flow {
        from: Some(ip("192.168.1.7")),
        protocol: Some(6),
        source_port: Some(40_000),
        destination_port: Some(port),
        ..Flow::to(ip("198.51.100.1"))
    }
}

fn exits(decision: &Decision) -> Vec<(String, u32)> {
    let Decision::Outlet { exits, .. } = decision else {
        panic!("{decision:?}")
    };
    let percent = |share: f64| (share * 100.0).round() as u32;
    exits
        .iter()
        .map(|(exit, share)| (exit.uplink.to_string(), percent(*share)))
        .collect()
}

#[test]
fn what_no_policy_takes_is_shared_out_with_the_reason_of_each() {
    let found = usual().explain(&flow(443), None);
    assert_eq!(
        exits(&found.decision),
        [("isp1".to_owned(), 60), ("isp2".to_owned(), 40)]
    );
    let PolicyAnswer::Asked {
        passed,
        more,
        verdict,
    } = found.policy
    else {
        panic!("asked")
    };
    let names: Vec<_> = passed.iter().map(|p| p.policy.as_str()).collect();
    assert_eq!((names, more), (vec!["voice", "no mail", "vpn"], 0));
    assert!(passed.iter().all(|p| p.clause.is_some()));
    assert_eq!(verdict, Verdict::Default);
}

#[test]
fn a_policy_leads_to_its_outlets_tier_behind_this_address() {
    let found = usual().explain(&flow(5060), None);
    let Decision::Outlet {
        outlet,
        state,
        exits,
        ..
    } = found.decision
    else {
        panic!("{:?}", found.decision)
    };
    let exit = Exit {
        uplink: name(1),
        nat: Some(ip("100.64.1.2")),
    };
    assert_eq!((outlet.as_str(), exits), ("calls", vec![(exit, 1.0)]));
    let group = Some("calls".to_owned());
    let (index, rank) = (0, 1);
    assert_eq!(state, OutletState::Tier { index, group, rank });
    let last = found.steps.last().unwrap();
    assert!(last.matched && last.rule.contains("fwmark 0x10000000/0xf0000000"));
}

#[test]
fn block_refuses_and_main_is_left_to_main() {
    let controller = usual();
    let outlet = "block".to_owned();
    let found = controller.explain(&flow(25), None);
    assert_eq!(found.decision, Decision::Blocked { outlet });
    assert_eq!(
        controller.explain(&flow(500), None).decision,
        Decision::Main
    );
}

#[test]
fn thinking_uplinks_away_ends_with_what_the_outlet_ends_with() {
    let block = |o: &mut Outflow| o.end = End::Block;
    let strict = controller(with_policies(config(), block), machine());
    let without = |names: &[u16]| Flow {
        if_down: names.iter().map(|n| name(*n)).collect(),
        ..flow(5060)
    };
    let found = strict.explain(&without(&[1]), None);
    assert_eq!(exits(&found.decision), [("isp2".to_owned(), 100)]);
    let found = strict.explain(&without(&[1, 2]), None);
    let outlet = "calls".to_owned();
    assert_eq!(found.decision, Decision::Blocked { outlet });
    let lenient = usual().explain(&without(&[1, 2]), None);
    assert_eq!(lenient.decision, Decision::NotOurs);
}

#[test]
fn what_hangs_on_something_unsaid_says_on_what() {
    let unsaid = Flow {
        destination_port: None,
        ..flow(0)
    };
    let found = usual().explain(&unsaid, None);
    let Decision::Depends { policy, on } = found.decision else {
        panic!("{:?}", found.decision)
    };
    assert_eq!(
        (policy.as_str(), on.as_str()),
        ("voice", "the destination port")
    );
    // A connected network does not ask policies.
    let found = usual().explain(&unsaid, Some(TableId::MAIN));
    assert_eq!(found.decision, Decision::Main);
}

#[test]
fn policies_are_not_asked_about_what_is_none_of_theirs() {
    let tunnel = Rule {
        mark: Some(Mark::new(51820, u32::MAX)),
        ..Rule::lookup(Family::V4, 100, TableId(900), uplinkd_model::Proto(0))
    };
    let mut observed = machine();
    observed.rules.push(tunnel);
    let controller = controller(with_policies(config(), |_| {}), observed);
    let ask = |change: &dyn Fn(&mut Flow)| {
        let mut flow = flow(25);
        change(&mut flow);
        controller.explain(&flow, None)
    };
    let is_asked = |e: &Explanation| matches!(e.policy, PolicyAnswer::Asked { .. });
    assert!(is_asked(&ask(&|_| {})));
    assert!(is_asked(&ask(&|f| f.mark = 0x10)));
    assert!(!is_asked(&ask(&|f| f.mark = 51820)));
    assert!(!is_asked(&ask(&|f| f.iif = Some("wan1".into()))));
    assert!(!is_asked(&ask(&|f| f.iif = Some("dmz0".into()))));
    let pinned = ask(&|f| f.mark = 0x0200_0000);
    assert!(!is_asked(&pinned));
    let (uplink, nat) = (name(2), Some(ip("100.64.2.2")));
    assert_eq!(pinned.decision, Decision::Uplink(Exit { uplink, nat }));
}

#[test]
fn a_mirrored_rule_leads_to_others() {
    let mut observed = machine();
    observed.rules.push(Rule {
        mark: Some(Mark::new(51820, u32::MAX)),
        inverted: true,
        ..Rule::lookup(Family::V4, 32765, TableId(51820), uplinkd_model::Proto(0))
    });
    let controller = controller(with_policies(config(), |_| {}), observed);
    let table = TableId(51820);
    let found = controller.explain(&flow(443), Some(table));
    assert_eq!(found.decision, Decision::Foreign { table });
    // Their table has nothing for it.
    let found = controller.explain(&flow(443), Some(TableId(15192)));
    assert_eq!(exits(&found.decision).len(), 2);
    // The tunnel's own packets are the exception.
    let own = Flow {
        mark: 51820,
        ..flow(443)
    };
    assert_eq!(exits(&controller.explain(&own, None).decision).len(), 2);
}

#[test]
fn each_family_is_explained_by_its_own_rules() {
    let config = with_policies(both_families(config()), |_| {});
    let controller = controller(config, machine_with_both_families());
    let found = controller.explain(
        &Flow {
            from: Some(ip("fd00::7")),
            to: ip("2001:db8:ffff::9"),
            ..flow(5060)
        },
        None,
    );
    let Decision::Outlet { exits, .. } = found.decision else {
        panic!("{:?}", found.decision)
    };
    assert_eq!(exits[0].0.nat, Some(ip("2001:db8:1::2")));
    assert!(found.steps.iter().all(|s| !s.rule.contains("100.64")));
}

#[test]
fn a_line_without_an_address_is_seen_under_that_of_its_prefix() {
    let controller = controller(both_families(config()), delegated_only());
    let flow = Flow {
        from: Some(ip("fd00:0:0:1::7")),
        to: ip("2001:db8:ffff::9"),
        ..flow(5060)
    };
    assert_eq!(
        controller.nat_address(&name(1), &flow),
        Some(ip("2001:db8:100:1::1"))
    );
    assert_eq!(
        controller.nat_address(&name(2), &flow),
        Some(ip("2001:db8:2::2"))
    );
}

#[test]
fn stickiness_is_said() {
    let sticky = Sticky {
        by: StickyBy::Source,
        idle: Sticky::IDLE_DEFAULT,
    };
    let config = with_policies(config(), |o| {
        o.sticky = Some(sticky);
        o.failback.when = FailbackWhen::ByHand;
    });
    let found = controller(config, machine()).explain(&flow(5060), None);
    assert!(
        matches!(found.decision, Decision::Outlet { sticky: Some(s), .. } if s == sticky),
        "{:?}",
        found.decision
    );
}

#[test]
fn only_the_nearest_of_many_policies_are_gone_through() {
    let mut config = with_calls(config(), |_| {});
    for n in 0..100_u8 {
        let address = ip(&format!("10.0.0.{n}"));
        let source = Selector::Source(Addresses {
            v4: Spans::new([Span::one(address_number(address))]),
            v6: Spans::default(),
        });
        add_policy(&mut config, &format!("p{n}"), vec![source], 1);
    }
    let found = controller(config, machine()).explain(&flow(443), None);
    let PolicyAnswer::Asked { passed, more, .. } = found.policy else {
        panic!("asked")
    };
    assert_eq!((passed.len(), more), (20, 80));
    assert_eq!(passed[19].policy, "p99");
}

fn connection(mark: u32, seen_as: &str) -> Connection {
    let kind = |source, destination| TupleKind::Ports {
        source,
        destination,
    };
    let tuple = |source, destination, kind| Tuple {
        source,
        destination,
        protocol: 6,
        kind,
    };
    let (client, server) = (ip("192.168.1.7"), ip("198.51.100.1"));
    Connection {
        original: tuple(client, server, kind(40_000, 5060)),
        reply: tuple(server, ip(seen_as), kind(5060, 40_000)),
        mark,
    }
}

#[test]
fn a_connection_is_explained_by_its_own_mark_and_address() {
    let connection = connection(0x1200_0000, "100.64.2.2");
    let found = usual().explain_connection(&connection, &[], None);
    assert_eq!(found.uplink, Some(name(2)));
    assert_eq!(found.outlet.as_deref(), Some("calls"));
    assert_eq!(found.nat, Some(ip("100.64.2.2")));
    assert!(!found.is_inbound);
    assert!(matches!(found.decision, Decision::Uplink(exit) if exit.uplink == name(2)));
    let verdict = found.policy.verdict();
    assert!(matches!(verdict, Some(Verdict::Policy { policy, .. }) if policy == "voice"));
}

#[test]
fn a_connection_whose_uplink_is_thought_away_falls_to_its_own_outlet() {
    let connection = connection(0x1200_0000, "100.64.2.2");
    let found = usual().explain_connection(&connection, &[name(2)], None);
    assert_eq!(exits(&found.decision), [("isp1".to_owned(), 100)]);
}

#[test]
fn what_came_in_is_answered_where_it_came_from() {
    let connection = connection(0x0a00_0000, "192.168.1.7");
    let found = usual().explain_connection(&connection, &[], None);
    assert!(found.is_inbound && found.nat.is_none());
    assert!(matches!(found.decision, Decision::Uplink(exit) if exit.uplink == name(2)));
    assert!(matches!(found.policy, PolicyAnswer::NotAsked { .. }));
}

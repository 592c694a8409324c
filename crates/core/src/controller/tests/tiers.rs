//! Outlets with tiers: failing over, waiting, failing back, and what becomes of connections then.

use uplinkd_model::policy::{Failback, FailbackFlows, FailbackWhen, Sticky, StickyBy};

use super::{driver::Driver, *};
use crate::{
    OutletState,
    fixtures::{both_families, config, machine, machine_with_both_families, with_calls},
};

const V4: Family = Family::V4;

fn calls(when: FailbackWhen, flows: FailbackFlows, sticky: bool) -> Config {
    with_calls(config(), |outflow| {
        outflow.failback = Failback { when, flows };
        outflow.sticky = sticky.then_some(Sticky {
            by: StickyBy::Source,
            idle: Sticky::IDLE_DEFAULT,
        });
    })
}

fn both_up(config: Config) -> Driver {
    Driver::new(config, machine(), &["isp1", "isp2"])
}

/// Fails the first uplink and mends it again.
fn fail_and_mend(driver: &mut Driver) {
    driver.answering(V4, &["isp2"]);
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
    driver.forget();
    driver.answering(V4, &["isp1", "isp2"]);
}

/// The metrics of the defaults in the table of `calls`.
fn metrics(driver: &Driver) -> Vec<u32> {
    let table = driver.controller.config.reserve.table_outlet(1);
    let routes = driver.machine.routes.iter().filter(|r| r.table == table);
    routes.map(|r| r.metric).collect()
}

const AFTER: FailbackWhen = FailbackWhen::After(Duration::from_secs(60));

#[test]
fn a_failure_is_one_plan_of_two_steps_whatever_outlets_there_are() {
    let mut config = calls(FailbackWhen::AtOnce, FailbackFlows::Move, true);
    for _ in 0..10 {
        config = with_calls(config, |_| {});
    }
    let mut driver = both_up(config);
    driver.answering(V4, &["isp2"]);
    assert_eq!(driver.plans[0].len(), 2, "{:?}", driver.plans[0]);
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
}

#[test]
fn at_once_returns_as_soon_as_a_better_tier_is_live() {
    let mut driver = both_up(calls(FailbackWhen::AtOnce, FailbackFlows::Keep, true));
    fail_and_mend(&mut driver);
    assert_eq!(driver.serving("calls", V4), ["isp1"]);
    assert_eq!(metrics(&driver), [10, 20]);
    let releases = ["conntrack", "sticky"];
    let steps = driver.steps();
    assert!(
        steps
            .iter()
            .all(|s| releases.iter().all(|r| !s.contains(r))),
        "{steps:?}"
    );
}

#[test]
fn after_waits_and_the_route_waits_behind_the_one_that_serves() {
    let mut driver = both_up(calls(AFTER, FailbackFlows::Drain, false));
    fail_and_mend(&mut driver);
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
    assert_eq!(metrics(&driver), [20, 21]);
    let deadline = driver.controller.failback_deadline().unwrap();
    assert!(deadline > at(driver.now + 58_000) && deadline < at(driver.now + 60_000));
    driver.run(58_000);
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
    driver.run(2_000);
    assert_eq!(driver.serving("calls", V4), ["isp1"]);
    assert_eq!(metrics(&driver), [10, 20]);
    assert!(driver.controller.snapshot().settled);
}

#[test]
fn a_better_tier_that_fails_again_waits_from_the_beginning() {
    let mut driver = both_up(calls(AFTER, FailbackFlows::Drain, false));
    fail_and_mend(&mut driver);
    driver.run(50_000);
    fail_and_mend(&mut driver);
    driver.run(50_000);
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
    driver.run(10_000);
    assert_eq!(driver.serving("calls", V4), ["isp1"]);
}

#[test]
fn by_hand_waits_for_the_word_and_the_picture_says_so() {
    let mut driver = both_up(calls(FailbackWhen::ByHand, FailbackFlows::Drain, false));
    fail_and_mend(&mut driver);
    driver.run(100_000);
    let snapshot = driver.controller.snapshot();
    let calls = snapshot.outlets.iter().find(|o| o.name == "calls").unwrap();
    assert_eq!(calls.waiting.map(|w| (w.tier, w.until)), Some((0, None)));
    let group = Some("calls".to_owned());
    let tier = OutletState::Tier {
        index: 1,
        group,
        rank: 2,
    };
    assert_eq!(calls.state, tier);
    driver.tell(Event::Failback {
        name: "nobody".into(),
        by: By::new("a test"),
    });
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
    driver.tell(Event::Failback {
        name: "calls".into(),
        by: By::new("a test"),
    });
    assert_eq!(driver.serving("calls", V4), ["isp1"]);
}

#[test]
fn with_the_worse_tier_lost_the_better_one_does_not_wait() {
    let mut driver = both_up(calls(FailbackWhen::ByHand, FailbackFlows::Drain, false));
    fail_and_mend(&mut driver);
    driver.forget();
    driver.carrier("wan2", false);
    assert_eq!(driver.serving("calls", V4), ["isp1"]);
    // The kernel alone has turned to the route that waited.
    assert!(driver.plans[0].iter().all(|s| !s.contains("route")));
}

#[test]
fn drain_forgets_sticky_choices_after_the_better_route_is_there() {
    let mut driver = both_up(calls(FailbackWhen::AtOnce, FailbackFlows::Drain, true));
    fail_and_mend(&mut driver);
    let steps = driver.steps();
    let route = "ip -4 route add default nhid";
    let forget = "nft flush set inet uplinkd sticky4_1_2";
    let position = |start| steps.iter().position(|s| s.starts_with(start));
    assert!(position(route) < position(forget), "{steps:#?}");
    assert!(position(forget).is_some() && position("conntrack").is_none());
}

#[test]
fn move_releases_what_the_outlet_led_out_by_its_worse_tiers() {
    let mut driver = both_up(calls(FailbackWhen::AtOnce, FailbackFlows::Move, false));
    fail_and_mend(&mut driver);
    let steps = driver.steps();
    let position = |start| steps.iter().position(|s| s.starts_with(start));
    let flush = "conntrack -D -f ipv4 -m 0x12000000/0xff000000";
    assert!(
        position("ip -4 route add default nhid") < position(flush),
        "{steps:#?}"
    );
    assert!(position(flush).is_some() && position("nft").is_none());
    assert!(driver.controller.snapshot().settled);
}

#[test]
fn move_forgets_sticky_choices_first_or_they_would_lead_back() {
    let mut driver = both_up(calls(FailbackWhen::AtOnce, FailbackFlows::Move, true));
    fail_and_mend(&mut driver);
    let steps = driver.steps();
    let position = |start| steps.iter().position(|s| s.starts_with(start)).unwrap();
    assert!(
        position("nft flush set") < position("conntrack"),
        "{steps:#?}"
    );
}

#[test]
fn an_outlet_that_fails_over_again_owes_nothing() {
    let mut driver = both_up(calls(FailbackWhen::AtOnce, FailbackFlows::Move, false));
    driver.answering(V4, &["isp2"]);
    let mut controller = driver.controller;
    let link = |carrier| Event::LinkChanged {
        index: 1,
        name: "wan1".into(),
        admin_up: true,
        carrier,
        gone: false,
    };
    // Back and away again before anything of it could be done.
    let line = controller.lines.iter().position(|l| l.uplink == 0).unwrap();
    controller.lines[line].health = Health::Up;
    controller.reselect(PerFamily::default(), at(driver.now));
    assert!(!controller.moves.is_empty());
    controller.handle(link(false), at(driver.now));
    assert!(controller.moves.is_empty());
}

#[test]
fn a_restart_is_no_failback() {
    let mut driver = both_up(calls(AFTER, FailbackFlows::Drain, false));
    fail_and_mend(&mut driver);
    driver.restart();
    driver.forget();
    driver.run(1000);
    assert_eq!(driver.plans, Vec::<Vec<String>>::new());
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
    driver.run(60_000);
    assert_eq!(driver.serving("calls", V4), ["isp1"]);
}

#[test]
fn a_reload_is_no_failback_either() {
    let mut driver = both_up(calls(AFTER, FailbackFlows::Drain, false));
    fail_and_mend(&mut driver);
    driver.run(30_000);
    let mut config = calls(AFTER, FailbackFlows::Drain, false);
    config.lan.push("lan1".into());
    driver.tell(Event::Config(Box::new(config)));
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
    // Nor does it begin to wait anew.
    driver.run(30_000);
    assert_eq!(driver.serving("calls", V4), ["isp1"]);
}

#[test]
fn families_of_an_outlet_fail_over_by_themselves() {
    let config = both_families(calls(AFTER, FailbackFlows::Drain, false));
    let machine = machine_with_both_families();
    let mut driver = Driver::new(config, machine, &["isp1", "isp2"]);
    driver.answering(Family::V6, &["isp2"]);
    assert_eq!(driver.serving("calls", V4), ["isp1"]);
    assert_eq!(driver.serving("calls", Family::V6), ["isp2"]);
    driver.answering(Family::V6, &["isp1", "isp2"]);
    assert_eq!(driver.serving("calls", Family::V6), ["isp2"]);
}

#[test]
fn only_outlets_whose_shares_changed_are_told_of() {
    let mut driver = both_up(calls(FailbackWhen::AtOnce, FailbackFlows::Keep, false));
    driver.answering(V4, &["isp1"]);
    let mut told = Vec::new();
    for notice in &driver.notices {
        if let Notice::Selection { group, .. } = notice {
            told.push(group.as_str());
        }
    }
    assert_eq!(told, ["default"]);
}

#[test]
fn a_group_that_no_outlet_uses_is_in_the_picture() {
    let mut config = calls(FailbackWhen::AtOnce, FailbackFlows::Keep, false);
    config.outlets.pop();
    let driver = both_up(config);
    let snapshot = driver.controller.snapshot();
    let last = snapshot.outlets.last().unwrap();
    assert_eq!((last.name.as_str(), last.code), ("calls", None));
    assert_eq!(driver.serving("calls", V4), ["isp1"]);
}

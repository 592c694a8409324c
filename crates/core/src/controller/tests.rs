//! The controller's order of business, step by step. Histories are in `sim`.

use std::{net::IpAddr, time::Duration};

use uplinkd_model::{
    Link, Nexthop, NexthopKind, Outcome, PlannedStep, Route, RouteVia, Rule,
    kernel_state::{Device, ForeignDefault, NftState},
};

mod found;

use super::*;
use crate::desired::{Inputs, desired, tests::config};

fn at(ms: u64) -> Time {
    Time(Duration::from_millis(ms))
}

/// Two uplinks with carrier, address and a default route of somebody else.
fn machine() -> Observed {
    let link = |index: u32| Link {
        device: Device {
            index,
            name: format!("wan{index}"),
        },
        admin_up: true,
        carrier: true,
        addresses: vec![format!("100.64.{index}.2/24").parse().unwrap()],
    };
    let default = |index: u32| ForeignDefault {
        ifindex: index,
        gateway: Some(IpAddr::from([100, 64, u8::try_from(index).unwrap(), 1])),
        family: FAMILY,
        table: uplinkd_model::TableId::MAIN,
        metric: index * 100,
    };
    Observed {
        links: [1, 2].into_iter().map(|n| (n, link(n))).collect(),
        foreign_defaults: vec![default(1), default(2)],
        nft: Some(NftState::Absent),
        ..Observed::default()
    }
}

/// The machine as it is when these uplinks are in service and everything is in place.
fn settled(service: &[&str]) -> Observed {
    let (config, mut observed) = (config(), machine());
    let links: Vec<_> = config
        .uplinks
        .iter()
        .map(|u| link_state(u, FAMILY, &observed, &config.reserve, None))
        .collect();
    let service = service
        .iter()
        .map(|n| UplinkName::new(n).unwrap())
        .collect();
    let wanted = desired(&Inputs {
        config: &config,
        links: &links,
        service: &service,
        observed: &observed,
    });
    observed.nexthops = wanted.nexthops;
    observed.routes = wanted.routes;
    observed.rules = wanted.rules.into_iter().collect();
    observed.nft = wanted.nft.map(NftState::Holds);
    observed.table_names = wanted.table_names;
    observed
}

/// Takes all intentions, answers probes, and returns the plans.
fn plans(controller: &mut Controller, now: Time, answering: &[&str]) -> Vec<Plan> {
    let mut plans = Vec::new();
    while let Some(action) = controller.next_action() {
        match action {
            Action::Apply(plan) => plans.push(plan),
            Action::Probe(probe) if answering.contains(&probe.uplink.as_str()) => {
                let rtt = Duration::from_millis(1);
                controller.handle(
                    Event::Reply {
                        probe: probe.id,
                        rtt,
                    },
                    now,
                );
            }
            Action::Probe(_) | Action::Observe { .. } | Action::Notify(_) => {}
        }
    }
    plans
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|PlannedStep { step, .. }| step.to_string())
        .collect()
}

/// A controller that looked at a settled machine, with these uplinks answering from then on.
fn running(service: &[&str], answering: &[&str]) -> Controller {
    let mut controller = Controller::new(config(), Vec::new(), at(0));
    controller.handle(Event::Observed(Box::new(settled(service))), at(0));
    for ms in (0..1000).step_by(50) {
        controller.handle(Event::Tick, at(ms));
        plans(&mut controller, at(ms), answering);
    }
    controller
}

#[test]
fn the_first_plan_fills_tables_then_nft_then_rules() {
    let mut controller = Controller::new(config(), Vec::new(), at(0));
    controller.handle(Event::Observed(Box::new(machine())), at(0));
    let plan = plans(&mut controller, at(0), &[]).remove(0);
    let position = |start: &str| {
        let all = lines(&plan);
        let first = all.iter().position(|l| l.starts_with(start));
        (
            first.unwrap(),
            all.iter().rposition(|l| l.starts_with(start)).unwrap(),
        )
    };
    let order = [
        "ip nexthop add",
        "ip -4 route add",
        "nft -f",
        "ip -4 rule add",
    ]
    .map(position);
    assert!(order.windows(2).all(|pair| pair[0].1 < pair[1].0), "{plan}");
    assert!(plan.steps.iter().all(|s| !s.step.removes()), "{plan}");
}

#[test]
fn a_settled_machine_is_left_alone_by_a_restart() {
    let mut controller = Controller::new(config(), Vec::new(), at(0));
    controller.handle(Event::Observed(Box::new(settled(&["isp1", "isp2"]))), at(0));
    assert_eq!(plans(&mut controller, at(0), &[]), []);
    assert!(controller.snapshot().settled);
}

#[test]
fn a_restart_does_not_put_a_dead_uplink_back() {
    let mut controller = Controller::new(config(), Vec::new(), at(0));
    controller.handle(Event::Observed(Box::new(settled(&["isp2"]))), at(0));
    let all = plans(&mut controller, at(0), &[]);
    // We may have died before its connections were released.
    assert_eq!(
        all.iter().flat_map(lines).collect::<Vec<_>>(),
        ["conntrack -D -m 0x1000000/0x1f000000"]
    );
    let serving: Vec<_> = controller
        .in_service()
        .iter()
        .map(UplinkName::as_str)
        .collect();
    assert_eq!(serving, ["isp2"]);
}

#[test]
fn a_silent_uplink_leaves_in_two_steps_before_anything_else() {
    let mut controller = running(&["isp1", "isp2"], &["isp1", "isp2"]);
    let mut found = Vec::new();
    for ms in (1000..2000).step_by(50) {
        controller.handle(Event::Tick, at(ms));
        found.extend(plans(&mut controller, at(ms), &["isp2"]));
    }
    assert_eq!(
        lines(&found[0]),
        [
            "ip nexthop del id 177000001",
            "conntrack -D -m 0x1000000/0x1f000000"
        ]
    );
}

#[test]
fn loss_of_carrier_needs_no_second_look() {
    let mut controller = running(&["isp1", "isp2"], &["isp1", "isp2"]);
    let gone = Event::LinkChanged {
        name: "wan1".into(),
        admin_up: true,
        carrier: false,
        gone: false,
    };
    controller.handle(gone, at(1000));
    // Inbound connections go as well: the address may be gone for good.
    let Some(Action::Apply(plan)) = controller.next_action() else {
        panic!("not the first intention")
    };
    assert_eq!(
        lines(&plan),
        [
            "ip nexthop del id 177000001",
            "conntrack -D -m 0x1000000/0xf000000"
        ]
    );
}

#[test]
fn with_nothing_left_nothing_is_taken_away() {
    let mut controller = running(&["isp1", "isp2"], &["isp1", "isp2"]);
    for ms in (1000..3000).step_by(50) {
        controller.handle(Event::Tick, at(ms));
        assert_eq!(plans(&mut controller, at(ms), &[]), []);
    }
    // While the second one missed answers too, the first was not taken out: nobody's connections
    // were released, and both are the last good choice.
    let picture = controller.snapshot();
    assert!(picture.last_resort);
    assert!(picture.uplinks.iter().all(|u| u.health == Health::Down));
    assert_eq!(controller.in_service().len(), 2);
}

#[test]
fn a_strangers_objects_beside_ours_are_in_no_plan() {
    let mut observed = settled(&["isp1", "isp2"]);
    let reserve = uplinkd_model::Reserve::default();
    let theirs = uplinkd_model::Proto(4);
    let foreign_rule = Rule::lookup(
        FAMILY,
        2000,
        reserve.table_service(uplinkd_model::Slot(1)),
        theirs,
    );
    let beside = Rule {
        priority: uplinkd_model::RulePriority(1999),
        proto: reserve.proto,
        ..foreign_rule.clone()
    };
    observed.rules.extend([foreign_rule, beside]);
    let id = uplinkd_model::NexthopId(reserve.nexthop_ids - 1);
    let kind = NexthopKind::Other;
    observed.nexthops.insert(
        id,
        Nexthop {
            id,
            proto: reserve.proto,
            kind,
        },
    );
    observed.routes.insert(Route {
        table: reserve.table_service(uplinkd_model::Slot(1)),
        destination: "192.0.2.0/24".parse().unwrap(),
        metric: 0,
        via: RouteVia::Unreachable,
        source: None,
        proto: theirs,
    });
    let mut controller = Controller::new(config(), Vec::new(), at(0));
    controller.handle(Event::Observed(Box::new(observed.clone())), at(0));
    assert_eq!(plans(&mut controller, at(0), &[]), []);

    let removal = crate::reconcile::removal(&observed, &[reserve]);
    let text = removal.to_string();
    assert!(
        !text.contains("pref 1999") && !text.contains("proto 4"),
        "{text}"
    );
    assert!(
        !text.contains("176999999") && !text.contains("192.0.2.0"),
        "{text}"
    );
}

#[test]
fn drift_is_told_and_put_back() {
    let mut controller = running(&["isp1", "isp2"], &["isp1", "isp2"]);
    let mut observed = settled(&["isp1", "isp2"]);
    observed.rules.pop();
    observed.nft = Some(NftState::Altered {
        found: "a rule is missing".into(),
    });
    controller.handle(Event::Observed(Box::new(observed)), at(1000));
    let mut found = Vec::new();
    while let Some(action) = controller.next_action() {
        match action {
            Action::Notify(Notice::Drift { found: what }) => found = what,
            Action::Apply(plan) => assert_eq!(plan.steps.len(), 2, "{plan}"),
            Action::Notify(_) | Action::Observe { .. } | Action::Probe(_) => {}
        }
    }
    assert!(found[0].contains("missing: rule pref 32010"), "{found:?}");
    assert!(found[1].contains("a rule is missing"), "{found:?}");
    controller.handle(Event::Outcomes(vec![Outcome::Done; 2]), at(1001));
}

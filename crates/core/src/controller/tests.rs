//! The controller's order of business, step by step. Histories are in `sim`.

use std::time::Duration;

use uplinkd_model::{
    By, Health, Nexthop, NexthopKind, Outcome, Plan, PlannedStep, Route, RouteVia, Rule, Step,
    UplinkName, kernel_state::NftState,
};

mod advertise;
mod budgets;
mod driver;
mod families;
mod found;
mod groups;
mod histories;
mod operate;
mod policies;
mod segments;
mod services;
mod tiers;
mod weather;

use super::*;
use crate::{
    families::FAMILIES,
    fixtures::{config, machine},
};

const FAMILY: Family = Family::V4;

fn at(ms: u64) -> Time {
    Time(Duration::from_millis(ms))
}

/// What the kernel has after everything that a controller wants was done.
fn obeyed(controller: &Controller, before: &Observed) -> Observed {
    let wanted = controller.desired(before);
    let foreign = before.rules.iter();
    let foreign = foreign.filter(|r| !controller.claims.iter().any(|c| c.owns_rule(r)));
    let foreign: Vec<_> = foreign.cloned().collect();
    Observed {
        nexthops: wanted.nexthops,
        routes: wanted.routes,
        rules: wanted.rules.into_iter().chain(foreign).collect(),
        nft: wanted.nft.map(|t| NftState::Holds(t.fingerprint())),
        table_names: wanted.table_names,
        ..before.clone()
    }
}

/// This machine as it is when these uplinks are in service in each family and everything is in place.
fn settled_with(config: &Config, machine: &Observed, service: &[&str]) -> Observed {
    let mut controller = Controller::new(config.clone(), Vec::new(), at(0));
    controller.handle(Event::Observed(Box::new(machine.clone())), at(0));
    let names = service.iter().map(|n| UplinkName::new(n).unwrap());
    let names: std::collections::BTreeSet<_> = names.collect();
    for family in FAMILIES {
        if controller.has_family(family) {
            controller.service.of_mut(family).uplinks = names.clone();
        }
    }
    for (outlet, serving) in config.outlets.iter().zip(&mut controller.serving) {
        for family in FAMILIES {
            let service = controller.service.of(family);
            *serving.of_mut(family) = Serving::default();
            if let Some(outflow) = outlet.outflow() {
                serving
                    .of_mut(family)
                    .decide(outflow, service, at(0), false);
            }
        }
    }
    obeyed(&controller, machine)
}

/// The machine as it is when these uplinks are in service and everything is in place.
fn settled(service: &[&str]) -> Observed {
    settled_with(&config(), &machine(), service)
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
            Action::Probe(_)
            | Action::Observe { .. }
            | Action::ListConnections
            | Action::Count(_)
            | Action::CountTcp(_)
            | Action::WriteLedger(_)
            | Action::KeepWishes(_)
            | Action::Notify(_)
            | Action::Advertise(_) => {}
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
    let observed = settled(service);
    running_with(&config(), &observed, answering)
}

fn running_with(config: &Config, observed: &Observed, answering: &[&str]) -> Controller {
    let mut controller = Controller::new(config.clone(), Vec::new(), at(0));
    controller.handle(Event::Observed(Box::new(observed.clone())), at(0));
    for ms in (0..1000).step_by(50) {
        controller.handle(Event::Tick, at(ms));
        plans(&mut controller, at(ms), answering);
    }
    controller
}

/// The names of those in service.
fn serving(controller: &Controller, family: Family) -> Vec<&str> {
    let service = controller.service.of(family);
    service.uplinks.iter().map(UplinkName::as_str).collect()
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
        "ip -4 rule add pref 2000 ",
        "nft -f",
        "ip -4 rule add pref 2010 ",
        "ip -4 rule add pref 32040 ",
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
        ["conntrack -D -f ipv4 -m 0x1000000/0xf000000"]
    );
    assert_eq!(serving(&controller, FAMILY), ["isp2"]);
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
            "conntrack -D -f ipv4 -m 0x1000000/0xf000000"
        ]
    );
}

#[test]
fn loss_of_carrier_needs_no_second_look() {
    let mut controller = running(&["isp1", "isp2"], &["isp1", "isp2"]);
    let gone = Event::LinkChanged {
        index: 1,
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
            "conntrack -D -f ipv4 -m 0x1000000/0x7000000"
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
    assert!(picture.last_resort.v4);
    assert!(picture.lines.iter().all(|u| u.health == Health::Down));
    assert_eq!(serving(&controller, FAMILY).len(), 2);
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
        via: RouteVia::Prohibit,
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
            Action::Notify(_)
            | Action::Observe { .. }
            | Action::ListConnections
            | Action::Count(_)
            | Action::CountTcp(_)
            | Action::WriteLedger(_)
            | Action::KeepWishes(_)
            | Action::Probe(_)
            | Action::Advertise(_) => {}
        }
    }
    assert!(found[0].contains("missing: rule pref 32040"), "{found:?}");
    assert!(found[1].contains("a rule is missing"), "{found:?}");
    controller.handle(Event::Outcomes(vec![Outcome::Done; 2]), at(1001));
}

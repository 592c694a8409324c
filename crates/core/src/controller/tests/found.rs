//! What the simulator found. Each test names the seed that shows it in a whole history.

use uplinkd_model::{NexthopId, Proto};

use uplinkd_model::{OutletKind, Slot};

use super::*;

/// All intentions that are waiting.
fn actions(controller: &mut Controller) -> Vec<Action> {
    std::iter::from_fn(|| controller.next_action()).collect()
}

fn link(name: &str, carrier: bool) -> Event {
    Event::LinkChanged {
        index: name.trim_start_matches("wan").parse().unwrap(),
        name: name.into(),
        admin_up: true,
        carrier,
        gone: false,
    }
}

fn refused() -> Outcome {
    Outcome::Refused {
        errno: 1,
        text: "not permitted".into(),
    }
}

/// Without targets, so that the link decides.
fn watching_links(service: &[&str]) -> Controller {
    let mut config = config();
    for uplink in &mut config.uplinks {
        uplink.ipv4.as_mut().unwrap().probe.targets.clear();
    }
    let mut controller = Controller::new(config, Vec::new(), at(0));
    controller.handle(Event::Observed(Box::new(settled(service))), at(0));
    actions(&mut controller);
    controller
}

fn without_carrier(mut observed: Observed, index: u32) -> Observed {
    observed.links.get_mut(&index).unwrap().carrier = false;
    observed
}

/// Seed 7: tried again at once and for ever, as fast as the kernel could refuse.
#[test]
fn a_refused_release_waits_before_it_is_tried_again() {
    let mut controller = Controller::new(config(), Vec::new(), at(0));
    let observed = settled(&["isp2"]);
    controller.handle(Event::Observed(Box::new(observed.clone())), at(0));
    assert_eq!(plans(&mut controller, at(0), &[]).len(), 1);
    controller.handle(Event::Outcomes(vec![refused()]), at(1));
    controller.handle(Event::Observed(Box::new(observed.clone())), at(2));
    assert_eq!(plans(&mut controller, at(2), &[]), []);
    controller.handle(Event::Tick, at(2));
    assert!(controller.next_deadline().unwrap() > at(2));
    controller.handle(Event::Tick, at(150));
    controller.handle(Event::Observed(Box::new(observed)), at(151));
    assert_eq!(plans(&mut controller, at(151), &[]).len(), 1);
}

/// Seed 8: the urgent plan deletes by id alone, and the id was a stranger's.
#[test]
fn a_strangers_nexthop_under_our_id_is_not_deleted_in_a_hurry() {
    let mut observed = settled(&["isp1", "isp2"]);
    let id = NexthopId(177_000_001);
    observed.nexthops.get_mut(&id).unwrap().proto = Proto(4);
    let mut controller = watching_links(&["isp1", "isp2"]);
    controller.handle(Event::Observed(Box::new(observed)), at(1));
    let first = plans(&mut controller, at(1), &[]).remove(0);
    let outcomes = vec![refused(); first.steps.len()];
    controller.handle(Event::Outcomes(outcomes), at(2));
    controller.handle(link("wan1", false), at(3));
    let all = plans(&mut controller, at(3), &[]);
    assert!(
        all.iter()
            .flat_map(|p| &p.steps)
            .all(|s| s.step != Step::DeleteNexthop(id)),
        "{all:?}"
    );
}

/// Seed 285: what waited for another plan to end was carried out though the uplink was back.
#[test]
fn a_waiting_urgent_plan_spares_who_is_back_in_service() {
    let mut controller = watching_links(&["isp1", "isp2"]);
    controller.handle(link("wan1", false), at(1));
    assert_eq!(plans(&mut controller, at(1), &[]).len(), 1);
    // The kernel is still at it when the first comes back and the second goes.
    controller.handle(link("wan1", true), at(2));
    controller.handle(link("wan2", false), at(3));
    controller.handle(link("wan2", true), at(4));
    assert_eq!(plans(&mut controller, at(4), &[]), []);
    controller.handle(Event::Outcomes(vec![Outcome::Done; 2]), at(5));
    assert_eq!(plans(&mut controller, at(5), &[]), []);
}

/// Seed 7634: a release owed since the link was lost took the connections that came in afterwards.
#[test]
fn what_comes_in_after_the_link_is_back_is_not_released() {
    let mut controller = running(&["isp1", "isp2"], &["isp1", "isp2"]);
    controller.handle(link("wan1", false), at(1000));
    actions(&mut controller);
    controller.handle(Event::Outcomes(vec![Outcome::Done, refused()]), at(1001));
    controller.handle(link("wan1", true), at(1002));
    actions(&mut controller);
    controller.handle(Event::Observed(Box::new(settled(&["isp2"]))), at(1003));
    actions(&mut controller);
    controller.handle(Event::Observed(Box::new(settled(&["isp2"]))), at(1004));
    let all = plans(&mut controller, at(1004), &[]);
    let all: Vec<_> = all.iter().flat_map(lines).collect();
    assert_eq!(all, ["conntrack -D -f ipv4 -m 0x1000000/0xf000000"]);
}

/// The kernel removes nexthops at carrier loss without telling: news of a link that seems unchanged
/// may be all that is left of a loss and a return.
#[test]
fn news_of_a_link_that_seems_unchanged_makes_us_look() {
    let mut controller = running(&["isp1", "isp2"], &["isp1", "isp2"]);
    actions(&mut controller);
    controller.handle(link("wan1", true), at(1000));
    controller.handle(Event::Tick, at(1030));
    let looks = actions(&mut controller);
    let is_look = |a: &Action| matches!(a, Action::Observe { .. });
    assert!(looks.iter().any(is_look), "{looks:?}");
}

/// A new cause made what was waiting wait twice as long, again and again while a link flapped.
#[test]
fn a_new_cause_frees_what_waits_to_be_tried_again() {
    let mut controller = watching_links(&["isp1", "isp2"]);
    let mut wrong = settled(&["isp1", "isp2"]);
    wrong.rules.pop();
    controller.handle(Event::Observed(Box::new(wrong.clone())), at(1));
    assert_eq!(plans(&mut controller, at(1), &[]).len(), 1);
    controller.handle(Event::Outcomes(vec![refused()]), at(2));
    controller.handle(Event::Observed(Box::new(wrong.clone())), at(3));
    assert_eq!(plans(&mut controller, at(3), &[]), []);
    // A link goes and comes; what is wanted is the same as before.
    controller.handle(link("wan1", false), at(4));
    controller.handle(link("wan1", true), at(5));
    assert_eq!(plans(&mut controller, at(5), &[]).len(), 1);
    controller.handle(Event::Outcomes(vec![Outcome::Done; 2]), at(6));
    controller.handle(Event::Observed(Box::new(wrong)), at(7));
    assert_eq!(plans(&mut controller, at(7), &[]).len(), 1);
}

/// Until the kernel was seen to hold it, a new choice is not settled.
#[test]
fn a_picture_is_not_settled_while_a_change_is_under_way() {
    let mut controller = watching_links(&["isp1", "isp2"]);
    assert!(controller.snapshot().settled);
    controller.handle(link("wan1", false), at(1));
    actions(&mut controller);
    let outcomes = vec![Outcome::Done; 2];
    controller.handle(Event::Outcomes(outcomes), at(2));
    assert!(!controller.snapshot().settled);
    let observed = without_carrier(settled(&["isp1", "isp2"]), 1);
    controller.handle(Event::Observed(Box::new(observed)), at(3));
    assert!(!controller.snapshot().settled);
}

/// Seeds 558, 850: a connection that `main` led out while nobody served, or whose uplink failed while
/// we were dead, kept its mark and stalled for good.
#[test]
fn with_the_first_to_serve_the_connections_of_all_others_are_released() {
    // The kernel removed the nexthops of both with their carriers; only the second is back.
    let observed = without_carrier(machine(), 1);
    let mut controller = Controller::new(config(), Vec::new(), at(0));
    controller.handle(Event::Observed(Box::new(observed)), at(0));
    let all = plans(&mut controller, at(0), &[]);
    let all: Vec<_> = all.iter().flat_map(lines).collect();
    let last = all.last().map(String::as_str);
    assert_eq!(
        last,
        Some("conntrack -D -f ipv4 -m 0x1000000/0xf000000"),
        "{all:?}"
    );
}

#[test]
fn connections_of_an_uplink_that_the_file_lost_while_nobody_ran_are_released() {
    let mut observed = settled(&["isp1", "isp2"]);
    let reserve = config().reserve;
    let gone = Slot(3);
    observed.rules.push(Rule {
        mark: Some(reserve.mark_out(gone)),
        ..Rule::lookup(FAMILY, 2030, reserve.table_service(gone), reserve.proto)
    });
    let mut controller = Controller::new(config(), Vec::new(), at(0));
    controller.handle(Event::Observed(Box::new(observed)), at(0));
    let plan = plans(&mut controller, at(0), &[]).remove(0);
    let release = Step::FlushConnections {
        mark: reserve.mark_all(gone),
        family: Some(FAMILY),
    };
    assert!(plan.steps.iter().any(|s| s.step == release), "{plan}");
}

/// isp1 alone serves the default group; isp2 serves nobody but is in service.
fn with_isp1_alone() -> Config {
    let mut config = config();
    for outlet in &mut config.outlets {
        if let OutletKind::Uplinks(outflow) = &mut outlet.kind {
            outflow.tiers[0].members.truncate(1);
        }
    }
    config
}

/// Seed 13604, as it was drawn then: the kernel turns to the last resort before we do, and who begins
/// in between is pinned to the line that is gone.
#[test]
fn who_began_over_the_last_resort_is_released_when_others_carry_it() {
    let config = with_isp1_alone();
    let observed = settled_with(&config, &machine(), &["isp1", "isp2"]);
    let mut controller = running_with(&config, &observed, &["isp1", "isp2"]);
    controller.handle(Event::Observed(Box::new(observed.clone())), at(1000));
    plans(&mut controller, at(1000), &["isp1", "isp2"]);
    controller.handle(link("wan1", false), at(1010));
    let mut seen = Vec::new();
    for ms in (1010..1200).step_by(10) {
        for plan in plans(&mut controller, at(ms), &["isp2"]) {
            seen.extend(plan.steps.iter().map(|s| s.step.clone()));
            let outcomes = vec![Outcome::Done; plan.steps.len()];
            controller.handle(Event::Outcomes(outcomes), at(ms));
            let mut now = obeyed(&controller, &observed);
            let wan1 = now.links.values_mut().find(|l| l.device.name == "wan1");
            wan1.unwrap().carrier = false;
            controller.handle(Event::Observed(Box::new(now)), at(ms));
        }
    }
    let release = Step::MoveConnections {
        mark: config.reserve.mark_out(Slot(1)),
        family: FAMILY,
    };
    assert_eq!(
        seen.iter().filter(|s| **s == release).count(),
        1,
        "{seen:?}"
    );
}

#[test]
fn a_line_that_serves_again_keeps_who_began_over_the_last_resort() {
    let config = with_isp1_alone();
    let observed = settled_with(&config, &machine(), &["isp2"]);
    let mut controller = running_with(&config, &observed, &["isp2"]);
    controller.handle(Event::Observed(Box::new(observed.clone())), at(1000));
    plans(&mut controller, at(1000), &["isp2"]);
    let mut seen = Vec::new();
    for ms in (1000..3000).step_by(50) {
        controller.handle(Event::Tick, at(ms));
        for plan in plans(&mut controller, at(ms), &["isp1", "isp2"]) {
            seen.extend(plan.steps.iter().map(|s| s.step.clone()));
            let outcomes = vec![Outcome::Done; plan.steps.len()];
            controller.handle(Event::Outcomes(outcomes), at(ms));
            let now = obeyed(&controller, &observed);
            controller.handle(Event::Observed(Box::new(now)), at(ms));
        }
    }
    assert_eq!(serving(&controller, FAMILY), ["isp1", "isp2"]);
    // Nobody is taken from a line that serves by now.
    let mark = config.reserve.mark_out(Slot(1));
    let harmful = Step::MoveConnections {
        mark,
        family: FAMILY,
    };
    assert!(!seen.contains(&harmful), "{seen:?}");
}

//! Each family of an uplink is a line of its own.

use uplinkd_model::Reason;

use super::{driver::Driver, *};
use crate::fixtures::{both_families, config, machine, machine_with_both_families};

fn both() -> Driver {
    let config = both_families(config());
    Driver::new(config, machine_with_both_families(), &["isp1", "isp2"])
}

fn healths(driver: &Driver) -> Vec<Health> {
    let lines = driver.controller.snapshot().lines;
    lines.iter().map(|l| l.health).collect()
}

/// Two uplinks of which the file announces nothing, and both families on the machine's first one.
fn unannounced() -> Config {
    let mut config = both_families(config());
    for uplink in &mut config.uplinks {
        for access in [&mut uplink.ipv4, &mut uplink.ipv6].into_iter().flatten() {
            access.expected = false;
        }
    }
    config
}

#[test]
fn a_family_that_fails_leaves_the_other_alone() {
    let mut driver = both();
    driver.answering(Family::V6, &["isp2"]);
    assert_eq!(
        healths(&driver),
        [Health::Up, Health::Down, Health::Up, Health::Up]
    );
    assert_eq!(
        driver.plans[0],
        [
            "ip nexthop del id 177524289",
            "conntrack -D -f ipv6 -m 0x1000000/0xf000000"
        ]
    );
    assert!(
        driver.steps().iter().all(|s| !s.contains("ipv4")),
        "{:?}",
        driver.plans
    );
    assert_eq!(serving(&driver.controller, Family::V4), ["isp1", "isp2"]);
    assert_eq!(serving(&driver.controller, Family::V6), ["isp2"]);
    driver.answering(Family::V6, &["isp1", "isp2"]);
    assert_eq!(serving(&driver.controller, Family::V6), ["isp1", "isp2"]);
}

#[test]
fn a_lost_carrier_takes_both_families_out_in_one_plan() {
    let mut driver = both();
    driver.carrier("wan1", false);
    assert_eq!(
        driver.plans[0],
        [
            "ip nexthop del id 177000001",
            "ip nexthop del id 177524289",
            "conntrack -D -f ipv4 -m 0x1000000/0x7000000",
            "conntrack -D -f ipv6 -m 0x1000000/0x7000000"
        ]
    );
}

#[test]
fn each_family_has_its_own_last_resort() {
    let mut driver = both();
    driver.answering(Family::V6, &[]);
    let snapshot = driver.controller.snapshot();
    assert_eq!(
        (snapshot.last_resort.v4, snapshot.last_resort.v6),
        (false, true)
    );
    assert!(
        driver.steps().iter().all(|s| !s.contains("conntrack")),
        "{:?}",
        driver.plans
    );
}

/// A target's silence in IPv6 says nothing about IPv4, and what all lines of one family share takes
/// none of them out.
#[test]
fn a_shared_silence_holds_each_family_by_itself() {
    let mut driver = both();
    driver.answering.v6 = Vec::new();
    driver.answering(Family::V4, &["isp2"]);
    assert_eq!(serving(&driver.controller, Family::V4), ["isp2"]);
    assert_eq!(serving(&driver.controller, Family::V6), ["isp1", "isp2"]);
}

#[test]
fn a_family_that_nobody_announced_and_nobody_has_is_not_spoken_of() {
    let driver = Driver::new(unannounced(), machine(), &["isp1", "isp2"]);
    let snapshot = driver.controller.snapshot();
    let v6: Vec<_> = snapshot
        .lines
        .iter()
        .filter(|l| l.family == Family::V6)
        .collect();
    assert!(v6.iter().all(|l| l.absent && l.health == Health::Unknown));
    assert!(snapshot.outlets.iter().all(|o| o.family == Family::V4));
    assert!(!snapshot.last_resort.v6 && snapshot.settled);
}

#[test]
fn the_first_line_of_a_family_that_comes_later_serves_at_once() {
    let mut driver = Driver::new(unannounced(), machine(), &["isp1", "isp2"]);
    driver.answering.v6 = Vec::new();
    let both = machine_with_both_families();
    *driver.link(1) = both.links[&1].clone();
    driver.machine.foreign_defaults = both.foreign_defaults;
    driver.tell(Event::Hint {
        what: HintKind::Address(1),
    });
    driver.run(100);
    assert_eq!(serving(&driver.controller, Family::V6), ["isp1"]);
    // The next one has to answer first.
    *driver.link(2) = both.links[&2].clone();
    driver.tell(Event::Hint {
        what: HintKind::Address(2),
    });
    driver.run(100);
    assert_eq!(serving(&driver.controller, Family::V6), ["isp1"]);
    driver.answering(Family::V6, &["isp1", "isp2"]);
    assert_eq!(serving(&driver.controller, Family::V6), ["isp1", "isp2"]);
}

#[test]
fn a_family_that_was_there_and_is_gone_is_down() {
    let mut driver = Driver::new(
        unannounced(),
        machine_with_both_families(),
        &["isp1", "isp2"],
    );
    driver.link(1).addresses.retain(|a| a.addr().is_ipv4());
    driver.tell(Event::Hint {
        what: HintKind::Address(1),
    });
    driver.run(100);
    let lines = driver.controller.snapshot().lines;
    assert_eq!(
        (lines[1].health, &lines[1].reason),
        (Health::Down, &Reason::NoAddress)
    );
    assert_eq!(lines[0].health, Health::Up);
    assert_eq!(driver.plans[0].len(), 2, "{:?}", driver.plans);
}

#[test]
fn an_uplink_that_gives_up_a_family_releases_its_connections() {
    let mut driver = both();
    let mut config = both_families(config());
    config.uplinks[0].ipv6 = None;
    driver.tell(Event::Config(Box::new(config)));
    driver.run(200);
    let flush = "conntrack -D -f ipv6 -m 0x1000000/0x7000000";
    assert!(driver.steps().contains(&flush), "{:?}", driver.plans);
    assert!(driver.controller.snapshot().settled);
}

#[test]
fn connections_of_an_address_that_is_gone_are_released_and_no_others() {
    let mut driver = Driver::new(config(), machine(), &["isp1", "isp2"]);
    driver.run(1000);
    let before = driver.steps().len();
    let change = |driver: &mut Driver, addresses: &[&str]| {
        driver.link(1).addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        driver.tell(Event::Hint {
            what: HintKind::Address(1),
        });
        driver.run(200);
    };
    // One that comes and goes before anybody could talk from it, beside the one that stays.
    change(&mut driver, &["100.64.1.2/24", "100.64.1.66/24"]);
    change(&mut driver, &["100.64.1.66/24"]);
    let steps: Vec<_> = driver.steps()[before..]
        .iter()
        .map(|s| s.to_string())
        .collect();
    let released: Vec<_> = steps
        .iter()
        .filter(|s| s.contains("# with addresses of"))
        .collect();
    assert_eq!(released.len(), 2, "{steps:?}");
    assert!(released[0].ends_with(" 100.64.1.2/32"), "{released:?}");
    // Another interface's, behind which the kernel may have masqueraded in between.
    assert!(released[1].ends_with(" 100.64.2.2/32"), "{released:?}");
    // By way of none at all, which takes the line out and back, it is owed likewise.
    change(&mut driver, &[]);
    let before = driver.steps().len();
    change(&mut driver, &["100.64.1.130/24"]);
    let steps = driver.steps()[before..].join("\n");
    assert!(steps.contains(" 100.64.1.66/32"), "{steps}");
    assert!(!steps.contains("of 100.64.1.130"), "{steps}");
}

#[test]
fn the_end_of_an_advertised_route_is_looked_for_when_it_comes() {
    let mut driver = both();
    driver.answering(Family::V6, &["isp1", "isp2"]);
    for default in &mut driver.machine.foreign_defaults {
        let is_first = default.family == Family::V6 && default.ifindex == 1;
        default.expires_in = is_first.then_some(Duration::from_secs(3));
    }
    let hint = Event::Hint {
        what: HintKind::Route,
    };
    driver.tell(hint);
    driver.run(1000);
    // Nobody tells of it.
    let is_first =
        |d: &uplinkd_model::kernel_state::ForeignDefault| d.family == Family::V6 && d.ifindex == 1;
    driver.machine.foreign_defaults.retain(|d| !is_first(d));
    driver.run(1000);
    assert_eq!(serving(&driver.controller, Family::V6), ["isp1", "isp2"]);
    driver.run(1500);
    assert_eq!(serving(&driver.controller, Family::V6), ["isp2"]);
    assert_eq!(serving(&driver.controller, Family::V4), ["isp1", "isp2"]);
}

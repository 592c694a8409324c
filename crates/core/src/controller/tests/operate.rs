//! Draining an uplink and preferring one.

use uplinkd_model::{
    Order,
    policy::{End, Failback, FailbackFlows, FailbackWhen, Sticky, StickyBy},
};

use super::{driver::Driver, *};
use crate::{
    OutletState,
    fixtures::{
        both_families, config, machine, machine_with_both_families, member, name, outflow,
        with_calls,
    },
};

const V4: Family = Family::V4;

fn by() -> By {
    By::new("root")
}

fn drain(n: u16, seconds: Option<u64>) -> Event {
    let span = seconds.map(Duration::from_secs);
    Event::Operate(
        Order::Drain {
            uplink: name(n),
            span,
        },
        by(),
    )
}

fn undrain(n: u16) -> Event {
    Event::Operate(Order::Undrain { uplink: name(n) }, by())
}

fn prefer(n: u16, seconds: u64) -> Event {
    let span = Duration::from_secs(seconds);
    Event::Operate(
        Order::Prefer {
            uplink: name(n),
            span,
        },
        by(),
    )
}

fn both_up(config: Config) -> Driver {
    Driver::new(config, machine(), &["isp1", "isp2"])
}

/// Whatever is done to connections.
fn releases(driver: &Driver) -> Vec<&str> {
    let steps = driver.steps().into_iter();
    steps.filter(|s| s.contains("conntrack")).collect()
}

fn told(driver: &Driver) -> Vec<String> {
    let own = |n: &&Notice| {
        matches!(
            n,
            Notice::Drained { .. }
                | Notice::Undrained { .. }
                | Notice::Preferred { .. }
                | Notice::Unpreferred { .. }
        )
    };
    driver
        .notices
        .iter()
        .filter(own)
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_drained_line_leaves_the_groups_and_stays_in_service_until_its_time_is_over() {
    let config = both_families(with_calls(config(), |_| {}));
    let mut driver = Driver::new(config, machine_with_both_families(), &["isp1", "isp2"]);
    driver.tell(drain(1, Some(60)));
    driver.run(1000);
    for family in FAMILIES {
        assert_eq!(driver.serving("default", family), ["isp2"]);
        assert_eq!(driver.serving("calls", family), ["isp2"]);
        let service = driver.controller.service.of(family);
        assert!(service.uplinks.contains(&name(1)), "its connections live");
    }
    assert_eq!(releases(&driver), Vec::<&str>::new());
    let snapshot = driver.controller.snapshot();
    assert!(snapshot.settled);
    assert!(snapshot.lines[0].is_idle && snapshot.lines[0].drained.is_some());
    driver.run(57_000);
    assert_eq!(driver.serving("default", V4), ["isp2"]);
    driver.run(3_000);
    assert_eq!(driver.serving("default", V4), ["isp1", "isp2"]);
    assert_eq!(driver.serving("calls", V4), ["isp1"]);
    assert_eq!(
        told(&driver),
        [
            "uplink isp1 is drained for 1m (root)",
            "uplink isp1 is no longer drained (its time is over)"
        ]
    );
    assert_eq!(driver.kept, Wishes::default());
}

#[test]
fn a_drained_line_serves_where_no_other_one_does() {
    let mut driver = both_up(config());
    driver.tell(drain(1, None));
    driver.answering(V4, &["isp1"]);
    assert_eq!(driver.serving("default", V4), ["isp1"]);
    assert!(!driver.controller.snapshot().lines[0].is_idle);
    assert!(!driver.controller.snapshot().last_resort.v4, "it works");
    driver.answering(V4, &["isp1", "isp2"]);
    assert_eq!(driver.serving("default", V4), ["isp2"]);
    // The only one that is left is no reason to release the connections of the other.
    driver.forget();
    driver.tell(drain(2, None));
    driver.run(1000);
    assert_eq!(driver.serving("default", V4), ["isp1", "isp2"]);
    assert_eq!(releases(&driver), Vec::<&str>::new());
}

#[test]
fn an_outlet_that_has_only_the_drained_line_does_what_it_does_when_that_is_down() {
    for (end, state) in [
        (End::Default, OutletState::Default),
        (End::Block, OutletState::Blocked),
    ] {
        let config = with_calls(config(), |o| {
            *o = outflow("calls", &[vec![member(1, 1)]], end);
        });
        let mut driver = both_up(config);
        driver.tell(drain(1, None));
        driver.run(1000);
        let of = |driver: &Driver| {
            let snapshot = driver.controller.snapshot();
            let calls = snapshot.outlets.iter().find(|o| o.name == "calls");
            calls.unwrap().state.clone()
        };
        assert_eq!(of(&driver), state);
        driver.answering(V4, &["isp1"]);
        assert!(
            matches!(of(&driver), OutletState::Tier { .. }),
            "better than none"
        );
    }
}

#[test]
fn an_undrained_line_comes_back_as_the_group_says() {
    let failback = Failback {
        when: FailbackWhen::After(Duration::from_secs(60)),
        flows: FailbackFlows::Drain,
    };
    let mut driver = both_up(with_calls(config(), |o| o.failback = failback));
    driver.tell(drain(1, None));
    driver.run(1000);
    driver.tell(undrain(1));
    driver.run(1000);
    assert_eq!(driver.serving("default", V4), ["isp1", "isp2"]);
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
    driver.run(60_000);
    assert_eq!(driver.serving("calls", V4), ["isp1"]);
}

#[test]
fn what_keeps_to_a_drained_line_is_forgotten_once() {
    let sticky = Sticky {
        by: StickyBy::Source,
        idle: Sticky::IDLE_DEFAULT,
    };
    let mut driver = both_up(with_calls(config(), |o| {
        o.sticky = Some(sticky);
        // Its return to the first tier is not what is looked for.
        o.failback.flows = FailbackFlows::Keep;
    }));
    driver.tell(drain(1, None));
    driver.run(1000);
    let forgets = |driver: &Driver| {
        let steps = driver.steps().into_iter();
        steps.filter(|s| s.contains("sticky")).count()
    };
    assert!(forgets(&driver) > 0, "{:?}", driver.steps());
    driver.forget();
    driver.run(5000);
    driver.tell(drain(2, None));
    driver.run(1000);
    assert_eq!(forgets(&driver), 0, "both serve now");
}

#[test]
fn a_preferred_line_goes_before_all_tiers_while_it_is_up_and_then_no_longer() {
    let mut driver = both_up(with_calls(config(), |_| {}));
    driver.tell(prefer(2, 600));
    driver.run(1000);
    for outlet in ["default", "calls"] {
        assert_eq!(driver.serving(outlet, V4), ["isp2"]);
    }
    let table = driver.controller.config.reserve.table_outlet(1);
    let metrics = |driver: &Driver| -> Vec<u32> {
        let routes = driver.machine.routes.iter().filter(|r| r.table == table);
        routes.map(|r| r.metric).collect()
    };
    assert_eq!(metrics(&driver), [5, 10, 20], "the tiers stay behind it");
    driver.answering(V4, &["isp1"]);
    assert_eq!(driver.serving("calls", V4), ["isp1"]);
    driver.answering(V4, &["isp1", "isp2"]);
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
    driver.tell(drain(2, None));
    driver.run(1000);
    assert_eq!(driver.serving("calls", V4), ["isp1"], "drained is stronger");
    driver.tell(undrain(2));
    driver.run(1000);
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
    driver.forget();
    driver.tell(Event::Operate(Order::Unprefer, by()));
    driver.run(1000);
    assert_eq!(driver.serving("default", V4), ["isp1", "isp2"]);
    assert_eq!(metrics(&driver), [10, 20]);
    assert_eq!(releases(&driver), Vec::<&str>::new());
    assert_eq!(told(&driver), ["uplink isp2 is no longer preferred (root)"]);
}

#[test]
fn a_preference_is_no_failover_and_its_end_no_failback() {
    let failback = Failback {
        when: FailbackWhen::ByHand,
        flows: FailbackFlows::Drain,
    };
    let mut driver = both_up(with_calls(config(), |o| o.failback = failback));
    driver.tell(prefer(2, 5));
    driver.run(1000);
    driver.restart();
    driver.run(1000);
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
    driver.run(5000);
    assert_eq!(driver.serving("calls", V4), ["isp1"], "nothing waits");
    // And one that waits for a word goes on waiting.
    driver.answering(V4, &["isp2"]);
    driver.answering(V4, &["isp1", "isp2"]);
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
    driver.tell(prefer(1, 5));
    driver.run(1000);
    assert_eq!(driver.serving("calls", V4), ["isp1"]);
    driver.restart();
    driver.run(8000);
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
}

#[test]
fn a_restart_goes_on_with_what_was_wanted_and_changes_nothing() {
    let mut driver = both_up(with_calls(config(), |_| {}));
    driver.tell(drain(1, Some(3600)));
    driver.run(1000);
    driver.restart();
    driver.forget();
    driver.run(2000);
    assert_eq!(driver.serving("calls", V4), ["isp2"]);
    assert_eq!(driver.plans, Vec::<Vec<String>>::new());
    driver.tell(Event::Config(Box::new(config())));
    driver.run(1000);
    assert_eq!(driver.serving("default", V4), ["isp2"], "nor does a reload");
}

#[test]
fn an_order_for_nobody_changes_nothing() {
    let mut driver = both_up(config());
    driver.tell(drain(7, None));
    driver.tell(undrain(1));
    driver.tell(prefer(7, 60));
    driver.tell(Event::Operate(Order::Unprefer, by()));
    driver.run(1000);
    assert_eq!(told(&driver), Vec::<String>::new());
    assert_eq!(driver.plans, Vec::<Vec<String>>::new());
}

//! Short random histories: whatever happened, things settle, and the kernel's best route of each
//! outlet leads to the tier that serves it. Longer ones, with trouble in between, are in `sim`.

use uplinkd_model::{
    Order, OutletKind,
    policy::{End, Failback, FailbackFlows, FailbackWhen, Sticky, StickyBy},
};

use super::{driver::Driver, *};
use crate::fixtures::{
    Dice, add_outlet, both_families, config, machine_with_both_families, with_calls,
};

/// A configuration with outlets of every kind.
fn some_config(dice: &mut Dice) -> Config {
    let mut config = both_families(config());
    for _ in 0..dice.throw(3) {
        config = with_calls(config, |outflow| {
            outflow.failback = Failback {
                when: [
                    FailbackWhen::AtOnce,
                    FailbackWhen::After(Duration::from_secs(3)),
                    FailbackWhen::ByHand,
                ][dice.throw(3) as usize],
                flows: [
                    FailbackFlows::Keep,
                    FailbackFlows::Drain,
                    FailbackFlows::Move,
                ][dice.throw(3) as usize],
            };
            outflow.end = [End::Default, End::Block][dice.throw(2) as usize];
            outflow.sticky = (dice.throw(2) == 0).then_some(Sticky {
                by: StickyBy::Source,
                idle: Sticky::IDLE_DEFAULT,
            });
            if dice.throw(2) == 0 {
                outflow.tiers.reverse();
            }
        });
    }
    add_outlet(&mut config, "block", OutletKind::Block);
    if dice.throw(4) == 0 {
        config.uplinks[1].ipv6 = None;
    }
    config
}

fn happen(driver: &mut Driver, dice: &mut Dice) {
    const ALL: [&str; 2] = ["isp1", "isp2"];
    match dice.throw(11) {
        0..=2 => {
            let family = FAMILIES[dice.throw(2) as usize];
            let answering = ALL.into_iter().filter(|_| dice.throw(3) > 0);
            *driver.answering.of_mut(family) = answering.collect();
        }
        3 => driver.carrier("wan1", dice.throw(2) == 0),
        4 => driver.carrier("wan2", dice.throw(2) == 0),
        5 => driver.restart(),
        8 | 9 => {
            let uplink = UplinkName::new(ALL[dice.throw(2) as usize]).unwrap();
            // None ends while it is judged.
            let span = Duration::from_secs([0, 1, 3600][dice.throw(3) as usize]);
            let order = match dice.throw(5) {
                0 => Order::Undrain { uplink },
                1 => Order::Unprefer,
                2 => Order::Prefer { uplink, span },
                n => Order::Drain {
                    uplink,
                    span: (n == 3).then_some(span),
                },
            };
            driver.tell(Event::Operate(order, By::new("a test")));
        }
        6 => driver.tell(Event::Failback {
            name: "calls".into(),
            by: By::new("a test"),
        }),
        _ => {
            let config = some_config(dice);
            driver.tell(Event::Config(Box::new(config)));
        }
    }
    driver.run(dice.throw(40) * 100);
}

/// The slots that the best default route in an outlet's table leads to.
fn led_to(driver: &Driver, code: u16, family: Family) -> Vec<u16> {
    let reserve = &driver.controller.config.reserve;
    let routes = driver.machine.routes.iter().filter(|r| {
        r.table == reserve.table_outlet(code)
            && r.family() == family
            && r.metric < Reserve::METRIC_LAST
    });
    let best = routes.min_by_key(|r| r.metric);
    let group = best.and_then(|r| match r.via {
        RouteVia::Nexthop(id) => driver.machine.nexthops.get(&id),
        RouteVia::Device { .. } | RouteVia::Prohibit | RouteVia::Other => None,
    });
    let members = group.map(|n| match &n.kind {
        NexthopKind::Group(members) => members.clone(),
        NexthopKind::Single { .. } | NexthopKind::Other => Vec::new(),
    });
    let first = reserve.nexthop_service(family, uplinkd_model::Slot(0)).0;
    let slots = members.unwrap_or_default();
    slots
        .iter()
        .map(|(id, _)| u16::try_from(id.0 - first).unwrap())
        .collect()
}

fn judge(driver: &mut Driver, seed: u64) {
    driver.run(2000);
    assert!(driver.controller.snapshot().settled, "seed {seed}");
    driver.forget();
    driver.tell(Event::Hint {
        what: HintKind::Overrun,
    });
    driver.run(200);
    assert!(
        driver.plans.is_empty(),
        "seed {seed}: a second look had something to do: {:?}",
        driver.plans
    );
    for outlet in driver.controller.snapshot().outlets {
        let Some(code) = outlet.code else { continue };
        if !matches!(outlet.state, crate::OutletState::Tier { .. }) {
            continue;
        }
        let slot = |s: &uplinkd_model::notice::Share| {
            driver.controller.config.uplink(&s.uplink).unwrap().slot.0
        };
        let said: Vec<_> = outlet.serving.iter().map(slot).collect();
        let led = led_to(driver, code, outlet.family);
        assert_eq!(said, led, "seed {seed}: {} {}", outlet.name, outlet.family);
    }
}

#[test]
fn whatever_happens_it_settles_and_the_kernel_serves_what_we_say() {
    for seed in 0..150 {
        let mut dice = Dice(seed);
        let config = some_config(&mut dice);
        let mut driver = Driver::new(config, machine_with_both_families(), &["isp1", "isp2"]);
        for _ in 0..12 {
            happen(&mut driver, &mut dice);
            judge(&mut driver, seed);
        }
    }
}

//! A line with a budget: told of, spared at its limit, back with the next period.

use uplinkd_model::{
    Budget, Permille,
    budget::{AtLimit, Day, Ledger, Period},
};

use super::{
    weather::{Site, Weather, site_of},
    *,
};
use crate::fixtures;

const TODAY: Day = Day(20_600);

/// isp1 may carry so many bytes a day. Each line carries 10 kB a second each way.
fn site(limit: u64, at_limit: AtLimit) -> Site {
    let mut config = fixtures::config();
    config.uplinks[0].budget = Some(Budget {
        limit,
        period: Period::Day,
        warn_at: vec![Permille(500)],
        at_limit,
    });
    let mut site = site_of(config, 1, 100, |_| {});
    site.tell(Event::LocalDay(TODAY));
    site
}

fn serving(site: &Site) -> Vec<String> {
    let snapshot = site.controller.snapshot();
    let lines = snapshot.lines.iter().filter(|l| l.in_service);
    lines.map(|l| l.name.to_string()).collect()
}

fn used(site: &Site) -> u64 {
    let snapshot = site.controller.snapshot();
    snapshot.lines[0].budget.unwrap().used
}

#[test]
fn at_its_limit_a_line_serves_only_where_nobody_else_does_until_the_next_period() {
    let mut site = site(4_000_000, AtLimit::LastResort);
    assert_eq!(serving(&site), ["isp1", "isp2"]);
    site.run(300_000);
    assert_eq!(serving(&site), ["isp2"]);
    let mut told = Vec::new();
    for notice in &site.notices {
        if let Notice::Budget { level, then, .. } = notice {
            told.push((level.0, then.is_some()));
        }
    }
    assert_eq!(told, [(500, false), (1000, true)]);
    // It is asked seldom: three targets each half a minute, and not each second.
    site.asked = 0;
    site.run(300_000);
    assert!((20..=60).contains(&site.asked), "{}", site.asked);
    // The other one dies, and comes back.
    site.change_other(Weather::Dead);
    site.run(30_000);
    assert_eq!(serving(&site), ["isp1"]);
    site.change_other(Weather::Fine);
    site.run(30_000);
    assert_eq!(serving(&site), ["isp2"]);
    site.tell(Event::LocalDay(Day(TODAY.0 + 1)));
    site.run(1000);
    assert_eq!(serving(&site), ["isp1", "isp2"]);
    assert!(used(&site) < 100_000, "{}", used(&site));
}

#[test]
fn one_that_is_off_does_not_serve_even_alone_and_its_connections_are_refused() {
    let mut site = site(1_000_000, AtLimit::Off);
    site.run(100_000);
    assert_eq!(serving(&site), ["isp2"]);
    site.change_other(Weather::Dead);
    site.run(60_000);
    // isp2 is the last good choice, and isp1 none.
    assert_eq!(serving(&site), ["isp2"]);
    site.machine.links.get_mut(&2).unwrap().carrier = false;
    site.tell(Event::LinkChanged {
        index: 2,
        name: "wan2".to_owned(),
        admin_up: true,
        carrier: false,
        gone: false,
    });
    site.run(1000);
    assert_eq!(serving(&site), Vec::<String>::new());
    let table = site.controller.config().reserve.table_outlet(0);
    let routes = site.machine.routes.iter().filter(|r| r.table == table);
    let best = routes.min_by_key(|r| r.metric).map(|r| r.via.clone());
    assert_eq!(best, Some(RouteVia::Prohibit));
}

#[test]
fn one_that_is_kept_is_only_told() {
    let mut site = site(1_000_000, AtLimit::Keep);
    site.run(100_000);
    assert_eq!(serving(&site), ["isp1", "isp2"]);
    let snapshot = site.controller.snapshot();
    assert!(snapshot.lines[0].budget.unwrap().is_spent);
}

#[test]
fn it_is_written_down_every_five_minutes_and_a_restart_goes_on_with_it() {
    let mut site = site(1 << 40, AtLimit::Off);
    site.run(3_600_000);
    let times: Vec<_> = site.written.iter().map(|(at, _)| *at).collect();
    assert!((10..=13).contains(&times.len()), "{times:?}");
    assert!(
        times.windows(2).all(|w| w[1] - w[0] >= 300_000),
        "{times:?}"
    );
    let before = used(&site);
    let ledger: Ledger = site.controller.last_ledger();
    let config = site.controller.config().clone();
    let mut next = Controller::new(config, Vec::new(), at(0));
    next.restore_budgets(ledger, String::new(), TODAY);
    assert_eq!(next.snapshot().lines[0].budget.unwrap().used, before);
}

#[test]
fn what_the_provider_says_goes_over_what_was_counted() {
    let mut site = site(1_000_000, AtLimit::LastResort);
    site.run(100_000);
    assert_eq!(serving(&site), ["isp2"]);
    let (uplink, used) = (fixtures::name(1), 0);
    site.tell(Event::SetUsed {
        uplink,
        used,
        by: By::new("a test"),
    });
    site.run(1000);
    assert_eq!(serving(&site), ["isp1", "isp2"]);
    assert!(self::used(&site) < 100_000);
}

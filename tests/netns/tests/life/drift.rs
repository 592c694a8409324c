//! Issue 2, point 9: what somebody else does to ours is put back within a second and told.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use uplinkd_kernel::{
    encode::{self, Encoded},
    netlink::{Message, Protocol, Socket, flags},
};
use uplinkd_model::{
    Family, NexthopId, NexthopKind, Outcome, Plan, Reserve, RouteVia, Rule, Slot, Step,
};
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, within};

use crate::common::{Ours, ensure_flowed, ensure_nothing_to_do, steady_load, wait_restored};

/// Drift events with these words in what was found.
fn told(rig: &Rig, words: &str) -> Result<usize> {
    let is_told = |e: &&uplinkd_api::Event| {
        let found = e.detail["found"].as_array();
        let mut lines = found.into_iter().flatten().filter_map(|l| l.as_str());
        e.kind == "drift" && lines.any(|l| l.contains(words))
    };
    Ok(rig.events()?.events.iter().filter(is_told).count())
}

/// Does something to ours, and waits until it is as it was and the daemon has named what it found.
fn repairs(
    rig: &Rig,
    what: &str,
    damage: impl FnOnce(&Ours) -> Result<()>,
    words: &str,
) -> Result<()> {
    let wanted = Ours::read(rig)?;
    let before = told(rig, words)?;
    damage(&wanted).with_context(|| format!("cannot do: {what}"))?;
    wait_restored(rig, what, &wanted)?;
    within(&format!("{what}: `{words}` is told"), EVENTUALLY, || {
        Ok(told(rig, words)? > before)
    })?;
    rig.wait_for("settled again", EVENTUALLY, |s| s.settled)?;
    ensure_nothing_to_do(rig)
}

fn rule_with(ours: &Ours, wanted: impl Fn(&Rule) -> bool) -> Result<Rule> {
    let found = ours.rules.iter().find(|r| wanted(r));
    Ok(found.context("no such rule")?.clone())
}

pub(crate) fn deleted_rules_come_back() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let delete = |wanted: fn(&Rule) -> bool| {
        let rig = &rig;
        move |ours: &Ours| rig.execute(vec![Step::DeleteRule(rule_with(ours, wanted)?)])
    };
    let main_first = delete(|r| r.suppress_prefix_length.is_some());
    repairs(
        &rig,
        "the rule for main deleted",
        main_first,
        "missing: rule pref 2000 ",
    )?;
    let mark = delete(|r| r.mark.is_some());
    repairs(
        &rig,
        "a mark's rule deleted",
        mark,
        "missing: rule pref 2020 ",
    )?;
    let address = delete(|r| r.from.is_some());
    repairs(
        &rig,
        "an address's rule deleted",
        address,
        "missing: rule pref 32030 ",
    )?;
    let device = delete(|r| r.oif.is_some());
    repairs(
        &rig,
        "a device's rule deleted",
        device,
        "missing: rule pref 2010 ",
    )?;
    let last = delete(|r| r.iif.as_deref() == Some("lan0"));
    repairs(
        &rig,
        "the last rule deleted",
        last,
        "missing: rule pref 32040 ",
    )?;
    let all = |ours: &Ours| rig.execute(ours.rules.iter().cloned().map(Step::DeleteRule).collect());
    repairs(
        &rig,
        "all our rules deleted",
        all,
        "missing: rule pref 2030 ",
    )
}

pub(crate) fn flushed_tables_come_back() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let reserve = Reserve::default();
    for table in [
        reserve.table_service(Slot(1)),
        reserve.table_path(Slot(2)),
        reserve.table_outlet(0),
    ] {
        let flush = |ours: &Ours| {
            let routes = ours.routes.iter().filter(|r| r.table == table);
            rig.execute(routes.cloned().map(Step::DeleteRoute).collect())
        };
        let (what, words) = (format!("table {table} flushed"), format!("table {table} "));
        repairs(&rig, &what, flush, &words)?;
    }
    Ok(())
}

pub(crate) fn deleted_and_changed_nexthops_come_back() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let reserve = Reserve::default();
    let (service, path) = (
        reserve.nexthop_service(Family::V4, Slot(1)),
        reserve.nexthop_path(Family::V4, Slot(2)),
    );
    let group = default_group(&rig)?;
    for (what, id) in [("in service", service), ("path", path), ("group", group)] {
        let delete = |_: &Ours| rig.execute(vec![Step::DeleteNexthop(id)]);
        let what = format!("nexthop {id} ({what}) deleted");
        repairs(&rig, &what, delete, &format!("missing: nexthop id {id} "))?;
    }
    let load = steady_load(&rig)?;
    let change = |ours: &Ours| {
        let mut changed = ours.nexthops[&group].clone();
        let NexthopKind::Group(members) = &mut changed.kind else {
            bail!("the group is no group");
        };
        for (_, weight) in members {
            *weight = 1;
        }
        rig.execute(vec![Step::ReplaceNexthop(changed)])
    };
    let words = format!("changed: nexthop id {group} ");
    repairs(&rig, "the weights changed", change, &words)?;
    ensure_flowed(load)
}

/// The group of nexthops that serves what no policy takes.
fn default_group(rig: &Rig) -> Result<NexthopId> {
    let table = Reserve::default().table_outlet(0);
    let found = rig.glance()?;
    let mut routes = found.routes.iter().filter(|r| r.table == table);
    let best = routes.find(|r| r.family() == Family::V4);
    let RouteVia::Nexthop(id) = best.context("no default for IPv4")?.via else {
        bail!("the default is no nexthop object: {best:?}");
    };
    Ok(id)
}

pub(crate) fn our_nft_table_comes_back() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let nft = |script: &'static str| {
        let rig = &rig;
        move |_: &Ours| rig.lab().router().nft(script)
    };
    let words = "nft table uplinkd: ";
    repairs(
        &rig,
        "the table emptied",
        nft("flush table inet uplinkd\n"),
        words,
    )?;
    repairs(
        &rig,
        "the table deleted",
        nft("delete table inet uplinkd\n"),
        "missing",
    )?;
    repairs(
        &rig,
        "a rule added",
        nft("add chain inet uplinkd x\nadd rule inet uplinkd x counter\n"),
        words,
    )?;
    rig.lab()
        .router()
        .nft("table inet bystander { chain c { counter; }; }\n")?;
    repairs(
        &rig,
        "the ruleset flushed",
        nft("flush ruleset\n"),
        "missing",
    )?;
    // One rule of one of our chains, found by its handle.
    let one = |_: &Ours| {
        let output = rig.lab().router().output(
            crate::common::nft(&["-a", "list", "table", "inet", "uplinkd"]),
            "",
            EVENTUALLY,
        )?;
        let mut chain = None;
        for line in output.stdout.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("chain ") {
                chain = rest.split_whitespace().next();
            }
            if let (Some(chain), Some((text, handle))) = (chain, line.split_once(" # handle "))
                && text.contains("masquerade")
            {
                let script = format!("delete rule inet uplinkd {chain} handle {handle}\n");
                return rig.lab().router().nft(&script);
            }
        }
        bail!("no rule that masquerades in:\n{}", output.stdout)
    };
    repairs(&rig, "one rule deleted", one, words)
}

pub(crate) fn sysctls_and_table_names_are_put_right_with_the_rest() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let policy = "net.ipv4.fib_multipath_hash_policy";
    // The kernel tells nobody about either; whatever makes us look finds them.
    let damage = |ours: &Ours| {
        rig.lab().router().set_sysctls(&[(policy, "0")])?;
        rig.execute(vec![Step::NameTables(Default::default())])?;
        let rule = rule_with(ours, |r| r.mark.is_some())?;
        rig.execute(vec![Step::DeleteRule(rule)])
    };
    repairs(
        &rig,
        "a sysctl and the names changed",
        damage,
        "fib_multipath_hash_policy is not 1",
    )?;
    let value = rig.lab().router().sysctl(policy)?;
    ensure!(value == "1", "{policy} is {value}");
    Ok(())
}

pub(crate) fn doubles_of_our_rules_are_removed() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let load = steady_load(&rig)?;
    let double = |ours: &Ours| {
        let mut messages = Vec::new();
        for rule in &ours.rules {
            // Without EXCL the kernel takes a rule that it has already.
            if let Encoded::Route(add) = encode::step(&Step::AddRule(rule.clone()))? {
                messages.push(Message::new(add.kind(), flags::CREATE, add.body()));
            }
        }
        rig.in_router(|| {
            let answers = Socket::open(Protocol::Route)?.request(&messages)?;
            answers.into_iter().collect::<Result<(), _>>()?;
            Ok(())
        })
    };
    repairs(
        &rig,
        "every rule doubled",
        double,
        "not wanted: rule pref 2000 ",
    )?;
    ensure_flowed(load)
}

pub(crate) fn orphans_of_ours_are_removed() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let reserve = Reserve::default();
    let plant = |ours: &Ours| {
        let mut rule = rule_with(ours, |r| r.from.is_some())?;
        rule.from = "192.0.2.1/32".parse().ok();
        let mut route = ours.routes.first().context("no routes")?.clone();
        route.table = reserve.table_service(Slot(9));
        let mut nexthop = ours
            .nexthops
            .values()
            .next()
            .context("no nexthops")?
            .clone();
        nexthop.id = reserve.nexthop_group(uplinkd_model::Family::V4, 77);
        rig.execute(vec![
            Step::AddNexthop(nexthop),
            Step::AddRoute(route),
            Step::AddRule(rule),
        ])
    };
    repairs(&rig, "orphans planted", plant, "not wanted: route ")
}

pub(crate) fn a_rival_does_not_make_the_daemon_spin() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let wanted = Ours::read(&rig)?;
    let rule = rule_with(&wanted, |r| r.mark.is_some())?;
    let mut plan = Plan::default();
    plan.push(Step::DeleteRule(rule), "by a rival");
    let (before, cpu) = (rig.count_events("applied")?, cpu_ticks(&rig)?);
    let load = steady_load(&rig)?;
    let mut won = 0;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let outcomes = rig.in_router(|| Ok(uplinkd_kernel::Kernel::open()?.execute(&plan)))?;
        won += usize::from(outcomes == [Outcome::Done]);
        thread::sleep(Duration::from_millis(50));
    }
    let (plans, ticks) = (
        rig.count_events("applied")? - before,
        cpu_ticks(&rig)? - cpu,
    );
    ensure!(won >= 2, "the daemon put the rule back {won} times only");
    ensure!(plans <= 15, "{plans} plans in three seconds");
    // A tick is 10 ms: a fifth of a core, debug build and probes included.
    ensure!(
        ticks <= 60,
        "{ticks} ticks of processor time in three seconds"
    );
    // A rival that has given up is answered after a pause of five seconds at most.
    within("the rule is back", Duration::from_secs(10), || {
        Ok(Ours::read(&rig)? == wanted)
    })?;
    rig.wait_for("settled", EVENTUALLY, |s| s.settled)?;
    ensure_nothing_to_do(&rig)?;
    ensure_flowed(load)
}

/// Processor time of the daemon and its children, in ticks of 10 ms.
fn cpu_ticks(rig: &Rig) -> Result<u64> {
    let pid = rig.daemon()?.process().pid();
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, after_name) = text.rsplit_once(')').context("no name in stat")?;
    let fields = after_name.split_whitespace().skip(11).take(4);
    Ok(fields.filter_map(|f| f.parse::<u64>().ok()).sum())
}

pub(crate) fn a_stranger_one_priority_away_is_no_drift() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let reserve = Reserve::default();
    let stranger = |priority: u32, proto| Rule {
        from: "192.0.2.0/24".parse().ok(),
        ..Rule::lookup(
            uplinkd_model::Family::V4,
            priority,
            uplinkd_model::TableId(6999),
            proto,
        )
    };
    let outside = stranger(reserve.rule_priority + Reserve::PRIORITIES, reserve.proto);
    let other_proto = stranger(reserve.rule_priority + 40, uplinkd_model::Proto(4));
    let both = [outside, other_proto];
    rig.execute(both.clone().map(Step::AddRule).into())?;
    rig.lab()
        .router()
        .nft("table inet uplinkd2 { chain c { counter; }; }\n")?;
    // Long enough for several looks; a rule of ours beside them is repaired meanwhile.
    let beside = |ours: &Ours| {
        rig.execute(vec![Step::DeleteRule(rule_with(ours, |r| {
            r.from.is_some()
        })?)])
    };
    repairs(
        &rig,
        "a rule beside a stranger's",
        beside,
        "missing: rule pref 32030 ",
    )?;
    ensure!(
        rig.count_events("drift")? == 1,
        "a stranger was taken for drift"
    );
    let seen = rig.dump()?.rules;
    ensure!(
        both.iter().all(|r| seen.contains(r)),
        "a stranger's rule is gone"
    );
    rig.execute(both.map(Step::DeleteRule).into())?;
    Ok(())
}

//! Issue 2, point 9: `uplinkd clean` removes all of ours and nothing else.

use std::fs;

use anyhow::{Context, Result, ensure};
use uplinkd_lab::LabSpec;
use uplinkd_model::{
    Family, Nexthop, NexthopId, NexthopKind, Proto, Reserve, Route, RouteVia, Rule, RulePriority,
    Step, TableId, kernel_state::Device,
};
use uplinkd_netns_tests::{Rig, config, isp};

use crate::{
    common::{Ours, ifindex, says},
    machine::Machine,
};

/// Somebody else's number.
const THEIRS: Proto = Proto(4);

fn wan1(rig: &Rig) -> Result<Device> {
    Ok(Device {
        index: ifindex(rig, isp(1))?,
        name: "wan1".to_owned(),
    })
}

fn rule(priority: u32, proto: Proto) -> Step {
    // From a test network, so that it takes no traffic of ours.
    Step::AddRule(Rule {
        from: "192.0.2.0/24".parse().ok(),
        ..Rule::lookup(Family::V4, priority, TableId(6999), proto)
    })
}

fn route(table: TableId, proto: Proto, device: &Device) -> Result<Step> {
    Ok(Step::AddRoute(Route {
        table,
        destination: "192.0.2.0/24".parse()?,
        metric: 7,
        via: RouteVia::Device {
            device: device.clone(),
            gateway: Some(isp(1).gateway(Family::V4).addr()),
        },
        source: None,
        proto,
    }))
}

fn nexthop(id: u32, proto: Proto, device: &Device) -> Step {
    Step::AddNexthop(Nexthop {
        id: NexthopId(id),
        proto,
        kind: NexthopKind::Single {
            on_link: false,
            family: Family::V4,
            device: device.clone(),
            gateway: Some(isp(1).gateway(Family::V4).addr()),
        },
    })
}

/// What looks like ours but is not quite, and does not keep us from starting.
fn near_misses(rig: &Rig) -> Result<Vec<Step>> {
    let ours = Reserve::default();
    let (tables, ids) = (ours.tables, ours.nexthop_ids);
    let (early, last) = (ours.rule_priority, ours.rule_priority_last);
    let device = &wan1(rig)?;
    let mut steps = Vec::new();
    for first in [early, last] {
        steps.push(rule(first - 1, ours.proto));
        steps.push(rule(first + Reserve::PRIORITIES, ours.proto));
        steps.push(rule(first + 5, THEIRS));
    }
    for table in [254, tables - 1, tables + Reserve::TABLES] {
        steps.push(route(TableId(table), ours.proto, device)?);
    }
    steps.push(nexthop(ids - 1, ours.proto, device));
    steps.push(nexthop(ids + Reserve::NEXTHOPS, ours.proto, device));
    Ok(steps)
}

/// What somebody may put right into our ranges while we run.
fn intruders(rig: &Rig) -> Result<Vec<Step>> {
    let ours = Reserve::default();
    let device = &wan1(rig)?;
    Ok(vec![
        route(TableId(ours.tables + 1), THEIRS, device)?,
        nexthop(ours.nexthop_ids + 500, THEIRS, device),
    ])
}

const FOREIGN_TABLES: &str = "\
table inet uplinkd2 { chain c { type filter hook forward priority 10; counter; }; }
table ip uplinkd { chain c { type filter hook forward priority 10; counter; }; }
";

pub(crate) fn everything_of_ours_goes_and_nothing_else() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[3, 2]))?;
    rig.execute(near_misses(&rig)?)?;
    rig.lab().router().nft(FOREIGN_TABLES)?;
    rig.lab().mounts().run(|| {
        // Where nothing may be written, nothing of ours will be either.
        let file = "/etc/iproute2/rt_tables.d/uplinkd2.conf";
        let _ = fs::write(file, "6999 strangers\n");
        Ok(())
    })?;
    let before = Machine::read(&rig)?.without_memory(&rig);
    rig.start_daemon()?;
    rig.wait_settled()?;
    let state = rig.places().state();
    ensure!(state.join("state.json").is_file(), "no memory");

    // While the daemon runs there is no cleaning.
    let running = Machine::read(&rig)?;
    let pid = rig.daemon()?.process().pid().to_string();
    says(&rig, &["clean"], 4, &["already runs", &pid])?;
    Machine::read(&rig)?.ensure_is(&running)?;

    rig.stop_daemon()?;
    says(
        &rig,
        &["clean"],
        0,
        &["ip -4 rule del", "nothing of ours is left"],
    )?;
    Machine::read(&rig)?
        .without_memory(&rig)
        .ensure_is(&before)?;
    let left: Vec<_> = fs::read_dir(&state)?
        .flatten()
        .map(|e| e.file_name())
        .collect();
    // What was remembered of the lines is the user's, as recordings are.
    ensure!(
        left == ["history.db"],
        "left in the state directory: {left:?}"
    );
    let socket = uplinkd_api_socket(&rig);
    ensure!(!socket.exists(), "{} is left", socket.display());

    // Again, with nothing there.
    says(&rig, &["clean"], 0, &["nothing of ours is left"])?;
    Machine::read(&rig)?.without_memory(&rig).ensure_is(&before)
}

fn uplinkd_api_socket(rig: &Rig) -> std::path::PathBuf {
    uplinkd_api::socket_path(&rig.places().runtime())
}

pub(crate) fn intruders_in_our_ranges_survive() -> Result<()> {
    let mut rig = Rig::start(&config(&[3, 2]))?;
    rig.execute(intruders(&rig)?)?;
    // Drift elsewhere makes the daemon look and act beside them.
    let mine = Ours::read(&rig)?;
    let rule = mine.rules.first().context("no rules")?.clone();
    rig.execute(vec![Step::DeleteRule(rule)])?;
    crate::common::wait_restored(&rig, "the rule is back", &mine)?;
    let is_there = |rig: &Rig| -> Result<bool> {
        let seen = rig.dump()?;
        let route = seen
            .routes
            .iter()
            .any(|r| r.proto == THEIRS && r.metric == 7);
        Ok(route && seen.nexthops.contains_key(&NexthopId(177_000_500)))
    };
    ensure!(
        is_there(&rig)?,
        "the daemon took something of somebody else's"
    );
    rig.stop_daemon()?;
    says(&rig, &["clean"], 0, &[])?;
    ensure!(is_there(&rig)?, "clean took something of somebody else's");
    let left = Ours::read(&rig)?;
    ensure!(
        left.rules.is_empty() && left.routes.is_empty() && left.nexthops.is_empty(),
        "left of ours: {left:?}"
    );
    Ok(())
}

pub(crate) fn it_works_without_the_file_and_with_a_broken_one() -> Result<()> {
    for text in [None, Some("[uplink.main]\nnonsense = 1\n")] {
        let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[3, 2]))?;
        let before = Machine::read(&rig)?.without_memory(&rig);
        rig.start_daemon()?;
        rig.wait_settled()?;
        rig.kill_daemon()?;
        match text {
            None => fs::remove_file(rig.places().config())?,
            Some(text) => rig.places().write_config(text)?,
        }
        says(&rig, &["clean"], 0, &["nothing of ours is left"])?;
        Machine::read(&rig)?
            .without_memory(&rig)
            .ensure_is(&before)?;
    }
    Ok(())
}

pub(crate) fn without_its_memory_it_still_finds_what_is_ours() -> Result<()> {
    let mut rig = Rig::start(&config(&[3, 2]))?;
    rig.kill_daemon()?;
    for entry in fs::read_dir(rig.places().state())?.flatten() {
        fs::remove_file(entry.path())?;
    }
    says(&rig, &["clean"], 0, &["nothing of ours is left"])?;
    let left = rig.dump()?;
    let ours = Reserve::default();
    let is_ours = |p: RulePriority| ours.has_priority(p);
    ensure!(
        !left.rules.iter().any(|r| is_ours(r.priority)),
        "rules are left"
    );
    ensure!(left.routes.is_empty(), "routes are left: {:?}", left.routes);
    ensure!(left.nexthops.is_empty(), "nexthops are left");
    ensure!(left.table_names.is_empty(), "names are left");
    Ok(())
}

pub(crate) fn what_earlier_reserves_left_is_cleaned_too() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[3, 2]))?;
    let before = Machine::read(&rig)?.without_memory(&rig);
    rig.start_daemon()?;
    rig.wait_settled()?;
    rig.kill_daemon()?;
    // The file names another reserve by now, under which nothing was made yet.
    let other = "[reserve]\nproto = 178\ntables = 100000\nrule_priority = 3000\n\
                 nexthop_ids = 3000000\nnft_table = \"other\"\n";
    rig.places().write_config(&(config(&[3, 2]) + other))?;
    says(&rig, &["clean"], 0, &["nothing of ours is left"])?;
    Machine::read(&rig)?.without_memory(&rig).ensure_is(&before)
}

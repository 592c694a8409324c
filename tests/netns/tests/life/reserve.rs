//! The reserve changes: what we claimed before is removed, the new is in place, and traffic flows.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use uplinkd_model::{Proto, Reserve, Rule};
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, within};

use crate::common::{
    Ours, dump_under, ensure_flowed, ensure_nothing_to_do, nft, says, steady_load,
};

/// How a changed file comes into force.
#[derive(Clone, Copy)]
enum Way {
    Restart,
    Reload,
    /// A restart that is killed so long after its beginning, and another one.
    Crash(Duration),
}

const WHOLE: &str = "proto = 178\ntables = 100000\nrule_priority = 3000\n\
                     rule_priority_last = 31000\nnexthop_ids = 3000000\n\
                     nft_table = \"other\"\nmark_mask = \"0x00ff0000\"\n";

fn whole() -> Reserve {
    Reserve {
        proto: Proto(178),
        tables: 100_000,
        rule_priority: 3000,
        rule_priority_last: 31000,
        nexthop_ids: 3_000_000,
        mark_mask: 0x00ff_0000,
        mark_uplink_bits: Reserve::uplink_bits_by_default(0x00ff_0000),
        nft_table: "other".to_owned(),
    }
}

/// Changes the reserve to `reserve`, which `change` says in the file's words, and cleans up in the end.
fn reserve_changes(way: Way, change: &str, reserve: &Reserve) -> Result<()> {
    let mut rig = Rig::start(&config(&[3, 2]))?;
    let load = steady_load(&rig)?;
    let both = [reserve.clone(), Reserve::default()];
    let before = dump_under(&rig, &both)?;
    let text = config(&[3, 2]) + "[reserve]\n" + change;
    match way {
        Way::Reload => rig.reload(&text)?,
        Way::Restart | Way::Crash(_) => {
            rig.stop_daemon()?;
            rig.places().write_config(&text)?;
            says(&rig, &["check"], 0, &[]).context("check after the change")?;
            rig.start_daemon()?;
            if let Way::Crash(moment) = way {
                thread::sleep(moment);
                rig.kill_daemon()?;
                rig.start_daemon()?;
            }
        }
    }
    rig.wait_settled()?;
    ensure_nothing_to_do(&rig)?;
    let after = dump_under(&rig, &both)?;
    let (old, new) = (Ours::of(&before), Ours::under(reserve, &after));
    ensure!(
        new.rules.len() == old.rules.len()
            && new.routes.len() == old.routes.len()
            && new.nexthops.len() == old.nexthops.len(),
        "not everything is there under the new reserve: {new:#?}"
    );
    let foreign = |rules: &[Rule]| rules.len() - new.rules.len();
    ensure!(
        foreign(&after.rules) == before.rules.len() - old.rules.len(),
        "rules of the old reserve are left: {:#?}",
        after.rules
    );
    ensure!(
        after.routes.len() == new.routes.len(),
        "old routes: {:#?}",
        after.routes
    );
    ensure!(
        after.nexthops.len() == new.nexthops.len(),
        "old nexthops: {:#?}",
        after.nexthops
    );
    let tables = rig
        .lab()
        .router()
        .output(nft(&["list", "tables"]), "", EVENTUALLY)?;
    let wanted = format!("table inet {}", reserve.nft_table);
    ensure!(
        tables.stdout.trim() == wanted,
        "nft tables: {}",
        tables.stdout
    );
    // The old claims are forgotten, so that what somebody makes there later is left alone.
    let memory = fs::read_to_string(rig.places().state().join("state.json"))?;
    let memory: serde_json::Value = serde_json::from_str(&memory)?;
    let claims = memory["reserves"].as_array().map(Vec::len);
    ensure!(claims == Some(1), "{claims:?} reserves are remembered");
    ensure_flowed(load)?;
    rig.stop_daemon()?;
    says(&rig, &["clean"], 0, &[])?;
    let left = dump_under(&rig, &both)?;
    ensure!(
        left.nexthops.is_empty() && left.rules.len() == before.rules.len() - old.rules.len(),
        "clean left something: {left:#?}"
    );
    Ok(())
}

pub(crate) fn all_of_it_between_restarts() -> Result<()> {
    reserve_changes(Way::Restart, WHOLE, &whole())
}

pub(crate) fn all_but_the_mark_by_a_reload() -> Result<()> {
    let (change, _) = WHOLE.split_once("mark_mask").context("a mask")?;
    let default = Reserve::default();
    let reserve = Reserve {
        mark_mask: default.mark_mask,
        mark_uplink_bits: default.mark_uplink_bits,
        ..whole()
    };
    reserve_changes(Way::Reload, change, &reserve)
}

/// Marks of living connections would be read as something else.
pub(crate) fn another_mark_by_a_reload_is_refused() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let load = steady_load(&rig)?;
    let before = dump_under(&rig, &[Reserve::default()])?;
    for change in ["mark_mask = \"0xffff0000\"", "mark_uplink_bits = 4"] {
        let refused = rig.count_events("reload-refused")?;
        let text = format!("{}[reserve]\n{change}\n", config(&[3, 2]));
        rig.places().write_config(&text)?;
        rig.daemon()?.process().signal(Signal::SIGHUP)?;
        within("the change is refused", EVENTUALLY, || {
            Ok(rig.count_events("reload-refused")? > refused)
        })?;
        says(
            &rig,
            &["check"],
            0,
            &["laid out otherwise", "uplinkd clean"],
        )?;
    }
    let after = dump_under(&rig, &[Reserve::default()])?;
    ensure!(
        Ours::of(&before) == Ours::of(&after),
        "something has changed"
    );
    ensure_flowed(load)
}

pub(crate) fn all_of_it_with_a_crash_in_between() -> Result<()> {
    for ms in [10, 20, 30, 40, 60] {
        let way = Way::Crash(Duration::from_millis(ms));
        reserve_changes(way, WHOLE, &whole()).with_context(|| format!("killed after {ms} ms"))?;
    }
    Ok(())
}

pub(crate) fn only_the_protocol_number() -> Result<()> {
    let proto = Proto(178);
    reserve_changes(
        Way::Restart,
        "proto = 178\n",
        &Reserve {
            proto,
            ..Reserve::default()
        },
    )
}

pub(crate) fn only_the_tables() -> Result<()> {
    let tables = 100_000;
    reserve_changes(
        Way::Restart,
        "tables = 100000\n",
        &Reserve {
            tables,
            ..Reserve::default()
        },
    )
}

pub(crate) fn only_the_priorities() -> Result<()> {
    reserve_changes(
        Way::Restart,
        "rule_priority = 2001\nrule_priority_last = 31000\n",
        &Reserve {
            rule_priority: 2001,
            rule_priority_last: 31000,
            ..Reserve::default()
        },
    )
}

pub(crate) fn only_the_nexthop_ids() -> Result<()> {
    let nexthop_ids = 3_000_000;
    reserve_changes(
        Way::Restart,
        "nexthop_ids = 3000000\n",
        &Reserve {
            nexthop_ids,
            ..Reserve::default()
        },
    )
}

pub(crate) fn only_the_mark_mask() -> Result<()> {
    let mark_mask = 0x0fff_0000;
    reserve_changes(
        Way::Restart,
        "mark_mask = \"0x0fff0000\"\n",
        &Reserve {
            mark_mask,
            ..Reserve::default()
        },
    )
}

pub(crate) fn only_the_nft_table() -> Result<()> {
    let nft_table = "other".to_owned();
    reserve_changes(
        Way::Restart,
        "nft_table = \"other\"\n",
        &Reserve {
            nft_table,
            ..Reserve::default()
        },
    )
}

//! Control groups where systemd puts its units, without systemd: a unit is found by its place.

use anyhow::Result;
use uplinkd_lab::{ControlGroup, harness::Skipped};

use crate::stage::{Sender::Router, Stage, ensure_over, policy};

/// The router's own packets of each kind go over the second line from a unit's group, and over the
/// first from one that only looks like it.
pub(crate) fn are_found_where_systemd_puts_them() -> Result<()> {
    let name = format!("uplinkd-test-{}", std::process::id());
    // systemd writes the dashes of a template's name in this way where they mean no nesting.
    let escaped = "uplinkd\\x2dtest";
    let template = format!("uplinkd-test@{}.service", std::process::id());
    let slice = format!("uplinkdtest{}", std::process::id());
    // The unit as the file names it, its group, and a group beside it.
    let units = [
        (
            format!("{name}.service"),
            format!("system.slice/{name}.service"),
            format!("system.slice/{name}.service2"),
        ),
        (
            format!("{name}.service"),
            format!("system.slice/{name}.service/worker"),
            format!("{name}.slice/{name}.service"),
        ),
        (
            template.clone(),
            format!("system.slice/system-{escaped}.slice/{template}"),
            format!("system.slice/{template}"),
        ),
        (
            format!("{slice}-sub.slice"),
            format!("{slice}.slice/{slice}-sub.slice/any.service"),
            format!("{slice}.slice/any.service"),
        ),
    ];
    let stage = Stage::set("")?;
    for (unit, inside, beside) in units {
        let inside = made(&inside)?;
        let beside = made(&beside)?;
        stage.reload(&policy(&format!("unit = \"{unit}\"")))?;
        for (group, line) in [(&inside, 2), (&beside, 1)] {
            let packets = stage.everything(&[Router]);
            let fates = group.inside(|| stage.fates(&packets))?;
            let when = format!("{unit}, from {}", group.path());
            ensure_over(&fates, uplinkd_netns_tests::isp(line), &when)?;
        }
    }
    Ok(())
}

fn made(path: &str) -> Result<ControlGroup> {
    ControlGroup::make(path).map_err(|e| anyhow::Error::new(Skipped(format!("{e:#}"))))
}

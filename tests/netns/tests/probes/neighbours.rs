//! The gateway by ARP and by neighbour solicitations.

use anyhow::Result;
use uplinkd_api::TargetState;
use uplinkd_lab::Fault;
use uplinkd_model::{Family, Health};
use uplinkd_netns_tests::{find_line, isp};

use crate::common::{LONG, rig, target, wait_good};

/// Its echoes are dropped, its neighbours it answers; and it tells on which side of it a fault lies.
fn drops_echoes(family: Family, host: &str) -> Result<()> {
    let targets = format!("\"neighbour\", \"gateway\", \"{host}\"");
    let mut rig = rig(family, &targets)?;
    let lab = rig.shared_lab();
    lab.isp(isp(1)).nft(
        "table inet no_echo { chain input { type filter hook input priority 0; \
         icmp type echo-request drop; icmpv6 type echo-request drop; }; }\n",
    )?;
    rig.start_daemon()?;
    wait_good(&rig, family)?;
    rig.wait_for("the gateway drops echoes and is a neighbour", LONG, |s| {
        let line = find_line(s, isp(1), family);
        line.is_some_and(|l| {
            let states: Vec<_> = l.targets.iter().map(|t| t.state).collect();
            states == [TargetState::Pass, TargetState::Fail, TargetState::Pass]
                && l.health == Health::Up
        })
    })?;
    let cut = Fault::Upstream.apply(&lab, isp(1))?;
    rig.wait_for("the fault lies beyond the gateway", LONG, |s| {
        let line = find_line(s, isp(1), family);
        line.is_some_and(|l| !l.in_service && l.reason.contains("lies beyond it"))
    })?;
    cut.heal()?;
    wait_good(&rig, family)
}

pub(crate) fn a_gateway_that_drops_echoes() -> Result<()> {
    drops_echoes(Family::V4, "198.18.0.9")
}

pub(crate) fn a_gateway_that_drops_echoes_by_ipv6() -> Result<()> {
    drops_echoes(Family::V6, "2001:db8:ffff::9")
}

/// As the only target it decides, and a dead upstream is none of its business.
pub(crate) fn a_gateway_that_is_gone() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let mut rig = rig(family, "\"neighbour\"")?;
        let lab = rig.shared_lab();
        rig.start_daemon()?;
        wait_good(&rig, family)?;
        let cut = Fault::Upstream.apply(&lab, isp(1))?;
        let sent = target(&rig.status()?, family).map_or(0, |t| t.sent);
        rig.wait_for("asked twenty times", LONG, |s| {
            target(s, family).is_some_and(|t| t.sent >= sent + 20)
        })?;
        wait_good(&rig, family)?;
        cut.heal()?;
        let mute = Fault::Silent.apply(&lab, isp(1))?;
        rig.wait_out_of(isp(1), family)?;
        mute.heal()?;
        wait_good(&rig, family)?;
    }
    Ok(())
}

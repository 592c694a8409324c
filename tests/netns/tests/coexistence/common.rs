//! What these tests ask again and again: is all well with us, and with them.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use uplinkd_lab::{
    Fault, Isp, Netns,
    traffic::{Transport, shares},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{Rig, isp, servers_of};

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Connections from somewhere are shared out evenly, and none fails.
pub(crate) fn ensure_shared(rig: &Rig, from: &Netns, family: Family, when: &str) -> Result<()> {
    ensure_over(rig, from, family, &[isp(1), isp(2)], when)
}

/// Connections from somewhere use just these lines, and none fails.
pub(crate) fn ensure_over(
    rig: &Rig,
    from: &Netns,
    family: Family,
    lines: &[Isp],
    when: &str,
) -> Result<()> {
    let servers = servers_of(rig.lab(), family);
    for transport in [Transport::Udp, Transport::Tcp] {
        let counted = shares(from, transport, &servers, 200)?;
        let is_right = rig
            .lab()
            .isps()
            .all(|i| (counted.of(i) > 200 / 8) == lines.contains(&i));
        ensure!(
            counted.failed == 0 && counted.elsewhere == 0 && is_right,
            "{when}: {} {transport:?} {family}: {counted}, not over {lines:?}",
            from.name()
        );
    }
    Ok(())
}

/// The LAN and the router reach the internet over both lines; and over one while the other is dead.
pub(crate) fn ensure_we_work(rig: &Rig, when: &str) -> Result<()> {
    let lab = rig.lab();
    for family in FAMILIES {
        for from in [lab.client(), lab.router()] {
            ensure_shared(rig, from, family, when)?;
        }
    }
    let broken = Fault::Upstream.apply(lab, isp(1))?;
    rig.wait_out(isp(1))?;
    for family in FAMILIES {
        for from in [lab.client(), lab.router()] {
            ensure_over(
                rig,
                from,
                family,
                &[isp(2)],
                &format!("{when}, isp1 is out"),
            )?;
        }
    }
    broken.heal()?;
    rig.wait_settled()?;
    Ok(())
}

/// Nothing of ours was found missing or changed.
pub(crate) fn ensure_no_drift(rig: &Rig) -> Result<()> {
    let count = rig.count_events("drift")?;
    ensure!(
        count == 0,
        "{count} times drift\n{}",
        rig.daemon()?.log_tail()
    );
    Ok(())
}

/// What a command in the router says.
pub(crate) fn told(netns: &Netns, program: &str, words: &str) -> Result<String> {
    let mut command = Command::new(program);
    command.args(words.split_whitespace());
    let output = netns.output(command, "", Duration::from_secs(10))?;
    ensure!(
        output.status.success(),
        "`{program} {words}`: {}",
        output.stderr
    );
    Ok(output.stdout)
}

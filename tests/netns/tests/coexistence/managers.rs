//! Network managers that remove what they did not make, and rewrite what they manage.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{
    LabSpec, Netns,
    programs::{NetworkManager, Networkd, ip},
    stretched,
};
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, within};

use crate::common::{ensure_no_drift, ensure_we_work, told};

/// Interfaces that networkd is to manage; they come later.
const LATE: &str = "[Match]\nName=late*\n[Network]\nAddress=192.0.2.2/24\nLinkLocalAddressing=no\n";

/// Plugs in an interface that networkd manages, which is when it purges.
fn plug_in(router: &Netns, number: usize) -> Result<()> {
    ip(
        router,
        &format!("link add late{number} type veth peer name far{number}"),
    )
}

fn our_rules(router: &Netns) -> Result<usize> {
    let mut count = 0;
    for flag in ["-4", "-6"] {
        let rules = told(router, "ip", &format!("-N {flag} rule show"))?;
        count += rules.lines().filter(|l| l.contains("proto 177")).count();
    }
    Ok(count)
}

pub(crate) fn networkd_purges_rules_and_ours_come_back() -> Result<()> {
    let rig = Rig::start(&config(&[1, 1]))?;
    let router = rig.lab().router();
    let networkd = Networkd::start(rig.lab(), &[("10-late.network", LATE)])?;
    let wanted = our_rules(router)?;
    ensure!(wanted > 0, "no rules of ours");
    let checked = rig.tool("uplinkd", &["check"])?;
    let said = format!("{}{}", checked.stdout, checked.stderr);
    ensure!(
        said.contains("ManageForeignRoutingPolicyRules=no"),
        "{said}"
    );
    let told_before = rig.count_events("drift")?;
    plug_in(router, 1)?;
    within("networkd purges", EVENTUALLY, || {
        Ok(networkd
            .log()
            .contains("Removing foreign routing policy rule"))
    })?;
    within("our rules are back", EVENTUALLY, || {
        Ok(our_rules(router)? == wanted)
    })?;
    within("it is told", EVENTUALLY, || {
        Ok(rig.count_events("drift")? > told_before)
    })?;
    rig.wait_settled()?;
    let events = rig.events()?.events;
    let drift = events.iter().rev().find(|e| e.kind == "drift");
    let drift = format!("{:?}", drift.context("no drift")?);
    ensure!(
        drift.contains("rule"),
        "what was found is not named: {drift}"
    );
    // Again and again: we do not spin with it.
    let begun = Instant::now();
    for number in 2..=6 {
        plug_in(router, number)?;
        std::thread::sleep(stretched(Duration::from_millis(300)));
    }
    within("our rules are back in the end", EVENTUALLY, || {
        Ok(our_rules(router)? == wanted)
    })?;
    rig.wait_settled()?;
    let repairs = rig.count_events("drift")?;
    let seconds = usize::try_from(begun.elapsed().as_secs())? + 1;
    ensure!(
        repairs <= 6 + 4 * seconds,
        "{repairs} repairs in {seconds} s"
    );
    ensure_we_work(&rig, "after the purges")
}

pub(crate) fn networkd_that_is_told_to_leave_others_alone() -> Result<()> {
    let settings = "[Network]\nManageForeignRoutingPolicyRules=no\nManageForeignRoutes=no\n\
                    ManageForeignNextHops=no\n";
    let rig = Rig::start(&config(&[1, 1]))?;
    let router = rig.lab().router();
    let files = [("10-late.network", LATE), ("networkd.conf", settings)];
    let networkd = Networkd::start(rig.lab(), &files)?;
    plug_in(router, 1)?;
    within("networkd configures it", EVENTUALLY, || {
        Ok(networkd.log().contains("late1: Configuring with"))
    })?;
    std::thread::sleep(stretched(Duration::from_millis(500)));
    rig.wait_settled()?;
    // Before version 256 there is no way to keep it from groups of nexthops, which come back.
    let events = rig.events()?.events;
    for drift in events.iter().filter(|e| e.kind == "drift") {
        let text = format!("{drift:?}");
        ensure!(
            !text.contains("rule ") && text.contains("nexthop"),
            "{text}"
        );
    }
    ensure!(
        !networkd
            .log()
            .contains("Removing foreign routing policy rule")
    );
    ensure_we_work(&rig, "beside a networkd that behaves")
}

pub(crate) fn network_manager_keeps_a_line() -> Result<()> {
    let keyfile = "[connection]\nid=wan1\ntype=ethernet\ninterface-name=wan1\n\
                   [ipv4]\nmethod=manual\naddress1=100.64.1.2/24,100.64.1.1\n\
                   [ipv6]\nmethod=manual\naddress1=2001:db8:1::2/64,fe80::1\n";
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[1, 1]))?;
    let manager = NetworkManager::start(rig.lab(), &[("wan1", keyfile)])?;
    let connected = || -> Result<bool> {
        let devices = manager.control(&["-t", "device"])?.stdout;
        Ok(devices.contains("wan1:ethernet:connected:wan1"))
    };
    within("NetworkManager has the line", EVENTUALLY, connected)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    ensure_we_work(&rig, "beside NetworkManager")?;
    ensure_no_drift(&rig)?;
    // It lets go of the line and takes it again: addresses and routes go and come.
    let asked = manager.control(&["connection", "down", "wan1"])?;
    ensure!(asked.status.success(), "{}", asked.stderr);
    rig.wait_out(uplinkd_netns_tests::isp(1))?;
    let asked = manager.control(&["connection", "up", "wan1"])?;
    ensure!(
        asked.status.success(),
        "{}\n{}",
        asked.stderr,
        manager.log()
    );
    rig.wait_settled()?;
    ensure_we_work(&rig, "after the line was let go and taken again")?;
    let devices = manager.control(&["-t", "device"])?.stdout;
    ensure!(
        devices.contains("wan1:ethernet:connected:wan1"),
        "{devices}"
    );
    Ok(())
}

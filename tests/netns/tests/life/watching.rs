//! Issue 2, point 5: how lines are watched, and what counts without any probe.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use uplinkd_api::{Status, TargetState};
use uplinkd_lab::{
    Fault, Isp,
    plumbing::Plumber,
    stretched,
    traffic::{Transport, shares},
};
use uplinkd_model::{Family, Health};
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, find_uplink, isp, servers, within};

use crate::common::{ensure_nothing_to_do, ifindex};

/// Two uplinks whose probes are so rare that going out of service cannot be due to them: a silent
/// line would be noticed after twelve seconds.
const RARELY: &str = "\
lan = [\"lan0\"]
[uplink.isp1]
interface = \"wan1\"
[uplink.isp2]
interface = \"wan2\"
[probe]
targets = [\"icmp:198.18.0.1\"]
interval = \"10s\"
burst = \"10s\"
timeout = \"1s\"
fall = 3
rise = 1
";
/// A bound that tells at once from after a probe, also on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(4);

/// Counts echo requests that come from the router: at the gateway, to hosts beyond it, and with an
/// address of another line.
fn count_echoes(rig: &Rig, isp: Isp) -> Result<()> {
    let router = isp.router(Family::V4).addr();
    let gateway = isp.gateway(Family::V4).addr();
    rig.lab().isp(isp).nft(&format!(
        "table inet watch {{
            counter gateway {{ }}
            counter beyond {{ }}
            counter strange {{ }}
            chain arriving {{
                type filter hook prerouting priority -400;
                iifname != \"cust\" return
                icmp type != echo-request return
                ip saddr != {router} counter name strange
                ip daddr {gateway} counter name gateway
                ip daddr 198.18.0.0/15 counter name beyond
            }}
        }}\n"
    ))
}

fn echoes(rig: &Rig, isp: Isp, counter: &str) -> Result<u64> {
    let mut command = Command::new("nft");
    command.args(["list", "counter", "inet", "watch", counter]);
    let output = rig.lab().isp(isp).output(command, "", EVENTUALLY)?;
    let mut words = output.stdout.split_whitespace();
    let count = words.by_ref().skip_while(|w| *w != "packets").nth(1);
    count
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("no count in `{}` {}", output.stdout, output.stderr))
}

fn is_in(status: &Status, isp: Isp) -> bool {
    find_uplink(status, isp).is_some_and(|u| u.in_service)
}

pub(crate) fn probes_leave_by_their_uplink_while_it_is_out_of_service() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    count_echoes(&rig, isp(1))?;
    count_echoes(&rig, isp(2))?;
    let upstream = Fault::Upstream.apply(rig.lab(), isp(1))?;
    rig.wait_out(isp(1))?;
    // The hosts that are asked answer over the other line, so a probe that slipped there would
    // bring the dead one back.
    let before = echoes(&rig, isp(1), "beyond")?;
    // Far more than it would take to bring it back.
    let enough = || Ok(echoes(&rig, isp(1), "beyond")? >= before + 15);
    within("the dead line is asked on and on", EVENTUALLY, || {
        let uplink = rig.uplink(isp(1))?;
        ensure!(
            uplink.health == Health::Down && !uplink.in_service,
            "a dead line came back: {uplink:?}"
        );
        enough()
    })?;
    ensure!(
        echoes(&rig, isp(1), "gateway")? > 0,
        "the gateway is not asked"
    );
    for n in [1, 2] {
        let strange = echoes(&rig, isp(n), "strange")?;
        ensure!(
            strange == 0,
            "{strange} probes of another line by {}",
            isp(n)
        );
    }
    upstream.heal()?;
    rig.wait_settled()?;
    let events = rig.events()?.events;
    let flaps = events
        .iter()
        .filter(|e| e.kind == "health" && e.detail["uplink"] == "isp1");
    // From unknown to up, to down, to up, in each family.
    ensure!(
        flaps.count() == 6,
        "health of isp1 changed otherwise: {events:#?}"
    );
    Ok(())
}

pub(crate) fn a_dead_line_comes_back_only_after_rise_answers() -> Result<()> {
    let text = config(&[3, 2]).replace("rise = 5", "rise = 15");
    let rig = Rig::start(&text)?;
    let upstream = Fault::Upstream.apply(rig.lab(), isp(1))?;
    rig.wait_out(isp(1))?;
    count_echoes(&rig, isp(1))?;
    upstream.heal()?;
    rig.wait_settled()?;
    // Each of the two hosts was asked 15 times before; one of them is enough.
    let asked = echoes(&rig, isp(1), "beyond")?;
    ensure!(asked >= 28, "back after {asked} probes to two hosts");
    Ok(())
}

pub(crate) fn one_socket_for_each_uplink_and_no_process_for_probes() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let pid = rig.daemon()?.process().pid();
    let open: BTreeSet<_> = fs::read_dir(format!("/proc/{pid}/fd"))?
        .flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .filter_map(|to| {
            let number = to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(number.to_owned())
        })
        .collect();
    let mut found = Vec::new();
    for table in ["icmp", "raw", "icmp6", "raw6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}"))?;
        let inodes = text
            .lines()
            .skip(1)
            .filter_map(|l| l.split_whitespace().nth(9));
        let ours = inodes.filter(|inode| open.contains(*inode)).count();
        found.push((table, ours));
    }
    let all: usize = found.iter().map(|(_, n)| n).sum();
    // Two uplinks with two families, and three targets for each of the four.
    ensure!(all == 4, "sockets for probes: {found:?}");

    let sent = |status: &Status| -> u64 {
        status
            .uplinks
            .iter()
            .flat_map(|u| &u.targets)
            .map(|t| t.sent)
            .sum()
    };
    let (before, reaped) = (sent(&rig.status()?), faults_of_children(pid)?);
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            ensure!(children.is_empty(), "the daemon has children: {children}");
        }
        thread::sleep(Duration::from_millis(1));
    }
    ensure!(
        sent(&rig.status()?) > before + 30,
        "nothing was probed meanwhile"
    );
    // Also none that was too quick to be seen.
    ensure!(
        faults_of_children(pid)? == reaped,
        "the daemon had children while probing"
    );
    Ok(())
}

/// Page faults of children that have ended, which every child has some of.
fn faults_of_children(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, after_name) = text.rsplit_once(')').context("no name in stat")?;
    let field = after_name.split_whitespace().nth(8);
    Ok(field.context("short stat")?.parse()?)
}

pub(crate) fn the_quorum_of_each_uplink_decides() -> Result<()> {
    let text = config(&[3, 2]) + "quorum = 2\n[uplink.isp2.probe]\nquorum = 1\n";
    let rig = Rig::start(&text)?;
    // Each line misses another host: one that all miss would be at fault itself.
    block(&rig, 1, "198.18.0.2")?;
    block(&rig, 2, "198.18.0.1")?;
    let status = rig.wait_out_of(isp(1), Family::V4)?;
    let first = find_uplink(&status, isp(1)).context("no isp1")?;
    ensure!(
        first.reason.contains("1 of 2 targets answer, 2 needed"),
        "the reason is: {}",
        first.reason
    );
    // The other one, which is content with one of the two, stays.
    rig.wait_for("isp2 misses a host too", EVENTUALLY, |s| {
        let states = find_uplink(s, isp(2)).map(|u| u.targets.iter().map(|t| t.state));
        states.into_iter().flatten().any(|s| s == TargetState::Fail)
    })?;
    let second = rig.uplink(isp(2))?;
    ensure!(
        second.in_service && second.health == Health::Up,
        "{second:?}"
    );
    for n in [1, 2] {
        rig.lab().isp(isp(n)).nft("delete table inet one_host\n")?;
    }
    rig.wait_settled()?;
    Ok(())
}

/// Nothing of a line reaches this host any more.
fn block(rig: &Rig, line: usize, host: &str) -> Result<()> {
    rig.lab().isp(isp(line)).nft(&format!(
        "table inet one_host {{ chain c {{ type filter hook forward priority 0; \
         ip daddr {host} drop; }}; }}\n"
    ))
}

pub(crate) fn a_host_that_is_silent_everywhere_takes_nobody_out() -> Result<()> {
    let rig = Rig::start(&(config(&[3, 2]) + "quorum = 2\n"))?;
    for n in [1, 2] {
        block(&rig, n, "198.18.0.2")?;
    }
    for n in [1, 2] {
        rig.wait_for("both lines are judged without it", EVENTUALLY, |s| {
            let line = find_uplink(s, isp(n));
            line.is_some_and(|l| l.in_service && l.reason.contains("1 of 1 targets answer"))
        })?;
    }
    // The rest still decides.
    let upstream = Fault::Upstream.apply(rig.lab(), isp(1))?;
    rig.wait_out_of(isp(1), Family::V4)?;
    upstream.heal()?;
    for n in [1, 2] {
        rig.lab().isp(isp(n)).nft("delete table inet one_host\n")?;
    }
    rig.wait_settled()?;
    Ok(())
}

pub(crate) fn a_gateway_that_answers_does_not_hide_that_nothing_beyond_does() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let upstream = Fault::Upstream.apply(rig.lab(), isp(1))?;
    let status = rig.wait_out(isp(1))?;
    let uplink = find_uplink(&status, isp(1)).context("no isp1")?;
    ensure!(
        uplink
            .reason
            .contains("the gateway answers, so the fault lies beyond it"),
        "the reason is: {}",
        uplink.reason
    );
    let gateway = uplink.targets.iter().find(|t| t.target == "gateway");
    let gateway = gateway.context("the gateway is not a target")?;
    ensure!(
        gateway.state == TargetState::Pass && !gateway.decides,
        "{gateway:?}"
    );
    upstream.heal()?;
    rig.wait_settled()?;
    Ok(())
}

pub(crate) fn a_silent_gateway_does_not_condemn_a_line_that_works() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    rig.lab().isp(isp(1)).nft(
        "table inet mute { chain c { type filter hook input priority 0; \
         icmp type echo-request drop; }; }\n",
    )?;
    rig.wait_for("the gateway is found silent", EVENTUALLY, |s| {
        let targets = find_uplink(s, isp(1)).map(|u| u.targets.as_slice());
        let gateway = targets
            .into_iter()
            .flatten()
            .find(|t| t.target == "gateway");
        gateway.is_some_and(|t| t.state == TargetState::Fail)
    })?;
    thread::sleep(stretched(Duration::from_millis(500)));
    let uplink = rig.uplink(isp(1))?;
    ensure!(
        uplink.health == Health::Up && uplink.in_service,
        "{uplink:?}"
    );
    let events = rig.events()?.events;
    ensure!(
        events
            .iter()
            .all(|e| e.kind != "health" || e.detail["to"] == "up"),
        "a line was condemned: {events:#?}"
    );
    Ok(())
}

/// The kernel asks a gateway that it uses whether it is still there. That nobody answers is known long
/// before a probe is due.
pub(crate) fn a_gateway_that_the_kernel_misses_is_asked_for_at_once() -> Result<()> {
    let config = RARELY
        .replace("interval = \"10s\"", "interval = \"60s\"")
        .replace("burst = \"10s\"", "burst = \"100ms\"");
    let rig = Rig::start(&config)?;
    let lab = rig.lab();
    // The kernel asks on, and nobody is silent: no news.
    let ask = |line: Isp| {
        let gateway = line.gateway(Family::V4).addr();
        let interface = line.interface();
        let words = format!("neigh change {gateway} dev {interface} nud probe");
        uplinkd_lab::programs::ip(lab.router(), &words)
    };
    let fault = Fault::Silent.apply(lab, isp(1))?;
    ask(isp(2))?;
    thread::sleep(stretched(Duration::from_secs(1)));
    let status = rig.status()?;
    ensure!(
        is_in(&status, isp(1)),
        "nothing has told yet that it is dead"
    );
    ask(isp(1))?;
    let out = rig.wait_for("isp1 is out", EVENTUALLY, |s| !is_in(s, isp(1)))?;
    ensure!(is_in(&out, isp(2)), "the other gateway answers the kernel");
    fault.heal()?;
    Ok(())
}

pub(crate) fn a_lost_carrier_counts_at_once() -> Result<()> {
    counts_at_once(|rig| {
        let fault = Fault::Carrier.apply(rig.lab(), isp(1))?;
        let out = wait_out_at_once(rig)?;
        fault.heal()?;
        Ok(out)
    })
}

pub(crate) fn a_lost_address_counts_at_once() -> Result<()> {
    counts_at_once(|rig| {
        let fault = Fault::Address.apply(rig.lab(), isp(1))?;
        let out = wait_out_at_once(rig)?;
        fault.heal()?;
        Ok(out)
    })
}

pub(crate) fn an_interface_that_is_switched_off_counts_at_once() -> Result<()> {
    counts_at_once(|rig| {
        let mut router = Plumber::new(rig.lab().router())?;
        router.set_up("wan1", false)?;
        let out = wait_out_at_once(rig)?;
        router.set_up("wan1", true)?;
        // The kernel has dropped what a router advertised, and would be told again.
        rig.lab().advertise_again(isp(1))?;
        Ok(out)
    })
}

pub(crate) fn an_interface_that_goes_and_comes_back_under_another_number_counts_at_once()
-> Result<()> {
    counts_at_once(|rig| {
        let before = ifindex(rig, isp(1))?;
        let fault = Fault::Interface.apply(rig.lab(), isp(1))?;
        let out = wait_out_at_once(rig)?;
        fault.heal()?;
        ensure!(ifindex(rig, isp(1))? != before, "the number is the same");
        Ok(out)
    })
}

fn wait_out_at_once(rig: &Rig) -> Result<String> {
    let status = rig.wait_for("isp1 is out at once", AT_ONCE, |s| {
        s.settled && !is_in(s, isp(1)) && is_in(s, isp(2))
    })?;
    // New connections have one way, and it works.
    let seen = shares(rig.lab().client(), Transport::Udp, &servers(rig.lab()), 100)?;
    ensure!(seen.of(isp(2)) == 100, "while isp1 is out: {seen}");
    let uplink = find_uplink(&status, isp(1)).context("no isp1")?;
    Ok(uplink.reason.clone())
}

/// Takes a line away and gives it back. Its end must be noticed long before probes could tell; for
/// its return one probe has to succeed, which may be the second: an interface that has just got its
/// carrier loses what is sent in the first moment.
fn counts_at_once(fault: impl FnOnce(&Rig) -> Result<String>) -> Result<()> {
    let rig = Rig::start(RARELY)?;
    let reason = fault(&rig)?;
    ensure!(!reason.contains("targets"), "out by probes: {reason}");
    rig.wait_for("everything is back", EVENTUALLY, |s| {
        s.settled && is_in(s, isp(1)) && is_in(s, isp(2))
    })?;
    ensure_nothing_to_do(&rig)?;
    within("both lines carry new connections", EVENTUALLY, || {
        let to: Vec<IpAddr> = servers(rig.lab());
        let seen = shares(rig.lab().client(), Transport::Udp, &to, 100)?;
        Ok(seen.of(isp(1)) > 10 && seen.of(isp(2)) > 10 && seen.failed == 0)
    })
}

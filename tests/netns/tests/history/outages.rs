//! Outages, their length and their cause.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use uplinkd_api::{ReportLine, ReportOutage};
use uplinkd_lab::{Fault, stretched};
use uplinkd_model::Family;
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, isp, within};

/// Two slots of ten seconds.
const SLOTS: Duration = Duration::from_secs(25);

/// What is remembered of IPv4 of an uplink in this month.
fn line(rig: &Rig, uplink: &str) -> Result<ReportLine> {
    let report = rig.report()?;
    let own = report.uplinks.into_iter().find(|u| u.uplink == uplink);
    let lines = own.context("nothing is known of the uplink")?.lines;
    let line = lines.into_iter().find(|l| l.family == Family::V4);
    line.context("nothing is known of IPv4")
}

fn outages(rig: &Rig, uplink: &str) -> Result<Vec<ReportOutage>> {
    Ok(line(rig, uplink)?.outages)
}

/// Silences the first provider for a while, and waits until all is well again.
fn silence(rig: &Rig) -> Result<()> {
    let broken = Fault::Silent.apply(rig.lab(), isp(1))?;
    rig.wait_out(isp(1))?;
    std::thread::sleep(stretched(Duration::from_secs(1)));
    drop(broken);
    rig.wait_settled()?;
    Ok(())
}

/// How long the events say that IPv4 of the first uplink was down.
fn told_by_events(rig: &Rig) -> Result<f64> {
    let events = rig.events()?.events;
    let of = |field: &str, value: &str| {
        let mut own = events.iter().filter(|e| e.kind == "health");
        own.find(|e| {
            let is = |f: &str, v: &str| e.detail[f] == v;
            is("uplink", "isp1") && is("family", "ipv4") && is(field, value)
        })
    };
    let down = of("to", "down").context("it never went down")?;
    let up = of("from", "down").context("it never came back")?;
    Ok(up.time - down.time)
}

pub(crate) fn an_outage_is_told_with_its_length_and_its_cause() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    ensure!(outages(&rig, "isp1")?.is_empty(), "there was none yet");
    silence(&rig)?;
    let told = line(&rig, "isp1")?;
    ensure!(told.outages_count == 1, "{told:?}");
    let (outage, length) = (&told.outages[0], told_by_events(&rig)?);
    ensure!(
        (outage.seconds - length).abs() < 0.1,
        "{length} s, and {outage:?}"
    );
    ensure!(
        !outage.lasts && outage.reason.contains("targets answer"),
        "{outage:?}"
    );
    ensure!(
        told.availability.is_some_and(|a| a > 0.0 && a < 1.0),
        "{told:?}"
    );
    ensure!((told.health.down_s - length).abs() < 0.1, "{told:?}");
    let other = line(&rig, "isp2")?;
    ensure!(
        other.outages_count == 0 && other.availability == Some(1.0),
        "{other:?}"
    );
    let report = rig.report()?;
    let is_it = |text: &str| text.contains("group default") && text.contains("instead of");
    ensure!(
        report.switches.iter().any(|e| is_it(&e.text)),
        "{:?}",
        report.switches
    );
    // Its tallies are there when their slot is over.
    within("the outage is in the tallies", SLOTS, || {
        let history = rig.history()?;
        let own = history.series.iter().filter(|s| s.uplink == "isp1");
        let points: Vec<_> = own.flat_map(|s| &s.points).collect();
        let is_down = points
            .iter()
            .filter_map(|p| p.health)
            .any(|h| h.down_s > 0.0);
        let is_lost = points.iter().filter_map(|p| p.quality).any(|q| q.lost > 0);
        let is_answered = points
            .iter()
            .filter_map(|p| p.quality)
            .any(|q| q.rtt_p95_ms > Some(0.0));
        let carries = points
            .iter()
            .filter_map(|p| p.traffic)
            .any(|t| t.rx_bytes > 0 && t.tx_bytes > 0);
        Ok(is_down && is_lost && is_answered && carries)
    })?;
    for (arguments, word) in [
        (
            &["history", "isp1", "--since", "10m", "--step", "10s"][..],
            "icmp:198.18.0.1 IPv4: 95%",
        ),
        (&["history", "--csv"], ",isp2,ipv4,gateway,"),
        (&["report"], "IPv4: available "),
        (&["report", "--csv"], ",isp1,ipv4,,,,"),
        (&["report", "--month", "--json"], "\"outages_count\": 1"),
    ] {
        let output = rig.tool("uplinkctl", arguments)?;
        let is_good = output.status.success() && output.stdout.contains(word);
        ensure!(is_good, "{arguments:?}: {}{}", output.stdout, output.stderr);
    }
    let output = rig.tool("uplinkctl", &["report", "--month", "2026-13"])?;
    ensure!(output.status.code() == Some(2), "{}", output.stderr);
    Ok(())
}

/// The last seconds before the kill may be missing: at most those since the last commit, which follows a change
/// of health within seconds.
pub(crate) fn a_kill_loses_no_outage_that_was_over_for_seconds() -> Result<()> {
    let mut rig = Rig::start(&config(&[3, 2]))?;
    silence(&rig)?;
    let before = outages(&rig, "isp1")?;
    ensure!(before.len() == 1, "{before:?}");
    std::thread::sleep(stretched(Duration::from_secs(5)));
    rig.kill_daemon()?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    ensure!(
        outages(&rig, "isp1")? == before,
        "{:?} was {before:?}",
        outages(&rig, "isp1")?
    );
    let line = line(&rig, "isp1")?;
    ensure!(line.health.up_s > 0.0, "{line:?}");
    // A stop loses nothing at all.
    silence(&rig)?;
    let before = outages(&rig, "isp1")?;
    ensure!(before.len() == 2, "{before:?}");
    rig.stop_daemon()?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    ensure!(
        outages(&rig, "isp1")? == before,
        "{:?} was {before:?}",
        outages(&rig, "isp1")?
    );
    Ok(())
}

pub(crate) fn history_that_is_switched_off_leaves_nothing() -> Result<()> {
    let off = "[history]\nenabled = false\n";
    let mut rig = Rig::start(&(config(&[1, 1]) + off))?;
    let output = rig.tool("uplinkctl", &["report"])?;
    let is_told = output.stderr.contains("no history is kept");
    ensure!(
        output.status.code() == Some(2) && is_told,
        "{}",
        output.stderr
    );
    let file = rig.places().state().join("history.db");
    ensure!(!file.exists(), "a file was made");
    // It begins and ends with a reload.
    rig.reload(&config(&[1, 1]))?;
    within("it is there", EVENTUALLY, || {
        Ok(file.exists() && rig.report().is_ok())
    })?;
    rig.reload(&(config(&[1, 1]) + off))?;
    ensure!(rig.report().is_err(), "it goes on");
    rig.stop_daemon()
}

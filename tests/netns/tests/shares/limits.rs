//! Groups with limits of their own: a line that is too bad for calls still serves downloads.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use uplinkd_api::ExplainQuery;
use uplinkd_lab::{Fault, traffic::Transport};
use uplinkd_model::Family;
use uplinkd_netns_tests::{Ask, Rig, config, isp, servers_of};

use crate::common::{carried, group, serving};

const CALLS: u16 = 5301;
const DOWNLOADS: u16 = 5302;
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// A minute must pass until what was lost is forgotten.
const MINUTES: Duration = Duration::from_secs(150);

fn file() -> String {
    let group = |name: &str, loss: &str, port: u16| {
        format!(
            "[group.{name}]\ntiers = [[\"isp1\", \"isp2\"]]\nyield_at = {{ loss = \"{loss}\" }}\n\
             [[policy]]\nmatch = {{ dport = {port} }}\nuse = \"{name}\"\n"
        )
    };
    config(&[1, 1]) + &group("calls", "12%", CALLS) + &group("downloads", "70%", DOWNLOADS)
}

pub(crate) fn a_lossy_line_serves_downloads_and_no_calls() -> Result<()> {
    let rig = Rig::start(&file())?;
    rig.lab().answer_everywhere()?;
    for family in FAMILIES {
        for port in [CALLS, DOWNLOADS] {
            let [first, second, _] = carried(&rig, family, port, 100)?;
            ensure!(
                first > 20 && second > 20,
                "{family} {port}: {first} {second}"
            );
        }
    }
    // A call that is under way on isp1.
    let server = servers_of(rig.lab(), Family::V4)[3];
    let mut call = None;
    for _ in 0..50 {
        let ask = Ask::new(Transport::Udp, server).port(CALLS);
        let mut conversation = ask.open(rig.lab().client())?;
        if conversation.ask().isp() == Some(isp(1)) {
            call = Some(conversation);
            break;
        }
    }
    let mut call = call.context("no call over isp1")?;

    let lossy = Fault::Loss(12).apply(rig.lab(), isp(1))?;
    let status = rig.wait_for("calls yield", MINUTES, |s| {
        s.settled && FAMILIES.iter().all(|f| serving(s, "calls", *f) == ["isp2"])
    })?;
    for family in FAMILIES {
        let calls = group(&status, "calls", family).context("no calls")?;
        let why = &calls.yielding.first().context("nobody yields")?;
        ensure!(
            why.uplink == "isp1" && why.reason.contains("lost"),
            "{family}: {why:?}"
        );
        let both = serving(&status, "downloads", family);
        ensure!(both == ["isp1", "isp2"], "downloads by {both:?}");
        let [first, second, _] = carried(&rig, family, CALLS, 100)?;
        ensure!((first, second) == (0, 100), "calls: {first} {second}");
        let [first, second, _] = carried(&rig, family, DOWNLOADS, 100)?;
        ensure!(first > 10 && second > 20, "downloads: {first} {second}");
    }
    // Nobody has left service for it, and the call goes on where it is, as far as it gets through.
    let heard: Vec<_> = (0..20).map(|_| call.ask().isp()).collect();
    let there = heard.iter().flatten().filter(|line| **line == isp(1));
    ensure!(
        there.count() >= 5 && !heard.contains(&Some(isp(2))),
        "the call under way: {heard:?}"
    );
    let query = ExplainQuery {
        from: Some(uplinkd_lab::addresses::client(Family::V4, 0).addr()),
        protocol: Some(uplinkd_api::Protocol::UDP),
        dport: Some(CALLS),
        ..ExplainQuery::to(server)
    };
    let said = rig.explain(&[query])?.remove(0);
    let steps: String = said.steps.iter().map(|s| format!("{}\n", s.why)).collect();
    ensure!(steps.contains("isp1 yields: "), "{steps}");

    lossy.heal()?;
    rig.wait_for("calls use both again", MINUTES, |s| {
        s.settled && FAMILIES.iter().all(|f| serving(s, "calls", *f).len() == 2)
    })?;
    thread::sleep(Duration::from_millis(100));
    let [first, second, _] = carried(&rig, Family::V4, CALLS, 100)?;
    ensure!(first > 20 && second > 20, "calls again: {first} {second}");
    let selections = rig.events()?.events.into_iter();
    let selections: Vec<_> = selections
        .filter(|e| e.kind == "selection" && e.text.contains("yields in calls"))
        .collect();
    ensure!(!selections.is_empty(), "no event says why");
    Ok(())
}

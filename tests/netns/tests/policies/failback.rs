//! When a group returns to its better tier, and what becomes of connections on the worse one.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{
    Fault,
    traffic::{Flow, FlowSpec, Transport},
};
use uplinkd_netns_tests::{
    Ask, EVENTUALLY,
    ask::{Conversation, ask_all, open_all},
    isp, within,
};

use crate::stage::{
    FAMILIES, ISP1_BY_DEFAULT, Sender,
    Sender::{Client, Router},
    Stage,
};

/// How long a group that waits does so: far longer than the uplink needs to come back.
const AFTER: Duration = Duration::from_millis(2500);
const WHENS: [&str; 3] = ["at-once", "after", "by-hand"];
const FLOWS: [&str; 3] = ["keep", "drain", "move"];

/// A group for each way to return, with a port of its own.
fn groups() -> Vec<(String, u16, &'static str, &'static str)> {
    let pairs = WHENS
        .iter()
        .flat_map(|when| FLOWS.map(|flows| (*when, flows)));
    (5200..)
        .zip(pairs)
        .map(|(port, (when, flows))| (format!("{when}-{flows}"), port, when, flows))
        .collect()
}

fn file() -> String {
    let mut text = ISP1_BY_DEFAULT.to_owned();
    for (name, port, when, flows) in groups() {
        let when = match when {
            "after" => format!("after = \"{}ms\", ", AFTER.as_millis()),
            "by-hand" => "by_hand = true, ".to_owned(),
            _ => String::new(),
        };
        text += &format!(
            "[group.{name}]\ntiers = [[\"isp2\"], [\"isp1\"]]\n\
             failback = {{ {when}flows = \"{flows}\" }}\nsticky = \"source\"\n\
             [[policy]]\nname = \"{name}\"\nmatch = {{ dport = {port} }}\nuse = \"{name}\"\n"
        );
    }
    text
}

/// Which line new connections to a port take, in both families, from the LAN and from here.
fn ensure_new(stage: &Stage, port: u16, line: usize, when: &str) -> Result<()> {
    for sender in [Client, Router] {
        for family in FAMILIES {
            // From another source than those that are held, so that nothing is remembered.
            let ask = Ask::new(Transport::Udp, stage.server(family, 20)).port(port);
            let ask = if sender == Client {
                ask.from(uplinkd_lab::addresses::client(family, 150).addr())
            } else {
                ask
            };
            let answer = ask.once(stage.place(sender)?)?;
            ensure!(
                answer.isp() == Some(isp(line)),
                "{when}: new of {sender:?} {family} to port {port}: {answer:?}, not isp{line}"
            );
        }
    }
    Ok(())
}

/// Connections to a port that are kept open.
fn hold(stage: &Stage, port: u16) -> Result<Vec<Conversation>> {
    let mut held = Vec::new();
    for sender in [Client, Router] {
        let asks = FAMILIES.map(|f| Ask::new(Transport::Udp, stage.server(f, 21)).port(port));
        held.extend(open_all(stage.place(sender)?, asks)?);
    }
    Ok(held)
}

fn ensure_held(held: &mut [Conversation], port: u16, line: usize, when: &str) -> Result<()> {
    // The first packet after a move may be lost: it finds the old translation.
    let mut last = Vec::new();
    let moved = within(when, Duration::from_secs(3), || {
        last = ask_all(held);
        Ok(last.iter().all(|a| a.isp() == Some(isp(line))))
    });
    moved.with_context(|| format!("{when}: held to port {port}: {last:?}, not isp{line}"))
}

pub(crate) fn when_and_with_what_flows() -> Result<()> {
    let stage = Stage::set(&file())?;
    let mut held = Vec::new();
    for (name, port, when, flows) in groups() {
        ensure_new(&stage, port, 2, "at first")?;
        let mut conversations = hold(&stage, port)?;
        ensure_held(&mut conversations, port, 2, "at first")?;
        held.push((name, port, when, flows, conversations));
    }
    let broken = Fault::Upstream.apply(stage.rig.lab(), isp(2))?;
    stage.rig.wait_out(isp(2))?;
    for (_, port, _, _, conversations) in &mut held {
        ensure_new(&stage, *port, 1, "failed over")?;
        ensure_held(conversations, *port, 1, "failed over")?;
    }
    broken.heal()?;
    stage.rig.wait_settled()?;
    let back = Instant::now();
    let line_of = |flows: &str| if flows == "move" { 2 } else { 1 };
    for (_, port, when, flows, conversations) in &mut held {
        if *when == "at-once" {
            ensure_returned(&stage, *port, flows, conversations)?;
        } else {
            ensure_held(conversations, *port, 1, "waiting")?;
        }
    }
    ensure!(
        back.elapsed() < AFTER / 2,
        "this machine is too slow for this test"
    );
    for (_, port, when, _, _) in &held {
        if *when != "at-once" {
            ensure_new(&stage, *port, 1, "waiting")?;
        }
    }
    thread::sleep((back + AFTER + Duration::from_millis(300)).duration_since(Instant::now()));
    for (_, port, when, flows, conversations) in &mut held {
        match *when {
            "after" => ensure_returned(&stage, *port, flows, conversations)?,
            "by-hand" => {
                ensure_held(conversations, *port, 1, "waiting for somebody")?;
                ensure_new(&stage, *port, 1, "waiting for somebody")?;
            }
            _ => ensure_held(conversations, *port, line_of(flows), "later")?,
        }
    }
    for (name, port, when, flows, conversations) in &mut held {
        if *when == "by-hand" {
            stage.rig.fail_back(name)?;
            stage.rig.wait_settled()?;
            ensure_returned(&stage, *port, flows, conversations)?;
        }
    }
    Ok(())
}

/// A group has returned: new connections use the better tier, old ones as its flows say.
fn ensure_returned(stage: &Stage, port: u16, flows: &str, held: &mut [Conversation]) -> Result<()> {
    let when = format!("returned with flows = {flows}");
    within(&when, EVENTUALLY, || {
        Ok(flows == "keep" || ensure_new(stage, port, 2, &when).is_ok())
    })?;
    ensure_held(held, port, if flows == "move" { 2 } else { 1 }, &when)?;
    // New connections of a source that was on the worse tier.
    for family in FAMILIES {
        let ask = Ask::new(Transport::Udp, stage.server(family, 22)).port(port);
        let answer = ask.once(stage.place(Client)?)?;
        let line = if flows == "keep" { 1 } else { 2 };
        ensure!(
            answer.isp() == Some(isp(line)),
            "{when}: new of a known source, {family}: {answer:?}, not isp{line}"
        );
    }
    // A stranger always gets the better one.
    let ask = Ask::new(Transport::Udp, stage.server(FAMILIES[0], 22)).port(port);
    let answer = ask.once(stage.place(Sender::Guest)?)?;
    ensure!(
        answer.isp() == Some(isp(2)),
        "{when}: a newcomer: {answer:?}"
    );
    Ok(())
}

pub(crate) fn a_tunnel_of_the_router_moves_over_and_back() -> Result<()> {
    const PORT: u16 = 51_820;
    let text = format!(
        "{ISP1_BY_DEFAULT}[group.tunnel]\ntiers = [[\"isp2\"], [\"isp1\"]]\n\
         failback = {{ after = \"1s\", flows = \"move\" }}\n\
         [[policy]]\nname = \"tunnel\"\nmatch = {{ protocol = \"udp\", dport = {PORT} }}\nuse = \"tunnel\"\n"
    );
    let stage = Stage::set(&text)?;
    let lab = stage.rig.lab();
    let begun = Instant::now();
    let flows = FAMILIES
        .map(|family| {
            let spec = FlowSpec {
                port: PORT,
                every: Duration::from_millis(5),
                ..FlowSpec::new(Transport::Udp, stage.server(family, 3))
            };
            Flow::start(lab.router(), spec)
        })
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    for flow in &flows {
        flow.wait_for_answer(begun, EVENTUALLY)
            .context("a flow does not begin")?;
    }
    for fault in [Fault::Silent, Fault::Carrier] {
        let broken = fault.apply(lab, isp(2))?;
        for flow in &flows {
            within("it moves over", EVENTUALLY, || {
                Ok(flow.record().last_isp() == Some(isp(1)))
            })?;
        }
        let healed = broken.heal()?;
        for flow in &flows {
            within("it moves back", EVENTUALLY, || {
                Ok(flow.record().last_isp() == Some(isp(2)))
            })
            .with_context(|| format!("{fault}\n{}", state_of(&stage, PORT)))?;
            let lost = {
                let record = flow.record();
                let after = record
                    .samples
                    .iter()
                    .filter(|s| s.sent > healed + Duration::from_millis(50));
                // The newest may still be on its way.
                let newest = Instant::now() - Duration::from_millis(100);
                after
                    .filter(|s| s.sent < newest && s.answered.is_none())
                    .count()
            };
            ensure!(lost <= 20, "{fault}: {lost} lost on the way back");
        }
        stage.rig.wait_settled()?;
    }
    Ok(())
}

/// The daemon's last lines and what the kernel tracks of a port, for a failure.
fn state_of(stage: &Stage, port: u16) -> String {
    let log = stage
        .rig
        .daemon()
        .map_or_else(|e| e.to_string(), |d| d.log_tail());
    let tracked = stage.rig.in_router(|| {
        let all = std::fs::read_to_string("/proc/thread-self/net/nf_conntrack")?;
        let port = format!("port={port} ");
        let lines = all.lines().filter(|l| l.contains(&port));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    });
    format!("{log}\n{}", tracked.unwrap_or_default())
}

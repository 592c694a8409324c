//! One round: the first provider fails under load, and comes back.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use uplinkd_model::Family;

use super::{Demo, screen::Screen};
use crate::{
    addresses::Isp,
    faults::{Broken, Fault},
    traffic::{Attempts, Flow, FlowRecord, FlowSpec, Load, Transport},
};

/// New connections per second while the line fails.
const PER_SECOND: u32 = 200;
/// How long traffic runs before the cut.
const BEFORE: Duration = Duration::from_millis(500);
/// How long it runs on after the first sign of recovery, to see whether that lasts.
const AFTER: Duration = Duration::from_secs(2);
/// How long the switch may take; far more than it should.
const SWITCH_MAX: Duration = Duration::from_secs(15);
/// How long the return may take, with its five good answers.
const RETURN_MAX: Duration = Duration::from_secs(20);
/// The longest load of a round; the longest way through it is shorter.
const LOAD_MAX: Duration = Duration::from_secs(60);
/// A faulty line that is not dead is watched for so long.
const SICK: Duration = Duration::from_secs(5);
/// Which line a flow takes is a throw of the dice; so many throws for the right one.
const FLOW_TRIES_MAX: usize = 60;

pub(super) fn play(demo: &Demo<'_, '_>, fault: Fault, screen: &mut Screen) -> Result<()> {
    let isp = Isp::new(1).context("there is a first provider")?;
    screen.title(&format!("{isp} fails: {fault} ({})", explain(fault)))?;
    demo.show_shares(screen, true)?;
    let udp = flow_over(demo, Transport::Udp, isp)?;
    let tcp = flow_over(demo, Transport::Tcp, isp)?;
    let servers = demo.lab.servers(Family::V4);
    let load = Load::new(Transport::Udp, PER_SECOND, LOAD_MAX, servers).start(demo.lab.client())?;
    screen.line(&format!(
        "{PER_SECOND} new connections per second, a UDP and a TCP flow over {isp} ..."
    ))?;
    thread::sleep(BEFORE);
    let broken = fault.apply(demo.lab, isp)?;
    let cut = broken.since();
    if is_deadly(fault) {
        // The UDP flow goes on with the switch; how it went before is in its record.
        let _ = udp.wait_for_answer(cut + Duration::from_millis(20), SWITCH_MAX);
        thread::sleep(AFTER);
    } else {
        thread::sleep(SICK);
    }
    let attempts = load.stop()?;
    tell_new(&attempts, isp, fault, cut, screen)?;
    tell_flow("the UDP flow", &udp.stop()?, isp, fault, cut, screen)?;
    tell_flow("the TCP flow", &tcp.stop()?, isp, fault, cut, screen)?;
    demo.show_shares(screen, false)?;
    come_back(demo, broken, screen)
}

/// Mends the line and watches how it is used again, and whether that disturbs anybody.
fn come_back(demo: &Demo<'_, '_>, broken: Broken<'_>, screen: &mut Screen) -> Result<()> {
    let (isp, was_deadly) = (broken.isp(), is_deadly(broken.fault()));
    let other = Isp::new(2).context("there is a second provider")?;
    let bystander = flow_over(demo, Transport::Udp, other)?;
    let healed = broken.heal()?;
    let mut is_back = false;
    while !is_back && healed.elapsed() < RETURN_MAX {
        thread::sleep(Duration::from_millis(10));
        is_back = demo.serves(&demo.all(), 30);
    }
    let took = healed.elapsed().as_millis();
    let what = if is_back {
        format!("{isp} healed, and used again after {took} ms")
    } else {
        format!("{isp} healed, but not used again within {took} ms")
    };
    screen.check(is_back, &what)?;
    thread::sleep(BEFORE);
    let record = bystander.stop()?;
    let lost = record.lost();
    let what = format!(
        "a flow over {other} meanwhile: {lost} of {} lost",
        record.samples.len()
    );
    if was_deadly {
        screen.check(lost == 0, &what)?;
    } else {
        screen.line(&format!("        {what}"))?;
    }
    demo.show_shares(screen, true)
}

fn tell_new(
    attempts: &Attempts,
    isp: Isp,
    fault: Fault,
    cut: Instant,
    screen: &mut Screen,
) -> Result<()> {
    let after = attempts.since(cut);
    let before = attempts.0.len() - after.0.len();
    if !is_deadly(fault) {
        let (lost, all) = (after.failed(), after.0.len());
        return screen.line(&format!(
            "        new connections: {lost} of {all} failed; then {}",
            after.shares()
        ));
    }
    let outage = attempts.outage();
    let what = match &outage {
        None => format!("new connections: none of {} failed", after.0.len()),
        Some(o) => match o.duration() {
            Some(d) => format!(
                "new connections: failing for {} ms, {} of {} lost",
                d.as_millis(),
                o.lost,
                attempts.0.len() - before
            ),
            None => "new connections: still failing at the end".to_owned(),
        },
    };
    screen.check(outage.is_none_or(|o| o.ended.is_some()), &what)?;
    // What was under way at the cut may still be answered.
    let from = outage.and_then(|o| o.ended);
    let from = from.unwrap_or(cut + Duration::from_millis(100));
    let stray = attempts.since(from).shares().of(isp);
    screen.check(stray == 0, &format!("none of them over {isp} after that"))
}

fn tell_flow(
    name: &str,
    record: &FlowRecord,
    isp: Isp,
    fault: Fault,
    cut: Instant,
    screen: &mut Screen,
) -> Result<()> {
    let outage = record.outage_since(cut);
    let over = record
        .last_isp()
        .map_or_else(|| "no line".to_owned(), |i| i.to_string());
    let what = match &outage {
        None => format!("{name}: nothing lost, over {over}"),
        Some(o) => match o.duration() {
            Some(d) => format!(
                "{name}: went on over {over} after {} ms, {} lost",
                d.as_millis(),
                o.lost
            ),
            None => format!("{name}: still dead at the end"),
        },
    };
    if is_deadly(fault) {
        let is_saved = outage.is_none_or(|o| o.ended.is_some()) && record.last_isp() != Some(isp);
        screen.check(is_saved, &what)?;
    } else {
        screen.line(&format!("        {what}"))?;
    }
    // A TCP connection cannot change its address: it breaks, sooner or later, and is made anew.
    match record.broken_since(cut) {
        Some(at) => {
            let after = at.duration_since(cut).as_millis();
            screen.line(&format!(
                "        (reset after {after} ms, then connected anew)"
            ))
        }
        None => Ok(()),
    }
}

/// A flow whose connection this provider's line carries.
fn flow_over(demo: &Demo<'_, '_>, transport: Transport, isp: Isp) -> Result<Flow> {
    let spec = FlowSpec::new(transport, demo.lab.servers(Family::V4)[2]);
    for _ in 0..FLOW_TRIES_MAX {
        let flow = Flow::start(demo.lab.client(), spec)?;
        let begun = flow.wait_for_answer(Instant::now(), Duration::from_secs(1));
        if begun.is_some() && flow.record().last_isp() == Some(isp) {
            return Ok(flow);
        }
        flow.abandon();
    }
    anyhow::bail!(
        "none of {FLOW_TRIES_MAX} flows went over {isp}\n{}",
        demo.daemon.log_tail()
    )
}

/// Whether nothing gets through any more, so that a switch must follow.
fn is_deadly(fault: Fault) -> bool {
    match fault {
        Fault::Carrier
        | Fault::Silent
        | Fault::Upstream
        | Fault::OnewayOut
        | Fault::OnewayIn
        | Fault::Address
        | Fault::Interface => true,
        // The demo's traffic is of IPv4.
        Fault::UpstreamOf(family) | Fault::AddressOf(family) => family == Family::V4,
        Fault::Loss(percent) => percent == 100,
        Fault::Flap(_) | Fault::Slow(_) => false,
    }
}

fn explain(fault: Fault) -> &'static str {
    match fault {
        Fault::Carrier => "the cable is out",
        Fault::Silent => "the far end is mute, the link stays up",
        Fault::Upstream => "dead beyond its gateway, which answers",
        Fault::UpstreamOf(Family::V4) => "IPv4 is dead beyond its gateway",
        Fault::UpstreamOf(Family::V6) => "IPv6 is dead beyond its gateway",
        Fault::Loss(_) => "frames are lost, each way",
        Fault::OnewayOut => "what we send is lost",
        Fault::OnewayIn => "what is sent to us is lost",
        Fault::Flap(_) => "the carrier comes and goes",
        Fault::Address => "the lease is gone",
        Fault::AddressOf(Family::V4) => "the IPv4 lease is gone",
        Fault::AddressOf(Family::V6) => "the IPv6 prefix is gone",
        Fault::Interface => "the device is gone",
        Fault::Slow(_) => "a thin line with a queue",
    }
}

//! An uplink fails, and comes back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::libc;
use uplinkd_api::TargetState;
use uplinkd_lab::{
    Fault, Isp, stretched,
    traffic::{Attempts, Ending, Flow, FlowRecord, Load, TcpEvent, Transport, shares},
};
use uplinkd_model::{Family, Reserve, Slot};
use uplinkd_netns_tests::{
    EVENTUALLY, Rig,
    ask::{Conversation, ask_all},
    config, find_uplink, isp, servers, within,
};

use crate::flows::{ByUplink, all_over, conversations, figure, flows, known_port};

const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];
/// Traffic runs this long before the fault and after the last step, to have something to lose.
const RUN_IN: Duration = Duration::from_millis(300);
/// How many new connections, of 200 per second, may be lost when the carrier goes: those whose
/// packets were on the cable, and those of the moment (some milliseconds, more on a busy machine)
/// that the kernel takes to notice. From the next packet on none is.
const IN_FLIGHT_MAX: usize = 10;
/// Longer than any test runs.
const ALL_THE_TIME: Duration = Duration::from_secs(60);

pub(crate) fn carrier() -> Result<()> {
    failover(Fault::Carrier)
}

pub(crate) fn silent() -> Result<()> {
    failover(Fault::Silent)
}

pub(crate) fn upstream() -> Result<()> {
    failover(Fault::Upstream)
}

/// What runs while the uplink fails.
struct Traffic {
    udp: ByUplink<Flow>,
    tcp: ByUplink<Flow>,
    own_udp: ByUplink<Flow>,
    own_tcp: ByUplink<Flow>,
}

impl Traffic {
    fn start(rig: &Rig) -> Result<Self> {
        let (client, router) = (rig.lab().client(), rig.lab().router());
        Ok(Self {
            udp: flows(rig, client, Transport::Udp, 2)?,
            tcp: flows(rig, client, Transport::Tcp, 2)?,
            own_udp: flows(rig, router, Transport::Udp, 1)?,
            own_tcp: flows(rig, router, Transport::Tcp, 1)?,
        })
    }
}

fn failover(fault: Fault) -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let (lab, dying, healthy) = (rig.lab(), isp(1), isp(2));
    let traffic = Traffic::start(&rig)?;
    let mut ports = Vec::new();
    for (transport, first) in [(Transport::Udp, 4000), (Transport::Tcp, 5000)] {
        ports.push(known_port(&rig, lab.client(), transport, dying, first)?);
    }
    let load = |transport| {
        let mut load = Load::new(transport, 200, stretched(ALL_THE_TIME), servers(lab));
        // Less than a handshake takes to repeat itself: what was lost stays lost.
        load.patience = Duration::from_millis(700);
        load
    };
    let udp_load = load(Transport::Udp).start(lab.client())?;
    let tcp_load = load(Transport::Tcp).start(lab.client())?;
    let mut on_healthy = load(Transport::Udp);
    on_healthy.sources = vec![healthy.router(Family::V4).addr()];
    let healthy_load = on_healthy.start(lab.router())?;
    std::thread::sleep(stretched(RUN_IN));

    let begun = Instant::now();
    let _broken = fault.apply(lab, dying)?;
    let leaves = Reserve::default().nexthop_service(Family::V4, Slot(dying.number().into()));
    within("the uplink leaves the kernel's groups", EVENTUALLY, || {
        Ok(!rig.glance()?.nexthops.contains_key(&leaves))
    })?;
    let moved = Instant::now();
    rig.wait_out(dying)?;
    let switched = Instant::now();
    let switch = Switch {
        fault,
        to: healthy,
        begun,
        moved,
    };
    moves(&traffic, begun, switched)?;
    // The sockets are closed and their ports used again, while tracking might still know them.
    for (ask, conversation) in ports {
        drop(conversation);
        let answer = ask.once(lab.client())?;
        ensure!(
            answer.isp() == Some(healthy),
            "a reused port: {ask:?} {answer:?}"
        );
    }
    std::thread::sleep(stretched(RUN_IN));

    for (attempts, what) in [(udp_load.stop()?, "UDP"), (tcp_load.stop()?, "TCP")] {
        judge_new(&attempts, &switch, what)?;
    }
    let steady = healthy_load.stop()?;
    ensure!(
        steady.failed() == 0,
        "{} new connections lost on {healthy}",
        steady.failed()
    );
    for flow in traffic.udp.second.into_iter().chain(traffic.own_udp.second) {
        undisturbed(&flow.stop()?, healthy)?;
    }
    for flow in traffic.tcp.second.into_iter().chain(traffic.own_tcp.second) {
        undisturbed(&flow.stop()?, healthy)?;
    }
    for flow in traffic.udp.first.into_iter().chain(traffic.own_udp.first) {
        goes_on(&flow.stop()?, dying, healthy, fault)?;
    }
    is_explained(&rig, fault, dying)?;
    let events = rig.events()?.events;
    let about_healthy = events
        .iter()
        .filter(|e| e.kind == "health" && e.detail["uplink"] == "isp2");
    // Once in each family, at the start.
    ensure!(
        about_healthy.count() == 2,
        "{healthy} was judged again: {events:?}"
    );
    Ok(())
}

/// What happened when.
struct Switch {
    fault: Fault,
    to: Isp,
    /// The last moment before the fault.
    begun: Instant,
    /// The dying uplink is seen to be in no group of the kernel any more.
    moved: Instant,
}

/// What was on the dying uplink goes on over the other one, or learns that it must begin anew.
fn moves(traffic: &Traffic, begun: Instant, switched: Instant) -> Result<()> {
    for flow in traffic.udp.first.iter().chain(&traffic.own_udp.first) {
        let answer = flow.wait_for_answer(switched, EVENTUALLY);
        answer.context("a UDP flow of the dying uplink does not go on")?;
    }
    for flow in traffic.tcp.first.iter().chain(&traffic.own_tcp.first) {
        within("a TCP client is told", EVENTUALLY, || {
            Ok(flow.record().broken_since(begun).is_some())
        })?;
        let record = flow.record();
        ensure!(was_reset(&record), "not reset: {:?}", record.events);
    }
    Ok(())
}

/// The reset met the reader or the writer of the socket; who comes second sees only the end.
fn was_reset(record: &FlowRecord) -> bool {
    let is_reset = |error| error == libc::ECONNRESET;
    record.samples.iter().any(|s| s.error.is_some_and(is_reset))
        || matches!(record.events.last(), Some((_, TcpEvent::Broken(e))) if is_reset(*e))
}

/// New connections are lost only while nobody could know; and after that, none goes by the dead line.
fn judge_new(attempts: &Attempts, switch: &Switch, what: &str) -> Result<()> {
    let what = format!("{}, {what}", switch.fault);
    let early = attempts
        .0
        .iter()
        .filter(|a| a.ended < switch.begun && !a.is_answered())
        .count();
    ensure!(
        early == 0,
        "{what}: {early} lost before anything was broken"
    );
    let late = attempts.since(switch.moved);
    ensure!(
        late.0.len() > 20,
        "{what}: only {} attempts after the switch",
        late.0.len()
    );
    ensure!(
        late.failed() == 0,
        "{what}: {} of {} lost after the switch (ms after it): {:?}",
        late.failed(),
        late.0.len(),
        endings(&late, switch.moved)
    );
    let shares = late.shares();
    ensure!(
        shares.of(switch.to) == late.0.len(),
        "{what}: after the switch {shares}"
    );
    let lost = attempts.failed();
    ensure!(
        switch.fault != Fault::Carrier || lost <= IN_FLIGHT_MAX,
        "{what}: {lost} lost"
    );
    let outage = attempts
        .outage()
        .map_or_else(|| "none lost".to_owned(), |o| o.to_string());
    figure(&format!(
        "{what}: {outage} at 200 new connections per second"
    ));
    Ok(())
}

/// When the attempts that failed were begun, in milliseconds, and how they ended.
fn endings(attempts: &Attempts, from: Instant) -> Vec<(u128, Ending)> {
    let failed = attempts.0.iter().filter(|a| !a.is_answered());
    failed
        .map(|a| (a.begun.duration_since(from).as_millis(), a.ending))
        .collect()
}

/// Not one packet was lost, and all went over one uplink.
fn undisturbed(record: &FlowRecord, over: Isp) -> Result<()> {
    let first = record.samples.first().context("no packets")?.sent;
    ensure!(
        record.lost() == 0,
        "{} of {} lost on {over}",
        record.lost(),
        record.samples.len()
    );
    ensure!(
        record.first_not_over(over, first).is_none(),
        "a flow left {over}"
    );
    ensure!(
        record.events.iter().all(|e| e.1 == TcpEvent::Connected),
        "{:?}",
        record.events
    );
    Ok(())
}

/// A UDP flow moves once, and from its first answer over the other uplink on nothing is lost.
fn goes_on(record: &FlowRecord, from: Isp, to: Isp, fault: Fault) -> Result<()> {
    let over =
        |s: &uplinkd_lab::traffic::Sample| s.answered.and_then(|(_, source)| Isp::of(source));
    let moved = record
        .samples
        .iter()
        .position(|s| over(s) == Some(to))
        .context("it never moved")?;
    let (before, after) = record.samples.split_at(moved);
    ensure!(
        before.iter().all(|s| over(s).is_none_or(|i| i == from)),
        "it went to and fro"
    );
    let strays = after.iter().filter(|s| over(s) != Some(to)).count();
    ensure!(
        strays == 0,
        "{strays} of {} packets not over {to} after the move",
        after.len()
    );
    let lost = before
        .iter()
        .rev()
        .take_while(|s| s.answered.is_none())
        .count();
    figure(&format!(
        "{fault}: a UDP flow of 100 per second lost {lost} packets"
    ));
    Ok(())
}

/// The status tells what is wrong as far as it can be known.
fn is_explained(rig: &Rig, fault: Fault, dying: Isp) -> Result<()> {
    if fault == Fault::Carrier {
        ensure!(rig.uplink(dying)?.carrier == Some(false));
        return Ok(());
    }
    let gateway = if fault == Fault::Silent {
        TargetState::Fail
    } else {
        TargetState::Pass
    };
    rig.wait_for("what the gateway says", EVENTUALLY, |status| {
        let uplink = find_uplink(status, dying);
        let target = uplink.and_then(|u| u.targets.iter().find(|t| t.target == "gateway"));
        target.is_some_and(|t| t.state == gateway)
    })?;
    Ok(())
}

pub(crate) fn moved_connections_stay_after_upstream() -> Result<()> {
    moved_stay(Fault::Upstream)
}

pub(crate) fn moved_connections_stay_after_carrier() -> Result<()> {
    moved_stay(Fault::Carrier)
}

pub(crate) fn moved_connections_stay_after_a_lost_address() -> Result<()> {
    moved_stay(Fault::Address)
}

pub(crate) fn moved_connections_stay_after_a_lost_interface() -> Result<()> {
    moved_stay(Fault::Interface)
}

fn moved_stay(fault: Fault) -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let lab = rig.lab();
    let mut moved: Vec<Conversation> = Vec::new();
    let mut stayed: Vec<Conversation> = Vec::new();
    for netns in [lab.client(), lab.router()] {
        for transport in BOTH {
            let some = conversations(&rig, netns, transport, 20)?;
            stayed.extend(some.second);
            // A socket of the router cannot outlive the address that it is bound to.
            let keeps_address = matches!(fault, Fault::Upstream | Fault::Carrier);
            let is_own = netns.name() == lab.router().name();
            if transport == Transport::Udp && (keeps_address || !is_own) {
                moved.extend(some.first);
            }
        }
    }
    let broken = fault.apply(lab, isp(1))?;
    rig.wait_out(isp(1))?;
    // An own socket's first packet may be refused while its route is looked up anew.
    let _ = ask_all(&mut moved);
    all_over(&ask_all(&mut moved), isp(2), "moved")?;
    let since = flows_over_the_only(&rig)?;
    broken.heal()?;
    rig.wait_settled()?;
    all_over(&ask_all(&mut moved), isp(2), "moved, and the other is back")?;
    all_over(&ask_all(&mut stayed), isp(2), "never moved")?;
    for flow in since {
        undisturbed(&flow.stop()?, isp(2))?;
    }
    for netns in [lab.client(), lab.router()] {
        for transport in BOTH {
            let counted = shares(netns, transport, &servers(lab), 1500)?;
            let first = counted.percent(isp(1));
            ensure!(
                counted.failed == 0 && (first - 60.0).abs() < 6.0,
                "new ones: {counted}"
            );
        }
    }
    Ok(())
}

pub(crate) fn a_flapping_uplink_disturbs_nobody_else() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let client = rig.lab().client();
    let streams = flows(&rig, client, Transport::Tcp, 2)?;
    let datagrams = flows(&rig, client, Transport::Udp, 2)?;
    let before = rig.count_events("health")?;
    // Slow enough that it is believed to be back each time.
    let broken = Fault::Flap(900).apply(rig.lab(), isp(1))?;
    within("it was seen to flap", EVENTUALLY, || {
        Ok(rig.count_events("health")? >= before + 4)
    })?;
    broken.heal()?;
    rig.wait_settled()?;
    for flow in streams.second.into_iter().chain(datagrams.second) {
        undisturbed(&flow.stop()?, isp(2))?;
    }
    let counted = shares(client, Transport::Tcp, &servers(rig.lab()), 1500)?;
    let first = counted.percent(isp(1));
    ensure!(
        counted.failed == 0 && (first - 60.0).abs() < 6.0,
        "new ones: {counted}"
    );
    Ok(())
}

/// Flows that began while there was only one uplink.
fn flows_over_the_only(rig: &Rig) -> Result<Vec<Flow>> {
    let mut all = Vec::new();
    for transport in BOTH {
        let mut spec = uplinkd_lab::traffic::FlowSpec::new(transport, servers(rig.lab())[7]);
        spec.reconnect = false;
        let begun = Instant::now();
        let flow = Flow::start(rig.lab().client(), spec)?;
        flow.wait_for_answer(begun, EVENTUALLY)
            .context("no new flow over the other uplink")?;
        all.push(flow);
    }
    Ok(all)
}

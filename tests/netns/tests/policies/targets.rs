//! Where a policy can lead: a group with its tiers, an uplink, a refusal, the main table; and what
//! serves when nothing of that is live.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use uplinkd_lab::{
    Fault,
    programs::ip,
    stretched,
    traffic::{Attempts, Fate, Flow, FlowSpec, Load, Packet, PacketKind, Transport, send_all},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{
    Ask, EVENTUALLY,
    ask::{ask_all, open_all},
    isp, within,
};

use crate::stage::{
    Arrivals, FAMILIES, ISP1_BY_DEFAULT, PATIENCE, Sender,
    Sender::{Client, Guest, Router},
    Stage, ensure_over, policies,
};

/// How long a sender may be left in doubt: a program that hears of a refusal while it is still busy
/// with its first packet hears of it again when that is repeated, after a second.
const REFUSED_MAX: Duration = Duration::from_millis(1500);

/// A group and policies for every target, told apart by their destination port.
fn every_target() -> String {
    let groups = "[group.calls]\ntiers = [[\"isp2\"], [\"isp1\"]]\n";
    let list = [
        ("dport = 5001", "use = \"isp2\""),
        ("dport = 5002", "use = \"calls\""),
        ("dport = 5003", "use = \"block\""),
        ("dport = 5004", "use = \"main\""),
        ("dport = 5005", "use = \"isp2\"\notherwise = \"block\""),
        ("dport = 5006", "use = \"isp2\"\notherwise = \"calls\""),
        ("dport = 5007", "use = \"default\""),
    ];
    format!("{ISP1_BY_DEFAULT}{groups}{}", policies(list))
}

/// What shall become of packets to a port: the line, or none for a refusal.
type Expected = [(u16, Option<usize>)];

/// Sends to every port and sees what becomes of it, whole conversations too.
fn ensure_led(stage: &Stage, expected: &Expected, when: &str) -> Result<()> {
    for sender in [Client, Guest, Router] {
        for family in FAMILIES {
            let to = stage.server(family, 4);
            for (port, line) in expected {
                let packets = [Packet::udp(to, *port), Packet::tcp(to, *port)];
                let sent = send_all(stage.place(sender)?, &packets)?;
                // Who is told nothing is not waited for: how soon senders hear of a refusal is
                // another test's business.
                let patience = line.map_or(Duration::from_millis(120), |_| PATIENCE);
                let fates = stage.witness.fates(&sent, patience);
                for (packet, fate) in packets.iter().zip(fates) {
                    let is_right = match line {
                        Some(line) => fate.isp() == Some(isp(*line)),
                        None => matches!(fate, Fate::Refused(_) | Fate::Vanished),
                    };
                    ensure!(
                        is_right,
                        "{when}: {sender:?} to port {port}: {fate:?}, not {line:?}\n  {packet:?}"
                    );
                }
                if let Some(line) = line {
                    let own = isp(*line).router(family).addr();
                    for transport in [Transport::Udp, Transport::Tcp] {
                        let answer = Ask::new(transport, to)
                            .port(*port)
                            .once(stage.place(sender)?)?;
                        ensure!(
                            answer == uplinkd_netns_tests::Answer::Seen(own),
                            "{when}: {sender:?} {transport:?} to {to} port {port}: {answer:?}"
                        );
                    }
                }
            }
        }
    }
    Ok(())
}

pub(crate) fn every_target_leads_where_it_says() -> Result<()> {
    let stage = Stage::set(&every_target())?;
    let all = [
        (5001, Some(2)),
        (5002, Some(2)),
        (5003, None),
        (5004, Some(1)),
        (5005, Some(2)),
        (5006, Some(2)),
        (5007, Some(1)),
        (5008, Some(1)),
    ];
    ensure_led(&stage, &all, "all is well")?;
    // What the main table says is said by others, and may change.
    for family in ["-4", "-6"] {
        let change = format!("{family} route del default dev wan1");
        ip(stage.rig.lab().router(), &change)?;
    }
    let only_main = [(5004, Some(2))];
    ensure_led(&stage, &only_main, "main leads elsewhere")
}

pub(crate) fn otherwise_serves_when_nothing_is_live() -> Result<()> {
    let stage = Stage::set(&every_target())?;
    for fault in [Fault::Carrier, Fault::Upstream] {
        let broken = fault.apply(stage.rig.lab(), isp(2))?;
        stage.rig.wait_out(isp(2))?;
        let others = [
            (5001, Some(1)),
            (5002, Some(1)),
            (5003, None),
            (5004, Some(1)),
            (5005, None),
            (5006, Some(1)),
            (5007, Some(1)),
        ];
        ensure_led(&stage, &others, &format!("isp2 is out by {fault}"))?;
        broken.heal()?;
        stage.rig.wait_settled()?;
        ensure_led(&stage, &[(5001, Some(2)), (5005, Some(2))], "it is back")?;
    }
    Ok(())
}

pub(crate) fn a_strict_policy_never_leaks() -> Result<()> {
    const PORT: u16 = 5005;
    let stage = Stage::set(&every_target())?;
    let lab = stage.rig.lab();
    let leaks = Arrivals::count(&stage, isp(1), &format!("th dport {PORT}"))?;
    for fault in [Fault::Silent, Fault::Carrier] {
        let mut flows = Vec::new();
        let mut loads = Vec::new();
        for sender in [Client, Router] {
            for family in FAMILIES {
                for (number, transport) in [Transport::Udp, Transport::Tcp].into_iter().enumerate()
                {
                    let spec = FlowSpec {
                        port: PORT,
                        every: Duration::from_millis(4),
                        ..FlowSpec::new(transport, stage.server(family, number))
                    };
                    flows.push(Flow::start(stage.place(sender)?, spec)?);
                    let to = vec![stage.server(family, 10), stage.server(family, 11)];
                    let mut load =
                        Load::new(transport, 100, stretched(Duration::from_secs(30)), to);
                    load.port = PORT;
                    load.patience = Duration::from_millis(200);
                    loads.push(load.start(stage.place(sender)?)?);
                }
            }
        }
        let begun = Instant::now();
        for flow in &flows {
            flow.wait_for_answer(begun, EVENTUALLY)
                .context("a flow does not begin")?;
        }
        let broken = fault.apply(lab, isp(2))?;
        stage.rig.wait_out(isp(2))?;
        std::thread::sleep(stretched(Duration::from_millis(300)));
        let healed = broken.heal()?;
        stage.rig.wait_settled()?;
        for flow in &flows {
            flow.wait_for_answer(healed, EVENTUALLY)
                .context("a flow does not go on")?;
        }
        for flow in flows {
            let record = flow.stop()?;
            ensure!(record.last_isp() == Some(isp(2)), "a flow ended elsewhere");
            // A stream only waits.
            ensure!(
                record.lost() > 0 || !record.events.is_empty(),
                "the line was never dead"
            );
        }
        for load in loads {
            let attempts: Attempts = load.stop()?;
            ensure!(
                attempts.shares().of(isp(1)) == 0,
                "{fault}: {}",
                attempts.shares()
            );
        }
        let found = leaks.found()?;
        ensure!(
            found == 0,
            "{fault}: {found} packets leaked to isp1: {}",
            leaks.who()?
        );
    }
    Ok(())
}

/// Every kind of packet to a port is refused, and its sender is told at once.
fn ensure_refused(stage: &Stage, port: u16, when: &str) -> Result<()> {
    for sender in [Client, Guest, Router] {
        for family in FAMILIES {
            let to = stage.server(family, 4);
            for packet in [Packet::udp(to, port), Packet::tcp(to, port)] {
                let begun = Instant::now();
                let sent = send_all(stage.place(sender)?, &[packet])?;
                let fates = stage.witness.fates(&sent, REFUSED_MAX);
                ensure!(
                    matches!(fates[0], Fate::Refused(_)),
                    "{when}: {sender:?} {family} is not told of the refusal: {:?} after {:?}\n  {packet:?}",
                    fates[0],
                    begun.elapsed()
                );
            }
        }
    }
    Ok(())
}

/// A line is back before its routes are, as on a busy machine, and the server goes on with what it had
/// not been told the end of. What the router or a host says to that is no packet for another line.
pub(crate) fn what_comes_in_before_its_line_is_ready_is_not_answered_by_another() -> Result<()> {
    const PORT: u16 = 5005;
    let stage = Stage::set(&every_target())?;
    let lab = stage.rig.lab();
    let leaks = Arrivals::count(&stage, isp(1), &format!("th dport {PORT}"))?;
    let mut flows = Vec::new();
    for sender in [Client, Router] {
        for family in FAMILIES {
            let spec = FlowSpec {
                port: PORT,
                every: Duration::from_millis(4),
                ..FlowSpec::new(Transport::Tcp, stage.server(family, 0))
            };
            flows.push(Flow::start(stage.place(sender)?, spec)?);
        }
    }
    let begun = Instant::now();
    for flow in &flows {
        flow.wait_for_answer(begun, EVENTUALLY)
            .context("a flow does not begin")?;
    }
    let broken = Fault::Carrier.apply(lab, isp(2))?;
    stage.rig.wait_out(isp(2))?;
    stage
        .rig
        .wait_for("it is settled", EVENTUALLY, |s| s.settled)?;
    let daemon = stage.rig.daemon()?.process();
    daemon.signal(Signal::SIGSTOP)?;
    broken.heal()?;
    // The server repeats itself within that.
    let repeated = format!("iifname \"core\" th sport {PORT}");
    let came = Arrivals::at(lab.isp(isp(2)), "prerouting priority raw - 10", [repeated]);
    let came = came.and_then(|came| {
        within("the server goes on", EVENTUALLY, || Ok(came.found()? >= 4))?;
        std::thread::sleep(stretched(Duration::from_millis(500)));
        leaks.found()
    });
    daemon.signal(Signal::SIGCONT)?;
    let found = came?;
    ensure!(
        found == 0,
        "{found} packets leaked to isp1: {}",
        leaks.who()?
    );
    stage.rig.wait_settled()?;
    let found = leaks.found()?;
    ensure!(
        found == 0,
        "{found} packets leaked to isp1: {}",
        leaks.who()?
    );
    Ok(())
}

pub(crate) fn a_refusal_is_fast() -> Result<()> {
    let stage = Stage::set(&every_target())?;
    ensure_refused(&stage, 5003, "by `block`")?;
    let broken = Fault::Upstream.apply(stage.rig.lab(), isp(2))?;
    stage.rig.wait_out(isp(2))?;
    ensure_refused(&stage, 5005, "by `otherwise`")?;
    broken.heal()?;
    // A ping as well, where a policy speaks of it.
    let text = policies([("icmp = \"echo-request\"", "use = \"block\"")]);
    stage.reload(&format!("{ISP1_BY_DEFAULT}{text}"))?;
    for sender in [Client, Guest, Router] {
        for family in FAMILIES {
            let echo = Packet::new(stage.server(family, 4), PacketKind::Echo);
            let fates = stage.fates_of(sender, &[echo])?;
            ensure!(
                matches!(fates[0], Fate::Refused(_)),
                "{sender:?} {family}: {fates:?}"
            );
        }
    }
    Ok(())
}

pub(crate) fn weights_of_a_group_are_kept() -> Result<()> {
    let groups = "[group.cheap]\ntiers = [[{ uplink = \"isp1\", weight = 4 }, \"isp2\"]]\n";
    let list = [("dport = 5002", "use = \"cheap\"")];
    let stage = Stage::set(&format!("{ISP1_BY_DEFAULT}{groups}{}", policies(list)))?;
    for sender in [Client, Router] {
        for family in FAMILIES {
            let packets: Vec<_> = (0..400)
                .map(|n| Packet::udp(stage.server(family, n % 40), 5002))
                .collect();
            let fates = stage.fates_of(sender, &packets)?;
            let second = fates.iter().filter(|f| f.isp() == Some(isp(2))).count();
            let first = fates.iter().filter(|f| f.isp() == Some(isp(1))).count();
            // 80 of 400, and chance is that far off once in a million times.
            ensure!(
                first + second == 400 && (40..=125).contains(&second),
                "{sender:?} {family}: {first} and {second}"
            );
        }
    }
    // Each connection keeps what it got.
    let asks: Vec<_> = (0..40)
        .map(|n| Ask::new(Transport::Udp, stage.server(Family::V6, n)).port(5002))
        .collect();
    let mut held = open_all(stage.place(Client)?, asks)?;
    let first = ask_all(&mut held);
    ensure!(first.iter().all(|a| a.is_seen()), "{first:?}");
    ensure!(ask_all(&mut held) == first, "connections moved");
    let fates = stage.fates_of(
        Sender::Host(1),
        &[Packet::udp(stage.server(Family::V4, 1), 5008)],
    )?;
    ensure_over(&fates, isp(1), "what no policy takes")
}

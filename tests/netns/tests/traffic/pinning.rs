//! Every connection keeps the uplink that it started on.

use anyhow::{Result, ensure};
use uplinkd_lab::{
    Fault, Isp, LabSpec,
    traffic::{FlowRecord, TcpEvent, Transport, shares},
};
use uplinkd_netns_tests::{
    Answer, Ask, Rig,
    ask::{Conversation, ask_all, open_all},
    config, isp, servers,
};

use crate::flows::{all_over, conversations, figure, flows};

const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];
/// How many packets of all the flows together may be lost when the daemon starts for the first
/// time. None is needed to be; a busy machine's echo may just come too late to be counted.
const LOST_AT_START_MAX: usize = 2;

pub(crate) fn connections_stay_when_weights_change() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let mut held = hold(&rig, 50)?;
    let began: Vec<_> = ask_groups(&mut held);
    ensure!(
        began.iter().flatten().all(|a| a.isp().is_some()),
        "{began:?}"
    );
    for weights in [[1, 9], [9, 1], [3, 2]] {
        rig.reload(&config(&weights))?;
        let total = f64::from(weights[0] + weights[1]);
        let wanted = 100.0 * f64::from(weights[0]) / total;
        for (answers, began) in ask_groups(&mut held).iter().zip(&began) {
            ensure!(
                answers == began,
                "{weights:?}: {answers:?}\nbegan as {began:?}"
            );
        }
        let counted = shares(
            rig.lab().client(),
            Transport::Udp,
            &servers(rig.lab()),
            1500,
        )?;
        let first = counted.percent(isp(1));
        ensure!(
            (first - wanted).abs() < 5.0,
            "new ones by {weights:?}: {counted}"
        );
    }
    Ok(())
}

pub(crate) fn connections_stay_while_the_other_uplink_fails_and_returns() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let lab = rig.lab();
    let mut stable: Vec<Conversation> = Vec::new();
    for netns in [lab.client(), lab.router()] {
        for transport in BOTH {
            stable.extend(conversations(&rig, netns, transport, 25)?.first);
        }
    }
    let running = flows(&rig, lab.client(), Transport::Udp, 2)?;
    let streams = flows(&rig, lab.client(), Transport::Tcp, 2)?;
    let asked =
        |stable: &mut Vec<Conversation>, when: &str| all_over(&ask_all(stable), isp(1), when);
    for fault in [Fault::Silent, Fault::Carrier] {
        let broken = fault.apply(lab, isp(2))?;
        asked(&mut stable, "just broken")?;
        rig.wait_out(isp(2))?;
        asked(&mut stable, "the other is out")?;
        broken.heal()?;
        rig.wait_settled()?;
        asked(&mut stable, "the other is back")?;
    }
    for flow in running.first.into_iter().chain(streams.first) {
        undisturbed(&flow.stop()?, isp(1))?;
    }
    Ok(())
}

pub(crate) fn connections_older_than_the_daemon_stay() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[3, 2]))?;
    let lab = rig.lab();
    lab.router().set_sysctls(&[("net.ipv4.ip_forward", "1")])?;
    lab.router().nft(
        "table ip test_nat { chain post { type nat hook postrouting priority srcnat; \
         oifname \"wan*\" masquerade; }; }\n",
    )?;
    let mut held = hold(&rig, 40)?;
    let began = ask_groups(&mut held);
    // Before us, everything goes by main's best default.
    for answers in &began {
        all_over(answers, isp(1), "before the daemon")?;
    }
    let spec = |transport, n: usize| {
        let mut spec = uplinkd_lab::traffic::FlowSpec::new(transport, servers(lab)[n]);
        spec.every = std::time::Duration::from_millis(5);
        spec.reconnect = false;
        spec
    };
    let mut running = Vec::new();
    for (number, transport) in [
        (1, Transport::Udp),
        (2, Transport::Udp),
        (3, Transport::Tcp),
        (4, Transport::Tcp),
    ] {
        for netns in [lab.client(), lab.router()] {
            let begun = std::time::Instant::now();
            let flow = uplinkd_lab::traffic::Flow::start(netns, spec(transport, number))?;
            ensure!(
                flow.wait_for_answer(begun, uplinkd_netns_tests::EVENTUALLY)
                    .is_some()
            );
            running.push(flow);
        }
    }
    rig.start_daemon()?;
    rig.wait_settled()?;
    for (answers, began) in ask_groups(&mut held).iter().zip(&began) {
        ensure!(answers == began, "{answers:?}");
    }
    let mut lost = 0;
    for flow in running {
        let record = flow.stop()?;
        lost += record.lost();
        ensure!(
            never_over_another(&record, isp(1)),
            "a flow went over another uplink"
        );
        ensure!(
            record.events.iter().all(|e| e.1 == TcpEvent::Connected),
            "{:?}",
            record.events
        );
    }
    figure(&format!(
        "lost at the daemon's first start: {lost} packets of 8 flows of 200 per second"
    ));
    ensure!(lost <= LOST_AT_START_MAX, "{lost} lost at the first start");
    // New ones are balanced, beside the stranger's own translation.
    let counted = shares(
        rig.lab().client(),
        Transport::Udp,
        &servers(rig.lab()),
        1000,
    )?;
    ensure!(
        (counted.percent(isp(1)) - 60.0).abs() < 7.0 && counted.failed == 0,
        "{counted}"
    );
    Ok(())
}

/// Connections of every kind: forwarded and own, UDP and TCP, so many each.
fn hold(rig: &Rig, each: usize) -> Result<Vec<Vec<Conversation>>> {
    let servers = servers(rig.lab());
    let mut all = Vec::new();
    for netns in [rig.lab().client(), rig.lab().router()] {
        for transport in BOTH {
            let asks = (0..each).map(|n| Ask::new(transport, servers[n % servers.len()]));
            all.push(open_all(netns, asks)?);
        }
    }
    Ok(all)
}

fn ask_groups(held: &mut [Vec<Conversation>]) -> Vec<Vec<Answer>> {
    held.iter_mut().map(|group| ask_all(group)).collect()
}

/// Not one packet was lost, and all went over one uplink.
fn undisturbed(record: &FlowRecord, over: Isp) -> Result<()> {
    ensure!(
        record.lost() == 0,
        "{} of {} lost on {over}",
        record.lost(),
        record.samples.len()
    );
    ensure!(never_over_another(record, over), "a flow left {over}");
    ensure!(
        record.events.iter().all(|e| e.1 == TcpEvent::Connected),
        "{:?}",
        record.events
    );
    Ok(())
}

fn never_over_another(record: &FlowRecord, over: Isp) -> bool {
    record
        .samples
        .first()
        .is_none_or(|s| record.first_not_over(over, s.sent).is_none())
}

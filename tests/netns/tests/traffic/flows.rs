//! Connections that began on an uplink of the test's choice.

use std::io::Write;

use anyhow::{Result, ensure};
use uplinkd_lab::{
    Isp, Netns,
    traffic::{Flow, FlowSpec, Transport},
};
use uplinkd_netns_tests::{Answer, Ask, EVENTUALLY, Rig, ask::Conversation, isp, servers};

/// Connections are opened until enough are on each uplink. With two of five on the rarer one, this
/// many are practically always enough.
const TRIES_MAX: usize = 200;

/// Things by the uplink that they began on: isp1's first, then isp2's.
#[derive(Debug)]
pub(crate) struct ByUplink<T> {
    pub(crate) first: Vec<T>,
    pub(crate) second: Vec<T>,
}

/// Opens something until there are enough on each of the two uplinks; what is too much is dropped.
fn on_each<T>(
    each: usize,
    mut open: impl FnMut(usize) -> Result<(T, Option<Isp>)>,
) -> Result<ByUplink<T>> {
    let mut all = ByUplink {
        first: Vec::new(),
        second: Vec::new(),
    };
    for number in 0..TRIES_MAX {
        if all.first.len() >= each && all.second.len() >= each {
            return Ok(all);
        }
        let (opened, over) = open(number)?;
        let side = match over {
            Some(i) if i == isp(1) => &mut all.first,
            Some(i) if i == isp(2) => &mut all.second,
            other => anyhow::bail!("connection {number} began over {other:?}"),
        };
        if side.len() < each {
            side.push(opened);
        }
    }
    anyhow::bail!("no {each} connections on each uplink in {TRIES_MAX}")
}

/// Flows, so many on each uplink, all running when this returns. TCP flows do not connect again.
pub(crate) fn flows(
    rig: &Rig,
    netns: &Netns,
    transport: Transport,
    each: usize,
) -> Result<ByUplink<Flow>> {
    let servers = servers(rig.lab());
    on_each(each, |number| {
        let mut spec = FlowSpec::new(transport, servers[number % servers.len()]);
        spec.reconnect = false;
        let flow = Flow::start(netns, spec)?;
        let begun = std::time::Instant::now();
        ensure!(
            flow.wait_for_answer(begun, EVENTUALLY).is_some(),
            "a flow of {transport:?} does not begin: {:?}",
            flow.record().events
        );
        let over = flow.record().last_isp();
        Ok((flow, over))
    })
}

/// Conversations, so many on each uplink, from source ports that count up from `port` (0: any).
pub(crate) fn conversations(
    rig: &Rig,
    netns: &Netns,
    transport: Transport,
    each: usize,
) -> Result<ByUplink<Conversation>> {
    let servers = servers(rig.lab());
    on_each(each, |number| {
        let ask = Ask::new(transport, servers[number % servers.len()]);
        let mut conversation = ask.open(netns)?;
        let answer = conversation.ask();
        Ok((conversation, answer.isp()))
    })
}

/// A source port (with its destination) whose connection is on an uplink, and the connection.
pub(crate) fn known_port(
    rig: &Rig,
    netns: &Netns,
    transport: Transport,
    over: Isp,
    first: u16,
) -> Result<(Ask, Conversation)> {
    let to = servers(rig.lab())[0];
    for port in first..first + 100 {
        let ask = Ask::new(transport, to).from_port(port);
        let mut conversation = ask.open(netns)?;
        if conversation.ask().isp() == Some(over) {
            return Ok((ask, conversation));
        }
    }
    anyhow::bail!("no connection of a hundred began over {over}")
}

/// All answers came over one uplink.
pub(crate) fn all_over(answers: &[Answer], over: Isp, what: &str) -> Result<()> {
    let strays: Vec<_> = answers.iter().filter(|a| a.isp() != Some(over)).collect();
    ensure!(
        strays.is_empty(),
        "{what}: {} of {} not over {over}: {strays:?}",
        strays.len(),
        answers.len()
    );
    Ok(())
}

/// Shows a measured figure to who runs the tests. Nothing depends on it.
pub(crate) fn figure(text: &str) {
    let _ = writeln!(std::io::stdout(), "    {text}");
}

//! A line that works gets another address, another gateway, or loses its lease.

use std::{net::Ipv4Addr, time::Instant};

use anyhow::{Result, ensure};
use uplinkd_lab::{
    Isp,
    programs::{DhcpServer, Pool, Udhcpc},
    traffic::{Flow, FlowSpec, Transport},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{
    Ask, EVENTUALLY, Rig,
    ask::{Conversation, ask_all},
    isp, servers, within,
};

use crate::{
    clients::way,
    common::{
        LEASED, Way, ensure_carries, ensure_forgotten, ensure_over, ensure_untracked, ip_at,
        wait_out, wait_way, waiting,
    },
};

/// What runs over both lines while the first one moves.
pub(crate) struct Traffic {
    /// UDP and TCP over the second line, which nothing may happen to.
    steady: Vec<Flow>,
    /// UDP over the first, which goes on.
    moved: Flow,
    /// Connections over the first that say nothing in the meantime.
    idle: Vec<Conversation>,
}

fn flow_over(rig: &Rig, transport: Transport, over: Isp) -> Result<Flow> {
    for server in servers(rig.lab()) {
        let mut spec = FlowSpec::new(transport, server);
        spec.reconnect = false;
        let flow = Flow::start(rig.lab().client(), spec)?;
        let begun = flow.wait_for_answer(Instant::now(), EVENTUALLY);
        ensure!(begun.is_some(), "a flow of {transport:?} does not begin");
        if flow.record().last_isp() == Some(over) {
            return Ok(flow);
        }
    }
    anyhow::bail!("no flow began over {over}")
}

impl Traffic {
    pub(crate) fn start(rig: &Rig) -> Result<Self> {
        let steady = [Transport::Udp, Transport::Tcp].map(|t| flow_over(rig, t, isp(2)));
        let mut idle = Vec::new();
        for server in servers(rig.lab()) {
            let mut conversation = Ask::new(Transport::Udp, server).open(rig.lab().client())?;
            if conversation.ask().isp() == Some(isp(1)) {
                idle.push(conversation);
            }
        }
        ensure!(!idle.is_empty(), "nothing goes over {}", isp(1));
        Ok(Self {
            steady: steady.into_iter().collect::<Result<_>>()?,
            moved: flow_over(rig, Transport::Udp, isp(1))?,
            idle,
        })
    }

    /// The other line's never noticed; those of the moved line go on, with whatever address.
    fn judge(mut self) -> Result<()> {
        let now = Instant::now();
        let answered = self.moved.wait_for_answer(now, EVENTUALLY);
        ensure!(answered.is_some(), "the flow on the moved line is dead");
        let answers = ask_all(&mut self.idle);
        ensure!(answers.iter().all(|a| a.is_seen()), "{answers:?}");
        for flow in self.steady {
            // What was asked before a later question was answered will not be answered any more;
            // of the last ones of all nobody knows.
            let now = Instant::now();
            ensure!(
                flow.wait_for_answer(now, EVENTUALLY).is_some(),
                "it stopped"
            );
            let record = flow.stop()?;
            let before: Vec<_> = record.samples.iter().filter(|s| s.sent < now).collect();
            let lost = before.iter().filter(|s| s.answered.is_none()).count();
            ensure!(
                lost == 0 && record.last_isp() == Some(isp(2)),
                "{lost} of {} lost on the other line: {:?}",
                before.len(),
                record.outage_since(before[0].sent)
            );
        }
        Ok(())
    }
}

/// The line has moved while traffic ran over it: nothing is left of the old network.
pub(crate) fn judge(rig: &Rig, traffic: Traffic, before: &Pool, after: &Pool) -> Result<()> {
    wait_way(rig, isp(1), way(after), LEASED)?;
    // The way may be the new one before the old address goes: then that is another look of the daemon's.
    within("the old network is forgotten", EVENTUALLY, || {
        let forgotten =
            ensure_forgotten(rig, before.address.into(), before.gateway.map(Into::into));
        Ok(forgotten.is_ok())
    })?;
    within("the old address is tracked no more", EVENTUALLY, || {
        Ok(ensure_untracked(rig, before.address.into()).is_ok())
    })?;
    traffic.judge()?;
    ensure_over(rig, Family::V4, &[isp(1), isp(2)])?;
    ensure_untracked(rig, before.address.into())
}

/// The client takes the old address away before it asks for the new one.
pub(crate) fn under_traffic_with_a_gap() -> Result<()> {
    let rig = waiting()?;
    let (before, after) = (Pool::quarter(isp(1), 1), Pool::quarter(isp(1), 2));
    let mut server = DhcpServer::start(rig.lab(), isp(1), &before)?;
    let client = Udhcpc::start(rig.lab(), "wan1", 100)?;
    wait_way(&rig, isp(1), way(&before), LEASED)?;
    let traffic = Traffic::start(&rig)?;
    server.renumber(rig.lab(), &after)?;
    client.renew()?;
    judge(&rig, traffic, &before, &after)
}

/// The provider's router gets another address in the same network: connections keep theirs.
pub(crate) fn the_gateway_alone() -> Result<()> {
    let rig = waiting()?;
    let before = Pool::quarter(isp(1), 1);
    let other = Ipv4Addr::new(100, 64, 1, 100);
    let after = Pool {
        gateway: Some(other),
        ..before.clone()
    };
    let mut server = DhcpServer::start(rig.lab(), isp(1), &before)?;
    let client = Udhcpc::start(rig.lab(), "wan1", 100)?;
    wait_way(&rig, isp(1), way(&before), LEASED)?;
    let traffic = Traffic::start(&rig)?;
    let kept = flow_over(&rig, Transport::Tcp, isp(1))?;
    ip_at(&rig, isp(1), &format!("address add {other}/26 dev cust"))?;
    server.renumber(rig.lab(), &after)?;
    client.renew()?;
    ensure_carries(&rig, way(&after))?;
    let old = before.gateway.map(Into::into);
    ensure_forgotten(&rig, Ipv4Addr::UNSPECIFIED.into(), old)?;
    traffic.judge()?;
    let record = kept.stop()?;
    ensure!(
        record.last_isp() == Some(isp(1)) && record.events.len() == 1,
        "a connection of the address that stayed: {:?}",
        record.events
    );
    Ok(())
}

pub(crate) fn the_lease_is_lost_and_comes_back() -> Result<()> {
    let rig = waiting()?;
    let pool = Pool::quarter(isp(1), 1);
    let _server = DhcpServer::start(rig.lab(), isp(1), &pool)?;
    let client = Udhcpc::start(rig.lab(), "wan1", 100)?;
    wait_way(&rig, isp(1), way(&pool), LEASED)?;
    let traffic = Traffic::start(&rig)?;
    client.release()?;
    let line = wait_out(&rig, isp(1), Family::V4)?;
    ensure!(line.reason.contains("no address"), "{line:?}");
    ensure_over(&rig, Family::V4, &[isp(2)])?;
    ensure_forgotten(&rig, pool.address.into(), pool.gateway.map(Into::into))?;
    ensure_untracked(&rig, pool.address.into())?;
    traffic.judge()?;
    client.renew()?;
    ensure_carries(&rig, way(&pool))
}

/// A client that puts an address and no default route, or takes the route away and leaves the
/// address. That the line had a gateway once is no reason to use it for ever.
pub(crate) fn a_lease_without_a_gateway() -> Result<()> {
    let rig = waiting()?;
    let pool = Pool::quarter(isp(1), 1);
    let silent = Pool {
        gateway: None,
        ..pool.clone()
    };
    let mut server = DhcpServer::start(rig.lab(), isp(1), &silent)?;
    let client = Udhcpc::start(rig.lab(), "wan1", 100)?;
    rig.wait_for("its gateway is missed", LEASED, |s| {
        uplinkd_netns_tests::find_uplink(s, isp(1))
            .is_some_and(|u| !u.in_service && u.reason.contains("gateway"))
    })?;
    server.renumber(rig.lab(), &pool)?;
    client.renew()?;
    let way: Way = way(&pool);
    ensure_carries(&rig, way)
}

//! PPPoE by the real pppd against a real server. The session's interface has no gateway, comes and
//! goes with the session, and has another number each time.

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{
    LabSpec, Netns, delegation,
    plumbing::Plumber,
    programs::{PppoeClient, PppoeServer},
    traffic::{Shares, Transport},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{
    Answer, Ask, EVENTUALLY, Rig, config, find_line, isp, servers_of, within,
};

use crate::common::{FAMILIES, counted, ensure_over, told};

/// A session brings an address of IPv4 only.
const V4: [Family; 1] = [Family::V4];

/// Waits until the session has its address.
fn wait_session(client: &PppoeClient, router: &Netns, name: &str) -> Result<u32> {
    within("the session has its address", EVENTUALLY, || {
        let addresses = told(router, "ip", "-o -4 address")?;
        Ok(addresses
            .lines()
            .any(|l| l.contains(name) && l.contains("100.64.2.2")))
    })
    .with_context(|| client.log())?;
    Plumber::new(router)?.index(name)
}

/// What helps to understand a session that does not serve.
fn told_by(client: &PppoeClient, router: &Netns) -> String {
    let routes = told(router, "ip", "-4 route").unwrap_or_default();
    format!("{routes}{}", client.log())
}

pub(crate) fn a_session_is_an_uplink() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[1, 1]))?;
    let server = PppoeServer::start(rig.lab(), isp(2))?;
    let client = PppoeClient::start(rig.lab(), isp(2), "wan2")?;
    let router = rig.lab().router().clone();
    wait_session(&client, &router, "wan2").with_context(|| server.log())?;
    rig.start_daemon()?;
    rig.wait_settled()
        .with_context(|| told_by(&client, &router))?;
    let both = [isp(1), isp(2)];
    ensure_over(&rig, &V4, &both, "in session")?;
    // The provider is there and says nothing more: the echoes of PPP take seconds, ours do not.
    let broken = uplinkd_lab::Fault::Upstream.apply(rig.lab(), isp(2))?;
    rig.wait_out(isp(2))?;
    ensure_over(&rig, &V4, &[isp(1)], "dead beyond the gateway")?;
    broken.heal()?;
    rig.wait_settled()?;
    ensure_over(&rig, &V4, &both, "back again")
}

pub(crate) fn a_session_that_ends_and_begins_again() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[1, 1]))?;
    // The daemon is there first: the line appears later.
    rig.start_daemon()?;
    rig.wait_settled()?;
    let server = PppoeServer::start(rig.lab(), isp(2))?;
    rig.wait_out(isp(2))?;
    let router = rig.lab().router().clone();
    let mut indices = Vec::new();
    for round in 1..=3 {
        let client = PppoeClient::start(rig.lab(), isp(2), "wan2")?;
        indices.push(wait_session(&client, &router, "wan2").with_context(|| server.log())?);
        rig.wait_for(&format!("session {round} serves"), EVENTUALLY, |s| {
            s.settled && serves(s)
        })
        .with_context(|| client.log())?;
        let both = [isp(1), isp(2)];
        ensure_over(&rig, &V4, &both, &format!("session {round}"))?;
        drop(client);
        rig.wait_out(isp(2))?;
        ensure_over(&rig, &V4, &[isp(1)], &format!("after session {round}"))?;
    }
    indices.dedup();
    ensure!(
        indices.len() == 3,
        "the interface came back under the same number, so nothing was tried: {indices:?}"
    );
    Ok(())
}

/// Other clients than pppd's usual script give the next session the next free name.
pub(crate) fn a_session_comes_back_under_another_name() -> Result<()> {
    let file = config(&[1, 1]).replace("\"wan2\"", "\"ppp*\"");
    let mut rig = Rig::without_daemon(LabSpec::default(), &file)?;
    let server = PppoeServer::start(rig.lab(), isp(2))?;
    rig.start_daemon()?;
    rig.wait_out(isp(2))?;
    let router = rig.lab().router().clone();
    let both = [isp(1), isp(2)];
    for name in ["ppp0", "ppp1", "ppp0"] {
        let client = PppoeClient::start(rig.lab(), isp(2), name)?;
        wait_session(&client, &router, name).with_context(|| server.log())?;
        rig.wait_for(&format!("{name} serves"), EVENTUALLY, |s| {
            let uplink = uplinkd_netns_tests::find_uplink(s, isp(2));
            s.settled && uplink.is_some_and(|u| u.in_service && u.interface == name)
        })
        .with_context(|| told_by(&client, &router))?;
        ensure_over(&rig, &V4, &both, name)?;
        drop(client);
        rig.wait_out(isp(2))?;
        ensure_over(&rig, &V4, &[isp(1)], &format!("after {name}"))?;
    }
    Ok(())
}

/// Of IPv6 the session brings a link-local address, and the provider delegates a prefix.
pub(crate) fn a_session_has_ipv6_by_a_delegated_prefix() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[1, 1]))?;
    let server = PppoeServer::start(rig.lab(), isp(2))?;
    let client = PppoeClient::start(rig.lab(), isp(2), "wan2")?;
    let router = rig.lab().router().clone();
    wait_session(&client, &router, "wan2").with_context(|| server.log())?;
    within(
        "the session has a default route of IPv6",
        EVENTUALLY,
        || {
            let routes = told(&router, "ip", "-6 route show default dev wan2")?;
            Ok(!routes.is_empty())
        },
    )
    .with_context(|| told_by(&client, &router))?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    let has_ipv6 = |s: &uplinkd_api::Status| {
        let line = find_line(s, isp(2), Family::V6);
        s.settled && line.is_some_and(|l| l.in_service)
    };
    ensure!(!has_ipv6(&rig.status()?), "a link-local address is no line");
    ensure_over(&rig, &V4, &[isp(1), isp(2)], "without a prefix")?;
    rig.lab().delegate(isp(2), isp(2).delegated())?;
    rig.wait_for("IPv6 serves", EVENTUALLY, has_ipv6)
        .with_context(|| told_by(&client, &router))?;
    for transport in [Transport::Udp, Transport::Tcp] {
        let shares = counted(&rig, &router, transport, Family::V6)?;
        let is_shared = isp_shares(&shares).iter().all(|n| *n > 0);
        ensure!(
            shares.failed == 0 && shares.elsewhere == 0 && is_shared,
            "the router with a prefix: {shares}"
        );
    }
    let own = delegation::address(isp(2).delegated(), 2).addr();
    let to = servers_of(rig.lab(), Family::V6)[0];
    let answer = Ask::new(Transport::Tcp, to)
        .from(own)
        .once(rig.lab().client())?;
    ensure!(answer == Answer::Seen(own), "{own}: {answer:?}");
    drop(client);
    rig.wait_out(isp(2))?;
    ensure_over(&rig, &FAMILIES, &[isp(1)], "after the session")
}

fn isp_shares(shares: &Shares) -> [usize; 2] {
    [1, 2].map(|n| shares.of(isp(n)))
}

fn serves(status: &uplinkd_api::Status) -> bool {
    uplinkd_netns_tests::find_uplink(status, isp(2)).is_some_and(|u| u.in_service)
}

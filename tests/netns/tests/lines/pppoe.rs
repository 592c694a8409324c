//! PPPoE by the real pppd against a real server. The session's interface has no gateway, comes and
//! goes with the session, and has another number each time.

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{
    LabSpec, Netns,
    plumbing::Plumber,
    programs::{PppoeClient, PppoeServer},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, isp, within};

use crate::common::{ensure_over, told};

/// IPCP gives an address of IPv4 only.
const V4: [Family; 1] = [Family::V4];

/// Waits until the session has its address.
fn wait_session(client: &PppoeClient, router: &Netns) -> Result<u32> {
    within("the session has its address", EVENTUALLY, || {
        let addresses = told(router, "ip", "-o -4 address")?;
        Ok(addresses
            .lines()
            .any(|l| l.contains("wan2") && l.contains("100.64.2.2")))
    })
    .with_context(|| client.log())?;
    Plumber::new(router)?.index("wan2")
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
    wait_session(&client, &router).with_context(|| server.log())?;
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
        indices.push(wait_session(&client, &router).with_context(|| server.log())?);
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

fn serves(status: &uplinkd_api::Status) -> bool {
    uplinkd_netns_tests::find_uplink(status, isp(2)).is_some_and(|u| u.in_service)
}

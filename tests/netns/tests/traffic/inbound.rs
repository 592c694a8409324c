//! Connections from outside are answered by the uplink that they came in on.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use uplinkd_lab::{
    Isp, LabSpec,
    plumbing::{LabRoute, Plumber, STATIC},
    traffic::{PORT, Servers, Transport},
};
use uplinkd_model::{Family, Route, RouteVia, Rule, Step, TableId, ids::Proto};
use uplinkd_netns_tests::{
    Ask, Rig,
    ask::{Conversation, ask_all, open_all},
    config, isp, servers,
};

/// The port that the test's own table leads to the host in the LAN.
const FORWARDED: u16 = 9100;
/// The port that leads to a host behind that one.
const FORWARDED_FAR: u16 = 9200;
const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];
/// How many connections of each kind.
const EACH: usize = 100;

pub(crate) fn answered_by_the_uplink_they_came_in_on() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let _listening = listen(&rig)?;
    let mut held = Vec::new();
    for uplink in [isp(1), isp(2)] {
        held.extend(call_in(&rig, own(uplink))?);
    }
    // Other weights are as good as a new share of the answers, if they were shared.
    rig.reload(&config(&[1, 200]))?;
    all_answered(&mut held, "after other weights")
}

pub(crate) fn answered_while_the_uplink_is_out_of_service() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let _listening = listen(&rig)?;
    let mut early = call_in(&rig, own(isp(1)))?;
    // Only the targets are out of reach: the line works, but nobody can know.
    let isp1 = rig.lab().isp(isp(1));
    isp1.nft(
        "table ip test_targets { chain forward { type filter hook forward priority 0; \
         ip daddr { 198.18.0.1, 198.18.0.2 } drop; }; }\n",
    )?;
    rig.wait_out_of(isp(1), Family::V4)?;
    all_answered(&mut early, "from before, out of service")?;
    let mut late = call_in(&rig, own(isp(1)))?;
    // What goes out uses the other one all the while, also what was not asked for by anybody inside.
    let asks = servers(rig.lab())
        .into_iter()
        .take(20)
        .map(|to| Ask::new(Transport::Udp, to));
    let answers = ask_all(&mut open_all(rig.lab().client(), asks.collect::<Vec<_>>())?);
    crate::flows::all_over(&answers, isp(2), "new outgoing ones")?;
    isp1.nft("delete table ip test_targets\n")?;
    rig.wait_settled()?;
    all_answered(&mut early, "from before, back in service")?;
    all_answered(&mut late, "from meanwhile, back in service")
}

pub(crate) fn older_than_the_daemon_are_answered_as_before() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[3, 2]))?;
    rig.lab()
        .router()
        .set_sysctls(&[("net.ipv4.ip_forward", "1")])?;
    let _listening = listen(&rig)?;
    // Main's best default leads back out by the first uplink, so only its callers get answers yet.
    let mut held = call_in(&rig, own(isp(1)))?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    all_answered(&mut held, "from before the daemon")
}

pub(crate) fn networks_that_are_routed_to_us_are_answered_too() -> Result<()> {
    let spec = LabSpec {
        source_validation: false,
        ..LabSpec::default()
    };
    let mut rig = Rig::without_daemon(spec, &config(&[3, 2]))?;
    let lab = rig.lab();
    // A network of the first provider's, which no interface of the router has.
    let route = |gateway: [u8; 4]| -> Result<LabRoute> {
        Ok(LabRoute {
            destination: "203.0.113.0/24".parse()?,
            gateway: gateway.into(),
            metric: None,
            protocol: STATIC,
        })
    };
    Plumber::new(lab.internet())?.add_routes("isp1", &[route([10, 255, 1, 1])?])?;
    Plumber::new(lab.isp(isp(1)))?.add_routes("cust", &[route([100, 64, 1, 2])?])?;
    lab.isp(isp(2)).nft(
        "table ip test_validation { chain pre { type filter hook prerouting priority raw; \
         iifname cust ip saddr 203.0.113.0/24 drop; }; }\n",
    )?;
    Plumber::new(lab.router())?.add_addresses("lo", &["203.0.113.9/32".parse()?])?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    let _listening = listen(&rig)?;
    let mut held = call_port(&rig, [203, 0, 113, 9].into(), PORT)?;
    held.extend(call_port(&rig, [203, 0, 113, 10].into(), FORWARDED)?);
    rig.reload(&config(&[1, 200]))?;
    all_answered(&mut held, "after other weights")
}

pub(crate) fn a_host_behind_a_strangers_table_is_reached() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let _listening = listen(&rig)?;
    Plumber::new(rig.lab().client())?.add_addresses("lo", &["10.99.0.5/32".parse()?])?;
    rig.lab().router().nft(&format!(
        "table ip test_dnat_far {{ chain pre {{ type nat hook prerouting priority dstnat; \
         iifname \"wan*\" meta l4proto {{ tcp, udp }} th dport {FORWARDED_FAR} \
         dnat to 10.99.0.5:{PORT}; }}; }}\n"
    ))?;
    // As VPN software does it: a table of its own, and a rule behind ours.
    let (table, proto) = (TableId(500), Proto(4));
    let network: IpNet = "10.99.0.0/16".parse()?;
    let lan = rig
        .glance()?
        .link("lan0")
        .context("no lan0")?
        .device
        .clone();
    rig.execute(vec![
        Step::AddRoute(Route {
            table,
            destination: network,
            metric: 0,
            via: RouteVia::Device {
                device: lan,
                gateway: Some([10, 0, 0, 2].into()),
            },
            source: None,
            proto,
        }),
        Step::AddRule(Rule {
            to: Some(network),
            ..Rule::lookup(Family::V4, 10_000, table, proto)
        }),
    ])?;
    for uplink in [isp(1), isp(2)] {
        let mut held = call_port(&rig, own(uplink), FORWARDED_FAR)?;
        all_answered(&mut held, "again")?;
    }
    Ok(())
}

/// Servers on the router and on the host in the LAN, the latter behind a port forwarding of the
/// test's own.
fn listen(rig: &Rig) -> Result<[Servers; 2]> {
    rig.lab().router().nft(&format!(
        "table ip test_dnat {{ chain pre {{ type nat hook prerouting priority dstnat; \
         iifname \"wan*\" meta l4proto {{ tcp, udp }} th dport {FORWARDED} \
         dnat to 10.0.0.2:{PORT}; }}; }}\n"
    ))?;
    Ok([
        Servers::start(rig.lab().router(), PORT)?,
        Servers::start(rig.lab().client(), PORT)?,
    ])
}

/// The router's address on an uplink.
fn own(uplink: Isp) -> IpAddr {
    uplink.router(Family::V4).addr()
}

/// Connections from many hosts in the internet to an address of the router, to itself and to the
/// host in the LAN, all answered.
fn call_in(rig: &Rig, to: IpAddr) -> Result<Vec<Conversation>> {
    let mut all = call_port(rig, to, PORT)?;
    all.extend(call_port(rig, to, FORWARDED)?);
    Ok(all)
}

/// The same to one port. The providers drop what does not bear an address of theirs, so an answer
/// that leaves by the wrong line is lost.
fn call_port(rig: &Rig, to: IpAddr, port: u16) -> Result<Vec<Conversation>> {
    let callers: Vec<IpAddr> = servers(rig.lab());
    let mut all = Vec::new();
    for transport in BOTH {
        let ask = |n: usize| {
            let ask = Ask::new(transport, to).port(port);
            ask.from(callers[n % callers.len()])
        };
        let mut some = open_all(rig.lab().internet(), (0..EACH).map(ask))?;
        all_answered(&mut some, &format!("{transport:?} to {to} port {port}"))?;
        all.extend(some);
    }
    Ok(all)
}

fn all_answered(held: &mut [Conversation], what: &str) -> Result<()> {
    let answers = ask_all(held);
    let lost: Vec<_> = answers.iter().filter(|a| !a.is_seen()).collect();
    ensure!(
        lost.is_empty(),
        "{what}: {} of {} lost: {:?}",
        lost.len(),
        answers.len(),
        lost[0]
    );
    Ok(())
}

//! What these tests ask again and again: which gateway an uplink has, whether it carries, and
//! whether anything is left of what it had before.

use std::{net::IpAddr, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use ipnet::{IpNet, Ipv6Net};
use uplinkd_api::{Status, UplinkStatus};
use uplinkd_kernel::Kernel;
use uplinkd_lab::{
    Isp, LabSpec, Netns,
    addresses::LINK_LOCAL_GATEWAY,
    traffic::{Transport, shares},
};
use uplinkd_model::{Connection, Family, NexthopKind, RouteVia};
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, find_line, isp, servers_of};

/// Longer than any client here takes to get its lease; what is asked is whether it is followed.
pub(crate) const LEASED: Duration = Duration::from_secs(20);
/// More connections than any test makes.
const CONNECTIONS_MAX: usize = 10_000;

/// Two uplinks, probed so that a machine which is busy with several laboratories at a time does not
/// take a late answer for a lost one.
pub(crate) fn file() -> String {
    config(&[1, 1])
        .replace("interval = \"100ms\"", "interval = \"200ms\"")
        .replace("timeout = \"100ms\"", "timeout = \"500ms\"")
        .replace("rise = 5", "rise = 2")
}

/// A router whose first line is bare, whose second is as ever, and no daemon yet.
pub(crate) fn bare() -> Result<Rig> {
    let spec = LabSpec {
        bare: 1,
        ..LabSpec::default()
    };
    Rig::without_daemon(spec, &file())
}

/// The same with the daemon running, which waits for the first line.
pub(crate) fn waiting() -> Result<Rig> {
    let mut rig = bare()?;
    rig.start_daemon()?;
    rig.wait_for("isp2 serves alone", EVENTUALLY, |s| {
        let is_in = |n, family| find_line(s, isp(n), family).is_some_and(|u| u.in_service);
        s.settled && is_in(2, Family::V4) && is_in(2, Family::V6) && !is_in(1, Family::V4)
    })?;
    Ok(rig)
}

/// Runs a command of `ip` in the router, as a script or a person does.
pub(crate) fn ip(rig: &Rig, line: &str) -> Result<()> {
    uplinkd_lab::programs::ip(rig.lab().router(), line)
}

/// The same at the provider's end of a line.
pub(crate) fn ip_at(rig: &Rig, isp: Isp, line: &str) -> Result<()> {
    uplinkd_lab::programs::ip(rig.lab().isp(isp), line)
}

/// Where a line is to lead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// The address, or the network that it is in.
    pub(crate) address: IpNet,
    /// The gateway; none on a point-to-point line.
    pub(crate) gateway: Option<IpAddr>,
}

impl Way {
    pub(crate) fn new(address: impl Into<IpAddr>, gateway: impl Into<IpAddr>) -> Self {
        Self {
            address: address.into().into(),
            gateway: Some(gateway.into()),
        }
    }

    /// By any address of an IPv6 network, and the gateway that providers advertise.
    pub(crate) fn advertised(network: Ipv6Net) -> Self {
        Self {
            address: network.into(),
            gateway: Some(LINK_LOCAL_GATEWAY),
        }
    }

    pub(crate) fn family(self) -> Family {
        Family::of_net(self.address)
    }

    fn is(self, line: &UplinkStatus) -> bool {
        let mut addresses = line
            .addresses
            .iter()
            .filter_map(|a| a.parse::<IpNet>().ok());
        line.in_service
            && line.gateway == self.gateway
            && addresses.any(|a| self.address.contains(&a.addr()))
    }
}

/// Waits until an uplink serves by a way, and the kernel is settled.
pub(crate) fn wait_way(rig: &Rig, isp: Isp, way: Way, limit: Duration) -> Result<Status> {
    let what = format!("{isp} serves by {way:?}");
    let found = rig.wait_for(&what, limit, |s| {
        s.settled && find_line(s, isp, way.family()).is_some_and(|u| way.is(u))
    });
    found.with_context(|| picture(rig))
}

/// Waits until an uplink is out in a family; the kernel is settled then.
pub(crate) fn wait_out(rig: &Rig, isp: Isp, family: Family) -> Result<UplinkStatus> {
    let what = format!("{isp} is out for {family}");
    let status = rig.wait_for(&what, LEASED, |s| {
        s.settled && find_line(s, isp, family).is_some_and(|u| !u.in_service)
    });
    let status = status.with_context(|| picture(rig))?;
    let line = find_line(&status, isp, family).context("no such line")?;
    Ok(line.clone())
}

/// New connections of a family use just these lines, from the LAN and from the router, and none
/// fails.
pub(crate) fn ensure_over(rig: &Rig, family: Family, lines: &[Isp]) -> Result<()> {
    let lab = rig.lab();
    let servers = servers_of(lab, family);
    for from in [lab.client(), lab.router()] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let counted = shares(from, transport, &servers, 60)?;
            let is_right = lab
                .isps()
                .all(|i| (counted.of(i) > 5) == lines.contains(&i));
            ensure!(
                counted.failed == 0 && counted.elsewhere == 0 && is_right,
                "{} {transport:?} {family}: {counted}, not over {lines:?}\n{}",
                from.name(),
                picture(rig)
            );
        }
    }
    Ok(())
}

/// The first line serves by a way, and both lines carry.
pub(crate) fn ensure_carries(rig: &Rig, way: Way) -> Result<()> {
    wait_way(rig, isp(1), way, LEASED)?;
    ensure_over(rig, way.family(), &[isp(1), isp(2)])
}

/// Nothing of ours in the kernel speaks of an address or gateway of old: no rule, no nexthop, no
/// route.
pub(crate) fn ensure_forgotten(rig: &Rig, address: IpAddr, gateway: Option<IpAddr>) -> Result<()> {
    let found = rig.dump()?;
    let of_address = |net: &IpNet| net.addr() == address;
    for rule in &found.rules {
        ensure!(
            !rule.from.as_ref().is_some_and(of_address),
            "still there: {rule}"
        );
    }
    for nexthop in found.nexthops.values() {
        if let NexthopKind::Single { gateway: by, .. } = &nexthop.kind {
            ensure!(
                gateway.is_none() || *by != gateway,
                "still there: {nexthop}"
            );
        }
    }
    for route in &found.routes {
        let by = match &route.via {
            RouteVia::Device { gateway, .. } => *gateway,
            RouteVia::Nexthop(_) | RouteVia::Prohibit | RouteVia::Other => None,
        };
        ensure!(
            route.source != Some(address) && (gateway.is_none() || by != gateway),
            "still there: {route}"
        );
    }
    Ok(())
}

/// No connection of an address of old is tracked any more.
pub(crate) fn ensure_untracked(rig: &Rig, address: IpAddr) -> Result<()> {
    let left = connections_of(rig, address)?;
    ensure!(
        left.is_empty(),
        "{} connections of {address} are still tracked: {:?} …",
        left.len(),
        left[0]
    );
    Ok(())
}

/// Connections that use an address of the router, probes among them, as long as they are tracked.
pub(crate) fn connections_of(rig: &Rig, address: IpAddr) -> Result<Vec<Connection>> {
    let all = rig.in_router(|| Ok(Kernel::open()?.connections(u32::MAX, CONNECTIONS_MAX)?))?;
    ensure!(all.complete, "too many connections");
    let uses = |c: &Connection| c.original.source == address || c.reply.destination == address;
    Ok(all.list.into_iter().filter(uses).collect())
}

/// What the router's kernel says, for the message of a test that fails.
pub(crate) fn picture(rig: &Rig) -> String {
    let mut text = String::new();
    for line in [
        "-br address",
        "-4 route show table all default",
        "-6 route show table all default",
        "nexthop",
    ] {
        let said = told(rig.lab().router(), line).unwrap_or_else(|e| format!("{e:#}"));
        text.push_str(&format!("$ ip {line}\n{said}"));
    }
    text
}

/// What `ip` says.
pub(crate) fn told(netns: &Netns, line: &str) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(line.split_whitespace());
    let output = netns.output(command, "", Duration::from_secs(10))?;
    ensure!(output.status.success(), "`ip {line}`: {}", output.stderr);
    Ok(output.stdout)
}

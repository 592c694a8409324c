//! A router with fifty uplinks, and hosts behind each of them that answer.

use std::{fmt::Write as _, fs, net::Ipv4Addr, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{
    Ipv6, Lab, LabSpec, Netns, Places, RouterDaemon,
    plumbing::{LabRoute, Plug, Plumber, STATIC, connect},
};

/// How many uplinks, and hosts behind each: one question a second to each of 4,000.
pub(super) const UPLINKS: u8 = 50;
pub(super) const TARGETS: u8 = 80;
pub(super) const ALL: usize = UPLINKS as usize * TARGETS as usize;

/// How long everything may take to be up.
const READY: Duration = Duration::from_secs(60);

/// The router and everybody behind its uplinks.
pub(super) struct Field {
    pub(super) lab: Lab,
    _far: Netns,
}

/// The name of an uplink's interface, from 1.
pub(super) fn device(uplink: u8) -> String {
    format!("up{uplink}")
}

/// A host behind an uplink, both from 1.
pub(super) fn host(uplink: u8, target: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, uplink, target)
}

impl Field {
    pub(super) fn build() -> Result<Self> {
        let lab = Lab::build(LabSpec {
            uplinks: 1,
            servers: 1,
            ipv6: Ipv6::Absent,
            ..LabSpec::default()
        })?;
        let far = Netns::new("far")?;
        far.set_sysctls(&[
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
        ])?;
        for n in 1..=UPLINKS {
            let (near, end) = (device(n), format!("cust{n}"));
            let index = 1000 + u32::from(n);
            connect(
                Plug {
                    netns: lab.router(),
                    name: &near,
                    index,
                },
                Plug {
                    netns: &far,
                    name: &end,
                    index: 0,
                },
            )?;
            let address = |last| Ipv4Addr::new(10, 64, n, last);
            let net = |last| ipnet::Ipv4Net::new(address(last), 24).map(Into::into);
            let mut router = Plumber::new(lab.router())?;
            router.add_addresses(&near, &[net(2)?])?;
            // Whoever is not bound to the uplink leaves by it as well.
            router.add_routes(
                &near,
                &[LabRoute {
                    destination: ipnet::Ipv4Net::new(host(n, 0), 24)?.into(),
                    gateway: address(1).into(),
                    metric: None,
                    protocol: STATIC,
                }],
            )?;
            Plumber::new(&far)?.add_addresses(&end, &[net(1)?])?;
        }
        Plumber::new(&far)?
            .own_network(ipnet::Ipv4Net::new(Ipv4Addr::new(198, 18, 0, 0), 15)?.into())?;
        Ok(Self { lab, _far: far })
    }

    /// What the daemon is told.
    pub(super) fn config(more: &str) -> String {
        let mut text = String::from("[reserve]\nmark_uplink_bits = 6\n");
        text.push_str(more);
        for n in 1..=UPLINKS {
            let hosts: Vec<_> = (1..=TARGETS)
                .map(|k| format!("\"icmp:{}\"", host(n, k)))
                .collect();
            let _ = write!(
                text,
                "[uplink.u{n}]\ninterface = \"{}\"\n\
                 [uplink.u{n}.ipv4]\ngateway = \"10.64.{n}.1\"\n\
                 [uplink.u{n}.ipv6]\nuse = false\n\
                 [uplink.u{n}.probe]\ntargets = [{}]\n",
                device(n),
                hosts.join(", ")
            );
        }
        text
    }

    /// Starts the daemon and waits until all uplinks are up.
    pub(super) fn start(&self, uplinkd: &Path, config: &str) -> Result<(RouterDaemon, Places)> {
        let places = Places::new(&self.lab)?;
        places.write_config(config)?;
        let mut command = places.command(uplinkd);
        command.arg("run");
        let daemon = RouterDaemon::start_command(&self.lab, &places, command)?;
        daemon.wait_until("all uplinks are up", READY, || {
            let log = daemon.log();
            (1..=UPLINKS)
                .all(|n| log.contains(&format!("uplink u{n} (IPv4) went from unknown to up")))
        })?;
        Ok((daemon, places))
    }

    /// Echo requests sent and answers received by the router until now.
    pub(super) fn echoes(&self) -> Result<(u64, u64)> {
        let text = self.lab.router().run(|| {
            fs::read_to_string("/proc/thread-self/net/snmp").context("cannot read the counters")
        })?;
        let mut lines = text.lines().filter_map(|l| l.strip_prefix("Icmp: "));
        let (names, values) = lines.next().zip(lines.next()).context("no ICMP counters")?;
        let value = |name: &str| -> Result<u64> {
            let index = names.split(' ').position(|n| n == name);
            let value = index.and_then(|n| values.split(' ').nth(n));
            value
                .context("no such ICMP counter")?
                .parse()
                .context("no number")
        };
        Ok((value("OutEchos")?, value("InEchoReps")?))
    }

    /// Runs a short program in the router and returns what it said on both streams.
    pub(super) fn run(&self, command: Command, input: &str) -> Result<(String, String)> {
        let output = self
            .lab
            .router()
            .output(command, input, Duration::from_secs(120))?;
        ensure!(
            output.status.code().is_some(),
            "it was killed: {}",
            output.stderr
        );
        Ok((output.stdout, output.stderr))
    }
}

//! Routers to measure: each in a laboratory of its own, with what makes it a router.

use std::{
    fmt,
    fmt::Write as _,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use uplinkd_lab::{Isp, Lab, LabSpec, Places, RouterDaemon};
use uplinkd_model::Family;

use super::{
    door::{self, Door},
    wish::{FEW, Policies, destinations, led_to},
};
use crate::bench::program::Programs;

/// How long a router may take until it does what it should.
const READY_MAX: Duration = Duration::from_secs(60);
/// A program that makes routes and loads rules may take so long.
const SET_UP_MAX: Duration = Duration::from_secs(60);

/// What makes a router a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Drops everything at its door, so that what is left is the work of the sender.
    Floor,
    /// Two uplinks of which one carries everything, and a masquerade: no policies, nothing pinned.
    Masquerade,
    /// uplinkd.
    Uplinkd {
        /// How many uplinks.
        uplinks: usize,
        /// Its policies.
        policies: Policies,
    },
    /// The usual list: one rule of nft for each policy, marks kept by connection, two uplinks.
    List(Policies),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Floor => f.write_str("the sender alone"),
            Self::Masquerade => f.write_str("masquerade alone"),
            Self::Uplinkd { uplinks, policies } => {
                write!(f, "uplinkd, {uplinks} uplinks, {policies}")
            }
            Self::List(policies) => write!(f, "rule list, {policies}"),
        }
    }
}

impl Kind {
    /// How many uplinks its laboratory has.
    fn uplinks(self) -> usize {
        match self {
            Self::Floor | Self::Masquerade | Self::List(_) => 2,
            Self::Uplinkd { uplinks, .. } => uplinks,
        }
    }

    /// Its policies.
    pub(super) fn policies(self) -> Policies {
        match self {
            Self::Floor | Self::Masquerade => Policies::None,
            Self::Uplinkd { policies, .. } | Self::List(policies) => policies,
        }
    }
}

/// A router at work. What reaches its providers is counted and dropped there.
pub(super) struct Router {
    pub(super) kind: Kind,
    pub(super) door: Door,
    /// Killed when dropped.
    daemon: Option<RouterDaemon>,
    /// Kept so long as the router is.
    _lab: Lab,
}

impl Router {
    /// Builds it and waits until it leads traffic as its policies say.
    ///
    /// # Errors
    /// When it does not; with what its daemon said.
    pub(super) fn start(kind: Kind, family: Family, programs: &Programs) -> Result<Self> {
        let spec = LabSpec {
            uplinks: kind.uplinks(),
            ..LabSpec::default()
        };
        let lab = Lab::build(spec)?;
        let daemon = match kind {
            Kind::Floor => {
                lab.router().nft(door::CLOSED)?;
                None
            }
            Kind::Masquerade => {
                shell(&lab, FORWARDING)?;
                lab.router()
                    .nft(&format!("table inet plain {{\n{MASQUERADE}}}\n"))?;
                None
            }
            Kind::Uplinkd { uplinks, policies } => {
                let program = programs.uplinkd.as_deref().context("there is no uplinkd")?;
                let places = Places::new(&lab)?;
                let config = head(uplinks) + &policies.to_toml(family);
                places.write_config(&config)?;
                Some(RouterDaemon::start(&lab, &places, program, &["run"], &[])?)
            }
            Kind::List(policies) => {
                shell(&lab, &(FORWARDING.to_owned() + &list_routes()))?;
                lab.router().nft(&rule_list(policies, family))?;
                None
            }
        };
        let door = Door::open(&lab)?;
        let router = Self {
            kind,
            door,
            daemon,
            _lab: lab,
        };
        if kind != Kind::Floor {
            router.wait_until_ready(family)?;
        }
        Ok(router)
    }

    fn wait_until_ready(&self, family: Family) -> Result<()> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            match self.try_out(family) {
                Ok(()) => return Ok(()),
                Err(e) if Instant::now() >= deadline => {
                    let said = self.daemon.as_ref().map(RouterDaemon::log_tail);
                    return Err(e.context(format!("{}\n{}", self.kind, said.unwrap_or_default())));
                }
                Err(_) => thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Sends a packet to each of a few destinations and looks by which line it comes.
    fn try_out(&self, family: Family) -> Result<()> {
        const EACH: u64 = 20;
        self.door.forget_connections()?;
        let before = self.door.arrived()?;
        for destination in destinations(family, FEW) {
            self.door.send_few(destination, EACH)?;
        }
        let arrived: Vec<_> = self
            .door
            .arrived()?
            .into_iter()
            .zip(before)
            .map(|(a, b)| a - b)
            .collect();
        let all = EACH * FEW as u64;
        // Probes come on top of what was sent, and are few.
        let is_about = |count: u64, expected: u64| (expected..expected + all / 10).contains(&count);
        ensure!(
            is_about(arrived.iter().sum(), all),
            "of {all} packets {arrived:?} arrived"
        );
        if self.kind.policies() == Policies::None {
            return Ok(());
        }
        for (number, count) in (1..).zip(&arrived) {
            let led = (0..FEW).filter(|place| led_to(*place) == number).count() as u64 * EACH;
            ensure!(
                is_about(*count, led),
                "of {led} packets for isp{number} {count} went there"
            );
        }
        Ok(())
    }
}

/// The file of a router with so many uplinks, without policies.
pub(super) fn head(uplinks: usize) -> String {
    let mut text = "lan = [\"lan0\"]\n\n\
                    [probe]\ntargets = [\"gateway\"]\ninterval = \"1s\"\n"
        .to_owned();
    for isp in (1..=uplinks).filter_map(Isp::new) {
        let _ = write!(
            text,
            "\n[uplink.{isp}]\ninterface = \"{}\"\n",
            isp.interface()
        );
    }
    text
}

/// As plain routers are set up.
const FORWARDING: &str = "echo 1 > /proc/sys/net/ipv4/ip_forward\n\
                          echo 1 > /proc/sys/net/ipv6/conf/all/forwarding\n";

const MASQUERADE: &str = "  chain postrouting {\n    \
                          type nat hook postrouting priority srcnat;\n    \
                          oifname \"wan*\" masquerade\n  }\n";

fn shell(lab: &Lab, script: &str) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]);
    let output = lab.router().output(command, "", SET_UP_MAX)?;
    if !output.status.success() {
        bail!("cannot set the router up: {}", output.stderr.trim());
    }
    Ok(())
}

/// A table and a rule for each uplink, as in every recipe.
fn list_routes() -> String {
    let mut script = String::new();
    for isp in (1..=2).filter_map(Isp::new) {
        let (number, device) = (isp.number(), isp.interface());
        for (family, flag) in [(Family::V4, "-4"), (Family::V6, "-6")] {
            let gateway = isp.gateway(family).addr();
            let _ = write!(
                script,
                "ip {flag} route add default via {gateway} dev {device} table 10{number}\n\
                 ip {flag} rule add fwmark {number} lookup 10{number}\n"
            );
        }
    }
    script
}

/// The policies as people write them down: established connections keep their mark, and new ones go
/// through the list until a rule fits.
fn rule_list(policies: Policies, family: Family) -> String {
    let word = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let mut text = "table inet rules {\n  chain prerouting {\n    \
                    type filter hook prerouting priority mangle;\n    \
                    ct mark != 0 meta mark set ct mark accept\n"
        .to_owned();
    for (place, destination) in policies.destinations(family).enumerate() {
        let mark = led_to(place);
        let _ = writeln!(
            text,
            "    {word} daddr {destination} meta mark set {mark} ct mark set {mark} accept"
        );
    }
    text + "  }\n" + MASQUERADE + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_list_has_a_rule_for_each_policy() {
        let text = rule_list(Policies::Addresses(FEW), Family::V4);
        assert_eq!(text.matches("ip daddr").count(), FEW);
        assert_eq!(text.matches("ct mark set 2").count(), FEW / 2);
    }
}

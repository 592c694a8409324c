//! Who is compared, each set up as well as we know how for the same job: share new connections 3:2
//! between two lines, masquerade them, and take over when one line dies.

use std::{fmt, fs, net::Ipv4Addr, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Serialize, Serializer};
use uplinkd_lab::{Fault, Isp, Lab, Places, RouterDaemon, plumbing::Plumber};
use uplinkd_model::Family;

use super::program::Programs;

/// One of PolyWAN's default targets that the laboratory's internet lacks.
const POLYWAN_FOURTH_TARGET: Ipv4Addr = Ipv4Addr::new(208, 67, 222, 222);
/// PolyWAN trusts only files below folders that root alone may write to, so not those in `/tmp`.
/// This one is inside the laboratory's private `/run`.
const POLYWAN_FOLDER: &str = "/run/polywan";

/// A way to make the router a multi-uplink router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Candidate {
    /// This project as it comes: profile `balanced`.
    Uplinkd,
    /// This project with profile `fast`.
    UplinkdFast,
    /// This project with profile `metered`.
    UplinkdMetered,
    /// This project without damping, where a line fails again and again on purpose.
    #[value(skip)]
    UplinkdUndamped,
    /// This project with IPv4 alone, for its cost while nothing happens.
    #[value(skip)]
    UplinkdSlow,
    /// The well-known iproute2 recipe with a loop that pings the gateways each second.
    Script,
    /// PolyWAN with its defaults.
    Polywan,
    /// PolyWAN with the fastest settings that it accepts.
    PolywanFast,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Uplinkd => "uplinkd",
            Self::UplinkdFast => "uplinkd-fast",
            Self::UplinkdMetered => "uplinkd-metered",
            Self::UplinkdUndamped => "uplinkd-undamped",
            Self::UplinkdSlow => "uplinkd 1 s",
            Self::Script => "script",
            Self::Polywan => "polywan",
            Self::PolywanFast => "polywan-fast",
        })
    }
}

impl Serialize for Candidate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Candidate {
    /// The time between two of its checks. Faults are spread evenly over it, since what matters is
    /// how long ago the last check was.
    pub(super) fn period(self) -> Duration {
        match self {
            Self::UplinkdFast => Duration::from_millis(200),
            Self::Uplinkd
            | Self::UplinkdMetered
            | Self::UplinkdUndamped
            | Self::UplinkdSlow
            | Self::Script
            | Self::PolywanFast => Duration::from_secs(1),
            Self::Polywan => Duration::from_secs(5),
        }
    }

    /// How long it is watched after the fault: well beyond what it needs to take over.
    pub(super) fn window(self, fault: Fault) -> Duration {
        let is_unsteady = matches!(fault, Fault::Loss(_) | Fault::Flap(_));
        let seconds = match self {
            _ if is_unsteady => 16,
            Self::Uplinkd | Self::UplinkdUndamped | Self::UplinkdFast => 6,
            Self::UplinkdMetered | Self::UplinkdSlow | Self::Script | Self::PolywanFast => 8,
            Self::Polywan => 20,
        };
        Duration::from_secs(seconds)
    }

    /// Whether it is tried with this family: the others are set up for IPv4 alone.
    pub(super) fn speaks(self, family: Family) -> bool {
        family == Family::V4 || self.is_uplinkd()
    }

    /// Whether it is this project.
    pub(super) fn is_uplinkd(self) -> bool {
        match self {
            Self::Uplinkd
            | Self::UplinkdFast
            | Self::UplinkdMetered
            | Self::UplinkdUndamped
            | Self::UplinkdSlow => true,
            Self::Script | Self::Polywan | Self::PolywanFast => false,
        }
    }

    /// Whether it needs the program of that name.
    pub(super) fn is_polywan(self) -> bool {
        matches!(self, Self::Polywan | Self::PolywanFast)
    }

    /// Whether it has returned to a mended line soon enough to wait for it each time.
    pub(super) fn returns_soon(self) -> bool {
        self != Self::Polywan
    }

    /// Everything that it is told, for the record.
    pub(super) fn settings(self) -> String {
        match self {
            Self::Uplinkd => format!("{UPLINKD}{TARGETS}"),
            Self::UplinkdFast => format!("{UPLINKD}{TARGETS}profile = \"fast\"\n"),
            Self::UplinkdUndamped => format!("{UPLINKD}{TARGETS}damping = \"off\"\n"),
            Self::UplinkdMetered => format!("{UPLINKD}{TARGETS}profile = \"metered\"\n"),
            Self::UplinkdSlow => format!("{UPLINKD}{TARGETS_V4}"),
            Self::Script => script(),
            Self::Polywan => polywan(""),
            Self::PolywanFast => polywan(POLYWAN_FAST),
        }
    }

    /// Starts it on the laboratory's router.
    pub(super) fn start(self, lab: &Lab, programs: &Programs) -> Result<RouterDaemon> {
        let places = Places::new(lab)?;
        let command = match self {
            Self::Uplinkd
            | Self::UplinkdFast
            | Self::UplinkdMetered
            | Self::UplinkdUndamped
            | Self::UplinkdSlow => {
                places.write_config(&self.settings())?;
                let program = programs.uplinkd.as_deref();
                let mut command = places.command(program.context("there is no uplinkd")?);
                command.arg("run");
                command
            }
            Self::Script => {
                let mut command = Command::new("sh");
                command.args(["-c", &self.settings()]);
                command
            }
            Self::Polywan | Self::PolywanFast => {
                let program = programs.polywan.as_deref();
                polywan_command(
                    lab,
                    program.context("there is no PolyWAN")?,
                    &self.settings(),
                )?
            }
        };
        RouterDaemon::start_command(lab, &places, command)
            .with_context(|| format!("cannot start {self}"))
    }
}

/// Without the targets and the times of its probes.
const UPLINKD: &str = r#"lan = ["lan0"]

[uplink.isp1]
interface = "wan1"
weight = 3

[uplink.isp2]
interface = "wan2"
weight = 2

[probe]
"#;
/// The gateway and two hosts beyond it, in each family.
const TARGETS: &str = r#"targets = ["gateway", "icmp:1.1.1.1", "icmp:8.8.8.8",
  "icmp:2606:4700:4700::1111", "icmp:2001:4860:4860::8888"]
"#;
/// The hosts in IPv4 alone.
const TARGETS_V4: &str = r#"targets = ["gateway", "icmp:1.1.1.1", "icmp:8.8.8.8"]
"#;

/// The recipe of the Linux Advanced Routing and Traffic Control HOWTO, with what is usually added:
/// balancing by connection and not by address, masquerading, and a loop that looks after the gateways.
fn script() -> String {
    let mut text = "echo 1 > /proc/sys/net/ipv4/ip_forward\n\
                    echo 1 > /proc/sys/net/ipv4/fib_multipath_hash_policy\n"
        .to_owned();
    let mut checks = String::new();
    for (number, weight) in [(1, 3), (2, 2)] {
        let isp = Isp::new(number).expect("two providers are within the laboratory's limit");
        let (device, table) = (isp.interface(), 200 + number);
        let gateway = isp.gateway(Family::V4).addr();
        let address = isp.router(Family::V4).addr();
        text += &format!(
            "ip route add default via {gateway} dev {device} table {table}\n\
             ip rule add from {address} table {table}\n"
        );
        checks += &format!(
            "  ping -q -c 1 -W 0.5 -I {device} {gateway} >/dev/null &&\n    \
             hops=\"$hops nexthop via {gateway} dev {device} weight {weight}\"\n"
        );
    }
    text += &format!(
        "nft -f - <<'END'\n\
         table ip nat {{\n  \
         chain postrouting {{\n    \
         type nat hook postrouting priority srcnat;\n    \
         oifname \"wan*\" masquerade\n  \
         }}\n\
         }}\n\
         END\n\
         while :; do\n  \
         hops=\n\
         {checks}  \
         [ -n \"$hops\" ] && ip route replace default $hops\n  \
         sleep 1\n\
         done\n"
    );
    text
}

/// IPv4 alone, as with the others; `priority` has to be set for an uplink to be balanced over; the
/// group of the API's sockets is one that exists everywhere. The rest are PolyWAN's defaults: managed
/// firewall, managed sysctls, four ICMP targets of which two must answer, each 5 s, fall 2, rise 3.
fn polywan(health: &str) -> String {
    let mut text =
        format!("state_dir = \"{POLYWAN_FOLDER}/state\"\n\n[[downlink]]\ninterface = \"lan0\"\n");
    for (number, weight) in [(1, 3), (2, 2)] {
        text += &format!(
            "\n[[uplink]]\n\
             id = {number}\n\
             name = \"isp{number}\"\n\
             interface = \"wan{number}\"\n\
             priority = 1\n\
             weight = {weight}\n\
             \n\
             [uplink.ipv4]\n\
             nat = \"masquerade\"\n"
        );
    }
    text + health + "\n[api]\ngroup = \"root\"\n"
}

/// A shorter interval is refused ("out of range 1s–300s").
const POLYWAN_FAST: &str = r#"
[health]
interval = "1s"
timeout = "150ms"
attempts = 1
required_reachable = 1
fall = 1
rise = 1

[health.ipv4]
targets = ["icmp:1.1.1.1"]
"#;

fn polywan_command(lab: &Lab, program: &Path, settings: &str) -> Result<Command> {
    let fourth = std::net::IpAddr::from(POLYWAN_FOURTH_TARGET);
    Plumber::new(lab.internet())?.add_addresses("lo", &[fourth.into()])?;
    let config = format!("{POLYWAN_FOLDER}/config.toml");
    lab.mounts().run(|| {
        fs::create_dir_all(POLYWAN_FOLDER)
            .and_then(|()| fs::write(&config, settings))
            .with_context(|| format!("cannot write {config}"))
    })?;
    let mut command = Command::new(program);
    command.args(["run", "--config", &config]);
    Ok(command)
}

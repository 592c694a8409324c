//! Health of an uplink and the reasons for it.

use std::{fmt, net::IpAddr, time::Duration};

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use crate::probe::Permille;

/// The settled state of an uplink. Unknown is a value of its own: it never cuts a line that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing is known yet.
    Unknown,
    /// Carries traffic.
    Up,
    /// Works, but not well.
    Degraded,
    /// Must not be used for new connections while another uplink is better.
    Down,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        })
    }
}

/// Why an uplink has the health it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// The daemon has just started.
    JustStarted,
    /// There is no interface of that name.
    InterfaceMissing {
        /// The name that the file gives.
        interface: String,
    },
    /// `ip link set … down`, by somebody.
    InterfaceAdminDown,
    /// The cable, the modem or the far end is gone.
    NoCarrier,
    /// The interface has no usable address of the family.
    NoAddress,
    /// The interface has no usable address, and the delegated prefix could only serve instead if
    /// another interface had one in it.
    NoPrefixAddress {
        /// The prefix.
        prefix: Ipv6Net,
    },
    /// No gateway was configured and none could be learned.
    NoGateway,
    /// The gateway is not in a network of the interface, so that the kernel would refuse it.
    GatewayOffLink {
        /// The gateway that cannot be reached.
        gateway: IpAddr,
    },
    /// Waiting for the first answers.
    Probing {
        /// Targets that have answered often enough.
        passing: usize,
        /// Targets that must.
        quorum: usize,
    },
    /// Enough targets answer.
    TargetsAnswer {
        /// Targets that answer.
        passing: usize,
        /// Targets that count.
        total: usize,
    },
    /// Too few targets answer.
    TargetsSilent {
        /// Targets that answer.
        passing: usize,
        /// Targets that count.
        total: usize,
        /// Targets that must answer.
        quorum: usize,
        /// What the gateway says, where it is probed beside other targets.
        gateway_answers: Option<bool>,
        /// What those said that answered, and not well: the target, and why.
        #[serde(default)]
        refusals: Vec<(String, String)>,
    },
    /// No targets are configured: the link alone decides.
    LinkOnly,
    /// Every target is silent on every line, while others answer: they are at fault, not the lines.
    TargetsDown,
    /// Too few targets answer, but packets come in as usual.
    TrafficFlows {
        /// Targets that answer.
        passing: usize,
        /// Targets that count.
        total: usize,
    },
    /// Too many answers are lost.
    Lossy {
        /// What part.
        loss: Permille,
        /// From what part on.
        limit: Permille,
        /// Over what time.
        over: Duration,
    },
    /// Answers take too long.
    Slow {
        /// How long, at the median.
        rtt: Duration,
        /// From what time on.
        limit: Duration,
        /// Over what time.
        over: Duration,
    },
    /// Answers are lost or late because its own traffic fills the line.
    Full,
    /// It works again, but fails too often.
    Held {
        /// How often it failed lately.
        failures: u32,
        /// For how long it is held out of service.
        left: Duration,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JustStarted => f.write_str("just started"),
            Self::InterfaceMissing { interface } => write!(f, "there is no interface {interface}"),
            Self::InterfaceAdminDown => f.write_str("the interface is switched off"),
            Self::NoCarrier => f.write_str("no carrier"),
            Self::NoAddress => f.write_str("the interface has no address"),
            Self::NoPrefixAddress { prefix } => write!(
                f,
                "the interface has no address, and no other has one in its prefix {prefix}"
            ),
            Self::NoGateway => f.write_str("no gateway is known"),
            Self::GatewayOffLink { gateway } => {
                write!(f, "gateway {gateway} is not in a network of the interface")
            }
            Self::Probing { passing, quorum } => {
                write!(
                    f,
                    "probing: {passing} of {quorum} targets needed have answered"
                )
            }
            Self::TargetsAnswer { passing, total } => {
                write!(f, "{passing} of {total} targets answer")
            }
            Self::TargetsSilent {
                passing,
                total,
                quorum,
                gateway_answers,
                refusals,
            } => {
                write!(f, "{passing} of {total} targets answer, {quorum} needed")?;
                match gateway_answers {
                    Some(true) => {
                        f.write_str("; the gateway answers, so the fault lies beyond it")?;
                    }
                    Some(false) => f.write_str("; the gateway is silent too")?,
                    None => {}
                }
                for (target, why) in refusals {
                    write!(f, "; {target}: {why}")?;
                }
                Ok(())
            }
            Self::LinkOnly => f.write_str("the link is up; no targets are probed"),
            Self::TargetsDown => {
                f.write_str("its targets are silent on every line: they are down, not the line")
            }
            Self::TrafficFlows { passing, total } => write!(
                f,
                "{passing} of {total} targets answer, but packets come in as usual"
            ),
            Self::Lossy { loss, limit, over } => {
                write!(
                    f,
                    "{loss} of answers lost in {over:?} ({limit} is too much)"
                )
            }
            Self::Slow { rtt, limit, over } => write!(
                f,
                "answers take {:.0?} at the median in {over:?} ({limit:?} is too long)",
                rtt
            ),
            Self::Full => f.write_str("the line is full with its own traffic"),
            Self::Held { failures, left } => write!(
                f,
                "it works, but failed {failures} times lately: held back for {:.0} s",
                left.as_secs_f64()
            ),
        }
    }
}

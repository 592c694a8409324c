//! What happened, for people: the event log, `uplinkctl events`, hooks.

use std::{fmt, time::Duration};

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use crate::{
    budget::in_words,
    health::{Health, Reason},
    ids::UplinkName,
    net::Family,
    operate::{By, span_in_words},
    probe::Permille,
    sign::Sign,
};

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Notice {
    /// The daemon runs.
    Started,
    /// The daemon was told to stop; routing stays in place.
    Stopping,
    /// An uplink's settled state changed.
    Health {
        /// Which uplink.
        uplink: UplinkName,
        /// Which family of it.
        family: Family,
        /// The state before.
        from: Health,
        /// The state now.
        to: Health,
        /// Why.
        reason: Reason,
    },
    /// Something in an uplink's traffic looked as if it were dead; its targets are asked at once.
    Sign {
        /// Which uplink.
        uplink: UplinkName,
        /// Which family of it.
        family: Family,
        /// What it was.
        #[serde(flatten)]
        sign: Sign,
    },
    /// A group is served by other uplinks than before.
    Selection {
        /// Which group.
        group: String,
        /// Which family of it.
        family: Family,
        /// Who served before, with weights.
        before: Vec<Share>,
        /// Who serves now, with weights.
        after: Vec<Share>,
        /// Why, as half a sentence.
        reason: String,
    },
    /// The shares of a group's uplinks follow what these carry. Happens again and again, and is nothing
    /// that anybody has to look at.
    Weights {
        /// Which group.
        group: String,
        /// Which family of it.
        family: Family,
        /// Who serves, with the weights of now.
        after: Vec<Share>,
        /// Why, as half a sentence.
        reason: String,
    },
    /// An uplink has used this part of its budget.
    Budget {
        /// Which uplink.
        uplink: UplinkName,
        /// The level that was reached; all of it at 100%.
        level: Permille,
        /// Bytes used in this period.
        used: u64,
        /// Bytes that the budget has.
        limit: u64,
        /// When the next period begins, as a date.
        until: String,
        /// What becomes of the uplink now; none where nothing does.
        then: Option<String>,
    },
    /// No uplink is up; what served last stays in place.
    LastResort {
        /// Which family.
        family: Family,
        /// Who is kept; empty where no uplink is usable at all.
        kept: Vec<UplinkName>,
    },
    /// An uplink's gateway was learned, or changed.
    GatewayChanged {
        /// Which uplink.
        uplink: UplinkName,
        /// Which family of it.
        family: Family,
        /// The new gateway, in words.
        gateway: String,
    },
    /// An uplink's delegated IPv6 prefix was learned, changed or went.
    PrefixChanged {
        /// Which uplink.
        uplink: UplinkName,
        /// The prefix that it has now, if any.
        prefix: Option<Ipv6Net>,
    },
    /// A delegated prefix could belong to several uplinks, and so belongs to none.
    PrefixUnclaimed {
        /// The prefix.
        prefix: Ipv6Net,
        /// The uplinks.
        uplinks: Vec<UplinkName>,
    },
    /// Hosts are not to use addresses of a network for anything new.
    PrefixDeprecated {
        /// The uplink in whose prefix it lies.
        uplink: UplinkName,
        /// Where the hosts are.
        interface: String,
        /// The network.
        network: Ipv6Net,
        /// Why, as half a sentence.
        reason: String,
    },
    /// Hosts may use addresses of a network again.
    PrefixRestored {
        /// The uplink in whose prefix it lies.
        uplink: UplinkName,
        /// Where the hosts are.
        interface: String,
        /// The network.
        network: Ipv6Net,
    },
    /// The kernel was brought to the desired state.
    Applied {
        /// How many steps it took.
        steps: usize,
        /// What made it necessary.
        cause: String,
    },
    /// Connections were taken out of tracking, so that their next packets find another uplink.
    Released {
        /// How many, by the kernel's count before and after: some may have begun or ended in between.
        connections: u64,
    },
    /// Something of ours was changed by somebody else and is put back.
    Drift {
        /// What was found, one object a line.
        found: Vec<String>,
    },
    /// A step was refused by the kernel.
    Refused {
        /// The step, as the line a person would type.
        step: String,
        /// The kernel's reason.
        text: String,
    },
    /// After all retries the kernel still does not have what it should.
    Diverged {
        /// What is missing or too much, one object a line.
        found: Vec<String>,
    },
    /// The file was read again and is in force.
    Reloaded {
        /// Who wanted it.
        by: By,
        /// After so many seconds the one before is put back, unless somebody confirms; none: it stays.
        confirm: Option<u64>,
    },
    /// The configuration that was on trial stays.
    Confirmed {
        /// Who said so.
        by: By,
    },
    /// The configuration of before is in force again. The file is another one.
    RolledBack {
        /// Why, as half a sentence.
        reason: String,
    },
    /// The file was read again and refused; nothing changed.
    ReloadRefused {
        /// Why.
        text: String,
        /// Who wanted it.
        by: By,
    },
    /// An uplink is to take no new connections, where another one works.
    Drained {
        /// Which uplink.
        uplink: UplinkName,
        /// For how long, in seconds; none: until somebody ends it.
        seconds: Option<u64>,
        /// Who wants it.
        by: By,
    },
    /// An uplink takes new connections again.
    Undrained {
        /// Which uplink.
        uplink: UplinkName,
        /// Who wants it; none: its time is over.
        by: Option<By>,
    },
    /// An uplink is preferred wherever it may serve.
    Preferred {
        /// Which uplink.
        uplink: UplinkName,
        /// For how long, in seconds.
        seconds: u64,
        /// Who wants it.
        by: By,
    },
    /// No uplink is preferred any more.
    Unpreferred {
        /// Which one was.
        uplink: UplinkName,
        /// Who wants it; none: its time is over.
        by: Option<By>,
    },
    /// Somebody lets a group return to its better uplinks.
    FailbackTold {
        /// Which group.
        group: String,
        /// Who.
        by: By,
    },
    /// Somebody said what an uplink has used of its budget.
    BudgetSet {
        /// Which uplink.
        uplink: UplinkName,
        /// Bytes.
        used: u64,
        /// Who.
        by: By,
    },
}

/// An uplink's share in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Which uplink.
    pub uplink: UplinkName,
    /// Its weight among those that serve.
    pub weight: u16,
}

impl Notice {
    /// Whether it is told only to those who want every detail.
    pub fn is_detail(&self) -> bool {
        matches!(self, Self::Weights { .. } | Self::Sign { .. })
    }

    /// Whether a person may need to look (`warn` in the log).
    pub fn is_warning(&self) -> bool {
        match self {
            Self::Health { to, .. } => matches!(to, Health::Down | Health::Degraded),
            Self::Budget { .. }
            | Self::LastResort { .. }
            | Self::PrefixUnclaimed { .. }
            | Self::Drift { .. }
            | Self::Refused { .. }
            | Self::Diverged { .. }
            | Self::ReloadRefused { .. }
            | Self::RolledBack { .. } => true,
            Self::Started
            | Self::Stopping
            | Self::Sign { .. }
            | Self::Selection { .. }
            | Self::Weights { .. }
            | Self::GatewayChanged { .. }
            | Self::PrefixChanged { .. }
            | Self::PrefixDeprecated { .. }
            | Self::PrefixRestored { .. }
            | Self::Applied { .. }
            | Self::Released { .. }
            | Self::Reloaded { .. }
            | Self::Confirmed { .. }
            | Self::Drained { .. }
            | Self::Undrained { .. }
            | Self::Preferred { .. }
            | Self::Unpreferred { .. }
            | Self::FailbackTold { .. }
            | Self::BudgetSet { .. } => false,
        }
    }
}

fn shares(shares: &[Share]) -> String {
    if shares.is_empty() {
        return "nothing".to_owned();
    }
    shares
        .iter()
        .map(|s| format!("{} ({})", s.uplink, s.weight))
        .collect::<Vec<_>>()
        .join(" + ")
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("uplinkd started"),
            Self::Stopping => f.write_str("uplinkd stops; routing stays in place"),
            Self::Health {
                uplink,
                family,
                from,
                to,
                reason,
            } => {
                write!(
                    f,
                    "uplink {uplink} ({family}) went from {from} to {to}: {reason}"
                )
            }
            Self::Sign {
                uplink,
                family,
                sign,
            } => write!(f, "uplink {uplink} ({family}) is asked at once: {sign}"),
            Self::Selection {
                group,
                family,
                before,
                after,
                reason,
            } => {
                write!(
                    f,
                    "group {group} ({family}): {} instead of {}: {reason}",
                    shares(after),
                    shares(before)
                )
            }
            Self::Weights {
                group,
                family,
                after,
                reason,
            } => write!(
                f,
                "group {group} ({family}): now {}: {reason}",
                shares(after)
            ),
            Self::Budget {
                uplink,
                level,
                used,
                limit,
                until,
                then,
            } => {
                let (used, limit) = (in_words(*used), in_words(*limit));
                write!(
                    f,
                    "uplink {uplink} has used {level} of its budget: {used} of {limit}, until {until}"
                )?;
                then.as_ref().map_or(Ok(()), |then| write!(f, "; {then}"))
            }
            Self::LastResort { family, kept } if kept.is_empty() => {
                write!(f, "no uplink is up ({family}), and none is usable")
            }
            Self::LastResort { family, kept } => {
                let kept = kept
                    .iter()
                    .map(UplinkName::as_str)
                    .collect::<Vec<_>>()
                    .join(", ");
                write!(
                    f,
                    "no uplink is up ({family}); keeping {kept}, the last good choice"
                )
            }
            Self::GatewayChanged {
                uplink,
                family,
                gateway,
            } => {
                write!(f, "uplink {uplink} ({family}) has gateway {gateway}")
            }
            Self::PrefixChanged {
                uplink,
                prefix: Some(prefix),
            } => write!(f, "uplink {uplink} has the delegated prefix {prefix}"),
            Self::PrefixChanged {
                uplink,
                prefix: None,
            } => write!(f, "uplink {uplink} has no delegated prefix any more"),
            Self::PrefixUnclaimed { prefix, uplinks } => {
                let uplinks = uplinks.iter().map(UplinkName::as_str).collect::<Vec<_>>();
                write!(
                    f,
                    "prefix {prefix} could be delegated to any of {}; it counts as nobody's until \
                     `prefix` of [uplink.NAME.ipv6] says whose it is",
                    uplinks.join(", ")
                )
            }
            Self::PrefixDeprecated {
                uplink: _,
                interface,
                network,
                reason,
            } => write!(f, "hosts on {interface} are to avoid {network}: {reason}"),
            Self::PrefixRestored {
                uplink,
                interface,
                network,
            } => write!(
                f,
                "hosts on {interface} may use {network} of uplink {uplink} again"
            ),
            Self::Applied { steps, cause } => write!(f, "{steps} step(s) applied: {cause}"),
            Self::Released { connections } => {
                write!(f, "{connections} connection(s) released, to go by others")
            }
            Self::Drift { found } => write!(
                f,
                "somebody changed what is ours; putting it back: {}",
                found.join("; ")
            ),
            Self::Refused { step, text } => write!(f, "the kernel refused `{step}`: {text}"),
            Self::Diverged { found } => {
                write!(
                    f,
                    "the kernel does not hold what it should; will try again: {}",
                    found.join("; ")
                )
            }
            Self::Reloaded { by, confirm: None } => {
                write!(f, "the file was read again and is in force ({by})")
            }
            Self::Reloaded {
                by,
                confirm: Some(seconds),
            } => {
                let span = span_in_words(Duration::from_secs(*seconds));
                write!(
                    f,
                    "the file was read again and is in force, for {span} unless it is confirmed ({by})"
                )
            }
            Self::Confirmed { by } => write!(f, "the configuration is confirmed ({by})"),
            Self::RolledBack { reason } => {
                write!(f, "the configuration of before is in force again: {reason}")
            }
            Self::ReloadRefused { text, by } => write!(
                f,
                "the file was read again and refused; nothing changed: {text} ({by})"
            ),
            Self::Drained {
                uplink,
                seconds,
                by,
            } => {
                let span = seconds.map(Duration::from_secs).map(span_in_words);
                let span =
                    span.map_or_else(|| "until further notice".into(), |s| format!("for {s}"));
                write!(f, "uplink {uplink} is drained {span} ({by})")
            }
            Self::Undrained { uplink, by } => {
                write!(f, "uplink {uplink} is no longer drained ({})", or_over(by))
            }
            Self::Preferred {
                uplink,
                seconds,
                by,
            } => {
                let span = span_in_words(Duration::from_secs(*seconds));
                write!(f, "uplink {uplink} is preferred for {span} ({by})")
            }
            Self::Unpreferred { uplink, by } => {
                write!(
                    f,
                    "uplink {uplink} is no longer preferred ({})",
                    or_over(by)
                )
            }
            Self::FailbackTold { group, by } => {
                write!(f, "{group} is told to return to its better tier ({by})")
            }
            Self::BudgetSet { uplink, used, by } => {
                let used = in_words(*used);
                write!(f, "{used} count as used by {uplink} in this period ({by})")
            }
        }
    }
}

/// Who ended something that ends by itself too.
fn or_over(by: &Option<By>) -> String {
    let over = || "its time is over".to_owned();
    by.as_ref().map_or_else(over, By::to_string)
}

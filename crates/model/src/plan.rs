//! Ordered work for the kernel, printable as the lines that a person would type.

use std::{collections::BTreeMap, fmt};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    connection::Tuple,
    ids::{Mark, NexthopId, Proto, TableId},
    kernel_state::{Nexthop, NexthopKind, Route, RouteVia, Rule, RuleAction},
    net::Family,
    nft::NftTable,
};

/// One idempotent operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Set a sysctl, by path below `/proc/sys`.
    SetSysctl {
        /// `net/ipv4/ip_forward` and the like.
        path: String,
        /// The new value.
        value: String,
    },
    /// Ask the routers on a link to advertise themselves now (RFC 4861, 6.3.7).
    SolicitRouters {
        /// The interface.
        interface: String,
    },
    /// Make a nexthop object or group that is not there; refused where the id is taken.
    AddNexthop(Nexthop),
    /// Change a nexthop object or group that was seen to be ours.
    ReplaceNexthop(Nexthop),
    /// Remove a nexthop. The kernel takes it out of every group, and a group that becomes empty
    /// goes with all routes on it.
    DeleteNexthop(NexthopId),
    /// Make a route that is not there; refused where one of the same key is.
    AddRoute(Route),
    /// Change a route of ours, keeping its key, without a moment in between.
    ReplaceRoute(Route),
    /// Remove exactly this route.
    DeleteRoute(Route),
    /// Make a rule; refused where the same is there.
    AddRule(Rule),
    /// Remove exactly this rule.
    DeleteRule(Rule),
    /// Put our whole nft table, in one transaction.
    SetNft(NftTable),
    /// Remove our nft table.
    DeleteNft {
        /// Its name.
        name: String,
    },
    /// Tell `ip` the names of our tables; an empty map removes the file.
    NameTables(BTreeMap<TableId, String>),
    /// Take the connections of a family with this mark out of connection tracking.
    FlushConnections {
        /// Which mark.
        mark: Mark,
        /// Which family; none: both.
        family: Option<Family>,
    },
    /// The same for connections whose uplink still works, so that they move to another one. Answers
    /// that are on their way to untranslated sources, such as the router itself, are kept out for a
    /// moment: the first of them would begin a connection of its own, inbound by the uplink that is
    /// to be left, and hold the flow there.
    MoveConnections {
        /// Which mark.
        mark: Mark,
        /// Which family.
        family: Family,
    },
    /// Take these connections out of connection tracking, each by its original direction, and keep
    /// answers to untranslated ones out for a moment, as above.
    DeleteConnections(Vec<Tuple>),
    /// Take the connections with this mark that bear an address of a prefix, as it was or as it was
    /// translated, out of connection tracking: the uplink does not have the prefix, or the one address
    /// that it is, any more.
    ReleasePrefix {
        /// Which mark.
        mark: Mark,
        /// Which prefix.
        prefix: IpNet,
    },
    /// Forget which sources keep to an uplink.
    ForgetSticky {
        /// The name of our nft table.
        table: String,
        /// The outlet's code.
        outlet: u16,
        /// The uplinks' slots.
        slots: Vec<u16>,
    },
}

impl Step {
    /// Whether the step takes something away. Such steps are skipped after a refusal, since what
    /// was to replace it may be missing.
    pub fn removes(&self) -> bool {
        match self {
            Self::DeleteNexthop(_)
            | Self::DeleteRoute(_)
            | Self::DeleteRule(_)
            | Self::DeleteNft { .. }
            | Self::FlushConnections { .. }
            | Self::MoveConnections { .. }
            | Self::DeleteConnections(_)
            | Self::ReleasePrefix { .. }
            | Self::ForgetSticky { .. } => true,
            Self::SetSysctl { .. }
            | Self::SolicitRouters { .. }
            | Self::AddNexthop(_)
            | Self::ReplaceNexthop(_)
            | Self::AddRoute(_)
            | Self::ReplaceRoute(_)
            | Self::AddRule(_)
            | Self::SetNft(_)
            | Self::NameTables(_) => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetSysctl { path, value } => write!(f, "sysctl -w {path}={value}"),
            Self::SolicitRouters { interface } => write!(f, "rdisc6 {interface}"),
            Self::AddNexthop(nexthop) => write!(f, "ip nexthop add {}", NexthopWords(nexthop)),
            Self::ReplaceNexthop(nexthop) => {
                write!(f, "ip nexthop replace {}", NexthopWords(nexthop))
            }
            Self::DeleteNexthop(id) => write!(f, "ip nexthop del id {id}"),
            Self::AddRoute(route) => write!(
                f,
                "ip {} route add {}",
                route.family().flag(),
                RouteWords(route)
            ),
            Self::ReplaceRoute(route) => {
                write!(
                    f,
                    "ip {} route replace {}",
                    route.family().flag(),
                    RouteWords(route)
                )
            }
            Self::DeleteRoute(route) => write!(
                f,
                "ip {} route del {}",
                route.family().flag(),
                RouteWords(route)
            ),
            Self::AddRule(rule) => write!(f, "ip {} rule add {rule}", rule.family.flag()),
            Self::DeleteRule(rule) => write!(f, "ip {} rule del {rule}", rule.family.flag()),
            Self::SetNft(table) => write!(
                f,
                "nft -f - # table inet {}, whole, in one transaction",
                table.name
            ),
            Self::DeleteNft { name } => write!(f, "nft delete table inet {name}"),
            Self::NameTables(names) if names.is_empty() => write!(f, "rm {}", names_file()),
            Self::NameTables(names) => {
                f.write_str("printf '")?;
                for (table, name) in names {
                    write!(f, "{table} {name}\\n")?;
                }
                write!(f, "' > {}", names_file())
            }
            Self::MoveConnections { mark, family } => {
                let family = match family {
                    Family::V4 => "ipv4",
                    Family::V6 => "ipv6",
                };
                write!(f, "conntrack -D -f {family} -m {mark}")
            }
            Self::FlushConnections { mark, family } => {
                f.write_str("conntrack -D")?;
                match family {
                    Some(Family::V4) => f.write_str(" -f ipv4")?,
                    Some(Family::V6) => f.write_str(" -f ipv6")?,
                    None => {}
                }
                write!(f, " -m {mark}")
            }
            Self::DeleteConnections(tuples) => match tuples.as_slice() {
                [one] => write!(f, "conntrack -D {one}"),
                many => write!(f, "conntrack -D # {} connections, one by one", many.len()),
            },
            Self::ReleasePrefix { mark, prefix } => {
                let family = match prefix {
                    IpNet::V4(_) => "ipv4",
                    IpNet::V6(_) => "ipv6",
                };
                write!(
                    f,
                    "conntrack -D -f {family} -m {mark} # with addresses of {prefix}"
                )
            }
            Self::ForgetSticky {
                table,
                outlet,
                slots,
            } => {
                for (n, slot) in slots.iter().enumerate() {
                    let and = if n == 0 { "" } else { "; " };
                    write!(
                        f,
                        "{and}nft flush set inet {table} sticky4_{outlet}_{slot}; \
                         nft flush set inet {table} sticky6_{outlet}_{slot}"
                    )?;
                }
                Ok(())
            }
        }
    }
}

fn names_file() -> String {
    format!(
        "/etc/iproute2/rt_tables.d/{}",
        crate::Reserve::TABLE_NAMES_FILE
    )
}

struct NexthopWords<'a>(&'a Nexthop);

impl fmt::Display for NexthopWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "id {}", self.0.id)?;
        match &self.0.kind {
            NexthopKind::Single {
                gateway: Some(gateway),
                device,
                on_link,
                ..
            } => {
                let on_link = if *on_link { " onlink" } else { "" };
                write!(f, " via {gateway} dev {device}{on_link}")?;
            }
            NexthopKind::Single {
                gateway: None,
                device,
                ..
            } => write!(f, " dev {device}")?,
            NexthopKind::Group(members) => {
                f.write_str(" group ")?;
                for (n, (id, weight)) in members.iter().enumerate() {
                    write!(f, "{}{id},{weight}", if n > 0 { "/" } else { "" })?;
                }
            }
            NexthopKind::Other => f.write_str(" (a kind we never make)")?,
        }
        write!(f, " proto {}", self.0.proto)
    }
}

struct RouteWords<'a>(&'a Route);

impl fmt::Display for RouteWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = self.0;
        if route.via == RouteVia::Prohibit {
            f.write_str("prohibit ")?;
        }
        if route.destination.prefix_len() == 0 {
            f.write_str("default")?;
        } else {
            write!(f, "{}", route.destination)?;
        }
        match &route.via {
            RouteVia::Nexthop(id) => write!(f, " nhid {id}")?,
            RouteVia::Device {
                device,
                gateway: Some(gateway),
            } => write!(f, " via {gateway} dev {device}")?,
            RouteVia::Device {
                device,
                gateway: None,
            } => write!(f, " dev {device}")?,
            RouteVia::Prohibit | RouteVia::Other => {}
        }
        if let Some(source) = route.source {
            write!(f, " src {source}")?;
        }
        write!(f, " table {}", route.table)?;
        if route.metric != 0 {
            write!(f, " metric {}", route.metric)?;
        }
        write!(f, " proto {}", route.proto)
    }
}

impl fmt::Display for Route {
    /// As `ip route add` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        RouteWords(self).fmt(f)
    }
}

impl fmt::Display for Nexthop {
    /// As `ip nexthop add` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        NexthopWords(self).fmt(f)
    }
}

impl fmt::Display for Rule {
    /// As `ip rule add` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pref {}", self.priority)?;
        if self.inverted {
            f.write_str(" not")?;
        }
        match self.from {
            Some(from) => write!(f, " from {from}")?,
            None => f.write_str(" from all")?,
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        if let Some(iif) = &self.iif {
            write!(f, " iif {iif}")?;
        }
        if let Some(oif) = &self.oif {
            write!(f, " oif {oif}")?;
        }
        if let Some(mark) = self.mark {
            write!(f, " fwmark {mark}")?;
        }
        match self.action {
            RuleAction::Lookup(TableId::MAIN) => f.write_str(" lookup main")?,
            RuleAction::Lookup(table) => write!(f, " lookup {table}")?,
            RuleAction::Prohibit => f.write_str(" prohibit")?,
            RuleAction::Other => f.write_str(" (an action we never make)")?,
        }
        if let Some(length) = self.suppress_prefix_length {
            write!(f, " suppress_prefixlength {length}")?;
        }
        if self.proto != Proto(0) {
            write!(f, " proto {}", self.proto)?;
        }
        Ok(())
    }
}

/// A step with the reason for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// What is done.
    pub step: Step,
    /// Why, as half a sentence.
    pub reason: String,
}

/// Steps in the order in which they are safe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<PlannedStep>,
}

impl Plan {
    /// Adds a step at the end.
    pub fn push(&mut self, step: Step, reason: impl Into<String>) {
        self.steps.push(PlannedStep {
            step,
            reason: reason.into(),
        });
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl fmt::Display for Plan {
    /// One line for each step, the reason behind a `#`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for PlannedStep { step, reason } in &self.steps {
            writeln!(f, "{step}  # {reason}")?;
        }
        Ok(())
    }
}

/// What became of a step. Outcomes come in the order of the plan's steps, one for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done, acknowledged by the kernel.
    Done,
    /// The kernel had it so already (`EEXIST` on the very same object, `ENOENT` on a delete).
    AlreadySo,
    /// The kernel said no.
    Refused {
        /// The error number, positive.
        errno: i32,
        /// The error in words, with the kernel's own explanation where it gave one.
        text: String,
    },
    /// Not tried, since an earlier step was refused and this one takes something away.
    Skipped,
}

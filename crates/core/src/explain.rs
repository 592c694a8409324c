//! Which way a connection takes, and why: what the policies say, then the rules one after the other.
//!
//! Policies are asked through the very value that the kernel's table is made of.

mod connection;
mod policy;
#[cfg(test)]
mod tests;
mod walk;

use std::{collections::BTreeSet, net::IpAddr};

use uplinkd_model::{Family, TableId, UplinkName, policy::Sticky};

pub use connection::ConnectionExplanation;
pub use policy::{Passed, PolicyAnswer, Verdict};

use crate::{Controller, OutletState};

/// A connection that somebody asks about. What is not said is not known.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Where it comes from; none: the router itself, address not chosen yet.
    pub from: Option<IpAddr>,
    /// Where it goes.
    pub to: IpAddr,
    /// The interface that it comes in by; none: a LAN interface where `from` is not the router's own.
    pub iif: Option<String>,
    /// The mark it bears, 0 for a new one that nobody else marked.
    pub mark: u32,
    /// The IP protocol.
    pub protocol: Option<u8>,
    /// The source port.
    pub source_port: Option<u16>,
    /// The destination port.
    pub destination_port: Option<u16>,
    /// The ICMP or ICMPv6 type.
    pub icmp_type: Option<u8>,
    /// The Ethernet source address.
    pub mac: Option<u64>,
    /// The differentiated services code point.
    pub dscp: Option<u8>,
    /// The user of the own socket.
    pub user: Option<u32>,
    /// The group of the own socket.
    pub group: Option<u32>,
    /// The control group of the own socket, by path below the root.
    pub cgroup: Option<String>,
    /// The sets of domain names (without the family's digit) that hold the destination.
    pub domain_sets: Option<BTreeSet<String>>,
    /// Uplinks to think away.
    pub if_down: Vec<UplinkName>,
}

impl Flow {
    /// A flow to somewhere, of which nothing else is known.
    pub fn to(to: IpAddr) -> Self {
        Self {
            from: None,
            to,
            iif: None,
            mark: 0,
            protocol: None,
            source_port: None,
            destination_port: None,
            icmp_type: None,
            mac: None,
            dscp: None,
            user: None,
            group: None,
            cgroup: None,
            domain_sets: None,
            if_down: Vec::new(),
        }
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.to)
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// What the policies say.
    pub policy: PolicyAnswer,
    /// The rules, as far as they were asked.
    pub steps: Vec<ExplainedStep>,
    /// Where it goes.
    pub decision: Decision,
}

/// One rule and what it said.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedStep {
    /// The rule, as `ip rule` has it.
    pub rule: String,
    /// It decided.
    pub matched: bool,
    /// Why, or why not.
    pub why: String,
}

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The main table decides: it has a connected or specific route, or a policy leaves it to it.
    Main,
    /// One uplink.
    Uplink(Exit),
    /// One of the outlet's uplinks, by the kernel's hash, in proportion to the weights.
    Outlet {
        /// The outlet: the group's or the uplink's name that policies know it by.
        outlet: String,
        /// Its table.
        table: TableId,
        /// What serves it: a tier, or the last resort.
        state: OutletState,
        /// Who may carry it, with the part of new connections that each takes (0 to 1).
        exits: Vec<(Exit, f64)>,
        /// One that was chosen before keeps being chosen, by this, whatever the parts.
        sticky: Option<Sticky>,
    },
    /// Refused at once.
    Blocked {
        /// The outlet that refuses.
        outlet: String,
    },
    /// A rule of somebody else, which we mirror, leads to a table of theirs.
    Foreign {
        /// That table.
        table: TableId,
    },
    /// It hangs on something that was not said.
    Depends {
        /// The policy that would take it or not.
        policy: String,
        /// On what, to be read after "depends on".
        on: String,
    },
    /// Nothing of ours applies: other rules and the main table decide.
    NotOurs,
}

/// An uplink as a way out.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    /// Its name.
    pub uplink: UplinkName,
    /// The source address that the far end sees; none where it is left alone.
    pub nat: Option<IpAddr>,
}

impl Controller {
    /// Explains a flow. `asked` is the table that the kernel's answer for it came from, which tells
    /// what is in the tables of others; none where it could not be asked.
    pub fn explain(&self, flow: &Flow, asked: Option<TableId>) -> Explanation {
        let policy = self.ask_policies(flow);
        let mut thought = self.think(flow, asked);
        let depends = match policy.verdict() {
            Some(Verdict::Policy { code, .. }) => {
                thought.mark |= self.config().reserve.mark_outlet(*code).value;
                None
            }
            Some(Verdict::Depends { policy, on, .. }) => Some(Decision::Depends {
                policy: policy.clone(),
                on: on.clone(),
            }),
            Some(Verdict::Default) | None => None,
        };
        let (steps, decision) = self.walk(&thought, depends);
        Explanation {
            policy,
            steps,
            decision,
        }
    }
}

//! Which way a new connection would take, and why: the rules asked one after the other.

use std::net::IpAddr;

use uplinkd_model::{Nat, Rule, TableId, UplinkName, kernel_state::RuleAction, notice::Share};

use crate::{
    Controller, FAMILY,
    select::{Candidate, service, shares},
};

/// A connection that somebody asks about.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Where it comes from; none: the router itself, address not chosen yet.
    pub from: Option<IpAddr>,
    /// Where it goes.
    pub to: IpAddr,
    /// The interface that it comes in by; none: a LAN interface where `from` is not the router's own.
    pub iif: Option<String>,
    /// The mark it bears, 0 for a new one.
    pub mark: u32,
    /// Uplinks to think away.
    pub if_down: Vec<UplinkName>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
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
    /// A connected or specific route of `main`.
    Main,
    /// One uplink.
    Uplink(Exit),
    /// One of the group's uplinks, by the kernel's hash, in proportion to the weights.
    Group {
        /// The group.
        group: String,
        /// Its table.
        table: TableId,
        /// Who may carry it, with the part of new connections that each takes (0 to 1).
        exits: Vec<(Exit, f64)>,
        /// No uplink is live; these are kept for want of anything better.
        last_resort: bool,
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
    /// Explains a flow. `main_leads` says whether `main` has a connected or specific route for it,
    /// which only the kernel knows; none where it could not be asked.
    pub fn explain(&self, flow: &Flow, main_leads: Option<bool>) -> Explanation {
        let thought_away = |name: &UplinkName| flow.if_down.contains(name);
        let candidates: Vec<_> = self
            .candidates()
            .map(|(name, c)| {
                (
                    name,
                    if thought_away(name) {
                        Candidate {
                            live: false,
                            usable: false,
                        }
                    } else {
                        c
                    },
                )
            })
            .collect();
        let service = service(candidates.into_iter(), self.in_service());
        let mut steps = Vec::new();
        for rule in self.rules() {
            let text = rule.to_string();
            let (why, decision) = match self.ask(&rule, flow, main_leads, &service) {
                Ok(found) => found,
                Err(why_not) => {
                    steps.push(ExplainedStep {
                        rule: text,
                        matched: false,
                        why: why_not,
                    });
                    continue;
                }
            };
            steps.push(ExplainedStep {
                rule: text,
                matched: true,
                why,
            });
            return Explanation { steps, decision };
        }
        Explanation {
            steps,
            decision: Decision::NotOurs,
        }
    }

    fn ask(
        &self,
        rule: &Rule,
        flow: &Flow,
        main_leads: Option<bool>,
        service: &crate::select::Service,
    ) -> Result<(String, Decision), String> {
        if let Some(oif) = &rule.oif {
            return Err(format!("the socket is not bound to {oif}"));
        }
        if rule.suppress_prefix_length.is_some() {
            return match main_leads {
                Some(true) => Ok((
                    "main has a connected or specific route for it".into(),
                    Decision::Main,
                )),
                Some(false) => {
                    Err("main has only a default for it, which does not count here".into())
                }
                None => {
                    Err("the kernel could not be asked; taken as having no specific route".into())
                }
            };
        }
        if let Some(mark) = rule.mark.filter(|m| !m.matches(flow.mark)) {
            return Err(format!("its mark {:#x} is not {mark}", flow.mark));
        }
        if let Some(from) = rule
            .from
            .filter(|net| flow.from.is_none_or(|a| !net.contains(&a)))
        {
            return Err(format!("it does not come from {}", from.addr()));
        }
        if let Some(iif) = &rule.iif {
            let comes_in_by = self.incoming(flow);
            if *iif != comes_in_by {
                return Err(format!("it comes in by {comes_in_by}"));
            }
        }
        let RuleAction::Lookup(table) = rule.action else {
            return Err("no table".into());
        };
        self.look_up(table, flow, service)
    }

    /// The interface as rules see it: `lo` for the router's own traffic.
    fn incoming(&self, flow: &Flow) -> String {
        let is_own = |address: IpAddr| self.has_address(address);
        match (&flow.iif, flow.from) {
            (Some(iif), _) => iif.clone(),
            (None, Some(from)) if !is_own(from) => {
                self.config().lan.first().cloned().unwrap_or_default()
            }
            (None, _) => "lo".to_owned(),
        }
    }

    fn look_up(
        &self,
        table: TableId,
        flow: &Flow,
        service: &crate::select::Service,
    ) -> Result<(String, Decision), String> {
        let reserve = &self.config().reserve;
        for uplink in &self.config().uplinks {
            let is_live = service.uplinks.contains(&uplink.name);
            let exit = || self.exit(&uplink.name);
            if table == reserve.table_service(uplink.slot) {
                return if is_live {
                    Ok((
                        format!("uplink {} is in service", uplink.name),
                        Decision::Uplink(exit()),
                    ))
                } else {
                    Err(format!(
                        "table {} is empty while the uplink is out of service",
                        uplink.name
                    ))
                };
            }
            if table == reserve.table_path(uplink.slot) {
                return if flow.if_down.contains(&uplink.name) {
                    Err(format!("uplink {} is thought away", uplink.name))
                } else {
                    Ok((
                        format!("it came in by uplink {}", uplink.name),
                        Decision::Uplink(exit()),
                    ))
                };
            }
        }
        let (index, group) = self
            .config()
            .groups
            .iter()
            .enumerate()
            .find(|(n, _)| reserve.table_group(*n) == table)
            .ok_or_else(|| "no such table".to_owned())?;
        let serving: Vec<Share> = shares(group, &service.uplinks);
        if serving.is_empty() {
            return Err(format!("group {} has no usable uplink", group.name));
        }
        let total: f64 = serving.iter().map(|s| f64::from(s.weight)).sum();
        let exits = serving
            .iter()
            .map(|s| (self.exit(&s.uplink), f64::from(s.weight) / total))
            .collect();
        let why = if service.last_resort {
            "no uplink is up: the last good choice is kept".to_owned()
        } else {
            format!("group {} serves what nothing before it took", group.name)
        };
        let table = reserve.table_group(index);
        let decision = Decision::Group {
            group: group.name.clone(),
            table,
            exits,
            last_resort: service.last_resort,
        };
        Ok((why, decision))
    }

    fn exit(&self, name: &UplinkName) -> Exit {
        let nat = self.config().uplink(name).and_then(|u| match u.nat {
            Nat::Masquerade => self.first_address(name),
            Nat::Source(address) => Some(address),
            Nat::None => None,
        });
        Exit {
            uplink: name.clone(),
            nat: nat.filter(|a| a.is_ipv4() == (FAMILY == uplinkd_model::Family::V4)),
        }
    }
}

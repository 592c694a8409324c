//! What the policies say of a flow, and why the earlier ones do not speak of it.

use uplinkd_model::Policy;
use uplinkd_policy::{Answer, Flow as Asked, Origin, evaluate, why_not};

use super::Flow;
use crate::Controller;

/// Earlier policies that are gone through one by one, the nearest ones; the rest are counted.
const PASSED_MAX: usize = 20;

/// What the policies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyAnswer {
    /// They are not asked about such a packet.
    NotAsked {
        /// Why.
        why: String,
    },
    /// They were asked.
    Asked {
        /// Earlier policies, of which a condition does not hold: the last ones before the verdict.
        passed: Vec<Passed>,
        /// How many more there are before these.
        more: usize,
        /// What came out.
        verdict: Verdict,
    },
}

/// A policy that does not speak of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Its name.
    pub policy: String,
    /// The condition that does not hold; none where that cannot be said for certain.
    pub clause: Option<String>,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A policy takes it.
    Policy {
        /// Its name.
        policy: String,
        /// Its conditions.
        clauses: Vec<String>,
        /// The outlet that it leads to.
        outlet: String,
        /// That outlet's code.
        code: u16,
    },
    /// None speaks of it: the default group.
    Default,
    /// It hangs on something that was not said.
    Depends {
        /// The policy that would take it or not.
        policy: String,
        /// On what, to be read after "depends on".
        on: String,
        /// The condition that asks for it.
        clause: Option<String>,
    },
}

impl PolicyAnswer {
    /// What came out, where they were asked.
    pub fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::NotAsked { .. } => None,
            Self::Asked { verdict, .. } => Some(verdict),
        }
    }
}

impl Controller {
    pub(super) fn ask_policies(&self, flow: &Flow) -> PolicyAnswer {
        match self.not_asked(flow) {
            Some(why) => PolicyAnswer::NotAsked { why },
            None => self.judge_by_policies(&self.as_asked(flow)),
        }
    }

    /// Why policies are not asked about a flow; none where they are.
    fn not_asked(&self, flow: &Flow) -> Option<String> {
        let config = self.config();
        let marks = config.reserve.marks();
        let is_uplinks = |iif: &String| config.uplinks.iter().any(|u| u.interface == *iif);
        let iif = flow.iif.as_ref().filter(|iif| *iif != "lo");
        if flow.mark & marks.inbound != 0 {
            return Some("it came in by an uplink, which answers it".to_owned());
        }
        if flow.mark & marks.all() != 0 {
            return Some("its connection exists: it keeps what it was given".to_owned());
        }
        let is_foreign = |nft: uplinkd_model::nft::NftTable| nft.foreign_marks.contains(&flow.mark);
        if flow.mark != 0 && self.wanted().nft.is_some_and(is_foreign) {
            let mark = flow.mark;
            return Some(format!(
                "its mark {mark:#x} is compared whole by a rule of others"
            ));
        }
        if let Some(iif) = iif.filter(|iif| is_uplinks(iif)) {
            return Some(format!("it comes in by {iif}, which is an uplink's"));
        }
        let is_outside = |iif: &&String| !config.lan.is_empty() && !config.lan.contains(iif);
        iif.filter(is_outside)
            .map(|iif| format!("it comes in by {iif}, which is not in `lan`"))
    }

    /// What evaluation wants to know.
    fn as_asked(&self, flow: &Flow) -> Asked {
        let origin = match (&flow.iif, self.config().lan.as_slice()) {
            _ if self.is_own(flow) => Origin::Own,
            (Some(iif), _) => Origin::Interface(iif.clone()),
            (None, [only]) => Origin::Interface(only.clone()),
            (None, _) => Origin::Unknown,
        };
        Asked {
            family: flow.family(),
            source: flow.from,
            destination: Some(flow.to),
            protocol: flow.protocol,
            source_port: flow.source_port,
            destination_port: flow.destination_port,
            icmp_type: flow.icmp_type,
            origin,
            mac: flow.mac,
            dscp: flow.dscp,
            mark: flow.mark,
            user: flow.user,
            group: flow.group,
            cgroup: flow.cgroup.clone(),
            domain_sets: flow.domain_sets.clone(),
        }
    }

    /// The answer of the compiled policies, with the reasons of the nearest ones before it.
    pub(super) fn judge_by_policies(&self, flow: &Asked) -> PolicyAnswer {
        let policies = &self.config().policies;
        let (end, verdict) = match evaluate(&self.policies().classifier, flow) {
            Answer::Policy { policy, outlet, .. } => {
                (policy, self.verdict_of(&policies[policy], outlet))
            }
            Answer::Default => (policies.len(), Verdict::Default),
            Answer::Depends { policy, on } => {
                let verdict = Verdict::Depends {
                    policy: policies[policy].name.clone(),
                    on: on.to_string(),
                    clause: on.clause(&policies[policy]).map(|c| c.text.clone()),
                };
                (policy, verdict)
            }
        };
        let first = end.saturating_sub(PASSED_MAX);
        let minute = self.policies().minute;
        let passed = policies[first..end].iter().map(|policy| Passed {
            policy: policy.name.clone(),
            clause: why_not(policy, flow, minute).map(|c| c.text.clone()),
        });
        PolicyAnswer::Asked {
            passed: passed.collect(),
            more: first,
            verdict,
        }
    }

    fn verdict_of(&self, policy: &Policy, code: u16) -> Verdict {
        let outlets = &self.config().outlets;
        let outlet = outlets.iter().find(|o| o.code == code);
        Verdict::Policy {
            policy: policy.name.clone(),
            clauses: policy.clauses.iter().map(|c| c.text.clone()).collect(),
            outlet: outlet.map(|o| o.name.clone()).unwrap_or_default(),
            code,
        }
    }
}

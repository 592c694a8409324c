//! Policies: names, conditions, and where they lead.

use std::{collections::BTreeMap, ops::Range};

use uplinkd_model::policy::{Clause, PolicyFlows};

use crate::{
    check::{
        clause::{self, Checked, Context},
        contradiction,
        names::{Names, is_name},
        outlet::{self, Lead},
        word,
    },
    diagnostic::Diagnostic,
    keys::Attribute,
    parsed::PolicyPlace,
    quote::quoted,
    raw::{RawCondition, RawPolicy},
    reader::Found,
};

/// A policy that lacks only its outlet.
pub(super) struct CheckedPolicy {
    pub(super) name: String,
    pub(super) clauses: Vec<Clause>,
    pub(super) flows: PolicyFlows,
    pub(super) lead: Lead,
    pub(super) place: PolicyPlace,
}

/// Checks the policies. Those with mistakes are left out.
pub(super) fn check(
    policies: &[RawPolicy],
    names: &Names<'_>,
    context: &Context<'_>,
    found: &mut Found,
) -> Vec<CheckedPolicy> {
    let mut taken = BTreeMap::new();
    let mut checked = Vec::with_capacity(policies.len());
    for policy in policies {
        name(policy, &mut taken, found);
        checked.extend(one(policy, names, context, found));
    }
    checked
}

fn one(
    policy: &RawPolicy,
    names: &Names<'_>,
    context: &Context<'_>,
    found: &mut Found,
) -> Option<CheckedPolicy> {
    let errors_before = found.len();
    let conditions = policy.conditions.iter();
    let conditions: Vec<Checked> = conditions
        .filter_map(|c| clause::check(c, &policy.called, context, found))
        .collect();
    if found.len() == errors_before && policy.is_complete {
        contradiction::find(&policy.called, &conditions, found);
    }
    nameless_sets(policy, found);
    let lead = outlet::lead(policy, names, found);
    let flows = flows(policy, found);
    Some(CheckedPolicy {
        name: policy.called.clone(),
        flows: flows?,
        lead: lead?,
        place: PolicyPlace {
            header: policy.header,
            name: policy.span.clone(),
            clauses: conditions.iter().map(|c| c.span.clone()).collect(),
        },
        clauses: conditions.into_iter().map(|c| c.clause).collect(),
    })
}

fn name<'p>(policy: &'p RawPolicy, taken: &mut BTreeMap<&'p str, Range<usize>>, found: &mut Found) {
    if let Some(name) = &policy.name
        && !is_name(name.get_ref())
    {
        let message = format!("a policy cannot be named {}", quoted(name.get_ref()));
        found.push(
            Diagnostic::error(name.span(), message)
                .label("not a name for a policy")
                .hint("a letter first, then letters, digits, `_` and `-`, at most 32"),
        );
        return;
    }
    if let Some(first) = taken.get(policy.called.as_str()) {
        let message = format!("policy {} is defined twice", quoted(&policy.called));
        found.push(
            Diagnostic::error(policy.span.clone(), message)
                .label("again here")
                .hint("give one of them another name; without one it is `policy-N`, by its place in the file")
                .note(first.clone(), "first here"),
        );
        return;
    }
    taken.insert(&policy.called, policy.span.clone());
}

/// Resolvers are told the name of the sets that they fill, so that it must not depend on how many
/// policies stand before this one.
fn nameless_sets(policy: &RawPolicy, found: &mut Found) {
    let is_domain = |c: &&RawCondition| c.attribute == Attribute::Domain;
    let Some(domain) = policy.conditions.iter().find(is_domain) else {
        return;
    };
    if policy.name.is_none() {
        let message = format!("policy {} has `domain` and no name", quoted(&policy.called));
        found.push(
            Diagnostic::error(domain.span.clone(), message)
                .label("fills sets that are named after the policy")
                .hint("add `name = \"…\"`: the resolver's own file has to name the same sets"),
        );
    }
}

fn flows(policy: &RawPolicy, found: &mut Found) -> Option<PolicyFlows> {
    let words = [("keep", PolicyFlows::Keep), ("move", PolicyFlows::Move)];
    let Some(text) = policy.flows.as_ref() else {
        return Some(PolicyFlows::default());
    };
    let what = format!("the flows of policy {}", quoted(&policy.called));
    word(text, &words, &what, "", found)
}

//! Everything for `uplinkctl policies`.

use uplinkd_api::{Policies, PolicyStatus};
use uplinkd_model::{Config, policy::PolicyFlows};
use uplinkd_policy::{Shadow, active};

/// The policies. `shadows` are those that can never be reached.
pub(crate) fn policies(config: &Config, shadows: &[Shadow], minute: u16) -> Policies {
    let active = active(&config.policies, minute);
    let name = |index: &usize| config.policies.get(*index).map(|p| p.name.clone());
    let status = |(index, active): (usize, bool)| {
        let policy = config.policies.get(index)?;
        let outlet = config.outlets.get(policy.outlet)?;
        // Sorted by policy.
        let shadow = shadows.binary_search_by_key(&index, |s| s.policy);
        let hidden_by = shadow.map_or(&[][..], |found| &shadows[found].by);
        Some(PolicyStatus {
            name: policy.name.clone(),
            clauses: policy.clauses.iter().map(|c| c.text.clone()).collect(),
            outlet: outlet.name.clone(),
            moves_flows: policy.flows == PolicyFlows::Move,
            active,
            hidden_by: hidden_by.iter().filter_map(name).collect(),
        })
    };
    Policies {
        policies: active.into_iter().enumerate().filter_map(status).collect(),
    }
}

//! Everything for `uplinkctl policies`.

use std::collections::BTreeMap;

use tracing::debug;
use uplinkd_api::{Policies, PolicyStatus};
use uplinkd_kernel::Kernel;
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
            connections: None,
        })
    };
    Policies {
        policies: active.into_iter().enumerate().filter_map(status).collect(),
    }
}

/// The same with what each has counted.
pub(crate) fn with_connections(
    mut policies: Policies,
    counted: &BTreeMap<String, u64>,
) -> Policies {
    for policy in &mut policies.policies {
        policy.connections = counted.get(&policy.name).copied();
    }
    policies
}

/// What policies have counted, by name, read by a socket of its own: not by the loop. Nothing where
/// the kernel does not say.
pub(crate) fn policy_connections(table: &str) -> BTreeMap<String, u64> {
    let counted = Kernel::open()
        .map_err(|error| error.to_string())
        .and_then(|mut kernel| {
            let counted = kernel.policy_connections(table);
            counted.map_err(|error| error.to_string())
        });
    counted.unwrap_or_else(|reason| {
        debug!(reason, "cannot read what policies have counted");
        BTreeMap::new()
    })
}

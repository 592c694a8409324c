//! The policies as compiled, and the names in them that the kernel's side has to know.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use uplinkd_model::{Classifier, Config, policy::Selector};

/// What the policies of a configuration come to at a local time. Made anew only when one of the two
/// changes what holds; clones share the compiled part.
#[derive(Clone, Debug)]
pub(crate) struct Policies {
    /// Local minutes since Monday 00:00.
    pub(crate) minute: u16,
    /// Which policies' schedules hold.
    active: Vec<bool>,
    pub(crate) classifier: Arc<Classifier>,
    /// The sets that resolvers fill, with how long an address counts.
    pub(crate) domains: BTreeMap<String, Duration>,
    /// The control groups that policies speak of.
    pub(crate) cgroups: BTreeSet<String>,
}

impl Policies {
    pub(crate) fn new(config: &Config, minute: u16) -> Self {
        Self {
            minute,
            active: uplinkd_policy::active(&config.policies, minute),
            classifier: Arc::new(uplinkd_policy::compile(
                &config.policies,
                &config.outlets,
                minute,
            )),
            domains: domains(config),
            cgroups: cgroup_paths(config),
        }
    }

    /// Takes the local time. Says whether other policies hold than before.
    pub(crate) fn tell_time(&mut self, config: &Config, minute: u16) -> bool {
        self.minute = minute;
        let active = uplinkd_policy::active(&config.policies, minute);
        if active == self.active {
            return false;
        }
        self.classifier = Arc::new(uplinkd_policy::compile(
            &config.policies,
            &config.outlets,
            minute,
        ));
        self.active = active;
        true
    }
}

fn selectors(config: &Config) -> impl Iterator<Item = &Selector> {
    let clauses = config.policies.iter().flat_map(|p| &p.clauses);
    clauses.map(|c| &c.selector)
}

fn domains(config: &Config) -> BTreeMap<String, Duration> {
    let mut domains = BTreeMap::new();
    for selector in selectors(config) {
        if let Selector::Domain { set, timeout, .. } = selector {
            let longest = domains.entry(set.clone()).or_insert(*timeout);
            *longest = (*longest).max(*timeout);
        }
    }
    domains
}

/// Whether some policy holds at some times only.
pub(crate) fn has_schedule(config: &Config) -> bool {
    selectors(config).any(|s| s.schedule().is_some())
}

/// The control groups that have to be looked up, by path below the root of their hierarchy.
pub fn cgroup_paths(config: &Config) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for selector in selectors(config) {
        if let Selector::Cgroup(groups) = selector {
            paths.extend(groups.iter().cloned());
        }
    }
    paths
}

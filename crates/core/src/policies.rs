//! The policies as compiled, and the names in them that the kernel's side has to know.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use uplinkd_model::{Classifier, Config, Policy, policy::Selector};
use uplinkd_policy::{Before, compile_again};

/// What the policies of a configuration come to at a local time. Made anew only when one of the two
/// changes what holds; clones share the compiled part.
#[derive(Clone, Debug)]
pub(crate) struct Policies {
    /// Local minutes since Monday 00:00.
    pub(crate) minute: u16,
    /// Some of them hold at some times only.
    pub(crate) has_schedule: bool,
    /// Which policies' schedules hold.
    active: Vec<bool>,
    pub(crate) classifier: Arc<Classifier>,
    /// The sets that resolvers fill, with how long an address counts.
    pub(crate) domains: BTreeMap<String, Duration>,
    /// The control groups that policies speak of.
    pub(crate) cgroups: BTreeSet<String>,
}

/// Policies with what they come to, to compile others from that are nearly the same.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub(crate) policies: Vec<Arc<Policy>>,
    pub(crate) result: Policies,
}

impl Policies {
    pub(crate) fn new(config: &Config, minute: u16) -> Self {
        let classifier = uplinkd_policy::compile(&config.policies, &config.outlets, minute);
        Self::of(config, minute, classifier)
    }

    /// The same with less work, where the policies are nearly those that were compiled before.
    pub(crate) fn after(config: &Config, minute: u16, before: &Compiled) -> Self {
        let known = Before {
            policies: &before.policies,
            minute: before.result.minute,
            classifier: &before.result.classifier,
        };
        let (policies, outlets) = (&config.policies, &config.outlets);
        let again = compile_again(policies, outlets, minute, &known, Arc::ptr_eq);
        if again.conditions_hold {
            return Self {
                minute,
                classifier: Arc::new(again.classifier),
                ..before.result.clone()
            };
        }
        Self::of(config, minute, again.classifier)
    }

    fn of(config: &Config, minute: u16, classifier: Classifier) -> Self {
        Self {
            minute,
            has_schedule: selectors(config).any(|s| s.schedule().is_some()),
            active: uplinkd_policy::active(&config.policies, minute),
            classifier: Arc::new(classifier),
            domains: domains(config),
            cgroups: cgroup_paths(config),
        }
    }

    /// Takes the local time. Says whether other policies hold than before.
    pub(crate) fn tell_time(&mut self, config: &Config, minute: u16) -> bool {
        self.minute = minute;
        if !self.has_schedule {
            return false;
        }
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

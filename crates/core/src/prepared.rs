//! A configuration that comes with its policies compiled.

use std::collections::BTreeSet;

use uplinkd_model::{Classifier, Config, notice::Notice};

use crate::policies::{Compiled, Policies};

/// A configuration with its policies compiled. For thousands of them that takes longer than an uplink
/// may wait for its failover, so that it is made beside the loop that owns the controller.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(crate) config: Config,
    pub(crate) policies: Policies,
    /// What people are told when it is in force.
    pub(crate) notice: Option<Notice>,
}

impl Prepared {
    /// Compiles the policies for a local time, in minutes since Monday 00:00. Where that is over when
    /// the controller takes them, and others hold then, they are compiled once more.
    pub fn new(config: Config, minute: u16) -> Self {
        Self {
            policies: Policies::new(&config, minute),
            config,
            notice: None,
        }
    }

    /// The same with less work, where the policies are nearly those that were compiled before.
    pub fn after(config: Config, minute: u16, before: &Compiled) -> Self {
        Self {
            policies: Policies::after(&config, minute, before),
            config,
            notice: None,
        }
    }

    /// The same, with what people are to be told when it is in force.
    #[must_use]
    pub fn told(self, notice: Notice) -> Self {
        Self {
            notice: Some(notice),
            ..self
        }
    }

    /// The compiled policies.
    pub fn classifier(&self) -> &Classifier {
        &self.policies.classifier
    }

    /// The control groups that have to be looked up.
    pub fn cgroups(&self) -> &BTreeSet<String> {
        &self.policies.cgroups
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

//! Who serves: the uplinks of a family in service, and of these the tier that each outlet uses.

mod failback;
mod outlets;
mod service;

pub(crate) use failback::Serving;
pub use failback::Waiting;
pub(crate) use outlets::{distinct_tiers, last_resort, serving_of};
pub(crate) use service::{Candidate, Service, service};

use uplinkd_model::{
    Member, UplinkName,
    notice::Share,
    policy::{Conduct, OutletTier},
};

/// What the kernel's group of a tier is made of. Tiers that are alike in it share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pool<'a> {
    pub(crate) members: &'a [Member],
    pub(crate) conduct: Conduct,
}

impl<'a> Pool<'a> {
    pub(crate) fn of(tier: &'a OutletTier) -> Self {
        Self {
            members: &tier.members,
            conduct: tier.conduct,
        }
    }

    fn serving(self, service: &'a Service) -> impl Iterator<Item = &'a Member> + Clone {
        let members = self.members.iter();
        members.filter(|m| service.uplinks.contains(&m.uplink))
    }

    /// Whether it has a member in service.
    pub(crate) fn is_served(self, service: &Service) -> bool {
        self.serving(service).next().is_some()
    }

    /// Whether it has a member in service that is within the group's own limits.
    pub(crate) fn is_well(self, service: &Service) -> bool {
        let mut serving = self.serving(service);
        serving.any(|m| self.conduct.yield_at.is_none() || !self.yields(&m.uplink, service))
    }

    /// Whether a member leaves new connections to others.
    pub(crate) fn yields(self, uplink: &UplinkName, service: &Service) -> bool {
        match self.conduct.yield_at {
            Some(limit) => {
                let exceeding = service.exceeding.get(&limit);
                exceeding.is_some_and(|names| names.contains(uplink))
            }
            None => service.yielding.contains(uplink),
        }
    }

    /// The members in service, with their weights; without those that yield, where another one does
    /// not.
    pub(crate) fn shares(self, service: &Service) -> Vec<Share> {
        let serving = self.serving(service);
        let all_yield = serving.clone().all(|m| self.yields(&m.uplink, service));
        serving
            .filter(|m| all_yield || !self.yields(&m.uplink, service))
            .map(|m| Share {
                uplink: m.uplink.clone(),
                weight: m.weight,
            })
            .collect()
    }
}

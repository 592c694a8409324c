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
    policy::{Balance, Conduct, Outflow, OutletTier},
};

/// What the kernel's group of a tier is made of. Tiers that are alike in it share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pool<'a> {
    pub(crate) members: &'a [Member],
    pub(crate) conduct: Conduct,
}

/// What is decided of a pool whose shares follow its lines, or that overflows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PoolState {
    pub(crate) members: Vec<Member>,
    pub(crate) conduct: Conduct,
    /// The members' weights at present; none: those of the file.
    pub(crate) weights: Option<Vec<u16>>,
    /// It leaves new connections to the next tier.
    pub(crate) is_full: bool,
}

impl PoolState {
    /// Whether it speaks of this pool.
    pub(crate) fn is(&self, pool: Pool<'_>) -> bool {
        self.conduct == pool.conduct && self.members == pool.members
    }
}

impl<'a> Pool<'a> {
    pub(crate) fn of(tier: &'a OutletTier) -> Self {
        Self {
            members: &tier.members,
            conduct: tier.conduct,
        }
    }

    /// Whether its shares follow what the lines can carry.
    pub(crate) fn is_auto(self) -> bool {
        self.members.iter().any(|m| m.is_auto)
    }

    /// Whether its shares, or who takes its connections, hang on what is measured.
    pub(crate) fn is_measured(self) -> bool {
        let conduct = self.conduct;
        self.is_auto() || conduct.balance != Balance::Weights || conduct.overflow_at.is_some()
    }

    /// Whether it leaves new connections to the next tier.
    pub(crate) fn is_full(self, service: &Service) -> bool {
        let mut pools = service.pools.iter();
        pools.any(|p| p.is_full && p.is(self))
    }

    fn serving(self, service: &'a Service) -> impl Iterator<Item = &'a Member> + Clone {
        let members = self.members.iter();
        let has_budget = move |name| !self.conduct.while_budget || !service.spent.contains(name);
        let serves = move |name| service.uplinks.contains(name) && !service.drained.contains(name);
        members.filter(move |m| serves(&m.uplink) && has_budget(&m.uplink))
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
        let state = service.pools.iter().find(|p| p.is(self));
        let weights = state.and_then(|p| p.weights.as_ref());
        let weight = |member: &Member| {
            let index = self.members.iter().position(|m| m == member);
            let weight = weights.zip(index).and_then(|(w, n)| w.get(n));
            weight.copied().unwrap_or(member.weight)
        };
        let serving = self.serving(service);
        let all_yield = serving.clone().all(|m| self.yields(&m.uplink, service));
        serving
            .filter(|m| all_yield || !self.yields(&m.uplink, service))
            .map(|m| Share {
                uplink: m.uplink.clone(),
                weight: weight(m),
            })
            .collect()
    }
}

/// Whether somebody wants new connections of an outlet by one uplink alone, and that one may serve it:
/// which one.
pub(crate) fn preferred_in<'a>(outflow: &Outflow, service: &'a Service) -> Option<&'a UplinkName> {
    let preferred = service.preferred.as_ref()?;
    let mut tiers = outflow.tiers.iter().map(Pool::of);
    let serves = |pool: Pool<'_>| pool.serving(service).any(|m| m.uplink == *preferred);
    tiers.any(serves).then_some(preferred)
}

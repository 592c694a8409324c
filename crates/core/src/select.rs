//! Who serves: the uplinks of a family in service, and of these the tier that each outlet uses.

mod failback;
mod outlets;
mod service;

pub(crate) use failback::Serving;
pub use failback::Waiting;
pub(crate) use outlets::{distinct_tiers, last_resort, serving_of};
pub(crate) use service::{Candidate, Service, service};

use uplinkd_model::{Member, notice::Share};

/// The members of a tier that are in service, with their weights; without those that yield, where
/// another one does not.
pub(crate) fn shares(members: &[Member], service: &Service) -> Vec<Share> {
    let serving = members
        .iter()
        .filter(|m| service.uplinks.contains(&m.uplink));
    let yields = |m: &&Member| service.yielding.contains(&m.uplink);
    let all_yield = serving.clone().all(|m| yields(&m));
    serving
        .filter(|m| all_yield || !yields(m))
        .map(|m| Share {
            uplink: m.uplink.clone(),
            weight: m.weight,
        })
        .collect()
}

/// Whether a tier has a member in service.
pub(crate) fn is_served(members: &[Member], service: &Service) -> bool {
    members.iter().any(|m| service.uplinks.contains(&m.uplink))
}

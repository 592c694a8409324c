//! What hosts in the LAN are told: to avoid the networks of uplinks that are out of service, and, where
//! the file wants it and nobody else tells them, which networks there are.

use std::collections::BTreeSet;

use ipnet::Ipv6Net;
use uplinkd_model::{Advice, Family, Health, OwnAdvert, UplinkName, notice::Notice};

use super::{Controller, serve::leaving};
use crate::event::Action;

/// Hosts make addresses in networks of this length alone (RFC 4862, 5.5.3).
const HOSTS_LENGTH: u8 = 64;

impl Controller {
    /// Hands the whole wish out where it is another one than before, and once at the beginning.
    pub(super) fn advertise(&mut self) {
        let wish = self.advice();
        if self.advice.as_ref() == Some(&wish) {
            return;
        }
        let before = self.advice.replace(wish.clone()).unwrap_or_default();
        let is_in = |all: &Advice, interface: &str, network: &Ipv6Net| {
            all.get(interface)
                .is_some_and(|lan| lan.avoid.contains(network))
        };
        let mut news = Vec::new();
        for network in &self.prefixes.networks {
            let Some(uplink) = network.owner.clone() else {
                continue;
            };
            let (interface, network) = (network.interface.clone(), network.network);
            let was = is_in(&before, &interface, &network);
            match (was, is_in(&wish, &interface, &network)) {
                (false, true) => news.push(Notice::PrefixDeprecated {
                    reason: self.why_out(&uplink),
                    uplink,
                    interface,
                    network,
                }),
                (true, false) => news.push(Notice::PrefixRestored {
                    uplink,
                    interface,
                    network,
                }),
                (true, true) | (false, false) => {}
            }
        }
        self.actions.push_back(Action::Advertise(wish));
        news.into_iter().for_each(|notice| self.notify(notice));
    }

    fn advice(&self) -> Advice {
        let mut advice = self.avoided();
        if !self.config.advertise {
            return advice;
        }
        let is_router = self.leads_anywhere();
        for interface in &self.config.lan {
            advice.entry(interface.clone()).or_default().own = Some(OwnAdvert {
                networks: BTreeSet::new(),
                is_router,
            });
        }
        for found in &self.prefixes.networks {
            let lan = advice.get_mut(&found.interface);
            if let Some(own) = lan.and_then(|lan| lan.own.as_mut())
                && found.network.prefix_len() == HOSTS_LENGTH
            {
                own.networks.insert(found.network);
            }
        }
        advice
    }

    /// Whether IPv6 leads out. A line of which nothing is known yet counts: hosts that lose their router
    /// lose their connections' way.
    fn leads_anywhere(&self) -> bool {
        let service = self.service.of(Family::V6);
        let mut lines = self.lines.iter();
        let is_dead = service.last_resort
            && lines.all(|l| {
                l.family != Family::V6 || l.is_absent() || matches!(l.health, Health::Down)
            });
        !service.uplinks.is_empty() && !is_dead
    }

    /// The networks whose owner is out of service, or drained, while another uplink has IPv6 in service, on each
    /// interface with networks that have owners. With a single line there is nothing better to use, and
    /// so nothing to speak of.
    fn avoided(&self) -> Advice {
        let mut avoided = Advice::new();
        let lines = self.lines.iter();
        let lines = lines.filter(|l| l.family == Family::V6 && !l.is_absent());
        if !self.config.deprecate || lines.count() < 2 {
            return avoided;
        }
        let service = self.service.of(Family::V6);
        let serving: BTreeSet<_> = service.uplinks.difference(&service.drained).collect();
        for network in &self.prefixes.networks {
            let Some(owner) = &network.owner else {
                continue;
            };
            let lan = avoided.entry(network.interface.clone()).or_default();
            if !serving.is_empty() && !serving.contains(owner) {
                lan.avoid.insert(network.network);
            }
        }
        avoided
    }

    /// The networks of an uplink that hosts were told to avoid.
    pub(super) fn deprecated_of(&self, uplink: &UplinkName) -> Vec<Ipv6Net> {
        let of_uplink = self.prefixes.networks.iter();
        let of_uplink = of_uplink.filter(|n| n.owner.as_ref() == Some(uplink));
        let avoided = of_uplink.filter(|n| {
            let all = self.advice.as_ref();
            let here = all.and_then(|a| a.get(&n.interface));
            here.is_some_and(|lan| lan.avoid.contains(&n.network))
        });
        // An uplink may have the same network on two interfaces.
        let avoided: BTreeSet<_> = avoided.map(|n| n.network).collect();
        avoided.into_iter().collect()
    }

    fn why_out(&self, uplink: &UplinkName) -> String {
        if self.service.of(Family::V6).drained.contains(uplink) {
            return format!("uplink {uplink} is drained");
        }
        self.line_of(Family::V6, uplink).map_or_else(
            || format!("uplink {uplink} has no IPv6"),
            |n| leaving(self.uplink_of(n), &self.lines[n]),
        )
    }
}

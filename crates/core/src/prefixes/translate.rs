//! Which part of an uplink's prefix stands for which LAN network.
//!
//! Each network gets a part of its own, of its own length: the one with the same subnet bits where
//! that is free, else the last free one, counting down, since networks and routers behind them are
//! numbered from the first on. In the order of the networks, so that the choice depends on nothing but
//! which networks there are. The uplink's own networks are never given away. Only where a prefix is all
//! used up does a network share that of an own network on the same interface: these are the same
//! hosts.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};

use ipnet::Ipv6Net;
use uplinkd_model::{UplinkName, prefix::Translation};

use super::{NETWORK_LENGTH, Prefixes};

/// Parts that are looked at before a prefix counts as used up: more than a router has networks.
const TRIES_MAX: u128 = 4096;

/// What an uplink's prefix does for the LAN's other networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translations {
    /// Networks with a part of their own.
    pub given: Vec<Translation>,
    /// Networks that the prefix has no room for.
    pub left_over: Vec<Ipv6Net>,
}

impl Prefixes {
    /// How the LAN's networks leave by an uplink, apart from its own ones. Nothing where the uplink has
    /// no prefix now.
    pub fn translations(&self, uplink: &UplinkName) -> Translations {
        let Some(prefix) = self.of(uplink) else {
            return Translations::default();
        };
        let own = self.all_of(uplink);
        let is_own = |network: &Ipv6Net| own.iter().any(|p| p.contains(network));
        let used = self.networks.iter().map(|n| n.network);
        let mut parts = Parts {
            prefix,
            used: used.filter(|n| prefix.contains(n)).collect(),
        };
        let mut others: Vec<Ipv6Net> = Vec::new();
        for network in self.networks.iter().map(|n| n.network) {
            if !is_own(&network) && !others.contains(&network) {
                others.push(network);
            }
        }
        // Who finds the place with its own number free gets it, whoever else has none.
        let mut given: Vec<_> = others
            .iter()
            .map(|network| parts.take_same(*network))
            .collect();
        for (network, part) in others.iter().zip(&mut given) {
            *part = part.or_else(|| parts.take_last(*network));
        }
        let mut shared = Vec::new();
        let mut translations = Translations::default();
        for (network, part) in others.iter().zip(given) {
            let inbound = part.is_some();
            let shared_part = || {
                let beside = self.beside(*network, prefix)?;
                (!shared.contains(&beside)).then_some(beside)
            };
            match part.or_else(shared_part) {
                Some(by) => {
                    if !inbound {
                        shared.push(by);
                    }
                    translations
                        .given
                        .push(self.translation(*network, by, inbound));
                }
                None => translations.left_over.push(*network),
            }
        }
        translations
    }

    /// A network of the prefix on the same interface, of the same length.
    fn beside(&self, network: Ipv6Net, prefix: Ipv6Net) -> Option<Ipv6Net> {
        let on_it = |interface: &str| {
            let mut networks = self.networks.iter();
            networks.any(|n| n.interface == interface && n.network == network)
        };
        let mut own = self.networks.iter().filter(|n| {
            prefix.contains(&n.network) && n.network.prefix_len() == network.prefix_len()
        });
        own.find(|n| on_it(&n.interface)).map(|n| n.network)
    }

    fn translation(&self, network: Ipv6Net, by: Ipv6Net, inbound: bool) -> Translation {
        let mut translation = Translation {
            network,
            by,
            inbound,
            router: Vec::new(),
        };
        let same = self.networks.iter().filter(|n| n.network == network);
        let addresses = same.flat_map(|n| &n.addresses);
        translation.router = addresses.filter_map(|a| translation.apply(*a)).collect();
        translation
    }

    /// The source that the far end sees of a LAN host that leaves by an uplink whose `nat` is `auto`
    /// or `prefix`: none where it is replaced by the uplink's own address.
    pub fn seen_as(&self, uplink: &UplinkName, source: IpAddr, is_prefix: bool) -> Option<IpAddr> {
        let IpAddr::V6(address) = source else {
            return None;
        };
        let own = self.all_of(uplink);
        if own.iter().any(|p| p.contains(&address)) {
            return Some(source);
        }
        if !is_prefix || self.is_router(address) {
            return None;
        }
        let given = self.translations(uplink).given;
        given.iter().find_map(|t| t.apply(address)).map(IpAddr::V6)
    }

    fn is_router(&self, address: Ipv6Addr) -> bool {
        self.networks.iter().any(|n| n.addresses.contains(&address))
    }
}

/// The parts of a prefix, and which are in use.
struct Parts {
    prefix: Ipv6Net,
    used: Vec<Ipv6Net>,
}

impl Parts {
    /// The part with the same subnet bits, where it is free.
    fn take_same(&mut self, network: Ipv6Net) -> Option<Ipv6Net> {
        let number = u128::from(network.network()) >> (128 - u32::from(network.prefix_len()));
        let last = self.last(network)?;
        self.take(number & last, network)
    }

    /// The last free part.
    fn take_last(&mut self, network: Ipv6Net) -> Option<Ipv6Net> {
        let last = self.last(network)?;
        let numbers = last.saturating_sub(TRIES_MAX)..=last;
        numbers.rev().find_map(|number| self.take(number, network))
    }

    /// The number of the last part as large as a network; none where there is none so large.
    fn last(&self, network: Ipv6Net) -> Option<u128> {
        let (whole, part) = (self.prefix.prefix_len(), network.prefix_len());
        let bits = (part <= NETWORK_LENGTH).then(|| part.checked_sub(whole))??;
        Some((1 << u32::from(bits)) - 1)
    }

    fn take(&mut self, number: u128, network: Ipv6Net) -> Option<Ipv6Net> {
        let length = network.prefix_len();
        let offset = number << (128 - u32::from(length));
        let address = Ipv6Addr::from(u128::from(self.prefix.network()) | offset);
        let part = Ipv6Net::new(address, length).ok()?;
        let overlaps = |used: &Ipv6Net| used.contains(&part) || part.contains(used);
        if self.used.iter().any(overlaps) {
            return None;
        }
        self.used.push(part);
        Some(part)
    }
}

//! Which IPv6 prefix belongs to which uplink, going by the file and by what the kernel shows.
//!
//! ```text
//! routes and addresses ──> candidates ──> whose is each? ─┬─> each uplink's prefixes, that of now first
//!                                                         ├─> each LAN network's owner
//!                                                         └─> what several uplinks could own
//! ```
//! Nothing is guessed: a candidate that several uplinks could own, and of which nothing tells whose it
//! is, belongs to nobody until the file says so. Unique local networks are nobody's for good.

#[cfg(test)]
mod tests;
mod translate;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv6Net};
use uplinkd_model::{
    Config, Family, Observed, PrefixSource, Uplink, UplinkName, kernel_state::RuleAction,
    prefix::is_global,
};

pub use translate::Translations;

/// The shortest prefix that is believed without the file's word: what is shorter is a provider's own,
/// or a route that keeps bogus addresses away, and no customer's.
const LEARNED_LENGTH_MIN: u8 = 40;
/// The longest that networks of hosts are cut from, and the shortest that none can be cut from.
const NETWORK_LENGTH: u8 = 64;

/// Which prefix is whose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// The prefixes of each uplink that has any, that of now first.
    uplinks: BTreeMap<UplinkName, Vec<Ipv6Net>>,
    /// The IPv6 networks of the LAN: interface by interface in the order of the file, then by address.
    pub networks: Vec<LanNetwork>,
    /// Prefixes that several uplinks could own.
    pub unclaimed: Vec<Unclaimed>,
    /// The router's own address in an uplink's prefixes.
    addresses: BTreeMap<UplinkName, Ipv6Addr>,
}

/// An IPv6 network of a LAN interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanNetwork {
    /// The interface.
    pub interface: String,
    /// The network.
    pub network: Ipv6Net,
    /// The router's own addresses in it.
    pub addresses: Vec<Ipv6Addr>,
    /// The uplink in whose prefix it lies; none for unique local ones, and where nobody knows.
    pub owner: Option<UplinkName>,
}

/// A prefix that nothing tells the owner of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclaimed {
    /// The prefix.
    pub prefix: Ipv6Net,
    /// Who could own it.
    pub uplinks: Vec<UplinkName>,
}

impl Prefixes {
    /// Finds out. `before` is what was known until now: what belonged to an uplink goes on doing so
    /// while it is there, though the route that told may have gone with the line. `was_seen` says of
    /// which uplinks IPv6 has been seen in this run.
    pub fn learn(
        config: &Config,
        observed: &Observed,
        before: &Self,
        was_seen: impl Fn(&UplinkName) -> bool,
    ) -> Self {
        let mut networks = lan_networks(config, observed);
        let candidates = candidates(config, observed, &networks);
        let claims = Claims {
            config,
            observed,
            before,
            could_own: config
                .uplinks
                .iter()
                .filter(|u| could_own(u, observed) || auto(u) && was_seen(&u.name))
                .collect(),
        };
        let mut found: BTreeMap<UplinkName, BTreeSet<Ipv6Net>> = BTreeMap::new();
        let mut unclaimed = Vec::new();
        for prefix in candidates {
            match claims.owner(prefix) {
                Owner::One(uplink) => {
                    found.entry(uplink.clone()).or_default().insert(prefix);
                }
                Owner::Several(uplinks) => unclaimed.push(Unclaimed { prefix, uplinks }),
                Owner::Nobody => {}
            }
        }
        for uplink in &config.uplinks {
            if let Some(prefix) = fixed(uplink) {
                found.insert(uplink.name.clone(), BTreeSet::from([prefix]));
            }
        }
        let uplinks = found.into_iter().map(|(name, prefixes)| {
            let ordered = in_order(outermost(prefixes), &name, before, observed);
            (name, ordered)
        });
        let mut learned = Self {
            uplinks: uplinks.collect(),
            networks: Vec::new(),
            unclaimed,
            addresses: BTreeMap::new(),
        };
        for network in &mut networks {
            network.owner = learned.owner_of(network.network).cloned();
        }
        learned.networks = networks;
        let uplinks = config.uplinks.iter().map(|u| &u.name);
        let addresses = uplinks.filter_map(|name| {
            let address = learned.find_address(name, config, observed)?;
            Some((name.clone(), address))
        });
        learned.addresses = addresses.collect();
        learned
    }

    /// The address by which the router itself is known in an uplink's prefix: one that may be used for
    /// something new before one that may not, in the prefix of now before others, on an interface of the
    /// LAN before others. What was chosen before does not count, since the next run does not know it.
    fn find_address(
        &self,
        uplink: &UplinkName,
        config: &Config,
        observed: &Observed,
    ) -> Option<Ipv6Addr> {
        let is_uplinks = |name: &String| config.uplinks.iter().any(|u| u.interface == *name);
        let links = observed.links.iter();
        let others = links.filter(|(_, link)| !is_uplinks(&link.device.name));
        let own = self.all_of(uplink);
        let ranked = others.flat_map(|(index, link)| {
            let name = &link.device.name;
            let place = config.lan.iter().position(|lan| lan == name);
            link.addresses.iter().filter_map(move |address| {
                let IpNet::V6(address) = address else {
                    return None;
                };
                let address = address.addr();
                let prefix = own.iter().position(|p| p.contains(&address))?;
                // It may lie in a part that is another uplink's.
                let owner = self.owner_of(Ipv6Net::from(address))?;
                let is_deprecated = observed.prefixes.deprecated.contains(&(*index, address));
                let place = place.unwrap_or(usize::MAX);
                let rank = (is_deprecated, prefix, place, *index, address);
                (owner == uplink).then_some(rank)
            })
        });
        ranked.min().map(|(.., address)| address)
    }

    /// What an earlier run knew, going by the rules that it left in the kernel. That of the prefix of now
    /// is asked first.
    pub(crate) fn found(config: &Config, observed: &Observed) -> Self {
        let reserve = &config.reserve;
        let mut found = Self::default();
        let rules = observed.rules.iter().filter(|r| reserve.owns_rule(r));
        let mut rules: Vec<_> = rules.collect();
        rules.sort_by_key(|r| r.priority);
        for rule in rules {
            let (Some(IpNet::V6(prefix)), RuleAction::Lookup(table)) = (rule.from, rule.action)
            else {
                continue;
            };
            let mut uplinks = config.uplinks.iter();
            let owner = uplinks.find(|u| table == reserve.table_service(u.slot));
            if let Some(owner) = owner.filter(|_| prefix.prefix_len() <= NETWORK_LENGTH) {
                let known = found.uplinks.entry(owner.name.clone()).or_default();
                if !known.contains(&prefix) {
                    known.push(prefix);
                }
            }
        }
        found
    }

    /// The prefix that an uplink has now, which others are translated to.
    pub fn of(&self, uplink: &UplinkName) -> Option<Ipv6Net> {
        self.all_of(uplink).first().copied()
    }

    /// All prefixes of an uplink, that of now first: while a provider renumbers there are two.
    pub fn all_of(&self, uplink: &UplinkName) -> &[Ipv6Net] {
        self.uplinks.get(uplink).map_or(&[], Vec::as_slice)
    }

    /// The router's own address in the prefix that an uplink has now, on an interface that is no
    /// uplink's. A line without an address of its own uses it.
    pub fn address_of(&self, uplink: &UplinkName) -> Option<Ipv6Addr> {
        self.addresses.get(uplink).copied()
    }

    /// The uplink in whose prefix a network lies. Of prefixes within each other the inner one counts.
    pub fn owner_of(&self, network: Ipv6Net) -> Option<&UplinkName> {
        let all = self
            .uplinks
            .iter()
            .flat_map(|(name, prefixes)| prefixes.iter().map(move |p| (p, name)));
        all.filter(|(prefix, _)| prefix.contains(&network))
            .max_by_key(|(prefix, _)| prefix.prefix_len())
            .map(|(_, name)| name)
    }
}

fn auto(uplink: &Uplink) -> bool {
    source(uplink) == Some(PrefixSource::Auto)
}

fn fixed(uplink: &Uplink) -> Option<Ipv6Net> {
    match source(uplink)? {
        PrefixSource::Fixed(prefix) => Some(prefix),
        PrefixSource::Auto | PrefixSource::Within(_) => None,
    }
}

fn source(uplink: &Uplink) -> Option<PrefixSource> {
    uplink.access(Family::V6).map(|access| access.prefix)
}

/// Whether a learned prefix could be an uplink's. One whose line is there and has no IPv6 owns none;
/// of one whose line is not there nobody can tell.
fn could_own(uplink: &Uplink, observed: &Observed) -> bool {
    let Some(access) = uplink.access(Family::V6).filter(|_| auto(uplink)) else {
        return false;
    };
    let Some(link) = observed.link(&uplink.interface) else {
        return true;
    };
    let is_there = link.admin_up && link.carrier;
    let has_address = link.addresses_of(Family::V6).next().is_some();
    let mut defaults = observed.foreign_defaults.iter();
    let has_default = defaults.any(|d| d.ifindex == link.device.index && d.family == Family::V6);
    access.expected || !is_there || has_address || has_default
}

/// The IPv6 networks of the LAN, nobody's yet. Without `lan` in the file every interface counts that
/// is no uplink's.
fn lan_networks(config: &Config, observed: &Observed) -> Vec<LanNetwork> {
    let is_uplink = |name: &str| config.uplinks.iter().any(|u| u.interface == name);
    let links: Vec<_> = if config.lan.is_empty() {
        let others = observed.links.values();
        others.filter(|l| !is_uplink(&l.device.name)).collect()
    } else {
        let named = config.lan.iter();
        named.filter_map(|name| observed.link(name)).collect()
    };
    let mut networks: Vec<LanNetwork> = Vec::new();
    for link in links {
        for address in link.addresses_of(Family::V6) {
            let IpNet::V6(address) = address else {
                continue;
            };
            let network = address.trunc();
            let is_network = network.prefix_len() < network.max_prefix_len()
                && (is_global(network) || network.addr().is_unique_local());
            if !is_network {
                continue;
            }
            let interface = &link.device.name;
            let mut known = networks.iter_mut();
            match known.find(|n| n.network == network && n.interface == *interface) {
                Some(known) => known.addresses.push(address.addr()),
                None => networks.push(LanNetwork {
                    interface: interface.clone(),
                    network,
                    addresses: vec![address.addr()],
                    owner: None,
                }),
            }
        }
    }
    networks
}

/// The prefixes that somebody must have been delegated, longest first so that what lies in another
/// one is known when that is looked at.
fn candidates(config: &Config, observed: &Observed, networks: &[LanNetwork]) -> BTreeSet<Ipv6Net> {
    let facts = &observed.prefixes;
    let sourced = facts.sourced.iter().filter(|default| {
        // An uplink's own network may be the source of a route, too; no network of ours is cut from it.
        let link = observed.links.get(&default.ifindex);
        let mut addresses = link.into_iter().flat_map(|l| &l.addresses);
        !addresses.any(|a| a.trunc() == IpNet::V6(default.prefix))
    });
    let mut prefixes: BTreeSet<_> = sourced.map(|default| default.prefix).collect();
    prefixes.extend(facts.refused.iter().copied());
    let ranges = config.uplinks.iter().filter_map(|u| match source(u)? {
        PrefixSource::Within(range) => Some(range),
        PrefixSource::Auto | PrefixSource::Fixed(_) => None,
    });
    let ranges: Vec<_> = ranges.collect();
    prefixes.retain(|prefix| {
        let lengths = LEARNED_LENGTH_MIN..=NETWORK_LENGTH;
        let is_wanted = ranges.iter().any(|range| range.contains(prefix));
        is_global(*prefix)
            && prefix.prefix_len() <= NETWORK_LENGTH
            && (lengths.contains(&prefix.prefix_len()) || is_wanted)
    });
    let known: Vec<_> = prefixes.iter().copied().collect();
    let is_new = |network: &&Ipv6Net| {
        is_global(**network)
            && network.prefix_len() <= NETWORK_LENGTH
            && !known.iter().any(|p| p.contains(*network))
    };
    // Without `lan` in the file these are the networks of tunnels and whatever else there is, too.
    if !config.lan.is_empty() {
        prefixes.extend(networks.iter().map(|n| &n.network).filter(is_new));
    }
    prefixes
}

/// Whose a prefix is.
enum Owner<'a> {
    One(&'a UplinkName),
    /// Nothing tells which of them.
    Several(Vec<UplinkName>),
    /// None of those whose prefixes are learned.
    Nobody,
}

/// What tells whose a prefix is.
struct Claims<'a> {
    config: &'a Config,
    observed: &'a Observed,
    before: &'a Prefixes,
    could_own: Vec<&'a Uplink>,
}

impl<'a> Claims<'a> {
    /// In this order: the file, a route of the line itself, what was known before, and that only one
    /// uplink has IPv6 at all.
    fn owner(&self, prefix: Ipv6Net) -> Owner<'a> {
        if let Some(uplink) = self.by_file(prefix) {
            return Owner::One(&uplink.name);
        }
        let by_route = self.by_route(prefix);
        match by_route.as_slice() {
            [] => {}
            [uplink] => return Owner::One(&uplink.name),
            several => return Owner::Several(several.iter().map(|u| u.name.clone()).collect()),
        }
        let uplinks = &self.could_own;
        let known = self.before.owner_of(prefix);
        if let Some(uplink) = uplinks.iter().find(|u| Some(&u.name) == known) {
            return Owner::One(&uplink.name);
        }
        match uplinks.as_slice() {
            [] => Owner::Nobody,
            [uplink] => Owner::One(&uplink.name),
            several => Owner::Several(several.iter().map(|u| u.name.clone()).collect()),
        }
    }

    /// The uplink whose prefix or range it lies in, going by the file; the innermost of them.
    fn by_file(&self, prefix: Ipv6Net) -> Option<&'a Uplink> {
        let named = self.config.uplinks.iter().filter_map(|uplink| {
            let range = match source(uplink)? {
                PrefixSource::Fixed(range) | PrefixSource::Within(range) => range,
                PrefixSource::Auto => return None,
            };
            range
                .contains(&prefix)
                .then_some((range.prefix_len(), uplink))
        });
        let innermost = named.max_by_key(|(length, _)| *length);
        innermost.map(|(_, uplink)| uplink)
    }

    /// The uplinks by whose lines a default route leads for this source prefix, or for one around it.
    fn by_route(&self, prefix: Ipv6Net) -> Vec<&'a Uplink> {
        let routes = self.observed.prefixes.sourced.iter();
        let routes: Vec<_> = routes.filter(|d| d.prefix.contains(&prefix)).collect();
        let uplinks = self.config.uplinks.iter().filter(|uplink| {
            let link = self.observed.link(&uplink.interface);
            let index = link.map(|l| l.device.index);
            auto(uplink) && routes.iter().any(|d| Some(d.ifindex) == index)
        });
        uplinks.collect()
    }
}

/// Those that lie in no other of them.
fn outermost(prefixes: BTreeSet<Ipv6Net>) -> Vec<Ipv6Net> {
    let is_inner = |inner: &Ipv6Net| {
        let mut others = prefixes.iter();
        others.any(|outer| outer != inner && outer.contains(inner))
    };
    prefixes.iter().copied().filter(|p| !is_inner(p)).collect()
}

/// An uplink's prefixes, that of now first and the others by number. That of now is one whose addresses are still to be used before one whose
/// are not, one that has just come before those that were there, and at a first look the one whose
/// route is preferred, then the largest.
fn in_order(
    mut prefixes: Vec<Ipv6Net>,
    uplink: &UplinkName,
    before: &Prefixes,
    observed: &Observed,
) -> Vec<Ipv6Net> {
    let facts = &observed.prefixes;
    let metric = |prefix: &Ipv6Net| {
        let routes = facts.sourced.iter().filter(|d| d.prefix == *prefix);
        routes.map(|d| d.metric).min().unwrap_or(u32::MAX)
    };
    let earlier = before.all_of(uplink);
    let rank = |prefix: &Ipv6Net| {
        let place = earlier.iter().position(|p| p == prefix);
        let place = place.map_or(0, |place| place + 1);
        let length = prefix.prefix_len();
        (
            is_deprecated(*prefix, observed),
            place,
            metric(prefix),
            length,
            *prefix,
        )
    };
    // Which one is that of now the rules tell the next run; of the others they tell no order.
    prefixes.sort_unstable();
    let first = prefixes.iter().enumerate().min_by_key(|(_, p)| rank(p));
    if let Some((first, _)) = first {
        prefixes[..=first].rotate_right(1);
    }
    prefixes
}

/// Whether this machine has addresses of a prefix and none of them is to be used for anything new.
fn is_deprecated(prefix: Ipv6Net, observed: &Observed) -> bool {
    let addresses = observed.links.iter().flat_map(|(index, link)| {
        link.addresses.iter().filter_map(move |a| match a.addr() {
            IpAddr::V6(address) => prefix.contains(&address).then_some((*index, address)),
            IpAddr::V4(_) => None,
        })
    });
    let mut addresses = addresses.peekable();
    let deprecated = &observed.prefixes.deprecated;
    addresses.peek().is_some() && addresses.all(|a| deprecated.contains(&a))
}

//! What the kernel's interfaces, addresses and routes say about a line, before any probe. A line is
//! one family of one uplink.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv6Net};
use uplinkd_model::{
    Family, Gateway, NexthopKind, Observed, Reason, Reserve, TableId, Uplink,
    intent::is_on_link,
    kernel_state::{Device, ForeignDefault, Link},
};

use crate::{families::FAMILIES, prefixes::Prefixes};

/// Whether a line could carry traffic, going by its link alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Interface, carrier, address and gateway are there.
    Usable(Usable),
    /// Something is missing.
    Unusable(Reason),
    /// The uplink does not have this family, and nobody said that it should.
    Absent,
}

/// What is needed to route over an uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usable {
    /// The interface.
    pub device: Device,
    /// The gateway, which may be of the other family; none on a point-to-point line.
    pub gateway: Option<IpAddr>,
    /// The gateway is on the link although no address says so.
    pub on_link: bool,
    /// A router advertised the gateway, and may take it back.
    pub advertised: bool,
    /// The addresses of the family with their prefix length.
    pub addresses: Vec<IpNet>,
    /// Of a line that has none but a link-local one: the router's address in the line's delegated
    /// prefix, on another interface, which stands in for one of its own.
    pub borrowed: Option<Ipv6Addr>,
}

impl LinkState {
    /// The facts, where the link is usable.
    pub fn usable(&self) -> Option<&Usable> {
        match self {
            Self::Usable(usable) => Some(usable),
            Self::Unusable(_) | Self::Absent => None,
        }
    }
}

/// A gateway that was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Learned {
    /// None: the line needs none.
    pub(crate) gateway: Option<IpAddr>,
    /// On the link although no address says so.
    pub(crate) on_link: bool,
    /// A router advertised it, and may take it back.
    pub(crate) advertised: bool,
}

/// What is remembered of a line between two judgements of its link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The gateway that was learned before. It stays good while it is on the link even if the default
    /// route it came from is deleted, unless a router had advertised it.
    pub(crate) gateway: Option<Learned>,
    /// It had an address in this run: whatever is missing since then is a failure.
    pub(crate) was_seen: bool,
}

/// What a machine says about one family of an uplink whose interface bears its first name, going by
/// nothing but this look.
pub fn link_of(
    uplink: &Uplink,
    family: Family,
    observed: &Observed,
    reserve: &Reserve,
    prefixes: &Prefixes,
) -> LinkState {
    let known = |_| Known::default();
    link_state(uplink, family, observed, reserve, prefixes, known)
}

/// Judges the link of one family of an uplink. `known` says what is remembered of each family of it.
pub(crate) fn link_state(
    uplink: &Uplink,
    family: Family,
    observed: &Observed,
    reserve: &Reserve,
    prefixes: &Prefixes,
    known: impl Fn(Family) -> Known,
) -> LinkState {
    let Some(access) = uplink.access(family) else {
        return LinkState::Absent;
    };
    if is_absent(uplink, family, observed, prefixes, &known) {
        return LinkState::Absent;
    }
    let Some(link) = observed.link(&uplink.interface) else {
        return LinkState::Unusable(Reason::InterfaceMissing {
            interface: uplink.interface.clone(),
        });
    };
    if !link.admin_up {
        return LinkState::Unusable(Reason::InterfaceAdminDown);
    }
    if !link.carrier {
        return LinkState::Unusable(Reason::NoCarrier);
    }
    let addresses: Vec<IpNet> = link.addresses_of(family).collect();
    let mut borrowed = None;
    if addresses.is_empty() {
        let Some(prefix) = prefix_of(uplink, family, link, observed, prefixes) else {
            return LinkState::Unusable(Reason::NoAddress);
        };
        borrowed = prefixes.address_of(&uplink.name);
        if borrowed.is_none() {
            return LinkState::Unusable(Reason::NoPrefixAddress { prefix });
        }
    }
    let reach = Reach {
        addresses: &addresses,
        networks: observed.on_link.get(&link.device.index),
    };
    let learned = match access.gateway {
        Gateway::Address(gateway) => given_gateway(family, link, observed, gateway, &reach),
        Gateway::Auto => {
            let own = reserve.nexthop_path(family, uplink.slot);
            let own = observed.nexthops.get(&own);
            let own = own.filter(|n| reserve.owns_nexthop(n)).map(|n| &n.kind);
            let known = known(family).gateway;
            match learned_gateway(family, link, observed, &reach, known, own) {
                Some(learned) => learned,
                None => return LinkState::Unusable(Reason::NoGateway),
            }
        }
    };
    let Learned {
        gateway,
        on_link,
        advertised,
    } = learned;
    if let Some(gateway) = gateway
        && !on_link
        && !reach.has(gateway)
    {
        return LinkState::Unusable(Reason::GatewayOffLink { gateway });
    }
    LinkState::Usable(Usable {
        device: link.device.clone(),
        gateway,
        on_link: on_link && gateway.is_some_and(|g| !reach.has(g)),
        advertised,
        addresses,
        borrowed,
    })
}

/// The delegated prefix of a line, where its interface can reach a gateway by a link-local address: such
/// a line needs no other address, since the provider routes the prefix to it.
fn prefix_of(
    uplink: &Uplink,
    family: Family,
    link: &Link,
    observed: &Observed,
    prefixes: &Prefixes,
) -> Option<Ipv6Net> {
    let is_ready = family == Family::V6 && observed.link_local.contains(&link.device.index);
    prefixes.of(&uplink.name).filter(|_| is_ready)
}

/// Whether a family is neither there nor missed. Of an uplink of which nothing is there and nothing
/// was announced, its first family is missed: otherwise nobody would hear of it.
fn is_absent(
    uplink: &Uplink,
    family: Family,
    observed: &Observed,
    prefixes: &Prefixes,
    known: &impl Fn(Family) -> Known,
) -> bool {
    let link = observed.link(&uplink.interface);
    let is_there = |family: Family| {
        let has_address = || {
            link.is_some_and(|link| {
                link.addresses_of(family).next().is_some()
                    || prefix_of(uplink, family, link, observed, prefixes).is_some()
            })
        };
        let access = uplink.access(family);
        access.is_some_and(|a| a.expected || known(family).was_seen || has_address())
    };
    if is_there(family) {
        return false;
    }
    let first = FAMILIES.into_iter().find(|f| uplink.access(*f).is_some());
    FAMILIES.into_iter().any(is_there) || first != Some(family)
}

/// What can be reached by an interface without a gateway.
struct Reach<'a> {
    addresses: &'a [IpNet],
    /// What `main` says besides.
    networks: Option<&'a BTreeSet<IpNet>>,
}

impl Reach<'_> {
    /// Link-local gateways can always be reached, also by the other family.
    fn has(&self, gateway: IpAddr) -> bool {
        let is_link_local = match gateway {
            IpAddr::V4(_) => false,
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let is_in_network = |networks: &BTreeSet<IpNet>| {
            let mut networks = networks.iter();
            networks.any(|n| n.contains(&gateway))
        };
        let is_ours = || self.addresses.iter().any(|a| a.addr() == gateway);
        is_link_local
            || is_on_link(gateway, self.addresses)
            || self.networks.is_some_and(is_in_network) && !is_ours()
    }

    /// Whether every address is a network of its own, as hosting and mobile providers hand them out:
    /// then any gateway is as good as on the link, since there is no other way to reach it.
    fn is_of_single_addresses(&self) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.all(|a| a.prefix_len() == a.max_prefix_len())
    }
}

/// The default routes of others over an interface, best first: `main` before other tables, where
/// something old may stand.
fn defaults<'a>(
    family: Family,
    link: &Link,
    observed: &'a Observed,
) -> impl Iterator<Item = &'a ForeignDefault> {
    let index = link.device.index;
    let all = observed.foreign_defaults.iter();
    let mut all: Vec<_> = all
        .filter(|d| d.ifindex == index && d.family == family)
        .collect();
    all.sort_by_key(|d| (d.table != TableId::MAIN, d.metric, d.table));
    all.into_iter()
}

/// The file's own gateway. Outside the interface's networks it is believed where the machine's
/// routes confirm it, or the addresses leave no other choice: otherwise it is likely a slip.
fn given_gateway(
    family: Family,
    link: &Link,
    observed: &Observed,
    gateway: IpAddr,
    reach: &Reach<'_>,
) -> Learned {
    let mut defaults = defaults(family, link, observed);
    let is_confirmed = defaults.any(|d| d.gateway == Some(gateway) && d.on_link);
    Learned {
        gateway: Some(gateway),
        on_link: is_confirmed || reach.is_of_single_addresses(),
        advertised: false,
    }
}

/// The gateway by, in this order: the best default route that somebody else keeps over the
/// interface, the gateway known before, our own path nexthop from before a restart, the nature of the
/// link where it has one other end only.
///
/// A gateway that a router had advertised is forgotten with its route: the router has said that it no
/// longer wants to be one, or has said nothing for as long as it had promised to.
fn learned_gateway(
    family: Family,
    link: &Link,
    observed: &Observed,
    reach: &Reach<'_>,
    known: Option<Learned>,
    own: Option<&NexthopKind>,
) -> Option<Learned> {
    let is_as_on_link = reach.is_of_single_addresses();
    let is_good = |l: &Learned| l.on_link || l.gateway.is_none_or(|g| reach.has(g));
    let mut defaults = defaults(family, link, observed).map(|d| Learned {
        gateway: d.gateway,
        on_link: d.on_link || is_as_on_link,
        advertised: d.advertised,
    });
    if let Some(first) = defaults.next() {
        // While a client renumbers, the old route may stand before the new one.
        return Some(
            Some(first)
                .filter(is_good)
                .or_else(|| defaults.find(is_good))
                .unwrap_or(first),
        );
    }
    if let Some(known) = known {
        return Some(known).filter(|l| !l.advertised && is_good(l));
    }
    if let Some(NexthopKind::Single {
        device,
        gateway,
        on_link,
        ..
    }) = own
        && device.index == link.device.index
    {
        let own = Learned {
            gateway: *gateway,
            on_link: *on_link,
            advertised: false,
        };
        return Some(own).filter(is_good);
    }
    link.point_to_point.then_some(Learned {
        gateway: None,
        on_link: false,
        advertised: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{DELEGATED, both_families, config, delegated_only, machine};

    fn nothing(_: Family) -> Known {
        Known::default()
    }

    fn judge(config: &uplinkd_model::Config, family: Family, observed: &Observed) -> LinkState {
        let prefixes = Prefixes::learn(config, observed, &Prefixes::default(), |_| false);
        let (uplink, reserve) = (&config.uplinks[0], &config.reserve);
        link_state(uplink, family, observed, reserve, &prefixes, nothing)
    }

    /// Two uplinks with both families, none of them announced in the file.
    fn silent() -> uplinkd_model::Config {
        let mut config = both_families(config());
        for uplink in &mut config.uplinks {
            for access in [&mut uplink.ipv4, &mut uplink.ipv6].into_iter().flatten() {
                access.expected = false;
            }
        }
        config
    }

    #[test]
    fn a_family_that_nobody_spoke_of_is_absent_while_it_has_no_address() {
        let (config, observed) = (silent(), machine());
        assert_eq!(judge(&config, Family::V6, &observed), LinkState::Absent);
        assert!(judge(&config, Family::V4, &observed).usable().is_some());
        let mut expected = config;
        expected.uplinks[0].ipv6.as_mut().unwrap().expected = true;
        assert_eq!(
            judge(&expected, Family::V6, &observed),
            LinkState::Unusable(Reason::NoAddress)
        );
    }

    #[test]
    fn an_uplink_without_any_address_is_missed_once() {
        let mut observed = machine();
        observed.links.get_mut(&1).unwrap().addresses.clear();
        let config = silent();
        assert_eq!(
            judge(&config, Family::V4, &observed),
            LinkState::Unusable(Reason::NoAddress)
        );
        assert_eq!(judge(&config, Family::V6, &observed), LinkState::Absent);
    }

    #[test]
    fn what_was_seen_once_is_missed_when_it_is_gone() {
        let config = silent();
        let seen = |_| Known {
            was_seen: true,
            ..Known::default()
        };
        let uplink = &config.uplinks[0];
        let none = Prefixes::default();
        let state = link_state(uplink, Family::V6, &machine(), &config.reserve, &none, seen);
        assert_eq!(state, LinkState::Unusable(Reason::NoAddress));
    }

    #[test]
    fn a_line_without_an_address_borrows_one_of_its_prefix() {
        let config = silent();
        let borrowed = |observed: &Observed| match judge(&config, Family::V6, observed) {
            LinkState::Usable(usable) => {
                assert_eq!(usable.addresses, []);
                Ok(usable.borrowed.unwrap().to_string())
            }
            LinkState::Unusable(reason) => Err(Some(reason)),
            LinkState::Absent => Err(None),
        };
        let good = delegated_only();
        assert_eq!(borrowed(&good), Ok("2001:db8:100:1::1".to_owned()));
        let without = |change: &dyn Fn(&mut Observed)| {
            let mut observed = good.clone();
            change(&mut observed);
            borrowed(&observed)
        };
        // Nothing to reach a gateway by: still being claimed, or there is none at all.
        let unready = without(&|o| o.link_local = [2, 3].into());
        assert_eq!(unready, Err(None));
        let unrouted = without(&|o| o.foreign_defaults.retain(|d| d.ifindex != 1));
        assert_eq!(unrouted, Err(Some(Reason::NoGateway)));
        // The prefix is another uplink's, or nobody's.
        assert_eq!(
            without(&|o| o.prefixes.sourced[0].ifindex = 2),
            Err(None),
            "a prefix of another uplink"
        );
        assert_eq!(without(&|o| o.prefixes.sourced.clear()), Err(None));
        // The prefix is known and used nowhere; or only on another uplink's interface.
        let prefix = DELEGATED.parse().unwrap();
        let unused = Err(Some(Reason::NoPrefixAddress { prefix }));
        assert_eq!(without(&|o| drop(o.links.remove(&3))), unused);
        let elsewhere = |o: &mut Observed| {
            let lan = o.links.remove(&3).unwrap();
            o.links.get_mut(&2).unwrap().addresses.extend(lan.addresses);
        };
        assert_eq!(without(&elsewhere), unused);
    }

    #[test]
    fn a_line_with_an_address_borrows_none() {
        let mut observed = delegated_only();
        let address: IpNet = "2001:db8:1::2/64".parse().unwrap();
        observed.links.get_mut(&1).unwrap().addresses.push(address);
        let state = judge(&silent(), Family::V6, &observed);
        assert_eq!(state.usable().unwrap().borrowed, None);
        let state = judge(&silent(), Family::V4, &delegated_only());
        assert_eq!(state.usable().unwrap().borrowed, None);
    }

    #[test]
    fn a_link_local_address_is_none_where_no_prefix_is_delegated() {
        let mut observed = delegated_only();
        observed.prefixes.sourced.clear();
        let config = both_families(config());
        assert_eq!(
            judge(&config, Family::V6, &observed),
            LinkState::Unusable(Reason::NoAddress)
        );
    }

    #[test]
    fn a_link_local_gateway_is_always_on_the_link() {
        let mut observed = machine();
        let address: IpNet = "2001:db8:1::2/64".parse().unwrap();
        observed.links.get_mut(&1).unwrap().addresses.push(address);
        let mut config = silent();
        let usable =
            |config: &uplinkd_model::Config| judge(config, Family::V6, &observed).usable().cloned();
        assert_eq!(usable(&config), None, "no gateway is known");
        let access = config.uplinks[0].ipv6.as_mut().unwrap();
        access.gateway = Gateway::Address("fe80::1".parse().unwrap());
        assert_eq!(
            usable(&config).unwrap().gateway,
            Some("fe80::1".parse().unwrap())
        );
    }

    fn foreign(gateway: Option<&str>) -> ForeignDefault {
        ForeignDefault {
            gateway: gateway.map(|g| g.parse().unwrap()),
            metric: 0,
            ..machine().foreign_defaults[0]
        }
    }

    /// The gateway of the first uplink, and whether it is on the link although no address says so.
    fn gateway(observed: &Observed, known: Option<Learned>) -> Result<(String, bool), Reason> {
        let config = config();
        let known = |_| Known {
            gateway: known,
            was_seen: true,
        };
        let uplink = &config.uplinks[0];
        let none = Prefixes::default();
        match link_state(uplink, Family::V4, observed, &config.reserve, &none, known) {
            LinkState::Usable(usable) => {
                let gateway = usable.gateway.map_or("none".to_owned(), |g| g.to_string());
                Ok((gateway, usable.on_link))
            }
            LinkState::Unusable(reason) => Err(reason),
            LinkState::Absent => panic!("absent"),
        }
    }

    fn with_addresses(addresses: &[&str], defaults: Vec<ForeignDefault>) -> Observed {
        let mut observed = machine();
        let link = observed.links.get_mut(&1).unwrap();
        link.addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        observed.foreign_defaults = defaults;
        observed
    }

    fn ok(gateway: &str, on_link: bool) -> Result<(String, bool), Reason> {
        Ok((gateway.to_owned(), on_link))
    }

    #[test]
    fn a_gateway_outside_the_networks_is_believed_where_something_says_that_it_is_on_the_link() {
        let far = foreign(Some("203.0.113.1"));
        let off = Err(Reason::GatewayOffLink {
            gateway: "203.0.113.1".parse().unwrap(),
        });
        let observed = with_addresses(&["100.64.1.2/24"], vec![far]);
        assert_eq!(gateway(&observed, None), off);
        let on_link = ForeignDefault {
            on_link: true,
            ..far
        };
        let observed = with_addresses(&["100.64.1.2/24"], vec![on_link]);
        assert_eq!(gateway(&observed, None), ok("203.0.113.1", true));
        // Hosting: the address is all there is.
        let observed = with_addresses(&["100.64.1.2/32"], vec![far]);
        assert_eq!(gateway(&observed, None), ok("203.0.113.1", true));
        let both = ["100.64.1.2/32", "100.64.9.2/24"];
        assert_eq!(gateway(&with_addresses(&both, vec![far]), None), off);
        // A route in `main` says it, and the kernel finds that by itself.
        let mut observed = with_addresses(&["100.64.1.2/24"], vec![far]);
        let networks = |n: &str| BTreeSet::from([n.parse::<IpNet>().unwrap()]);
        observed.on_link.insert(1, networks("203.0.113.2/32"));
        assert_eq!(gateway(&observed, None), off);
        observed.on_link.insert(1, networks("203.0.113.1/32"));
        assert_eq!(gateway(&observed, None), ok("203.0.113.1", false));
        // An address with one neighbour.
        let near = foreign(Some("100.64.1.3"));
        let observed = with_addresses(&["100.64.1.2/31"], vec![near]);
        assert_eq!(gateway(&observed, None), ok("100.64.1.3", false));
        // The other family's link-local addresses reach over every link.
        let observed = with_addresses(&["100.64.1.2/24"], vec![foreign(Some("fe80::1"))]);
        assert_eq!(gateway(&observed, None), ok("fe80::1", false));
    }

    #[test]
    fn a_gateway_of_the_file_outside_the_networks_needs_a_witness() {
        let mut config = config();
        let far = "203.0.113.1".parse().unwrap();
        config.uplinks[0].ipv4.as_mut().unwrap().gateway = Gateway::Address(far);
        let usable = |observed: &Observed| judge(&config, Family::V4, observed).usable().cloned();
        let observed = with_addresses(&["100.64.1.2/24"], Vec::new());
        assert_eq!(usable(&observed), None);
        let witness = ForeignDefault {
            on_link: true,
            ..foreign(Some("203.0.113.1"))
        };
        let observed = with_addresses(&["100.64.1.2/24"], vec![witness]);
        assert!(usable(&observed).is_some_and(|u| u.on_link));
        let observed = with_addresses(&["100.64.1.2/32"], Vec::new());
        assert!(usable(&observed).is_some_and(|u| u.on_link));
    }

    #[test]
    fn the_best_default_is_of_main_then_of_another_table_and_never_one_that_cannot_be_reached() {
        let other = ForeignDefault {
            table: TableId(100),
            ..foreign(Some("100.64.1.9"))
        };
        let main = ForeignDefault {
            metric: 1000,
            ..foreign(Some("100.64.1.1"))
        };
        let old = foreign(Some("192.0.2.1"));
        let of = |defaults: Vec<ForeignDefault>| {
            gateway(&with_addresses(&["100.64.1.2/24"], defaults), None)
        };
        assert_eq!(of(vec![other, main]), ok("100.64.1.1", false));
        assert_eq!(of(vec![other]), ok("100.64.1.9", false));
        assert_eq!(of(vec![other, main, old]), ok("100.64.1.1", false));
        assert_eq!(of(vec![old, other]), ok("100.64.1.9", false));
    }

    #[test]
    fn a_gateway_stays_known_without_its_route_unless_a_router_took_it_back() {
        let bare = with_addresses(&["100.64.1.2/24"], Vec::new());
        let known = |gateway: &str, advertised| {
            Some(Learned {
                gateway: Some(gateway.parse().unwrap()),
                on_link: false,
                advertised,
            })
        };
        assert_eq!(
            gateway(&bare, known("100.64.1.1", false)),
            ok("100.64.1.1", false)
        );
        assert_eq!(
            gateway(&bare, known("100.64.1.1", true)),
            Err(Reason::NoGateway)
        );
        assert_eq!(
            gateway(&bare, known("192.0.2.1", false)),
            Err(Reason::NoGateway)
        );
        assert_eq!(gateway(&bare, None), Err(Reason::NoGateway));
    }

    #[test]
    fn a_link_with_one_other_end_needs_no_gateway() {
        let mut observed = with_addresses(&["100.64.1.2/32"], Vec::new());
        assert_eq!(gateway(&observed, None), Err(Reason::NoGateway));
        observed.links.get_mut(&1).unwrap().point_to_point = true;
        assert_eq!(gateway(&observed, None), ok("none", false));
        // It has learned that before, and stays so without any route.
        let known = Learned {
            gateway: None,
            on_link: false,
            advertised: false,
        };
        observed.links.get_mut(&1).unwrap().point_to_point = false;
        assert_eq!(gateway(&observed, Some(known)), ok("none", false));
    }
}

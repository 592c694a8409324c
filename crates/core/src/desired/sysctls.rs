//! The sysctls that the layout stands on, and which values of them are good enough.

use std::collections::BTreeMap;

use ipnet::IpNet;
use uplinkd_model::{Config, Family, Observed, kernel_state::is_first_name};

use crate::families::PerFamily;

/// Switches that make a router of this machine. They come after all other sysctls: IPv4 connections
/// that are forwarded before they can be translated never are, and with IPv6 forwarding on the kernel
/// no longer takes router advertisements from interfaces whose `accept_ra` is 1.
pub(crate) const FORWARDING_V4: &str = "net/ipv4/ip_forward";
/// Likewise.
pub(crate) const FORWARDING_V6: &str = "net/ipv6/conf/all/forwarding";

struct Wanted {
    path: String,
    /// Values that will do; where none of them is there, the first is written.
    good: &'static [&'static str],
}

fn wanted(config: &Config, has: &PerFamily<bool>) -> Vec<Wanted> {
    let mut all = Vec::new();
    if has.v4 {
        all.extend(wanted_v4(config));
    }
    if has.v6 {
        all.extend(wanted_v6(config));
    }
    if has.v4 || has.v6 {
        // With 1 every change of a nexthop is told once for each route on it. It counts for both
        // families, whatever its name says.
        all.push(one("net/ipv4/nexthop_compat_mode", &["0"]));
    }
    all
}

fn one(path: impl Into<String>, good: &'static [&'static str]) -> Wanted {
    let path = path.into();
    Wanted { path, good }
}

fn wanted_v4(config: &Config) -> Vec<Wanted> {
    let mut all = vec![
        one(FORWARDING_V4, &["1"]),
        // 0 and 2 send a client and a server over one uplink for ever; 3 is the user's own choice of fields.
        one("net/ipv4/fib_multipath_hash_policy", &["1", "3"]),
        one("net/ipv4/conf/all/src_valid_mark", &["1"]),
    ];
    for interface in interfaces(config, Family::V4) {
        all.push(one(rp_filter(interface), &["2", "0"]));
        let path = format!("net/ipv4/conf/{interface}/ignore_routes_with_linkdown");
        all.push(one(path, &["1"]));
    }
    all
}

fn wanted_v6(config: &Config) -> Vec<Wanted> {
    let mut all = vec![
        one(FORWARDING_V6, &["1"]),
        one("net/ipv6/fib_multipath_hash_policy", &["1", "3"]),
    ];
    for interface in interfaces(config, Family::V6) {
        // A router that forwards takes router advertisements only with 2. Who has 0 takes none.
        let path = format!("net/ipv6/conf/{interface}/accept_ra");
        all.push(one(path, &["2", "0"]));
    }
    all
}

/// The uplinks' interfaces, where their names are known.
fn interfaces(config: &Config, family: Family) -> impl Iterator<Item = &String> {
    let uplinks = config.uplinks.iter();
    let uplinks = uplinks.filter(move |u| u.access(family).is_some());
    uplinks.map(|u| &u.interface).filter(|n| is_first_name(n))
}

/// The uplinks' interfaces that share a network with another one: a provider used twice.
fn twins<'a>(config: &'a Config, observed: &Observed) -> Vec<&'a String> {
    let networks = |interface: &String| -> Vec<_> {
        let link = observed.link(interface).into_iter();
        link.flat_map(|l| l.addresses_of(Family::V4)).collect()
    };
    let all: Vec<_> = interfaces(config, Family::V4)
        .map(|i| (i, networks(i)))
        .collect();
    let shares = |one: &(&String, Vec<IpNet>)| {
        let mut others = all.iter().filter(|(i, _)| *i != one.0);
        others.any(|(_, networks)| {
            let mut pairs = networks
                .iter()
                .flat_map(|a| one.1.iter().map(move |b| (a, b)));
            pairs.any(|(a, b)| a.contains(&b.addr()) || b.contains(&a.addr()))
        })
    };
    let twins = all.iter().filter(|one| shares(one));
    twins.map(|(i, _)| *i).collect()
}

/// An interface that speaks for its own addresses only. The kernel answers for all addresses of the
/// machine on every interface by default, and the far end of two lines in one network would learn
/// that both addresses are at the same one.
fn own_answers(interface: &String) -> [Wanted; 2] {
    let path = |leaf| format!("net/ipv4/conf/{interface}/{leaf}");
    [
        one(path("arp_ignore"), &["1", "2", "3", "8"]),
        one(path("arp_announce"), &["2"]),
    ]
}

fn rp_filter(interface: &str) -> String {
    format!("net/ipv4/conf/{interface}/rp_filter")
}

/// The sysctls that have to be read, by path below `/proc/sys`.
pub fn sysctl_paths(config: &Config) -> Vec<String> {
    // Those of a family that no uplink has today, too: tomorrow one may.
    let has =
        PerFamily::from_fn(|family| config.uplinks.iter().any(|u| u.access(family).is_some()));
    let mut paths: Vec<_> = wanted(config, &has).into_iter().map(|w| w.path).collect();
    paths.push(rp_filter("all"));
    let answers = interfaces(config, Family::V4).flat_map(own_answers);
    paths.extend(answers.map(|w| w.path));
    paths
}

/// The desired value of each sysctl that exists. Where the present value is good enough it is the
/// desired one: nothing is changed without need.
pub(super) fn sysctls(
    config: &Config,
    has: &PerFamily<bool>,
    observed: &Observed,
) -> BTreeMap<String, String> {
    let strict_for_all = observed
        .sysctls
        .get(&rp_filter("all"))
        .is_some_and(|v| v == "1");
    let twins = twins(config, observed).into_iter().flat_map(own_answers);
    wanted(config, has)
        .into_iter()
        .chain(twins)
        .filter_map(|wanted| {
            let present = observed.sysctls.get(&wanted.path)?;
            // The kernel takes the larger of `all` and the interface's own, so that an interface's 0
            // under a strict `all` is strict, and its 2 is loose whatever `all` says.
            let off_under_strict =
                strict_for_all && present == "0" && wanted.path.ends_with("/rp_filter");
            let good = wanted.good.contains(&present.as_str()) && !off_under_strict;
            Some((
                wanted.path,
                if good {
                    present.clone()
                } else {
                    wanted.good[0].to_owned()
                },
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{sysctls as sysctls_of, *};

    fn desired(observed: &[(&str, &str)]) -> BTreeMap<String, String> {
        desired_with(true, observed)
    }

    fn desired_with(v6: bool, observed: &[(&str, &str)]) -> BTreeMap<String, String> {
        let config = crate::fixtures::both_families(crate::fixtures::config());
        let sysctls = observed
            .iter()
            .map(|(p, v)| (p.to_string(), v.to_string()))
            .collect();
        let observed = Observed {
            sysctls,
            ..Observed::default()
        };
        sysctls_of(&config, &PerFamily { v4: true, v6 }, &observed)
    }

    #[test]
    fn a_strict_path_filter_is_loosened_and_others_are_left_alone() {
        let all = |v| ("net/ipv4/conf/all/rp_filter", v);
        let own = |v| ("net/ipv4/conf/wan1/rp_filter", v);
        let wan1 = |d: BTreeMap<String, String>| d["net/ipv4/conf/wan1/rp_filter"].clone();
        assert_eq!(wan1(desired(&[all("0"), own("1")])), "2");
        assert_eq!(wan1(desired(&[all("0"), own("0")])), "0");
        assert_eq!(wan1(desired(&[all("2"), own("0")])), "0");
        assert_eq!(wan1(desired(&[all("1"), own("0")])), "2");
        assert!(!desired(&[all("1")]).contains_key("net/ipv4/conf/all/rp_filter"));
    }

    #[test]
    fn the_users_own_hash_fields_stay() {
        let policy = "net/ipv4/fib_multipath_hash_policy";
        assert_eq!(desired(&[(policy, "3")])[policy], "3");
        assert_eq!(desired(&[(policy, "0")])[policy], "1");
    }

    #[test]
    fn router_advertisements_stay_welcome_where_they_were() {
        let path = "net/ipv6/conf/wan1/accept_ra";
        assert_eq!(desired(&[(path, "1")])[path], "2");
        assert_eq!(desired(&[(path, "0")])[path], "0");
        assert_eq!(desired(&[(path, "2")])[path], "2");
        assert!(desired_with(false, &[(path, "1"), (FORWARDING_V6, "0")]).is_empty());
    }

    #[test]
    fn two_lines_in_one_network_speak_for_their_own_addresses_only() {
        let config = crate::fixtures::config();
        let mut observed = crate::fixtures::machine();
        let sysctls = sysctl_paths(&config)
            .into_iter()
            .map(|p| (p, "0".to_owned()));
        observed.sysctls = sysctls.collect();
        let wanted = |observed: &Observed| {
            let has = PerFamily {
                v4: true,
                v6: false,
            };
            let all = sysctls_of(&config, &has, observed);
            ["wan1/arp_ignore", "wan2/arp_ignore", "wan2/arp_announce"]
                .map(|leaf| all.get(&format!("net/ipv4/conf/{leaf}")).cloned())
        };
        assert_eq!(wanted(&observed), [None, None, None]);
        let same = "100.64.1.3/24".parse().unwrap();
        observed.links.get_mut(&2).unwrap().addresses = vec![same];
        let twins = ["1", "1", "2"].map(|v| Some(v.to_owned()));
        assert_eq!(wanted(&observed), twins);
    }

    #[test]
    fn what_this_kernel_lacks_is_not_wanted() {
        assert!(desired(&[]).is_empty());
    }
}

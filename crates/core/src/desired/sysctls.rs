//! The sysctls that the layout stands on, and which values of them are good enough.

use std::collections::BTreeMap;

use uplinkd_model::{Config, Observed};

struct Wanted {
    path: String,
    /// Values that will do; where none of them is there, the first is written.
    good: &'static [&'static str],
}

fn wanted(config: &Config) -> Vec<Wanted> {
    let one = |path: String, good| Wanted { path, good };
    let mut all = vec![
        one("net/ipv4/ip_forward".into(), &["1"] as &[&str]),
        // 0 and 2 send a client and a server over one uplink for ever; 3 is the user's own choice of fields.
        one("net/ipv4/fib_multipath_hash_policy".into(), &["1", "3"]),
        // With 1 every change of a nexthop is told once for each route on it.
        one("net/ipv4/nexthop_compat_mode".into(), &["0"]),
        one("net/ipv4/conf/all/src_valid_mark".into(), &["1"]),
    ];
    for uplink in &config.uplinks {
        all.push(one(rp_filter(&uplink.interface), &["2", "0"]));
        all.push(one(
            format!(
                "net/ipv4/conf/{}/ignore_routes_with_linkdown",
                uplink.interface
            ),
            &["1"],
        ));
    }
    all
}

fn rp_filter(interface: &str) -> String {
    format!("net/ipv4/conf/{interface}/rp_filter")
}

/// The sysctls that have to be read, by path below `/proc/sys`.
pub fn sysctl_paths(config: &Config) -> Vec<String> {
    let mut paths: Vec<_> = wanted(config).into_iter().map(|w| w.path).collect();
    paths.push(rp_filter("all"));
    paths
}

/// The desired value of each sysctl that exists. Where the present value is good enough it is the
/// desired one: nothing is changed without need.
pub(super) fn sysctls(config: &Config, observed: &Observed) -> BTreeMap<String, String> {
    let strict_for_all = observed
        .sysctls
        .get(&rp_filter("all"))
        .is_some_and(|v| v == "1");
    wanted(config)
        .into_iter()
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
    use super::*;

    fn desired(observed: &[(&str, &str)]) -> BTreeMap<String, String> {
        let config: Config = crate::desired::tests::config();
        let observed = observed
            .iter()
            .map(|(p, v)| (p.to_string(), v.to_string()))
            .collect();
        sysctls(
            &config,
            &Observed {
                sysctls: observed,
                ..Observed::default()
            },
        )
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
    fn what_this_kernel_lacks_is_not_wanted() {
        assert!(desired(&[]).is_empty());
    }
}

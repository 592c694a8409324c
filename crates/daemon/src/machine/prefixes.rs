//! Delegated IPv6 prefixes: of which nothing tells whose they are, which are missing, and which are too
//! small.

use ipnet::{IpNet, Ipv6Net};
use uplinkd_config::{Diagnostic, Field, Parsed};
use uplinkd_core::{Prefixes, Unclaimed};
use uplinkd_model::{Config, Family, Nat, Observed, UplinkName};

use super::Problem;

/// The least that a provider is given by its registry: two prefixes that agree so far are one
/// provider's, in all likelihood.
const PROVIDER_LENGTH: u8 = 32;

pub(super) fn prefixes(
    found: &mut Vec<Problem>,
    parsed: &Parsed,
    config: &Config,
    observed: &Observed,
) {
    let prefixes = Prefixes::learn(config, observed, &Prefixes::default(), |_| false);
    for unclaimed in &prefixes.unclaimed {
        let first = unclaimed.uplinks.first();
        let at = first.map_or(0..0, |uplink| parsed.span_of(uplink, Field::Prefix));
        let names: Vec<_> = unclaimed.uplinks.iter().map(UplinkName::as_str).collect();
        let prefix = unclaimed.prefix;
        let message = format!(
            "prefix {prefix} could be delegated to any of {}",
            names.join(", ")
        );
        found.push(Problem::local(
            Diagnostic::warning(at, message).hint(hint(unclaimed, config, observed)),
        ));
    }
    let uplinks = config.uplinks.iter();
    let translating = uplinks.filter(|u| u.ipv6.as_ref().is_some_and(|a| a.nat == Nat::Prefix));
    for uplink in translating {
        let name = &uplink.name;
        let at = parsed.span_of(name, Field::Nat(Family::V6));
        let Some(prefix) = prefixes.of(name) else {
            found.push(Problem::local(
                Diagnostic::warning(at, format!("no delegated prefix of {name} is known"))
                    .label("masquerades until one is")
                    .hint(format!(
                        "start the DHCPv6 client that asks for one, or write `prefix = \"…\"` \
                         below [uplink.{name}.ipv6]"
                    )),
            ));
            continue;
        };
        let left_over = prefixes.translations(name).left_over;
        if !left_over.is_empty() {
            let networks: Vec<_> = left_over.iter().map(ToString::to_string).collect();
            let networks = networks.join(", ");
            let message = format!("prefix {prefix} of {name} has no room for {networks}");
            found.push(Problem::local(
                Diagnostic::warning(at, message)
                    .label("masqueraded instead")
                    .hint("have the DHCPv6 client ask for a shorter prefix, such as a /56"),
            ));
        }
    }
}

/// What to write, and for which uplink where the addresses of the lines show a likely one. That is
/// good enough for a proposal, not for routing.
fn hint(unclaimed: &Unclaimed, config: &Config, observed: &Observed) -> String {
    let Some(range) = range(unclaimed.prefix) else {
        return String::new();
    };
    let is_alike = |name: &&UplinkName| {
        let link = config
            .uplink(name)
            .and_then(|u| observed.link(&u.interface));
        let mut addresses = link.into_iter().flat_map(|l| l.addresses_of(Family::V6));
        addresses.any(|a| IpNet::V6(range).contains(&a.addr()))
    };
    let alike: Vec<_> = unclaimed.uplinks.iter().filter(is_alike).collect();
    let (name, why) = match alike.as_slice() {
        [uplink] => (uplink.as_str(), ", whose own address lies in that range"),
        _ => ("NAME", ", with the name of the one that it belongs to"),
    };
    format!(
        "it counts as nobody's until you say so: write `prefix = {{ within = \"{range}\" }}`, or the \
         prefix itself if it never changes, below [uplink.{name}.ipv6]{why}"
    )
}

fn range(prefix: Ipv6Net) -> Option<Ipv6Net> {
    let length = PROVIDER_LENGTH.min(prefix.prefix_len());
    Ipv6Net::new(prefix.addr(), length).ok().map(|n| n.trunc())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uplinkd_model::{Link, kernel_state::Device};

    use super::*;

    const FILE: &str = "lan = [\"lan0\"]\n[uplink.isp1]\ninterface = \"wan1\"\n\n\
                        [uplink.isp2]\ninterface = \"wan2\"\n";

    fn texts(file: &str, addresses: [&str; 3]) -> Vec<String> {
        let parsed = uplinkd_config::parse("t", file).unwrap();
        let config = parsed.to_config(&Default::default(), &Default::default());
        let links = ["wan1", "wan2", "lan0"].into_iter().zip(addresses);
        let links = (1..).zip(links).map(|(index, (name, address))| {
            let link = Link {
                alternative_names: Default::default(),
                point_to_point: false,
                device: Device {
                    index,
                    name: name.into(),
                },
                admin_up: true,
                carrier: true,
                addresses: vec![address.parse().unwrap()],
            };
            (index, link)
        });
        let observed = Observed {
            links: links.collect::<BTreeMap<_, _>>(),
            ..Observed::default()
        };
        let mut found = Vec::new();
        prefixes(&mut found, &parsed, &config, &observed);
        let hint = |p: Problem| p.diagnostic.hint.unwrap_or_default();
        found.into_iter().map(hint).collect()
    }

    #[test]
    fn a_prefix_that_two_uplinks_could_own_is_named_with_the_key_to_set() {
        let other = ["2001:db8:1::1/64", "2001:db9::1/64", "2001:dba:100::1/64"];
        let [hint] = &texts(FILE, other)[..] else {
            panic!("one finding")
        };
        assert!(hint.contains("{ within = \"2001:dba::/32\" }"), "{hint}");
        assert!(hint.contains("[uplink.NAME.ipv6]"), "{hint}");
    }

    #[test]
    fn the_uplink_whose_address_is_alike_is_proposed_unless_two_are() {
        let alike = ["2001:db8:1::1/64", "2001:db9::1/64", "2001:db8:100::1/64"];
        assert!(texts(FILE, alike)[0].contains("[uplink.isp1.ipv6]"));
        let both = ["2001:db8:1::1/64", "2001:db8:2::1/64", "2001:db8:100::1/64"];
        assert!(texts(FILE, both)[0].contains("[uplink.NAME.ipv6]"));
        let said = format!("{FILE}ipv6.prefix = {{ within = \"2001:db8::/32\" }}\n");
        assert_eq!(texts(&said, both), [""; 0]);
    }

    #[test]
    fn translation_without_a_prefix_or_without_room_is_told() {
        let with = |prefix| {
            let more = format!("ipv6 = {{ nat = \"prefix\", {prefix} }}\n");
            FILE.replace("\"wan1\"\n", &format!("\"wan1\"\n{more}"))
        };
        let addresses = ["2001:db8:1::1/64", "100.64.2.2/24", "fd00::1/56"];
        let missing = texts(&with("use = true"), addresses);
        assert!(
            missing[0].contains("below [uplink.isp1.ipv6]"),
            "{missing:?}"
        );
        let small = texts(&with("prefix = \"2001:db8:100::/60\""), addresses);
        assert!(small[0].contains("a shorter prefix"), "{small:?}");
        let enough = texts(&with("prefix = \"2001:db8:100::/56\""), addresses);
        assert_eq!(enough, [""; 0]);
    }
}

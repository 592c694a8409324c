//! What on this machine would stand in the way: facts compared with the file, nothing decided.

mod advertisements;
mod api;
mod dhcp_clients;
mod ifupdown;
mod links;
mod managers;
mod networkd_links;
mod notify;
mod numbers;
mod prefixes;
mod profiles;
mod rules;

use std::path::Path;

use anyhow::Context as _;
use uplinkd_config::{Diagnostic, Parsed};
use uplinkd_core::with_first_names;
use uplinkd_kernel::{Features, Kernel, sysctl};
use uplinkd_model::{Config, Family, Gateway, Observed, Reserve, Rule, Uplink, policy::Selector};

use crate::{look::look, resolver};

/// A finding.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What is wrong, where in the file it comes from, and what to do.
    pub diagnostic: Diagnostic,
    /// The daemon cannot work at all like this. Other errors concern one uplink, which may come later.
    pub is_fatal: bool,
}

impl Problem {
    fn fatal(diagnostic: Diagnostic) -> Self {
        Self {
            diagnostic,
            is_fatal: true,
        }
    }

    fn local(diagnostic: Diagnostic) -> Self {
        Self {
            diagnostic,
            is_fatal: false,
        }
    }

    /// Whether `check` says no because of it.
    pub fn is_error(&self) -> bool {
        self.diagnostic.severity == uplinkd_config::Severity::Error
    }
}

/// Looks at this machine and finds everything that stands in the way, as [`problems`] does.
///
/// # Errors
/// When the machine cannot be looked at.
pub fn examine(
    kernel: &mut Kernel,
    parsed: &Parsed,
    config: &Config,
    earlier: &[Reserve],
) -> anyhow::Result<Vec<Problem>> {
    let features = kernel.features();
    let interfaces = config.uplinks.iter().map(|u| &u.interface);
    let claims = std::slice::from_ref(&config.reserve);
    let observed = kernel
        .observe(&look(config, interfaces, claims, false))
        .context("cannot look at this machine's network")?;
    let config = with_first_names(config, &observed);
    Ok(problems(parsed, &config, earlier, &observed, &features))
}

/// Everything that stands in the way, the worst first. `earlier` are reserves of configurations before
/// this one, whose objects are ours too.
pub fn problems(
    parsed: &Parsed,
    config: &Config,
    earlier: &[Reserve],
    observed: &Observed,
    features: &Features,
) -> Vec<Problem> {
    let mut found: Vec<Problem> = features
        .missing()
        .into_iter()
        .map(|text| {
            Problem::fatal(Diagnostic::error(
                0..0,
                format!("this machine lacks {text}"),
            ))
        })
        .collect();
    let lacking = found.len();
    let claims = [std::slice::from_ref(&config.reserve), earlier].concat();
    numbers::marks(&mut found, parsed, &claims, observed);
    numbers::foreign_in_reserve(&mut found, parsed, &claims, observed);
    let ran_before = earlier.contains(&config.reserve);
    if ran_before && observed.rules.iter().any(|r| is_ours(&claims, r)) {
        // What came while we ran was lived with; a restart that refused it would leave the router
        // unwatched.
        found[lacking..].iter_mut().for_each(|p| p.is_fatal = false);
    }
    numbers::layout(&mut found, parsed, &config.reserve, earlier);
    rules::rules(&mut found, parsed, &claims, observed);
    links::uplinks(&mut found, parsed, config, observed);
    links::lan(&mut found, parsed, config, observed);
    prefixes::prefixes(&mut found, parsed, config, observed);
    let root = Path::new("/");
    let running = managers::running(Path::new("/proc"));
    managers::networkd(&mut found, root, &running);
    managers::network_manager(&mut found, config, root, &running);
    networkd_links::links(&mut found, config, root, &running);
    profiles::profiles(&mut found, config, root, &running);
    dhcp_clients::dhcpcd(&mut found, config, root, &running);
    dhcp_clients::dhclient(&mut found, config, root, &running);
    dhcp_clients::pppd(&mut found, config, root);
    ifupdown::ifupdown(&mut found, config, root);
    let read = |path: &str| sysctl::read(path).ok();
    advertisements::advertisements(&mut found, config, &running, read);
    domains(&mut found, parsed, config, root);
    numbers::table_names(&mut found, parsed, config, Path::new("/etc/iproute2"));
    conntrack(&mut found);
    api::tokens(&mut found, parsed);
    notify::channels(&mut found, parsed);
    found.sort_by_key(|p| (!p.is_fatal, !p.is_error()));
    found
}

/// A doubt about something outside our file, with its remedy.
fn warning(message: String, hint: String) -> Problem {
    Problem::local(Diagnostic::warning(0..0, message).hint(hint))
}

/// Whether a family's gateway comes from a default route that somebody else keeps.
fn learns(uplink: &Uplink, family: Family) -> bool {
    uplink
        .access(family)
        .is_some_and(|a| a.gateway == Gateway::Auto)
}

/// Whether the file says that an uplink has a family, so that its absence is a fault.
fn misses(uplink: &Uplink, family: Family) -> bool {
    uplink.access(family).is_some_and(|a| a.expected)
}

fn is_ours(claims: &[Reserve], rule: &Rule) -> bool {
    claims.iter().any(|c| c.owns_rule(rule))
}

fn conntrack(found: &mut Vec<Problem>) {
    if sysctl::read("net/netfilter/nf_conntrack_tcp_loose").is_ok_and(|v| v == "0") {
        let message = "net.netfilter.nf_conntrack_tcp_loose is 0".to_owned();
        found.push(Problem::local(Diagnostic::warning(0..0, message).hint(
            "TCP connections of a failed uplink then hang instead of being reset; set it to 1 if your firewall allows",
        )));
    }
}

/// Policies by domain whose sets no resolver fills.
fn domains(found: &mut Vec<Problem>, parsed: &Parsed, config: &Config, root: &Path) {
    let missing = resolver::not_told(config, root);
    for (p, policy) in config.policies.iter().enumerate() {
        for (c, clause) in policy.clauses.iter().enumerate() {
            if let Selector::Domain { set, .. } = &clause.selector
                && missing.contains(set)
            {
                found.push(Problem::local(
                    Diagnostic::warning(
                        parsed.span_of_clause(p, c),
                        format!(
                            "no resolver here is told to fill the set of policy {}",
                            policy.name
                        ),
                    )
                    .hint(
                        "`uplinkd resolver dnsmasq > /etc/dnsmasq.d/uplinkd.conf`, then restart \
                         dnsmasq; until then the policy matches nothing",
                    ),
                ));
            }
        }
    }
}

#[cfg(test)]
mod fixtures;

#[cfg(test)]
mod tests {
    use uplinkd_model::{Family, Mark, RulePriority, TableId, ids::Proto};

    use super::*;

    const FILE: &str =
        "[uplink.isp1]\ninterface = \"wan1\"\n\n[uplink.isp2]\ninterface = \"wan2\"\n";

    fn all(observed: &Observed) -> Vec<Problem> {
        let parsed = uplinkd_config::parse("t", FILE).unwrap();
        let config = parsed.to_config(&Default::default(), &Default::default());
        let mut found = Vec::new();
        let claims = [config.reserve.clone()];
        numbers::marks(&mut found, &parsed, &claims, observed);
        rules::rules(&mut found, &parsed, &claims, observed);
        links::uplinks(&mut found, &parsed, &config, observed);
        found
    }

    fn rule(priority: u32, mark: Option<Mark>) -> Observed {
        let rule = Rule {
            mark,
            ..Rule::lookup(Family::V4, priority, TableId(52), Proto(4))
        };
        Observed {
            rules: vec![rule],
            ..Observed::default()
        }
    }

    fn texts(observed: &Observed) -> Vec<(bool, String)> {
        all(observed)
            .into_iter()
            .map(|p| (p.is_fatal, p.diagnostic.message))
            .collect()
    }

    #[test]
    fn a_mark_of_somebody_else_on_our_bits_is_fatal_and_beside_them_is_not() {
        let clash = |mark| {
            texts(&rule(9000, Some(mark)))
                .iter()
                .any(|(fatal, _)| *fatal)
        };
        assert!(clash(Mark::new(0x0100_0000, 0xff00_0000)));
        assert!(clash(Mark::new(0x0100_0000, u32::MAX)));
        assert!(clash(Mark::new(0, 0x8000_0000)));
        assert!(!clash(Mark::new(0x0080_0000, 0x00ff_0000)));
        assert!(!clash(Mark::new(0xca6c, u32::MAX)));
    }

    #[test]
    fn a_missing_interface_is_said_and_waited_for() {
        let found = texts(&Observed::default());
        assert_eq!(found[0], (false, "there is no interface wan1".to_owned()));
        assert_eq!(found[1], (false, "there is no interface wan2".to_owned()));
    }

    #[test]
    fn a_restart_lives_with_a_clash_that_came_while_we_ran() {
        let parsed = uplinkd_config::parse("t", FILE).unwrap();
        let config = parsed.to_config(&Default::default(), &Default::default());
        let mut observed = rule(9000, Some(Mark::new(0x0100_0000, 0xff00_0000)));
        let ours = Rule::lookup(Family::V4, 2000, TableId::MAIN, config.reserve.proto);
        observed.rules.push(ours);
        let features = Features {
            nexthop_objects: true,
            nft: Ok("1.0.6".to_owned()),
            net_admin: true,
            net_raw: true,
            conntrack_mark: true,
        };
        let fatal = |earlier: &[Reserve]| {
            let found = problems(&parsed, &config, earlier, &observed, &features);
            assert!(
                found
                    .iter()
                    .any(|p| p.diagnostic.message.contains("clashes"))
            );
            found.iter().any(|p| p.is_fatal)
        };
        assert!(fatal(&[]), "a first start");
        assert!(!fatal(std::slice::from_ref(&config.reserve)), "a restart");
    }

    #[test]
    fn a_rule_that_takes_everything_before_us_is_pointed_out() {
        let before = |observed: &Observed| {
            texts(observed)
                .iter()
                .any(|(_, t)| t.contains("before ours"))
        };
        assert!(before(&rule(1999, None)));
        assert!(!before(&rule(0, None)));
        assert!(!before(&rule(RulePriority(2100).0, None)));
    }

    #[test]
    fn a_rule_between_ours_is_told_from_one_behind_them_that_is_copied() {
        let said = |rule: Rule| {
            let observed = Observed {
                rules: vec![rule],
                ..Observed::default()
            };
            let found = texts(&observed).into_iter().map(|(_, text)| text);
            found.filter(|t| t.contains("somebody")).collect::<Vec<_>>()
        };
        let at = |priority| Rule::lookup(Family::V6, priority, TableId(51820), Proto(3));
        assert!(said(at(2050))[0].contains("lies between ours: -6 pref 2050"));
        assert!(said(at(32050))[0].contains("lies between ours"));
        assert!(said(at(32764))[0].contains("lies behind ours: -6 pref 32764"));
        let odd = Rule {
            has_more: true,
            ..at(32764)
        };
        assert!(said(odd)[0].contains("cannot be copied"));
        // The near misses: just outside our blocks, the kernel's own, a table of ours.
        for priority in [2100, 31999, 32766, 32767] {
            assert_eq!(said(at(priority)), Vec::<String>::new(), "{priority}");
        }
        let ours = Rule::lookup(Family::V6, 32764, TableId(7001), Proto(3));
        assert_eq!(said(ours), Vec::<String>::new());
    }

    #[test]
    fn a_full_tunnel_is_said_once_for_its_mark() {
        let mark = Some(Mark::new(0xca6c, u32::MAX));
        let mut observed = rule(32764, mark);
        observed.rules.push(Rule {
            family: Family::V6,
            ..observed.rules[0].clone()
        });
        let whole = texts(&observed);
        let whole = whole.iter().filter(|(_, t)| t.contains("whole mark"));
        assert_eq!(whole.count(), 1);
    }

    #[test]
    fn a_default_route_that_another_one_kept_out_is_explained() {
        let link = |index, name: &str, address: &str| uplinkd_model::Link {
            alternative_names: Default::default(),
            point_to_point: false,
            device: uplinkd_model::kernel_state::Device {
                index,
                name: name.to_owned(),
            },
            admin_up: true,
            carrier: true,
            addresses: vec![address.parse().unwrap()],
        };
        let mut observed = Observed::default();
        for link in [
            link(7, "wan1", "192.0.2.2/24"),
            link(8, "wan2", "198.51.100.2/24"),
        ] {
            observed.links.insert(link.device.index, link);
        }
        let hint = |observed: &Observed| {
            let found = all(observed).into_iter();
            let found: Vec<_> = found
                .map(|p| p.diagnostic.hint.unwrap_or_default())
                .collect();
            (found.len(), found.join("\n"))
        };
        let (count, text) = hint(&observed);
        assert!(count == 2 && !text.contains("metric"), "{text}");
        observed
            .foreign_defaults
            .push(uplinkd_model::kernel_state::ForeignDefault {
                on_link: false,
                advertised: false,
                expires_in: None,
                ifindex: 7,
                gateway: Some("192.0.2.1".parse().unwrap()),
                family: Family::V4,
                table: TableId::MAIN,
                metric: 0,
            });
        let (count, text) = hint(&observed);
        assert!(count == 1 && text.contains("metric of its own"), "{text}");
    }

    #[test]
    fn a_family_that_nobody_asked_for_is_not_missed() {
        let link = |addresses: &[&str]| uplinkd_model::Link {
            alternative_names: Default::default(),
            point_to_point: false,
            device: uplinkd_model::kernel_state::Device {
                index: 7,
                name: "wan1".to_owned(),
            },
            admin_up: true,
            carrier: true,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        };
        let mut behind = Observed::default();
        let said_beside = |behind: &Observed, file: &str, addresses: &[&str]| {
            let parsed = uplinkd_config::parse("t", file).unwrap();
            let config = parsed.to_config(&Default::default(), &Default::default());
            let mut observed = behind.clone();
            observed.links.insert(7, link(addresses));
            let mut found = Vec::new();
            links::uplinks(&mut found, &parsed, &config, &observed);
            let text = |p: Problem| p.diagnostic.message;
            found.into_iter().map(text).collect::<Vec<_>>()
        };
        let said =
            |file: &str, addresses: &[&str]| said_beside(&Observed::default(), file, addresses);
        let silent = "[uplink.isp1]\ninterface = \"wan1\"\n";
        let no_address = |what| format!("interface wan1 has no {what}address");
        assert_eq!(said(silent, &[]), [no_address("")]);
        let only_v4 = said(silent, &["192.0.2.2/24"]);
        assert!(only_v4.len() == 1 && only_v4[0].contains("no IPv4 default route"));
        let asks = format!("{silent}[uplink.isp1.ipv6]\ngateway = \"fe80::1\"\n");
        assert_eq!(said(&asks, &["2001:db8::2/64"]), Vec::<String>::new());
        assert!(said(&asks, &["192.0.2.2/24"]).contains(&no_address("IPv6 ")));
        // A delegated prefix does instead, where this machine has an address of it.
        let asks = format!("{asks}prefix = \"2001:db8:100::/56\"\n");
        assert!(said(&asks, &[]).contains(&no_address("IPv6 ")));
        behind.link_local.insert(7);
        let unused = said_beside(&behind, &asks, &[]);
        assert!(
            unused.len() == 1 && unused[0].ends_with("no other has one in 2001:db8:100::/56"),
            "{unused:?}"
        );
        let mut lan = link(&["2001:db8:100::1/64"]);
        lan.device.index = 8;
        lan.device.name = "lan0".to_owned();
        behind.links.insert(8, lan);
        assert_eq!(said_beside(&behind, &asks, &[]), Vec::<String>::new());
    }
}

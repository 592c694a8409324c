//! What on this machine would stand in the way: facts compared with the file, nothing decided.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use uplinkd_config::{Diagnostic, Field, Parsed, ReserveField};
use uplinkd_kernel::{Features, Kernel, sysctl};
use uplinkd_model::{
    Config, Family, Gateway, Observed, Reserve, Rule, TableId, intent::is_on_link,
    kernel_state::RuleAction,
};

use crate::look::look;

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
    let observed = kernel
        .observe(&look(config, std::slice::from_ref(&config.reserve), false))
        .context("cannot look at this machine's network")?;
    Ok(problems(parsed, config, earlier, &observed, &features))
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
    marks(&mut found, parsed, &claims, observed);
    foreign_in_reserve(&mut found, parsed, &claims, observed);
    let ran_before = earlier.contains(&config.reserve);
    if ran_before && observed.rules.iter().any(|r| is_ours(&claims, r)) {
        // What came while we ran was lived with; a restart that refused it would leave the router
        // unwatched.
        found[lacking..].iter_mut().for_each(|p| p.is_fatal = false);
    }
    earlier_rules(&mut found, &claims, observed);
    uplinks(&mut found, parsed, config, observed);
    lan(&mut found, parsed, config, observed);
    table_names(&mut found, parsed, config, Path::new("/etc/iproute2"));
    conntrack(&mut found);
    found.sort_by_key(|p| (!p.is_fatal, !p.is_error()));
    found
}

fn is_ours(claims: &[Reserve], rule: &Rule) -> bool {
    claims.iter().any(|c| c.owns_rule(rule))
}

/// Rules of others that look at bits of ours.
fn marks(found: &mut Vec<Problem>, parsed: &Parsed, claims: &[Reserve], observed: &Observed) {
    let ours = claims[0].mark_mask;
    let span = || parsed.span_of_reserve(ReserveField::MarkMask);
    for rule in observed.rules.iter().filter(|r| !is_ours(claims, r)) {
        let Some(mark) = rule.mark else { continue };
        let uses_our_bits =
            mark.value & ours != 0 || (mark.mask & ours != 0 && mark.mask != u32::MAX);
        if uses_our_bits {
            let message = format!("mark mask {ours:#x} clashes with a rule of somebody else");
            found.push(Problem::fatal(
                Diagnostic::error(span(), message)
                    .label(format!("found: {rule}"))
                    .hint("set reserve.mark_mask to a run of at least 4 bits that nobody else uses, such as \"0x00ff0000\""),
            ));
        } else if mark.mask == u32::MAX {
            let message = format!("a rule of somebody else looks at the whole mark: {rule}");
            found.push(Problem::local(
                Diagnostic::warning(span(), message)
                    .hint("it no longer matches packets that also bear a mark of ours; give it a mask without our bits"),
            ));
        }
    }
}

/// Objects of others inside what we claim: our own could not be made beside them.
fn foreign_in_reserve(
    found: &mut Vec<Problem>,
    parsed: &Parsed,
    claims: &[Reserve],
    observed: &Observed,
) {
    let reserve = &claims[0];
    let mut report = |field: ReserveField, name: &str, object: String| {
        found.push(Problem::fatal(
            Diagnostic::error(
                parsed.span_of_reserve(field),
                format!("{object} belongs to somebody else but lies in our range"),
            )
            .hint(format!(
                "free it, or move reserve.{name} to a range that nobody uses"
            )),
        ));
    };
    for nexthop in observed.nexthops.values() {
        if reserve.has_nexthop(nexthop.id) && !claims.iter().any(|c| c.owns_nexthop(nexthop)) {
            report(
                ReserveField::NexthopIds,
                "nexthop_ids",
                format!("nexthop {nexthop}"),
            );
        }
    }
    for route in &observed.routes {
        if reserve.has_table(route.table) && !claims.iter().any(|c| c.owns_route(route)) {
            report(ReserveField::Tables, "tables", format!("route {route}"));
        }
    }
}

/// Rules of others that are asked before ours and take everything.
fn earlier_rules(found: &mut Vec<Problem>, claims: &[Reserve], observed: &Observed) {
    for rule in observed.rules.iter().filter(|r| !is_ours(claims, r)) {
        let takes_all = rule.from.is_none()
            && rule.to.is_none()
            && rule.iif.is_none()
            && rule.oif.is_none()
            && rule.mark.is_none()
            && !rule.has_more
            && rule.suppress_prefix_length.is_none();
        let is_local = rule.priority.0 == 0;
        let is_early = rule.priority.0 < claims[0].rule_priority;
        if rule.family == Family::V4
            && is_early
            && !is_local
            && takes_all
            && rule.action != RuleAction::Other
        {
            let message = format!("a rule of somebody else is asked before ours: {rule}");
            found.push(Problem::local(
                Diagnostic::warning(0..0, message)
                    .hint("what its table routes never reaches us; give it a priority above reserve.rule_priority"),
            ));
        }
    }
}

fn uplinks(found: &mut Vec<Problem>, parsed: &Parsed, config: &Config, observed: &Observed) {
    for uplink in &config.uplinks {
        let interface = &uplink.interface;
        let at = |field| parsed.span_of(&uplink.name, field);
        let Some(link) = observed.link(interface) else {
            let there: Vec<_> = observed
                .links
                .values()
                .map(|l| l.device.name.as_str())
                .filter(|n| *n != "lo")
                .collect();
            found.push(Problem::local(
                Diagnostic::error(
                    at(Field::Interface),
                    format!("there is no interface {interface}"),
                )
                .hint(format!(
                    "`uplinkd run` will wait for it; there are: {}",
                    there.join(", ")
                )),
            ));
            continue;
        };
        let addresses: Vec<_> = link.addresses_of(Family::V4).collect();
        if !link.carrier {
            found.push(Problem::local(
                Diagnostic::warning(
                    at(Field::Interface),
                    format!("interface {interface} has no carrier"),
                )
                .hint("check the cable or the modem; `uplinkd run` uses it as soon as it has one"),
            ));
        }
        if addresses.is_empty() {
            found.push(Problem::local(
                Diagnostic::warning(at(Field::Interface), format!("interface {interface} has no IPv4 address"))
                    .hint("give it one, or start its DHCP client; `uplinkd run` uses it as soon as it has one"),
            ));
            continue;
        }
        match uplink.gateway {
            Gateway::Address(gateway) if !is_on_link(gateway, &addresses) => {
                let networks: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                found.push(Problem::local(
                    Diagnostic::error(
                        at(Field::Gateway),
                        format!("gateway {gateway} is not in a network of {interface}"),
                    )
                    .hint(format!(
                        "{interface} has {}; write a gateway from there, or \"auto\"",
                        networks.join(", ")
                    )),
                ));
            }
            Gateway::Auto
                if !observed
                    .foreign_defaults
                    .iter()
                    .any(|d| d.ifindex == link.device.index) =>
            {
                found.push(Problem::local(
                    Diagnostic::warning(
                        at(Field::Gateway),
                        format!(
                            "no default route leads out by {interface} to learn the gateway from"
                        ),
                    )
                    .hint(format!(
                        "write `gateway = \"…\"` below [uplink.{}.ipv4]",
                        uplink.name
                    )),
                ));
            }
            Gateway::Auto | Gateway::Address(_) => {}
        }
    }
}

fn lan(found: &mut Vec<Problem>, parsed: &Parsed, config: &Config, observed: &Observed) {
    for lan in config.lan.iter().filter(|lan| observed.link(lan).is_none()) {
        found.push(Problem::local(
            Diagnostic::error(
                parsed.span_of_lan(lan).unwrap_or(0..0),
                format!("there is no interface {lan}"),
            )
            .hint("its traffic is shared out as soon as it appears"),
        ));
    }
}

/// Names of our tables that `ip` knows as something else.
fn table_names(found: &mut Vec<Problem>, parsed: &Parsed, config: &Config, dir: &Path) {
    let known = known_tables(dir);
    for uplink in &config.uplinks {
        let table = config.reserve.table_service(uplink.slot);
        if let Some(other) = known.get(uplink.name.as_str()).filter(|t| **t != table) {
            found.push(Problem::fatal(
                Diagnostic::error(
                    parsed.span_of(&uplink.name, Field::Name),
                    format!(
                        "`ip` knows table {} by the name {} already",
                        other, uplink.name
                    ),
                )
                .hint("name the uplink otherwise, or remove that line below /etc/iproute2"),
            ));
        }
    }
}

/// The names in `rt_tables` and `rt_tables.d`, ours left out.
fn known_tables(dir: &Path) -> BTreeMap<String, TableId> {
    let mut files = vec![dir.join("rt_tables")];
    let more = fs::read_dir(dir.join("rt_tables.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path());
    files.extend(more.filter(|p| p.file_name().is_none_or(|n| n != Reserve::TABLE_NAMES_FILE)));
    let lines = files.iter().filter_map(|f| fs::read_to_string(f).ok());
    let mut known = BTreeMap::new();
    for text in lines {
        for line in text
            .lines()
            .map(|l| l.split('#').next().unwrap_or_default())
        {
            let mut words = line.split_whitespace();
            if let (Some(Ok(id)), Some(name)) = (words.next().map(str::parse::<u32>), words.next())
            {
                known.insert(name.to_owned(), TableId(id));
            }
        }
    }
    known
}

fn conntrack(found: &mut Vec<Problem>) {
    if sysctl::read("net/netfilter/nf_conntrack_tcp_loose").is_ok_and(|v| v == "0") {
        let message = "net.netfilter.nf_conntrack_tcp_loose is 0".to_owned();
        found.push(Problem::local(Diagnostic::warning(0..0, message).hint(
            "TCP connections of a failed uplink then hang instead of being reset; set it to 1 if your firewall allows",
        )));
    }
}

#[cfg(test)]
mod tests {
    use uplinkd_model::{Mark, RulePriority, ids::Proto};

    use super::*;

    const FILE: &str =
        "[uplink.isp1]\ninterface = \"wan1\"\n\n[uplink.isp2]\ninterface = \"wan2\"\n";

    fn all(observed: &Observed) -> Vec<Problem> {
        let parsed = uplinkd_config::parse("t", FILE).unwrap();
        let config = parsed.to_config(&uplinkd_config::Slots::default());
        let mut found = Vec::new();
        let claims = [config.reserve.clone()];
        marks(&mut found, &parsed, &claims, observed);
        earlier_rules(&mut found, &claims, observed);
        uplinks(&mut found, &parsed, &config, observed);
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
        let config = parsed.to_config(&uplinkd_config::Slots::default());
        let mut observed = rule(9000, Some(Mark::new(0x0100_0000, 0xff00_0000)));
        let ours = Rule::lookup(Family::V4, 2000, TableId::MAIN, config.reserve.proto);
        observed.rules.push(ours);
        let features = Features {
            nexthop_objects: true,
            nft: Some("1.0.6".to_owned()),
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
}

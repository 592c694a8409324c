//! Interfaces, addresses and gateways, family by family.

use uplinkd_config::{Diagnostic, Field, Parsed};
use uplinkd_core::{LinkState, Prefixes, link_of};
use uplinkd_model::{Config, Family, Link, Observed, Reason, Uplink};

use super::Problem;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

pub(super) fn uplinks(
    found: &mut Vec<Problem>,
    parsed: &Parsed,
    config: &Config,
    observed: &Observed,
) {
    let prefixes = Prefixes::learn(config, observed, &Prefixes::default(), |_| false);
    for uplink in &config.uplinks {
        let interface = &uplink.interface;
        let at = parsed.span_of(&uplink.name, Field::Interface);
        let Some(link) = observed.link(interface) else {
            let there: Vec<_> = observed
                .links
                .values()
                .map(|l| l.device.name.as_str())
                .filter(|n| *n != "lo")
                .collect();
            found.push(Problem::local(
                Diagnostic::error(at, format!("there is no interface {interface}")).hint(format!(
                    "`uplinkd run` will wait for it; there are: {}",
                    there.join(", ")
                )),
            ));
            continue;
        };
        if !link.carrier {
            found.push(Problem::local(
                Diagnostic::warning(at.clone(), format!("interface {interface} has no carrier"))
                    .hint(
                        "check the cable or the modem; `uplinkd run` uses it as soon as it has one",
                    ),
            ));
        }
        let has = |family: Family| {
            let state = link_of(uplink, family, observed, &config.reserve, &prefixes);
            let has_own = link.addresses_of(family).next().is_some();
            // A line whose provider only delegates a prefix goes by an address of that.
            has_own || needs_no_address(&state)
        };
        let asks = |family: Family| uplink.access(family).is_some_and(|a| a.expected);
        if !FAMILIES.into_iter().any(|f| has(f) || asks(f)) {
            found.push(Problem::local(no_address(uplink, None, at)));
        }
        for family in FAMILIES {
            let Some(access) = uplink.access(family) else {
                continue;
            };
            if has(family) {
                found.extend(gateway(
                    parsed,
                    uplink,
                    family,
                    link,
                    observed,
                    &link_of(uplink, family, observed, &config.reserve, &prefixes),
                ));
            } else if access.expected {
                let at = parsed.span_of(&uplink.name, Field::Access(family));
                found.push(Problem::local(no_address(uplink, Some(family), at)));
            }
        }
    }
}

/// Whether a line gets along, as far as addresses go, with a link-local one and that of its prefix.
fn needs_no_address(state: &LinkState) -> bool {
    match state {
        LinkState::Usable(usable) => usable.borrowed.is_some(),
        LinkState::Unusable(reason) => matches!(
            reason,
            Reason::NoPrefixAddress { .. } | Reason::NoGateway | Reason::GatewayOffLink { .. }
        ),
        LinkState::Absent => false,
    }
}

fn no_address(uplink: &Uplink, family: Option<Family>, at: std::ops::Range<usize>) -> Diagnostic {
    let what = family.map_or_else(String::new, |family| format!("{family} "));
    Diagnostic::warning(
        at,
        format!("interface {} has no {what}address", uplink.interface),
    )
    .hint(match family {
        None | Some(Family::V4) => {
            "give it one, or start its DHCP client; `uplinkd run` uses it as soon as it has one"
        }
        Some(Family::V6) => {
            "give it one, or let it take router advertisements (net.ipv6.conf.*.accept_ra=2 on a \
             router); `uplinkd run` uses it as soon as it has one"
        }
    })
}

/// What is wrong with the gateway of a family that the interface has.
fn gateway(
    parsed: &Parsed,
    uplink: &Uplink,
    family: Family,
    link: &Link,
    observed: &Observed,
    state: &LinkState,
) -> Option<Problem> {
    let interface = &uplink.interface;
    let at = || parsed.span_of(&uplink.name, Field::Gateway(family));
    let key = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    let name = &uplink.name;
    let mut defaults = observed.foreign_defaults.iter();
    let has_others = defaults.any(|d| d.ifindex != link.device.index && d.family == family);
    let of_others = if has_others {
        "; where a DHCP client puts it, give each line's client a metric of its own, since the \
         kernel refuses a second default route with the same"
    } else {
        ""
    };
    // What else can be wrong with a link is told of the interface as a whole.
    let diagnostic = match state {
        LinkState::Unusable(Reason::NoPrefixAddress { prefix }) => Diagnostic::warning(
            parsed.span_of(name, Field::Prefix),
            format!("interface {interface} has no IPv6 address, and no other has one in {prefix}"),
        )
        .hint(
            "have the DHCPv6 client give a network of the prefix to an interface of the LAN: the \
             router's address in it serves this line, too",
        ),
        LinkState::Unusable(Reason::GatewayOffLink { gateway }) => {
            let networks: Vec<_> = link.addresses_of(family).map(|a| a.to_string()).collect();
            Diagnostic::error(
                at(),
                format!("gateway {gateway} is not in a network of {interface}"),
            )
            .hint(format!(
                "{interface} has {}; write a gateway from there, or \"auto\", or tell the kernel \
                 that it is on the link: ip route add {gateway} dev {interface}",
                networks.join(", ")
            ))
        }
        LinkState::Unusable(Reason::NoGateway) => Diagnostic::warning(
            at(),
            format!("no {family} default route leads out by {interface} to learn the gateway from"),
        )
        .hint(format!(
            "write `gateway = \"…\"` below [uplink.{name}.{key}], or `use = false` where the line \
             does not have {family}{of_others}"
        )),
        LinkState::Usable(_) | LinkState::Unusable(_) | LinkState::Absent => return None,
    };
    Some(Problem::local(diagnostic))
}

pub(super) fn lan(found: &mut Vec<Problem>, parsed: &Parsed, config: &Config, observed: &Observed) {
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

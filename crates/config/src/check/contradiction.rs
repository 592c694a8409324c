//! Conditions that are good by themselves and can never hold together.

use uplinkd_model::{
    Family,
    policy::{
        Addresses, Clause, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOLS_WITH_PORTS, Selector, Span,
        Spans,
    },
};

use crate::{check::clause::Checked, diagnostic::Diagnostic, quote::quoted, reader::Found};

/// Reports a policy that can never match. One reason is enough.
pub(super) fn find(policy: &str, conditions: &[Checked], found: &mut Found) {
    let contradiction = protocols(conditions)
        .or_else(|| origins(conditions))
        .or_else(|| families(conditions));
    let Some(Contradiction {
        at,
        with,
        reason,
        hint,
    }) = contradiction
    else {
        return;
    };
    let message = format!("policy {} can never match: {reason}", quoted(policy));
    let mut diagnostic = Diagnostic::error(at.span.clone(), message)
        .label("never with the other")
        .hint(hint);
    if let Some(with) = with {
        diagnostic = diagnostic.note(with.span.clone(), "the other");
    } else {
        diagnostic = diagnostic.label("never");
    }
    found.push(diagnostic);
}

struct Contradiction<'c> {
    at: &'c Checked,
    with: Option<&'c Checked>,
    reason: String,
    hint: &'static str,
}

/// Ports and ICMP types speak of some protocols only.
fn protocols(conditions: &[Checked]) -> Option<Contradiction<'_>> {
    let allowed = conditions.iter().filter_map(|c| {
        let Selector::Protocol(spans) = &c.clause.selector else {
            return None;
        };
        let allowed = if c.clause.not {
            spans.complement(255)
        } else {
            spans.clone()
        };
        Some((c, allowed))
    });
    let allowed: Vec<_> = allowed.collect();
    let ports = conditions.iter().find(|c| {
        matches!(
            c.clause.selector,
            Selector::SourcePort(_) | Selector::DestinationPort(_)
        )
    });
    let icmp = conditions
        .iter()
        .find(|c| matches!(c.clause.selector, Selector::IcmpType { .. }));
    if let (Some(ports), Some(icmp)) = (ports, icmp) {
        return Some(Contradiction {
            at: icmp,
            with: Some(ports),
            reason: "ICMP has no ports".to_owned(),
            hint: "write two policies, one for each",
        });
    }
    let speaks_of = |at: &'_ Checked, protocols: &[u8]| {
        let spans = Spans::new(protocols.iter().map(|p| Span::one(*p)));
        let found = allowed.iter().find(|(_, allowed)| !allowed.meets(&spans));
        found.map(|(with, _)| (at.key, *with))
    };
    if let Some(ports) = ports
        && let Some((key, with)) = speaks_of(ports, &PROTOCOLS_WITH_PORTS)
    {
        return Some(Contradiction {
            at: ports,
            with: Some(with),
            reason: format!("`{key}` needs a protocol that has ports"),
            hint: "protocols with ports are tcp, udp, sctp, dccp and udplite",
        });
    }
    if let Some(icmp) = icmp
        && let Some((key, with)) = speaks_of(icmp, &[PROTOCOL_ICMP, PROTOCOL_ICMPV6])
    {
        return Some(Contradiction {
            at: icmp,
            with: Some(with),
            reason: format!("`{key}` needs protocol icmp"),
            hint: "remove `protocol`: ICMP types speak of ICMP only",
        });
    }
    None
}

/// What comes in by an interface is not the router's own.
fn origins(conditions: &[Checked]) -> Option<Contradiction<'_>> {
    let only = |wanted: fn(&Selector) -> bool| {
        let mut holding = conditions.iter().filter(|c| !c.clause.not);
        holding.find(|c| wanted(&c.clause.selector))
    };
    let from_outside = only(|s| matches!(s, Selector::Interface(_) | Selector::Mac(_)))?;
    let own = only(|s| {
        matches!(
            s,
            Selector::User(_) | Selector::Group(_) | Selector::Cgroup(_)
        )
    })?;
    Some(Contradiction {
        reason: format!(
            "`{}` is of traffic from the LAN and `{}` of this machine's own",
            from_outside.key, own.key
        ),
        at: own,
        with: Some(from_outside),
        hint: "write two policies, one for each",
    })
}

/// Conditions that each leave only a family that another one excludes.
fn families(conditions: &[Checked]) -> Option<Contradiction<'_>> {
    let [v4, v6] = [Family::V4, Family::V6].map(|family| {
        let mut excluding = conditions
            .iter()
            .filter(move |c| !can_hold(&c.clause, family));
        excluding.next()
    });
    let (v4, v6) = (v4?, v6?);
    if std::ptr::eq(v4, v6) {
        return Some(Contradiction {
            at: v4,
            with: None,
            reason: format!("`{}` excludes every address", v4.key),
            hint: "narrow what is excluded, or remove the policy",
        });
    }
    // The later one is underlined: the earlier one was still fine.
    let (at, at_only, with, with_only) = if v4.span.start > v6.span.start {
        (v4, Family::V6, v6, Family::V4)
    } else {
        (v6, Family::V4, v4, Family::V6)
    };
    if at.key == with.key && at.clause.not != with.clause.not {
        return Some(Contradiction {
            reason: format!("`not` leaves nothing of `{}`", at.key),
            at,
            with: Some(with),
            hint: "narrow what is excluded, or remove the policy",
        });
    }
    Some(Contradiction {
        reason: format!(
            "`{}` is {with_only} only and `{}` {at_only} only",
            with.key, at.key
        ),
        at,
        with: Some(with),
        hint: "give both of one family, or write two policies",
    })
}

/// Whether a clause can hold for a connection of a family at all. One that holds for none of either
/// because its list is empty is meant so, and counts as if it could.
fn can_hold(clause: &Clause, family: Family) -> bool {
    let addresses = |addresses: &Addresses| {
        let own = addresses.of(family);
        if clause.not {
            let most = match family {
                Family::V4 => u128::from(u32::MAX),
                Family::V6 => u128::MAX,
            };
            !own.covers(&Spans::new([Span::new(0_u8, most)]))
        } else {
            !own.is_empty() || (addresses.v4.is_empty() && addresses.v6.is_empty())
        }
    };
    match &clause.selector {
        Selector::Family(only) => (*only == family) != clause.not,
        Selector::Source(set) | Selector::Destination(set) => addresses(set),
        Selector::Protocol(spans) if !clause.not => {
            let other = match family {
                Family::V4 => PROTOCOL_ICMPV6,
                Family::V6 => PROTOCOL_ICMP,
            };
            *spans != Spans::new([Span::one(other)])
        }
        Selector::IcmpType { v4, v6 } if !clause.not => match family {
            Family::V4 => !v4.is_empty(),
            Family::V6 => !v6.is_empty(),
        },
        Selector::Protocol(_)
        | Selector::IcmpType { .. }
        | Selector::SourcePort(_)
        | Selector::DestinationPort(_)
        | Selector::Interface(_)
        | Selector::Mac(_)
        | Selector::Dscp(_)
        | Selector::Mark(_)
        | Selector::User(_)
        | Selector::Group(_)
        | Selector::Cgroup(_)
        | Selector::Domain { .. }
        | Selector::Schedule(_) => true,
    }
}

//! One uplink: name, interface, weight, families.

use std::collections::BTreeMap;

use toml::Spanned;
use uplinkd_model::{Access, Family, Gateway, UplinkName, ids::NameError};

use crate::{
    check::{access, bounded, budget, interface, probe, quality, uplink_named, word},
    diagnostic::Diagnostic,
    keys,
    parsed::{Field, ParsedUplink},
    quote::quoted,
    raw::{RawUplink, RawWeight},
    reader::Found,
};

/// Checks an uplink; none where something is wrong with it.
pub(super) fn check(
    raw: &RawUplink,
    defaults: &probe::Defaults,
    found: &mut Found,
) -> Option<ParsedUplink> {
    let whose = uplink_named(&raw.name);
    let mut spans = BTreeMap::from([(Field::Name, raw.name.span())]);
    let written = [
        (Field::Interface, raw.interface.as_ref().map(Spanned::span)),
        (Field::Weight, raw.weight.as_ref().map(RawWeight::span)),
    ];
    spans.extend(written.into_iter().filter_map(|(f, s)| Some((f, s?))));

    // Each is checked before any `?`, so that the first mistake does not hide the next.
    let name = name(&raw.name, found);
    let interface = raw
        .interface
        .as_ref()
        .map(|i| interface::uplinks(i, &format!("the interface of {whose}"), found));
    let weight = raw.weight.as_ref().map_or(Some((1, false)), |w| {
        weight(w, &format!("the weight of {whose}"), found)
    });
    let rates = quality::rates(&raw.rate, &whose, found);
    let budget = match &raw.budget {
        None => Some(None),
        Some(raw) => budget::check(raw, &whose, found).map(Some),
    };
    let yields = raw.on_degraded.as_ref().map_or(Some(true), |text| {
        let words = [("yield", true), ("keep", false)];
        word(
            text,
            &words,
            &format!("`on_degraded` of {whose}"),
            "",
            found,
        )
    });
    let [v4, v6] = [Family::V4, Family::V6].map(|family| {
        let written = raw.access(family);
        access::check(
            written,
            family,
            raw.name.get_ref(),
            &whose,
            &mut spans,
            found,
        )
    });
    if !v4.is_used && !v6.is_used {
        found.push(no_family(raw));
    }
    let gateways = [&v4, &v6].map(|a| a.gateway.unwrap_or(Gateway::Auto));
    let families = [(Family::V4, &v4), (Family::V6, &v6)];
    let used = families.into_iter().filter(|(_, a)| a.is_used);
    let used: Vec<_> = used.map(|(family, _)| family).collect();
    let probe = defaults.with(&raw.probe, &whose, gateways, &used, &mut spans, found)?;
    let access = |family, written: &access::Written| {
        Some(Access {
            expected: written.expected,
            gateway: written.gateway?,
            nat: written.nat?,
            prefix: written.prefix?,
            probe: probe.of(family),
        })
    };
    let (weight, is_auto) = weight?;
    let (ipv4, ipv6) = (access(Family::V4, &v4)?, access(Family::V6, &v6)?);
    Some(ParsedUplink {
        name: name?,
        interface: interface??,
        weight,
        is_auto,
        rates: rates?,
        budget: budget?,
        yields: yields?,
        ipv4: v4.is_used.then_some(ipv4),
        ipv6: v6.is_used.then_some(ipv6),
        spans,
    })
}

/// Both families are switched off.
fn no_family(raw: &RawUplink) -> Diagnostic {
    let message = format!(
        "{} is used for neither IPv4 nor IPv6",
        uplink_named(&raw.name)
    );
    let [v4, v6] = [&raw.ipv4, &raw.ipv6].map(|a| {
        let is_used = a.as_ref().and_then(|a| a.is_used.as_ref());
        is_used.map_or(raw.name.span(), Spanned::span)
    });
    Diagnostic::error(v6, message)
        .label("the other one is off too")
        .hint("remove the uplink, or let it carry one of them")
        .note(v4, "off here")
}

fn name(name: &Spanned<String>, found: &mut Found) -> Option<UplinkName> {
    let why = match UplinkName::new(name.get_ref()) {
        Ok(name) => return Some(name),
        Err(why) => why,
    };
    let reason = match &why {
        NameError::Character(c) if c.is_ascii_digit() => "it must begin with a letter".to_owned(),
        NameError::Character(c) => format!(
            "{} has no place in it: a letter first, then letters, digits, `_` and `-`",
            quoted(&c.to_string())
        ),
        NameError::Empty | NameError::TooLong | NameError::Reserved(_) => why.to_string(),
    };
    found.push(
        Diagnostic::error(
            name.span(),
            format!("an uplink cannot be named {}: {reason}", quoted(name.get_ref())),
        )
        .label("not a name for an uplink")
        .hint("its routing table gets the same name, so it must be one that `ip` takes, such as `isp1`"),
    );
    None
}

/// A weight, and whether it follows the lines instead. `what` names it and whose it is.
pub(super) fn weight(weight: &RawWeight, what: &str, found: &mut Found) -> Option<(u16, bool)> {
    let number = match weight {
        RawWeight::Word(text) => {
            let words = [("auto", (1, true))];
            return word(text, &words, what, "or a number", found);
        }
        RawWeight::Number(number) => number,
    };
    let hint = if *number.get_ref() > keys::WEIGHT.most {
        "only the ratio counts: 4 and 1 do the same as 400 and 100"
    } else {
        "to take an uplink out of use, remove it or comment it out"
    };
    bounded(number, keys::WEIGHT, what, hint, found).map(|weight| (weight, false))
}

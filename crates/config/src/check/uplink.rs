//! One uplink: name, interface, weight, gateway, nat.

use std::{collections::BTreeMap, net::IpAddr};

use toml::Spanned;
use uplinkd_model::{Gateway, Nat, UplinkName, ids::NameError};

use crate::{
    check::{address, bounded, interface, probe, uplink_named},
    diagnostic::Diagnostic,
    keys,
    parsed::{Field, ParsedUplink},
    quote::{meant, quoted},
    raw::RawUplink,
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
        (Field::Weight, raw.weight.as_ref().map(Spanned::span)),
        (Field::Gateway, raw.gateway.as_ref().map(Spanned::span)),
        (Field::Nat, raw.nat.as_ref().map(Spanned::span)),
    ];
    spans.extend(written.into_iter().filter_map(|(f, s)| Some((f, s?))));

    // Each is checked before any `?`, so that the first mistake does not hide the next.
    let name = name(&raw.name, found);
    let interface = raw
        .interface
        .as_ref()
        .map(|i| interface::name(i, &format!("the interface of {whose}"), found));
    let weight = raw
        .weight
        .as_ref()
        .map_or(Some(1), |w| weight(w, &whose, found));
    let gateway = raw
        .gateway
        .as_ref()
        .map_or(Some(Gateway::Auto), |g| gateway(g, &whose, found));
    let nat = raw
        .nat
        .as_ref()
        .map_or(Some(Nat::Masquerade), |n| nat(n, &whose, found));
    let probe = defaults.with(&raw.probe, &whose, gateway, &mut spans, found);
    Some(ParsedUplink {
        name: name?,
        interface: interface??,
        weight: weight?,
        gateway: gateway?,
        nat: nat?,
        probe: probe?,
        spans,
    })
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

fn weight(weight: &Spanned<i128>, whose: &str, found: &mut Found) -> Option<u16> {
    let hint = if *weight.get_ref() > keys::WEIGHT.most {
        "only the ratio counts: 4 and 1 do the same as 400 and 100"
    } else {
        "to take an uplink out of use, remove it or comment it out"
    };
    let what = format!("the weight of {whose}");
    bounded(weight, keys::WEIGHT, &what, hint, found)
}

fn gateway(word: &Spanned<String>, whose: &str, found: &mut Found) -> Option<Gateway> {
    if word.get_ref() == "auto" {
        return Some(Gateway::Auto);
    }
    let what = format!("the gateway of {whose}");
    address_or(word, &what, &["auto"], found).map(Gateway::Address)
}

fn nat(word: &Spanned<String>, whose: &str, found: &mut Found) -> Option<Nat> {
    let what = format!("the nat of {whose}");
    match word.get_ref().as_str() {
        "masquerade" => Some(Nat::Masquerade),
        "none" => Some(Nat::None),
        "prefix" => {
            found.push(
                Diagnostic::error(word.span(), format!("{what} cannot be `prefix` for IPv4"))
                    .label("for IPv6 only, which comes with a later version")
                    .hint("write \"masquerade\", \"none\" or an IPv4 address"),
            );
            None
        }
        _ => address_or(word, &what, &["masquerade", "none"], found).map(Nat::Source),
    }
}

/// An address where one of a few words was not given either.
fn address_or(
    word: &Spanned<String>,
    what: &str,
    words: &[&'static str],
    found: &mut Found,
) -> Option<IpAddr> {
    let text = word.get_ref();
    let unusable = match address::host(text) {
        Ok(address) => return Some(IpAddr::V4(address)),
        Err(unusable) => unusable,
    };
    let alternatives: Vec<_> = words.iter().map(|w| format!("\"{w}\"")).collect();
    let hint = match meant(text, words.iter().copied()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("{}, or write {}", unusable.hint, alternatives.join(" or ")),
    };
    let message = format!(
        "{what} cannot be {}: that is {}",
        quoted(text),
        unusable.reason
    );
    found.push(
        Diagnostic::error(word.span(), message)
            .label(unusable.reason)
            .hint(hint),
    );
    None
}

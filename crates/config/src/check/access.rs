//! One family of an uplink: whether it is used, its gateway, its nat.

use std::{collections::BTreeMap, net::IpAddr, ops::Range};

use toml::Spanned;
use uplinkd_model::{Family, Gateway, Nat, PrefixSource};

use crate::{
    check::{
        address::{self, Scope},
        prefix,
    },
    diagnostic::Diagnostic,
    keys,
    parsed::Field,
    quote::{meant, quoted},
    raw::RawAccess,
    reader::Found,
};

/// What is written about a family, checked.
pub(super) struct Written {
    pub(super) is_used: bool,
    /// The file speaks of this family.
    pub(super) expected: bool,
    /// None where it is wrong.
    pub(super) gateway: Option<Gateway>,
    pub(super) nat: Option<Nat>,
    pub(super) prefix: Option<PrefixSource>,
}

/// Checks `[uplink.NAME.ipv4]` or `ipv6`. `name` is the uplink's, `whose` names it in messages.
pub(super) fn check(
    raw: Option<&RawAccess>,
    family: Family,
    name: &str,
    whose: &str,
    spans: &mut BTreeMap<Field, Range<usize>>,
    found: &mut Found,
) -> Written {
    let Some(raw) = raw else {
        return Written {
            is_used: true,
            expected: false,
            gateway: Some(Gateway::Auto),
            nat: Some(nat_default(family)),
            prefix: Some(PrefixSource::Auto),
        };
    };
    let written = [
        (Field::Access(family), Some(raw.key.clone())),
        (
            Field::Gateway(family),
            raw.gateway.as_ref().map(Spanned::span),
        ),
        (Field::Nat(family), raw.nat.as_ref().map(Spanned::span)),
        (Field::Prefix, raw.prefix.as_ref().map(prefix::span)),
    ];
    spans.extend(written.into_iter().filter_map(|(f, s)| Some((f, s?))));
    let values = Values {
        family,
        name,
        whose,
    };
    Written {
        is_used: raw.is_used.as_ref().is_none_or(|u| *u.get_ref()),
        expected: true,
        gateway: match &raw.gateway {
            Some(gateway) => values.gateway(gateway, found),
            None => Some(Gateway::Auto),
        },
        nat: match &raw.nat {
            Some(nat) => values.nat(nat, found),
            None => Some(nat_default(family)),
        },
        prefix: match &raw.prefix {
            Some(prefix) => prefix::check(prefix, whose, found),
            None => Some(PrefixSource::Auto),
        },
    }
}

/// What becomes of source addresses where the file says nothing.
fn nat_default(family: Family) -> Nat {
    match family {
        Family::V4 => Nat::Masquerade,
        Family::V6 => Nat::Auto,
    }
}

/// Whose values are checked.
struct Values<'n> {
    family: Family,
    name: &'n str,
    whose: &'n str,
}

impl Values<'_> {
    fn gateway(&self, word: &Spanned<String>, found: &mut Found) -> Option<Gateway> {
        if word.get_ref() == "auto" {
            return Some(Gateway::Auto);
        }
        self.address_or(word, "gateway", Scope::Link, &["auto"], found)
            .map(Gateway::Address)
    }

    fn nat(&self, word: &Spanned<String>, found: &mut Found) -> Option<Nat> {
        let Self { family, whose, .. } = self;
        match (word.get_ref().as_str(), family) {
            ("masquerade", _) => Some(Nat::Masquerade),
            ("none", _) => Some(Nat::None),
            ("auto", Family::V6) => Some(Nat::Auto),
            ("prefix", Family::V6) => Some(Nat::Prefix),
            (only_v6 @ ("auto" | "prefix"), Family::V4) => {
                found.push(
                    Diagnostic::error(
                        word.span(),
                        format!("the nat of {whose} cannot be `{only_v6}` for IPv4"),
                    )
                    .label("for IPv6 only, where providers delegate prefixes")
                    .hint("write \"masquerade\", \"none\" or an IPv4 address"),
                );
                None
            }
            _ => self
                .address_or(word, "nat", Scope::Beyond, keys::nat_words(*family), found)
                .map(Nat::Source),
        }
    }

    /// An address where one of a few words was not given either.
    fn address_or(
        &self,
        word: &Spanned<String>,
        key: &str,
        scope: Scope,
        words: &[&'static str],
        found: &mut Found,
    ) -> Option<IpAddr> {
        let text = word.get_ref();
        let other = match self.family {
            Family::V4 => "ipv6",
            Family::V6 => "ipv4",
        };
        let other = format!("in [uplink.{}.{other}]", self.name.escape_debug());
        let unusable = match address::host_of(self.family, text, scope, &other) {
            Ok(address) => return Some(address),
            Err(unusable) => unusable,
        };
        let alternatives: Vec<_> = words.iter().map(|w| format!("\"{w}\"")).collect();
        let hint = match meant(text, words.iter().copied()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("{}, or write {}", unusable.hint, alternatives.join(" or ")),
        };
        let message = format!(
            "the {key} of {} cannot be {}: that is {}",
            self.whose,
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
}

//! `prefix` of `[uplink.NAME.ipv6]`: which prefix the provider routes to an uplink.

use std::ops::Range;

use ipnet::{IpNet, Ipv6Net};
use toml::Spanned;
use uplinkd_model::{PrefixSource, prefix::is_global};

use crate::{
    diagnostic::Diagnostic,
    parsed::{Field, ParsedUplink},
    quote::{meant, quoted},
    raw::{RawPrefix, WordOrTable},
    reader::Found,
};

/// The shortest and the longest that a prefix may be: `2000::/3` is all that providers have, and a
/// network of hosts that number themselves is a /64.
const LENGTHS: std::ops::RangeInclusive<u8> = 3..=64;

/// Where it stands.
pub(super) fn span(raw: &WordOrTable<RawPrefix>) -> Range<usize> {
    match raw {
        WordOrTable::Word(word) => word.span(),
        WordOrTable::Table(table) => table.span(),
    }
}

/// Checks it; none where it is wrong.
pub(super) fn check(
    raw: &WordOrTable<RawPrefix>,
    whose: &str,
    found: &mut Found,
) -> Option<PrefixSource> {
    match raw {
        WordOrTable::Word(word) if word.get_ref() == "auto" => Some(PrefixSource::Auto),
        WordOrTable::Word(word) => {
            let what = format!("the prefix of {whose}");
            prefix(word, &what, " or \"auto\"", found).map(PrefixSource::Fixed)
        }
        WordOrTable::Table(table) => match &table.get_ref().within {
            Some(within) => {
                let what = format!("the range of the prefix of {whose}");
                prefix(within, &what, "", found).map(PrefixSource::Within)
            }
            None => {
                found.push(
                    Diagnostic::error(
                        table.span(),
                        format!("the prefix of {whose} does not say within which range"),
                    )
                    .label("`within` is missing")
                    .hint("write `{ within = \"2001:db8::/32\" }`, a prefix, or \"auto\""),
                );
                None
            }
        },
    }
}

/// A prefix that a provider can have given. `other` is what could be written instead.
fn prefix(word: &Spanned<String>, what: &str, other: &str, found: &mut Found) -> Option<Ipv6Net> {
    let text = word.get_ref();
    let example = format!("give a prefix such as \"2001:db8:100::/56\"{other}");
    let (reason, hint) = match text.parse::<IpNet>() {
        Ok(IpNet::V4(_)) => ("an IPv4 prefix", example),
        Ok(IpNet::V6(net)) if net.trunc() != net => {
            let hint = format!("write \"{}\"", net.trunc());
            ("an address inside its prefix", hint)
        }
        Ok(IpNet::V6(net)) if !LENGTHS.contains(&net.prefix_len()) => {
            let hint = "a prefix for networks is /64 or shorter, such as a /56".to_owned();
            ("of no usable length", hint)
        }
        Ok(IpNet::V6(net)) if !is_global(net) => {
            let hint = "give the one that the provider routes to this uplink".to_owned();
            ("no prefix that counts on the internet", hint)
        }
        Ok(IpNet::V6(net)) => return Some(net),
        Err(_) => {
            let hint = match (meant(text, ["auto"]), text.parse::<std::net::Ipv6Addr>()) {
                (Some(_), _) if !other.is_empty() => "did you mean \"auto\"?".to_owned(),
                (_, Ok(_)) => format!("add its length, such as \"{text}/56\""),
                _ => example,
            };
            ("not a prefix", hint)
        }
    };
    let message = format!("{what} cannot be {}: that is {reason}", quoted(text));
    found.push(
        Diagnostic::error(word.span(), message)
            .label(reason)
            .hint(hint),
    );
    None
}

/// Prefixes, or ranges, of two uplinks that overlap: nothing would tell whose a prefix in both is. One
/// uplink's prefix inside another's range is the more precise word, and holds.
pub(super) fn overlapping(uplinks: &[ParsedUplink], found: &mut Found) {
    let source = |u: &ParsedUplink| u.ipv6.as_ref().map(|a| a.prefix);
    for (index, uplink) in uplinks.iter().enumerate() {
        for earlier in &uplinks[..index] {
            let (what, one, other) = match (source(earlier), source(uplink)) {
                (Some(PrefixSource::Fixed(a)), Some(PrefixSource::Fixed(b))) => ("prefix", a, b),
                (Some(PrefixSource::Within(a)), Some(PrefixSource::Within(b))) => ("range", a, b),
                _ => continue,
            };
            if !(one.contains(&other) || other.contains(&one)) {
                continue;
            }
            let place = |u: &ParsedUplink| u.spans.get(&Field::Prefix).cloned().unwrap_or(0..0);
            let (here, there) = (uplink.name.as_str(), earlier.name.as_str());
            let message = format!(
                "{what} {other} of uplink {} overlaps {one} of uplink {}",
                quoted(here),
                quoted(there)
            );
            found.push(
                Diagnostic::error(place(uplink), message)
                    .label("overlaps")
                    .hint("a prefix belongs to one provider's line: narrow one of them")
                    .note(place(earlier), "the other one"),
            );
        }
    }
}

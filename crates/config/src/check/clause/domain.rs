//! Domain names, whose addresses a resolver finds.

use std::{net::IpAddr, time::Duration};

use uplinkd_model::policy::Selector;

use super::{Refusal, Values};
use crate::reader::Found;

/// How long an address counts after it was last resolved or used. Answers rarely live for a day, and
/// clients that keep one for longer use it in the meantime.
pub const TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn domains(values: &Values<'_>, found: &mut Found) -> Option<Selector> {
    let mut names = values.each_word(found, name)?;
    names.sort();
    names.dedup();
    // A policy's name has no dot, so that this is no other policy's set.
    let suffix = if values.condition.not { ".not" } else { "" };
    Some(Selector::Domain {
        names,
        set: format!("{}{suffix}", values.policy),
        timeout: TIMEOUT,
    })
}

/// A name as resolvers write it, without the `*.` that all of them count in.
fn name(word: &str) -> Result<String, Refusal> {
    const HINT: &str = "write a name such as \"zoom.us\"; the names below it count too";
    if !word.is_ascii() {
        return Err(Refusal::new(
            "it has letters beyond ASCII",
            "write it as resolvers ask for it, in punycode: \"xn--…\", as `idn2 NAME` shows",
        ));
    }
    if word.parse::<IpAddr>().is_ok() {
        return Err(Refusal::new(
            "that is an address",
            "addresses go to `destination`",
        ));
    }
    let name = word.strip_suffix('.').unwrap_or(word).to_lowercase();
    let name = name.strip_prefix("*.").unwrap_or(&name);
    if name.contains('*') {
        let hint = "`*` stands only at the beginning: \"*.netflix.com\"";
        return Err(Refusal::new("resolvers have no such pattern", hint));
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(Refusal::new("that is no domain name", HINT));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_resolvers_take() {
        for (word, expected) in [
            ("zoom.us", "zoom.us"),
            ("*.Netflix.com.", "netflix.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("lan", "lan"),
            ("_sip._udp.example", "_sip._udp.example"),
        ] {
            assert_eq!(name(word).ok().as_deref(), Some(expected), "{word}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for bad in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a b",
            "a/b",
            "*",
            "*.",
            "a.*.b",
            "1.2.3.4",
            "::1",
            "bücher.example",
            &long,
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}

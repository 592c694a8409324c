//! Names of interfaces, and who uses which.

use std::{collections::BTreeMap, ops::Range};

use toml::Spanned;
use uplinkd_model::kernel_state::INTERFACE_NAME_MAX;

use crate::{
    check::uplink_named, diagnostic::Diagnostic, quote::quoted, raw::RawFile, reader::Found,
};

/// The longest alternative name (`ALTIFNAMSIZ` less the closing zero).
const ALTERNATIVE_MAX: usize = 127;

/// Checks the name of an uplink's interface, which may be an alternative name, or end with an
/// asterisk: any interface whose name begins so.
pub(super) fn uplinks(word: &Spanned<String>, what: &str, found: &mut Found) -> Option<String> {
    let (beginning, end) = match word.get_ref().strip_suffix('*') {
        Some(beginning) => (beginning, "*"),
        None => (word.get_ref().as_str(), ""),
    };
    let beginning = Spanned::new(word.span(), beginning.to_owned());
    Some(called(&beginning, what, ALTERNATIVE_MAX, found)? + end)
}

/// Checks a first name. `what` says whose it is.
pub(super) fn name(name: &Spanned<String>, what: &str, found: &mut Found) -> Option<String> {
    called(name, what, INTERFACE_NAME_MAX, found)
}

fn called(
    name: &Spanned<String>,
    what: &str,
    length_max: usize,
    found: &mut Found,
) -> Option<String> {
    let word = name.get_ref();
    let refuse = |reason: &str, label: &str, hint: &str| {
        Diagnostic::error(name.span(), format!("{what} {reason}"))
            .label(label)
            .hint(hint)
    };
    // The kernel refuses the slash, the colon and space; quotes, backslash and asterisk mean
    // something else to nft, even in quotes.
    let is_bad = |c: &char| c.is_whitespace() || c.is_control() || r#"/:"'\*"#.contains(*c);
    let refused = if word.is_empty() {
        refuse(
            "is empty",
            "no name",
            "`ip link` lists the interfaces of this machine",
        )
    } else if let Some(bad) = word.chars().find(is_bad) {
        refuse(
            &format!(
                "cannot be {}: {} has no place in it",
                quoted(word),
                character(bad)
            ),
            "not an interface's name",
            "give the name of one interface, as `ip link` shows it",
        )
    } else if word.len() > length_max {
        refuse(
            &format!(
                "cannot be {}: no interface's name is longer than {length_max} characters",
                quoted(word)
            ),
            "too long",
            "give the name that `ip link` shows first",
        )
    } else if word == "." || word == ".." || word == "lo" {
        refuse(
            &format!("cannot be {}", quoted(word)),
            "leads nowhere",
            "give the name of one interface, as `ip link` shows it",
        )
    } else {
        return Some(word.clone());
    };
    found.push(refused);
    None
}

fn character(c: char) -> String {
    match c {
        ' ' => "a space".to_owned(),
        c => quoted(&c.to_string()),
    }
}

/// Checks the list `lan`: names, each once.
pub(super) fn lan(lan: &[Spanned<String>], found: &mut Found) -> Vec<(String, Range<usize>)> {
    let mut seen: Vec<(String, Range<usize>)> = Vec::new();
    for interface in lan {
        let what = "an interface in `lan`";
        let Some(checked) = called(interface, what, ALTERNATIVE_MAX, found) else {
            continue;
        };
        match seen.iter().find(|(name, _)| *name == checked) {
            Some((_, first)) => found.push(
                Diagnostic::error(
                    interface.span(),
                    format!("interface {} is in `lan` twice", quoted(&checked)),
                )
                .label("again here")
                .hint("keep one of them")
                .note(first.clone(), "first here"),
            ),
            None => seen.push((checked, interface.span())),
        }
    }
    seen
}

/// Finds interfaces that serve two uplinks, or an uplink and the LAN.
pub(super) fn used_twice(raw: &RawFile, found: &mut Found) {
    let mut users = BTreeMap::new();
    for uplink in &raw.uplinks {
        let Some(interface) = uplink
            .interface
            .as_ref()
            .filter(|i| !i.get_ref().is_empty())
        else {
            continue;
        };
        let word = interface.get_ref();
        let name = uplink_named(&uplink.name);
        if let Some((first, first_span)) = users.get(word) {
            found.push(
                Diagnostic::error(
                    interface.span(),
                    format!(
                        "interface {} serves two uplinks, {first} and {}",
                        quoted(word),
                        quoted(uplink.name.get_ref())
                    ),
                )
                .label(format!("{name} uses it too"))
                .hint("give every uplink an interface of its own, such as a VLAN or a macvlan")
                .note(Range::clone(first_span), "first here"),
            );
        } else {
            users.insert(word, (quoted(uplink.name.get_ref()), interface.span()));
        }
        if let Some(lan) = raw.lan.iter().find(|lan| lan.get_ref() == word) {
            found.push(
                Diagnostic::error(
                    interface.span(),
                    format!("interface {} is in `lan` and serves {name}", quoted(word)),
                )
                .label("leads to the internet")
                .hint("take it out of `lan`, or give the uplink another interface")
                .note(lan.span(), "leads to the LAN"),
            );
        }
    }
}

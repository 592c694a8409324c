//! What a table says about a target beside who is asked.

use std::{net::IpAddr, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use toml::Spanned;
use uplinkd_model::{
    Family, Host, Service, Target,
    target::{Ask, Program},
};

use super::{
    service,
    word::{Asked, name_of},
};
use crate::{
    check::{bounded, duration, word},
    diagnostic::Diagnostic,
    keys,
    quote::quoted,
    raw::{RawOptions, RawTarget},
    reader::{Found, Texts},
};

const TIMEOUT: duration::Limits = duration::Limits {
    least: Duration::from_millis(100),
    most: Duration::from_secs(60),
    hint: "\"5s\" is the default; a line is judged the later, the longer it is",
};
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// A command: a path and arguments.
pub(super) fn command(
    words: &Texts,
    options: &RawOptions,
    whose: &str,
    found: &mut Found,
) -> Option<Ask> {
    let first = words.items.first();
    let Some(path) = first.filter(|p| p.get_ref().starts_with('/')) else {
        let span = first.map_or(words.span.clone(), Spanned::span);
        let message = match first {
            Some(word) => format!(
                "command {} of {whose} is not the path of a program",
                quoted(word.get_ref())
            ),
            None => format!("a command of {whose} is empty"),
        };
        found.push(
            Diagnostic::error(span, message)
                .label("not a path")
                .hint("write the whole path, and each argument for itself: `[\"/usr/bin/curl\", \"-sf\"]`; there is no shell"),
        );
        return None;
    };
    if let Some(bad) = words.items.iter().find(|w| w.get_ref().contains('\0')) {
        let message = format!(
            "an argument of command {} has a zero in it",
            quoted(path.get_ref())
        );
        found.push(
            Diagnostic::error(bad.span(), message)
                .label("no program can be given that")
                .hint("leave it out"),
        );
        return None;
    }
    let limit = match &options.timeout {
        None => TIMEOUT_DEFAULT,
        Some(raw) => {
            let what = format!("the timeout of a command of {whose}");
            duration::check(raw, &TIMEOUT, &what, found)?
        }
    };
    Some(Ask::Command(Program {
        words: words.items.iter().map(|w| w.get_ref().clone()).collect(),
        limit,
        user: options.user.as_ref().map(|u| u.get_ref().clone()),
    }))
}

/// Lays the options of a table over a target.
pub(super) fn apply(
    mut asked: Asked,
    raw: &RawTarget,
    whose: &str,
    found: &mut Found,
) -> Option<Target> {
    let errors_before = found.len();
    for (key, span) in written(&raw.options) {
        if !fits(&asked, key) {
            let message = format!("`{key}` says nothing about {} of {whose}", shown(raw));
            found.push(
                Diagnostic::error(span, message)
                    .label("not of this kind of target")
                    .hint(format!("`{key}` belongs to {}", home(key))),
            );
        }
    }
    if found.len() > errors_before {
        return None;
    }
    if let Asked::Service(ask) = &mut asked {
        lay(ask, &raw.options, whose, found);
    }
    let family = match &raw.options.family {
        None => None,
        Some(text) => {
            let words = [("ipv4", Family::V4), ("ipv6", Family::V6)];
            let what = format!("the family of a target of {whose}");
            Some(word(text, &words, &what, "", found)?)
        }
    };
    let target = of(asked, family);
    if let Some((family, text)) = family.zip(raw.options.family.as_ref())
        && !target.concerns(family)
    {
        let message = format!("{} of {whose} has no {family} address", shown(raw));
        found.push(
            Diagnostic::error(text.span(), message)
                .label("the other family")
                .hint("leave `family` out: an address says itself which one it is of"),
        );
    }
    (found.len() == errors_before).then_some(target)
}

fn of(asked: Asked, family: Option<Family>) -> Target {
    let ask = match asked {
        Asked::Gateway => return Target::Gateway,
        Asked::Neighbour => return Target::Neighbour,
        // Of another family than `family` says: the caller refuses it.
        Asked::Icmp(Host::Address(address)) => return Target::Icmp(address),
        Asked::Icmp(Host::Name(name)) => Ask::Icmp(name),
        Asked::Service(ask) => ask,
    };
    let has_address = match service(ask.clone()) {
        Target::Service(s) => s.host().and_then(Host::address).is_some(),
        Target::Gateway | Target::Neighbour | Target::Icmp(_) => false,
    };
    let family = family.filter(|_| !has_address);
    Target::Service(Arc::new(Service { ask, family }))
}

fn lay(ask: &mut Ask, options: &RawOptions, whose: &str, found: &mut Found) {
    match ask {
        Ask::Dns(query) => {
            let answers = options.answer.iter().flat_map(|a| a.get_ref());
            for text in answers {
                match text.get_ref().parse::<IpAddr>() {
                    Ok(address) => query.answers.push(address),
                    Err(_) => found.push(no_address(text, whose)),
                }
            }
        }
        Ask::Http(page) => {
            for status in options.status.iter().flat_map(|s| s.get_ref()) {
                let what = format!("the status of a target of {whose}");
                let hint = "204 is what servers answer that only tell that they are there";
                page.statuses
                    .extend(bounded::<u16>(status, keys::STATUS, &what, hint, found));
            }
            page.body = options.body.as_ref().map(|b| b.get_ref().clone());
            page.certificate_name = options.name.as_ref().and_then(|text| {
                let name = name_of(text.get_ref());
                if name.is_none() {
                    let message = format!(
                        "{} is no name that a certificate of {whose} could be for",
                        quoted(text.get_ref())
                    );
                    found.push(
                        Diagnostic::error(text.span(), message)
                            .label("not a name")
                            .hint("write a name such as \"example.org\""),
                    );
                }
                name
            });
            page.authorities = options.ca.as_ref().map(|text| {
                let path = PathBuf::from(text.get_ref());
                if !path.is_absolute() {
                    let message = format!("{} is not a whole path", quoted(text.get_ref()));
                    found.push(
                        Diagnostic::error(text.span(), message)
                            .label("where does it begin?")
                            .hint("write \"/etc/ssl/company.pem\""),
                    );
                }
                path
            });
        }
        Ask::Icmp(_) | Ask::Tcp { .. } | Ask::Command(_) => {}
    }
}

fn no_address(text: &Spanned<String>, whose: &str) -> Diagnostic {
    let message = format!(
        "the answer {} that {whose} waits for is no address",
        quoted(text.get_ref())
    );
    Diagnostic::error(text.span(), message)
        .label("not an address")
        .hint("write an address such as \"192.0.2.1\" or \"2001:db8::1\"")
}

/// The options that are written, and where.
fn written(options: &RawOptions) -> impl Iterator<Item = (&'static str, Range<usize>)> {
    let text = |t: &Option<Spanned<String>>| t.as_ref().map(Spanned::span);
    let all = [
        ("family", text(&options.family)),
        ("answer", options.answer.as_ref().map(Spanned::span)),
        ("status", options.status.as_ref().map(Spanned::span)),
        ("body", text(&options.body)),
        ("name", text(&options.name)),
        ("ca", text(&options.ca)),
        ("timeout", text(&options.timeout)),
        ("user", text(&options.user)),
    ];
    all.into_iter().filter_map(|(key, span)| Some((key, span?)))
}

fn fits(asked: &Asked, key: &str) -> bool {
    let Asked::Service(ask) = asked else {
        return key == "family" && matches!(asked, Asked::Icmp(_));
    };
    match key {
        "family" => true,
        "answer" => matches!(ask, Ask::Dns(query) if query.name.is_some()),
        "status" | "body" => matches!(ask, Ask::Http(_)),
        "name" | "ca" => matches!(ask, Ask::Http(page) if page.is_secure),
        _ => matches!(ask, Ask::Command(_)),
    }
}

fn home(key: &str) -> &'static str {
    match key {
        "family" => "targets that are asked beyond the gateway",
        "answer" => "\"dns:SERVER/NAME\"",
        "status" | "body" => "\"http://…\" and \"https://…\"",
        "name" | "ca" => "\"https://…\"",
        _ => "`command`",
    }
}

fn shown(raw: &RawTarget) -> String {
    match &raw.word {
        Some(word) => format!("target {}", quoted(word.get_ref())),
        None => "a command".to_owned(),
    }
}

//! Probe targets: from what is written to who is asked what.

mod options;
mod word;

use std::{net::IpAddr, ops::Range, sync::Arc};

use toml::Spanned;
use uplinkd_model::{Host, Service, Target, target::Ask};

use self::word::Asked;
use crate::{
    diagnostic::Diagnostic,
    quote::quoted,
    raw::{RawTarget, RawTargets},
    reader::Found,
};

/// Checks all targets; those that are of no use are reported and left out.
pub(super) fn check_all(raw: &RawTargets, whose: &str, found: &mut Found) -> Vec<Target> {
    let mut seen: Vec<(Target, Range<usize>)> = Vec::new();
    for item in &raw.items {
        let Some(target) = check(item, whose, found) else {
            continue;
        };
        if let Some((_, first)) = seen.iter().find(|(t, _)| *t == target) {
            found.push(
                Diagnostic::error(
                    item.span.clone(),
                    format!(
                        "target {} of {whose} is there twice",
                        quoted(&target.to_string())
                    ),
                )
                .label("again here")
                .hint("keep one of them: it would be asked twice and count twice")
                .note(first.clone(), "first here"),
            );
            continue;
        }
        seen.push((target, item.span.clone()));
    }
    seen.into_iter().map(|(target, _)| target).collect()
}

fn check(raw: &RawTarget, whose: &str, found: &mut Found) -> Option<Target> {
    let options = &raw.options;
    let asked = match (&raw.word, &options.command) {
        (Some(word), None) => word::check(word, whose, found)?,
        (None, Some(command)) => Asked::Service(options::command(command, options, whose, found)?),
        // It may have been said in a way that was refused already.
        (None, None) if !raw.is_sound => return None,
        (None, None) => {
            let message = format!("a target of {whose} does not say who is asked");
            found.push(
                Diagnostic::error(raw.span.clone(), message)
                    .label("`target` is missing")
                    .hint("write `{ target = \"https://example.org/\", status = 204 }`, or `{ command = [\"/path\"] }`"),
            );
            return None;
        }
        (Some(word), Some(command)) => {
            let message = format!(
                "target {} of {whose} is a command as well",
                quoted(word.get_ref())
            );
            found.push(
                Diagnostic::error(command.span.clone(), message)
                    .label("beside `target`")
                    .hint("make two targets of them"),
            );
            return None;
        }
    };
    options::apply(asked, raw, whose, found)
}

/// A service of both families, or of its host's.
fn service(ask: Ask) -> Target {
    Target::Service(Arc::new(Service { ask, family: None }))
}

/// The gateway's own address is no proof of the internet behind it, yet would decide.
pub(super) fn warn_of_gateway(
    gateway: IpAddr,
    targets: &RawTargets,
    whose: &str,
    found: &mut Found,
) {
    for raw in &targets.items {
        let Some(word) = &raw.word else {
            continue;
        };
        let Some(Ok(asked)) = word::read(word.get_ref()) else {
            continue;
        };
        let own = match &asked {
            Asked::Icmp(Host::Address(address)) => Some(*address),
            Asked::Service(ask) => host_of(ask),
            Asked::Gateway | Asked::Neighbour | Asked::Icmp(Host::Name(_)) => None,
        };
        if own == Some(gateway) {
            found.push(gateways_own(word, whose));
        }
    }
}

fn host_of(ask: &Ask) -> Option<IpAddr> {
    let service = Service {
        ask: ask.clone(),
        family: None,
    };
    service.host().and_then(Host::address)
}

fn gateways_own(word: &Spanned<String>, whose: &str) -> Diagnostic {
    let message = format!(
        "target {} of {whose} is its own gateway, which proves nothing about the internet behind it",
        quoted(word.get_ref())
    );
    Diagnostic::warning(word.span(), message)
        .label("the gateway")
        .hint("write \"gateway\", which explains but does not decide, or a host beyond it")
}

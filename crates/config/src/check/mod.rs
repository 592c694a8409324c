//! From what is written to what it means; collects every mistake, not the first.
//!
//! Each check takes a value as it is written and gives the checked one, or notes why not. Values
//! that could not be read at all were reported by then and count as left out here.

mod access;
mod address;
mod budget;
mod clause;
mod conduct;
mod contradiction;
mod duration;
mod group;
mod interface;
mod names;
mod outlet;
mod policy;
mod prefix;
mod probe;
mod quality;
mod reserve;
mod room;
mod target;
mod uplink;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use toml::Spanned;
use uplinkd_model::{OutletKind, Policy, Reserve};

pub use clause::DOMAIN_TIMEOUT;
pub(crate) use clause::Lists;
pub(crate) use duration::{Limits, check as duration};
pub(crate) use names::is_name;

use crate::{
    api::Api,
    diagnostic::Diagnostic,
    history::History,
    keys::Bounds,
    notify,
    parsed::{Field, Parsed, ParsedOutlet, ParsedUplink},
    quote::{meant, quoted},
    raw::RawFile,
    reader::Found,
    record::Record,
    sources::{ListFile, Sources},
};

/// Whether all policies are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Whole,
    /// Only some of them: what nobody leads to may be led to by another.
    SomePolicies,
}

/// Checks the file. The result is only worth using where no error was noted.
pub(crate) fn check(
    path: &str,
    raw: &RawFile,
    files: &[ListFile],
    sources: &Sources,
    lists: Lists,
    scope: Scope,
    found: &mut Found,
) -> Option<Parsed> {
    let lan = interface::lan(&raw.lan, found);
    let (reserve, reserve_spans) = reserve::check(&raw.reserve, found);
    let record = Record::check(&raw.record, found);
    let history = History::check(&raw.history, found);
    let notify = notify::Checked::check(path, &raw.notify, found);
    let api = Api::check(path, &raw.api, sources, found);
    let defaults = probe::Defaults::check(&raw.probe, found);
    let uplinks: Vec<_> = raw
        .uplinks
        .iter()
        .filter_map(|uplink| uplink::check(uplink, &defaults, found))
        .collect();
    if raw.uplinks.is_empty() && raw.is_complete {
        found.push(no_uplinks(raw.uplink_key.clone()));
    }
    interface::used_twice(raw, found);
    if let Some(diagnostic) = advertised_nowhere(raw) {
        found.push(diagnostic);
    }
    prefix::overlapping(&uplinks, found);
    if let Some(reserve) = &reserve {
        room::for_uplinks(raw, reserve, found);
    }
    let names = names::Names::of(raw);
    let groups = group::check(raw, &uplinks, &names, found);
    let policies = policy::check(
        &raw.policies,
        &names,
        &clause::Context {
            lan: &lan,
            uplinks: &interfaces(raw),
            // Marks are held against the bits that would be ours by default where ours are wrong.
            reserve: reserve.as_ref().unwrap_or(&Reserve::default()),
            sources,
            lists: &lists,
        },
        found,
    );
    let reserve = reserve?;
    if policies.len() != raw.policies.len() {
        return None;
    }
    let leads: Vec<_> = policies.iter().map(|p| p.lead.clone()).collect();
    let outlets = outlet::outlets(raw, &leads, &groups.groups, &names, &reserve, found);
    if scope == Scope::Whole {
        unused(&uplinks, &outlets.outlets, found);
    }
    let (policies, policy_places) = policies
        .into_iter()
        .zip(outlets.of_policies)
        .map(|(policy, outlet)| {
            let checked = Policy {
                name: policy.name,
                clauses: policy.clauses,
                outlet,
                flows: policy.flows,
            };
            (Arc::new(checked), policy.place)
        })
        .unzip();
    Some(Parsed {
        path: path.to_owned(),
        lan,
        deprecate: raw.deprecate.as_ref().is_none_or(|d| *d.get_ref()),
        advertise: raw.advertise.as_ref().is_some_and(|a| *a.get_ref()),
        uplinks,
        groups: groups.groups,
        group_spans: groups.spans,
        policies,
        policy_places,
        outlets: outlets.outlets,
        files: files.to_vec(),
        lists: lists.into_known(),
        record,
        history,
        notify,
        api,
        reserve,
        reserve_key: raw.reserve.key.clone(),
        reserve_spans,
        warnings: Vec::new(),
    })
}

/// The uplinks' interfaces as they are written, with the uplinks' names.
fn interfaces(raw: &RawFile) -> BTreeMap<&str, &str> {
    let pairs = raw.uplinks.iter().filter_map(|uplink| {
        let interface = uplink.interface.as_ref()?;
        Some((interface.get_ref().as_str(), uplink.name.get_ref().as_str()))
    });
    pairs.collect()
}

/// To advertise without a word on which interfaces.
fn advertised_nowhere(raw: &RawFile) -> Option<Diagnostic> {
    let wish = raw.advertise.as_ref().filter(|a| *a.get_ref())?;
    raw.lan.is_empty().then(|| {
        let what = "`advertise` has no interface to advertise on: `lan` names none";
        Diagnostic::error(wish.span(), what)
            .label("where?")
            .hint("name the interfaces that hosts are on, such as `lan = [\"br-lan\"]`")
    })
}

fn no_uplinks(key: Option<Range<usize>>) -> Diagnostic {
    Diagnostic::error(key.unwrap_or(0..0), "the file has no uplinks")
        .label("no `[uplink.NAME]` in this file")
        .hint("add one for each provider: `[uplink.isp1]`, and `interface = \"eth1\"` below it")
}

/// Uplinks that a written default group leaves out and no policy leads to.
fn unused(uplinks: &[ParsedUplink], outlets: &[ParsedOutlet], found: &mut Found) {
    let mut used = BTreeSet::new();
    for outlet in outlets {
        match &outlet.kind {
            OutletKind::Uplinks(outflow) => used.extend(outflow.members().map(|m| &m.uplink)),
            OutletKind::Block | OutletKind::Main => {}
        }
    }
    for uplink in uplinks.iter().filter(|u| !used.contains(&u.name)) {
        let span = uplink.spans.get(&Field::Name).cloned().unwrap_or(0..0);
        found.push(
            Diagnostic::warning(
                span,
                format!("nothing leads to uplink {}", quoted(uplink.name.as_str())),
            )
            .label("only carries connections from outside")
            .hint("put it into [group.default], or let a policy lead to it"),
        );
    }
}

/// A number within its bounds. `what` names the value and whose it is.
pub(crate) fn bounded<T: TryFrom<i128>>(
    value: &Spanned<i128>,
    bounds: Bounds,
    what: &str,
    hint: &str,
    found: &mut Found,
) -> Option<T> {
    let checked = bounds.check(*value.get_ref());
    if checked.is_none() {
        let Bounds { least, most } = bounds;
        let message = format!(
            "{what} must be {least} to {most}, not {}",
            shown(*value.get_ref())
        );
        let mut diagnostic =
            Diagnostic::error(value.span(), message).label(format!("not in {least} to {most}"));
        if !hint.is_empty() {
            diagnostic = diagnostic.hint(hint);
        }
        found.push(diagnostic);
    }
    checked
}

/// One of a few words. `what` names the value and whose it is, `more` what can be written beside
/// the words.
pub(crate) fn word<T: Copy>(
    text: &Spanned<String>,
    words: &[(&'static str, T)],
    what: &str,
    more: &str,
    found: &mut Found,
) -> Option<T> {
    let word = text.get_ref();
    if let Some((_, value)) = words.iter().find(|(known, _)| known == word) {
        return Some(*value);
    }
    let known = || words.iter().map(|(known, _)| *known);
    let hint = match meant(word, known()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => {
            let known: Vec<_> = known().map(|k| format!("\"{k}\"")).collect();
            let more = if more.is_empty() { "" } else { more };
            format!("write {} {more}", known.join(" or "))
                .trim_end()
                .to_owned()
        }
    };
    found.push(
        Diagnostic::error(text.span(), format!("{what} cannot be {}", quoted(word)))
            .label("no such word")
            .hint(hint),
    );
    None
}

/// A number, unless it was too large to be read.
fn shown(number: i128) -> String {
    match number {
        i128::MAX | i128::MIN => "a number of that size".to_owned(),
        number => number.to_string(),
    }
}

/// How messages name an uplink.
fn uplink_named(name: &Spanned<String>) -> String {
    format!("uplink {}", quoted(name.get_ref()))
}

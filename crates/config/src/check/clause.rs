//! One condition of a policy: from the values that are written to a selector, and to its words.

mod address;
mod domain;
mod number;
mod own;
mod schedule;

use std::{collections::BTreeMap, ops::Range};

use uplinkd_model::{
    Family, Reserve,
    policy::{Clause, Selector},
};

pub(crate) use address::Lists;
pub use domain::TIMEOUT as DOMAIN_TIMEOUT;

use crate::{
    check::interface,
    diagnostic::Diagnostic,
    keys::Attribute,
    quote::{meant, quoted},
    raw::{RawCondition, RawItem},
    reader::Found,
    sources::Sources,
};

/// What conditions are held against.
pub(super) struct Context<'c> {
    /// The interfaces in `lan`. Empty: every interface.
    pub(super) lan: &'c [(String, Range<usize>)],
    /// The uplinks' interfaces, by name, with the uplinks' names.
    pub(super) uplinks: &'c BTreeMap<&'c str, &'c str>,
    pub(super) reserve: &'c Reserve,
    pub(super) sources: &'c Sources,
    pub(super) lists: &'c Lists,
}

/// A checked condition, with its place.
pub(super) struct Checked {
    pub(super) clause: Clause,
    /// Where the values stand.
    pub(super) span: Range<usize>,
    pub(super) key: &'static str,
}

/// Checks a condition; none where something is wrong with a value, or where it always holds.
/// `policy` is the policy's name, which its sets get too.
pub(super) fn check(
    condition: &RawCondition,
    policy: &str,
    context: &Context<'_>,
    found: &mut Found,
) -> Option<Checked> {
    let values = Values { condition, policy };
    let selector = match condition.attribute {
        Attribute::Family => family(&values, found)?,
        Attribute::Source => Selector::Source(context.lists.addresses(&values, found)?),
        Attribute::Destination => Selector::Destination(context.lists.addresses(&values, found)?),
        Attribute::Protocol => Selector::Protocol(number::protocols(&values, found)?),
        Attribute::SourcePort => Selector::SourcePort(number::ports(&values, found)?),
        Attribute::DestinationPort => Selector::DestinationPort(number::ports(&values, found)?),
        Attribute::Interface => Selector::Interface(interfaces(&values, context, found)?),
        Attribute::Mac => Selector::Mac(number::macs(&values, found)?),
        Attribute::Dscp => Selector::Dscp(number::code_points(&values, found)?),
        Attribute::Mark => Selector::Mark(number::marks(&values, context.reserve, found)?),
        Attribute::User => Selector::User(own::users(&values, &context.sources.users, found)?),
        Attribute::Group => Selector::Group(own::groups(&values, &context.sources.groups, found)?),
        Attribute::Cgroup => Selector::Cgroup(own::cgroups(&values, found)?),
        Attribute::Unit => Selector::Cgroup(own::units(&values, found)?),
        Attribute::Icmp => number::icmp_types(&values, found)?,
        Attribute::Schedule => Selector::Schedule(schedule::times(&values, found)?),
        Attribute::Domain => domain::domains(&values, found)?,
    };
    let clause = Clause {
        selector,
        not: condition.not,
        text: text(condition),
    };
    Some(Checked {
        clause,
        span: condition.span.clone(),
        key: condition.key,
    })
}

/// The values of a condition, with the words for messages about them.
struct Values<'c> {
    condition: &'c RawCondition,
    policy: &'c str,
}

/// Why a value cannot be taken, and what to write instead.
struct Refusal {
    /// Completes "… cannot be …: ".
    reason: String,
    hint: String,
}

impl Refusal {
    fn new(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            hint: hint.into(),
        }
    }
}

impl Values<'_> {
    /// How messages name the condition: `dport` of policy `voip`.
    fn what(&self) -> String {
        format!("`{}` of policy {}", self.condition.key, quoted(self.policy))
    }

    /// Checks each value; none where one is refused.
    fn each<T>(
        &self,
        found: &mut Found,
        mut check: impl FnMut(&RawItem) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        let items = &self.condition.items;
        let mut checked = Vec::with_capacity(items.len());
        for item in items {
            match check(item.get_ref()) {
                Ok(value) => checked.push(value),
                Err(refusal) => found.push(self.refused(item.get_ref(), item.span(), refusal)),
            }
        }
        (checked.len() == items.len()).then_some(checked)
    }

    /// The same for values that are words; the reader lets no others through to it.
    fn each_word<T>(
        &self,
        found: &mut Found,
        mut check: impl FnMut(&str) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        self.each(found, |item| match item {
            RawItem::Text(word) => check(word),
            RawItem::Number(number) => check(&number.to_string()),
            RawItem::File(path) => check(path),
        })
    }

    fn refused(&self, item: &RawItem, span: Range<usize>, refusal: Refusal) -> Diagnostic {
        let word = match item {
            RawItem::Text(word) | RawItem::File(word) => quoted(word),
            RawItem::Number(number) => super::shown(*number),
        };
        let message = format!("{} cannot be {word}: {}", self.what(), refusal.reason);
        Diagnostic::error(span, message)
            .label("not taken")
            .hint(refusal.hint)
    }
}

/// One of the families; both say nothing.
fn family(values: &Values<'_>, found: &mut Found) -> Option<Selector> {
    const WORDS: [&str; 2] = ["ipv4", "ipv6"];
    let families = values.each_word(found, |word| match word {
        "ipv4" => Ok(Family::V4),
        "ipv6" => Ok(Family::V6),
        _ => Err(Refusal::new(
            "that is no family",
            did_you_mean(word, WORDS, "write \"ipv4\" or \"ipv6\""),
        )),
    })?;
    let first = *families.first()?;
    if families.iter().all(|f| *f == first) {
        return Some(Selector::Family(first));
    }
    if values.condition.not {
        found.push(
            Diagnostic::error(
                values.condition.span.clone(),
                format!(
                    "policy {} can never match: it excludes both families",
                    quoted(values.policy)
                ),
            )
            .label("both")
            .hint("keep one of them"),
        );
    }
    None
}

fn interfaces(
    values: &Values<'_>,
    context: &Context<'_>,
    found: &mut Found,
) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for item in &values.condition.items {
        let RawItem::Text(word) = item.get_ref() else {
            continue;
        };
        let word = toml::Spanned::new(item.span(), word.clone());
        let what = format!("an interface in {}", values.what());
        let Some(name) = interface::name(&word, &what, found) else {
            continue;
        };
        let shown = quoted(&name);
        if let Some(uplink) = context.uplinks.get(name.as_str()) {
            found.push(
                Diagnostic::error(
                    item.span(),
                    format!("{} cannot be {shown}: that is the interface of uplink `{uplink}`", values.what()),
                )
                .label("leads to the internet")
                .hint("connections that come in by an uplink are answered by it; name an interface of the LAN"),
            );
        } else if !context.lan.is_empty() && context.lan.iter().all(|(lan, _)| *lan != name) {
            let known = context.lan.iter().map(|(lan, _)| lan.as_str());
            let hint = format!("add it to `lan` at the top of the file: \"{name}\"");
            found.push(
                Diagnostic::error(
                    item.span(),
                    format!(
                        "{} cannot be {shown}: traffic from {shown} is not shared out",
                        values.what()
                    ),
                )
                .label("not in `lan`")
                .hint(match meant(&name, known) {
                    Some(meant) => format!("did you mean \"{meant}\"? Or {hint}"),
                    None => hint,
                }),
            );
        } else {
            names.push(name);
        }
    }
    let is_complete = names.len() == values.condition.items.len();
    names.sort();
    names.dedup();
    is_complete.then_some(names)
}

/// The word that was meant, or else the hint.
fn did_you_mean<'k>(
    word: &str,
    known: impl IntoIterator<Item = &'k str>,
    otherwise: &str,
) -> String {
    match meant(word, known) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => otherwise.to_owned(),
    }
}

/// Most values that a clause's text repeats.
const SHOWN_MAX: usize = 4;

/// The condition as people read it: `destination in 10.0.0.0/8, nets.txt`, `not dport 443`.
fn text(condition: &RawCondition) -> String {
    let addresses = condition.attribute.takes_files();
    let shown = |item: &RawItem| match item {
        RawItem::Text(word) if addresses => address::shown(word),
        RawItem::Text(word) | RawItem::File(word) => tamed(word),
        RawItem::Number(number) => number.to_string(),
    };
    let items = &condition.items;
    // "and 1 more" would be longer than the one.
    let most = if items.len() == SHOWN_MAX + 1 {
        SHOWN_MAX + 1
    } else {
        SHOWN_MAX
    };
    let words: Vec<_> = items
        .iter()
        .take(most)
        .map(|i| shown(i.get_ref()))
        .collect();
    let not = if condition.not { "not " } else { "" };
    let verb = if addresses { " in" } else { "" };
    let more = match items.len().saturating_sub(most) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{not}{}{verb} {}{more}", condition.key, words.join(", "))
}

/// A word without the quotes that messages put around it, harmless to a terminal.
fn tamed(word: &str) -> String {
    let quoted = quoted(word);
    quoted.trim_matches('`').to_owned()
}

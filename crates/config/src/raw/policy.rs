//! Groups and policies as they are written.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    diagnostic::Diagnostic,
    keys::{self, Attribute, Key, Keys, Kind},
    quote::quoted,
    raw::RawWeight,
    reader::{Found, OneOrMore, Reader, TextOrTable, as_number, as_text, describe},
};

/// `[group.NAME]`.
pub(crate) struct RawGroup {
    pub(crate) name: Spanned<String>,
    pub(crate) tiers: Option<Spanned<Vec<RawTier>>>,
    /// Whether every tier and member could be read.
    pub(crate) is_complete: bool,
    pub(crate) failback: Option<WordOrTable<RawFailback>>,
    pub(crate) sticky: Option<WordOrTable<RawSticky>>,
    pub(crate) yield_at: Option<Spanned<RawYieldAt>>,
    pub(crate) while_budget: Option<Spanned<bool>>,
    pub(crate) balance: Option<Spanned<String>>,
    pub(crate) overflow_at: Option<Spanned<String>>,
}

/// One entry of `tiers`.
pub(crate) struct RawTier {
    pub(crate) span: Range<usize>,
    pub(crate) members: Vec<RawMember>,
}

/// One entry of a tier.
pub(crate) struct RawMember {
    pub(crate) uplink: Spanned<String>,
    pub(crate) weight: Option<RawWeight>,
}

/// A word, or a table with its span.
pub(crate) enum WordOrTable<T> {
    Word(Spanned<String>),
    Table(Spanned<T>),
}

/// `[group.NAME.failback]`.
pub(crate) struct RawFailback {
    pub(crate) after: Option<Spanned<String>>,
    pub(crate) by_hand: Option<Spanned<bool>>,
    pub(crate) flows: Option<Spanned<String>>,
}

/// `[group.NAME.yield_at]`.
pub(crate) struct RawYieldAt {
    pub(crate) loss: Option<Spanned<String>>,
    pub(crate) rtt: Option<Spanned<String>>,
}

/// `[group.NAME.sticky]`.
pub(crate) struct RawSticky {
    pub(crate) by: Option<Spanned<String>>,
    pub(crate) idle: Option<Spanned<String>>,
}

/// `[[policy]]`.
pub(crate) struct RawPolicy {
    /// What messages call it: its name, or `policy-N` by its place in the file.
    pub(crate) called: String,
    /// Where its header begins.
    pub(crate) header: usize,
    /// Where its name stands, or else its header.
    pub(crate) span: Range<usize>,
    pub(crate) name: Option<Spanned<String>>,
    /// The conditions, in the order of the file.
    pub(crate) conditions: Vec<RawCondition>,
    /// Whether every condition could be read.
    pub(crate) is_complete: bool,
    pub(crate) destination: Option<Spanned<String>>,
    pub(crate) otherwise: Option<Spanned<String>>,
    pub(crate) flows: Option<Spanned<String>>,
}

/// A key of `match` or of `match.not`.
pub(crate) struct RawCondition {
    pub(crate) key: &'static str,
    pub(crate) attribute: Attribute,
    pub(crate) not: bool,
    /// Where the values stand.
    pub(crate) span: Range<usize>,
    /// The values; at least one.
    pub(crate) items: Vec<Spanned<RawItem>>,
}

/// A value of a condition.
pub(crate) enum RawItem {
    Text(String),
    Number(i128),
    /// The path of a file of prefixes, as written.
    File(String),
}

impl RawGroup {
    /// Reads all groups; false where something under `group` is none.
    pub(super) fn read_all(top: &Reader<'_>, found: &mut Found) -> (Vec<Self>, bool) {
        let Some((_, table)) = top.table("group", found) else {
            return (Vec::new(), top.key_span("group").is_none());
        };
        let mut groups = Vec::new();
        for (name, value) in table.iter() {
            let name = Spanned::new(name.span(), name.get_ref().to_string());
            match value.get_ref().as_table() {
                Some(table) => groups.push(Self::read(name, table, found)),
                None => found.push(not_a_group(&name, value)),
            }
        }
        groups.sort_by_key(|g| g.name.span().start);
        let is_complete = groups.len() == table.len();
        (groups, is_complete)
    }

    fn read(name: Spanned<String>, table: &DeTable<'_>, found: &mut Found) -> Self {
        let header = format!("group.{}", name.get_ref().escape_debug());
        let reader = Reader::open(table, &keys::GROUP, &header, found);
        let errors_before = found.len();
        let tiers = reader
            .list("tiers", "a list of lists of uplinks", found)
            .map(|(span, tiers)| {
                let read = |tier| RawTier::read(tier, &reader, &header, found);
                Spanned::new(span, tiers.iter().filter_map(read).collect())
            });
        let is_complete = found.len() == errors_before;
        let failback = reader.text_or_table("failback", found);
        let sticky = reader.text_or_table("sticky", found);
        let yield_at = reader.table("yield_at", found).map(|(key, table)| {
            let header = format!("{header}.yield_at");
            let reader = Reader::open(table, &keys::YIELD_AT, &header, found);
            let limits = RawYieldAt {
                loss: reader.text("loss", found),
                rtt: reader.text("rtt", found),
            };
            Spanned::new(key, limits)
        });
        Self {
            tiers,
            is_complete,
            failback: failback.map(|f| {
                f.read(
                    &keys::FAILBACK,
                    &format!("{header}.failback"),
                    found,
                    |r, found| RawFailback {
                        after: r.text("after", found),
                        by_hand: r.truth("by_hand", found),
                        flows: r.text("flows", found),
                    },
                )
            }),
            sticky: sticky.map(|s| {
                s.read(
                    &keys::STICKY,
                    &format!("{header}.sticky"),
                    found,
                    |r, found| RawSticky {
                        by: r.text("by", found),
                        idle: r.text("for", found),
                    },
                )
            }),
            yield_at,
            while_budget: reader.truth("while_budget", found),
            balance: reader.text("balance", found),
            overflow_at: reader.text("overflow_at", found),
            name,
        }
    }
}

impl TextOrTable<'_> {
    pub(super) fn read<T>(
        self,
        keys: &'static Keys,
        header: &str,
        found: &mut Found,
        read: impl FnOnce(&Reader<'_>, &mut Found) -> T,
    ) -> WordOrTable<T> {
        match self {
            Self::Text(word) => WordOrTable::Word(word),
            Self::Table(span, table) => {
                let reader = Reader::open(table, keys, header, found);
                WordOrTable::Table(Spanned::new(span, read(&reader, found)))
            }
        }
    }
}

impl RawTier {
    fn read(
        tier: &Spanned<DeValue<'_>>,
        group: &Reader<'_>,
        header: &str,
        found: &mut Found,
    ) -> Option<Self> {
        let Some(members) = tier.get_ref().as_array() else {
            found.push(group.wrong_entry("tiers", tier, "a list of uplinks"));
            return None;
        };
        let read = |member| RawMember::read(member, group, header, found);
        Some(Self {
            span: tier.span(),
            members: members.iter().filter_map(read).collect(),
        })
    }
}

impl RawMember {
    fn read(
        member: &Spanned<DeValue<'_>>,
        group: &Reader<'_>,
        header: &str,
        found: &mut Found,
    ) -> Option<Self> {
        if let Some(uplink) = as_text(member) {
            let weight = None;
            return Some(Self { uplink, weight });
        }
        let Some(table) = member.get_ref().as_table() else {
            found.push(group.wrong_entry("tiers", member, "the name of an uplink"));
            return None;
        };
        let reader = Reader::open(table, &keys::MEMBER, &format!("{header}.tiers"), found);
        if reader.key_span("uplink").is_none() {
            found.push(
                Diagnostic::error(
                    member.span(),
                    format!("a member {} does not name its uplink", reader.place()),
                )
                .label("`uplink` is missing")
                .hint("write `{ uplink = \"isp1\", weight = 9 }`, or only \"isp1\""),
            );
        }
        let weight = reader.weight("weight", found);
        Some(Self {
            uplink: reader.text("uplink", found)?,
            weight,
        })
    }
}

impl RawPolicy {
    pub(super) fn read_all(top: &Reader<'_>, found: &mut Found) -> Vec<Self> {
        let Some((_, tables)) = top.list("policy", "a list of tables", found) else {
            return Vec::new();
        };
        let mut policies = Vec::with_capacity(tables.len());
        for (index, value) in tables.iter().enumerate() {
            match value.get_ref().as_table() {
                Some(table) => policies.push(Self::read(index, value.span(), table, found)),
                None => found.push(top.wrong_entry("policy", value, "a table")),
            }
        }
        policies
    }

    fn read(index: usize, header: Range<usize>, table: &DeTable<'_>, found: &mut Found) -> Self {
        let called = match table.get("name").and_then(as_text) {
            Some(name) => name.into_inner(),
            None => format!("policy-{}", index + 1),
        };
        let place = format!("in policy {}", quoted(&called));
        let reader = Reader::open_in(table, &keys::POLICY, "policy", place, found);
        if reader.key_span("use").is_none() {
            found.push(
                Diagnostic::error(
                    header.clone(),
                    format!("policy {} does not say where it leads", quoted(&called)),
                )
                .label("`use` is missing")
                .hint("add `use = \"GROUP\"`, an uplink's name, \"block\" or \"main\""),
            );
        }
        let name = reader.text("name", found);
        let errors_before = found.len();
        let conditions = reader
            .table("match", found)
            .map(|(_, table)| RawCondition::read_all(table, &called, found));
        Self {
            header: header.start,
            span: name.as_ref().map_or(header, Spanned::span),
            name,
            conditions: conditions.unwrap_or_default(),
            is_complete: found.len() == errors_before,
            destination: reader.text("use", found),
            otherwise: reader.text("otherwise", found),
            flows: reader.text("flows", found),
            called,
        }
    }
}

impl RawCondition {
    fn read_all(table: &DeTable<'_>, policy: &str, found: &mut Found) -> Vec<Self> {
        let place = format!("in the match of policy {}", quoted(policy));
        let reader = Reader::open_in(table, &keys::MATCH, "policy.match", place.clone(), found);
        let mut conditions = Self::read_table(&reader, &keys::MATCH, table, false, found);
        if let Some((_, table)) = reader.table("not", found) {
            let reader = Reader::open_in(table, &keys::NOT, "policy.match.not", place, found);
            conditions.extend(Self::read_table(&reader, &keys::NOT, table, true, found));
        }
        conditions.sort_by_key(|c| c.span.start);
        conditions
    }

    fn read_table(
        reader: &Reader<'_>,
        keys: &'static Keys,
        table: &DeTable<'_>,
        not: bool,
        found: &mut Found,
    ) -> Vec<Self> {
        let known = table.iter().filter_map(|(key, _)| keys.get(key.get_ref()));
        known
            .filter_map(|key| Self::read(reader, key, not, found))
            .collect()
    }

    fn read(reader: &Reader<'_>, key: &'static Key, not: bool, found: &mut Found) -> Option<Self> {
        let Kind::Values(attribute) = key.kind else {
            return None;
        };
        let (span, values) = reader.one_or_more(key.name)?;
        let mut items = Vec::new();
        for value in values.iter() {
            if let Some(item) = RawItem::read(value, attribute, reader, found) {
                items.push(Spanned::new(value.span(), item));
                continue;
            }
            // A file that is written wrong has been reported.
            if !(attribute.takes_files() && value.get_ref().is_table()) {
                let expected = expected(attribute);
                found.push(match values {
                    OneOrMore::One(value) => reader.wrong_type(key.name, value, expected),
                    OneOrMore::More(_) => reader.wrong_entry(key.name, value, expected),
                });
            }
        }
        if let OneOrMore::More(list) = &values
            && list.is_empty()
        {
            found.push(
                Diagnostic::error(
                    span.clone(),
                    format!("`{}` {} is an empty list", key.name, reader.place()),
                )
                .label("nothing is in it")
                .hint(format!(
                    "remove `{0}`, or give it values: `{0} = {1}`",
                    key.name, key.example
                )),
            );
        }
        (!items.is_empty()).then_some(Self {
            key: key.name,
            attribute,
            not,
            span,
            items,
        })
    }
}

impl RawItem {
    /// None where the value is of a type that the attribute does not take.
    fn read(
        value: &Spanned<DeValue<'_>>,
        attribute: Attribute,
        reader: &Reader<'_>,
        found: &mut Found,
    ) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) => Some(Self::Text(text.to_string())),
            DeValue::Integer(_) if attribute.takes_numbers() => as_number(value).map(Self::Number),
            DeValue::Table(table) if attribute.takes_files() => {
                let place = reader.place().to_owned();
                let file = Reader::open_in(table, &keys::LIST_FILE, "policy.match", place, found);
                if file.key_span("file").is_none() {
                    found.push(
                        Diagnostic::error(
                            value.span(),
                            format!("a table of addresses {} names no file", reader.place()),
                        )
                        .label("`file` is missing")
                        .hint("write `{ file = \"nets.txt\" }`"),
                    );
                }
                file.text("file", found).map(|f| Self::File(f.into_inner()))
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        }
    }
}

fn expected(attribute: Attribute) -> &'static str {
    match (attribute.takes_numbers(), attribute.takes_files()) {
        (true, _) => "text in quotes or a number",
        (false, true) => "text in quotes or `{ file = \"nets.txt\" }`",
        (false, false) => "text in quotes",
    }
}

fn not_a_group(name: &Spanned<String>, value: &Spanned<DeValue<'_>>) -> Diagnostic {
    let is = describe(value.get_ref());
    let message = format!("{} in [group] is {is}, not a group", quoted(name.get_ref()));
    let hint = if keys::GROUP.get(name.get_ref()).is_some() {
        "every group has a name: write `[group.calls]` instead of `[group]`"
    } else {
        "write `[group.NAME]`, and `tiers = [[\"isp1\"], [\"isp2\"]]` below it"
    };
    Diagnostic::error(value.span(), message)
        .label("expected a table")
        .hint(hint)
}

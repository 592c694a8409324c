//! A typed look into a table that notes every mistake and goes on.
//!
//! serde would stop at the first unknown key or wrong type; people want to hear of all at once.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeArray, DeInteger, DeTable, DeValue},
};

use crate::{
    diagnostic::Diagnostic,
    keys::{self, Key, Keys, Kind},
    quote::{meant, quoted, quoted_list},
    raw::RawWeight,
};

/// Mistakes found so far.
pub(crate) type Found = Vec<Diagnostic>;

/// One table of the file with the keys that it may have.
pub(crate) struct Reader<'t> {
    table: &'t DeTable<'t>,
    keys: &'static Keys,
    /// The table's header with the user's names in it: `uplink.isp1`.
    header: String,
    /// Where the keys stand, for messages: `in [uplink.isp1]`.
    place: String,
}

impl<'t> Reader<'t> {
    /// Opens a table and reports the keys that do not belong there. `header` is the table's own
    /// header, with the user's names in it.
    pub(crate) fn open(
        table: &'t DeTable<'t>,
        keys: &'static Keys,
        header: &str,
        found: &mut Found,
    ) -> Self {
        let place = match header {
            "" => "at the top of the file".to_owned(),
            header => format!("in [{header}]"),
        };
        Self::open_in(table, keys, header, place, found)
    }

    /// The same for a table that its header does not name well enough: `place` says where its keys
    /// stand.
    pub(crate) fn open_in(
        table: &'t DeTable<'t>,
        keys: &'static Keys,
        header: &str,
        place: String,
        found: &mut Found,
    ) -> Self {
        let reader = Self {
            table,
            keys,
            header: header.to_owned(),
            place,
        };
        for (key, _) in table.iter() {
            if keys.get(key.get_ref()).is_none() {
                found.push(reader.foreign_key(key.span(), key.get_ref()));
            }
        }
        reader
    }

    /// Why a key that is not one of ours is refused, and what to write instead.
    fn foreign_key(&self, span: Range<usize>, key: &str) -> Diagnostic {
        let place = &self.place;
        let name = quoted(key);
        // Also where it is misplaced: moving it would not help yet.
        if keys::ALL.iter().any(|keys| keys.later.contains(&key)) {
            let message = format!("this version does not know {name} {place} yet");
            return Diagnostic::error(span, message)
                .label("comes with a later version")
                .hint("remove it or comment it out until then");
        }
        let theirs = keys::ELSEWHERE
            .iter()
            .find(|(theirs, ours)| *theirs == key && self.keys.get(ours).is_some())
            .map(|(_, ours)| *ours);
        let homes: Vec<_> = keys::ALL
            .iter()
            .filter(|keys| keys.get(key).is_some())
            .map(|keys| self.place_of(keys))
            .collect();
        if theirs.is_none() && !homes.is_empty() {
            return Diagnostic::error(span, format!("{name} does not belong {place}"))
                .label("not here")
                .hint(format!("it belongs {}", homes.join(" or ")));
        }
        let meant = theirs.or_else(|| meant(key, self.keys.names()));
        Diagnostic::error(span, format!("unknown key {name} {place}"))
            .label("no such key")
            .hint(match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known here: {}", quoted_list(self.keys.names())),
            })
    }

    /// Where the keys of another table stand. A table below this one gets the user's names.
    fn place_of(&self, other: &Keys) -> String {
        if other.header.is_empty() {
            return "at the top of the file, before the first table".to_owned();
        }
        match other.header.strip_prefix(self.keys.header) {
            Some(rest) if rest.starts_with('.') => format!("in [{}{rest}]", self.header),
            _ => format!("in [{}]", other.header),
        }
    }

    /// Where the keys stand, for messages: `in [uplink.isp1]`.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// The span of a key, where the table has it.
    pub(crate) fn key_span(&self, name: &str) -> Option<Range<usize>> {
        self.table.get_key_value(name).map(|(key, _)| key.span())
    }

    fn get(&self, name: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        debug_assert!(self.keys.get(name).is_some(), "{name} is not listed");
        self.table.get(name)
    }

    /// A text.
    pub(crate) fn text(&self, name: &str, found: &mut Found) -> Option<Spanned<String>> {
        let value = self.get(name)?;
        let text = as_text(value);
        if text.is_none() {
            found.push(self.wrong_type(name, value, "text in quotes"));
        }
        text
    }

    /// A whole number. One that is too large for us stays too large.
    pub(crate) fn integer(&self, name: &str, found: &mut Found) -> Option<Spanned<i128>> {
        let value = self.get(name)?;
        let integer = value.get_ref().as_integer();
        if integer.is_none() {
            found.push(self.wrong_type(name, value, "a whole number"));
        }
        Some(Spanned::new(value.span(), number(integer?)))
    }

    /// A whole number, or a word.
    pub(crate) fn weight(&self, name: &str, found: &mut Found) -> Option<RawWeight> {
        let value = self.get(name)?;
        match as_text(value) {
            // A number in quotes is one that has them by mistake.
            Some(word) if parse_number(word.get_ref()).is_none() => Some(RawWeight::Word(word)),
            Some(_) | None => self.integer(name, found).map(RawWeight::Number),
        }
    }

    /// A whole number, also as a text such as `"0xff000000"`.
    pub(crate) fn mask(&self, name: &str, found: &mut Found) -> Option<Spanned<i128>> {
        let value = self.get(name)?;
        let mask = match value.get_ref() {
            DeValue::Integer(integer) => Some(number(integer)),
            DeValue::String(text) => parse_number(text),
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        };
        if mask.is_none() {
            found.push(self.wrong_type(name, value, "a number in hexadecimal"));
        }
        Some(Spanned::new(value.span(), mask?))
    }

    /// A list of texts, with the span of the whole. Elements of another type are reported and left
    /// out; the flag says whether any were.
    pub(crate) fn texts(&self, name: &str, found: &mut Found) -> Option<Texts> {
        let value = self.get(name)?;
        let Some(array) = value.get_ref().as_array() else {
            found.push(self.wrong_type(name, value, "a list of texts"));
            return None;
        };
        let mut items = Vec::new();
        for item in array.iter() {
            match as_text(item) {
                Some(text) => items.push(text),
                None => found.push(self.wrong_entry(name, item, "text in quotes")),
            }
        }
        Some(Texts {
            is_complete: items.len() == array.len(),
            items,
            span: value.span(),
        })
    }

    /// `true` or `false`.
    pub(crate) fn truth(&self, name: &str, found: &mut Found) -> Option<Spanned<bool>> {
        let value = self.get(name)?;
        let truth = value.get_ref().as_bool();
        if truth.is_none() {
            found.push(self.wrong_type(name, value, "true or false"));
        }
        Some(Spanned::new(value.span(), truth?))
    }

    /// A text, or a table.
    pub(crate) fn text_or_table(&self, name: &str, found: &mut Found) -> Option<TextOrTable<'t>> {
        let value = self.get(name)?;
        match value.get_ref() {
            DeValue::String(text) => Some(TextOrTable::Text(Spanned::new(
                value.span(),
                text.to_string(),
            ))),
            DeValue::Table(table) => Some(TextOrTable::Table(value.span(), table)),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                found.push(self.wrong_type(name, value, "text in quotes or a table"));
                None
            }
        }
    }

    /// A list of whatever, with the span of the whole. `what` says what is expected.
    pub(crate) fn list(
        &self,
        name: &str,
        what: &str,
        found: &mut Found,
    ) -> Option<(Range<usize>, &'t DeArray<'t>)> {
        let value = self.get(name)?;
        let array = value.get_ref().as_array();
        if array.is_none() {
            found.push(self.wrong_type(name, value, what));
        }
        Some((value.span(), array?))
    }

    /// One value, or a list of them, with the span of the whole.
    pub(crate) fn one_or_more(&self, name: &str) -> Option<(Range<usize>, OneOrMore<'t>)> {
        let value = self.get(name)?;
        let items = match value.get_ref().as_array() {
            Some(array) => OneOrMore::More(array),
            None => OneOrMore::One(value),
        };
        Some((value.span(), items))
    }

    /// A table, with the span of its key.
    pub(crate) fn table(
        &self,
        name: &str,
        found: &mut Found,
    ) -> Option<(Range<usize>, &'t DeTable<'t>)> {
        let (key, value) = self.table.get_key_value(name)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            found.push(self.wrong_type(name, value, "a table"));
        }
        Some((key.span(), table?))
    }

    /// A value of another type than its key wants.
    pub(crate) fn wrong_type(
        &self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
    ) -> Diagnostic {
        let is = describe(value.get_ref());
        let message = format!("`{name}` {} is {is}, not {expected}", self.place);
        let diagnostic =
            Diagnostic::error(value.span(), message).label(format!("expected {expected}"));
        match self.keys.get(name) {
            Some(key) => diagnostic.hint(hint_of_type(key, &self.header, value.get_ref())),
            None => diagnostic,
        }
    }

    /// An entry of another type than its list wants.
    pub(crate) fn wrong_entry(
        &self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
    ) -> Diagnostic {
        let is = describe(value.get_ref());
        let message = format!(
            "an entry of `{name}` {} is {is}, not {expected}",
            self.place
        );
        let diagnostic =
            Diagnostic::error(value.span(), message).label(format!("expected {expected}"));
        match self.keys.get(name) {
            Some(key) => diagnostic.hint(hint_of_example(key, &self.header)),
            None => diagnostic,
        }
    }
}

/// A text, or a table with its span.
pub(crate) enum TextOrTable<'t> {
    Text(Spanned<String>),
    Table(Range<usize>, &'t DeTable<'t>),
}

/// One value, or a list of them.
pub(crate) enum OneOrMore<'t> {
    One(&'t Spanned<DeValue<'t>>),
    More(&'t DeArray<'t>),
}

impl<'t> OneOrMore<'t> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'t Spanned<DeValue<'t>>> {
        let (one, more) = match self {
            Self::One(one) => (Some(*one), None),
            Self::More(more) => (None, Some(*more)),
        };
        one.into_iter()
            .chain(more.into_iter().flat_map(|m| m.iter()))
    }
}

/// A list of texts.
pub(crate) struct Texts {
    pub(crate) items: Vec<Spanned<String>>,
    pub(crate) span: Range<usize>,
    pub(crate) is_complete: bool,
}

fn hint_of_type(key: &Key, header: &str, value: &DeValue<'_>) -> String {
    let Key { name, .. } = key;
    if let DeValue::String(text) = value {
        if let Kind::Interfaces | Kind::Targets(_) = key.kind {
            return format!("write `{name} = [\"{}\"]`", text.escape_debug());
        }
        if text.parse::<i64>().is_ok() {
            return format!("write `{name} = {text}`, without quotes");
        }
    }
    hint_of_example(key, header)
}

fn hint_of_example(key: &Key, header: &str) -> String {
    let Key { name, example, .. } = key;
    match (*name, header) {
        _ if !example.is_empty() => format!("write for example `{name} = {example}`"),
        ("uplink", "") => "write a table for each uplink: `[uplink.isp1]`".to_owned(),
        ("group", "") => "write a table for each group: `[group.calls]`".to_owned(),
        ("policy", "") => "write `[[policy]]`, with two brackets, for each policy".to_owned(),
        ("match", header) => {
            format!(
                "write `match = {{ dport = 443 }}`, or `[{header}.match]` and its keys below it"
            )
        }
        (name, "") => format!("write `[{name}]`, and its keys below it"),
        (name, header) => format!("write `[{header}.{name}]`, and its keys below it"),
    }
}

/// A value's type, in the words of people.
pub(crate) fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The text of a value that is one.
pub(crate) fn as_text(value: &Spanned<DeValue<'_>>) -> Option<Spanned<String>> {
    let text = value.get_ref().as_str()?.to_owned();
    Some(Spanned::new(value.span(), text))
}

/// The number of a value that is one; see [`Reader::integer`].
pub(crate) fn as_number(value: &Spanned<DeValue<'_>>) -> Option<i128> {
    value.get_ref().as_integer().map(number)
}

/// The number, or the largest that there is: no bound of ours reaches that far.
fn number(integer: &DeInteger<'_>) -> i128 {
    let end = if integer.as_str().starts_with('-') {
        i128::MIN
    } else {
        i128::MAX
    };
    i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(end)
}

/// A whole number in decimal or hexadecimal.
pub(crate) fn parse_number(text: &str) -> Option<i128> {
    let digits = text.replace('_', "");
    match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

//! Addresses, prefixes, ranges, and the files that hold many of them.

use std::{collections::BTreeMap, net::IpAddr, ops::Range};

use uplinkd_model::{
    Family,
    policy::{Addresses, Span, Spans, address_number, number_address},
};

use super::{Refusal, Values};
use crate::{
    diagnostic::{Diagnostic, Excerpt},
    draft,
    quote::quoted,
    raw::RawItem,
    reader::Found,
    sources::{ListFile, Sources},
};

/// Most mistakes that are told of one file: the rest is mostly more of the same.
const MISTAKES_MAX: usize = 10;

/// Most bytes of a line that are kept from the mistake on.
const EXCERPT_MAX: usize = 200;

/// The files of prefixes, each parsed once; who uses one shares its numbers.
pub(crate) struct Lists {
    configuration: String,
    /// None where a file cannot be used.
    files: BTreeMap<String, Option<Addresses>>,
}

impl Lists {
    /// Parses the files that policies name, but for those that are known.
    pub(crate) fn read(
        configuration: &str,
        files: &[ListFile],
        sources: &Sources,
        known: &BTreeMap<String, Addresses>,
        found: &mut Found,
    ) -> Self {
        let read = |file: &ListFile| {
            let before = known.get(&file.path).cloned();
            let addresses = before.or_else(|| list(file, sources, found));
            (file.path.clone(), addresses)
        };
        Self {
            configuration: configuration.to_owned(),
            files: files.iter().map(read).collect(),
        }
    }

    /// What the files hold that could be used.
    pub(in crate::check) fn into_known(self) -> BTreeMap<String, Addresses> {
        let files = self.files.into_iter();
        files
            .filter_map(|(path, addresses)| Some((path, addresses?)))
            .collect()
    }

    /// The addresses of a condition.
    pub(super) fn addresses(&self, values: &Values<'_>, found: &mut Found) -> Option<Addresses> {
        let items = &values.condition.items;
        let file = |path: &str| {
            let path = draft::resolved(&self.configuration, path);
            self.files.get(&path).and_then(Option::as_ref)
        };
        if let [item] = &items[..]
            && let RawItem::File(path) = item.get_ref()
        {
            return file(path).cloned();
        }
        let mut gathered = Gathered::default();
        let mut is_complete = true;
        for item in items {
            match item.get_ref() {
                RawItem::File(path) => match file(path) {
                    Some(addresses) => gathered.extend(addresses),
                    None => is_complete = false,
                },
                RawItem::Text(word) => match parse(word) {
                    Ok((family, span)) => gathered.push(family, span),
                    Err(refusal) => {
                        is_complete = false;
                        found.push(values.refused(item.get_ref(), item.span(), refusal));
                    }
                },
                // The reader lets no numbers through for addresses.
                RawItem::Number(_) => is_complete = false,
            }
        }
        is_complete.then(|| gathered.finish())
    }
}

#[derive(Default)]
struct Gathered {
    v4: Vec<Span>,
    v6: Vec<Span>,
}

impl Gathered {
    fn push(&mut self, family: Family, span: Span) {
        match family {
            Family::V4 => self.v4.push(span),
            Family::V6 => self.v6.push(span),
        }
    }

    fn extend(&mut self, addresses: &Addresses) {
        self.v4.extend_from_slice(addresses.v4.as_slice());
        self.v6.extend_from_slice(addresses.v6.as_slice());
    }

    fn finish(self) -> Addresses {
        Addresses {
            v4: Spans::new(self.v4),
            v6: Spans::new(self.v6),
        }
    }
}

/// Parses one file; none where it cannot be read or has mistakes. An empty one holds no addresses.
fn list(file: &ListFile, sources: &Sources, found: &mut Found) -> Option<Addresses> {
    let place = file.spans.first().cloned().unwrap_or(0..0);
    let text = match sources.files.get(&file.path) {
        Some(Ok(text)) => text,
        Some(Err(why)) => {
            found.push(unreadable(&file.path, place, why));
            return None;
        }
        None => {
            found.push(unreadable(&file.path, place, "nobody has read it"));
            return None;
        }
    };
    let mut gathered = Gathered::default();
    let mut mistakes = 0;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let (content, _) = line.split_once('#').unwrap_or((line, ""));
        let word = content.trim();
        if word.is_empty() {
            continue;
        }
        match parse(word) {
            Ok((family, span)) => gathered.push(family, span),
            Err(refusal) => {
                mistakes += 1;
                if mistakes <= MISTAKES_MAX {
                    let start = content.len() - content.trim_start().len();
                    let span = start..start + word.len();
                    found.push(mistake(
                        &file.path,
                        index + 1,
                        line,
                        span,
                        refusal,
                        place.clone(),
                    ));
                }
            }
        }
    }
    if mistakes > MISTAKES_MAX {
        let message = format!(
            "{mistakes} lines of {} cannot be taken; the first {MISTAKES_MAX} are shown",
            quoted(&file.path)
        );
        found.push(
            Diagnostic::error(place, message)
                .label("read from here")
                .hint("a line is an address, a prefix or a range; `#` begins a comment"),
        );
    }
    (mistakes == 0).then(|| gathered.finish())
}

fn unreadable(path: &str, place: Range<usize>, why: &str) -> Diagnostic {
    Diagnostic::error(place, format!("cannot read {}: {why}", quoted(path)))
        .label("names this file")
        .hint("paths begin in the folder of this file; an empty file is allowed")
}

fn mistake(
    path: &str,
    line: usize,
    text: &str,
    span: Range<usize>,
    refusal: Refusal,
    place: Range<usize>,
) -> Diagnostic {
    let word = text.get(span.clone()).unwrap_or_default();
    let message = format!("{} cannot be taken: {}", quoted(word), refusal.reason);
    // A file that is something else altogether may be one line.
    let end = text.ceil_char_boundary(text.len().min(span.start + EXCERPT_MAX));
    let excerpt = Excerpt {
        path: path.to_owned(),
        line,
        text: text[..end].to_owned(),
    };
    Diagnostic::error(span, message)
        .label("not taken")
        .hint(refusal.hint)
        .note(place, "read from here")
        .in_excerpt(excerpt)
}

/// An address, a prefix or a range, as numbers. Bits behind a prefix's length are cleared.
fn parse(word: &str) -> Result<(Family, Span), Refusal> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Ok((Family::of(address), Span::one(address_number(address))));
    }
    if let Some((address, length)) = word.split_once('/') {
        return prefix(address.trim(), length.trim());
    }
    if let Some((first, last)) = word.split_once('-')
        && let Ok(first) = first.trim().parse::<IpAddr>()
    {
        return range(first, last.trim());
    }
    let like_a_name = word.contains('.') && word.contains(|c: char| c.is_ascii_alphabetic());
    Err(Refusal::new(
        "that is no address, prefix or range",
        if like_a_name && !word.contains(':') {
            "names of hosts go to `domain`; here write an address such as \"192.0.2.1\""
        } else {
            "write an address, a prefix such as \"10.0.0.0/8\" or a range such as \"10.0.0.1-10.0.0.9\""
        },
    ))
}

fn prefix(address: &str, length: &str) -> Result<(Family, Span), Refusal> {
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(Refusal::new(
            "there is no address in front of the `/`",
            "write a prefix such as \"10.0.0.0/8\" or \"2001:db8::/32\"",
        ));
    };
    let family = Family::of(address);
    let bits = match family {
        Family::V4 => 32,
        Family::V6 => 128,
    };
    let Some(length) = length.parse::<u32>().ok().filter(|l| *l <= bits) else {
        let mask = length.parse::<std::net::Ipv4Addr>().map(|m| m.to_bits());
        let hint = match mask {
            Ok(mask) if mask.leading_ones() == mask.count_ones() => {
                format!(
                    "write the mask as a length: \"{address}/{}\"",
                    mask.count_ones()
                )
            }
            Ok(_) | Err(_) => format!("write a length from 0 to {bits}"),
        };
        return Err(Refusal::new(
            format!("the length of an {family} prefix is 0 to {bits}"),
            hint,
        ));
    };
    let hosts = u128::MAX.checked_shr(128 - (bits - length)).unwrap_or(0);
    let first = address_number(address) & !hosts;
    Ok((family, Span::new(first, first | hosts)))
}

fn range(first: IpAddr, last: &str) -> Result<(Family, Span), Refusal> {
    let Ok(last) = last.parse::<IpAddr>() else {
        return Err(Refusal::new(
            "the range does not end with an address",
            "write both ends in full: \"10.0.0.1-10.0.0.9\"",
        ));
    };
    if Family::of(first) != Family::of(last) {
        return Err(Refusal::new(
            "the range begins in one family and ends in the other",
            "write one range for each family",
        ));
    }
    if last < first {
        return Err(Refusal::new(
            "the range ends before it begins",
            format!("write \"{last}-{first}\""),
        ));
    }
    let span = Span::new(address_number(first), address_number(last));
    Ok((Family::of(first), span))
}

/// The word in canonical form: without the bits behind a prefix's length.
pub(super) fn shown(word: &str) -> String {
    let Ok((family, span)) = parse(word) else {
        return super::tamed(word);
    };
    let first = number_address(family, span.first);
    if span.is_one() {
        return first.to_string();
    }
    match word.split_once('/') {
        Some((_, length)) => format!("{first}/{}", length.trim()),
        None => format!("{first}-{}", number_address(family, span.last)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(word: &str) -> Option<(u128, u128)> {
        parse(word).ok().map(|(_, s)| (s.first, s.last))
    }

    #[test]
    fn prefixes_are_cleared_of_host_bits_at_every_length() {
        assert_eq!(spans("10.1.2.3/8"), spans("10.0.0.0-10.255.255.255"));
        assert_eq!(spans("10.1.2.3/32"), spans("10.1.2.3"));
        assert_eq!(spans("10.1.2.3/0"), spans("0.0.0.0-255.255.255.255"));
        assert_eq!(spans("2001:db8::1/128"), spans("2001:db8::1"));
        assert_eq!(spans("2001:db8::1/0"), Some((0, u128::MAX)));
        assert_eq!(spans("10.0.0.0/33"), None);
        assert_eq!(spans("::/129"), None);
        assert_eq!(spans("10.0.0.0/-1"), None);
    }

    #[test]
    fn texts_are_canonical() {
        assert_eq!(shown("10.1.2.3/8"), "10.0.0.0/8");
        assert_eq!(shown("10.1.2.3/32"), "10.1.2.3");
        assert_eq!(
            shown("2001:0DB8::1 - 2001:db8::2"),
            "2001:db8::1-2001:db8::2"
        );
    }
}

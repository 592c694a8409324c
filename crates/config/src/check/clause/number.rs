//! Values that are numbers with names: protocols, ports, code points, ICMP types, marks, MACs.

use uplinkd_model::{
    Mark, Reserve,
    policy::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, Selector, Span, Spans},
};

use super::{Refusal, Values, did_you_mean};
use crate::{
    raw::RawItem,
    reader::{Found, parse_number},
};

/// Protocols by name. ICMP is another one for each family.
const PROTOCOLS: [(&str, &[u8]); 13] = [
    ("tcp", &[6]),
    ("udp", &[17]),
    ("icmp", &[PROTOCOL_ICMP, PROTOCOL_ICMPV6]),
    ("icmpv6", &[PROTOCOL_ICMPV6]),
    ("sctp", &[132]),
    ("dccp", &[33]),
    ("udplite", &[136]),
    ("gre", &[47]),
    ("esp", &[50]),
    ("ah", &[51]),
    ("igmp", &[2]),
    ("ipip", &[4]),
    ("ospf", &[89]),
];

/// ICMP types by name, for IPv4 and for IPv6, where the family has it.
const ICMP_TYPES: [(&str, Option<u8>, Option<u8>); 13] = [
    ("echo-request", Some(8), Some(128)),
    ("echo-reply", Some(0), Some(129)),
    ("destination-unreachable", Some(3), Some(1)),
    ("packet-too-big", None, Some(2)),
    ("time-exceeded", Some(11), Some(3)),
    ("parameter-problem", Some(12), Some(4)),
    ("redirect", Some(5), Some(137)),
    ("router-solicitation", Some(10), Some(133)),
    ("router-advertisement", Some(9), Some(134)),
    ("timestamp-request", Some(13), None),
    ("timestamp-reply", Some(14), None),
    ("neighbor-solicitation", None, Some(135)),
    ("neighbor-advertisement", None, Some(136)),
];

/// Code points by name; class selectors and assured forwarding are computed.
const CODE_POINTS: [(&str, u8); 4] = [("ef", 46), ("le", 1), ("be", 0), ("va", 44)];

/// The spans of values that are one span each, or several.
fn spans(values: Vec<Vec<Span>>) -> Spans {
    Spans::new(values.into_iter().flatten())
}

/// A whole number that is written as one, or as text.
fn number(item: &RawItem) -> Option<i128> {
    match item {
        RawItem::Number(number) => Some(*number),
        RawItem::Text(word) => word.trim().parse().ok(),
        RawItem::File(_) => None,
    }
}

fn word(item: &RawItem) -> &str {
    match item {
        RawItem::Text(word) | RawItem::File(word) => word,
        RawItem::Number(_) => "",
    }
}

pub(super) fn protocols(values: &Values<'_>, found: &mut Found) -> Option<Spans> {
    let names = PROTOCOLS.map(|(name, _)| name);
    let one = |item: &RawItem| {
        if let Some(number) = number(item) {
            let number = u8::try_from(number).map_err(|_| {
                Refusal::new(
                    "a protocol's number is 0 to 255",
                    "write a name such as \"tcp\"",
                )
            })?;
            return Ok(vec![Span::one(number)]);
        }
        let word = word(item);
        let lower = word.to_lowercase();
        match PROTOCOLS.iter().find(|(name, _)| *name == lower) {
            Some((_, numbers)) => Ok(numbers.iter().map(|n| Span::one(*n)).collect()),
            None => Err(Refusal::new(
                "no protocol is known by that name",
                did_you_mean(
                    word,
                    names,
                    &format!("write its number, or one of {}", names.join(", ")),
                ),
            )),
        }
    };
    values.each(found, one).map(spans)
}

pub(super) fn ports(values: &Values<'_>, found: &mut Found) -> Option<Spans> {
    const HINT: &str = "write a number such as 443 or a range such as \"5060-5061\"";
    let port = |number: i128| {
        u16::try_from(number)
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| Refusal::new("ports are 1 to 65535", HINT))
    };
    let one = |item: &RawItem| {
        if let Some(number) = number(item) {
            return Ok(vec![Span::one(port(number)?)]);
        }
        let ends = word(item).split_once(['-', ':']);
        let ends = ends.and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
        let Some((first, last)) = ends else {
            return Err(Refusal::new("that is no port", HINT));
        };
        let (first, last) = (port(first)?, port(last)?);
        if last < first {
            return Err(Refusal::new(
                "the range ends before it begins",
                format!("write \"{last}-{first}\""),
            ));
        }
        Ok(vec![Span::new(first, last)])
    };
    values.each(found, one).map(spans)
}

pub(super) fn code_points(values: &Values<'_>, found: &mut Found) -> Option<Spans> {
    const HINT: &str = "write a number, or a name such as \"ef\", \"cs5\" or \"af41\"";
    let one = |item: &RawItem| {
        if let Some(number) = number(item) {
            let point = u8::try_from(number).ok().filter(|n| *n < 64);
            let point = point.ok_or_else(|| Refusal::new("code points are 0 to 63", HINT))?;
            return Ok(vec![Span::one(point)]);
        }
        let point = code_point(&word(item).to_lowercase());
        let point = point.ok_or_else(|| Refusal::new("no code point has that name", HINT))?;
        Ok(vec![Span::one(point)])
    };
    values.each(found, one).map(spans)
}

fn code_point(name: &str) -> Option<u8> {
    if let Some((_, point)) = CODE_POINTS.iter().find(|(known, _)| *known == name) {
        return Some(*point);
    }
    let digit = |b: u8, most: u8| Some(b.wrapping_sub(b'0')).filter(|d| *d <= most);
    match name.as_bytes() {
        [b'c', b's', class] => Some(digit(*class, 7)? * 8),
        [b'a', b'f', class, drop] => {
            let (class, drop) = (digit(*class, 4)?, digit(*drop, 3)?);
            (class > 0 && drop > 0).then_some(class * 8 + drop * 2)
        }
        _ => None,
    }
}

pub(super) fn icmp_types(values: &Values<'_>, found: &mut Found) -> Option<Selector> {
    let names = ICMP_TYPES.map(|(name, _, _)| name);
    let one = |item: &RawItem| {
        if let Some(number) = number(item) {
            let number = u8::try_from(number).map_err(|_| {
                Refusal::new(
                    "ICMP types are 0 to 255",
                    "write a name such as \"echo-request\"",
                )
            })?;
            return Ok((Some(number), Some(number)));
        }
        let word = word(item);
        let known = ICMP_TYPES.iter().find(|(name, _, _)| *name == word);
        match known {
            Some((_, v4, v6)) => Ok((*v4, *v6)),
            None => Err(Refusal::new(
                "no ICMP type is known by that name",
                did_you_mean(
                    word,
                    names,
                    &format!("write its number, or one of {}", names.join(", ")),
                ),
            )),
        }
    };
    let (v4, v6): (Vec<_>, Vec<_>) = values.each(found, one)?.into_iter().unzip();
    let spans = |types: Vec<Option<u8>>| Spans::new(types.into_iter().flatten().map(Span::one));
    Some(Selector::IcmpType {
        v4: spans(v4),
        v6: spans(v6),
    })
}

pub(super) fn macs(values: &Values<'_>, found: &mut Found) -> Option<Spans> {
    let one = |word: &str| {
        let mac = mac(word).ok_or_else(|| {
            Refusal::new(
                "that is no Ethernet address",
                "write six bytes in hexadecimal: \"52:54:00:12:34:56\"",
            )
        })?;
        Ok(vec![Span::one(mac)])
    };
    values.each_word(found, one).map(spans)
}

fn mac(word: &str) -> Option<u64> {
    let bytes: Vec<_> = word.trim().split([':', '-']).collect();
    let byte = |b: &&str| {
        let is_hex = b.len() == 2 && b.bytes().all(|c| c.is_ascii_hexdigit());
        is_hex.then(|| u64::from_str_radix(b, 16).ok()).flatten()
    };
    (bytes.len() == 6).then(|| bytes.iter().try_fold(0, |mac, b| Some(mac << 8 | byte(b)?)))?
}

/// Marks of others. Without a mask all bits that are not ours count.
pub(super) fn marks(
    values: &Values<'_>,
    reserve: &Reserve,
    found: &mut Found,
) -> Option<Vec<Mark>> {
    let ours = reserve.mark_mask;
    let bits = |number: i128| {
        u32::try_from(number)
            .map_err(|_| Refusal::new("marks have 32 bits", "write \"0x10\" or \"0x10/0xff\""))
    };
    let one = |item: &RawItem| {
        let (value, mask) = match item {
            RawItem::Number(number) => (Some(*number), None),
            RawItem::Text(word) | RawItem::File(word) => match word.split_once('/') {
                Some((value, mask)) => {
                    (parse_number(value.trim()), Some(parse_number(mask.trim())))
                }
                None => (parse_number(word.trim()), None),
            },
        };
        let (Some(value), None | Some(Some(_))) = (value, mask) else {
            return Err(Refusal::new(
                "that is no mark",
                "write \"0x10\" or \"0x10/0xff\"",
            ));
        };
        let value = bits(value)?;
        let mask = mask.flatten().map(bits).transpose()?;
        if (value | mask.unwrap_or(0)) & ours != 0 {
            return Err(Refusal::new(
                format!("bits {ours:#010x} of the mark are ours"),
                "name only bits that other software sets; `reserve.mark_mask` moves ours",
            ));
        }
        let mask = mask.unwrap_or(!ours);
        if value & !mask != 0 {
            return Err(Refusal::new(
                "it has bits outside its mask, so that no packet has it",
                format!("write \"{:#x}/{mask:#x}\", or widen the mask", value & mask),
            ));
        }
        Ok(Mark::new(value, mask))
    };
    values.each(found, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_have_the_numbers_of_the_standards() {
        let points = [
            ("ef", 46),
            ("cs0", 0),
            ("cs7", 56),
            ("af11", 10),
            ("af43", 38),
        ];
        for (name, point) in points {
            assert_eq!(code_point(name), Some(point), "{name}");
        }
        for bad in ["cs8", "af14", "af51", "af01", "af10", "cs", "ef1", ""] {
            assert_eq!(code_point(bad), None, "{bad}");
        }
    }

    #[test]
    fn ethernet_addresses_are_numbers_of_48_bits() {
        assert_eq!(mac("52:54:00:12:34:56"), Some(0x5254_0012_3456));
        assert_eq!(mac("FF-FF-FF-FF-FF-FF"), Some(0xffff_ffff_ffff));
        for bad in [
            "52:54:00:12:34",
            "52:54:00:12:34:5g",
            "52:54:00:12:34:+5",
            "",
            "525400123456",
        ] {
            assert_eq!(mac(bad), None, "{bad}");
        }
    }
}

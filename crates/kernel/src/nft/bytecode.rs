//! A rule's text as the instructions that the kernel runs. Pure.
//!
//! `nft` needs 20 to 50 ms to put one rule into a table with hundreds of sets, all of which it reads
//! first. So the most usual words of [`super::build`] are translated here: a header's field that is
//! compared, masked or looked up, and a verdict. A rule with any other word is none of ours, and
//! `nft` translates it. Only the text is written by us twice; what the kernel holds is read back
//! after either way.

use std::{iter::Peekable, net::IpAddr};

use super::{
    object::OF_POLICY,
    wire::{element, expression as attribute, object, register},
};
use crate::{
    encode::octets,
    netlink::{nest, put},
};

/// Where a packet's header begins for an instruction (`NFT_PAYLOAD_…_HEADER`).
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// What an instruction asks of a packet beside its headers (`NFT_META_…`).
const FAMILY: u32 = 15;
const PROTOCOL: u32 = 16;
/// How values are compared (`NFT_CMP_…`).
const EQUAL: u32 = 0;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;

/// A field of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Address { is_v6: bool, offset: u32 },
    Protocol,
    Port { offset: u32 },
}

/// Translates a rule; none where it has words that are not known here.
pub(super) fn instructions(rule: &str) -> Option<Vec<u8>> {
    let mut words = rule.split_whitespace().peekable();
    let mut code = Code::default();
    while let Some(word) = words.next() {
        match word {
            "goto" | "jump" => {
                let kind = if word == "goto" {
                    element::GOTO
                } else {
                    element::JUMP
                };
                code.verdict(kind, Some(words.next()?));
            }
            "return" => code.verdict(element::RETURN, None),
            "counter" => count(&mut code, &mut words)?,
            first => {
                let fields = fields(first, &mut words)?;
                condition(&mut code, &fields, &mut words)?;
            }
        }
    }
    Some(code.list)
}

/// Several fields side by side, or one.
fn fields<'a>(
    first: &str,
    words: &mut Peekable<impl Iterator<Item = &'a str>>,
) -> Option<Vec<Field>> {
    let mut fields = vec![field(first, words.next()?)?];
    while words.next_if_eq(&".").is_some() {
        fields.push(field(words.next()?, words.next()?)?);
    }
    Some(fields)
}

/// What is counted: by a counter that is named, or by the one that a map leads to.
fn count<'a>(code: &mut Code, words: &mut Peekable<impl Iterator<Item = &'a str>>) -> Option<()> {
    words.next_if_eq(&"name")?;
    let word = words.next()?;
    if word.starts_with(OF_POLICY) {
        code.count(word);
        return Some(());
    }
    let fields = fields(word, words)?;
    words.next_if_eq(&"map")?;
    code.load(&fields);
    code.count_by(words.next()?.strip_prefix('@')?);
    Some(())
}

/// What is asked of a field, or of several side by side.
fn condition<'a>(
    code: &mut Code,
    fields: &[Field],
    words: &mut impl Iterator<Item = &'a str>,
) -> Option<()> {
    code.load(fields);
    let mut word = words.next()?;
    if word == "and" {
        let [field] = fields else { return None };
        code.mask(&field.value(words.next()?)?);
        word = words.next()?;
    }
    if word == "vmap" {
        code.look_up(words.next()?.strip_prefix('@')?, true);
    } else if let Some(set) = word.strip_prefix('@') {
        code.look_up(set, false);
    } else {
        let [field] = fields else { return None };
        match word.split_once('-') {
            None => code.compare(EQUAL, &field.value(word)?),
            Some((first, last)) => {
                code.compare(AT_LEAST, &field.value(first)?);
                code.compare(AT_MOST, &field.value(last)?);
            }
        }
    }
    Some(())
}

fn field(first: &str, second: &str) -> Option<Field> {
    Some(match (first, second) {
        ("ip", "saddr") => Field::Address {
            is_v6: false,
            offset: 12,
        },
        ("ip", "daddr") => Field::Address {
            is_v6: false,
            offset: 16,
        },
        ("ip6", "saddr") => Field::Address {
            is_v6: true,
            offset: 8,
        },
        ("ip6", "daddr") => Field::Address {
            is_v6: true,
            offset: 24,
        },
        ("meta", "l4proto") => Field::Protocol,
        ("th", "sport") => Field::Port { offset: 0 },
        ("th", "dport") => Field::Port { offset: 2 },
        _ => return None,
    })
}

impl Field {
    fn width(self) -> u32 {
        match self {
            Self::Address { is_v6: true, .. } => 16,
            Self::Address { is_v6: false, .. } => 4,
            Self::Protocol => 1,
            Self::Port { .. } => 2,
        }
    }

    /// A value of it as it lies in a packet.
    fn value(self, word: &str) -> Option<Vec<u8>> {
        match self {
            Self::Address { is_v6, .. } => {
                let address: IpAddr = word.parse().ok()?;
                (address.is_ipv6() == is_v6).then(|| octets(address))
            }
            Self::Protocol => Some(vec![word.parse().ok()?]),
            Self::Port { .. } => Some(word.parse::<u16>().ok()?.to_be_bytes().to_vec()),
        }
    }
}

/// Instructions in the making.
#[derive(Default)]
struct Code {
    list: Vec<u8>,
    /// Packets of other families were sent away already.
    family: Option<bool>,
}

impl Code {
    fn push(&mut self, name: &str, fill: impl FnOnce(&mut Vec<u8>)) {
        nest(&mut self.list, element::ONE, |one| {
            put(one, attribute::NAME, &zero_ended(name));
            nest(one, attribute::BODY, fill);
        });
    }

    fn load(&mut self, fields: &[Field]) {
        for field in fields {
            if let Field::Address { is_v6, .. } = *field
                && self.family != Some(is_v6)
            {
                self.family = Some(is_v6);
                self.meta(FAMILY, register::FIRST);
                // `NFPROTO_IPV6`, `NFPROTO_IPV4`.
                self.compare(EQUAL, &[if is_v6 { 10 } else { 2 }]);
            }
        }
        let mut slot = register::FIRST_SLOT;
        for field in fields {
            let to = match fields {
                [_] => register::FIRST,
                _ => slot,
            };
            match *field {
                Field::Address { offset, .. } => self.payload(NETWORK, offset, field.width(), to),
                Field::Port { offset } => self.payload(TRANSPORT, offset, field.width(), to),
                Field::Protocol => self.meta(PROTOCOL, to),
            }
            slot += field.width().div_ceil(4);
        }
    }

    fn meta(&mut self, what: u32, to: u32) {
        self.push("meta", |body| {
            number(body, attribute::META_TO, to);
            number(body, attribute::META_WHAT, what);
        });
    }

    fn payload(&mut self, base: u32, offset: u32, length: u32, to: u32) {
        self.push("payload", |body| {
            number(body, attribute::PAYLOAD_TO, to);
            number(body, attribute::PAYLOAD_BASE, base);
            number(body, attribute::PAYLOAD_OFFSET, offset);
            number(body, attribute::PAYLOAD_LENGTH, length);
        });
    }

    fn mask(&mut self, mask: &[u8]) {
        let length = u32::try_from(mask.len()).unwrap_or(0);
        let zeros = vec![0; mask.len()];
        self.push("bitwise", |body| {
            number(body, attribute::BITWISE_FROM, register::FIRST);
            number(body, attribute::BITWISE_TO, register::FIRST);
            number(body, attribute::BITWISE_LENGTH, length);
            value(body, attribute::BITWISE_MASK, mask);
            value(body, attribute::BITWISE_XOR, &zeros);
        });
    }

    fn compare(&mut self, how: u32, with: &[u8]) {
        self.push("cmp", |body| {
            number(body, attribute::CMP_FROM, register::FIRST);
            number(body, attribute::CMP_HOW, how);
            value(body, attribute::CMP_WITH, with);
        });
    }

    /// A key of one part and one of several begin in the same place.
    fn look_up(&mut self, set: &str, gives_verdict: bool) {
        self.push("lookup", |body| {
            put(body, attribute::LOOKUP_SET, &zero_ended(set));
            number(body, attribute::LOOKUP_FROM, register::FIRST);
            if gives_verdict {
                number(body, attribute::LOOKUP_TO, register::VERDICT);
            }
        });
    }

    fn count(&mut self, counter: &str) {
        self.push("objref", |body| {
            number(body, attribute::OBJECT_KIND, object::COUNTER);
            put(body, attribute::OBJECT_NAME, &zero_ended(counter));
        });
    }

    fn count_by(&mut self, map: &str) {
        self.push("objref", |body| {
            number(body, attribute::OBJECT_FROM, register::FIRST);
            put(body, attribute::OBJECT_SET, &zero_ended(map));
        });
    }

    fn verdict(&mut self, kind: i32, chain: Option<&str>) {
        self.push("immediate", |body| {
            number(body, attribute::IMMEDIATE_TO, register::VERDICT);
            nest(body, attribute::IMMEDIATE_DATA, |data| {
                nest(data, element::VERDICT, |verdict| {
                    put(verdict, element::CODE, &kind.to_be_bytes());
                    if let Some(chain) = chain {
                        put(verdict, element::CHAIN, &zero_ended(chain));
                    }
                });
            });
        });
    }
}

fn number(body: &mut Vec<u8>, kind: u16, value: u32) {
    put(body, kind, &value.to_be_bytes());
}

fn value(body: &mut Vec<u8>, kind: u16, bytes: &[u8]) {
    nest(body, kind, |data| put(data, element::VALUE, bytes));
}

fn zero_ended(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Attributes, find, text};

    /// The instructions' names, in order.
    fn names(rule: &str) -> Option<Vec<String>> {
        let code = instructions(rule)?;
        let name = |(_, one): (u16, &[u8])| find(one, attribute::NAME).map(text);
        Some(Attributes(&code).filter_map(name).collect())
    }

    #[test]
    fn the_usual_words_are_known() {
        let family = ["meta", "cmp"];
        for (rule, then) in [
            ("goto outlet4_1", vec!["immediate"]),
            ("jump part", vec!["immediate"]),
            ("return", vec!["immediate"]),
            (
                "counter name policy_a-b goto outlet4_1",
                vec!["objref", "immediate"],
            ),
            (
                "counter name meta l4proto . th dport map @count_map4_1",
                vec!["meta", "payload", "objref"],
            ),
            ("meta l4proto 17 return", vec!["meta", "cmp", "immediate"]),
            (
                "th dport 1-5 return",
                vec!["payload", "cmp", "cmp", "immediate"],
            ),
        ] {
            assert_eq!(names(rule).unwrap(), then, "{rule}");
        }
        for (rule, then) in [
            (
                "ip daddr 10.0.0.1 goto x",
                vec!["payload", "cmp", "immediate"],
            ),
            (
                "ip6 saddr @set goto x",
                vec!["payload", "lookup", "immediate"],
            ),
            (
                "ip saddr . th dport vmap @map",
                vec!["payload", "payload", "lookup"],
            ),
            (
                "ip daddr and 255.255.255.0 @set goto x",
                vec!["payload", "bitwise", "lookup", "immediate"],
            ),
            (
                "ip saddr 10.0.0.1 ip daddr 10.0.0.2 goto x",
                vec!["payload", "cmp", "payload", "cmp", "immediate"],
            ),
        ] {
            assert_eq!(
                names(rule).unwrap(),
                [&family[..], &then].concat(),
                "{rule}"
            );
        }
    }

    #[test]
    fn a_rule_with_any_other_word_is_left_to_nft() {
        for rule in [
            "ip daddr { 10.0.0.1, 10.0.0.2 } goto x",
            "ip daddr != 10.0.0.1 goto x",
            "ip daddr fe80::1 goto x",
            "meta mark 0x1 goto x",
            "iifname \"lan\" goto x",
            "th dport 70000 goto x",
            "ip saddr . th dport and 1.2.3.4 @set",
            "ip daddr",
            "counter name iifname map @count_map4_1",
            "counter name ip saddr @count_map4_1",
            "counter",
            "goto",
            "drop",
        ] {
            assert_eq!(names(rule), None, "{rule}");
        }
    }
}

//! Messages of the domain name system (RFC 1035): making queries, and taking responses apart
//! without believing them.
//!
//! Only what probes need is read: the addresses of one name, through the aliases that the server
//! followed. A whole library for it would bring in thirty crates.

use std::{net::IpAddr, time::Duration};

use uplinkd_model::Family;

/// The header's length.
const HEADER: usize = 12;
/// The longest name, with its lengths.
const NAME_MAX: usize = 255;
/// Records that are looked at. Names with more addresses are none that one would probe.
const RECORDS_MAX: u16 = 64;
/// Aliases that are followed.
const ALIASES_MAX: usize = 16;

const CLASS_IN: u16 = 1;
const CNAME: u16 = 5;
const OPCODE_AND_RESPONSE: u8 = 0xf8;
const RESPONSE: u8 = 0x80;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;

/// What a query is for: addresses of a family of a name, under a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    pub(crate) id: u16,
    pub(crate) name: &'a str,
    pub(crate) family: Family,
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// RCODE.
    pub(crate) code: u8,
    /// It did not fit; over TCP it does.
    pub(crate) is_truncated: bool,
    /// The addresses of the name.
    pub(crate) addresses: Vec<IpAddr>,
    /// How long they may be kept.
    pub(crate) ttl: Duration,
}

/// The bytes of a query; none where the name is none.
pub(crate) fn query(wanted: Wanted<'_>) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER + wanted.name.len() + 6);
    bytes.extend(wanted.id.to_be_bytes());
    bytes.extend([RECURSION_DESIRED, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in wanted.name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|n| (1..=63).contains(n))?;
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    if bytes.len() > HEADER + NAME_MAX {
        return None;
    }
    bytes.extend(record_type(wanted.family).to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    Some(bytes)
}

/// Reads a message as the response to a query.
///
/// None for anything else: another number, another question, something that ends too early.
pub(crate) fn response(message: &[u8], wanted: Wanted<'_>) -> Option<Response> {
    let mut reader = Reader { message, at: 0 };
    let (id, flags, code) = (reader.number()?, reader.byte()?, reader.byte()? & 0x0f);
    let counts = [reader.number()?, reader.number()?];
    reader.skip(4)?;
    if id != wanted.id || flags & OPCODE_AND_RESPONSE != RESPONSE || counts[0] != 1 {
        return None;
    }
    let name = spelled(wanted.name);
    let own_type = record_type(wanted.family);
    let asked = (reader.name()?, reader.number()?, reader.number()?);
    if asked != (name.clone(), own_type, CLASS_IN) {
        return None;
    }
    let is_truncated = flags & TRUNCATED != 0;
    let mut records = Vec::new();
    for _ in 0..counts[1].min(RECORDS_MAX) {
        match reader.record() {
            Some(record) => records.extend(record),
            // What did not fit may be cut anywhere.
            None if is_truncated => break,
            None => return None,
        }
    }
    let (addresses, ttl) = follow(&records, name, wanted.family);
    Some(Response {
        code,
        is_truncated,
        addresses,
        ttl: Duration::from_secs(ttl.into()),
    })
}

/// The addresses that a name leads to, and the shortest lifetime on the way.
fn follow(records: &[Record], mut name: Vec<u8>, family: Family) -> (Vec<IpAddr>, u32) {
    let mut ttl = u32::MAX;
    for _ in 0..ALIASES_MAX {
        let own = || records.iter().filter(|r| r.owner == name);
        let mut addresses = Vec::new();
        for record in own() {
            if let Value::Address(address) = record.value
                && Family::of(address) == family
            {
                addresses.push(address);
                ttl = ttl.min(record.ttl);
            }
        }
        if !addresses.is_empty() {
            return (addresses, ttl);
        }
        let alias = own().find_map(|r| match &r.value {
            Value::Alias(to) => Some((to.clone(), r.ttl)),
            Value::Address(_) => None,
        });
        let Some((to, lifetime)) = alias else {
            break;
        };
        (name, ttl) = (to, ttl.min(lifetime));
    }
    (Vec::new(), 0)
}

/// A record that matters.
struct Record {
    owner: Vec<u8>,
    ttl: u32,
    value: Value,
}

enum Value {
    Address(IpAddr),
    Alias(Vec<u8>),
}

fn record_type(family: Family) -> u16 {
    match family {
        Family::V4 => 1,
        Family::V6 => 28,
    }
}

/// A name as it is compared: labels with their lengths, in small letters.
fn spelled(name: &str) -> Vec<u8> {
    let labels = name.trim_end_matches('.').split('.');
    let mut spelled = Vec::new();
    for label in labels {
        spelled.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        spelled.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
    }
    spelled
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn take(&mut self, length: usize) -> Option<&'m [u8]> {
        let taken = self.message.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(taken)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(|_| ())
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    /// A name, spelled as [`spelled`] does. Each pointer must lead further back than the one before,
    /// so that there are no circles.
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let (mut at, mut bound) = (self.at, self.at);
        let mut has_jumped = false;
        loop {
            let length = *self.message.get(at)?;
            match length {
                0 => {
                    if !has_jumped {
                        self.at = at + 1;
                    }
                    return Some(name);
                }
                1..=63 => {
                    let end = at + 1 + usize::from(length);
                    let label = self.message.get(at + 1..end)?;
                    name.push(length);
                    name.extend(label.iter().map(u8::to_ascii_lowercase));
                    if name.len() >= NAME_MAX {
                        return None;
                    }
                    at = end;
                }
                0xc0.. => {
                    let low = *self.message.get(at + 1)?;
                    if !has_jumped {
                        self.at = at + 2;
                        has_jumped = true;
                    }
                    at = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if at >= bound {
                        return None;
                    }
                    bound = at;
                }
                64..=0xbf => return None,
            }
        }
    }

    /// A record: none where the message ends too early or makes no sense, nothing inside where it is
    /// of a kind that does not matter.
    fn record(&mut self) -> Option<Option<Record>> {
        let owner = self.name()?;
        let (kind, class) = (self.number()?, self.number()?);
        let ttl = self.take(4)?;
        let ttl = u32::from_be_bytes([ttl[0], ttl[1], ttl[2], ttl[3]]);
        let length = usize::from(self.number()?);
        let (from, data) = (self.at, self.take(length)?);
        if class != CLASS_IN {
            return Some(None);
        }
        let value = match kind {
            1 => Value::Address(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
            28 => Value::Address(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
            CNAME => {
                let mut inside = Reader {
                    message: self.message,
                    at: from,
                };
                let alias = inside.name()?;
                if inside.at != self.at {
                    return None;
                }
                Value::Alias(alias)
            }
            _ => return Some(None),
        };
        // RFC 2181, 8: with the highest bit it means nothing.
        let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
        Some(Some(Record { owner, ttl, value }))
    }
}

#[cfg(test)]
mod tests;

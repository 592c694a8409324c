//! Questions and answers of the echo protocol, of fixed length so that a stream needs no framing.
//!
//! ```text
//! question  magic 4 | id 8 | zero 4                                  = 16 bytes
//! answer    magic 4 | id 8 | port 2 | zero 2 | IPv6 or mapped IPv4 16 = 32 bytes
//! ```
//! A TCP server sends an answer with id 0 as soon as a connection is made.

use std::net::{IpAddr, SocketAddr};

const MAGIC: [u8; 4] = *b"uplk";
/// Length of a question.
pub const QUESTION: usize = 16;
/// Length of an answer.
pub const ANSWER: usize = 32;

/// A question with a number.
pub fn question(id: u64) -> [u8; QUESTION] {
    let mut bytes = [0; QUESTION];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..12].copy_from_slice(&id.to_be_bytes());
    bytes
}

/// The answer to a question, or `None` when it is none.
pub fn answer(question: &[u8], seen: SocketAddr) -> Option<[u8; ANSWER]> {
    let id = number(question)?;
    Some(greeting(id, seen))
}

/// An answer with a number.
pub fn greeting(id: u64, seen: SocketAddr) -> [u8; ANSWER] {
    let mut bytes = [0; ANSWER];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..12].copy_from_slice(&id.to_be_bytes());
    bytes[12..14].copy_from_slice(&seen.port().to_be_bytes());
    let address = match seen.ip() {
        IpAddr::V4(a) => a.to_ipv6_mapped(),
        IpAddr::V6(a) => a,
    };
    bytes[16..].copy_from_slice(&address.octets());
    bytes
}

/// The number and the seen source of an answer.
pub fn read_answer(bytes: &[u8]) -> Option<(u64, IpAddr)> {
    let id = number(bytes)?;
    let octets: &[u8; 16] = bytes.get(16..ANSWER)?.first_chunk()?;
    Some((id, IpAddr::from(*octets).to_canonical()))
}

/// The number of a question or answer that is somewhere in these bytes.
pub fn find_number(bytes: &[u8]) -> Option<u64> {
    let at = bytes.windows(MAGIC.len()).position(|w| w == MAGIC)?;
    number(&bytes[at..])
}

fn number(bytes: &[u8]) -> Option<u64> {
    let id = bytes.strip_prefix(&MAGIC)?.first_chunk()?;
    Some(u64::from_be_bytes(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_who_asked_what() {
        for source in ["100.64.1.2:4000", "[2001:db8:1::2]:4000"] {
            let source: SocketAddr = source.parse().unwrap();
            let bytes = answer(&question(7), source).unwrap();
            assert_eq!(read_answer(&bytes), Some((7, source.ip())));
        }
        assert_eq!(answer(b"GET / HTTP/1.1", "[::1]:1".parse().unwrap()), None);
        assert_eq!(read_answer(&question(7)), None);
        let wrapped = [&[1, 2, 3][..], &question(9)].concat();
        assert_eq!(find_number(&wrapped), Some(9));
        assert_eq!(find_number(b"uplk"), None);
    }
}

//! ICMP echo on the wire: making requests, and taking replies apart without believing them.

use uplinkd_model::Family;

/// Header (8 bytes), token (8) and a courtesy to whoever wonders what this is (8).
pub(crate) const LENGTH: usize = 24;
const COURTESY: [u8; 8] = *b"uplinkd\0";
/// An IPv4 header without options.
const IPV4_HEADER_MIN: usize = 20;

/// What names one echo: the socket's identifier, the running number, and a token nobody can guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Echo {
    pub(crate) ident: u16,
    pub(crate) sequence: u16,
    pub(crate) token: u64,
}

/// The bytes of an echo request, with the checksum for IPv4; for IPv6 the kernel fills it in.
/// A ping socket also overwrites the identifier, and the checksum with it.
pub(crate) fn request(family: Family, echo: Echo) -> [u8; LENGTH] {
    let kind = match family {
        Family::V4 => 8,
        Family::V6 => 128,
    };
    let mut packet = assemble(kind, echo);
    if family == Family::V4 {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// Reads an ICMP message (no IP header before it) as an echo reply of ours.
///
/// None for anything else: another type, another length, other padding, a wrong checksum. The
/// checksum matters on raw IPv4 sockets only, which see packets before the kernel checks them.
pub(crate) fn reply(family: Family, message: &[u8]) -> Option<Echo> {
    let message: &[u8; LENGTH] = message.try_into().ok()?;
    let kind = match family {
        Family::V4 => 0,
        Family::V6 => 129,
    };
    if message[0] != kind || message[1] != 0 || message[16..] != COURTESY {
        return None;
    }
    if family == Family::V4 && checksum(message) != 0 {
        return None;
    }
    Some(Echo {
        ident: u16::from_be_bytes([message[4], message[5]]),
        sequence: u16::from_be_bytes([message[6], message[7]]),
        token: u64::from_be_bytes(message[8..16].try_into().ok()?),
    })
}

/// What follows the IPv4 header, options and all. None where it is no whole ICMP packet.
pub(crate) fn strip_ipv4_header(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let length = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || length < IPV4_HEADER_MIN || packet.get(9) != Some(&1) {
        return None;
    }
    packet.get(length..)
}

fn assemble(kind: u8, echo: Echo) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    packet[0] = kind;
    packet[4..6].copy_from_slice(&echo.ident.to_be_bytes());
    packet[6..8].copy_from_slice(&echo.sequence.to_be_bytes());
    packet[8..16].copy_from_slice(&echo.token.to_be_bytes());
    packet[16..].copy_from_slice(&COURTESY);
    packet
}

/// The internet checksum (RFC 1071); zero over a packet that holds the right one.
fn checksum(packet: &[u8; LENGTH]) -> u16 {
    let mut sum: u32 = packet
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // The loop leaves 16 bits.
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ECHO: Echo = Echo {
        ident: 0x1234,
        sequence: 7,
        token: 0x0102_0304_0506_0708,
    };

    fn answer(family: Family) -> [u8; LENGTH] {
        let mut packet = assemble(if family == Family::V4 { 0 } else { 129 }, ECHO);
        if family == Family::V4 {
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }

    #[test]
    fn the_checksum_is_the_one_that_the_kernel_sends() {
        // `ping -c1 -s 0 127.0.0.1` with id 0x1234, seq 1 has 0xe5ca.
        let mut packet = [0; LENGTH];
        packet[..8].copy_from_slice(&[8, 0, 0, 0, 0x12, 0x34, 0, 1]);
        assert_eq!(checksum(&packet), 0xe5ca);
    }

    #[test]
    fn a_true_answer_is_read_back() {
        for family in [Family::V4, Family::V6] {
            assert_eq!(reply(family, &answer(family)), Some(ECHO));
        }
    }

    #[test]
    fn a_request_is_no_answer() {
        for family in [Family::V4, Family::V6] {
            assert_eq!(reply(family, &request(family, ECHO)), None);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed_in_ipv4() {
        let good = answer(Family::V4);
        for bit in 0..LENGTH * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(reply(Family::V4, &bad), None, "bit {bit}");
        }
    }

    #[test]
    fn short_and_long_messages_are_ignored() {
        let good = answer(Family::V4);
        for length in 0..LENGTH {
            assert_eq!(reply(Family::V4, &good[..length]), None);
        }
        let mut long = good.to_vec();
        long.push(0);
        assert_eq!(reply(Family::V4, &long), None);
    }

    #[test]
    fn an_ipv4_header_may_have_options_and_may_be_nonsense() {
        let header = |words: u8, proto: u8| {
            let mut packet = vec![0; usize::from(words) * 4];
            if let Some(first) = packet.first_mut() {
                *first = 0x40 | words;
            }
            if let Some(protocol) = packet.get_mut(9) {
                *protocol = proto;
            }
            packet.extend([0xab]);
            packet
        };
        assert_eq!(strip_ipv4_header(&header(5, 1)), Some(&[0xab][..]));
        assert_eq!(strip_ipv4_header(&header(15, 1)), Some(&[0xab][..]));
        assert_eq!(strip_ipv4_header(&header(4, 1)), None);
        assert_eq!(strip_ipv4_header(&header(5, 17)), None);
        assert_eq!(strip_ipv4_header(&header(15, 1)[..40]), None);
        assert_eq!(strip_ipv4_header(&[]), None);
        assert_eq!(strip_ipv4_header(&[0x60; 40]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            for family in [Family::V4, Family::V6] {
                prop_assert_eq!(reply(family, &bytes), None);
            }
            if let Some(inside) = strip_ipv4_header(&bytes) {
                prop_assert!(bytes.len() - inside.len() >= IPV4_HEADER_MIN);
            }
        }

        /// By IPv6 the kernel has held the checksum against it; what is left to be wrong is which
        /// question it answers, and that is read as it stands there.
        #[test]
        fn a_changed_answer_answers_another_question(at in 0_usize..LENGTH, bit in 0_u32..8) {
            let mut bad = answer(Family::V6);
            bad[at] ^= 1_u8 << bit;
            let read = reply(Family::V6, &bad);
            prop_assert!(read != Some(ECHO) || (2..4).contains(&at), "byte {}", at);
        }
    }
}

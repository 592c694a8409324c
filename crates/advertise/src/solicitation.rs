//! Router solicitations: those of hosts, and the one that makes this machine's own daemon advertise, from
//! nobody.
//!
//! The answer to one with a source address may go to that address alone, and would never leave by the
//! interface where we listen. One from `::` has to be answered to everybody (RFC 4861, 6.2.6), which
//! also tells hosts what we may have left untold when we ended.

use std::net::Ipv6Addr;

/// `ff02::2`.
pub(crate) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// The header of IPv6 before the message.
const HEADER: usize = 40;
/// Only a machine on the link itself can send it.
const HOP_LIMIT: u8 = 255;
const ICMPV6: u8 = 58;
const ROUTER_SOLICITATION: u8 = 133;
const LENGTH: u8 = 8;

/// The whole packet, its header included.
pub(crate) fn packet() -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, LENGTH, ICMPV6, HOP_LIMIT];
    packet.extend(Ipv6Addr::UNSPECIFIED.octets());
    packet.extend(ALL_ROUTERS.octets());
    packet.extend([ROUTER_SOLICITATION, 0]);
    packet.extend(checksum().to_be_bytes());
    packet.extend([0; 4]);
    packet
}

/// Whether a packet is a host's question: from the link itself, of the only code there is, not cut short
/// (RFC 4861, 6.1.1).
pub(crate) fn is_one(packet: &[u8]) -> bool {
    let Some((header, message)) = packet.split_at_checked(HEADER) else {
        return false;
    };
    let is_whole = message.len() >= usize::from(LENGTH);
    let is_from_here = header[0] >> 4 == 6 && header[6] == ICMPV6 && header[7] == HOP_LIMIT;
    is_whole && is_from_here && message[..2] == [ROUTER_SOLICITATION, 0]
}

/// Of the message without content between these two addresses (RFC 4443, 2.3).
fn checksum() -> u16 {
    let pseudo = ALL_ROUTERS.segments().into_iter();
    let words = pseudo.chain([
        u16::from(LENGTH),
        u16::from(ICMPV6),
        u16::from_be_bytes([ROUTER_SOLICITATION, 0]),
    ]);
    let mut sum: u32 = words.map(u32::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_known_from_what_is_none() {
        let good = packet();
        assert!(is_one(&good));
        for (what, place, byte) in [
            ("IPv4", 0, 0x45),
            ("forwarded", 7, 254),
            ("an advertisement", HEADER, 134),
            ("of unknown code", HEADER + 1, 1),
        ] {
            let mut spoilt = good.clone();
            spoilt[place] = byte;
            assert!(!is_one(&spoilt), "{what}");
        }
        for length in 0..good.len() {
            assert!(!is_one(&good[..length]), "cut short");
        }
    }

    #[test]
    fn the_checksum_is_that_of_the_message() {
        // By hand: ff02 + 2 + 8 + 3a + 8500 = 18446, carried 8447, inverted 7bb8.
        assert_eq!(checksum(), 0x7bb8);
        assert_eq!(packet().len(), 48);
    }
}

//! The question that makes this machine's own daemon advertise: a router solicitation from nobody.
//!
//! The answer to one with a source address may go to that address alone, and would never leave by the
//! interface where we listen. One from `::` has to be answered to everybody (RFC 4861, 6.2.6), which
//! also tells hosts what we may have left untold when we ended.

use std::net::Ipv6Addr;

/// `ff02::2`.
pub(crate) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const ICMPV6: u8 = 58;
const ROUTER_SOLICITATION: u8 = 133;
const LENGTH: u8 = 8;

/// The whole packet, its header included.
pub(crate) fn packet() -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, LENGTH, ICMPV6, 255];
    packet.extend(Ipv6Addr::UNSPECIFIED.octets());
    packet.extend(ALL_ROUTERS.octets());
    packet.extend([ROUTER_SOLICITATION, 0]);
    packet.extend(checksum().to_be_bytes());
    packet.extend([0; 4]);
    packet
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
    fn the_checksum_is_that_of_the_message() {
        // By hand: ff02 + 2 + 8 + 3a + 8500 = 18446, carried 8447, inverted 7bb8.
        assert_eq!(checksum(), 0x7bb8);
        assert_eq!(packet().len(), 48);
    }
}

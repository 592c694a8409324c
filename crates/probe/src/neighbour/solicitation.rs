//! Neighbour solicitations and advertisements (RFC 4861, 4.3 and 4.4).

use std::net::Ipv6Addr;

use super::Mac;

/// The type of an advertisement.
pub(super) const ADVERTISEMENT: u8 = 136;
const SOLICITATION: u8 = 135;
/// Header, target, and an option with the asking one's Ethernet address.
const LENGTH: usize = 8 + 16 + 8;
/// Header and target.
const ADVERTISEMENT_LEAST: usize = 8 + 16;
/// Says that the advertisement answers a solicitation.
const SOLICITED: u8 = 0x40;

/// Where whoever has an address listens (RFC 4291, 2.7.1).
pub(super) fn group(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    let low = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low)
}

/// The bytes of a solicitation; the kernel fills the checksum in.
pub(super) fn message(own: Mac, target: Ipv6Addr) -> [u8; LENGTH] {
    let mut message = [0; LENGTH];
    message[0] = SOLICITATION;
    message[8..24].copy_from_slice(&target.octets());
    // Type 1, of one unit of eight bytes.
    message[24..26].copy_from_slice(&[1, 1]);
    message[26..].copy_from_slice(&own);
    message
}

/// Whether a message is an advertisement of this address that somebody asked for.
pub(super) fn answers(message: &[u8], target: Ipv6Addr) -> bool {
    let Some(head) = message.get(..ADVERTISEMENT_LEAST) else {
        return false;
    };
    head[..2] == [ADVERTISEMENT, 0] && head[4] & SOLICITED != 0 && head[8..24] == target.octets()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TARGET: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x1234, 0x5678, 0x9abc, 0xdef0);

    fn advertisement() -> Vec<u8> {
        let mut message = message([2; 6], TARGET).to_vec();
        (message[0], message[4]) = (ADVERTISEMENT, 0xe0);
        message
    }

    #[test]
    fn whoever_has_the_address_listens_there() {
        assert_eq!(
            group(TARGET),
            "ff02::1:ffbc:def0".parse::<Ipv6Addr>().unwrap()
        );
    }

    #[test]
    fn an_advertisement_of_the_address_counts_where_it_was_asked_for() {
        assert!(answers(&advertisement(), TARGET));
        assert!(answers(&advertisement()[..24], TARGET));
        assert!(!answers(&advertisement(), Ipv6Addr::LOCALHOST));
        assert!(!answers(&message([2; 6], TARGET), TARGET));
        let mut unasked = advertisement();
        unasked[4] = 0xa0;
        assert!(!answers(&unasked, TARGET));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(!answers(&bytes, TARGET));
        }

        #[test]
        fn an_advertisement_of_another_address_is_none(at in 8_usize..24, bit in 0_u32..8) {
            let mut bad = advertisement();
            bad[at] ^= 1_u8 << bit;
            prop_assert!(!answers(&bad, TARGET));
        }
    }
}

//! A router advertisement as bytes: reading it, saying it once more with other lifetimes, making one.

use std::{collections::BTreeSet, net::Ipv6Addr, time::Duration};

use ipnet::Ipv6Net;

/// The header of IPv6 before the message.
const HEADER: usize = 40;
/// The fixed part of an advertisement (RFC 4861, 4.2).
const FIXED: usize = 16;
/// Longest message that is believed; what fits into a usual Ethernet frame. Longer ones are passed over.
const MESSAGE_MAX: usize = 1500 - HEADER;
/// A packet of which not even a byte is missing fits into this.
pub(crate) const PACKET_MAX: usize = HEADER + MESSAGE_MAX + 1;

const ICMPV6: u8 = 58;
const ROUTER_ADVERTISEMENT: u8 = 134;
/// Only a machine on the link itself can send it (RFC 4861, 6.1.2).
const HOP_LIMIT: u8 = 255;

/// Options, by type, with the place of their 32 bit lifetime.
const PREFIX: u8 = 3;
const PREFIX_VALID: usize = 4;
const PREFIX_PREFERRED: usize = 8;
const PREFIX_LENGTH: usize = 32;
/// Route information, resolvers, search domains: `(type, place)`.
const WITH_LIFETIME: [(u8, usize); 3] = [(24, 4), (25, 4), (31, 4)];
/// A lifetime without end.
const FOR_EVER: u32 = u32::MAX;

/// How many hops hosts let their packets go, and the flags of a prefix: its addresses are on the link,
/// and hosts make addresses in it (RFC 4861, 4.2 and 4.6.2).
const HOPS: u8 = 64;
const ON_LINK_AND_AUTONOMOUS: u8 = 0xc0;

/// A network and for how long hosts may use addresses in it, and begin something with them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    pub(crate) network: Ipv6Net,
    pub(crate) valid: Duration,
    pub(crate) preferred: Duration,
}

/// A message of our own, its checksum zero: a default router for that long, and these networks.
pub(crate) fn message(router: Duration, networks: impl Iterator<Item = Lifetimes>) -> Vec<u8> {
    let seconds = |of: Duration| u32::try_from(of.as_secs()).unwrap_or(FOR_EVER);
    let router = u16::try_from(router.as_secs()).unwrap_or(u16::MAX);
    let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, HOPS, 0];
    message.extend(router.to_be_bytes());
    message.resize(FIXED, 0);
    for of in networks {
        message.extend([PREFIX, 4, of.network.prefix_len(), ON_LINK_AND_AUTONOMOUS]);
        message.extend(seconds(of.valid).to_be_bytes());
        message.extend(seconds(of.preferred).to_be_bytes());
        message.extend([0; 4]);
        message.extend(of.network.network().octets());
    }
    message
}

/// An advertisement that somebody sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Advert {
    /// The sender's link-local address.
    pub(crate) source: Ipv6Addr,
    /// The ICMPv6 message, its checksum zero.
    message: Vec<u8>,
}

impl Advert {
    /// Reads an IPv6 packet. Nothing where it is no advertisement, or a malformed one.
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let header = packet.get(..HEADER)?;
        let source: [u8; 16] = *header.get(8..)?.first_chunk()?;
        let source = Ipv6Addr::from(source);
        let is_ours = header[0] >> 4 == 6
            && header[6] == ICMPV6
            && header[7] == HOP_LIMIT
            && source.is_unicast_link_local();
        if !is_ours {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if !(FIXED..=MESSAGE_MAX).contains(&length) {
            return None;
        }
        let mut message = packet.get(HEADER..HEADER + length)?.to_vec();
        if message[..2] != [ROUTER_ADVERTISEMENT, 0] {
            return None;
        }
        message[2..4].fill(0);
        let advert = Self { source, message };
        advert.options_are_whole().then_some(advert)
    }

    /// The message as it was sent, its checksum zero.
    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }

    /// For how many seconds its sender is a default router.
    pub(crate) fn router_lifetime(&self) -> u16 {
        u16::from_be_bytes([self.message[6], self.message[7]])
    }

    /// Whether it says of one of these prefixes that its addresses are to be used.
    pub(crate) fn contradicts(&self, avoided: &BTreeSet<Ipv6Net>) -> bool {
        self.options().any(|(kind, at)| {
            let is_avoided = self.prefix(kind, at).is_some_and(|p| avoided.contains(&p));
            is_avoided && self.number(at + PREFIX_PREFERRED) != Some(0)
        })
    }

    /// The same message so many seconds later: every lifetime is shorter by that, so that hosts know
    /// afterwards what they knew before, and these prefixes are not to be used for anything new.
    /// Nothing once this machine, which was a default router, is none any more by its own word.
    pub(crate) fn again(&self, seconds: u32, avoided: &BTreeSet<Ipv6Net>) -> Option<Vec<u8>> {
        let mut message = self.message.clone();
        let router = self.router_lifetime();
        if router > 0 {
            let left = u32::from(router).checked_sub(seconds).filter(|l| *l > 0)?;
            let left = u16::try_from(left).unwrap_or(u16::MAX);
            message[6..8].copy_from_slice(&left.to_be_bytes());
        }
        let mut put = |at: usize, number: u32| {
            if let Some(place) = message.get_mut(at..at + 4) {
                place.copy_from_slice(&number.to_be_bytes());
            }
        };
        for (kind, at) in self.options() {
            let places: &[usize] = match self.prefix(kind, at) {
                Some(_) => &[PREFIX_VALID, PREFIX_PREFERRED],
                None => {
                    let known = WITH_LIFETIME.iter().find(|(k, _)| *k == kind);
                    known.map_or(&[], |(_, place)| std::slice::from_ref(place))
                }
            };
            for place in places {
                match self.number(at + place) {
                    None | Some(FOR_EVER) => {}
                    Some(lifetime) => put(at + place, lifetime.saturating_sub(seconds)),
                }
            }
            if self.prefix(kind, at).is_some_and(|p| avoided.contains(&p)) {
                put(at + PREFIX_PREFERRED, 0);
            }
        }
        Some(message)
    }

    /// Each option's type and place.
    fn options(&self) -> impl Iterator<Item = (u8, usize)> {
        let mut at = FIXED;
        std::iter::from_fn(move || {
            let option = self.message.get(at..at + 2)?;
            let found = (option[0], at);
            // Checked when it was read: no option is of length zero.
            at += usize::from(option[1].max(1)) * 8;
            Some(found)
        })
    }

    /// RFC 4861, 6.1.2: no option of length zero, none that ends behind the message.
    fn options_are_whole(&self) -> bool {
        let mut at = FIXED;
        while at < self.message.len() {
            match self.message.get(at + 1) {
                None | Some(0) => return false,
                Some(length) => at += usize::from(*length) * 8,
            }
        }
        at == self.message.len()
    }

    /// The prefix of an option from which hosts make addresses.
    fn prefix(&self, kind: u8, at: usize) -> Option<Ipv6Net> {
        let option = self.message.get(at..at + PREFIX_LENGTH)?;
        let is_whole = kind == PREFIX && usize::from(option[1]) * 8 == PREFIX_LENGTH;
        let address: [u8; 16] = *option.get(16..)?.first_chunk()?;
        let prefix = Ipv6Net::new(address.into(), option[2]).ok()?;
        is_whole.then(|| prefix.trunc())
    }

    fn number(&self, at: usize) -> Option<u32> {
        let bytes: [u8; 4] = *self.message.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(bytes))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const ISP1: &str = "2001:db8:100::/64";
    pub(crate) const ISP2: &str = "2001:db8:200::/64";

    /// A packet of radvd's kind: default router for 1800 s, two prefixes (3600 s valid, 1800 s
    /// preferred), a resolver for 600 s.
    pub(crate) fn packet() -> Vec<u8> {
        let mut message = vec![134, 0, 0xab, 0xcd, 64, 0xc0];
        message.extend(1800_u16.to_be_bytes());
        message.extend([0; 8]);
        for prefix in [ISP1, ISP2] {
            let prefix: Ipv6Net = prefix.parse().unwrap();
            message.extend([3, 4, 64, 0xc0]);
            message.extend(3600_u32.to_be_bytes());
            message.extend(1800_u32.to_be_bytes());
            message.extend([0; 4]);
            message.extend(prefix.network().octets());
        }
        message.extend([25, 3, 0, 0]);
        message.extend(600_u32.to_be_bytes());
        message.extend(Ipv6Addr::LOCALHOST.octets());
        with_header(&message)
    }

    pub(crate) fn with_header(message: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
        packet.extend([58, 255]);
        packet.extend("fe80::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend("ff02::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend(message);
        packet
    }

    pub(crate) fn set(prefixes: &[&str]) -> BTreeSet<Ipv6Net> {
        prefixes.iter().map(|p| p.parse().unwrap()).collect()
    }

    /// Preferred and valid lifetime of each prefix.
    pub(crate) fn lifetimes(advert: &Advert) -> Vec<(String, u32, u32)> {
        let options = advert.options().filter_map(|(kind, at)| {
            let prefix = advert.prefix(kind, at)?.to_string();
            let number = |place| advert.number(at + place).unwrap();
            Some((prefix, number(PREFIX_PREFERRED), number(PREFIX_VALID)))
        });
        options.collect()
    }

    fn of(message: &[u8]) -> Advert {
        Advert::read(&with_header(message)).unwrap()
    }

    #[test]
    fn only_the_avoided_prefix_is_deprecated_and_all_else_is_as_it_was() {
        let advert = Advert::read(&packet()).unwrap();
        let said = of(&advert.again(0, &set(&[ISP1])).unwrap());
        let expected = [(ISP1.to_owned(), 0, 3600), (ISP2.to_owned(), 1800, 3600)];
        assert_eq!(lifetimes(&said), expected);
        let changed: Vec<_> = (0..advert.message.len())
            .filter(|n| advert.message[*n] != said.message[*n])
            .collect();
        // The two low bytes of 1800 in the first prefix.
        assert_eq!(changed, [FIXED + 10, FIXED + 11]);
        assert_eq!(
            advert.again(0, &BTreeSet::new()).as_deref(),
            Some(advert.message())
        );
    }

    #[test]
    fn a_prefix_of_another_length_is_another_prefix() {
        let advert = Advert::read(&packet()).unwrap();
        for near_miss in ["2001:db8:100::/56", "2001:db8:100:1::/64"] {
            let avoided = set(&[near_miss]);
            assert!(!advert.contradicts(&avoided), "{near_miss}");
            assert_eq!(advert.again(0, &avoided).as_deref(), Some(advert.message()));
        }
    }

    #[test]
    fn what_is_said_later_promises_nothing_for_longer() {
        let advert = Advert::read(&packet()).unwrap();
        let said = of(&advert.again(700, &set(&[ISP2])).unwrap());
        let expected = [(ISP1.to_owned(), 1100, 2900), (ISP2.to_owned(), 0, 2900)];
        assert_eq!(lifetimes(&said), expected);
        assert_eq!(said.message[6..8], 1100_u16.to_be_bytes());
        let resolver = FIXED + 2 * PREFIX_LENGTH;
        assert_eq!(said.number(resolver + 4), Some(0), "the resolver's is over");
        // Once it would not be a default router any more, ours would say that it is none.
        assert!(advert.again(1799, &BTreeSet::new()).is_some());
        assert_eq!(advert.again(1800, &BTreeSet::new()), None);
    }

    #[test]
    fn who_is_no_default_router_does_not_become_one() {
        let mut packet = packet();
        packet[HEADER + 6..HEADER + 8].fill(0);
        let advert = Advert::read(&packet).unwrap();
        let said = advert.again(4000, &set(&[ISP1])).unwrap();
        assert_eq!(said[6..8], [0, 0]);
    }

    #[test]
    fn endless_lifetimes_stay_endless() {
        let mut packet = packet();
        packet[HEADER + FIXED + 4..][..8].fill(0xff);
        let advert = Advert::read(&packet).unwrap();
        let said = of(&advert.again(700, &BTreeSet::new()).unwrap());
        assert_eq!(lifetimes(&said)[0], (ISP1.to_owned(), FOR_EVER, FOR_EVER));
        let said = of(&advert.again(700, &set(&[ISP1])).unwrap());
        assert_eq!(lifetimes(&said)[0], (ISP1.to_owned(), 0, FOR_EVER));
    }

    #[test]
    fn what_this_machine_cannot_have_advertised_is_passed_over() {
        let good = packet();
        assert!(Advert::read(&good).is_some());
        let spoilt = |place: usize, byte: u8| {
            let mut packet = good.clone();
            packet[place] = byte;
            Advert::read(&packet)
        };
        for (what, place, byte) in [
            ("IPv4", 0, 0x45),
            ("UDP", 6, 17),
            ("forwarded", 7, 254),
            ("from a global address", 8, 0x20),
            ("longer than it is", 5, good[5] + 8),
            ("a solicitation", HEADER, 133),
            ("of unknown code", HEADER + 1, 1),
            ("an option without length", HEADER + FIXED + 1, 0),
            ("an option beyond the end", HEADER + FIXED + 1, 200),
        ] {
            assert_eq!(spoilt(place, byte), None, "{what}");
        }
        assert_eq!(Advert::read(&good[..good.len() - 1]), None, "cut short");
    }

    #[test]
    fn what_is_deprecated_already_is_no_contradiction() {
        let advert = Advert::read(&packet()).unwrap();
        let avoided = set(&[ISP1]);
        assert!(advert.contradicts(&avoided));
        assert!(!of(&advert.again(0, &avoided).unwrap()).contradicts(&avoided));
        assert!(!advert.contradicts(&BTreeSet::new()));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            seconds in any::<u32>(),
        ) {
            for packet in [bytes.clone(), with_header(&bytes)] {
                if let Some(advert) = Advert::read(&packet) {
                    advert.again(seconds, &set(&[ISP1, "::/0"]));
                    advert.contradicts(&set(&[ISP1, "::/0"]));
                }
            }
        }

        #[test]
        fn a_spoilt_packet_is_passed_over_or_kept_whole(
            place in 0..packet().len(),
            byte in any::<u8>(),
            seconds in 0..2000_u32,
        ) {
            let mut bytes = packet();
            bytes[place] = byte;
            if let Some(advert) = Advert::read(&bytes)
                && let Some(said) = advert.again(seconds, &set(&[ISP1]))
            {
                // What is said is as long, can be read, and avoids what is to be avoided.
                let again = Advert::read(&with_header(&said)).unwrap();
                prop_assert_eq!(again.message.len(), advert.message.len());
                prop_assert!(!again.contradicts(&set(&[ISP1])));
            }
        }
    }
}

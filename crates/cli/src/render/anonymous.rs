//! Other addresses in place of public ones and of hardware, the same for the same.
//!
//! What belongs together stays together: addresses of a network (/24, /48) get the same other network, from
//! ranges that are nobody's (198.18.0.0/15, 2001:db8::/32). Private, link-local and documentation
//! addresses stay: they tell nobody who it was.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// How hardware addresses that stand for others begin: "locally administered".
const MADE_HARDWARE: &str = "02:00:00:00:";

/// Remembers what stands for what.
#[derive(Debug, Default)]
pub(crate) struct Anonymizer {
    /// The upper three bytes of IPv4.
    networks_v4: BTreeMap<[u8; 3], u32>,
    /// The upper three words of IPv6.
    networks_v6: BTreeMap<[u16; 3], u32>,
    /// The lower half of IPv6.
    hosts_v6: BTreeMap<u64, u64>,
    hardware: BTreeMap<String, usize>,
}

impl Anonymizer {
    /// The text with other addresses.
    pub(crate) fn apply(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
        while let Some(begin) = rest.find(is_part) {
            let (before, after) = rest.split_at(begin);
            out.push_str(before);
            let end = after.find(|c| !is_part(c)).unwrap_or(after.len());
            let (word, behind) = after.split_at(end);
            // The end of a longer word, such as the scheme of a target, is no address; what follows its
            // colon may be one.
            let is_tail = out.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if is_tail && !word.starts_with(':') {
                let colon = word.find(':').unwrap_or(word.len());
                out.push_str(&word[..colon]);
                rest = &after[colon..];
                continue;
            }
            // Nor is a word that goes on with letters.
            let is_whole = !behind.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            match is_whole.then(|| self.word(word)).flatten() {
                Some(other) => out.push_str(&other),
                None => out.push_str(word),
            }
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    /// What stands for an address, with the punctuation around it and its port.
    fn word(&mut self, word: &str) -> Option<String> {
        // `icmp:1.1.1.1` leaves `:1.1.1.1`, or `c:1.1.1.1` of a scheme that ends with a hexadecimal digit.
        for (begin, end) in cuts(word) {
            let (head, body, foot) = (&word[..begin], &word[begin..end], &word[end..]);
            if let Ok(address) = body.parse::<IpAddr>() {
                return Some(format!("{head}{}{foot}", self.address(address)));
            }
            if is_hardware(body) {
                let next = self.hardware.len() + 1;
                let number = *self
                    .hardware
                    .entry(body.to_ascii_lowercase())
                    .or_insert(next);
                let (high, low) = (number / 256 % 256, number % 256);
                return Some(format!("{head}{MADE_HARDWARE}{high:02x}:{low:02x}{foot}"));
            }
        }
        None
    }

    fn address(&mut self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(address) if is_public_v4(address) => {
                let [a, b, c, host] = address.octets();
                let next = u32::try_from(self.networks_v4.len()).unwrap_or(u32::MAX);
                let number = *self.networks_v4.entry([a, b, c]).or_insert(next);
                // 512 networks fit; those beyond share numbers, which only a list of prefixes comes to.
                let base = u32::from(Ipv4Addr::new(198, 18, 0, 0));
                Ipv4Addr::from(base + number % 512 * 256 + u32::from(host)).into()
            }
            IpAddr::V6(address) if is_public_v6(address) => {
                let [a, b, c, subnet, ..] = address.segments();
                let next = u32::try_from(self.networks_v6.len() + 1).unwrap_or(u32::MAX);
                let number = *self.networks_v6.entry([a, b, c]).or_insert(next);
                let host = address.to_bits() as u64;
                // Small ones were given by hand, and tell nothing.
                let host = match host {
                    0..=0xffff => host,
                    _ => {
                        let next = self.hosts_v6.len() as u64 + 0x1_0000;
                        *self.hosts_v6.entry(host).or_insert(next)
                    }
                };
                let network = (0x2001_0db8_u128 << 96)
                    | (u128::from(number & 0xffff) << 80)
                    | (u128::from(subnet) << 64);
                Ipv6Addr::from_bits(network | u128::from(host)).into()
            }
            IpAddr::V4(_) | IpAddr::V6(_) => address,
        }
    }
}

/// Where an address may begin and end in a word of its signs: behind colons and before punctuation.
fn cuts(word: &str) -> Vec<(usize, usize)> {
    let begins = std::iter::once(0).chain(word.match_indices(':').map(|(at, _)| at + 1).take(2));
    let whole = word.len();
    let trimmed = word.trim_end_matches([':', '.']).len();
    let port = word.rfind(':').unwrap_or(whole);
    let ends = [whole, trimmed, port];
    begins
        .flat_map(|begin| ends.map(|end| (begin, end)))
        .filter(|(begin, end)| begin < end)
        .collect()
}

fn is_hardware(word: &str) -> bool {
    let mut parts = word.split(':');
    word.len() == 17
        && !word.starts_with(MADE_HARDWARE)
        && parts.all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || address.is_broadcast()
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (18..20).contains(&b))
        // Masks, which look like addresses.
        || a >= 240)
}

/// Global unicast, without documentation.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    a & 0xe000 == 0x2000 && !(a == 0x2001 && b == 0xdb8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_gets_the_same_and_what_is_private_stays() {
        let mut anonymizer = Anonymizer::default();
        let text = "icmp:9.9.9.9 exec:9.9.9.8 via 80.1.2.3/24 dev eth0, 80.1.2.1:443. 10.0.0.1 192.168.1.0/24 \
                    100.64.1.1 fe80::1 fd00::1 [2a01:4f8:1:2::1]:53 2a01:4f8:1:2:aabb:ccff:fedd:eeff \
                    2a01:4f8:1::/48 dns:[2a01:4f8:1:2::1]/x aa:bb:cc:dd:ee:ff 12:34:56 0xff000000 1.2.3 \
                    face ::/0 0.0.0.0/0 9.9.9.9";
        let other = anonymizer.apply(text);
        assert_eq!(
            other,
            "icmp:198.18.0.9 exec:198.18.0.8 via 198.18.1.3/24 dev eth0, 198.18.1.1:443. 10.0.0.1 192.168.1.0/24 \
             100.64.1.1 fe80::1 fd00::1 [2001:db8:1:2::1]:53 2001:db8:1:2::1:0 \
             2001:db8:1::/48 dns:[2001:db8:1:2::1]/x 02:00:00:00:00:01 12:34:56 0xff000000 1.2.3 \
             face ::/0 0.0.0.0/0 198.18.0.9"
        );
        // What was made already stays as it is.
        assert_eq!(anonymizer.apply(&other), other);
    }
}

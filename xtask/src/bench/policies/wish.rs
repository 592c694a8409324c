//! The policies that are measured, and the traffic that falls under them.

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
};

use uplinkd_lab::addresses::servers_network;
use uplinkd_model::{
    Family,
    policy::{address_number, number_address},
};

/// How many destinations there are: the most policies that a router gets.
pub(super) const MANY: usize = 10_000;
/// How many of them the routers with few policies know.
pub(super) const FEW: usize = 10;
/// From one destination to the next. A policy's prefix is half as wide, so that no two touch.
const STRIDE: u128 = 8;

/// Policies by address, one for each of so many destinations, leading to the first and the second
/// uplink in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policies {
    /// None at all.
    None,
    /// By single addresses.
    Addresses(usize),
    /// By prefixes.
    Prefixes(usize),
    /// By prefix, protocol and a range of ports.
    Mixed(usize),
}

impl fmt::Display for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no policies"),
            Self::Addresses(n) => write!(f, "{n} addresses"),
            Self::Prefixes(n) => write!(f, "{n} prefixes"),
            Self::Mixed(n) => write!(f, "{n} prefixes with ports"),
        }
    }
}

impl Policies {
    /// As `[[policy]]` entries.
    pub(super) fn to_toml(self, family: Family) -> String {
        let mut text = String::new();
        for (number, destination) in self.destinations(family).enumerate() {
            let network = prefix(destination);
            let clauses = match self {
                Self::None => continue,
                Self::Addresses(_) => format!("destination = \"{destination}\""),
                Self::Prefixes(_) => format!("destination = \"{network}\""),
                Self::Mixed(_) => format!(
                    "destination = \"{network}\", protocol = \"udp\", dport = \"1024-65000\""
                ),
            };
            let uplink = led_to(number);
            let _ = write!(
                text,
                "\n[[policy]]\nmatch = {{ {clauses} }}\nuse = \"isp{uplink}\"\n"
            );
        }
        text
    }

    /// The destinations that it speaks of.
    pub(super) fn destinations(self, family: Family) -> impl Iterator<Item = IpAddr> {
        let count = match self {
            Self::None => 0,
            Self::Addresses(n) | Self::Prefixes(n) | Self::Mixed(n) => n.min(MANY),
        };
        spread(count).map(move |number| destination(family, number))
    }
}

/// The uplink, by number, that the policy at this place leads to.
pub(super) fn led_to(place: usize) -> usize {
    1 + place % 2
}

/// So many destinations, evenly out of all.
pub(super) fn destinations(family: Family, count: usize) -> Vec<IpAddr> {
    spread(count).map(|n| destination(family, n)).collect()
}

/// So many numbers, evenly out of [`MANY`], even and odd ones in turn, so that few policies lead a
/// destination to the same uplink as many.
fn spread(count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |n| n * MANY / count / 2 * 2 + n % 2)
}

fn destination(family: Family, number: usize) -> IpAddr {
    let first = address_number(servers_network(family).addr());
    number_address(family, first + STRIDE * number as u128 + 1)
}

/// The prefix of a destination's policy.
fn prefix(destination: IpAddr) -> String {
    let family = Family::of(destination);
    let number = address_number(destination);
    let length = match family {
        Family::V4 => 32,
        Family::V6 => 128,
    } - 2;
    format!("{}/{length}", number_address(family, number - number % 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_policies_share_destinations() {
        let many = destinations(Family::V4, MANY);
        let few = destinations(Family::V4, FEW);
        assert!(few.iter().all(|d| many.contains(d)));
        assert!(many.iter().all(|d| servers_network(Family::V4).contains(d)));
    }

    #[test]
    fn few_and_many_policies_lead_a_destination_the_same_way() {
        for (place, number) in spread(FEW).enumerate() {
            assert_eq!(led_to(place), led_to(number));
        }
        assert!(spread(MANY).eq(0..MANY));
    }

    #[test]
    fn a_prefix_holds_its_destination_and_no_other() {
        assert_eq!(prefix("198.18.0.9".parse().unwrap()), "198.18.0.8/30");
        assert_eq!(prefix("2001:db8::9".parse().unwrap()), "2001:db8::8/126");
    }

    #[test]
    fn policies_lead_to_both_uplinks() {
        let text = Policies::Addresses(FEW).to_toml(Family::V6);
        assert_eq!(text.matches("[[policy]]").count(), FEW);
        assert_eq!(text.matches("isp1").count(), FEW / 2);
        assert_eq!(Policies::None.to_toml(Family::V4), "");
    }
}

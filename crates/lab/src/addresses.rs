//! The numbers of the laboratory's networks: who has which address.
//!
//! ```text
//!              10.0.0.0/16            100.64.N.0/24       10.255.N.0/30
//!   client ─────────────── router ─────────────── ispN ─────────────── internet
//!   .0.2 – .0.201    lan0 .0.1   wanN .2      .1 cust  core .1     .2   198.18.0.1, …
//!                                                                       1.1.1.1, 8.8.8.8, 9.9.9.9
//!              fd00:10::/64           2001:db8:N::/64     fd00:255:N::/64
//!   ::2 – ::c9         ::1        ::2         ::1        ::1       ::2  2001:db8:ffff::1, …
//!                                         fe80::1
//!                                 2001:db8:N00::/56 is delegated to the router
//! ```
//!
//! Further hosts of the LAN, where a laboratory has some, are 10.0.H.2 and fd00:10::H:2 with H
//! from 1. The guests' network is 10.1.0.0/16 and fd00:11::/64 behind `guest0`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use uplinkd_model::Family;

/// How many addresses the host in the LAN has.
pub const CLIENT_ADDRESSES: usize = 200;
/// Most addresses in the internet beside the well-known ones.
pub const SERVERS_MAX: usize = 10_000;

/// A provider and the line to it, by number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isp(u8);

impl Isp {
    /// How many there can be.
    pub const MAX: u8 = 15;

    /// The provider of a number from 1 to [`Self::MAX`].
    pub fn new(number: usize) -> Option<Self> {
        let number = u8::try_from(number).ok()?;
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its place in a list.
    pub fn index(self) -> usize {
        usize::from(self.0) - 1
    }

    /// The router's interface to it.
    pub fn interface(self) -> String {
        format!("wan{}", self.0)
    }

    /// The network between the router and it.
    pub fn network(self, family: Family) -> IpNet {
        self.on_line(family, 0).trunc()
    }

    /// The router's address on the line, with the length of the network.
    pub fn router(self, family: Family) -> IpNet {
        self.on_line(family, 2)
    }

    /// Its own address on the line, which is the router's gateway.
    pub fn gateway(self, family: Family) -> IpNet {
        self.on_line(family, 1)
    }

    fn on_line(self, family: Family, host: u8) -> IpNet {
        match family {
            Family::V4 => v4([100, 64, self.0, host], 24),
            Family::V6 => v6([0x2001, 0xdb8, self.0.into(), 0, 0, 0, 0, host.into()], 64),
        }
    }

    /// The IPv6 prefix that it delegates to the router.
    pub fn delegated(self) -> Ipv6Net {
        let address = Ipv6Addr::new(0x2001, 0xdb8, u16::from(self.0) << 8, 0, 0, 0, 0, 0);
        Ipv6Net::new_assert(address, 56)
    }

    /// Its address towards the internet.
    pub(crate) fn core_near(self, family: Family) -> IpNet {
        self.on_core(family, 1)
    }

    /// The internet's address towards it.
    pub(crate) fn core_far(self, family: Family) -> IpNet {
        self.on_core(family, 2)
    }

    fn on_core(self, family: Family, host: u8) -> IpNet {
        match family {
            Family::V4 => v4([10, 255, self.0, host], 30),
            Family::V6 => v6([0xfd00, 0x255, self.0.into(), 0, 0, 0, 0, host.into()], 64),
        }
    }

    /// The provider from whose networks an address is: which line carried a connection whose
    /// source looks like this from afar.
    pub fn of(source: IpAddr) -> Option<Self> {
        (1..=Self::MAX).map(Self).find(|isp| {
            let family = Family::of(source);
            isp.network(family).contains(&source) || IpNet::V6(isp.delegated()).contains(&source)
        })
    }
}

impl fmt::Display for Isp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "isp{}", self.0)
    }
}

impl FromStr for Isp {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let digits = word.strip_prefix("isp").unwrap_or(word);
        let number = digits.parse().ok().and_then(Self::new);
        number
            .ok_or_else(|| format!("`{word}` is no provider: a number from 1 or a name like isp1"))
    }
}

/// The gateway that a router advertisement names: the same on every line.
pub const LINK_LOCAL_GATEWAY: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));

/// The same with the length of its network.
pub(crate) fn link_local_gateway() -> IpNet {
    // An address of IPv6 and a length below 128, so it is one.
    IpNet::new(LINK_LOCAL_GATEWAY, 64).unwrap_or(IpNet::V6(Ipv6Net::default()))
}

/// The router's link-local address on a line that has no other.
pub(crate) fn link_local_router() -> IpNet {
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 2], 64)
}

/// The router's address in the LAN.
pub fn lan_router(family: Family) -> IpNet {
    in_lan(family, 1)
}

/// An address of the host in the LAN; the first is number 0. They repeat beyond
/// [`CLIENT_ADDRESSES`].
pub fn client(family: Family, number: usize) -> IpNet {
    // Below 200, so it fits.
    let host = u8::try_from(number % CLIENT_ADDRESSES).unwrap_or(0);
    in_lan(family, host + 2)
}

fn in_lan(family: Family, host: u8) -> IpNet {
    match family {
        Family::V4 => v4([10, 0, 0, host], 16),
        Family::V6 => v6([0xfd00, 0x10, 0, 0, 0, 0, 0, host.into()], 64),
    }
}

/// The address of a further host in the LAN, from number 1; number 0 is the first address of the
/// first host.
pub fn host(family: Family, number: u8) -> IpNet {
    match family {
        Family::V4 => v4([10, 0, number, 2], 16),
        Family::V6 => v6([0xfd00, 0x10, 0, 0, 0, 0, number.into(), 2], 64),
    }
}

/// The Ethernet address of a host in the LAN, by the number that [`host`] takes.
pub fn host_mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 1, number]
}

/// The router's address in the guests' network.
pub fn guest_router(family: Family) -> IpNet {
    in_guests(family, 1)
}

/// The address of the guest.
pub fn guest(family: Family) -> IpNet {
    in_guests(family, 2)
}

fn in_guests(family: Family, host: u8) -> IpNet {
    match family {
        Family::V4 => v4([10, 1, 0, host], 16),
        Family::V6 => v6([0xfd00, 0x11, 0, 0, 0, 0, 0, host.into()], 64),
    }
}

/// The network in which all of the internet's numbered servers are, and many addresses more.
pub fn servers_network(family: Family) -> IpNet {
    match family {
        Family::V4 => v4([198, 18, 0, 0], 15),
        Family::V6 => v6([0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0], 48),
    }
}

/// An address in the internet; the first is number 0.
pub fn server(family: Family, number: usize) -> IpAddr {
    // At most SERVERS_MAX, so both fit.
    let high = u8::try_from(number / 250).unwrap_or(u8::MAX);
    let low = u8::try_from(number % 250 + 1).unwrap_or(1);
    match family {
        Family::V4 => Ipv4Addr::new(198, 18, high, low).into(),
        Family::V6 => {
            let host = u16::try_from(number + 1).unwrap_or(u16::MAX);
            Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, host).into()
        }
    }
}

/// Addresses that exist in the real internet too, and answer here as well.
pub fn well_known(family: Family) -> [IpAddr; 3] {
    match family {
        Family::V4 => [[1, 1, 1, 1], [8, 8, 8, 8], [9, 9, 9, 9]].map(IpAddr::from),
        Family::V6 => [
            [0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111],
            [0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888],
            [0x2620, 0xfe, 0, 0, 0, 0, 0, 0xfe],
        ]
        .map(IpAddr::from),
    }
}

fn v4(octets: [u8; 4], length: u8) -> IpNet {
    Ipv4Net::new_assert(octets.into(), length).into()
}

fn v6(segments: [u16; 8], length: u8) -> IpNet {
    Ipv6Net::new_assert(segments.into(), length).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_is_found_by_the_sources_it_carries() {
        for number in 1..=15 {
            let isp = Isp::new(number).unwrap();
            for family in [Family::V4, Family::V6] {
                assert_eq!(Isp::of(isp.router(family).addr()), Some(isp));
                assert_eq!(Isp::of(isp.core_near(family).addr()), None);
            }
            assert_eq!(Isp::of(isp.delegated().addr().into()), Some(isp));
        }
        for near_miss in ["100.64.0.2", "100.64.16.2", "2001:db8:10::1", "10.0.0.2"] {
            assert_eq!(Isp::of(near_miss.parse().unwrap()), None, "{near_miss}");
        }
    }

    #[test]
    fn providers_are_read_by_number_and_by_name() {
        assert_eq!("isp3".parse(), Ok(Isp(3)));
        assert_eq!("15".parse(), Ok(Isp(15)));
        for bad in ["0", "16", "isp", "", "-1", "isp1x"] {
            assert!(bad.parse::<Isp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn no_two_servers_share_an_address() {
        let all: std::collections::BTreeSet<_> = [Family::V4, Family::V6]
            .into_iter()
            .flat_map(|f| (0..SERVERS_MAX).map(move |n| server(f, n)))
            .collect();
        assert_eq!(all.len(), 2 * SERVERS_MAX);
        let inside = |a: &IpAddr| servers_network(Family::of(*a)).contains(a);
        assert!(all.iter().all(inside));
    }

    #[test]
    fn no_two_hosts_share_an_address() {
        for family in [Family::V4, Family::V6] {
            let mut all: Vec<_> = (0..CLIENT_ADDRESSES).map(|n| client(family, n)).collect();
            all.extend((1..=9).map(|n| host(family, n)));
            all.extend([lan_router(family), guest_router(family), guest(family)]);
            let set: std::collections::BTreeSet<_> = all.iter().map(IpNet::addr).collect();
            assert_eq!(set.len(), all.len());
            assert_eq!(host(family, 0), client(family, 0));
        }
    }
}

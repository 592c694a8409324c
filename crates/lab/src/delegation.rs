//! Delegated IPv6 prefixes, as a DHCPv6 client on the router hands them on.
//!
//! Every provider routes [`Isp::delegated`] to the router; what is delegated is that or a part of it.
//! The router gets a default route for the prefix as source and a route that refuses what it does not
//! use, and a network of it in the LAN, where the first host has an address in it.

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv6Net};

use crate::{
    addresses::{Isp, LINK_LOCAL_GATEWAY},
    plumbing::Plumber,
    topology::Lab,
};

/// The first network of hosts in a prefix.
pub fn lan_network(prefix: Ipv6Net) -> Ipv6Net {
    Ipv6Net::new(prefix.network(), 64).unwrap_or(prefix)
}

/// An address in the first network of a prefix: the router's is number 1, the first host's 2.
pub fn address(prefix: Ipv6Net, number: u16) -> IpNet {
    let network = u128::from(lan_network(prefix).network());
    let address = std::net::Ipv6Addr::from(network | u128::from(number));
    IpNet::V6(Ipv6Net::new_assert(address, 64))
}

impl Lab {
    /// A provider delegates a prefix, and a client on the router puts it to use.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delegate(&self, isp: Isp, prefix: Ipv6Net) -> Result<()> {
        let what = || format!("cannot delegate {prefix}");
        let mut router = Plumber::new(self.router())?;
        router
            .add_source_default(&isp.interface(), prefix, LINK_LOCAL_GATEWAY)
            .with_context(what)?;
        router.refuse(prefix, true).with_context(what)?;
        router.add_addresses("lan0", &[address(prefix, 1)])?;
        Plumber::new(self.client())?.add_addresses("eth0", &[address(prefix, 2)])
    }

    /// The provider takes the prefix back. The host keeps its address, since nobody told it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn undelegate(&self, isp: Isp, prefix: Ipv6Net) -> Result<()> {
        let mut router = Plumber::new(self.router())?;
        router.remove_addresses("lan0", &[address(prefix, 1)])?;
        router.remove_source_default(&isp.interface(), prefix, LINK_LOCAL_GATEWAY)?;
        router.refuse(prefix, false)
    }
}

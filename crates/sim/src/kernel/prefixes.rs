//! Delegated IPv6 prefixes, as a DHCPv6 client leaves them in the kernel.

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};
use uplinkd_core::event::HintKind;
use uplinkd_model::prefix::{PrefixFacts, SourcedDefault};

use super::Kernel;

/// The first network of a prefix, which is the LAN's.
pub fn lan_network(prefix: Ipv6Net) -> Ipv6Net {
    Ipv6Net::new(prefix.network(), 64).unwrap_or(prefix)
}

/// An address in it.
pub fn lan_address(prefix: Ipv6Net, number: u8) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(prefix.network()) | u128::from(number))
}

impl Kernel {
    /// A prefix comes by an interface: its routes first, then the router's address in the LAN.
    pub fn delegate(&mut self, prefix: Ipv6Net, interface: &str, lan: &str) {
        self.delegated.insert(prefix, interface.to_owned());
        self.version += 1;
        self.hint(HintKind::Route);
        self.add_address(lan, lan_net(prefix));
    }

    /// It goes.
    pub fn undelegate(&mut self, prefix: Ipv6Net, lan: &str) {
        if self.delegated.remove(&prefix).is_some() {
            self.remove_address(lan, lan_net(prefix));
            self.version += 1;
            self.hint(HintKind::Route);
        }
    }

    /// The prefixes, each with the interface that it came by.
    pub fn delegated(&self) -> impl Iterator<Item = (Ipv6Net, &str)> {
        let all = self.delegated.iter();
        all.map(|(prefix, interface)| (*prefix, interface.as_str()))
    }

    /// What a look shows of them. A route by an interface goes with that.
    pub(super) fn prefix_facts(&self) -> PrefixFacts {
        let sourced = self.delegated().filter_map(|(prefix, interface)| {
            let link = self.link(interface).filter(|l| l.admin_up)?;
            Some(SourcedDefault {
                metric: 512,
                prefix,
                ifindex: link.device.index,
            })
        });
        PrefixFacts {
            sourced: sourced.collect(),
            refused: self.delegated.keys().copied().collect(),
            deprecated: Default::default(),
        }
    }
}

fn lan_net(prefix: Ipv6Net) -> IpNet {
    let address = lan_address(prefix, 1);
    IpNet::V6(Ipv6Net::new(address, 64).unwrap_or(prefix))
}

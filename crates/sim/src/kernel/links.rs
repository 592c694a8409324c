//! What happens to interfaces and addresses, and what the kernel does about it on its own.

use std::collections::BTreeSet;

use ipnet::IpNet;
use uplinkd_core::event::HintKind;
use uplinkd_model::{
    Family, Link, NexthopKind, Proto, Route, RouteVia, TableId, kernel_state::Device,
};

use super::{Kernel, Notification};

/// The protocol number of routes that the kernel makes itself.
const PROTO_KERNEL: Proto = Proto(2);
/// The metric of connected IPv6 routes in `main`.
const METRIC_CONNECTED_V6: u32 = 256;

impl Kernel {
    /// A new interface, switched on and with carrier, under a number never used before.
    pub fn add_link(&mut self, name: &str) {
        let index = self.next_index;
        self.next_index += 1;
        let device = Device {
            index,
            name: name.to_owned(),
        };
        self.links.insert(
            index,
            Link {
                device,
                alternative_names: BTreeSet::new(),
                point_to_point: false,
                admin_up: true,
                carrier: true,
                addresses: Vec::new(),
            },
        );
        for (leaf, value) in [
            ("ipv4/conf/{}/rp_filter", "1"),
            ("ipv4/conf/{}/ignore_routes_with_linkdown", "0"),
            ("ipv6/conf/{}/ignore_routes_with_linkdown", "0"),
            ("ipv6/conf/{}/accept_ra", "1"),
        ] {
            let path = format!("net/{}", leaf.replace("{}", name));
            self.sysctls.insert(path, value.to_owned());
        }
        self.told(index, false);
    }

    /// The interface and everything on it goes.
    pub fn remove_link(&mut self, name: &str) {
        let Some(index) = self.index(name) else {
            return;
        };
        self.flush_nexthops(index);
        self.flush_routes(index);
        self.connections.retain(|c| c.device != name);
        self.told(index, true);
        self.links.remove(&index);
        let part = format!("/conf/{name}/");
        self.sysctls.retain(|path, _| !path.contains(&part));
    }

    /// The cable goes in or out. Going out takes the nexthop objects with it, without a word about
    /// them; device routes stay, and coming back brings nothing.
    pub fn set_carrier(&mut self, name: &str, carrier: bool) {
        let Some(index) = self.index(name) else {
            return;
        };
        let link = self.links.get_mut(&index).filter(|l| l.carrier != carrier);
        let Some(link) = link else {
            return;
        };
        link.carrier = carrier;
        if !carrier {
            self.flush_nexthops(index);
        }
        self.told(index, false);
    }

    /// `ip link set … up` or `down`. Down takes nexthop objects, device routes and IPv6 addresses with
    /// it and releases masqueraded connections; up brings back only the connected routes of `main`.
    pub fn set_admin(&mut self, name: &str, admin_up: bool) {
        let Some(index) = self.index(name) else {
            return;
        };
        let link = self
            .links
            .get_mut(&index)
            .filter(|l| l.admin_up != admin_up);
        let Some(link) = link else {
            return;
        };
        link.admin_up = admin_up;
        let addresses = link.addresses.clone();
        if admin_up {
            addresses.into_iter().for_each(|a| self.connect(index, a));
        } else {
            if let Some(link) = self.links.get_mut(&index) {
                link.addresses.retain(|a| Family::of_net(*a) == Family::V4);
            }
            self.flush_nexthops(index);
            self.flush_routes(index);
            self.connections.retain(|c| c.device != name);
            self.hint(HintKind::Address(index));
        }
        self.told(index, false);
    }

    /// An address comes, with its connected route in `main`.
    pub fn add_address(&mut self, name: &str, address: IpNet) {
        let Some(link) = self.index(name).and_then(|i| self.links.get_mut(&i)) else {
            return;
        };
        if link.addresses.contains(&address) {
            return;
        }
        link.addresses.push(address);
        link.addresses.sort_unstable();
        let (index, admin_up) = (link.device.index, link.admin_up);
        self.version += 1;
        self.hint(HintKind::Address(index));
        if admin_up {
            self.connect(index, address);
        }
    }

    /// An address goes. Nexthop objects and rules stay; routes with it as `src` go, and with the last
    /// IPv4 address all IPv4 device routes, without a word about them. Of IPv6 only the connected
    /// route in `main` goes.
    pub fn remove_address(&mut self, name: &str, address: IpNet) {
        let Some(link) = self.index(name).and_then(|i| self.links.get_mut(&i)) else {
            return;
        };
        let before = link.addresses.len();
        link.addresses.retain(|a| *a != address);
        if link.addresses.len() == before {
            return;
        }
        let index = link.device.index;
        let family = Family::of_net(address);
        let is_last = link.addresses_of(family).next().is_none();
        let is_connected = link
            .addresses_of(family)
            .any(|a| a.trunc() == address.trunc());
        self.version += 1;
        let everywhere = self.quirks.address_takes_routes_of_all_tables;
        let keys: Vec<_> = self
            .routes
            .values()
            .filter(|r| r.source == Some(address.addr()))
            .filter(|r| everywhere || r.table == TableId::MAIN)
            .map(Route::key)
            .collect();
        for key in keys {
            self.drop_route(&key, false);
        }
        if is_last && family == Family::V4 {
            self.flush_routes_of(index, Some(family));
        }
        if family == Family::V6 && !is_connected {
            self.drop_route(
                &(TableId::MAIN, address.trunc(), METRIC_CONNECTED_V6),
                false,
            );
        }
        self.connections
            .retain(|c| c.device != name || c.talk.family != family);
        self.hint(HintKind::Address(index));
    }

    fn index(&self, name: &str) -> Option<u32> {
        self.link(name).map(|l| l.device.index)
    }

    fn connect(&mut self, index: u32, address: IpNet) {
        let Some(link) = self.links.get(&index) else {
            return;
        };
        let device = link.device.clone();
        let family = Family::of_net(address);
        self.put_route(Route {
            table: TableId::MAIN,
            destination: address.trunc(),
            metric: match family {
                Family::V4 => 0,
                Family::V6 => METRIC_CONNECTED_V6,
            },
            via: RouteVia::Device {
                device,
                gateway: None,
            },
            source: (family == Family::V4).then(|| address.addr()),
            proto: PROTO_KERNEL,
        });
    }

    fn flush_nexthops(&mut self, index: u32) {
        let ids: Vec<_> = self
            .nexthops
            .values()
            .filter(
                |n| matches!(&n.kind, NexthopKind::Single { device, .. } if device.index == index),
            )
            .map(|n| n.id)
            .collect();
        for id in ids {
            self.drop_nexthop(id, false);
        }
    }

    fn flush_routes(&mut self, index: u32) {
        self.flush_routes_of(index, None);
    }

    fn flush_routes_of(&mut self, index: u32, family: Option<Family>) {
        let keys: Vec<_> = self
            .routes
            .values()
            .filter(|r| family.is_none_or(|f| f == r.family()))
            .filter(|r| matches!(&r.via, RouteVia::Device { device, .. } if device.index == index))
            .map(Route::key)
            .collect();
        for key in keys {
            self.drop_route(&key, false);
        }
    }

    fn told(&mut self, index: u32, gone: bool) {
        self.version += 1;
        if let Some(link) = self.links.get(&index) {
            self.notifications.push(Notification::Link {
                index,
                name: link.device.name.clone(),
                admin_up: link.admin_up,
                carrier: link.carrier,
                gone,
            });
        }
    }
}

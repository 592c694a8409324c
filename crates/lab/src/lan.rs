//! What is behind the router: hosts in the LAN, and guests in a network of their own.
//!
//! ```text
//!   client ── eth0 ───────────── lan0 ┐            a laboratory with one host
//!                                     router
//!   client ── eth0 ── switch ─── lan0 ┤            with further ones: `host1`, `host2`, …
//!   host1  ── eth0 ─────┘             │
//!   guest  ── eth0 ──────────── guest0┘
//! ```

use anyhow::Result;
use ipnet::IpNet;

use crate::{
    addresses::{self, CLIENT_ADDRESSES},
    netns::Netns,
    plumbing::{LabRoute, Plug, Plumber, STATIC, connect},
    topology::{FAMILIES, LabSpec},
};

/// Most hosts in the LAN beside the first.
pub(crate) const HOSTS_MAX: u8 = 9;
/// Numbers of the router's interfaces; those of the lines follow (see `topology`).
const LAN_INDEX: u32 = 100;
const GUEST_INDEX: u32 = 99;
const BRIDGE: &str = "br0";

/// The hosts behind the router, beside the first.
#[derive(Debug)]
pub(crate) struct Lan {
    pub(crate) hosts: Vec<Netns>,
    pub(crate) guest: Option<Netns>,
    switch: Option<Netns>,
}

impl Lan {
    /// Makes the namespaces.
    pub(crate) fn make(spec: &LabSpec, netns: impl Fn(&str) -> Result<Netns>) -> Result<Self> {
        Ok(Self {
            hosts: (1..=spec.hosts)
                .map(|n| netns(&format!("host{n}")))
                .collect::<Result<_>>()?,
            guest: spec.guests.then(|| netns("guest")).transpose()?,
            switch: (spec.hosts > 0).then(|| netns("switch")).transpose()?,
        })
    }

    /// Connects everybody.
    pub(crate) fn build(&self, router: &Netns, client: &Netns) -> Result<()> {
        let lan = plug(router, "lan0", LAN_INDEX);
        match &self.switch {
            None => connect(lan, plug(client, "eth0", 0))?,
            Some(switch) => {
                Plumber::new(switch)?.add_bridge(BRIDGE)?;
                connect(lan, port(switch, "router"))?;
                connect(plug(client, "eth0", 0), port(switch, "client"))?;
                for host in &self.hosts {
                    connect(plug(host, "eth0", 0), port(switch, host.name()))?;
                }
                let mut ports = Plumber::new(switch)?;
                for name in ["router", "client"]
                    .into_iter()
                    .chain(self.hosts.iter().map(Netns::name))
                {
                    ports.join_bridge(name, BRIDGE)?;
                }
            }
        }
        let router_in_lan = FAMILIES.map(addresses::lan_router);
        Plumber::new(router)?.add_addresses("lan0", &router_in_lan)?;
        let all: Vec<_> = FAMILIES
            .into_iter()
            .flat_map(|f| (0..CLIENT_ADDRESSES).map(move |n| addresses::client(f, n)))
            .collect();
        settle(client, 0, &all, router_in_lan)?;
        for (number, host) in (1..).zip(&self.hosts) {
            let own = FAMILIES.map(|f| addresses::host(f, number));
            settle(host, number, &own, router_in_lan)?;
        }
        self.build_guests(router)
    }

    fn build_guests(&self, router: &Netns) -> Result<()> {
        let Some(guest) = &self.guest else {
            return Ok(());
        };
        connect(plug(router, "guest0", GUEST_INDEX), plug(guest, "eth0", 0))?;
        let gateways = FAMILIES.map(addresses::guest_router);
        Plumber::new(router)?.add_addresses("guest0", &gateways)?;
        settle(guest, u8::MAX, &FAMILIES.map(addresses::guest), gateways)
    }
}

/// A host's addresses and its way out.
fn settle(host: &Netns, number: u8, own: &[IpNet], gateways: [IpNet; 2]) -> Result<()> {
    let mut plumber = Plumber::new(host)?;
    plumber.set_mac("eth0", addresses::host_mac(number))?;
    plumber.add_addresses("eth0", own)?;
    let defaults = FAMILIES.map(|f| LabRoute {
        destination: f.default_route(),
        gateway: gateways[usize::from(f == FAMILIES[1])].addr(),
        metric: None,
        protocol: STATIC,
    });
    plumber.add_routes("eth0", &defaults)
}

fn plug<'a>(netns: &'a Netns, name: &'a str, index: u32) -> Plug<'a> {
    Plug { netns, name, index }
}

fn port<'a>(switch: &'a Netns, name: &'a str) -> Plug<'a> {
    plug(switch, name, 0)
}

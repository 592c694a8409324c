//! What surrounds a router that is measured: who sends, who counts, and the table of connections.

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Mutex,
};

use anyhow::{Context, Result};
use uplinkd_kernel::netlink::{Message, Protocol, Socket};
use uplinkd_lab::{Isp, Lab, Netns, addresses::client};
use uplinkd_model::Family;

use super::generator::{Generator, Stream};

/// Makes a router drop everything from the LAN before it does anything with it.
pub(super) const CLOSED: &str = "table netdev door {\n  chain closed {\n    \
                                 type filter hook ingress device \"lan0\" priority 0;\n    \
                                 meta l4proto udp drop\n  }\n}\n";

/// Makes a provider drop what arrives by the line, after the device has counted it: nothing behind
/// it is of interest, and answers would only be noise. Answers to probes are let through.
const SINK: &str = "table netdev sink {\n  chain arrived {\n    \
                    type filter hook ingress device \"cust\" priority 0;\n    \
                    meta l4proto udp drop\n  }\n}\n";

/// `IPCTNL_MSG_CT_DELETE` of the connection tracking subsystem; without attributes it takes all.
const DELETE_CONNECTIONS: u16 = 1 << 8 | 2;
/// `struct nfgenmsg` for both families.
const ANY_FAMILY: [u8; 4] = [0; 4];

/// The outside of a router.
pub(super) struct Door {
    client: Netns,
    providers: Vec<Netns>,
    connections: Mutex<Socket>,
}

impl Door {
    /// Has the providers count and drop from now on.
    ///
    /// # Errors
    /// When nft refuses.
    pub(super) fn open(lab: &Lab) -> Result<Self> {
        let providers: Vec<_> = lab.isps().map(|isp: Isp| lab.isp(isp).clone()).collect();
        for provider in &providers {
            provider.nft(SINK)?;
        }
        let connections = lab.router().run(|| {
            Socket::open(Protocol::Netfilter).context("cannot open a socket for connections")
        })?;
        Ok(Self {
            client: lab.client().clone(),
            providers,
            connections: Mutex::new(connections),
        })
    }

    /// A generator in the LAN. Each needs a port of its own.
    ///
    /// # Errors
    /// When the port is taken.
    pub(super) fn generator(&self, family: Family, port: u16, stream: Stream) -> Result<Generator> {
        let source = SocketAddr::new(client(family, 0).addr(), port);
        self.client.run(|| Generator::new(source, stream))
    }

    /// Sends some connections of one packet to a destination.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub(super) fn send_few(&self, destination: IpAddr, count: u64) -> Result<()> {
        let source = SocketAddr::new(client(Family::of(destination), 0).addr(), 0);
        self.client.run(|| {
            for _ in 0..count {
                let socket = UdpSocket::bind(source).context("cannot send")?;
                socket
                    .send_to(&[0], (destination, 9))
                    .context("cannot send")?;
            }
            Ok(())
        })
    }

    /// How many packets have come to each provider by now.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(super) fn arrived(&self) -> Result<Vec<u64>> {
        let arrived = |provider: &Netns| {
            provider.run(|| {
                let text = fs::read_to_string("/proc/thread-self/net/dev")?;
                received(&text, "cust").context("a provider has no line")
            })
        };
        self.providers.iter().map(arrived).collect()
    }

    /// Empties the router's table of connections.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn forget_connections(&self) -> Result<()> {
        let all = Message::new(DELETE_CONNECTIONS, 0, &ANY_FAMILY);
        let mut socket = self
            .connections
            .lock()
            .map_err(|_| anyhow::anyhow!("another thread broke down"))?;
        socket
            .one(all)
            .context("cannot empty the table of connections")
    }
}

/// Received packets of a device, from `/proc/net/dev`.
fn received(text: &str, device: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|l| l.trim().strip_prefix(device)?.strip_prefix(':'))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_the_second_column() {
        let text =
            "Inter-| Receive\n face |bytes packets\n    lo: 1 2 3\n  cust: 4000 17 0 0 0 0\n";
        assert_eq!(received(text, "cust"), Some(17));
        assert_eq!(received(text, "core"), None);
    }
}

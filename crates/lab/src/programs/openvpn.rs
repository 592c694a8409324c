//! OpenVPN: a tunnel that a program carries over UDP, with a tun interface at each end. Nothing is
//! encrypted, since nobody listens in a laboratory and keys would need files.

use std::net::IpAddr;

use anyhow::Result;

use super::{Guest, find_for_root};
use crate::{netns::Netns, plumbing::Plumber, topology::Lab};

/// The interface at both ends.
pub const TUN: &str = "tun9";
/// The far end inside of the tunnel, and the near one.
pub const TUN_FAR: &str = "10.9.0.1";
/// See [`TUN_FAR`].
pub const TUN_NEAR: &str = "10.9.0.2";
/// Where the far end listens.
pub const TUN_PORT: u16 = 1194;

/// A tunnel from the router to an address in the internet. It goes when this is dropped.
#[derive(Debug)]
pub struct OpenVpn {
    near: Guest,
    far: Guest,
}

impl OpenVpn {
    /// Begins it. Both interfaces come up with their addresses; nothing is routed into them.
    ///
    /// # Errors
    /// [`Missing`](super::Missing), or that it does not get ready.
    pub fn start(lab: &Lab, to: IpAddr) -> Result<Self> {
        let program = find_for_root("openvpn")?;
        let end = |netns: &Netns, name: &str, more: &str| {
            let script = format!(
                "{} --dev {TUN} --dev-type tun --proto udp4 --float --verb 3 --cipher none \
                 --auth none --data-ciphers none --ping 1 --ping-restart 600 --script-security 2 {more}",
                program.display()
            );
            Guest::start(netns, lab.folder(), name, &script)
        };
        let far = format!("--local {to} --lport {TUN_PORT} --ifconfig {TUN_FAR} {TUN_NEAR}");
        let far = end(lab.internet(), "openvpn-far", &far)?;
        let near = format!("--remote {to} {TUN_PORT} --nobind --ifconfig {TUN_NEAR} {TUN_FAR}");
        let near = end(lab.router(), "openvpn-near", &near)?;
        let tunnel = Self { near, far };
        for (guest, netns) in [(&tunnel.far, lab.internet()), (&tunnel.near, lab.router())] {
            guest.wait_ready("openvpn", |_| {
                Plumber::new(netns).is_ok_and(|mut p| p.index(TUN).is_ok())
            })?;
        }
        Ok(tunnel)
    }

    /// Where the far end last heard the near one from.
    pub fn peer(&self) -> Option<IpAddr> {
        let log = self.far.log();
        let last = log
            .rsplit("Peer Connection Initiated with [AF_INET]")
            .next()?;
        last.split(':').next()?.parse().ok()
    }

    /// What both ends said so far.
    pub fn log(&self) -> String {
        format!("{}\n{}", self.near.log(), self.far.log())
    }
}

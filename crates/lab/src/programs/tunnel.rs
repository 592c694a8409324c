//! A point-to-point line: a tun device in the router, another at its provider, and socat as the wire.
//! It has no neighbours, as PPP has none, so that its default route names no gateway.

use std::path::Path;

use anyhow::Result;

use super::{Guest, find_for_root};
use crate::{addresses::Isp, netns::Netns, plumbing::Plumber, topology::Lab};

/// The two ends. The devices go when this is dropped.
#[derive(Debug)]
pub struct Tunnel {
    near: Guest,
    far: Guest,
}

impl Tunnel {
    /// Lays it between the router, where it has this name, and a provider, where it is `ptp`. Both
    /// ends are up and have no addresses.
    ///
    /// # Errors
    /// [`Missing`](super::Missing), or that it does not get ready.
    pub fn start(lab: &Lab, isp: Isp, name: &str) -> Result<Self> {
        let far = end(
            lab.isp(isp),
            lab.folder(),
            "ptp",
            (&format!("{name}-far"), name),
        )?;
        let near = end(
            lab.router(),
            lab.folder(),
            name,
            (name, &format!("{name}-far")),
        )?;
        // Only now, since a first packet that finds nobody would end the wire.
        Plumber::new(lab.isp(isp))?.set_up("ptp", true)?;
        Plumber::new(lab.router())?.set_up(name, true)?;
        Ok(Self { near, far })
    }

    /// What both ends said so far.
    pub fn log(&self) -> String {
        format!("{}\n{}", self.near.log(), self.far.log())
    }
}

/// One end: packets of the device go to the other end's socket, and the reverse.
fn end(netns: &Netns, folder: &Path, device: &str, (own, peer): (&str, &str)) -> Result<Guest> {
    let program = find_for_root("socat")?;
    let socket = |name: &str| folder.join(format!("{name}.wire")).display().to_string();
    let script = format!(
        "rm -f {own}\n{} -dd TUN,tun-name={device},tun-type=tun,iff-no-pi \
         UNIX-SENDTO:{peer},bind={own}",
        program.display(),
        own = socket(own),
        peer = socket(peer),
    );
    let guest = Guest::start(netns, folder, &format!("wire-{own}"), &script)?;
    guest.wait_ready("socat", |log| log.contains("starting data transfer loop"))?;
    Ok(guest)
}

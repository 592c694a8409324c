//! systemd's network daemon, with its default habit of removing rules and routes of others.

use std::fs;

use anyhow::Result;

use super::{Guest, find_for_root};
use crate::topology::Lab;

/// A systemd-networkd in the router. It ends when this is dropped; what it configured stays.
#[derive(Debug)]
pub struct Networkd {
    guest: Guest,
}

impl Networkd {
    /// Starts it with these files: name (`10-wan1.network`, `networkd.conf`) and content.
    ///
    /// It purges what is foreign when it begins to manage an interface while it runs: plug one in
    /// afterwards. Interfaces that are there when it starts are configured before it has read what
    /// there is.
    ///
    /// # Errors
    /// [`Missing`](super::Missing), or that it does not get ready.
    pub fn start(lab: &Lab, files: &[(&str, &str)]) -> Result<Self> {
        let program = find_for_root("systemd-networkd")?;
        let folder = lab.folder().join("networkd");
        fs::create_dir_all(&folder)?;
        for (name, content) in files {
            fs::write(folder.join(name), content)?;
        }
        // It gives up root, so the state folder must be its user's. Without udev it believes in
        // interfaces only where `/sys` is read-only, as in a container.
        let script = format!(
            "mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases \
             /run/systemd/netif/lldp\n\
             chown -R systemd-network /run/systemd/netif 2>/dev/null || true\n\
             for f in {folder}/*; do case $f in \
             *networkd.conf) mkdir -p /run/systemd/networkd.conf.d; \
             cp $f /run/systemd/networkd.conf.d/lab.conf;; \
             *) cp $f /run/systemd/network/;; esac; done\n\
             export SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console\n\
             {}",
            program.display(),
            folder = folder.display(),
        );
        let guest = Guest::start(lab.router(), lab.folder(), "networkd", &script)?;
        guest.wait_ready("systemd-networkd", |log| {
            log.contains("Enumeration completed")
        })?;
        Ok(Self { guest })
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        self.guest.log()
    }
}

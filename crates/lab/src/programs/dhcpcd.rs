//! dhcpcd, a client for both families, which takes router advertisements itself.

use anyhow::Result;

use super::{Guest, find_for_root};
use crate::topology::Lab;

/// A dhcpcd on an interface of the router. It ends when this is dropped; what it configured stays.
#[derive(Debug)]
pub struct Dhcpcd {
    guest: Guest,
}

impl Dhcpcd {
    /// Starts it on an interface, with a metric for its default routes, and returns at once. It has
    /// the settings that it has without a file, and runs none of the machine's hooks.
    ///
    /// # Errors
    /// [`Missing`](super::Missing).
    pub fn start(lab: &Lab, interface: &str, metric: u32) -> Result<Self> {
        let program = find_for_root("dhcpcd")?;
        let script = format!(
            "mount -t tmpfs lab /var/lib/dhcpcd\n\
             {} --nobackground --debug --noarp --script /bin/true --config /dev/null \
             --metric {metric} {interface}",
            program.display()
        );
        let name = format!("dhcpcd-{interface}");
        Ok(Self {
            guest: Guest::start(lab.router(), lab.folder(), &name, &script)?,
        })
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        self.guest.log()
    }
}

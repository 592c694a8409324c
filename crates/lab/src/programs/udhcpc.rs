//! The DHCP client of busybox, which most small routers run.

use std::path::PathBuf;

use anyhow::Result;

use super::{Guest, find, write_script};
use crate::topology::Lab;

/// What scripts of it usually do: the address goes when the lease does, and comes with its default
/// route. A changed gateway replaces the route, a changed address flushes the interface.
const SCRIPT: &str = r#"#!/bin/sh
has_address() { ip -4 -o address show dev "$interface" | grep -q " $ip/$mask "; }
case "$1" in
deconfig)
    ip -4 address flush dev "$interface"
    ip link set dev "$interface" up
    ;;
bound|renew)
    if ! has_address; then
        ip -4 address flush dev "$interface"
        ip -4 address add "$ip/$mask" dev "$interface"
    fi
    for gateway in $router; do
        ip -4 route replace default via "$gateway" dev "$interface" metric "$METRIC" proto dhcp
        break
    done
    [ -n "$router" ] || ip -4 route flush default dev "$interface"
    ;;
esac
echo "script did $1 $ip $router"
"#;

/// A udhcpc on an interface of the router. It ends when this is dropped; what it configured stays.
#[derive(Debug)]
pub struct Udhcpc {
    guest: Guest,
    pid_file: PathBuf,
}

impl Udhcpc {
    /// Starts it on an interface, with a metric for its default route, and returns at once.
    ///
    /// # Errors
    /// [`Missing`](super::Missing).
    pub fn start(lab: &Lab, interface: &str, metric: u32) -> Result<Self> {
        let program = find("udhcpc")?;
        find("ip")?;
        let folder = lab.folder();
        let name = format!("udhcpc-{interface}");
        let pid_file = folder.join(format!("{name}.pid"));
        let script = write_script(folder, &format!("{name}.sh"), SCRIPT)?;
        let line = format!(
            "export METRIC={metric}\n\
             {} -f -i {interface} -s {} -p {} -t 3 -T 1 -A 1",
            program.display(),
            script.display(),
            pid_file.display(),
        );
        Ok(Self {
            guest: Guest::start(lab.router(), folder, &name, &line)?,
            pid_file,
        })
    }

    /// Asks the server again, as it does by itself after half of the lease.
    ///
    /// # Errors
    /// When it has ended.
    pub fn renew(&self) -> Result<()> {
        self.guest.signal("USR1", &self.pid_file)
    }

    /// Gives the lease back; address and route go, and it waits for [`Self::renew`].
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub fn release(&self) -> Result<()> {
        self.guest.signal("USR2", &self.pid_file)
    }

    /// What it and its script said so far.
    pub fn log(&self) -> String {
        self.guest.log()
    }
}

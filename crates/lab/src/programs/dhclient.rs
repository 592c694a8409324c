//! ISC's DHCP client, which ifupdown starts.

use std::fs;

use anyhow::{Context, Result};

use super::{Guest, find, write_script};
use crate::topology::Lab;

/// What its script usually does: the old address goes before the new one comes.
const SCRIPT: &str = r#"#!/bin/sh
drop_old() {
    [ -n "$old_ip_address" ] && ip -4 address flush dev "$interface"
}
case "$reason" in
MEDIUM|ARPCHECK|ARPSEND) ;;
PREINIT)
    ip link set dev "$interface" up
    ;;
BOUND|RENEW|REBIND|REBOOT)
    [ "$old_ip_address" = "$new_ip_address" ] || drop_old
    ip -4 address replace "$new_ip_address/$new_subnet_mask" dev "$interface"
    for gateway in $new_routers; do
        ip -4 route replace default via "$gateway" dev "$interface" metric "$METRIC"
        break
    done
    ;;
EXPIRE|FAIL|RELEASE|STOP)
    drop_old
    ;;
TIMEOUT)
    exit 1
    ;;
esac
echo "script did $reason $new_ip_address $new_routers"
"#;

/// Asks soon and often.
const SETTINGS: &str = "request subnet-mask, routers, dhcp-renewal-time, dhcp-rebinding-time;\n\
                        initial-interval 1;\nbackoff-cutoff 1;\nselect-timeout 0;\ntimeout 5;\nretry 1;\n\
                        reboot 1;\n";

/// A dhclient on an interface of the router. It ends when this is dropped; what it configured stays.
#[derive(Debug)]
pub struct Dhclient {
    guest: Guest,
}

impl Dhclient {
    /// Starts it on an interface, with a metric for its default route, and returns at once. It
    /// remembers the lease of one that ran there before.
    ///
    /// # Errors
    /// [`Missing`](super::Missing).
    pub fn start(lab: &Lab, interface: &str, metric: u32) -> Result<Self> {
        let program = find("dhclient")?;
        find("ip")?;
        let folder = lab.folder();
        let name = format!("dhclient-{interface}");
        let script = write_script(folder, &format!("{name}.sh"), SCRIPT)?;
        let settings = folder.join(format!("{name}.conf"));
        fs::write(&settings, SETTINGS)
            .with_context(|| format!("cannot write {}", settings.display()))?;
        let line = format!(
            "{} -4 -d -e METRIC={metric} -sf {} -cf {} -lf {place}.leases -pf {place}.pid {interface}",
            program.display(),
            script.display(),
            settings.display(),
            place = folder.join(&name).display(),
        );
        Ok(Self {
            guest: Guest::start(lab.router(), folder, &name, &line)?,
        })
    }

    /// What it and its script said so far.
    pub fn log(&self) -> String {
        self.guest.log()
    }
}

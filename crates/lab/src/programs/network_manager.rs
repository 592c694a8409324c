//! NetworkManager, with a message bus of its own.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use anyhow::Result;

use super::{Guest, find, find_for_root};
use crate::{netns::Netns, process::Output, topology::Lab};

/// A NetworkManager in the router. It ends when this is dropped; what it configured stays.
#[derive(Debug)]
pub struct NetworkManager {
    guest: Guest,
    router: Netns,
    bus: String,
}

/// A bus on which everybody in the corner may say everything.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=@BUS@</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/>
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow receive_sender="*"/></policy></busconfig>
"#;

impl NetworkManager {
    /// Starts it with these connections: name (`wan1`) and the content of the keyfile. Interfaces
    /// without one are left alone.
    ///
    /// # Errors
    /// [`Missing`](super::Missing), or that it does not get ready.
    pub fn start(lab: &Lab, connections: &[(&str, &str)]) -> Result<Self> {
        let program = find_for_root("NetworkManager")?;
        let bus_program = find("dbus-daemon")?;
        let folder = lab.folder().join("network-manager");
        let keyfiles = folder.join("connections");
        for made in ["connections", "empty", "state"] {
            fs::create_dir_all(folder.join(made))?;
        }
        let mut names = Vec::new();
        for (name, content) in connections {
            let file = keyfiles.join(format!("{name}.nmconnection"));
            fs::write(&file, content)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
            names.push(format!("except:interface-name:{name}"));
        }
        names.insert(0, "*".to_owned());
        let bus = folder.join("bus").display().to_string();
        fs::write(folder.join("bus.conf"), BUS.replace("@BUS@", &bus))?;
        let settings = format!(
            "[main]\nplugins=keyfile\nauth-polkit=false\ndns=none\nrc-manager=unmanaged\n\
             no-auto-default=*\n\
             [keyfile]\npath={}\nunmanaged-devices={}\n",
            keyfiles.display(),
            names.join(";")
        );
        fs::write(folder.join("NetworkManager.conf"), settings)?;
        let script = format!(
            "{bus_program} --config-file={folder}/bus.conf --nofork --nopidfile &\n\
             while [ ! -S {bus} ]; do sleep 0.02; done\n\
             export DBUS_SYSTEM_BUS_ADDRESS=unix:path={bus}\n\
             mkdir -p /run/NetworkManager\n\
             {program} --debug --config={folder}/NetworkManager.conf \
             --config-dir={folder}/empty --system-config-dir={folder}/empty \
             --pid-file=/run/nm.pid --state-file={folder}/state/state \
             --intern-config={folder}/state/intern.conf --log-level=INFO",
            bus_program = bus_program.display(),
            folder = folder.display(),
            program = program.display(),
        );
        let guest = Guest::start(lab.router(), lab.folder(), "network-manager", &script)?;
        guest.wait_ready("NetworkManager", |log| {
            log.contains("startup complete") || log.contains("manager: startup")
        })?;
        Ok(Self {
            guest,
            router: lab.router().clone(),
            bus,
        })
    }

    /// Runs `nmcli` with arguments.
    ///
    /// # Errors
    /// When it cannot be started or does not end; an exit code is not an error here.
    pub fn control(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.guest.inside(&find("nmcli")?)?;
        command
            .args(arguments)
            .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", self.bus));
        self.router.output(command, "", Duration::from_secs(20))
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        self.guest.log()
    }
}

//! Docker's daemon, with the bridge and the rules that it makes. What is in a container is played by
//! a namespace on that bridge: for the router there is no difference.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;

use super::{Guest, find, find_for_root};
use crate::{
    netns::Netns,
    plumbing::{LabRoute, Plug, Plumber, STATIC, connect},
    topology::{FAMILIES, Lab},
};

/// A dockerd in the router, with its bridge `docker0`. It ends when this is dropped; its rules stay.
#[derive(Debug)]
pub struct Docker {
    guest: Guest,
}

/// The first container on docker0.
const CONTAINER: [u8; 4] = [172, 17, 0, 2];
const BRIDGE: [u8; 4] = [172, 17, 0, 1];

impl Docker {
    /// Starts it, with its defaults.
    ///
    /// # Errors
    /// [`Missing`](super::Missing), or that it does not get ready.
    pub fn start(lab: &Lab) -> Result<Self> {
        let program = find_for_root("dockerd")?;
        for other in ["containerd", "iptables"] {
            find(other)?;
        }
        // The fresh `/sys` hides where control groups are mounted. It finds those of version 1 in the
        // list of mounts all the same; of version 2 it looks at the usual place.
        let script = format!(
            "grep -q ' - cgroup ' /proc/self/mountinfo || mount -t cgroup2 lab /sys/fs/cgroup\n\
             mkdir -p /run/lab/root /run/lab/exec\n\
             {} --data-root /run/lab/root --exec-root /run/lab/exec --pidfile /run/lab/pid \
             --host unix:///run/lab/socket --storage-driver vfs --ip6tables=false",
            program.display()
        );
        let guest = Guest::start(lab.router(), lab.folder(), "dockerd", &script)?;
        guest.wait_ready("dockerd", |log| log.contains("API listen on"))?;
        Ok(Self { guest })
    }

    /// A container's namespace, connected as Docker does it.
    ///
    /// # Errors
    /// When the bridge is not there.
    pub fn container(&self, lab: &Lab) -> Result<Netns> {
        let container = Netns::new("container")?;
        Plumber::new(&container)?.set_up("lo", true)?;
        connect(
            Plug {
                netns: lab.router(),
                name: "veth0c",
                index: 0,
            },
            Plug {
                netns: &container,
                name: "eth0",
                index: 0,
            },
        )?;
        Plumber::new(lab.router())?.join_bridge("veth0c", "docker0")?;
        let mut inside = Plumber::new(&container)?;
        inside.add_addresses("eth0", &[format!("{}/16", self.address()).parse()?])?;
        inside.add_routes(
            "eth0",
            &[LabRoute {
                destination: FAMILIES[0].default_route(),
                gateway: Ipv4Addr::from(BRIDGE).into(),
                metric: None,
                protocol: STATIC,
            }],
        )?;
        Plumber::new(lab.router())?.wait_ready("docker0")?;
        Ok(container)
    }

    /// The container's address.
    pub fn address(&self) -> IpAddr {
        Ipv4Addr::from(CONTAINER).into()
    }

    /// Publishes a TCP port of the container as `docker run -p PORT:TO` does, by the rules that it
    /// makes for it.
    ///
    /// # Errors
    /// When iptables refuses.
    pub fn publish(&self, lab: &Lab, port: u16, to: u16) -> Result<()> {
        let address = self.address();
        for rule in [
            format!(
                "-t nat -A DOCKER ! -i docker0 -p tcp --dport {port} -j DNAT \
                 --to-destination {address}:{to}"
            ),
            format!(
                "-A DOCKER -d {address}/32 ! -i docker0 -o docker0 -p tcp --dport {to} -j ACCEPT"
            ),
            format!(
                "-t nat -A POSTROUTING -s {address}/32 -d {address}/32 -p tcp --dport {to} \
                 -j MASQUERADE"
            ),
        ] {
            super::iptables(lab.router(), &rule)?;
        }
        Ok(())
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        self.guest.log()
    }
}

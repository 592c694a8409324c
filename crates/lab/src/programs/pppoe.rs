//! PPPoE: pppd at the router, which has the kernel carry the packets, and a server at the provider.

use std::fs;

use anyhow::{Context, Result};
use uplinkd_model::Family;

use super::{Guest, Missing, find, find_for_root, write_script};
use crate::{addresses::Isp, lines::CABLES, netns::Netns, process::quiet, topology::Lab};

/// A PPPoE server at a provider, on the bare cable to it. It ends, with all sessions, when this is
/// dropped.
#[derive(Debug)]
pub struct PppoeServer {
    guest: Guest,
}

/// A session of the router over a bare cable. It ends when this is dropped; its interface goes.
#[derive(Debug)]
pub struct PppoeClient {
    guest: Guest,
}

/// How often both ends ask each other whether they are still there, in seconds, and how many
/// answers may be missing. A silent line is given up after their product.
const ECHO: &str = "lcp-echo-interval 1\nlcp-echo-failure 5\n";

impl PppoeServer {
    /// Replaces the line to a provider by a bare cable and serves on it: it gives the router the
    /// address that it had, and is itself the other end.
    ///
    /// # Errors
    /// [`Missing`], or that it does not get ready.
    pub fn start(lab: &Lab, isp: Isp) -> Result<Self> {
        let server = find_for_root("pppoe-server")?;
        // It starts these for each session.
        for program in ["pppoe", "pppd"] {
            find(program)?;
        }
        ensure_kernel()?;
        let cable = lab.bare_cable(isp)?;
        let options = lab.folder().join("pppoe-server-options");
        fs::write(
            &options,
            format!("noauth\nipv6 ::1,::2\nnoccp\nnobsdcomp\nnodeflate\n{ECHO}"),
        )
        .with_context(|| format!("cannot write {}", options.display()))?;
        // What the provider delegates it routes into the session.
        let delegated = isp.delegated();
        let text = format!("#!/bin/sh\nip -6 route replace {delegated} dev \"$1\"\n");
        let hook = write_script(lab.folder(), "pppoe-server-ipv6-up", &text)?;
        let (own, theirs) = (
            isp.gateway(Family::V4).addr(),
            isp.router(Family::V4).addr(),
        );
        let script = format!(
            "{DEVICES}cp {} /etc/ppp/ipv6-up\n\
             {} -F -I {cable} -C provider -L {own} -R {theirs} -N 1 -O {}",
            hook.display(),
            server.display(),
            options.display()
        );
        let guest = Guest::start(lab.isp(isp), lab.folder(), "pppoe-server", &script)?;
        Ok(Self { guest })
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        self.guest.log()
    }
}

impl PppoeClient {
    /// Begins a session, for an interface of this name, with its default routes beside the other
    /// lines'. Of IPv6 it brings a link-local address and nothing else. It is not ready yet; it tries
    /// again and again.
    ///
    /// # Errors
    /// [`Missing`], or that it cannot be started.
    pub fn start(lab: &Lab, isp: Isp, interface: &str) -> Result<Self> {
        let pppd = find_for_root("pppd")?;
        ensure_kernel()?;
        let options = lab.folder().join(format!("pppoe-{interface}-options"));
        // The usual names come with the unit, and no interface is renamed.
        let naming = match interface.strip_prefix("ppp") {
            Some(unit) => format!("unit {unit}"),
            None => format!("ifname {interface}"),
        };
        let text = format!(
            "plugin rp-pppoe.so\nnic-{}\n{naming}\nuser lab\npassword lab\nnoauth\n\
             noipdefault\nnodefaultroute\n+ipv6\nnodetach\npersist\n\
             maxfail 0\nholdoff 1\nnoccp\nmtu 1492\nmru 1492\n{ECHO}",
            CABLES[0]
        );
        fs::write(&options, text).with_context(|| format!("cannot write {}", options.display()))?;
        // By itself pppd adds no default route where there is another (2.4.9: "not replacing default
        // route"), whatever metric it was given. So its script does, as on any router with two lines.
        let metric = 100 * u32::from(isp.number());
        let hook = |family, name: &str| {
            let text =
                format!("#!/bin/sh\nip {family} route add default dev \"$1\" metric {metric}\n");
            write_script(lab.folder(), name, &text)
        };
        let (v4, v6) = (hook("-4", "pppd-ip-up")?, hook("-6", "pppd-ipv6-up")?);
        let script = format!(
            "{DEVICES}cp {} /etc/ppp/ip-up\ncp {} /etc/ppp/ipv6-up\n{} file {}",
            v4.display(),
            v6.display(),
            pppd.display(),
            options.display()
        );
        let name = format!("pppd-{interface}");
        let guest = Guest::start(lab.router(), lab.folder(), &name, &script)?;
        Ok(Self { guest })
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        self.guest.log()
    }
}

/// What both ends write to, outside of their fresh `/run`.
const DEVICES: &str = "mkdir -p /run/pppd /run/lock\n\
     mount -t tmpfs lab /etc/ppp\n\
     touch /etc/ppp/options /etc/ppp/chap-secrets /etc/ppp/pap-secrets\n";

/// Whether this kernel carries PPP over Ethernet; its module is loaded where there is one.
fn ensure_kernel() -> Result<()> {
    let corner = Netns::new("modules")?;
    for module in ["ppp_generic", "pppoe"] {
        let mut command = quiet("modprobe");
        command.args(["-q", module]);
        // A kernel that has it built in needs no module, and no modprobe.
        let _ = corner.output(command, "", std::time::Duration::from_secs(20));
    }
    // Listed once a kernel knows the sockets of a session.
    let is_there = fs::read_to_string("/proc/net/protocols").is_ok_and(|t| t.contains("PPPOE"));
    if is_there {
        return Ok(());
    }
    Err(Missing {
        program: "pppoe".to_owned(),
        why: "this kernel does not carry PPP over Ethernet".to_owned(),
    }
    .into())
}

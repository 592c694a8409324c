//! Router advertisements by radvd: a provider's, at its end of a line, or the router's own in the LAN.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context, Result};
use ipnet::Ipv6Net;

use super::{Guest, find};
use crate::{addresses::Isp, netns::Netns, topology::Lab};

/// What a provider advertises on a line, as `fe80::1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// For how many seconds it wants to be a default router; 0: it does not.
    pub router_lifetime: u32,
    /// Prefixes to make an address from, with their valid and preferred lifetimes in seconds.
    pub prefixes: Vec<(Ipv6Net, u32, u32)>,
    /// It says nothing unless it is asked. Otherwise it says all of it several times per second.
    pub only_when_asked: bool,
}

impl Advert {
    /// A default router with one prefix, both for long.
    pub fn of(prefix: Ipv6Net) -> Self {
        Self {
            router_lifetime: 1800,
            prefixes: vec![(prefix, 7200, 3600)],
            only_when_asked: false,
        }
    }

    /// The shortest times between two advertisements that radvd takes; with this option of mobile
    /// networks it takes shorter ones than the standard's three seconds.
    fn file(&self) -> Result<String> {
        let mut text = format!(
            "interface cust {{\nAdvSendAdvert on;\nAdvIntervalOpt on;\n\
             MinRtrAdvInterval 0.2;\nMaxRtrAdvInterval 0.4;\nMinDelayBetweenRAs 0.05;\n\
             AdvDefaultLifetime {};\nAdvRASrcAddress {{ fe80::1; }};\n",
            self.router_lifetime
        );
        if self.only_when_asked {
            text.push_str("UnicastOnly on;\n");
        }
        for (prefix, valid, preferred) in &self.prefixes {
            writeln!(
                text,
                "prefix {prefix} {{ AdvOnLink on; AdvAutonomous on; AdvValidLifetime {valid}; \
                 AdvPreferredLifetime {preferred}; }};"
            )?;
        }
        text.push_str("};\n");
        Ok(text)
    }
}

/// A radvd. It ends when this is dropped, without a farewell.
#[derive(Debug)]
pub struct Radvd {
    guest: Guest,
    file: PathBuf,
    pid_file: PathBuf,
}

impl Radvd {
    /// Starts it.
    ///
    /// # Errors
    /// [`Missing`](super::Missing), or that it does not get ready.
    pub fn start(lab: &Lab, isp: Isp, advert: &Advert) -> Result<Self> {
        Self::launch(lab, lab.isp(isp), &format!("radvd-{isp}"), &advert.file()?)
    }

    /// Starts it on the router: a default router for half an hour, which advertises these networks for
    /// an hour, and half an hour preferred, as often as the standard allows.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn in_lan(lab: &Lab, networks: &[Ipv6Net]) -> Result<Self> {
        let mut text = "interface lan0 {\nAdvSendAdvert on;\nMinRtrAdvInterval 3;\n\
                        MaxRtrAdvInterval 4;\nAdvDefaultLifetime 1800;\n"
            .to_owned();
        for network in networks {
            writeln!(
                text,
                "prefix {network} {{ AdvValidLifetime 3600; AdvPreferredLifetime 1800; }};"
            )?;
        }
        text.push_str("};\n");
        Self::launch(lab, lab.router(), "radvd-lan", &text)
    }

    fn launch(lab: &Lab, netns: &Netns, name: &str, text: &str) -> Result<Self> {
        let program = find("radvd")?;
        let place = |end: &str| lab.folder().join(format!("{name}.{end}"));
        let (file, pid_file) = (place("conf"), place("pid"));
        write(&file, text)?;
        let script = format!(
            "{} --nodaemon --logmethod=stderr --debug=3 --config={} --pidfile={}",
            program.display(),
            file.display(),
            pid_file.display()
        );
        let guest = Guest::start(netns, lab.folder(), name, &script)?;
        guest.wait_ready("radvd", |log| {
            log.contains("polling for") || log.contains("calling ppoll")
        })?;
        Ok(Self {
            guest,
            file,
            pid_file,
        })
    }

    /// Advertises something else from now on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn change(&self, advert: &Advert) -> Result<()> {
        write(&self.file, &advert.file()?)?;
        self.guest.signal("HUP", &self.pid_file)
    }

    /// Falls silent, as when its machine is switched off.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&self) -> Result<()> {
        self.guest.end()
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        self.guest.log()
    }
}

fn write(file: &PathBuf, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

//! A resolver in the router, and the name servers of the internet that it asks.

use std::{fmt::Write as _, fs, net::IpAddr, path::Path, time::Duration};

use anyhow::{Context, Result};
use uplinkd_model::Family;

use super::{Guest, find};
use crate::{
    addresses,
    netns::Netns,
    topology::{FAMILIES, Lab},
    traffic::dns::resolve,
};

/// A name that the name server knows in any case.
const READY: &str = "ready.invalid";

/// A dnsmasq. It ends when this is dropped.
#[derive(Debug)]
pub struct Dnsmasq {
    guest: Guest,
}

impl Dnsmasq {
    /// The name server of the internet, on its well-known addresses. It knows these names, and the
    /// names below them, with these addresses, for so long.
    ///
    /// # Errors
    /// [`Missing`](super::Missing), or that it does not get ready.
    pub fn authority(lab: &Lab, names: &[(&str, IpAddr)], ttl: Duration) -> Result<Self> {
        let mut file = format!(
            "no-resolv\nlocal-ttl={}\naddress=/{READY}/192.0.2.1\n",
            ttl.as_secs()
        );
        for (name, address) in names {
            writeln!(file, "address=/{name}/{address}")?;
        }
        let server = addresses::well_known(Family::V4)[0];
        Self::start(lab.internet(), lab.folder(), "authority", &file, server)
    }

    /// The resolver of the LAN, on the router's address there. It asks the internet's name server
    /// by the way that the router's own traffic takes, and does all that `lines` of its own file
    /// say, such as `nftset=…`.
    ///
    /// # Errors
    /// As [`Self::authority`].
    pub fn resolver(lab: &Lab, lines: &str) -> Result<Self> {
        let server = addresses::well_known(Family::V4)[0];
        let file = format!("no-resolv\nserver={server}\nmin-port=20000\n{lines}\n");
        let own = addresses::lan_router(Family::V4).addr();
        Self::start(lab.router(), lab.folder(), "resolver", &file, own)
    }

    /// Router advertisements in the LAN, of the networks that `lan0` has addresses in, and no names.
    ///
    /// # Errors
    /// As [`Self::authority`].
    pub fn advertiser(lab: &Lab) -> Result<Self> {
        let program = find("dnsmasq")?;
        let script = format!(
            "{} --no-daemon --conf-file=/dev/null --log-facility=- --log-dhcp --pid-file= --port=0 \
             --interface=lan0 --enable-ra --dhcp-range=::,constructor:lan0,ra-only,64,1h \
             --ra-param=lan0,4,1800 --dhcp-leasefile={}",
            program.display(),
            lab.folder().join("advertiser.leases").display()
        );
        let guest = Guest::start(lab.router(), lab.folder(), "advertiser", &script)?;
        guest.wait_ready("dnsmasq", |log| {
            log.contains("IPv6 router advertisement enabled")
        })?;
        Ok(Self { guest })
    }

    fn start(
        netns: &Netns,
        folder: &Path,
        name: &str,
        lines: &str,
        address: IpAddr,
    ) -> Result<Self> {
        let program = find("dnsmasq")?;
        let file = folder.join(format!("{name}.conf"));
        let text =
            format!("log-facility=-\nlog-queries\nno-hosts\npid-file=\ncache-size=1000\n{lines}");
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        // Otherwise it changes its user, which an ordinary user's namespace forbids.
        let script = format!(
            "{} --no-daemon --conf-file={}",
            program.display(),
            file.display()
        );
        let guest = Guest::start(netns, folder, name, &script)?;
        guest.wait_ready("dnsmasq", |_| {
            resolve(netns, address, READY, FAMILIES[0]).is_ok()
        })?;
        Ok(Self { guest })
    }

    /// What it said so far, each question among it.
    pub fn log(&self) -> String {
        self.guest.log()
    }
}

//! A provider's DHCP server: dnsmasq at the provider's end of a line.

use std::{fs, net::Ipv4Addr, path::Path};

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net};

use super::{Guest, find};
use crate::{addresses::Isp, plumbing::Plumber, topology::Lab};

/// What a DHCP server has to give on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The provider's address in the network that is handed out, with its length.
    pub provider: Ipv4Net,
    /// The one address that there is to have.
    pub address: Ipv4Addr,
    /// The gateway that is named, usually the provider's address; none names none.
    pub gateway: Option<Ipv4Addr>,
    /// After how many seconds clients shall ask again. Those of busybox do not look at it.
    pub renew_after: u32,
}

impl Pool {
    /// One quarter of a provider's line, from 0: its second host is the router, its first the
    /// gateway. All are in the provider's network, so that the internet finds the way back and the
    /// provider takes them for its own; the laboratory's own addresses are in the first.
    ///
    /// # Panics
    /// When there is no such quarter.
    pub fn quarter(isp: Isp, number: u8) -> Self {
        let host = |n| Ipv4Addr::new(100, 64, isp.number(), number * 64 + n);
        assert!(number < 4, "a network has four quarters");
        Self {
            provider: Ipv4Net::new_assert(host(1), 26),
            address: host(2),
            gateway: Some(host(1)),
            renew_after: 60,
        }
    }

    /// The address with the length of its network, as a client has it then.
    pub fn lease(&self) -> IpNet {
        Ipv4Net::new_assert(self.address, self.provider.prefix_len()).into()
    }

    fn file(&self, leases: &Path) -> String {
        // An option without a value is one that is not sent.
        let gateway = self.gateway.map_or_else(String::new, |g| format!(",{g}"));
        format!(
            "log-facility=-\nlog-dhcp\npid-file=\n\
             port=0\ninterface=cust\nbind-interfaces\nno-ping\ndhcp-authoritative\n\
             dhcp-leasefile={}\n\
             dhcp-range={address},{address},{},120\n\
             dhcp-option=option:router{gateway}\n\
             dhcp-option=option:T1,{}\ndhcp-option=option:T2,{}\n",
            leases.display(),
            self.provider.netmask(),
            self.renew_after,
            self.renew_after + 2,
            address = self.address,
        )
    }
}

/// A DHCP server. It ends when this is dropped.
#[derive(Debug)]
pub struct DhcpServer {
    guest: Guest,
    isp: Isp,
    pool: Pool,
    starts: u32,
}

impl DhcpServer {
    /// Gives the provider its address in the pool's network and starts its server there.
    ///
    /// # Errors
    /// [`Missing`](super::Missing), or that it does not get ready.
    pub fn start(lab: &Lab, isp: Isp, pool: &Pool) -> Result<Self> {
        Plumber::new(lab.isp(isp))?.add_addresses("cust", &[pool.provider.into()])?;
        Ok(Self {
            guest: serve(lab, isp, pool, 0)?,
            isp,
            pool: pool.clone(),
            starts: 1,
        })
    }

    /// Another network from now on: the provider's old address is gone, nothing is remembered of
    /// leases, and a client that asks for its old address is told no.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn renumber(&mut self, lab: &Lab, pool: &Pool) -> Result<()> {
        self.guest.end()?;
        if pool.provider != self.pool.provider {
            let mut provider = Plumber::new(lab.isp(self.isp))?;
            provider.remove_addresses("cust", &[self.pool.provider.into()])?;
            provider.add_addresses("cust", &[pool.provider.into()])?;
        }
        self.guest = serve(lab, self.isp, pool, self.starts)?;
        self.starts += 1;
        self.pool = pool.clone();
        Ok(())
    }

    /// What it said since it was started or renumbered.
    pub fn log(&self) -> String {
        self.guest.log()
    }
}

fn serve(lab: &Lab, isp: Isp, pool: &Pool, number: u32) -> Result<Guest> {
    let program = find("dnsmasq")?;
    let netns = lab.isp(isp);
    let name = format!("dhcp-{isp}-{number}");
    let file = lab.folder().join(format!("{name}.conf"));
    let leases = lab.folder().join(format!("{name}.leases"));
    fs::write(&file, pool.file(&leases))
        .with_context(|| format!("cannot write {}", file.display()))?;
    // Otherwise it changes its user, which an ordinary user's namespace forbids.
    let script = format!(
        "{} --no-daemon --conf-file={}",
        program.display(),
        file.display()
    );
    let guest = Guest::start(netns, lab.folder(), &name, &script)?;
    guest.wait_ready("dnsmasq", |log| log.contains("DHCP, sockets bound"))?;
    Ok(guest)
}

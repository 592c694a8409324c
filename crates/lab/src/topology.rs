//! The network of a laboratory: a LAN, a router, providers, an internet.
//!
//! [`Lab::build`] makes it and leaves the router as a machine is after boot: every line has its
//! address and its default route, as a DHCP client leaves them, and nothing is forwarded. Whatever
//! turns it into a multi-uplink router is what the laboratory is there to try.

use std::{
    env,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use tempfile::TempDir;
use uplinkd_model::Family;

use crate::{
    addresses::{self, Isp, LINK_LOCAL_GATEWAY, SERVERS_MAX},
    lan::{HOSTS_MAX, Lan},
    mounts::MountView,
    netns::Netns,
    plumbing::{ADVERTISED, DHCP, LabRoute, Plug, Plumber, STATIC, connect},
};

/// Both families, in the order in which things are set up.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// In every namespace: addresses can be used at once, nobody invents routes.
const EVERYWHERE: [(&str, &str); 6] = [
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.dad_transmits", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
    // IPv6 addresses survive a cable that is pulled and plugged in again, as IPv4 ones do.
    ("net.ipv6.conf.default.keep_addr_on_down", "1"),
    // Programs may ping without raw sockets, as on machines with systemd. A user namespace has no
    // more than this one group.
    ("net.ipv4.ping_group_range", "0 0"),
];

/// Where the laboratory itself forwards.
const FORWARDING: [(&str, &str); 4] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv6.conf.all.forwarding", "1"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
];

/// The router after boot. A new namespace copies the machine's IPv4 settings, so they are set here
/// also where they are usual.
const ROUTER: [(&str, &str); 4] = [
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv6.conf.all.forwarding", "0"),
    ("net.ipv4.conf.all.rp_filter", "2"),
    ("net.ipv4.conf.default.rp_filter", "2"),
];

/// Number of the router's first line; further ones follow.
///
/// They are given, not left to the kernel, because a veth whose peer has the same number in its own
/// namespace gets its loss of carrier reported up to a second late: the kernel takes it for a device
/// that stands on nothing else and does not hurry (`linkwatch_urgent_event`).
const LINE_INDEX: u32 = 101;

/// What to build.
#[derive(Clone, Debug)]
pub struct LabSpec {
    /// How many providers, from 1 to 15.
    pub uplinks: usize,
    /// How many addresses in the internet, beside the well-known ones.
    pub servers: usize,
    /// How IPv6 comes over the lines.
    pub ipv6: Ipv6,
    /// How many hosts there are in the LAN beside the first, from 0 to 9. With any, all of them
    /// are ports of a switch, each with an Ethernet address of its own.
    pub hosts: u8,
    /// Whether there is a second network behind the router, `guest0`, with a host in it.
    pub guests: bool,
    /// Whether the providers drop packets from sources that are not theirs (BCP 38), as real ones
    /// do. A router that lets a connection slip to another line without NAT is then noticed.
    pub source_validation: bool,
    /// How many lines, from the first on, come without addresses and routes: somebody else brings
    /// them, such as a DHCP client.
    pub bare: u8,
    /// How many lines, from the first on, get no IPv6 address but a link-local one: their providers
    /// only delegate a prefix, which they route to that.
    pub delegated_only: u8,
}

/// How IPv6 comes over the lines, as the router sees it after boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipv6 {
    /// An address, and the default route of a router advertisement: by `fe80::1`, on every line.
    #[default]
    Advertised,
    /// An address, and a default route by a global address, as an administrator sets it.
    Static,
    /// None. The providers would route it.
    Absent,
}

impl Default for LabSpec {
    fn default() -> Self {
        Self {
            uplinks: 2,
            servers: 50,
            ipv6: Ipv6::default(),
            hosts: 0,
            guests: false,
            source_validation: true,
            bare: 0,
            delegated_only: 0,
        }
    }
}

/// A built network. Everything in it vanishes with it.
#[derive(Debug)]
pub struct Lab {
    spec: LabSpec,
    client: Netns,
    lan: Lan,
    router: Netns,
    isps: Vec<Netns>,
    internet: Netns,
    mounts: Arc<MountView>,
    folder: TempDir,
    /// The number of the next uplink interface that is made.
    next_index: AtomicU32,
}

impl Lab {
    /// Builds a network.
    ///
    /// # Errors
    /// When the wish is out of range, or this machine does not let us; the message says what.
    pub fn build(spec: LabSpec) -> Result<Self> {
        ensure!(
            Isp::new(spec.uplinks).is_some(),
            "a laboratory has 1 to {} uplinks, not {}",
            Isp::MAX,
            spec.uplinks
        );
        ensure!(
            spec.servers <= SERVERS_MAX,
            "a laboratory has at most {SERVERS_MAX} servers, not {}",
            spec.servers
        );
        ensure!(
            spec.hosts <= HOSTS_MAX,
            "a laboratory has at most {HOSTS_MAX} further hosts, not {}",
            spec.hosts
        );
        let mounts = Arc::new(MountView::new()?);
        let netns = |name: &str| -> Result<Netns> {
            let netns = Netns::new(name)?.with_mounts(Arc::clone(&mounts));
            netns.set_sysctls(&EVERYWHERE)?;
            Plumber::new(&netns)?.set_up("lo", true)?;
            Ok(netns)
        };
        let isps = (1..=spec.uplinks)
            .map(|n| netns(&format!("isp{n}")))
            .collect::<Result<_>>()?;
        let lab = Self {
            client: netns("client")?,
            lan: Lan::make(&spec, netns)?,
            router: netns("router")?,
            isps,
            internet: netns("internet")?,
            folder: folder()?,
            next_index: AtomicU32::new(LINE_INDEX),
            mounts,
            spec,
        };
        lab.router.set_sysctls(&ROUTER)?;
        lab.lan.build(&lab.router, &lab.client)?;
        lab.build_internet()?;
        for isp in lab.isps() {
            lab.build_isp(isp)
                .with_context(|| format!("cannot build {isp}"))?;
        }
        Ok(lab)
    }

    fn build_internet(&self) -> Result<()> {
        self.internet.set_sysctls(&FORWARDING)?;
        let addresses: Vec<_> = FAMILIES
            .into_iter()
            .flat_map(|f| self.servers(f))
            .map(IpNet::from)
            .collect();
        Plumber::new(&self.internet)?.add_addresses("lo", &addresses)
    }

    fn build_isp(&self, isp: Isp) -> Result<()> {
        let (netns, name) = (self.isp(isp), isp.to_string());
        netns.set_sysctls(&FORWARDING)?;
        connect(
            Plug {
                netns: &self.internet,
                name: &name,
                index: 100 + u32::from(isp.number()),
            },
            Plug {
                netns,
                name: "core",
                index: 0,
            },
        )?;
        let mut inside = Plumber::new(netns)?;
        inside.add_addresses("core", &FAMILIES.map(|f| isp.core_near(f)))?;
        let up = FAMILIES.map(|f| LabRoute {
            destination: f.default_route(),
            gateway: isp.core_far(f).addr(),
            metric: None,
            protocol: STATIC,
        });
        inside.add_routes("core", &up)?;
        let mut internet = Plumber::new(&self.internet)?;
        internet.add_addresses(&name, &FAMILIES.map(|f| isp.core_far(f)))?;
        let mut back: Vec<_> = FAMILIES
            .map(|f| LabRoute {
                destination: isp.network(f),
                gateway: isp.core_near(f).addr(),
                metric: None,
                protocol: STATIC,
            })
            .into();
        back.push(LabRoute {
            destination: isp.delegated().into(),
            gateway: isp.core_near(Family::V6).addr(),
            metric: None,
            protocol: STATIC,
        });
        internet.add_routes(&name, &back)?;
        if self.spec.source_validation {
            netns.nft(&source_validation(isp))?;
        }
        self.plug_in(isp)
    }

    /// Connects the router to a provider, with all that a DHCP client does on a new interface.
    pub(crate) fn plug_in(&self, isp: Isp) -> Result<()> {
        let name = isp.interface();
        let index = self.next_index.fetch_add(1, Ordering::Relaxed);
        connect(
            Plug {
                netns: &self.router,
                name: &name,
                index,
            },
            Plug {
                netns: self.isp(isp),
                name: "cust",
                index: 0,
            },
        )?;
        Plumber::new(self.isp(isp))?.add_addresses("cust", &FAMILIES.map(|f| isp.gateway(f)))?;
        self.provide(isp)?;
        if isp.number() <= self.spec.bare {
            return Ok(());
        }
        self.lease(isp, &FAMILIES)
    }

    /// What a provider has on a line and loses whenever its end goes down: the address that its
    /// advertisements come from, and the route to the prefix that it delegates.
    pub(crate) fn provide(&self, isp: Isp) -> Result<()> {
        let route = LabRoute {
            destination: isp.delegated().into(),
            gateway: self.line_address(isp, Family::V6).addr(),
            metric: None,
            protocol: STATIC,
        };
        let mut provider = Plumber::new(self.isp(isp))?;
        // A line that flapped may have it already.
        provider.remove_addresses("cust", &[addresses::link_local_gateway()])?;
        provider.add_addresses("cust", &[addresses::link_local_gateway()])?;
        provider.add_routes("cust", &[route])
    }

    /// The router gets its addresses and its default routes on a line, as far as they exist here.
    pub(crate) fn lease(&self, isp: Isp, families: &[Family]) -> Result<()> {
        let (addresses, routes) = self.leased(isp, families);
        let mut router = Plumber::new(&self.router)?;
        let name = isp.interface();
        router.add_addresses(&name, &addresses)?;
        router.add_routes(&name, &routes)
    }

    /// The router loses them again.
    pub(crate) fn revoke(&self, isp: Isp, families: &[Family]) -> Result<()> {
        let (addresses, routes) = self.leased(isp, families);
        let mut router = Plumber::new(&self.router)?;
        let name = isp.interface();
        router.remove_routes(&name, &routes)?;
        router.remove_addresses(&name, &addresses)
    }

    /// Puts the IPv6 default route of a line again, as the provider's next advertisement does.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn advertise_again(&self, isp: Isp) -> Result<()> {
        let (_, routes) = self.leased(isp, &[Family::V6]);
        Plumber::new(&self.router)?.add_routes(&isp.interface(), &routes)
    }

    /// What a DHCP client and the kernel's own IPv6 leave on a line: later lines are liked less.
    fn leased(&self, isp: Isp, families: &[Family]) -> (Vec<IpNet>, Vec<LabRoute>) {
        let gateway = |family| match (family, self.spec.ipv6) {
            (Family::V4, _) => Some((isp.gateway(family).addr(), DHCP)),
            (Family::V6, Ipv6::Advertised) => Some((LINK_LOCAL_GATEWAY, ADVERTISED)),
            (Family::V6, Ipv6::Static) => Some((isp.gateway(family).addr(), STATIC)),
            (Family::V6, Ipv6::Absent) => None,
        };
        let ways = families.iter().filter_map(|f| Some((*f, gateway(*f)?)));
        ways.map(|(family, (gateway, protocol))| {
            let route = LabRoute {
                destination: family.default_route(),
                gateway,
                metric: Some(100 * u32::from(isp.number())),
                protocol,
            };
            (self.line_address(isp, family), route)
        })
        .unzip()
    }

    /// The router's address on a line.
    fn line_address(&self, isp: Isp, family: Family) -> IpNet {
        match family {
            Family::V6 if isp.number() <= self.spec.delegated_only => {
                addresses::link_local_router()
            }
            Family::V4 | Family::V6 => isp.router(family),
        }
    }

    /// What was asked for.
    pub fn spec(&self) -> &LabSpec {
        &self.spec
    }

    /// The host in the LAN.
    pub fn client(&self) -> &Netns {
        &self.client
    }

    /// A host in the LAN: number 0 is [`Self::client`].
    ///
    /// # Panics
    /// When this laboratory has no such host.
    pub fn host(&self, number: u8) -> &Netns {
        match number.checked_sub(1) {
            None => &self.client,
            Some(further) => &self.lan.hosts[usize::from(further)],
        }
    }

    /// The host in the guests' network, where there is one.
    pub fn guest(&self) -> Option<&Netns> {
        self.lan.guest.as_ref()
    }

    /// The router.
    pub fn router(&self) -> &Netns {
        &self.router
    }

    /// Everything beyond the providers.
    pub fn internet(&self) -> &Netns {
        &self.internet
    }

    /// A provider's namespace: `cust` leads to the router, `core` to the internet.
    ///
    /// # Panics
    /// When this laboratory has no such provider.
    pub fn isp(&self, isp: Isp) -> &Netns {
        &self.isps[isp.index()]
    }

    /// All providers.
    pub fn isps(&self) -> impl Iterator<Item = Isp> + use<> {
        (1..=self.spec.uplinks).filter_map(Isp::new)
    }

    /// The addresses in the internet, the well-known ones last.
    pub fn servers(&self, family: Family) -> Vec<IpAddr> {
        (0..self.spec.servers)
            .map(|n| addresses::server(family, n))
            .chain(addresses::well_known(family))
            .collect()
    }

    /// Makes every address in the numbered servers' networks exist, and every TCP and UDP port of
    /// every server lead to [`PORT`](crate::traffic::PORT), except 53.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn answer_everywhere(&self) -> Result<()> {
        let mut internet = Plumber::new(&self.internet)?;
        for family in FAMILIES {
            internet.own_network(addresses::servers_network(family))?;
        }
        // Servers answer from addresses that are only routed to them.
        self.internet
            .set_sysctls(&[("net.ipv6.ip_nonlocal_bind", "1")])?;
        let port = crate::traffic::PORT;
        self.internet.nft(&format!(
            "table inet every_port {{ chain pre {{ type nat hook prerouting priority dstnat; \
             iifname \"isp*\" fib daddr type local meta l4proto {{ tcp, udp }} \
             th dport != {{ 53, {port} }} redirect to :{port}; }}; }}\n"
        ))
    }

    /// The files as programs in here see them.
    pub fn mounts(&self) -> &MountView {
        &self.mounts
    }

    /// A folder that goes with the laboratory.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Who has no address yet may ask for one.
fn source_validation(isp: Isp) -> String {
    let (v4, v6) = (isp.network(Family::V4), isp.network(Family::V6));
    let delegated = isp.delegated();
    format!(
        "table inet source_validation {{\n\
         chain from_customer {{\n\
         type filter hook prerouting priority raw; policy accept;\n\
         iifname \"cust\" ip saddr != {{ 0.0.0.0, {v4} }} counter drop\n\
         iifname \"cust\" ip6 saddr != {{ fe80::/10, ::, {v6}, {delegated} }} counter drop\n\
         }}\n}}\n"
    )
}

/// A folder that programs with a private `/run` see too.
fn folder() -> Result<TempDir> {
    let mut place = env::temp_dir();
    if place.starts_with("/run") || place.starts_with("/var/run") {
        place = PathBuf::from("/tmp");
    }
    tempfile::Builder::new()
        .prefix("uplink-lab-")
        .tempdir_in(&place)
        .with_context(|| format!("cannot make a folder in {}", place.display()))
}

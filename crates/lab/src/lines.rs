//! Lines of other kinds than a plain cable, under the same names: what was `wan2` at the router and
//! `cust` at the provider stays so, and everything else of a laboratory goes on as usual.
//!
//! Not every kernel has every kind; where this one does not, [`Missing`] says so.

use anyhow::{Context, Result};

use crate::{
    addresses::Isp,
    netns::Netns,
    plumbing::{Plug, Plumber, connect},
    programs::{Missing, ip},
    topology::{FAMILIES, Lab},
};

/// The router's cables below a line of another kind.
pub const CABLES: [&str; 2] = ["port1", "port2"];
/// The provider's ends of them.
const FAR_CABLES: [&str; 2] = ["far1", "far2"];

/// What a line is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A VLAN on a cable, tagged at both ends.
    Vlan,
    /// Two cables of which one carries, until it fails.
    Bond,
    /// The router's end is a bridge with the cable in it.
    Bridge,
    /// The router's end is a further address on the cable.
    Macvlan,
}

impl Lab {
    /// Replaces the line to a provider. The router has its address and its default route on it, as
    /// before.
    ///
    /// # Errors
    /// [`Missing`] when this kernel has no such kind.
    pub fn replace_line(&self, isp: Isp, line: Line) -> Result<()> {
        self.unplug(isp)?;
        self.cable(isp, 0)?;
        let (near, far) = (isp.interface(), "cust");
        let (router, provider) = (self.router(), self.isp(isp));
        let [port, second] = CABLES;
        let [far_port, far_second] = FAR_CABLES;
        match line {
            Line::Vlan => {
                add_link(router, &format!("link {port} name {near}"), "vlan", "id 7")?;
                add_link(
                    provider,
                    &format!("link {far_port} name {far}"),
                    "vlan",
                    "id 7",
                )?;
            }
            Line::Bond => {
                self.cable(isp, 1)?;
                add_link(
                    router,
                    &format!("name {near}"),
                    "bond",
                    "mode active-backup miimon 50",
                )?;
                add_link(
                    provider,
                    &format!("name {far}"),
                    "bridge",
                    "forward_delay 0",
                )?;
                for cable in [port, second] {
                    // A bond takes only what is down.
                    ip(router, &format!("link set {cable} down"))?;
                    ip(router, &format!("link set {cable} master {near}"))?;
                }
                for cable in [far_port, far_second] {
                    ip(provider, &format!("link set {cable} master {far}"))?;
                }
            }
            Line::Bridge => {
                add_link(router, &format!("name {near}"), "bridge", "forward_delay 0")?;
                ip(router, &format!("link set {port} master {near}"))?;
                ip(provider, &format!("link set {far_port} down"))?;
                ip(provider, &format!("link set {far_port} name {far}"))?;
            }
            Line::Macvlan => {
                let on = format!("link {port} name {near}");
                add_link(router, &on, "macvlan", "mode bridge")?;
                ip(provider, &format!("link set {far_port} down"))?;
                ip(provider, &format!("link set {far_port} name {far}"))?;
            }
        }
        let (mut inside, mut outside) = (Plumber::new(router)?, Plumber::new(provider)?);
        outside.set_up(far, true)?;
        inside.set_up(&near, true)?;
        outside.wait_ready(far)?;
        inside.wait_ready(&near)?;
        self.settle_line(isp)
    }

    /// Takes the line to a provider away at both ends and leaves a bare cable, `port1` at the router,
    /// for programs that make a line of it, such as PPPoE.
    ///
    /// # Errors
    /// When there is no such line any more.
    pub fn bare_cable(&self, isp: Isp) -> Result<&'static str> {
        self.unplug(isp)?;
        self.cable(isp, 0)?;
        Ok(FAR_CABLES[0])
    }

    fn unplug(&self, isp: Isp) -> Result<()> {
        Plumber::new(self.router())?.remove_link(&isp.interface())
    }

    fn cable(&self, isp: Isp, number: usize) -> Result<()> {
        connect(
            Plug {
                netns: self.router(),
                name: CABLES[number],
                index: 0,
            },
            Plug {
                netns: self.isp(isp),
                name: FAR_CABLES[number],
                index: 0,
            },
        )
    }

    /// Addresses and routes at both ends, as on a line that was just plugged in.
    fn settle_line(&self, isp: Isp) -> Result<()> {
        let gateways = FAMILIES.map(|f| isp.gateway(f));
        Plumber::new(self.isp(isp))?.add_addresses("cust", &gateways)?;
        self.provide(isp)?;
        self.lease(isp, &FAMILIES)
    }
}

/// Makes an interface of a kind, or tells that this kernel has none.
///
/// # Errors
/// [`Missing`], or `ip`'s own words.
pub fn add_link(netns: &Netns, what: &str, kind: &str, more: &str) -> Result<()> {
    let made = ip(netns, &format!("link add {what} type {kind} {more}"));
    made.map_err(|e| {
        let words = format!("{e:#}");
        // What `ip` says when the kernel has no driver of that name; old kernels, and new ones.
        let is_unknown = words.contains("Unknown device type") || words.contains("not supported");
        if is_unknown {
            Missing {
                program: kind.to_owned(),
                why: "this kernel has no such interfaces".to_owned(),
            }
            .into()
        } else {
            e
        }
    })
    .with_context(|| format!("cannot make `{what}` in {}", netns.name()))
}

//! Lines to which the provider only delegates a prefix: the interface has a link-local address and no
//! other, and the router goes by its address in the prefix. The providers drop what comes from any
//! other source, so that one wrong choice of the kernel's is a lost connection.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use ipnet::Ipv6Net;
use uplinkd_lab::{
    Fault, Isp, LabSpec,
    delegation::address,
    plumbing::Plumber,
    traffic::{PORT, Transport},
};
use uplinkd_model::{Family, Reserve, Slot};
use uplinkd_netns_tests::{
    Answer, Ask, EVENTUALLY, Rig,
    ask::{ask_all, open_all},
    config, find_line, isp, servers_of,
};

use crate::prefixes::{BOTH, LOCAL, PREFIX, all_seen, all_translated, ask, host};

/// An address of the router that no provider knows. Left to itself the kernel prefers it on a line
/// without one, since it is the nearest to the servers' addresses.
const TEMPTATION: &str = "2001:db8:fffe::1/128";

/// The first line has no address of its own. The other's prefix is there from the beginning, with the
/// router's address in it, so that there are wrong sources to choose.
fn rig(more: &str) -> Result<Rig> {
    let spec = LabSpec {
        delegated_only: 1,
        ..LabSpec::default()
    };
    let rig = Rig::without_daemon(spec, &(config(&[3, 2]) + more))?;
    rig.lab().delegate(isp(2), isp(2).delegated())?;
    Plumber::new(rig.lab().router())?.add_addresses("lo", &[TEMPTATION.parse()?])?;
    Ok(rig)
}

/// The router's address in a prefix.
fn router(prefix: Ipv6Net) -> IpAddr {
    address(prefix, 1).addr()
}

/// Asks from the router itself, which leaves the source to the kernel or names one.
fn ask_own(rig: &Rig, source: Option<IpAddr>) -> Result<Vec<Answer>> {
    let servers = servers_of(rig.lab(), Family::V6);
    let asks = BOTH.into_iter().flat_map(|transport| {
        let servers = servers.iter().take(20);
        servers.map(move |to| {
            let ask = Ask::new(transport, *to);
            match source {
                Some(source) => ask.from(source),
                None => ask,
            }
        })
    });
    let asks: Vec<_> = asks.collect();
    Ok(ask_all(&mut open_all(rig.lab().router(), asks)?))
}

/// All were answered; those by the line without an address under the router's one in its prefix, and
/// there are some of these where it serves.
fn all_under(answers: &[Answer], own: IpAddr, serves: bool, what: &str) -> Result<()> {
    let by_first = answers.iter().filter(|a| a.isp() == Some(isp(1)));
    let is_own = |a: &&Answer| **a == Answer::Seen(own);
    let (all, right) = (by_first.clone().count(), by_first.filter(is_own).count());
    ensure!(
        answers.iter().all(|a| a.is_seen()) && all == right && (all > 0) == serves,
        "{what}: not {own} alone, or not answered: {answers:?}"
    );
    Ok(())
}

fn wait_line(rig: &Rig, line: Isp, serves: bool) -> Result<()> {
    let what = format!("{line} serves IPv6: {serves}");
    rig.wait_for(&what, EVENTUALLY, |s| {
        let line = find_line(s, line, Family::V6);
        s.settled && line.is_some_and(|l| l.in_service == serves)
    })?;
    Ok(())
}

pub(crate) fn a_line_with_a_prefix_and_no_address_is_a_line() -> Result<()> {
    let (own, local): (_, IpAddr) = (router(isp(1).delegated()), LOCAL.parse()?);
    for nat in ["", PREFIX] {
        let mut rig = rig(nat)?;
        rig.lab().delegate(isp(1), isp(1).delegated())?;
        rig.start_daemon()?;
        rig.wait_settled()?;
        let status = rig.status()?;
        let line = find_line(&status, isp(1), Family::V6).cloned();
        let told = line.map(|l| l.addresses).unwrap_or_default();
        ensure!(
            told.len() == 1 && told[0].starts_with(&own.to_string()),
            "{told:?}"
        );
        let (first, second) = (host(isp(1)), host(isp(2)));
        for fault in [Fault::Upstream, Fault::Carrier] {
            for from in [first, second] {
                all_seen(&ask(&rig, from, PORT)?, from, "own prefix")?;
            }
            all_under(&ask_own(&rig, None)?, own, true, "the router")?;
            all_seen(&ask_own(&rig, Some(own))?, own, "from its address there")?;
            let shared = [ask(&rig, local, PORT)?, ask(&rig, local, PORT)?].concat();
            if nat.is_empty() {
                all_under(&shared, own, true, "unique local")?;
            } else {
                let by_first = shared.iter().copied();
                let by_first = by_first.filter(|a| a.isp() == Some(isp(1)));
                let by_first: Vec<_> = by_first.collect();
                all_translated(&by_first, local, isp(1), "unique local")?;
            }
            let broken = fault.apply(rig.lab(), isp(1))?;
            rig.wait_out_of(isp(1), Family::V6)?;
            let moved = ask(&rig, first, PORT)?;
            let is_by_second = |a: &Answer| a.isp() == Some(isp(2));
            ensure!(moved.iter().all(is_by_second), "{fault:?}: {moved:?}");
            all_under(&ask_own(&rig, None)?, own, false, "the router, meanwhile")?;
            broken.heal()?;
            rig.wait_settled()?;
        }
    }
    Ok(())
}

pub(crate) fn a_prefix_of_its_own_makes_the_line_and_no_other() -> Result<()> {
    let mut rig = rig("")?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    let serves = |rig: &Rig| -> Result<bool> {
        let status = rig.status()?;
        Ok(find_line(&status, isp(1), Family::V6).is_some_and(|l| l.in_service))
    };
    ensure!(!serves(&rig)?, "it serves by the other's prefix");
    let second = host(isp(2));
    all_seen(&ask(&rig, second, PORT)?, second, "the other alone")?;
    all_under(&ask_own(&rig, None)?, second, false, "the router")?;
    rig.lab().delegate(isp(1), isp(1).delegated())?;
    wait_line(&rig, isp(1), true)?;
    let (first, own) = (host(isp(1)), router(isp(1).delegated()));
    all_seen(&ask(&rig, first, PORT)?, first, "with its prefix")?;
    all_under(&ask_own(&rig, None)?, own, true, "with its prefix")?;
    rig.lab().undelegate(isp(1), isp(1).delegated())?;
    wait_line(&rig, isp(1), false)?;
    all_seen(&ask(&rig, second, PORT)?, second, "without it again")?;
    all_under(&ask_own(&rig, None)?, own, false, "without it again")
}

pub(crate) fn the_router_follows_to_another_prefix() -> Result<()> {
    let (old, new): (Ipv6Net, Ipv6Net) = (
        "2001:db8:100::/60".parse()?,
        "2001:db8:100:10::/60".parse()?,
    );
    let mut rig = rig("")?;
    rig.lab().delegate(isp(1), old)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    all_under(&ask_own(&rig, None)?, router(old), true, "before")?;
    rig.lab().delegate(isp(1), new)?;
    rig.lab().undelegate(isp(1), old)?;
    rig.wait_for("the new prefix is known", EVENTUALLY, |s| {
        let line = find_line(s, isp(1), Family::V6);
        let is_new = |l: &uplinkd_api::UplinkStatus| l.prefix == Some(new.to_string());
        s.settled && line.is_some_and(|l| is_new(l) && l.in_service)
    })?;
    all_under(&ask_own(&rig, None)?, router(new), true, "after")?;
    let local: IpAddr = LOCAL.parse()?;
    let shared = [ask(&rig, local, PORT)?, ask(&rig, local, PORT)?].concat();
    all_under(&shared, router(new), true, "unique local")
}

pub(crate) fn probes_find_back_where_nothing_is_translated() -> Result<()> {
    let mut rig = rig("[uplink.isp1.ipv6]\nnat = \"none\"\n")?;
    rig.lab().delegate(isp(1), isp(1).delegated())?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    let (first, own) = (host(isp(1)), router(isp(1).delegated()));
    all_seen(&ask(&rig, first, PORT)?, first, "own prefix")?;
    // Led to the line as probes are, and the source left to the kernel.
    let mark = Reserve::default().mark_in(Slot(1)).value;
    let servers = servers_of(rig.lab(), Family::V6);
    let asks = servers.iter().take(5);
    let asks = asks.map(|to| Ask::new(Transport::Udp, *to).marked(mark));
    let bound = ask_all(&mut open_all(rig.lab().router(), asks.collect::<Vec<_>>())?);
    all_seen(&bound, own, "led to the line")
}

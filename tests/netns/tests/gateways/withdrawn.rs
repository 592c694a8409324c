//! A provider's router that no longer wants to be one, or dies: IPv6 of the line leaves service.

use anyhow::{Context, Result};
use uplinkd_lab::programs::{Advert, Networkd, Radvd};
use uplinkd_model::Family;
use uplinkd_netns_tests::{Rig, isp};

use crate::{
    advertised::{NETWORKD, ensure_v4, host, networks},
    common::{Way, bare, ensure_carries, ensure_over, wait_out},
};

/// IPv6 of the first line leaves service, and IPv4 does not.
fn ensure_gone(rig: &Rig) -> Result<()> {
    wait_out(rig, isp(1), Family::V6)?;
    ensure_over(rig, Family::V6, &[isp(2)])?;
    ensure_v4(rig)
}

fn withdrawn(rig: &Rig) -> Result<()> {
    let [network, _] = networks()?;
    let here = Advert::of(network);
    let advertiser = Radvd::start(rig.lab(), isp(1), &here)?;
    let way = Way::advertised(network);
    ensure_carries(rig, way).with_context(|| advertiser.log())?;
    ensure_v4(rig)?;
    // It still advertises the prefix, and its probes would be answered.
    let gone = Advert {
        router_lifetime: 0,
        ..here.clone()
    };
    advertiser.change(&gone)?;
    ensure_gone(rig)?;
    advertiser.change(&here)?;
    ensure_carries(rig, way)
}

pub(crate) fn from_the_kernel() -> Result<()> {
    let mut rig = host()?;
    rig.start_daemon()?;
    withdrawn(&rig)
}

pub(crate) fn from_networkd() -> Result<()> {
    let mut rig = bare()?;
    let _networkd = Networkd::start(rig.lab(), &NETWORKD)?;
    rig.start_daemon()?;
    withdrawn(&rig)
}

/// The provider's router dies without a word: after its lifetime nobody may use it.
pub(crate) fn the_router_lifetime_runs_out() -> Result<()> {
    let mut rig = host()?;
    let [network, _] = networks()?;
    rig.start_daemon()?;
    let advert = Advert {
        router_lifetime: 3,
        ..Advert::of(network)
    };
    let advertiser = Radvd::start(rig.lab(), isp(1), &advert)?;
    let way = Way::advertised(network);
    ensure_carries(&rig, way)?;
    advertiser.kill()?;
    ensure_gone(&rig)?;
    let _again = Radvd::start(rig.lab(), isp(1), &advert)?;
    ensure_carries(&rig, way)
}

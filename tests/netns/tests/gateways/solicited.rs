//! Advertisements that come only to those who ask, as on many access lines.

use anyhow::{Context, Result};
use uplinkd_lab::programs::{Advert, Radvd};
use uplinkd_netns_tests::isp;

use crate::{
    advertised::{host, networks},
    common::{Way, ensure_carries},
};

/// The machine forwards before we come, so that its kernel has asked for nothing when it saw the
/// line, and does not ask when it is told to take advertisements all the same.
pub(crate) fn a_router_asks_for_them() -> Result<()> {
    let mut rig = host()?;
    let [network, _] = networks()?;
    rig.lab()
        .router()
        .set_sysctls(&[("net.ipv6.conf.all.forwarding", "1")])?;
    let advert = Advert {
        only_when_asked: true,
        ..Advert::of(network)
    };
    let advertiser = Radvd::start(rig.lab(), isp(1), &advert)?;
    rig.start_daemon()?;
    ensure_carries(&rig, Way::advertised(network)).with_context(|| advertiser.log())
}

//! A line that gets another address without ever being without one.

use anyhow::Result;
use uplinkd_lab::programs::{DhcpServer, Networkd, Pool};
use uplinkd_netns_tests::isp;

use crate::{
    clients::{NETWORKD, way},
    common::{LEASED, ip, ip_at, wait_way, waiting},
    renumber::{Traffic, judge},
};

/// The new address and route are there before the old ones go.
pub(crate) fn by_hand() -> Result<()> {
    let rig = waiting()?;
    let (before, after) = (Pool::quarter(isp(1), 1), Pool::quarter(isp(1), 2));
    let route = |verb: &str, pool: &Pool| {
        let gateway = pool.provider.addr();
        format!("route {verb} default via {gateway} dev wan1")
    };
    for pool in [&before, &after] {
        ip_at(
            &rig,
            isp(1),
            &format!("address add {} dev cust", pool.provider),
        )?;
    }
    ip(&rig, &format!("address add {} dev wan1", before.lease()))?;
    ip(&rig, &route("add", &before))?;
    wait_way(&rig, isp(1), way(&before), LEASED)?;
    let traffic = Traffic::start(&rig)?;
    ip(&rig, &format!("address add {} dev wan1", after.lease()))?;
    ip(&rig, &route("change", &after))?;
    ip(&rig, &format!("address del {} dev wan1", before.lease()))?;
    judge(&rig, traffic, &before, &after)
}

/// As a client does it that is told no: there is a gap of a few milliseconds, which the daemon sees
/// or does not see.
pub(crate) fn by_networkd() -> Result<()> {
    let rig = waiting()?;
    let (mut before, after) = (Pool::quarter(isp(1), 1), Pool::quarter(isp(1), 2));
    before.renew_after = 3;
    let mut server = DhcpServer::start(rig.lab(), isp(1), &before)?;
    let _client = Networkd::start(rig.lab(), &NETWORKD)?;
    wait_way(&rig, isp(1), way(&before), LEASED)?;
    let traffic = Traffic::start(&rig)?;
    server.renumber(rig.lab(), &after)?;
    judge(&rig, traffic, &before, &after)
}

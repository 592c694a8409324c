//! Where a default route may be in `main`: beside others, in a multipath route, in a group of nexthops.

use anyhow::Result;
use uplinkd_lab::programs::{DhcpServer, Pool, Udhcpc};
use uplinkd_netns_tests::{Rig, isp};

use crate::{
    clients::way,
    common::{LEASED, Way, ensure_carries, ip, wait_way, waiting},
};

/// The address and the gateway that the laboratory has for the first line.
pub(crate) fn usual() -> Way {
    Way::new([100, 64, 1, 2], [100, 64, 1, 1])
}

pub(crate) fn with_address() -> Result<Rig> {
    let rig = waiting()?;
    ip(&rig, "address add 100.64.1.2/24 dev wan1")?;
    Ok(rig)
}

/// Two programs look after one line: the route with the lower metric counts, as long as it is there.
pub(crate) fn in_main_with_two_metrics() -> Result<()> {
    let rig = waiting()?;
    let (first, second) = (Pool::quarter(isp(1), 1), Pool::quarter(isp(1), 2));
    let _server = DhcpServer::start(rig.lab(), isp(1), &first)?;
    let _client = Udhcpc::start(rig.lab(), "wan1", 100)?;
    wait_way(&rig, isp(1), way(&first), LEASED)?;
    crate::common::ip_at(
        &rig,
        isp(1),
        &format!("address add {} dev cust", second.provider),
    )?;
    ip(&rig, &format!("address add {} dev wan1", second.lease()))?;
    let gateway = second.provider.addr();
    ip(
        &rig,
        &format!("route add default via {gateway} dev wan1 metric 50"),
    )?;
    ensure_carries(&rig, way(&second))?;
    ip(
        &rig,
        &format!("route del default via {gateway} dev wan1 metric 50"),
    )?;
    ensure_carries(&rig, way(&first))
}

pub(crate) fn in_a_multipath_route() -> Result<()> {
    let rig = with_address()?;
    ip(&rig, "route del default dev wan2")?;
    ip(
        &rig,
        "route add default nexthop via 100.64.1.1 dev wan1 nexthop via 100.64.2.1 dev wan2",
    )?;
    ensure_carries(&rig, usual())
}

pub(crate) fn in_a_group_of_nexthops() -> Result<()> {
    let rig = with_address()?;
    for line in [
        "nexthop add id 1 via 100.64.1.1 dev wan1",
        "nexthop add id 2 via 100.64.2.1 dev wan2",
        "nexthop add id 3 group 1/2",
        "route add default nhid 3",
    ] {
        ip(&rig, line)?;
    }
    ensure_carries(&rig, usual())
}

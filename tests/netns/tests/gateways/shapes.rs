//! Networks on a line that are not a subnet with a gateway in it.

use anyhow::Result;
use ipnet::IpNet;
use uplinkd_lab::programs::Tunnel;
use uplinkd_netns_tests::{Rig, isp};

use crate::common::{Way, bare, ensure_carries, file, ip, ip_at, waiting};

/// Two addresses, one for each end (RFC 3021).
pub(crate) fn a_network_of_two() -> Result<()> {
    let rig = waiting()?;
    ip_at(&rig, isp(1), "address add 100.64.1.5/31 dev cust")?;
    ip(&rig, "address add 100.64.1.4/31 dev wan1")?;
    ip(&rig, "route add default via 100.64.1.5 dev wan1")?;
    ensure_carries(&rig, Way::new([100, 64, 1, 4], [100, 64, 1, 5]))
}

/// The first uplink is a tunnel to the first provider.
pub(crate) fn tunnelled() -> Result<(Rig, Tunnel)> {
    let mut rig = bare()?;
    let file = file().replace("\"wan1\"", "\"tun0\"");
    rig.places().write_config(&file)?;
    rig.start_daemon()?;
    let tunnel = Tunnel::start(rig.lab(), isp(1), "tun0")?;
    ip_at(
        &rig,
        isp(1),
        "address add 100.64.1.129 peer 100.64.1.130 dev ptp",
    )?;
    Ok((rig, tunnel))
}

pub(crate) const FAR_END: Way = Way {
    address: IpNet::V4(ipnet::Ipv4Net::new_assert(
        std::net::Ipv4Addr::new(100, 64, 1, 130),
        32,
    )),
    gateway: None,
};

/// As pppd leaves it with `defaultroute`.
pub(crate) fn a_point_to_point_line_without_a_gateway() -> Result<()> {
    let (rig, _tunnel) = tunnelled()?;
    ip(&rig, "address add 100.64.1.130 peer 100.64.1.129 dev tun0")?;
    ip(&rig, "route add default dev tun0")?;
    ensure_carries(&rig, FAR_END)
}

/// The daemon starts anew when only its own objects tell how the line leads out.
pub(crate) fn a_point_to_point_line_is_remembered_over_a_restart() -> Result<()> {
    let (mut rig, _tunnel) = tunnelled()?;
    ip(&rig, "address add 100.64.1.130 peer 100.64.1.129 dev tun0")?;
    ip(&rig, "route add default dev tun0 metric 700")?;
    ensure_carries(&rig, FAR_END)?;
    rig.kill_daemon()?;
    rig.start_daemon()?;
    ensure_carries(&rig, FAR_END)
}

//! A default route in another table than `main`, where a network manager was told to put it.

use anyhow::Result;
use uplinkd_lab::programs::{DhcpServer, NetworkManager, Networkd, Pool};
use uplinkd_netns_tests::isp;

use crate::{
    clients::{KEYFILE, NETWORKD, way},
    common::{ensure_carries, ip, waiting},
    places::{usual, with_address},
};

pub(crate) fn by_hand() -> Result<()> {
    let rig = with_address()?;
    ip(&rig, "route add default via 100.64.1.1 dev wan1 table 100")?;
    ensure_carries(&rig, usual())
}

pub(crate) fn by_networkd() -> Result<()> {
    let rig = waiting()?;
    let pool = Pool::quarter(isp(1), 1);
    let _server = DhcpServer::start(rig.lab(), isp(1), &pool)?;
    let file = format!("{}[DHCPv4]\nRouteTable=100\n", NETWORKD[0].1);
    let files = [(NETWORKD[0].0, file.as_str()), NETWORKD[1]];
    let _client = Networkd::start(rig.lab(), &files)?;
    ensure_carries(&rig, way(&pool))
}

pub(crate) fn by_network_manager() -> Result<()> {
    let rig = waiting()?;
    let pool = Pool::quarter(isp(1), 1);
    let _server = DhcpServer::start(rig.lab(), isp(1), &pool)?;
    let keyfile = KEYFILE.replace("method=auto\n", "method=auto\nroute-table=100\n");
    let _client = NetworkManager::start(rig.lab(), &[("wan1", &keyfile)])?;
    ensure_carries(&rig, way(&pool))
}

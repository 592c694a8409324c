//! Interfaces by other names than their first.

use anyhow::{Context, Result, ensure};
use uplinkd_lab::programs::Pool;
use uplinkd_netns_tests::{find_uplink, isp};

use crate::{
    clients::way,
    common::{LEASED, bare, ensure_carries, file, ip, wait_way},
    devices::{ensure_on, index, leased},
};

/// The file names the interface by another of its names.
pub(crate) fn an_alternative_name_in_the_file() -> Result<()> {
    let mut rig = bare()?;
    ip(&rig, "link property add dev wan1 altname enx001122334455")?;
    let file = file().replace("\"wan1\"", "\"enx001122334455\"");
    rig.places().write_config(&file)?;
    rig.start_daemon()?;
    let pool = Pool::quarter(isp(1), 1);
    let _both = leased(&rig, &pool)?;
    let status = wait_way(&rig, isp(1), way(&pool), LEASED)?;
    let line = find_uplink(&status, isp(1)).context("no isp1")?;
    ensure!(line.carrier == Some(true), "{line:?}");
    ensure_carries(&rig, way(&pool))?;
    ensure_on(&rig, index(&rig)?)
}

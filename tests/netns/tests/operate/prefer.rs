//! `uplinkctl prefer` and `unprefer`.

use anyhow::{Result, ensure};
use uplinkd_lab::Fault;
use uplinkd_netns_tests::{Rig, config, isp};

use crate::common::{Held, says, wait_events, wait_new};

pub(crate) fn new_connections_take_the_line_while_it_is_up() -> Result<()> {
    let mut rig = Rig::start(&config(&[1, 1]))?;
    let mut held = Held::open(&rig)?;
    ensure!(held.on(isp(1)) > 0, "nobody on the other line");
    says(&rig, "prefer isp2 for 1h --why test", 0)?;
    wait_new(&rig, &[isp(2)], "preferred")?;
    held.ensure_stay("preferred")?;
    let shown = says(&rig, "status", 0)?;
    ensure!(shown.contains("preferred for 5"), "{shown}");

    rig.kill_daemon()?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    wait_new(&rig, &[isp(2)], "after a kill")?;
    held.ensure_stay("after a kill")?;

    let broken = Fault::Carrier.apply(rig.lab(), isp(2))?;
    wait_new(&rig, &[isp(1)], "it is down")?;
    broken.heal()?;
    wait_new(&rig, &[isp(2)], "it is back")?;

    says(&rig, "drain isp2", 0)?;
    wait_new(&rig, &[isp(1)], "drained is stronger")?;
    says(&rig, "prefer isp2 for 1h", 1)?;
    says(&rig, "undrain isp2", 0)?;
    wait_new(&rig, &[isp(2)], "undrained")?;
    says(&rig, "unprefer", 0)?;
    wait_new(&rig, &[isp(1), isp(2)], "no longer preferred")?;

    says(&rig, "prefer isp1 for 1s", 0)?;
    let told = wait_events(&rig, "unpreferred", 2)?;
    ensure!(told[1]["by"].is_null(), "{told:?}");
    wait_new(&rig, &[isp(1), isp(2)], "its time is over")
}

//! `uplinkctl probe`.

use anyhow::{Result, ensure};
use uplinkd_lab::Fault;
use uplinkd_netns_tests::{Rig, config, isp};

use crate::common::{json, says};

pub(crate) fn every_target_is_asked_and_the_answer_is_the_exit_code() -> Result<()> {
    let rig = Rig::start(&config(&[1, 1]))?;
    let probed = json(&rig, "probe isp1 --json", 0)?;
    let families = probed["families"].as_array().cloned().unwrap_or_default();
    ensure!(families.len() == 2 && probed["up"] == true, "{probed}");
    for family in &families {
        let targets = family["targets"].as_array().cloned().unwrap_or_default();
        ensure!(targets.len() == 3, "gateway and two hosts: {family}");
        ensure!(targets.iter().all(|t| t["rtt_ms"].is_f64()), "{family}");
    }
    let said = says(&rig, "probe isp1", 0)?;
    ensure!(said.contains("isp1 (IPv4) works: "), "{said}");

    let broken = Fault::Upstream.apply(rig.lab(), isp(2))?;
    // Before or after the daemon has found it out by itself.
    let probed = json(&rig, "probe isp2 --json", 1)?;
    let targets = probed["families"][0]["targets"].as_array().cloned();
    let targets = targets.unwrap_or_default();
    let hosts: Vec<_> = targets
        .iter()
        .filter(|t| t["target"] != "gateway")
        .collect();
    ensure!(hosts.len() == 2, "{probed}");
    ensure!(
        hosts
            .iter()
            .all(|t| t["problem"] == "no answer" && t["rtt_ms"].is_null()),
        "{probed}"
    );
    broken.heal()?;
    says(&rig, "probe isp1", 0)?;
    rig.wait_settled()?;
    says(&rig, "probe isp2", 0)?;
    Ok(())
}

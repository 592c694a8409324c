//! A firewall in nft with a masquerade of its own, as routers have one.

use anyhow::{Context, Result, ensure};
use uplinkd_lab::LabSpec;
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, within};

use crate::common::{ensure_no_drift, ensure_we_work, told};

const FIREWALL: &str = r#"
table inet firewall {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iifname { "lo", "lan0" } accept
        meta l4proto { icmp, ipv6-icmp } accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ct state invalid drop
        iifname "lan0" oifname { "wan1", "wan2" } accept
        ct status dnat accept
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        oifname { "wan1", "wan2" } masquerade
    }
}
"#;

pub(crate) fn a_firewall_with_its_own_masquerade() -> Result<()> {
    // Before us and after us: hooks of one priority are asked in the order in which they came.
    for before in [true, false] {
        let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[1, 1]))?;
        if before {
            rig.lab().router().nft(FIREWALL)?;
        }
        rig.start_daemon()?;
        rig.wait_settled()?;
        if !before {
            rig.lab().router().nft(FIREWALL)?;
        }
        ensure_we_work(&rig, &format!("firewall before us: {before}"))?;
        ensure_no_drift(&rig)?;
        let theirs = told(rig.lab().router(), "nft", "list table inet firewall")?;
        ensure!(
            theirs.contains("masquerade") && theirs.contains("policy drop"),
            "{theirs}"
        );
    }
    Ok(())
}

pub(crate) fn a_firewall_that_flushes_everything() -> Result<()> {
    let rig = Rig::start(&config(&[1, 1]))?;
    let router = rig.lab().router();
    // As `/etc/nftables.conf` begins on most systems.
    for round in 1..=3 {
        router.nft(&format!("flush ruleset\n{FIREWALL}"))?;
        within("our table is back", EVENTUALLY, || {
            Ok(told(router, "nft", "list tables")?.contains("inet uplinkd"))
        })?;
        within("it is told", EVENTUALLY, || {
            Ok(rig.count_events("drift")? >= round)
        })?;
        rig.wait_settled()?;
    }
    let events = rig.events()?.events;
    let drift = events
        .iter()
        .find(|e| e.kind == "drift")
        .context("no drift")?;
    ensure!(format!("{drift:?}").contains("nft"), "{drift:?}");
    let theirs = told(router, "nft", "list tables")?;
    ensure!(theirs.contains("inet firewall"), "{theirs}");
    ensure_we_work(&rig, "after three flushes")
}

//! Issue 2, point 10: sysctls are set where needed, reported, and restored.

use std::fs;

use anyhow::{Context, Result, ensure};
use uplinkd_lab::LabSpec;
use uplinkd_netns_tests::{Rig, config};

use crate::{
    common::{ensure_nothing_to_do, says},
    machine::Machine,
};

/// A hardened host that has never routed.
const STRICT: [(&str, &str); 14] = [
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv4.conf.all.rp_filter", "1"),
    ("net.ipv4.conf.default.rp_filter", "1"),
    ("net.ipv4.conf.wan1.rp_filter", "1"),
    ("net.ipv4.conf.wan2.rp_filter", "0"),
    ("net.ipv4.conf.lan0.rp_filter", "1"),
    ("net.ipv4.fib_multipath_hash_policy", "0"),
    ("net.ipv4.nexthop_compat_mode", "1"),
    ("net.ipv4.conf.all.src_valid_mark", "0"),
    ("net.ipv4.conf.wan1.ignore_routes_with_linkdown", "0"),
    ("net.ipv4.conf.wan2.ignore_routes_with_linkdown", "0"),
    // These the kernel changes by itself when forwarding is switched on or off.
    ("net.ipv4.conf.all.accept_redirects", "0"),
    ("net.ipv4.conf.lan0.accept_redirects", "0"),
    ("net.ipv4.conf.default.forwarding", "0"),
];

/// What is needed of these.
const NEEDED: [(&str, &str); 9] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv4.conf.wan1.rp_filter", "2"),
    // Off under a strict `all` is strict.
    ("net.ipv4.conf.wan2.rp_filter", "2"),
    ("net.ipv4.fib_multipath_hash_policy", "1"),
    ("net.ipv4.nexthop_compat_mode", "0"),
    ("net.ipv4.conf.all.src_valid_mark", "1"),
    ("net.ipv4.conf.wan1.ignore_routes_with_linkdown", "1"),
    ("net.ipv4.conf.wan2.ignore_routes_with_linkdown", "1"),
    // Not ours to loosen.
    ("net.ipv4.conf.lan0.rp_filter", "1"),
];

pub(crate) fn they_are_set_reported_and_restored() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[3, 2]))?;
    rig.lab().router().set_sysctls(&STRICT)?;
    let before = Machine::read(&rig)?.without_memory(&rig);
    rig.start_daemon()?;
    let status = rig.wait_settled()?;
    for (key, value) in NEEDED {
        let found = rig.lab().router().sysctl(key)?;
        ensure!(found == value, "{key} is {found}, not {value}");
    }
    for (key, value) in &NEEDED[..8] {
        let path = key.replace('.', "/");
        let told = status.sysctls.iter().find(|s| s.path == path);
        let told = told.with_context(|| format!("{path} is not reported"))?;
        let was = STRICT.iter().find(|(k, _)| k == key).map(|(_, v)| *v);
        ensure!(
            told.ours && told.value.as_deref() == Some(value) && told.was.as_deref() == was,
            "{told:?}, while it was {was:?}"
        );
    }
    ensure_nothing_to_do(&rig)?;
    // A restart must not take our own values for the old ones.
    rig.kill_daemon()?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    rig.stop_daemon()?;
    says(&rig, &["clean"], 0, &["sysctl -w net/ipv4/ip_forward=0"])?;
    Machine::read(&rig)?.without_memory(&rig).ensure_is(&before)
}

/// All of it good enough, though not what we would choose.
const GOOD: [(&str, &str); 8] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.wan1.rp_filter", "0"),
    ("net.ipv4.conf.wan2.rp_filter", "2"),
    ("net.ipv4.fib_multipath_hash_policy", "3"),
    ("net.ipv4.nexthop_compat_mode", "0"),
    ("net.ipv4.conf.all.src_valid_mark", "1"),
    ("net.ipv4.conf.wan1.ignore_routes_with_linkdown", "1"),
];

pub(crate) fn values_that_are_good_are_not_touched() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[3, 2]))?;
    rig.lab().router().set_sysctls(&GOOD)?;
    rig.start_daemon()?;
    let status = rig.wait_settled()?;
    for (key, value) in GOOD {
        let found = rig.lab().router().sysctl(key)?;
        ensure!(found == value, "{key} is {found}, not {value}");
        let path = key.replace('.', "/");
        let told = status.sysctls.iter().find(|s| s.path == path);
        ensure!(told.is_none_or(|t| !t.ours && t.was.is_none()), "{told:?}");
    }
    let memory = fs::read_to_string(rig.places().state().join("state.json"))?;
    ensure!(!memory.contains("ip_forward"), "remembered: {memory}");
    rig.stop_daemon()?;
    says(&rig, &["clean"], 0, &[])?;
    for (key, value) in GOOD {
        let found = rig.lab().router().sysctl(key)?;
        ensure!(found == value, "after clean {key} is {found}, not {value}");
    }
    Ok(())
}

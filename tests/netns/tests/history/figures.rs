//! `/metrics`, by the word of Prometheus itself.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use uplinkd_lab::{
    Fault,
    programs::{PROMETHEUS, Prometheus, promtool},
};
use uplinkd_netns_tests::{Rig, config, isp, within};

/// Long enough for some scrapes.
const SCRAPES: Duration = Duration::from_secs(20);

const BUDGET: &str = "[uplink.isp1.budget]\nlimit = \"5GB\"\n";

fn contrib(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../contrib")
        .join(name)
}

/// Asks with HTTP 1.0, so that the answer ends with the connection.
fn get(mut stream: impl Read + Write, path: &str) -> Result<String> {
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.contains(" 200 OK"), "{head}");
    Ok(body.to_owned())
}

fn metrics(rig: &Rig) -> Result<String> {
    let socket = uplinkd_api::socket_path(&rig.places().runtime());
    get(UnixStream::connect(socket)?, "/metrics")
}

/// Somebody who is told, or would be.
const TOLD: &str =
    "[notify.webhook.phone]\ntemplate = \"ntfy\"\nurl = \"http://127.0.0.1:9/phone\"\n";

/// A router that has seen a failover.
fn rig() -> Result<Rig> {
    let rig = Rig::start(&(config(&[3, 2]) + BUDGET + TOLD))?;
    let broken = Fault::Silent.apply(rig.lab(), isp(1))?;
    rig.wait_out(isp(1))?;
    drop(broken);
    rig.wait_settled()?;
    Ok(rig)
}

pub(crate) fn promtool_has_nothing_to_say() -> Result<()> {
    let rig = rig()?;
    let folder = contrib("prometheus");
    let metrics = metrics(&rig)?;
    for (arguments, input) in [
        (&["check", "metrics"][..], metrics.as_str()),
        (&["check", "rules", "uplinkd.rules.yml"], ""),
        (&["test", "rules", "uplinkd.rules.test.yml"], ""),
    ] {
        let output = promtool(rig.lab().router(), &folder, arguments, input)?;
        let said = format!("{}{}", output.stdout, output.stderr);
        ensure!(output.status.success(), "promtool {arguments:?}: {said}");
    }
    let has = |line: &str| metrics.lines().any(|l| l.starts_with(line));
    for line in [
        "uplinkd_uplink_up{uplink=\"isp1\",family=\"ipv4\"} 1",
        "uplinkd_health_changes_total{uplink=\"isp1\",family=\"ipv4\",health=\"down\"} 1",
        "uplinkd_group_share_ratio{group=\"default\",family=\"ipv6\",uplink=\"isp1\"} 0.6",
        "uplinkd_probe_rtt_seconds_bucket{uplink=\"isp2\",family=\"ipv4\",target=\"gateway\",le=\"+Inf\"} ",
        "uplinkd_uplink_budget_limit_bytes{uplink=\"isp1\"} 5000000000",
        "uplinkd_history_writable 1",
        "uplinkd_targets_omitted 0",
    ] {
        ensure!(has(line), "no {line} in\n{metrics}");
    }
    let lost = metrics
        .lines()
        .filter(|l| l.starts_with("uplinkd_probes_lost_total{uplink=\"isp1\""));
    ensure!(lost.filter(|l| !l.ends_with(" 0")).count() > 0, "{metrics}");
    Ok(())
}

pub(crate) fn every_figure_that_alerts_and_the_dashboard_use_is_there() -> Result<()> {
    let rig = rig()?;
    let metrics = metrics(&rig)?;
    for file in ["prometheus/uplinkd.rules.yml", "grafana/uplinkd.json"] {
        let text = fs::read_to_string(contrib(file))?;
        let names = names(&text);
        ensure!(names.len() > 5, "{file} uses none");
        for name in names {
            let is_there = metrics.lines().any(|l| {
                l.strip_prefix(&name)
                    .is_some_and(|rest| rest.starts_with([' ', '{']))
            });
            ensure!(is_there, "{file} uses {name}, which nobody tells");
        }
    }
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(contrib("grafana/uplinkd.json"))?)?;
    ensure!(dashboard["panels"].as_array().is_some_and(|p| p.len() >= 8));
    Ok(())
}

fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = text.split(|c| !is_part(c));
    words
        .filter(|w| w.starts_with("uplinkd_"))
        .map(str::to_owned)
        .collect()
}

pub(crate) fn a_real_prometheus_scrapes_the_daemon_and_loads_the_rules() -> Result<()> {
    let rig = rig()?;
    let socket = uplinkd_api::socket_path(&rig.places().runtime());
    let rules = contrib("prometheus/uplinkd.rules.yml").canonicalize()?;
    let prometheus = Prometheus::start(rig.lab(), &socket, &rules)?;
    let ask = |path: &str| {
        let body = rig.in_router(|| get(TcpStream::connect(PROMETHEUS)?, path))?;
        serde_json::from_str::<Value>(&body).with_context(|| body.clone())
    };
    let what = "it scrapes the daemon";
    within(what, SCRAPES, || {
        let targets = ask("/api/v1/targets")?;
        let health = &targets["data"]["activeTargets"][0];
        ensure!(
            health["lastError"] == "" || health["health"] != "down",
            "{health}"
        );
        Ok(health["health"] == "up")
    })
    .with_context(|| prometheus.log())?;
    let loaded = ask("/api/v1/rules")?;
    let rules = loaded["data"]["groups"][0]["rules"].as_array();
    ensure!(rules.is_some_and(|r| r.len() == 10), "{loaded}");
    let answer = ask("/api/v1/query?query=sum(uplinkd_uplink_up)")?;
    ensure!(answer["data"]["result"][0]["value"][1] == "4", "{answer}");
    let query = "histogram_quantile(0.95,sum%20by(le)(uplinkd_probe_rtt_seconds_bucket))";
    let answer = ask(&format!("/api/v1/query?query={query}"))?;
    let value = answer["data"]["result"][0]["value"][1].as_str();
    let value: f64 = value.context("no value")?.parse()?;
    ensure!(value > 0.0 && value < 5.0, "{answer}");
    within("the rules are evaluated", SCRAPES, || {
        let loaded = ask("/api/v1/rules")?;
        let rules = loaded["data"]["groups"][0]["rules"].as_array().cloned();
        let rules = rules.unwrap_or_default();
        ensure!(rules.iter().all(|r| r["health"] != "err"), "{loaded}");
        Ok(!rules.is_empty() && rules.iter().all(|r| r["health"] == "ok"))
    })
}

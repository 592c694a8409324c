//! What belongs to others survives us, also right beside what is ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{
    Fault,
    traffic::{Transport, shares},
};
use uplinkd_model::{
    Family, Nexthop, NexthopId, NexthopKind, Reserve, Route, RouteVia, Rule, Slot, Step, TableId,
    ids::Proto, kernel_state::Device,
};
use uplinkd_netns_tests::{
    EVENTUALLY, Rig,
    ask::{Conversation, ask_all},
    config, isp, servers, within,
};

use crate::flows::{all_over, conversations};

/// A protocol number of somebody else (`static`).
const FOREIGN: Proto = Proto(4);

/// A stranger marks every packet of the LAN and every connection before us, and looks at them after
/// us. Packets the other way come without his mark and get it again from his connection mark only
/// by himself, so ours must have left that alone.
const STRANGER: &str = "
table ip stranger {
    counter packets_kept { }
    counter packets_damaged { }
    counter connections_kept { }
    counter connections_damaged { }
    chain before {
        type filter hook prerouting priority raw; policy accept;
        iifname { lan0, wan1, wan2 } meta mark set meta mark or 0x00ff0005
    }
    chain before_tracked {
        type filter hook prerouting priority -180; policy accept;
        ct state new ct mark set ct mark or 0x00aa5500
    }
    chain after {
        type filter hook postrouting priority 150; policy accept;
        iifname { lan0, wan1, wan2 } meta mark and 0x00ffffff == 0x00ff0005 counter name packets_kept
        iifname { lan0, wan1, wan2 } meta mark and 0x00ffffff != 0x00ff0005 counter name packets_damaged
        iifname { lan0, wan1, wan2 } ct mark and 0x00ffffff == 0x00aa5500 counter name connections_kept
        iifname { lan0, wan1, wan2 } ct mark and 0x00ffffff != 0x00aa5500 counter name connections_damaged
    }
}
";

pub(crate) fn mark_bits_survive() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let lab = rig.lab();
    lab.router().nft(STRANGER)?;
    let mut held: Vec<Conversation> = Vec::new();
    let mut dying = Vec::new();
    for transport in [Transport::Udp, Transport::Tcp] {
        let both = conversations(&rig, lab.client(), transport, 20)?;
        held.extend(both.second);
        if transport == Transport::Udp {
            dying.extend(both.first);
        }
    }
    // The shares are right although every packet bears a mark.
    let counted = shares(lab.client(), Transport::Udp, &servers(lab), 1000)?;
    ensure!(
        counted.failed == 0 && (counted.percent(isp(1)) - 60.0).abs() < 7.0,
        "{counted}"
    );
    let before = kept(&rig)?;
    let broken = Fault::Upstream.apply(lab, isp(1))?;
    rig.wait_out(isp(1))?;
    all_over(&ask_all(&mut held), isp(2), "the other is out")?;
    // Connections are found by our bits among his.
    all_over(&ask_all(&mut dying), isp(2), "moved")?;
    broken.heal()?;
    rig.wait_settled()?;
    rig.reload(&config(&[1, 9]))?;
    all_over(&ask_all(&mut held), isp(2), "after everything")?;
    ensure!(kept(&rig)? > before, "no packets were looked at");
    Ok(())
}

/// How many packets the stranger has seen with his marks whole; none may have been without.
fn kept(rig: &Rig) -> Result<u64> {
    let mut command = Command::new("nft");
    command.args(["-j", "list", "counters", "table", "ip", "stranger"]);
    let output = rig
        .lab()
        .router()
        .output(command, "", Duration::from_secs(5))?;
    let listed: serde_json::Value = serde_json::from_str(&output.stdout)?;
    let entries = listed["nftables"]
        .as_array()
        .context("no list of counters")?;
    let counters: BTreeMap<_, _> = entries
        .iter()
        .filter_map(|e| {
            Some((
                e["counter"]["name"].as_str()?,
                e["counter"]["packets"].as_u64()?,
            ))
        })
        .collect();
    ensure!(counters.len() == 4, "{counters:?}");
    ensure!(
        counters["packets_damaged"] == 0 && counters["connections_damaged"] == 0,
        "{counters:?}"
    );
    ensure!(
        counters["packets_kept"] > 0 && counters["connections_kept"] > 0,
        "{counters:?}"
    );
    Ok(counters["packets_kept"])
}

/// nft tables whose names are nearly ours.
const NEIGHBOURS: [(&str, &str); 2] = [("inet", "uplinkd_not"), ("ip", "uplinkd")];

pub(crate) fn objects_next_to_ours_survive() -> Result<()> {
    let mut rig = Rig::start(&config(&[3, 2]))?;
    let reserve = Reserve::default();
    for (family, name) in NEIGHBOURS {
        let table =
            format!("table {family} {name} {{ set s {{ type mark; elements = {{ 7 }}; }}; }}\n");
        rig.lab().router().nft(&table)?;
    }
    let lan = rig.dump()?.link("lan0").context("no lan0")?.device.clone();
    let steps = neighbours(&reserve, &lan);
    let count = steps.len() + NEIGHBOURS.len();
    rig.execute(steps)?;
    let before = foreign(&rig)?;
    ensure!(before.len() >= count, "{before:?}");
    let unchanged = |rig: &Rig, when: &str| -> Result<()> {
        let now = foreign(rig)?;
        let (lost, new): (Vec<_>, Vec<_>) = (
            before.difference(&now).collect(),
            now.difference(&before).collect(),
        );
        ensure!(now == before, "{when}: {lost:?} became {new:?}");
        Ok(())
    };
    rig.wait_settled()?;
    unchanged(&rig, "at first")?;
    for fault in [Fault::Upstream, Fault::Carrier] {
        let broken = fault.apply(rig.lab(), isp(1))?;
        rig.wait_out(isp(1))?;
        unchanged(&rig, "failed over")?;
        broken.heal()?;
        rig.wait_settled()?;
        unchanged(&rig, "came back")?;
    }
    ensure!(
        rig.count_events("drift")? == 0,
        "a stranger's object was taken for drift"
    );
    damage_ours(&rig, &reserve)?;
    rig.wait_settled()?;
    unchanged(&rig, "drift was repaired")?;

    rig.stop_daemon()?;
    let cleaned = rig.tool("uplinkd", &["clean"])?;
    ensure!(cleaned.status.success(), "{}", cleaned.stderr);
    unchanged(&rig, "cleaned")?;
    let left = rig.dump()?;
    ensure!(
        left.rules.iter().all(|r| !reserve.owns_rule(r)),
        "{:?}",
        left.rules
    );
    ensure!(
        left.routes.iter().all(|r| !reserve.owns_route(r)),
        "{:?}",
        left.routes
    );
    ensure!(
        left.nexthops.values().all(|n| !reserve.owns_nexthop(n)),
        "{:?}",
        left.nexthops
    );
    Ok(())
}

/// A stranger's nexthops, routes and rules: with our protocol one number outside of what we claim,
/// and with another protocol right inside of it. Nothing that the test sends matches them.
fn neighbours(reserve: &Reserve, lan: &Device) -> Vec<Step> {
    let nexthop = |id: u32, proto| {
        Step::AddNexthop(Nexthop {
            id: NexthopId(id),
            proto,
            kind: NexthopKind::Single {
                on_link: false,
                family: Family::V4,
                device: lan.clone(),
                gateway: Some([10, 0, 0, 2].into()),
            },
        })
    };
    let route = |table: u32, proto| {
        Step::AddRoute(Route {
            table: TableId(table),
            destination: Family::V4.default_route(),
            metric: 4_290_000_000,
            via: RouteVia::Device {
                device: lan.clone(),
                gateway: Some([10, 0, 0, 3].into()),
            },
            source: None,
            proto,
        })
    };
    let service = reserve.table_service(Slot(1));
    let rule = |priority: u32, proto| {
        Step::AddRule(Rule {
            from: "203.0.113.0/24".parse().ok(),
            ..Rule::lookup(Family::V4, priority, service, proto)
        })
    };
    let (ours, first_id, after_ids) = (
        reserve.proto,
        reserve.nexthop_ids,
        reserve.nexthop_ids + Reserve::NEXTHOPS,
    );
    let mut steps = vec![
        nexthop(first_id - 1, ours),
        nexthop(after_ids, ours),
        nexthop(first_id + 1000, FOREIGN),
        nexthop(after_ids - 1, FOREIGN),
        route(reserve.tables - 1, ours),
        route(reserve.tables + Reserve::TABLES, ours),
        route(service.0, FOREIGN),
        route(reserve.table_outlet(0).0, FOREIGN),
    ];
    for first in [reserve.rule_priority, reserve.rule_priority_last] {
        steps.extend([
            rule(first - 1, ours),
            rule(first + Reserve::PRIORITIES, ours),
            rule(first + 40, FOREIGN),
            rule(first + Reserve::PRIORITIES - 1, FOREIGN),
        ]);
    }
    steps
}

/// Takes away a rule and a route of ours, then the content of our nft table; all of it comes back.
fn damage_ours(rig: &Rig, reserve: &Reserve) -> Result<()> {
    let service = reserve.table_service(Slot(1));
    let found = rig.dump()?;
    let mut rules = found.rules.iter();
    let rule = rules.find(|r| reserve.owns_rule(r) && r.mark.is_some());
    let mut routes = found.routes.iter();
    let route = routes.find(|r| reserve.owns_route(r) && r.table == service);
    let (rule, route) = (rule.context("no rule")?, route.context("no route")?);
    rig.execute(vec![
        Step::DeleteRule(rule.clone()),
        Step::DeleteRoute(route.clone()),
    ])?;
    within("drift is repaired", EVENTUALLY, || {
        let now = rig.dump()?;
        Ok(now.rules.contains(rule) && now.routes.contains(route))
    })?;
    let told = rig.count_events("drift")?;
    rig.lab().router().nft("flush table inet uplinkd\n")?;
    within("drift is told", EVENTUALLY, || {
        Ok(rig.count_events("drift")? > told)
    })
}

/// Everything that is not ours, as text, so that a difference can be read.
fn foreign(rig: &Rig) -> Result<BTreeSet<String>> {
    let reserve = Reserve::default();
    let found = rig.dump()?;
    let mut all = BTreeSet::new();
    let rules = found.rules.iter().filter(|r| !reserve.owns_rule(r));
    all.extend(rules.map(|r| format!("{r:?}")));
    let routes = found.routes.iter().filter(|r| !reserve.owns_route(r));
    all.extend(routes.map(|r| format!("{r:?}")));
    let nexthops = found.nexthops.values();
    let nexthops = nexthops.filter(|n| !reserve.owns_nexthop(n));
    all.extend(nexthops.map(|n| format!("{n:?}")));
    all.extend(found.foreign_defaults.iter().map(|d| format!("{d:?}")));
    for (family, name) in NEIGHBOURS {
        let mut command = Command::new("nft");
        command.args(["list", "table", family, name]);
        let listed = rig
            .lab()
            .router()
            .output(command, "", Duration::from_secs(5))?;
        all.extend(listed.status.success().then_some(listed.stdout));
    }
    Ok(all)
}

//! Tables and rules: what leads where.

use std::{fs, net::IpAddr};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use uplinkd_lab::{
    Isp, Netns,
    addresses::LINK_LOCAL_GATEWAY,
    plumbing::{LabRoute, Plumber, STATIC},
    traffic::{PORT, Servers, Transport, shares},
};
use uplinkd_model::{
    Family, NexthopKind, Observed, Reserve, Route, RouteVia, Slot, TableId,
    kernel_state::RuleAction,
};
use uplinkd_netns_tests::{
    Answer, Ask, EVENTUALLY, Rig,
    ask::{ask_all, open_all},
    config, isp, servers, within,
};

use crate::flows::all_over;

/// Where the file of table names is.
const TABLE_NAMES: &str = "/etc/iproute2/rt_tables.d/uplinkd.conf";
const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];

pub(crate) fn each_uplink_has_a_table_of_its_own() -> Result<()> {
    // A machine that runs the daemon itself has such a file of its own.
    let of_machine = fs::read(TABLE_NAMES).ok();
    let mut rig = Rig::start(&config(&[3, 2]))?;
    let reserve = Reserve::default();
    let found = rig.dump()?;
    for uplink in [isp(1), isp(2)] {
        let slot = Slot(uplink.number().into());
        let table = reserve.table_service(slot);
        ensure!(rig.uplink(uplink)?.table == table.0);
        ensure!(
            found.table_names.get(&table) == Some(&uplink.to_string()),
            "{:?}",
            found.table_names
        );
        for family in [Family::V4, Family::V6] {
            has_a_way_out(&found, uplink, table, family)?;
        }
    }
    // `ip` finds the names where the file is; it is the laboratory's own, not the machine's.
    let names = rig
        .lab()
        .mounts()
        .run(|| Ok(fs::read_to_string(TABLE_NAMES)?))?;
    ensure!(names.contains("7001") && names.contains("isp1"), "{names}");
    ensure!(
        fs::read(TABLE_NAMES).ok() == of_machine,
        "{TABLE_NAMES} of the machine itself has changed"
    );

    rig.stop_daemon()?;
    let cleaned = rig.tool("uplinkd", &["clean"])?;
    ensure!(cleaned.status.success(), "{}", cleaned.stderr);
    let left = rig.dump()?;
    ensure!(
        left.routes.iter().all(|r| !reserve.has_table(r.table)),
        "{:?}",
        left.routes
    );
    ensure!(left.nexthops.is_empty() && left.table_names.is_empty());
    ensure!(
        left.rules.iter().all(|r| !reserve.owns_rule(r)),
        "{:?}",
        left.rules
    );
    let is_there = rig
        .lab()
        .mounts()
        .run(|| Ok(fs::metadata(TABLE_NAMES).is_ok()))?;
    ensure!(!is_there, "{TABLE_NAMES} is still there");
    Ok(())
}

/// The table of an uplink has its default, by the uplink's gateway, and its network, in a family.
fn has_a_way_out(found: &Observed, uplink: Isp, table: TableId, family: Family) -> Result<()> {
    let in_table = |r: &&Route| r.table == table && r.family() == family;
    let inside: Vec<_> = found.routes.iter().filter(in_table).collect();
    ensure!(inside.len() == 2, "{inside:?}");
    let default = inside.iter().find(|r| r.destination.prefix_len() == 0);
    let RouteVia::Nexthop(id) = default.context("no default")?.via else {
        anyhow::bail!("the default is no nexthop object: {default:?}");
    };
    let NexthopKind::Single {
        device, gateway, ..
    } = &found.nexthops[&id].kind
    else {
        anyhow::bail!("no single nexthop: {:?}", found.nexthops[&id]);
    };
    ensure!(device.name == uplink.interface());
    let wanted = match family {
        Family::V4 => uplink.gateway(family).addr(),
        Family::V6 => LINK_LOCAL_GATEWAY,
    };
    ensure!(*gateway == Some(wanted), "{gateway:?}");
    let network = uplink.network(family);
    let connected = inside.iter().find(|r| r.destination == network);
    ensure!(
        matches!(&connected.context("no network")?.via,
            RouteVia::Device { device, gateway: None } if device.name == uplink.interface()),
        "{connected:?}"
    );
    Ok(())
}

pub(crate) fn an_uplinks_address_uses_that_uplink() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    for uplink in [isp(1), isp(2)] {
        let source = uplink.router(Family::V4).addr();
        for transport in BOTH {
            let answers = ask_each(&rig, rig.lab().router(), |to| {
                Ask::new(transport, to).from(source)
            })?;
            all_seen_as(&answers, source)?;
        }
    }
    Ok(())
}

pub(crate) fn addresses_are_followed_as_they_come_and_go() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let second: IpNet = "100.64.2.77/24".parse()?;
    let slot = Slot(2);
    let has_rule = || -> Result<bool> {
        let rules = rig.dump()?.rules;
        Ok(rules.iter().any(|r| {
            r.from == Some(IpNet::from(second.addr()))
                && r.action == RuleAction::Lookup(Reserve::default().table_service(slot))
        }))
    };
    let mut router = Plumber::new(rig.lab().router())?;
    for _ in 0..2 {
        router.add_addresses("wan2", &[second])?;
        within("the new address has a rule", EVENTUALLY, has_rule)?;
        rig.wait_settled()?;
        for transport in BOTH {
            let answers = ask_each(&rig, rig.lab().router(), |to| {
                Ask::new(transport, to).from(second.addr())
            })?;
            // Leaves by its uplink, and as it is: an own address is not translated to the first one.
            all_seen_as(&answers, second.addr())?;
        }
        router.remove_addresses("wan2", &[second])?;
        within("the lost address has no rule", EVENTUALLY, || {
            Ok(!has_rule()?)
        })?;
    }
    // The first address was never touched.
    let first = isp(2).router(Family::V4).addr();
    let answers = ask_each(&rig, rig.lab().router(), |to| {
        Ask::new(Transport::Udp, to).from(first)
    })?;
    all_seen_as(&answers, first)
}

pub(crate) fn marked_traffic_uses_the_marked_uplink() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let reserve = Reserve::default();
    for uplink in [isp(1), isp(2)] {
        let mark = reserve.mark_out(Slot(uplink.number().into())).value;
        for transport in BOTH {
            // A stranger's bits beside ours change nothing.
            for mark in [mark, mark | 0x00ff_0001] {
                let answers = ask_each(&rig, rig.lab().router(), |to| {
                    Ask::new(transport, to).marked(mark)
                })?;
                all_over(&answers, uplink, "own, SO_MARK")?;
            }
            rig.lab().router().nft(&format!(
                "table ip test_mark\ndelete table ip test_mark\n\
                 table ip test_mark {{ chain pre {{ type filter hook prerouting priority raw; \
                 iifname lan0 meta mark set {mark:#x}; }}; }}\n"
            ))?;
            let answers = ask_each(&rig, rig.lab().client(), |to| Ask::new(transport, to))?;
            all_over(&answers, uplink, "forwarded, marked by nft")?;
        }
    }
    Ok(())
}

pub(crate) fn connected_networks_win() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let _in_lan = Servers::start(rig.lab().client(), PORT)?;
    let lan_host: IpAddr = [10, 0, 0, 2].into();
    let mark = Reserve::default().mark_out(Slot(1)).value;
    for transport in BOTH {
        for ask in [
            Ask::new(transport, lan_host),
            Ask::new(transport, lan_host).from(isp(1).router(Family::V4).addr()),
            Ask::new(transport, lan_host).marked(mark),
        ] {
            let answer = ask.once(rig.lab().router())?;
            ensure!(answer.is_seen(), "{ask:?}: {answer:?}");
        }
    }
    // The other end of each line is reached by that line, from the LAN and from the router.
    for uplink in [isp(1), isp(2)] {
        let _at_isp = Servers::start(rig.lab().isp(uplink), PORT)?;
        let gateway = uplink.gateway(Family::V4).addr();
        for netns in [rig.lab().client(), rig.lab().router()] {
            for transport in BOTH {
                let asks = (0..20).map(|_| Ask::new(transport, gateway));
                let answers = ask_all(&mut open_all(netns, asks)?);
                all_over(&answers, uplink, "to the gateway")?;
            }
        }
    }
    Ok(())
}

pub(crate) fn specific_routes_of_main_win() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let lab = rig.lab();
    let inside: Vec<IpAddr> = servers(lab);
    let inside: Vec<_> = inside
        .into_iter()
        .filter(|s| s.to_string().starts_with("198.18.0."))
        .collect();
    // The near miss: the network next to it, which stays balanced.
    let beside: Vec<IpAddr> = vec![
        [1, 1, 1, 1].into(),
        [8, 8, 8, 8].into(),
        [9, 9, 9, 9].into(),
    ];
    let route = LabRoute {
        destination: "198.18.0.0/24".parse()?,
        gateway: isp(2).gateway(Family::V4).addr(),
        metric: None,
        protocol: STATIC,
    };
    let mut router = Plumber::new(lab.router())?;
    router.add_routes("wan2", &[route])?;
    for netns in [lab.client(), lab.router()] {
        for transport in BOTH {
            let counted = shares(netns, transport, &inside, 200)?;
            ensure!(counted.of(isp(2)) == 200, "with the route: {counted}");
            let counted = shares(netns, transport, &beside, 200)?;
            ensure!(is_balanced(&counted), "beside the route: {counted}");
        }
    }
    router.remove_routes("wan2", &[route])?;
    let counted = shares(lab.client(), Transport::Udp, &inside, 200)?;
    ensure!(is_balanced(&counted), "without the route: {counted}");
    // Whoever put the route was not disturbed, and neither were we.
    ensure!(rig.count_events("drift")? == 0);
    let found = rig.dump()?;
    ensure!(
        found.routes.iter().all(|r| r.table != TableId::MAIN),
        "{:?}",
        found.routes
    );
    Ok(())
}

/// Both uplinks carry some, and nothing is lost.
fn is_balanced(counted: &uplinkd_lab::traffic::Shares) -> bool {
    counted.failed + counted.elsewhere == 0 && counted.of(isp(1)) > 60 && counted.of(isp(2)) > 30
}

/// One question to each of twenty servers.
fn ask_each(rig: &Rig, netns: &Netns, ask: impl Fn(IpAddr) -> Ask) -> Result<Vec<Answer>> {
    let asks: Vec<_> = servers(rig.lab()).into_iter().take(20).map(ask).collect();
    Ok(ask_all(&mut open_all(netns, asks)?))
}

fn all_seen_as(answers: &[Answer], source: IpAddr) -> Result<()> {
    let others: Vec<_> = answers
        .iter()
        .filter(|a| **a != Answer::Seen(source))
        .collect();
    ensure!(
        others.is_empty(),
        "from {source} over {:?}: {} of {} otherwise: {others:?}",
        Isp::of(source),
        others.len(),
        answers.len()
    );
    Ok(())
}

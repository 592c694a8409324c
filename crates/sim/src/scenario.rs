//! A random router: its configuration, its kernel with other people's objects in it, its lines.

use std::{net::IpAddr, time::Duration};

use ipnet::{IpNet, Ipv4Net};
use uplinkd_model::{
    Config, Family, Gateway, Group, Mark, Member, Nat, Nexthop, NexthopId, NexthopKind, ProbeSpec,
    Proto, Reserve, Route, RouteVia, Rule, Slot, TableId, Target, Uplink, UplinkName,
    kernel_state::Device,
};

use crate::{
    kernel::{Kernel, Quirks},
    net::{Line, Net},
};

/// The LAN's interface.
pub const LAN: &str = "lan0";
/// The protocol number of DHCP's routes.
pub const PROTO_DHCP: Proto = Proto(16);
/// The protocol number of the administrator's objects.
pub const PROTO_STATIC: Proto = Proto(4);

/// How a history goes about its work.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What the user asked for.
    pub config: Config,
    /// How long one part of a look takes at most, in milliseconds.
    pub look_ms_max: u64,
    /// How long a step takes at most, in microseconds; nft steps take twenty times as long.
    pub step_us_max: u64,
    /// The shell reports what the daemon's own steps cause as well.
    pub echo: bool,
    /// A stranger sits in one of our own places, so that the wish cannot be had.
    pub squatted: bool,
}

/// Draws a scenario with its kernel and its lines.
pub fn draw(luck: &mut fastrand::Rng) -> (Scenario, Kernel, Net) {
    let lines = lines(luck);
    let config = config(luck, &lines);
    let quirks = Quirks {
        address_takes_routes_of_all_tables: luck.bool(),
    };
    let mut kernel = Kernel::new(config.reserve.clone(), quirks);
    kernel.add_link("lo");
    kernel.add_link(LAN);
    kernel.add_address(LAN, net("192.168.77.1/24"));
    for line in &lines {
        kernel.add_link(&line.interface);
        kernel.add_address(&line.interface, line.address);
    }
    let squatted = luck.u8(0..100) < 3;
    strangers(&mut kernel, &config.reserve);
    if squatted {
        squat(&mut kernel, &config, luck);
    }
    let slow = luck.u8(0..10) == 0;
    let scenario = Scenario {
        config,
        look_ms_max: if slow { 60 } else { luck.u64(1..6) },
        step_us_max: luck.u64(50..2_000),
        echo: luck.bool(),
        squatted,
    };
    let net = Net {
        lines,
        dead_hosts: Default::default(),
    };
    (scenario, kernel, net)
}

fn lines(luck: &mut fastrand::Rng) -> Vec<Line> {
    let count = luck.u8(2..=5);
    let line = |n: u8, point_to_point: bool| Line {
        interface: format!("wan{n}"),
        address: address(n, 2),
        gateway: (!point_to_point).then_some(IpAddr::from([10, n, 0, 1])),
        gateway_alive: true,
        upstream_alive: true,
        loss: 0,
    };
    (1..=count).map(|n| line(n, luck.u8(0..8) == 0)).collect()
}

/// An address of the n-th line's network.
pub fn address(line: u8, host: u8) -> IpNet {
    let address = std::net::Ipv4Addr::new(10, line, 0, host);
    IpNet::V4(Ipv4Net::new_assert(address, 24))
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap_or_default()
}

/// A host beyond all lines.
pub fn host(n: u8) -> IpAddr {
    IpAddr::from([198, 18, 0, n])
}

fn config(luck: &mut fastrand::Rng, lines: &[Line]) -> Config {
    let mut slots: Vec<u16> = (1..=15).collect();
    luck.shuffle(&mut slots);
    let uplinks: Vec<_> = lines
        .iter()
        .zip(slots)
        .zip(1_u8..)
        .filter_map(|((line, slot), n)| {
            let fixed = luck.u8(0..6) == 0;
            let gateway = line.gateway.filter(|_| fixed);
            Some(Uplink {
                name: UplinkName::new(&format!("isp{n}")).ok()?,
                slot: Slot(slot),
                interface: line.interface.clone(),
                gateway: gateway.map_or(Gateway::Auto, Gateway::Address),
                nat: Nat::Masquerade,
                probe: probe_spec(luck),
            })
        })
        .collect();
    let groups = groups(luck, &uplinks);
    Config {
        lan: if luck.bool() {
            vec![LAN.into()]
        } else {
            vec![]
        },
        uplinks,
        groups,
        reserve: Reserve::default(),
    }
}

fn probe_spec(luck: &mut fastrand::Rng) -> ProbeSpec {
    let mut targets = Vec::new();
    if luck.bool() {
        targets.push(Target::Gateway);
    }
    targets.extend((1..=luck.u8(0..=3)).map(|n| Target::Icmp(host(n))));
    let interval = luck.choice([200, 300, 500, 1000]).unwrap_or(500);
    let mut spec = ProbeSpec {
        targets,
        quorum: 1,
        interval: Duration::from_millis(interval),
        timeout: Duration::from_millis(interval * luck.u64(5..15) / 10),
        fall: luck.u32(1..=4),
        rise: luck.u32(1..=5),
    };
    spec.quorum = luck.usize(1..=spec.deciding().max(1));
    spec
}

/// One to three groups of one to three tiers; `default` has every uplink.
pub fn groups(luck: &mut fastrand::Rng, uplinks: &[Uplink]) -> Vec<Group> {
    let group = |name: String, uplinks: Vec<&Uplink>, luck: &mut fastrand::Rng| {
        let count = luck.usize(1..=3);
        let mut tiers: Vec<Vec<Member>> = vec![Vec::new(); count];
        for uplink in uplinks {
            let member = Member {
                uplink: uplink.name.clone(),
                weight: luck.choice([1, 2, 3, 256]).unwrap_or(1),
            };
            tiers[luck.usize(0..count)].push(member);
        }
        tiers.retain(|t| !t.is_empty());
        Group { name, tiers }
    };
    let mut groups = vec![group(Group::DEFAULT.into(), uplinks.iter().collect(), luck)];
    for n in 1..luck.usize(1..=3) {
        let mut some: Vec<_> = uplinks.iter().filter(|_| luck.bool()).collect();
        if some.is_empty() {
            some.extend(uplinks.first());
        }
        groups.push(group(format!("g{n}"), some, luck));
    }
    groups
}

/// Other people's objects: ordinary ones, and the near misses one priority, table, id or protocol
/// number away from ours.
fn strangers(kernel: &mut Kernel, reserve: &Reserve) {
    let (ours, theirs) = (reserve.proto, PROTO_STATIC);
    let elsewhere = net("203.0.113.0/24");
    let device = Device {
        index: 2,
        name: LAN.into(),
    };
    let mark = Some(Mark::new(0x7, 0xff));
    for (priority, proto) in [
        (reserve.rule_priority - 1, ours),
        (reserve.rule_priority, theirs),
        (reserve.rule_priority + 30, theirs),
        (reserve.rule_priority + 100, ours),
        (reserve.rule_priority_last - 1, ours),
        (reserve.rule_priority_last, theirs),
        (5270, theirs),
    ] {
        let lookup = Rule::lookup(Family::V4, priority, TableId(100), proto);
        kernel.put_rule(Rule { mark, ..lookup });
        let v6 = Rule::lookup(Family::V6, priority, TableId(100), proto);
        kernel.put_rule(Rule { mark, ..v6 });
    }
    for (table, proto) in [
        (reserve.tables - 1, ours),
        (reserve.tables + 1, theirs),
        (reserve.tables + 0x2000, theirs),
        (reserve.tables + 0x10000, ours),
        (100, theirs),
        (TableId::MAIN.0, ours),
    ] {
        kernel.put_route(Route {
            table: TableId(table),
            destination: elsewhere,
            metric: 7,
            via: RouteVia::Device {
                device: device.clone(),
                gateway: None,
            },
            source: None,
            proto,
        });
    }
    let first = reserve.nexthop_ids;
    let single = |id, proto| Nexthop {
        id: NexthopId(id),
        proto,
        kind: NexthopKind::Single {
            family: Family::V4,
            device: device.clone(),
            gateway: None,
        },
    };
    kernel.put_nexthop(single(7, theirs));
    kernel.put_nexthop(single(first - 1, ours));
    kernel.put_nexthop(single(first + 100, theirs));
    kernel.put_nexthop(single(first + 0x10_0000, ours));
    kernel.put_nexthop(Nexthop {
        id: NexthopId(8),
        proto: theirs,
        kind: NexthopKind::Group(vec![(NexthopId(7), 3), (NexthopId(first - 1), 2)]),
    });
}

/// A stranger's object exactly where one of ours belongs.
fn squat(kernel: &mut Kernel, config: &Config, luck: &mut fastrand::Rng) {
    let Some(uplink) = config.uplinks.first() else {
        return;
    };
    let reserve = &config.reserve;
    let device = Device {
        index: 2,
        name: LAN.into(),
    };
    if luck.bool() {
        kernel.put_nexthop(Nexthop {
            id: reserve.nexthop_service(Family::V4, uplink.slot),
            proto: PROTO_STATIC,
            kind: NexthopKind::Single {
                family: Family::V4,
                device,
                gateway: None,
            },
        });
    } else {
        kernel.put_route(Route {
            table: reserve.table_service(uplink.slot),
            destination: Family::V4.default_route(),
            metric: 0,
            via: RouteVia::Device {
                device,
                gateway: None,
            },
            source: None,
            proto: PROTO_STATIC,
        });
    }
}

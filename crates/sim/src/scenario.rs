//! A random router: its configuration, its kernel with other people's objects in it, its lines.

pub mod file;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use uplinkd_model::{
    Access, Config, Family, Gateway, Limits, Mark, Nat, Nexthop, NexthopId, NexthopKind, ProbeSpec,
    Proto, Rates, Reserve, Route, RouteVia, Rule, Slot, TableId, Target, Uplink, UplinkName,
    kernel_state::Device, policy::MINUTES_PER_WEEK,
};

use crate::{
    delegation,
    kernel::{Kernel, Quirks, Talk},
    net::{Line, Net},
};
use file::Codes;

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
    /// All uplinks that the file ever has.
    pub uplinks: Vec<Uplink>,
    /// How long one part of a look takes at most, in milliseconds.
    pub look_ms_max: u64,
    /// How long a step takes at most, in microseconds; nft steps take twenty times as long.
    pub step_us_max: u64,
    /// The shell reports what the daemon's own steps cause as well.
    pub echo: bool,
    /// The local minute of the week at the beginning.
    pub minute: u16,
    /// Codes of outlets by name.
    pub codes: Codes,
    /// Packets a second that each uplink carries in each direction.
    pub packets: Vec<u64>,
    /// A stranger sits in one of our own places, so that the wish cannot be had.
    pub squatted: bool,
}

/// Both families.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// The mark and the table of a full tunnel that somebody else keeps.
pub const TUNNEL: (Mark, TableId) = (
    Mark {
        value: 0x9,
        mask: 0xff,
    },
    TableId(101),
);

/// Draws a scenario with its kernel and its lines.
pub fn draw(luck: &mut fastrand::Rng) -> (Scenario, Kernel, Net) {
    let (mut config, lines) = router(luck);
    delegation::draw_nat(luck, &mut config);
    let minute = match luck.u8(0..4) {
        0 => MINUTES_PER_WEEK - 1,
        _ => luck.u16(0..MINUTES_PER_WEEK),
    };
    let mut codes = Codes::new();
    file::draw(luck, &mut config, &mut codes, minute);
    let quirks = Quirks {
        address_takes_routes_of_all_tables: luck.bool(),
    };
    let mut kernel = Kernel::new(config.reserve.clone(), quirks);
    kernel.add_link("lo");
    kernel.add_link(LAN);
    kernel.add_address(LAN, net("192.168.77.1/24"));
    kernel.add_address(LAN, net("fd00:77::1/64"));
    for line in &lines {
        if kernel.link(&line.interface).is_none() {
            kernel.add_link(&line.interface);
        }
        if line.provided {
            kernel.add_address(&line.interface, line.address);
        }
    }
    let squatted = luck.u8(0..100) < 3;
    strangers(&mut kernel, &config.reserve);
    if squatted {
        squat(&mut kernel, &config, luck);
    }
    let slow = luck.u8(0..10) == 0;
    let packets = config.uplinks.iter().map(|_| match luck.u8(0..3) {
        0 => 0,
        1 => luck.u64(1..100),
        _ => luck.u64(100..20_000),
    });
    let packets: Vec<_> = packets.collect();
    let scenario = Scenario {
        packets,
        uplinks: config.uplinks.clone(),
        config,
        look_ms_max: if slow { 60 } else { luck.u64(1..6) },
        step_us_max: luck.u64(50..2_000),
        echo: luck.bool(),
        minute,
        codes,
        squatted,
    };
    let net = Net {
        lines,
        dead_hosts: Default::default(),
    };
    (scenario, kernel, net)
}

/// What a line can carry, as far as the file says.
fn rates(luck: &mut fastrand::Rng) -> Rates {
    let mut rate = || (luck.u8(0..4) == 0).then(|| luck.u64(100_000..20_000_000));
    Rates {
        down: rate(),
        up: rate(),
    }
}

/// Draws the uplinks and what lies behind them.
fn router(luck: &mut fastrand::Rng) -> (Config, Vec<Line>) {
    let mut slots: Vec<u16> = (1..=Reserve::default().slot_max()).collect();
    luck.shuffle(&mut slots);
    let has_only_v4 = luck.u8(0..10) < 3;
    let hosts = luck.u8(0..=3);
    let (mut uplinks, mut lines) = (Vec::new(), Vec::new());
    for (index, slot) in slots.into_iter().take(luck.usize(2..=5)).enumerate() {
        // Which families the file allows, and of these, whether the provider has IPv6.
        let (v4, v6, has_v6) = match luck.u8(0..10) {
            _ if has_only_v4 => (true, false, false),
            0..=2 => (true, false, false),
            3..=7 => (true, true, true),
            8 => (false, true, true),
            _ => (true, true, false),
        };
        let Ok(name) = UplinkName::new(&format!("isp{}", index + 1)) else {
            continue;
        };
        let mut access = |family, provided| {
            let line = line(luck, (index, &name), family, provided);
            let access = access(luck, &line, hosts);
            lines.push(line);
            access
        };
        let (ipv4, ipv6) = (
            v4.then(|| access(Family::V4, true)),
            v6.then(|| access(Family::V6, has_v6)),
        );
        uplinks.push(Uplink {
            name,
            slot: Slot(slot),
            interface: interface(index),
            rates: rates(luck),
            yields: true,
            budget: None,
            ipv4,
            ipv6,
        });
    }
    let config = Config {
        lan: if luck.bool() {
            vec![LAN.into()]
        } else {
            vec![]
        },
        deprecate: true,
        advertise: false,
        uplinks,
        groups: Vec::new(),
        policies: Vec::new(),
        outlets: Vec::new(),
        reserve: Reserve::default(),
    };
    (config, lines)
}

fn interface(uplink: usize) -> String {
    format!("wan{}", uplink + 1)
}

fn line(
    luck: &mut fastrand::Rng,
    (uplink, name): (usize, &UplinkName),
    family: Family,
    provided: bool,
) -> Line {
    let gateway = match family {
        Family::V4 => address(uplink, family, 1).addr(),
        // Every provider's router is called the same.
        Family::V6 if luck.u8(0..4) > 0 => link_local(1),
        Family::V6 => address(uplink, family, 1).addr(),
    };
    let is_point_to_point = luck.u8(0..8) == 0;
    Line {
        uplink,
        name: name.clone(),
        routed: true,
        family,
        interface: interface(uplink),
        provided,
        address: address(uplink, family, 2),
        gateway: (!is_point_to_point).then_some(gateway),
        gateway_alive: true,
        upstream_alive: true,
        loss: 0,
    }
}

fn access(luck: &mut fastrand::Rng, line: &Line, hosts: u8) -> Access {
    let is_fixed = luck.u8(0..6) == 0;
    let gateway = line.gateway.filter(|_| is_fixed);
    Access {
        expected: if line.provided {
            luck.bool()
        } else {
            luck.u8(0..3) == 0
        },
        gateway: gateway.map_or(Gateway::Auto, Gateway::Address),
        nat: Nat::Masquerade,
        prefix: Default::default(),
        probe: probe_spec(luck, line.family, hosts),
    }
}

/// An address of an uplink's network.
pub fn address(uplink: usize, family: Family, host: u8) -> IpNet {
    let number = u8::try_from(uplink + 1).unwrap_or(u8::MAX);
    match family {
        Family::V4 => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, number, 0, host), 24)),
        Family::V6 => {
            let (number, host) = (u16::from(number), u16::from(host));
            let address = Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0, 0, host);
            IpNet::V6(Ipv6Net::new_assert(address, 64))
        }
    }
}

/// An address that is good on one link only.
pub fn link_local(host: u8) -> IpAddr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host.into()).into()
}

/// Somebody talks with somebody about something.
pub fn talk(luck: &mut fastrand::Rng, family: Family) -> Talk {
    Talk {
        family,
        client: luck.u8(20..23),
        server: luck.u8(80..83),
        protocol: luck.choice([6, 17]).unwrap_or(6),
        port: luck.choice([80, 443, 5060]).unwrap_or(80),
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap_or_default()
}

/// A host beyond all lines, which is probed.
pub fn host(family: Family, n: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([198, 18, 0, n]),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, n.into()).into(),
    }
}

/// Every line asks the same `hosts` hosts: whether one of them is at fault itself is seen by comparison.
fn probe_spec(luck: &mut fastrand::Rng, family: Family, hosts: u8) -> ProbeSpec {
    let mut targets = Vec::new();
    if luck.bool() {
        targets.push(Target::Gateway);
    }
    targets.extend((1..=hosts).map(|n| Target::Icmp(host(family, n))));
    let interval = luck.choice([200, 300, 500, 1000]).unwrap_or(500);
    let mut spec = ProbeSpec {
        targets,
        quorum: 1,
        interval: Duration::from_millis(interval),
        burst: Duration::from_millis(luck.choice([50, 100, interval]).unwrap_or(interval)),
        timeout: Duration::from_millis(interval * luck.u64(5..15) / 10),
        fall: luck.u32(1..=4),
        rise: luck.u32(1..=5),
        // What the world comes to is worked out without history, which these are made of.
        loss: Limits::default(),
        damping: None,
        ..ProbeSpec::default()
    };
    spec.quorum = luck.usize(1..=spec.deciding().max(1));
    spec
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
    // Software that gives no priority gets one just before `main`.
    for family in FAMILIES {
        let late = Rule::lookup(family, 32_700, TUNNEL.1, theirs);
        kernel.put_rule(Rule {
            mark: Some(TUNNEL.0),
            ..late
        });
        kernel.put_route(Route {
            table: TUNNEL.1,
            destination: family.default_route(),
            metric: 0,
            via: RouteVia::Device {
                device: device.clone(),
                gateway: None,
            },
            source: None,
            proto: theirs,
        });
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
            on_link: false,
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
    let mut uplinks = config.uplinks.iter();
    let Some(uplink) = uplinks.find(|u| u.ipv4.is_some()) else {
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
                on_link: false,
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

//! Random packets and random policies that speak of them.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use fastrand::Rng;
use uplinkd_lab::{
    addresses,
    programs::may_change_users,
    traffic::{Guise, Packet, PacketKind},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::isp;

use crate::stage::{FAMILIES, ISP1_BY_DEFAULT, Sender};

/// Policies in each round.
const POLICIES: usize = 24;
/// The users of the router's own traffic.
const USERS: [u32; 4] = [0, 1, 34, 1000];
/// Where policies lead. Pairs of both keys share a number in the mark, of which there are few.
const TARGETS: [&str; 9] = [
    "use = \"isp1\"",
    "use = \"isp2\"",
    "use = \"isp2\"\notherwise = \"block\"",
    "use = \"isp1\"\notherwise = \"calls\"",
    "use = \"calls\"",
    "use = \"both\"\notherwise = \"block\"",
    "use = \"block\"",
    "use = \"main\"",
    "use = \"default\"",
];
/// The groups among them.
pub(super) const GROUPS: &str = "[group.calls]\ntiers = [[\"isp2\"], [\"isp1\"]]\n\
                      [group.both]\ntiers = [[{ uplink = \"isp1\", weight = 2 }, \"isp2\"]]\n";

/// The first source port of a round; no two rounds share one.
pub(super) fn first_port(round: usize) -> u16 {
    3000 + 400 * round as u16
}

/// A packet of somebody, the `number`th of all, with this source port where it has ports.
pub(super) fn packet(random: &mut Rng, number: usize, port: u16) -> (Sender, Packet) {
    let family = FAMILIES[random.usize(..2)];
    let sender = match random.usize(..10) {
        0..=3 => Sender::Client,
        4 => Sender::Host(1),
        5 => Sender::Host(2),
        6 => Sender::Guest,
        _ => Sender::Router,
    };
    let to = destination(random, family, number);
    let destination_port = 4000 + random.u16(..12);
    let kind = match random.usize(..10) {
        0..=3 => PacketKind::Udp {
            source_port: port,
            port: destination_port,
        },
        4..=6 => PacketKind::Tcp {
            source_port: port,
            port: destination_port,
        },
        7 => PacketKind::Other {
            protocol: [132, 47, 50][random.usize(..3)],
            source_port: port,
            port: destination_port,
        },
        _ => PacketKind::Echo,
    };
    let mut guise = Guise {
        dscp: [None, None, Some(0), Some(10), Some(12), Some(46)][random.usize(..6)],
        ..Guise::default()
    };
    let mut packet = Packet::new(to, kind);
    match sender {
        Sender::Client => {
            let source = random.usize(..addresses::CLIENT_ADDRESSES);
            packet.from = Some(addresses::client(family, source).addr());
        }
        Sender::Host(_) | Sender::Guest => packet.from = Some(sender.address(family)),
        Sender::Router => {
            if random.usize(..4) > 0 {
                packet.from = Some(isp(random.usize(1..3)).router(family).addr());
            }
            guise.mark = [None, Some(0x10), Some(0x12)][random.usize(..3)];
            if may_change_users() {
                guise.user = Some(USERS[random.usize(..USERS.len())]);
                guise.group = Some(USERS[random.usize(..USERS.len())]);
            }
        }
    }
    packet.guise = guise;
    (sender, packet)
}

/// An address of its own in one of sixteen networks.
fn destination(random: &mut Rng, family: Family, number: usize) -> IpAddr {
    let network = random.u8(..16);
    // Below 1,000, so both fit.
    let (high, low) = ((number / 200) as u8, (number % 200) as u8 + 1);
    match family {
        Family::V4 => Ipv4Addr::new(198, 19, network * 8 + high, low).into(),
        Family::V6 => Ipv6Addr::new(
            0x2001,
            0xdb8,
            0xffff,
            0x100 + u16::from(network),
            0,
            0,
            high.into(),
            low.into(),
        )
        .into(),
    }
}

/// A configuration of policies for a round.
pub(super) fn policies(random: &mut Rng, round: usize) -> String {
    let mut text = format!("{ISP1_BY_DEFAULT}{GROUPS}");
    for number in 0..POLICIES {
        let mut holds = Vec::new();
        // Early ones narrow, so that late ones are reached.
        let most = if number < POLICIES / 2 { 4 } else { 2 };
        for _ in 0..most {
            insert(&mut holds, &[], condition(random, round));
        }
        let mut lacks = Vec::new();
        if random.usize(..3) == 0 {
            insert(&mut lacks, &holds, condition(random, round));
        }
        let words = |list: &[(&str, String)]| {
            let words = list.iter().map(|(key, values)| format!("{key} = {values}"));
            words.collect::<Vec<_>>().join(", ")
        };
        let mut conditions = words(&holds);
        if !lacks.is_empty() {
            let _ = write!(conditions, ", not = {{ {} }}", words(&lacks));
        }
        let target = TARGETS[random.usize(..TARGETS.len())];
        let _ = write!(
            text,
            "[[policy]]\nname = \"random-{number}\"\nmatch = {{ {conditions} }}\n{target}\n"
        );
    }
    text
}

type Condition = (&'static str, String);

/// Adds a condition to a list, unless it does not go together with those there or with others.
fn insert(list: &mut Vec<Condition>, others: &[Condition], condition: Condition) {
    // No packet has both of these, so that files with both are refused.
    let clashes = |a: &str, b: &str| {
        let icmp = ["icmp"];
        let ports = ["sport", "dport"];
        let own = ["user", "group"];
        let forwarded = ["interface", "mac"];
        a == b
            || (icmp.contains(&a) && ports.contains(&b))
            || (a == "protocol" && (icmp.contains(&b) || ports.contains(&b)))
            || (own.contains(&a) && forwarded.contains(&b))
    };
    let (new, _) = &condition;
    let mut all = list.iter().chain(others);
    if all.all(|(old, _)| !clashes(old, new) && !clashes(new, old)) {
        list.push(condition);
    }
}

fn condition(random: &mut Rng, round: usize) -> Condition {
    let quoted = |words: &[String]| {
        let words: Vec<_> = words.iter().map(|w| format!("\"{w}\"")).collect();
        format!("[{}]", words.join(", "))
    };
    match random.usize(..13) {
        0 | 1 => {
            let host = random.u8(2..150);
            (
                "source",
                quoted(
                    &[
                        format!("10.0.0.{host}-10.0.0.{}", host + 50),
                        format!("10.{}.0.0/16", random.u8(0..2)),
                        format!("fd00:10::{host:x}-fd00:10::{:x}", host + 50),
                        format!("100.64.{}.2", random.u8(1..3)),
                        format!("2001:db8:{}::/64", random.u8(1..3)),
                    ][random.usize(..3)..],
                ),
            )
        }
        2..=4 => {
            let network = random.u8(..16);
            let sixth = 0x100 + u16::from(network);
            (
                "destination",
                quoted(
                    &[
                        format!(
                            "198.19.{}.0/{}",
                            network / 4 * 32,
                            [19, 20, 21][random.usize(..3)]
                        ),
                        format!(
                            "2001:db8:ffff:{:x}::/62",
                            0x100 + u16::from(network / 4) * 4
                        ),
                        format!("198.19.{}.77-198.19.{}.3", network * 8, network * 8 + 4),
                        format!("2001:db8:ffff:{sixth:x}::/64"),
                    ][random.usize(..2)..],
                ),
            )
        }
        5 => {
            let all = ["udp", "tcp", "icmp", "sctp", "gre", "50"];
            let first = random.usize(..all.len());
            let second = random.usize(..all.len());
            (
                "protocol",
                quoted(&[all[first].to_owned(), all[second].to_owned()]),
            )
        }
        6 | 7 => {
            let first = 4000 + random.u16(..12);
            (
                "dport",
                quoted(&[
                    format!("{first}-{}", first + random.u16(..5)),
                    "4003".to_owned(),
                ]),
            )
        }
        8 => {
            let first = first_port(round) + random.u16(..100);
            ("sport", quoted(&[format!("{first}-{}", first + 60)]))
        }
        9 => match random.usize(..2) {
            0 => (
                "interface",
                quoted(&[["lan0", "guest0"][random.usize(..2)].to_owned()]),
            ),
            _ => {
                let bytes = addresses::host_mac(random.u8(..3)).map(|b| format!("{b:02x}"));
                ("mac", quoted(&[bytes.join(":")]))
            }
        },
        10 => match random.usize(..2) {
            0 => (
                "dscp",
                ["[10, 46]", "[0, 12]", "[46]"][random.usize(..3)].to_owned(),
            ),
            _ => (
                "mark",
                quoted(&[["0x10", "0x10/0xf0", "0x2/0x2"][random.usize(..3)].to_owned()]),
            ),
        },
        11 => match random.usize(..2) {
            0 => (
                "user",
                format!("[{}, 34]", USERS[random.usize(..USERS.len())]),
            ),
            _ => (
                "group",
                format!("[{}, 34]", USERS[random.usize(..USERS.len())]),
            ),
        },
        _ => match random.usize(..3) {
            0 => ("icmp", quoted(&["echo-request".to_owned()])),
            1 => (
                "family",
                quoted(&[["ipv4", "ipv6"][random.usize(..2)].to_owned()]),
            ),
            _ => (
                "schedule",
                quoted(&[["00:00-24:00", "mon 00:00-12:00"][random.usize(..2)].to_owned()]),
            ),
        },
    }
}

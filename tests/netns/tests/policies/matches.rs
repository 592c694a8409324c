//! Each match takes what it says and nothing beside it, in both families.

use std::net::IpAddr;

use anyhow::Result;
use uplinkd_lab::{
    ControlGroup, addresses,
    harness::Skipped,
    programs::may_change_users,
    traffic::{Guise, Packet, PacketKind},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{EVENTUALLY, within};

use crate::stage::{
    FAMILIES, Sender,
    Sender::{Client, Guest, Host, Router},
    Stage, policy,
};

const EVERYBODY: [Sender; 5] = [Client, Host(1), Host(2), Guest, Router];

type Case = (Sender, Packet, bool);

fn cases(all: Vec<(Sender, Packet)>, is_taken: impl Fn(Sender, &Packet) -> bool) -> Vec<Case> {
    let judge = |(sender, packet): (Sender, Packet)| {
        let taken = is_taken(sender, &packet);
        (sender, packet, taken)
    };
    all.into_iter().map(judge).collect()
}

fn address(text: &str) -> Result<IpAddr> {
    Ok(text.parse()?)
}

pub(crate) fn sources() -> Result<()> {
    let stage = Stage::set("")?;
    let to = |source: IpAddr| stage.server(Family::of(source), 5);
    let from = |source: &str| -> Result<Packet> {
        let source = address(source)?;
        Ok(Packet::udp(to(source), 4000).from(source))
    };
    let sources = [
        // An address, a prefix and a range, with what lies right beside them.
        ("10.0.0.7", true),
        ("10.0.0.8", false),
        ("10.0.0.6", false),
        ("10.0.0.16", true),
        ("10.0.0.23", true),
        ("10.0.0.24", false),
        ("10.0.0.15", false),
        ("10.0.0.100", true),
        ("10.0.0.109", true),
        ("10.0.0.99", false),
        ("10.0.0.110", false),
        ("fd00:10::7", true),
        ("fd00:10::8", false),
        ("fd00:10::20", true),
        ("fd00:10::2f", true),
        ("fd00:10::30", false),
        ("fd00:10::64", true),
        ("fd00:10::63", false),
    ];
    let mut list = Vec::new();
    for (source, is_taken) in sources {
        list.push((Client, from(source)?, is_taken));
    }
    let what = "source = [\"10.0.0.7\", \"10.0.0.16/29\", \"10.0.0.100-10.0.0.109\", \
                \"fd00:10::7\", \"fd00:10::20/124\", \"fd00:10::64-fd00:10::6d\"]";
    stage.takes(what, &list)?;
    let turned: Vec<_> = list.iter().map(|(s, p, t)| (*s, *p, !t)).collect();
    stage.takes(&format!("not = {{ {what} }}"), &turned)
}

pub(crate) fn destinations() -> Result<()> {
    let stage = Stage::set("")?;
    let destinations = [
        ("198.18.9.9", true),
        ("198.18.9.10", false),
        ("198.18.32.0", true),
        ("198.18.47.255", true),
        ("198.18.48.0", false),
        ("198.18.31.255", false),
        ("198.19.0.5", true),
        ("198.19.1.4", true),
        ("198.19.1.5", false),
        ("198.19.0.4", false),
        ("2001:db8:ffff:9::9", true),
        ("2001:db8:ffff:9::a", false),
        ("2001:db8:ffff:1000::1", true),
        ("2001:db8:ffff:1fff:ffff::1", true),
        ("2001:db8:ffff:2000::1", false),
        ("2001:db8:ffff:2000::5", true),
    ];
    let mut list = Vec::new();
    for (to, is_taken) in destinations {
        let to = address(to)?;
        for sender in [Client, Router] {
            list.push((sender, Packet::udp(to, 4000), is_taken));
            list.push((sender, Packet::tcp(to, 4000), is_taken));
            list.push((sender, Packet::new(to, PacketKind::Echo), is_taken));
        }
    }
    let what = "destination = [\"198.18.9.9\", \"198.18.32.0/20\", \"198.19.0.5-198.19.1.4\", \
                \"2001:db8:ffff:9::9\", \"2001:db8:ffff:1000::/52\", \
                \"2001:db8:ffff:2000::5-2001:db8:ffff:2000::8\"]";
    stage.takes(what, &list)?;
    let turned: Vec<_> = list.iter().map(|(s, p, t)| (*s, *p, !t)).collect();
    stage.takes(&format!("not = {{ {what} }}"), &turned)
}

pub(crate) fn a_file_of_prefixes_is_read_again_when_it_changes() -> Result<()> {
    let stage = Stage::without_daemon(&policy(
        "destination = [{ file = \"nets.txt\" }, \"198.18.77.7\"]",
    ))?;
    let file = stage.rig.lab().folder().join("nets.txt");
    std::fs::write(
        &file,
        "# ours\n198.18.64.0/24\n2001:db8:ffff:64::/64 # theirs\n",
    )?;
    let mut stage = stage;
    stage.rig.start_daemon()?;
    stage.rig.wait_settled()?;
    let taken = |listed: [&str; 3], others: [&str; 3]| -> Result<Vec<Case>> {
        let mut list = Vec::new();
        for (all, is_taken) in [(listed, true), (others, false)] {
            for to in all {
                let to = address(to)?;
                list.extend([Client, Router].map(|s| (s, Packet::udp(to, 4000), is_taken)));
            }
        }
        Ok(list)
    };
    let first = ["198.18.64.5", "2001:db8:ffff:64::5", "198.18.77.7"];
    let second = ["198.18.65.5", "2001:db8:ffff:65::5", "198.18.77.7"];
    let neither = "198.18.66.1";
    stage.ensure_taken(
        "as it began",
        &taken(first, [second[0], second[1], neither])?,
    )?;
    // As editors do it: a new file in the place of the old one.
    let change = |text: &str| -> Result<()> {
        let fresh = file.with_extension("new");
        std::fs::write(&fresh, text)?;
        Ok(std::fs::rename(fresh, &file)?)
    };
    let before = stage.rig.count_events("reloaded")?;
    change("198.18.65.0-198.18.65.255\n2001:db8:ffff:65::/64\n")?;
    within("the list is read again", EVENTUALLY, || {
        Ok(stage.rig.count_events("reloaded")? > before)
    })?;
    stage.rig.wait_settled()?;
    stage.ensure_taken("changed", &taken(second, [first[0], first[1], neither])?)?;
    // A list that cannot be read changes nothing.
    change("198.18.64.0/24\nnonsense\n")?;
    std::thread::sleep(std::time::Duration::from_millis(700));
    stage.ensure_taken("spoilt", &taken(second, [first[0], first[1], neither])?)
}

pub(crate) fn protocols() -> Result<()> {
    let stage = Stage::set("")?;
    // Connection tracking computes the checksum of UDP-Lite as if it were UDP, and finds it wrong.
    stage
        .rig
        .lab()
        .router()
        .set_sysctls(&[("net.netfilter.nf_conntrack_checksum", "0")])?;
    let mut server = 0;
    let mut all = |sender: Sender| -> Vec<(Sender, u8, Packet)> {
        let mut list = Vec::new();
        for family in FAMILIES {
            // Each time another: protocols without ports can be translated once for each server.
            server += 1;
            let to = stage.server(family, server);
            let icmp = if family == Family::V4 { 1 } else { 58 };
            list.push((sender, 6, Packet::tcp(to, 4000)));
            list.push((sender, 17, Packet::udp(to, 4000)));
            list.push((sender, icmp, Packet::new(to, PacketKind::Echo)));
            for protocol in [132, 136, 33, 47, 50, 89] {
                let kind = PacketKind::Other {
                    protocol,
                    source_port: 0,
                    port: 4000,
                };
                list.push((sender, protocol, Packet::new(to, kind)));
            }
        }
        list
    };
    for (what, numbers) in [
        ("protocol = \"udp\"", &[17][..]),
        ("protocol = [\"tcp\", 47]", &[6, 47]),
        ("protocol = \"icmp\"", &[1, 58]),
        (
            "protocol = [\"sctp\", \"udplite\", \"gre\", \"esp\", \"ospf\"]",
            &[132, 136, 47, 50, 89],
        ),
        // Ports belong to five protocols.
        ("dport = 4000", &[6, 17, 132, 136, 33]),
        ("dport = \"3990-4010\"", &[6, 17, 132, 136, 33]),
        ("dport = [4001, \"1-3999\"]", &[]),
        ("not = { dport = 4001 }", &[6, 17, 132, 136, 33]),
        (
            "not = { protocol = [\"udp\", \"icmp\"] }",
            &[6, 132, 136, 33, 47, 50, 89],
        ),
    ] {
        let mut list = Vec::new();
        for sender in [Client, Router] {
            let packets = all(sender).into_iter();
            list.extend(packets.map(|(s, n, p)| (s, p, numbers.contains(&n))));
        }
        stage.takes(what, &list)?;
    }
    Ok(())
}

pub(crate) fn ports_on_both_sides() -> Result<()> {
    let stage = Stage::set("")?;
    let mut port_of_its_own = 30_000;
    let mut both = |sport: u16, dport: u16, is_taken: bool| -> Vec<Case> {
        let mut list = Vec::new();
        for sender in [Client, Router] {
            for family in FAMILIES {
                port_of_its_own += 1;
                let sport = if sport == 0 { port_of_its_own } else { sport };
                let to = stage.server(family, usize::from(port_of_its_own % 40));
                list.push((sender, Packet::udp(to, dport).from_port(sport), is_taken));
                list.push((sender, Packet::tcp(to, dport).from_port(sport), is_taken));
            }
        }
        list
    };
    let list = [
        both(0, 5060, true),
        both(0, 5061, true),
        both(0, 5062, false),
        both(0, 5059, false),
        both(0, 443, true),
        both(0, 442, false),
        both(0, 20_000, true),
        both(0, 20_001, false),
    ]
    .concat();
    stage.takes("dport = [\"5060-5061\", 443, \"10000-20000\"]", &list)?;
    let list = [
        both(2000, 4000, true),
        both(2047, 4000, true),
        both(2048, 4000, false),
        both(1999, 4000, false),
    ]
    .concat();
    stage.takes("sport = \"2000-2047\"", &list)?;
    let list = [
        both(2100, 4000, true),
        both(2100, 4001, false),
        both(2101, 4000, false),
    ]
    .concat();
    stage.takes(
        "sport = 2100, dport = 4000, protocol = [\"udp\", \"tcp\"]",
        &list,
    )
}

pub(crate) fn interfaces_and_devices() -> Result<()> {
    let stage = Stage::set("")?;
    let all = || stage.everything(&EVERYBODY);
    stage.takes("interface = \"guest0\"", &cases(all(), |s, _| s == Guest))?;
    stage.takes(
        "interface = [\"lan0\"]",
        &cases(all(), |s, _| s.interface() == Some("lan0")),
    )?;
    stage.takes(
        "not = { interface = \"lan0\" }",
        &cases(all(), |s, _| s.interface() != Some("lan0")),
    )?;
    let mac = |number: u8| {
        let bytes = addresses::host_mac(number).map(|b| format!("{b:02x}"));
        format!("\"{}\"", bytes.join(":"))
    };
    stage.takes(
        &format!("mac = {}", mac(2)),
        &cases(all(), |s, _| s == Host(2)),
    )?;
    stage.takes(
        &format!("mac = [{}, {}]", mac(0), mac(1)),
        &cases(all(), |s, _| matches!(s, Client | Host(1))),
    )?;
    stage.takes(
        &format!("interface = \"lan0\", not = {{ mac = {} }}", mac(1)),
        &cases(all(), |s, _| matches!(s, Client | Host(2))),
    )
}

pub(crate) fn families() -> Result<()> {
    let stage = Stage::set("")?;
    let is = |family| move |_: Sender, p: &Packet| Family::of(p.to) == family;
    let all = || stage.everything(&[Client, Router]);
    stage.takes("family = \"ipv6\"", &cases(all(), is(Family::V6)))?;
    stage.takes("not = { family = \"ipv6\" }", &cases(all(), is(Family::V4)))?;
    stage.takes(
        "family = \"ipv4\", protocol = \"icmp\"",
        &cases(all(), |_, p| {
            Family::of(p.to) == Family::V4 && p.kind == PacketKind::Echo
        }),
    )
}

pub(crate) fn code_points() -> Result<()> {
    let stage = Stage::set("")?;
    let with = |dscp: u8| {
        let guise = Guise {
            dscp: Some(dscp),
            ..Guise::default()
        };
        let all = stage.everything(&[Client, Router]);
        all.into_iter()
            .map(move |(s, p)| (s, p.guise(guise)))
            .collect::<Vec<_>>()
    };
    let mut list = Vec::new();
    for (dscp, is_taken) in [
        (46, true),
        (26, true),
        (8, true),
        (0, false),
        (45, false),
        (47, false),
    ] {
        list.extend(cases(with(dscp), |_, _| is_taken));
    }
    stage.takes("dscp = [\"ef\", 26, \"cs1\"]", &list)?;
    let turned: Vec<_> = list.iter().map(|(s, p, t)| (*s, *p, !t)).collect();
    stage.takes("not = { dscp = [\"ef\", 26, \"cs1\"] }", &turned)
}

pub(crate) fn marks_of_others() -> Result<()> {
    let stage = Stage::set("")?;
    // Somebody marks what comes from some ports, before us.
    stage.rig.lab().router().nft(
        "table inet marker { chain pre { type filter hook prerouting priority raw; \
         iifname \"lan0\" udp sport 7001 meta mark set 0x10; \
         iifname \"lan0\" udp sport 7002 meta mark set 0x12; \
         iifname \"lan0\" udp sport 7003 meta mark set 0x20; }; }\n",
    )?;
    // Each time another server: the connections of before are still known.
    let marked = |server: usize, is_taken: [bool; 4]| {
        let mut list = Vec::new();
        for family in FAMILIES {
            let to = stage.server(family, server);
            for (number, is_taken) in is_taken.into_iter().enumerate() {
                let (port, mark) = [(7001, 0x10), (7002, 0x12), (7003, 0x20), (7004, 0)][number];
                let packet = Packet::udp(to, 4000);
                list.push((Client, packet.from_port(port), is_taken));
                let guise = Guise {
                    mark: Some(mark),
                    ..Guise::default()
                };
                list.push((Router, packet.guise(guise), is_taken));
            }
        }
        list
    };
    stage.takes("mark = 0x10", &marked(10, [true, false, false, false]))?;
    stage.takes(
        "mark = \"0x10/0xf0\"",
        &marked(11, [true, true, false, false]),
    )?;
    stage.takes(
        "mark = [\"0x2/0x2\", 0x20]",
        &marked(12, [false, true, true, false]),
    )?;
    stage.takes(
        "not = { mark = \"0x10/0xf0\" }",
        &marked(13, [false, false, true, true]),
    )
}

pub(crate) fn users_and_groups() -> Result<()> {
    if !may_change_users() {
        return Err(Skipped("there is only one user in here".to_owned()).into());
    }
    let stage = Stage::set("")?;
    let with = |user: Option<u32>, group: Option<u32>| {
        let guise = Guise {
            user,
            group,
            ..Guise::default()
        };
        let own = stage.everything(&[Router]);
        own.into_iter()
            .map(move |(s, p)| (s, p.guise(guise)))
            .collect::<Vec<_>>()
    };
    let mut list = cases(stage.everything(&[Client]), |_, _| false);
    for (user, is_taken) in [
        (34, true),
        (1000, true),
        (1003, true),
        (33, false),
        (1004, false),
    ] {
        list.extend(cases(with(Some(user), None), |_, _| is_taken));
    }
    // `backup` is 34 on every Debian; names are resolved by the machine's own files.
    stage.takes("user = [34, 1000, 1001, 1002, 1003]", &list)?;
    stage.takes(
        "user = \"daemon\"",
        &[
            cases(with(Some(1), None), |_, _| true),
            cases(with(Some(2), None), |_, _| false),
            cases(with(None, None), |_, _| false),
        ]
        .concat(),
    )?;
    stage.takes(
        "not = { user = 1 }",
        &[
            cases(with(Some(1), None), |_, _| false),
            cases(with(Some(2), None), |_, _| true),
            cases(stage.everything(&[Guest]), |_, _| true),
        ]
        .concat(),
    )?;
    stage.takes(
        "group = [\"daemon\", 4000]",
        &[
            cases(with(None, Some(1)), |_, _| true),
            cases(with(None, Some(4000)), |_, _| true),
            cases(with(Some(4000), Some(4001)), |_, _| false),
            cases(stage.everything(&[Client]), |_, _| false),
        ]
        .concat(),
    )
}

pub(crate) fn control_groups() -> Result<()> {
    let name = format!("uplink-lab-{}", std::process::id());
    let make = |path: &str| {
        ControlGroup::make(path).map_err(|e| anyhow::Error::new(Skipped(format!("{e:#}"))))
    };
    let service = make(&format!("{name}/backup.service"))?;
    let below = make(&format!("{name}/backup.service/worker"))?;
    let beside = make(&format!("{name}/backup.service2"))?;
    let stage = Stage::set("")?;
    let own = |group: Option<&ControlGroup>, is_taken: bool| -> Result<()> {
        let packets = stage.everything(&[Router]);
        let sent = || stage.fates(&packets);
        let fates = match group {
            Some(group) => group.inside(sent)?,
            None => sent()?,
        };
        let place = group.map_or("none", ControlGroup::path);
        let line = uplinkd_netns_tests::isp(if is_taken { 2 } else { 1 });
        crate::stage::ensure_over(&fates, line, &format!("control group {place}"))
    };
    stage.reload(&policy(&format!("cgroup = \"{name}/backup.service\"")))?;
    own(Some(&service), true)?;
    own(Some(&below), true)?;
    own(Some(&beside), false)?;
    own(None, false)?;
    stage.ensure_taken(
        "forwarded",
        &cases(stage.everything(&[Client]), |_, _| false),
    )?;
    stage.reload(&policy(&format!(
        "cgroup = [\"{name}/backup.service2\", \"{name}/none\"]"
    )))?;
    own(Some(&beside), true)?;
    own(Some(&service), false)?;
    stage.reload(&policy(&format!(
        "not = {{ cgroup = \"{name}/backup.service\" }}"
    )))?;
    own(Some(&below), false)?;
    own(Some(&beside), true)
}

pub(crate) fn icmp_types() -> Result<()> {
    let stage = Stage::set("")?;
    let mut list = Vec::new();
    for sender in [Client, Router] {
        for family in FAMILIES {
            let to = stage.server(family, 7);
            list.push((sender, Packet::new(to, PacketKind::Echo), true));
            list.push((sender, Packet::udp(to, 8), false));
            if family == Family::V4 {
                // A question for the time, type 13.
                list.push((sender, Packet::new(to, PacketKind::Icmp(13)), false));
            }
        }
    }
    stage.takes("icmp = \"echo-request\"", &list)?;
    let turned: Vec<_> = list
        .iter()
        // Of other protocols it says nothing, not even the opposite.
        .map(|(s, p, t)| (*s, *p, !t && !matches!(p.kind, PacketKind::Udp { .. })))
        .collect();
    stage.takes("not = { icmp = \"echo-request\" }", &turned)
}

pub(crate) fn several_conditions_together() -> Result<()> {
    let stage = Stage::set("")?;
    let mut list = Vec::new();
    for sender in [Client, Host(1), Guest] {
        for family in FAMILIES {
            for (number, port) in [(8, 5060), (8, 5070), (9, 5060)] {
                let to = stage.server(family, number);
                let is_there = number == 8 && port == 5060 && sender != Guest;
                list.push((sender, Packet::udp(to, port), is_there && sender != Host(1)));
                list.push((sender, Packet::tcp(to, port), false));
            }
        }
    }
    let there = FAMILIES
        .map(|f| format!("\"{}\"", stage.server(f, 8)))
        .join(", ");
    let there = format!(
        "protocol = \"udp\", dport = \"5000-5065\", destination = [{there}], interface = \"lan0\", \
         not = {{ mac = \"02:00:00:00:01:01\", source = \"10.9.0.0/16\", sport = 53 }}"
    );
    stage.takes(&there, &list)
}

pub(crate) fn the_first_that_matches_decides() -> Result<()> {
    let stage = Stage::set("")?;
    let text = crate::stage::policies([
        ("dport = 4001", "use = \"isp1\""),
        (
            "dport = \"4000-4002\", protocol = \"udp\"",
            "use = \"isp2\"",
        ),
        ("protocol = \"udp\"", "use = \"isp1\""),
        ("", "use = \"isp2\""),
    ]);
    stage.reload(&format!("{}{text}", crate::stage::ISP1_BY_DEFAULT))?;
    let mut list = Vec::new();
    for sender in EVERYBODY {
        for family in FAMILIES {
            let to = stage.server(family, 3);
            list.push((sender, Packet::udp(to, 4001), false));
            list.push((sender, Packet::tcp(to, 4001), false));
            list.push((sender, Packet::udp(to, 4000), true));
            list.push((sender, Packet::udp(to, 4003), false));
            list.push((sender, Packet::tcp(to, 4000), true));
            list.push((sender, Packet::new(to, PacketKind::Echo), true));
        }
    }
    stage.ensure_taken("in order", &list)
}

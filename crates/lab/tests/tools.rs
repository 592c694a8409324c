//! The laboratory's tools: hosts and families, packets of every kind, other people's programs. The
//! router only forwards and translates, over its best line.

use std::{
    net::IpAddr,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{
    ControlGroup, FAMILIES, Fault, Ipv6, Isp, Lab, LabSpec, Netns, addresses, harness,
    harness::Skipped,
    programs::{Dnsmasq, Docker, NetworkManager, Networkd, ip, iptables, may_change_users},
    traffic::{
        Fate, Guise, PORT, Packet, PacketKind, Ping, Servers, Transport, Witness, dns::resolve,
        send_all, shares,
    },
};
use uplinkd_model::Family;

fn main() -> ExitCode {
    harness::run(&[
        (
            "every_host_has_its_own_address",
            every_host_has_its_own_address,
        ),
        (
            "ipv6_comes_as_it_was_asked_for",
            ipv6_comes_as_it_was_asked_for,
        ),
        ("a_family_fails_alone", a_family_fails_alone),
        (
            "every_address_and_port_answers",
            every_address_and_port_answers,
        ),
        (
            "packets_of_every_protocol_are_seen",
            packets_of_every_protocol_are_seen,
        ),
        (
            "a_refused_packet_is_told_from_a_lost_one",
            a_refused_packet_is_told_from_a_lost_one,
        ),
        (
            "a_guise_is_what_the_router_sees",
            a_guise_is_what_the_router_sees,
        ),
        (
            "a_control_group_is_what_the_router_sees",
            a_control_group_is_what_the_router_sees,
        ),
        ("dnsmasq_fills_a_set", dnsmasq_fills_a_set),
        (
            "networkd_purges_what_is_foreign",
            networkd_purges_what_is_foreign,
        ),
        (
            "network_manager_manages_a_line",
            network_manager_manages_a_line,
        ),
        ("docker_makes_its_rules", docker_makes_its_rules),
    ])
}

const PATIENCE: Duration = Duration::from_millis(700);

/// A laboratory whose router forwards and translates.
fn routed(spec: LabSpec) -> Result<Lab> {
    let lab = Lab::build(spec)?;
    lab.router().set_sysctls(&[
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
    ])?;
    lab.router().nft(
        "table inet play { chain nat { type nat hook postrouting priority srcnat; \
         oifname \"wan*\" masquerade; }; }\n",
    )?;
    Ok(lab)
}

fn isp(number: usize) -> Isp {
    Isp::new(number).expect("a number from 1 to 15")
}

fn every_host_has_its_own_address() -> Result<()> {
    let lab = routed(LabSpec {
        hosts: 3,
        guests: true,
        ..LabSpec::default()
    })?;
    let _servers = Servers::start(lab.internet(), PORT)?;
    let guest = lab.guest().context("no guest")?;
    let hosts = (0..=3).map(|n| lab.host(n)).chain([guest]);
    for host in hosts {
        for family in FAMILIES {
            let counted = shares(host, Transport::Udp, &lab.servers(family), 20)?;
            ensure!(
                counted.of(isp(1)) == 20,
                "{} {family}: {counted}",
                host.name()
            );
        }
    }
    // A host is known by its Ethernet address, also behind the switch.
    let [_, _, _, _, _, last] = addresses::host_mac(2);
    lab.router().nft(&format!(
        "table inet mac {{ chain pre {{ type filter hook prerouting priority raw; \
         ether saddr 02:00:00:00:01:{last:02x} drop; }}; }}\n"
    ))?;
    for (number, is_dropped) in [(1, false), (2, true), (3, false)] {
        let answer = Ping::new(lab.servers(Family::V6)[0]).ask(lab.host(number))?;
        ensure!(answer.is_none() == is_dropped, "host {number}");
    }
    Ok(())
}

fn ipv6_comes_as_it_was_asked_for() -> Result<()> {
    for (ipv6, gateway) in [
        (Ipv6::Advertised, Some("fe80::1".to_owned())),
        (Ipv6::Static, Some("2001:db8:1::1".to_owned())),
        (Ipv6::Absent, None),
    ] {
        let lab = routed(LabSpec {
            ipv6,
            ..LabSpec::default()
        })?;
        let mut command = Command::new("ip");
        command.args(["-6", "route", "show", "default", "dev", "wan1"]);
        let told = lab.router().output(command, "", Duration::from_secs(5))?;
        ensure!(
            gateway.as_ref().map_or(told.stdout.is_empty(), |g| {
                told.stdout.contains(&format!("via {g} "))
            }),
            "{ipv6:?}: {}",
            told.stdout
        );
        for number in [1, 2] {
            let ping = Ping::new(lab.servers(Family::V6)[0]);
            let device = isp(number).interface();
            let answer = ping.by(&device).ask(lab.router())?;
            ensure!(answer.is_some() == gateway.is_some(), "{ipv6:?} {number}");
        }
        // It comes back with the cable.
        Fault::Carrier.apply(&lab, isp(1))?.heal()?;
        Fault::Interface.apply(&lab, isp(1))?.heal()?;
        let answer = Ping::new(lab.servers(Family::V6)[0]).ask(lab.client())?;
        ensure!(answer.is_some() == gateway.is_some(), "{ipv6:?} healed");
    }
    Ok(())
}

fn a_family_fails_alone() -> Result<()> {
    let lab = Lab::build(LabSpec::default())?;
    for broken in FAMILIES {
        for fault in [Fault::UpstreamOf(broken), Fault::AddressOf(broken)] {
            let applied = fault.apply(&lab, isp(1))?;
            for family in FAMILIES {
                let ping = Ping::new(lab.servers(family)[0]).by("wan1");
                let answer = ping.ask(lab.router())?;
                ensure!(answer.is_none() == (family == broken), "{fault}: {family}");
            }
            applied.heal()?;
            let ping = Ping::new(lab.servers(broken)[0]).by("wan1");
            ensure!(ping.ask(lab.router())?.is_some(), "{fault} does not heal");
        }
    }
    Ok(())
}

fn every_address_and_port_answers() -> Result<()> {
    let lab = routed(LabSpec::default())?;
    lab.answer_everywhere()?;
    let _servers = Servers::start(lab.internet(), PORT)?;
    let far: [IpAddr; 2] = ["198.19.77.78".parse()?, "2001:db8:ffff:77::78".parse()?];
    for to in far {
        for transport in [Transport::Udp, Transport::Tcp] {
            let mut load = uplinkd_lab::traffic::Load::new(
                transport,
                200,
                Duration::from_millis(100),
                vec![to],
            );
            load.port = 5061;
            let attempts = load.run(lab.client())?;
            ensure!(
                attempts.failed() == 0,
                "{to} {transport:?}: {}",
                attempts.shares()
            );
        }
    }
    Ok(())
}

fn packets_of_every_protocol_are_seen() -> Result<()> {
    let lab = routed(LabSpec::default())?;
    // Connection tracking computes the checksum of UDP-Lite as if it were UDP, and finds it wrong.
    lab.router()
        .set_sysctls(&[("net.netfilter.nf_conntrack_checksum", "0")])?;
    let witness = Witness::start(&lab)?;
    // Each has a server of its own: protocols without ports can be translated once only.
    for (netns, number) in [(lab.client(), 3), (lab.router(), 4)] {
        let name = netns.name();
        for family in FAMILIES {
            let to = lab.servers(family)[number];
            let other = |protocol| PacketKind::Other {
                protocol,
                source_port: 4000,
                port: 5000,
            };
            let mut packets = vec![
                Packet::udp(to, 5000),
                Packet::tcp(to, 5000).from_port(4000),
                Packet::new(to, PacketKind::Echo),
            ];
            // SCTP, UDP-Lite, DCCP, GRE, ESP, OSPF.
            packets.extend([132, 136, 33, 47, 50, 89].map(|p| Packet::new(to, other(p))));
            if family == Family::V4 {
                packets.push(Packet::new(to, PacketKind::Icmp(13)));
            }
            let sent = send_all(netns, &packets)?;
            let fates = witness.fates(&sent, PATIENCE);
            let expected = Fate::Over(isp(1), isp(1).router(family).addr());
            for (packet, fate) in packets.iter().zip(&fates) {
                ensure!(
                    *fate == expected,
                    "{name}: {packet:?}: {fate:?}, not {expected:?}"
                );
            }
        }
    }
    Ok(())
}

fn a_refused_packet_is_told_from_a_lost_one() -> Result<()> {
    let lab = routed(LabSpec::default())?;
    // The kernel tells a host about refusals six times, and then once in a second.
    lab.router().set_sysctls(&[
        ("net.ipv4.icmp_ratelimit", "0"),
        ("net.ipv6.icmp.ratelimit", "0"),
    ])?;
    let witness = Witness::start(&lab)?;
    for family in FAMILIES {
        let servers = lab.servers(family);
        ip(
            lab.router(),
            &format!("{} route add prohibit {}", flag(family), servers[1]),
        )?;
        ip(
            lab.router(),
            &format!("{} route add blackhole {}", flag(family), servers[2]),
        )?;
        for netns in [lab.client(), lab.router()] {
            for make in [Packet::udp, Packet::tcp, |to, _| {
                Packet::new(to, PacketKind::Echo)
            }] {
                let packets = [1, 2].map(|n| make(servers[n], 5000));
                let begun = Instant::now();
                let sent = send_all(netns, &packets)?;
                let refused = witness.fates(&sent[..1], PATIENCE);
                ensure!(
                    matches!(refused[0], Fate::Refused(_)) && begun.elapsed() < PATIENCE / 2,
                    "{} {:?}: {refused:?} after {:?}",
                    netns.name(),
                    packets[0],
                    begun.elapsed()
                );
                if netns.name() == "client" {
                    let lost = witness.fates(&sent[1..], PATIENCE / 5);
                    ensure!(lost[0] == Fate::Vanished, "{lost:?}");
                }
            }
        }
    }
    Ok(())
}

fn flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

fn a_guise_is_what_the_router_sees() -> Result<()> {
    if !may_change_users() {
        return Err(Skipped("there is only one user in here".to_owned()).into());
    }
    let lab = routed(LabSpec::default())?;
    let witness = Witness::start(&lab)?;
    lab.router().nft(
        "table inet guise { chain out { type filter hook output priority 0; \
         meta skuid 4711 drop; meta skgid 4712 drop; meta mark 0x4713 drop; }; }\n",
    )?;
    let guises = [
        Guise {
            user: Some(4711),
            ..Guise::default()
        },
        Guise {
            group: Some(4712),
            ..Guise::default()
        },
        Guise {
            mark: Some(0x4713),
            ..Guise::default()
        },
        Guise {
            user: Some(4712),
            group: Some(4711),
            mark: Some(1),
            dscp: Some(46),
        },
    ];
    for family in FAMILIES {
        let to = lab.servers(family)[0];
        let kinds = [
            Packet::udp(to, 5000),
            Packet::tcp(to, 5000),
            Packet::new(to, PacketKind::Echo),
        ];
        for packet in kinds {
            let packets = guises.map(|g| packet.guise(g));
            let sent = send_all(lab.router(), &packets)?;
            let fates = witness.fates(&sent, PATIENCE / 4);
            let is_over: Vec<_> = fates.iter().map(|f| f.isp().is_some()).collect();
            ensure!(
                is_over == [false, false, false, true],
                "{packet:?}: {fates:?}"
            );
            let dscp = witness.seen(&sent[3]).map(|s| s.dscp);
            ensure!(dscp == Some(46), "{packet:?}: {dscp:?}");
        }
    }
    Ok(())
}

fn a_control_group_is_what_the_router_sees() -> Result<()> {
    let path = format!("uplink-lab-{}/inner", std::process::id());
    let group = ControlGroup::make(&path).map_err(|e| Skipped(format!("{e:#}")))?;
    let lab = routed(LabSpec::default())?;
    let witness = Witness::start(&lab)?;
    // The kernel knows a group by its number, which is its inode's.
    let packet = Packet::udp(lab.servers(Family::V4)[0], 5000);
    let before = group.inside(|| {
        let cgroup = std::fs::read_to_string("/proc/self/cgroup")?;
        ensure!(cgroup.contains(&format!("0::/{path}")), "{cgroup}");
        send_all(lab.router(), &[packet])
    })?;
    ensure!(witness.fates(&before, PATIENCE)[0].isp() == Some(isp(1)));
    let cgroup = std::fs::read_to_string("/proc/self/cgroup")?;
    ensure!(!cgroup.contains(&path), "{cgroup}");
    drop(group);
    ensure!(ControlGroup::make(&path).is_ok());
    Ok(())
}

fn dnsmasq_fills_a_set() -> Result<()> {
    let lab = routed(LabSpec::default())?;
    let v4: IpAddr = "198.18.0.7".parse()?;
    let v6: IpAddr = "2001:db8:ffff::7".parse()?;
    lab.router().nft(
        "table inet names { set v4 { type ipv4_addr; flags timeout, dynamic; timeout 2s; }; \
         set v6 { type ipv6_addr; flags timeout, dynamic; timeout 2s; }; }\n",
    )?;
    let names = [("zoom.test", v4), ("zoom.test", v6)];
    let _authority = Dnsmasq::authority(&lab, &names, Duration::from_secs(1))?;
    let resolver = Dnsmasq::resolver(&lab, "nftset=/zoom.test/4#inet#names#v4,6#inet#names#v6")?;
    let ask = |name: &str, family| {
        resolve(
            lab.client(),
            addresses::lan_router(Family::V4).addr(),
            name,
            family,
        )
    };
    ensure!(ask("eu.zoom.test", Family::V4)? == [v4]);
    ensure!(ask("zoom.test", Family::V6)? == [v6]);
    let holds = |set: &str, address: IpAddr| -> Result<bool> {
        let mut command = Command::new("nft");
        command.args(["list", "set", "inet", "names", set]);
        let output = lab.router().output(command, "", Duration::from_secs(5))?;
        Ok(output.stdout.contains(&address.to_string()))
    };
    ensure!(holds("v4", v4)? && holds("v6", v6)?, "{}", resolver.log());
    std::thread::sleep(Duration::from_millis(2200));
    ensure!(!holds("v4", v4)?, "the address stays for ever");
    Ok(())
}

fn networkd_purges_what_is_foreign() -> Result<()> {
    let lab = routed(LabSpec::default())?;
    let file = "[Match]\nName=late0\n[Network]\nAddress=192.0.2.2/24\nLinkLocalAddressing=no\n";
    let networkd = Networkd::start(&lab, &[("10-late.network", file)])?;
    ip(lab.router(), "rule add pref 2000 lookup main proto 177")?;
    ip(lab.router(), "link add late0 type veth peer name late1")?;
    let rules = || -> Result<String> {
        let mut command = Command::new("ip");
        command.arg("rule");
        let output = lab.router().output(command, "", Duration::from_secs(5))?;
        Ok(output.stdout)
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while rules()?.contains("2000:") {
        ensure!(Instant::now() < deadline, "not purged\n{}", networkd.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn network_manager_manages_a_line() -> Result<()> {
    let lab = routed(LabSpec::default())?;
    let keyfile = "[connection]\nid=wan1\ntype=ethernet\ninterface-name=wan1\n\
                   [ipv4]\nmethod=manual\naddress1=100.64.1.2/24,100.64.1.1\n\
                   [ipv6]\nmethod=manual\naddress1=2001:db8:1::2/64,fe80::1\n";
    let manager = NetworkManager::start(&lab, &[("wan1", keyfile)])?;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let devices = manager.control(&["-t", "device"])?;
        if devices.stdout.contains("wan1:ethernet:connected:wan1") {
            ensure!(
                devices.stdout.contains("wan2:ethernet:unmanaged"),
                "{}",
                devices.stdout
            );
            break;
        }
        let told = format!("{}{}", devices.stdout, devices.stderr);
        ensure!(Instant::now() < deadline, "{told}\n{}", manager.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    works(&lab, lab.client())
}

fn docker_makes_its_rules() -> Result<()> {
    let lab = routed(LabSpec::default())?;
    let docker = Docker::start(&lab)?;
    let container = docker.container(&lab)?;
    let _servers = Servers::start(lab.internet(), PORT)?;
    let servers = lab.servers(Family::V4);
    let counted = shares(&container, Transport::Tcp, &servers, 20)?;
    ensure!(counted.of(isp(1)) == 20, "{counted}\n{}", docker.log());
    docker.publish(&lab, 8080, PORT)?;
    let _published = Servers::start(&container, PORT)?;
    let load = uplinkd_lab::traffic::Load {
        port: 8080,
        ..uplinkd_lab::traffic::Load::new(
            Transport::Tcp,
            100,
            Duration::from_millis(200),
            vec![isp(1).router(Family::V4).addr()],
        )
    };
    let attempts = load.run(lab.internet())?;
    ensure!(attempts.failed() == 0, "{}", attempts.shares());
    iptables(lab.router(), "-C FORWARD -j DOCKER-USER")
}

fn works(lab: &Lab, from: &Netns) -> Result<()> {
    for family in FAMILIES {
        let answer = Ping::new(lab.servers(family)[0]).ask(from)?;
        ensure!(answer.is_some(), "{family} does not work");
    }
    Ok(())
}

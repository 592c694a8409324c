//! Random packets under random policies: what `explain` says of each is what the packet does.
//!
//! `UPLINK_LAB_SEED=N` repeats a run; each failure tells the seed of its round.

mod random;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use uplinkd_api::{ConnectionQuery, DecisionKind, Explain, ExplainQuery, MacAddress};
use uplinkd_lab::{
    Fault,
    traffic::{Fate, Packet, PacketKind, Transport},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{Ask, isp};

use self::random::{GROUPS, first_port, packet, policies};
use crate::stage::{FAMILIES, ISP1_BY_DEFAULT, Sender, Stage};

/// Packets in each round.
const PACKETS: usize = 130;
/// How many packets of a round are asked about by command too.
const COMMANDS: usize = 8;
/// How many packets of a round may hang on something that nobody can know beforehand: the source
/// address that the kernel gives to a socket of the router.
const UNKNOWN_MAX: usize = PACKETS / 4;
/// Somebody marks what comes from the LAN with these code points, before us.
const MARKER: &str = "table inet marker { chain pre { \
    type filter hook prerouting priority raw; \
    iifname \"lan0\" ip dscp 10 meta mark set 0x10; \
    iifname \"lan0\" ip6 dscp 10 meta mark set 0x10; \
    iifname \"lan0\" ip dscp 12 meta mark set 0x12; \
    iifname \"lan0\" ip6 dscp 12 meta mark set 0x12; }; }\n";

pub(crate) fn explain_and_the_kernel_agree() -> Result<()> {
    let seed = std::env::var("UPLINK_LAB_SEED").ok();
    let seed = match seed.and_then(|s| s.parse().ok()) {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    let stage = Stage::set(ISP1_BY_DEFAULT)?;
    stage.rig.lab().router().nft(MARKER)?;
    let faults = [
        None,
        Some((Fault::Upstream, 2)),
        None,
        Some((Fault::UpstreamOf(Family::V6), 2)),
        Some((Fault::Upstream, 1)),
    ];
    for (round, fault) in faults.into_iter().enumerate() {
        let mut random = Rng::with_seed(seed + round as u64);
        let text = policies(&mut random, round);
        let what = || format!("UPLINK_LAB_SEED={seed}, round {round}, {fault:?}\n{text}");
        stage.reload(&text).with_context(what)?;
        play(&stage, &mut random, round, fault).with_context(what)?;
        stage.rig.wait_settled()?;
    }
    Ok(())
}

/// Sends random packets, perhaps while a line is dead, and compares.
fn play(
    stage: &Stage,
    random: &mut Rng,
    round: usize,
    fault: Option<(Fault, usize)>,
) -> Result<()> {
    let mut ports: Vec<u16> = (0..PACKETS).map(|n| first_port(round) + n as u16).collect();
    random.shuffle(&mut ports);
    let mut packets = Vec::new();
    let mut queries = Vec::new();
    for (number, port) in ports.into_iter().enumerate() {
        let (sender, packet) = packet(random, number + round * PACKETS, port);
        queries.push(query(sender, &packet)?);
        packets.push((sender, packet));
    }
    let (explained, fates) = match fault {
        None => (stage.rig.explain(&queries)?, stage.fates(&packets)?),
        Some((fault, number)) => {
            let imagined = imagine(stage, &queries, number)?;
            let broken = fault.apply(stage.rig.lab(), isp(number))?;
            if let Fault::UpstreamOf(family) = fault {
                stage.rig.wait_out_of(isp(number), family)?;
            } else {
                stage.rig.wait_out(isp(number))?;
            }
            let explained = stage.rig.explain(&queries)?;
            if fault == Fault::Upstream {
                for (before, now) in imagined.iter().zip(&explained) {
                    ensure!(
                        outline(before) == outline(now),
                        "`--if-down isp{number}` said {:?}, and then it was {:?}\n  {:?}",
                        outline(before),
                        outline(now),
                        now.query
                    );
                }
            }
            let fates = stage.fates(&packets)?;
            broken.heal()?;
            (explained, fates)
        }
    };
    for (query, explain) in queries.iter().zip(&explained).take(COMMANDS) {
        ensure_told_alike(stage, query, explain, fault.is_some())?;
    }
    let dead = fault.map(|(_, number)| number);
    let mut unknown = 0;
    let mut kinds = BTreeSet::new();
    for (((sender, packet), explain), fate) in packets.iter().zip(&explained).zip(fates) {
        kinds.insert(format!("{:?}", explain.decision.kind));
        if explain.decision.kind == DecisionKind::Depends && explain.query.from.is_none() {
            unknown += 1;
            continue;
        }
        ensure!(
            agree(explain, fate, dead),
            "a packet met {fate:?}, but was explained as {:?} ({})\n  {sender:?} {packet:?}\n{}",
            explain.decision.kind,
            explain.text,
            steps(explain)
        );
    }
    ensure!(
        unknown <= UNKNOWN_MAX,
        "{unknown} of {PACKETS} could not be explained"
    );
    ensure!(kinds.len() >= 2, "all packets met the same: {kinds:?}");
    Ok(())
}

/// What is said beforehand of the time when an uplink will be down.
fn imagine(stage: &Stage, queries: &[ExplainQuery], number: usize) -> Result<Vec<Explain>> {
    let down = |query: &ExplainQuery| ExplainQuery {
        if_down: vec![isp(number).to_string()],
        ..query.clone()
    };
    let imagined: Vec<_> = queries.iter().map(down).collect();
    stage.rig.explain(&imagined)
}

/// What a decision comes to.
fn outline(explain: &Explain) -> (DecisionKind, Option<&str>, BTreeSet<&str>) {
    let decision = &explain.decision;
    let uplinks = decision.uplinks.iter().filter(|u| u.share > 0.0);
    (
        decision.kind,
        decision.policy.as_deref(),
        uplinks.map(|u| u.uplink.as_str()).collect(),
    )
}

/// `uplinkctl explain --json` says the same as the daemon.
fn ensure_told_alike(
    stage: &Stage,
    query: &ExplainQuery,
    explain: &Explain,
    has_changed: bool,
) -> Result<()> {
    let mut words = vec!["explain".to_owned(), "--json".to_owned()];
    let mut add = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([format!("--{word}"), value]);
        }
    };
    add("to", Some(query.to.to_string()));
    add("from", query.from.map(|v| v.to_string()));
    add("protocol", query.protocol.map(|v| v.to_string()));
    add("sport", query.sport.map(|v| v.to_string()));
    add("dport", query.dport.map(|v| v.to_string()));
    add("icmp", query.icmp.map(|v| v.to_string()));
    add("iif", query.iif.clone());
    add("mac", query.mac.map(|v| v.to_string()));
    add("dscp", query.dscp.map(|v| v.to_string()));
    add("mark", query.mark.map(|v| v.to_string()));
    add("uid", query.uid.map(|v| v.to_string()));
    add("gid", query.gid.map(|v| v.to_string()));
    add("cgroup", query.cgroup.clone());
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let output = stage.rig.tool("uplinkctl", &words)?;
    let told: Explain = serde_json::from_str(&output.stdout)
        .with_context(|| format!("{words:?}: {}{}", output.stdout, output.stderr))?;
    // The line may be back by now.
    ensure!(
        has_changed || outline(&told) == outline(explain),
        "{words:?}: {told:?}"
    );
    let is_refused = matches!(
        told.decision.kind,
        DecisionKind::Blocked | DecisionKind::Unreachable
    );
    ensure!(
        output.status.success() != is_refused,
        "{words:?} ended with {}",
        output.status
    );
    Ok(())
}

/// Whether a packet met what was said of it.
fn agree(explain: &Explain, fate: Fate, dead: Option<usize>) -> bool {
    let decision = &explain.decision;
    match decision.kind {
        DecisionKind::Uplink | DecisionKind::Group => match fate {
            Fate::Over(line, source) => decision.uplinks.iter().any(|uplink| {
                uplink.uplink == line.to_string()
                    && uplink.share > 0.0
                    && uplink.nat_address.is_none_or(|nat| nat == source)
            }),
            // Explained as leading into a line that is dead.
            Fate::Vanished => dead.is_some_and(|n| {
                decision
                    .uplinks
                    .iter()
                    .any(|u| u.uplink == isp(n).to_string())
            }),
            Fate::Refused(_) => false,
        },
        DecisionKind::Main => match fate {
            // What the main table says here.
            Fate::Over(line, _) => line == isp(1),
            Fate::Vanished => dead == Some(1),
            Fate::Refused(_) => false,
        },
        // How fast a refusal is told is another test's business.
        DecisionKind::Blocked | DecisionKind::Unreachable => {
            matches!(fate, Fate::Refused(_) | Fate::Vanished)
        }
        DecisionKind::Local | DecisionKind::Foreign | DecisionKind::Depends => false,
    }
}

fn steps(explain: &Explain) -> String {
    let mut text = String::new();
    for policy in &explain.policies {
        let _ = writeln!(
            text,
            "  {} {}: {}",
            policy.policy, policy.matched, policy.why
        );
    }
    for step in &explain.steps {
        let _ = writeln!(text, "  {} {}: {}", step.rule, step.matched, step.why);
    }
    text
}

fn query(sender: Sender, packet: &Packet) -> Result<ExplainQuery> {
    let mut query = ExplainQuery::to(packet.to);
    query.from = packet.from;
    let name = |word: &str| {
        word.parse()
            .map_err(|_| anyhow::anyhow!("no protocol {word}"))
    };
    match packet.kind {
        PacketKind::Udp { source_port, port } => {
            query.protocol = Some(name("udp")?);
            (query.sport, query.dport) = (Some(source_port), Some(port));
        }
        PacketKind::Tcp { source_port, port } => {
            query.protocol = Some(name("tcp")?);
            (query.sport, query.dport) = (Some(source_port), Some(port));
        }
        PacketKind::Other {
            protocol,
            source_port,
            port,
        } => {
            query.protocol = Some(name(&protocol.to_string())?);
            if protocol == 132 {
                (query.sport, query.dport) = (Some(source_port), Some(port));
            }
        }
        PacketKind::Echo | PacketKind::Icmp(_) => {
            query.protocol = Some(name("icmp")?);
            let kind = "echo-request".parse();
            query.icmp = Some(kind.map_err(|_| anyhow::anyhow!("no type echo-request"))?);
        }
    }
    query.dscp = Some(packet.guise.dscp.unwrap_or(0));
    let mark_of_lan = match (sender.interface(), packet.guise.dscp) {
        (Some("lan0"), Some(dscp @ (10 | 12))) => dscp.into(),
        _ => 0,
    };
    // 10 and 12 stand for 0x10 and 0x12.
    let mark_of_lan = if mark_of_lan == 0 { 0 } else { mark_of_lan + 6 };
    query.mark = Some(packet.guise.mark.unwrap_or(mark_of_lan));
    query.mac = sender.mac().map(MacAddress);
    match sender.interface() {
        Some(interface) => query.iif = Some(interface.to_owned()),
        None => {
            query.iif = packet.from.map(|_| "lo".to_owned());
            query.uid = Some(packet.guise.user.unwrap_or(0));
            query.gid = Some(packet.guise.group.unwrap_or(0));
            query.cgroup = Some(own_cgroup()?);
        }
    }
    Ok(query)
}

pub(crate) fn an_existing_connection_is_explained() -> Result<()> {
    let list = [
        (
            "dport = 5301",
            "name = \"strict\"\nuse = \"isp2\"\notherwise = \"block\"",
        ),
        ("dport = 5302", "name = \"calls\"\nuse = \"calls\""),
    ];
    let text = |more: &str| {
        format!(
            "{ISP1_BY_DEFAULT}{GROUPS}{}{more}",
            crate::stage::policies(list)
        )
    };
    let stage = Stage::set(&text(""))?;
    let mut held = Vec::new();
    for sender in [Sender::Client, Sender::Router] {
        for family in FAMILIES {
            for transport in [Transport::Udp, Transport::Tcp] {
                for port in [5301, 5302, 5303] {
                    let ask = Ask::new(transport, stage.server(family, 9)).port(port);
                    let mut conversation = ask.open(stage.place(sender)?)?;
                    ensure!(conversation.ask().is_seen());
                    held.push((sender, transport, port, conversation));
                }
            }
        }
    }
    // It would go elsewhere if it began now, and does not.
    stage.reload(&text(
        "[[policy]]\nname = \"late\"\nmatch = { dport = 5303 }\nuse = \"isp2\"\n",
    ))?;
    for (sender, transport, port, conversation) in &mut held {
        let answer = conversation.ask();
        let name = if *transport == Transport::Tcp {
            "tcp"
        } else {
            "udp"
        };
        let (from, to) = (conversation.local()?, conversation.peer()?);
        let told = stage.rig.explain_connection(&ConnectionQuery {
            protocol: Some(
                name.parse()
                    .map_err(|_| anyhow::anyhow!("no protocol {name}"))?,
            ),
            from: from.ip(),
            to: to.ip(),
            sport: Some(from.port()),
            dport: Some(to.port()),
            if_down: Vec::new(),
        })?;
        let line = answer.isp().context("no answer")?;
        let what = format!("{sender:?} {name} to {to}, over {line}: {}", told.text);
        ensure!(told.connection.uplink == Some(line.to_string()), "{what}");
        let now: Vec<_> = told
            .now
            .decision
            .uplinks
            .iter()
            .map(|u| u.uplink.clone())
            .collect();
        ensure!(now == [line.to_string()], "{what}");
        let anew = told.anew.as_ref().context("it could not begin anew")?;
        let policy = anew.decision.policy.as_deref();
        let wanted = match *port {
            5301 => "strict",
            5302 => "calls",
            _ => "late",
        };
        ensure!(policy == Some(wanted), "{what}: anew by {policy:?}");
    }
    Ok(())
}

fn own_cgroup() -> Result<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup")?;
    let own = text.lines().find_map(|l| l.strip_prefix("0::/"));
    Ok(own.unwrap_or_default().to_owned())
}

//! What policies count.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use uplinkd_api::Policies;
use uplinkd_lab::traffic::Transport;
use uplinkd_netns_tests::{
    Ask, EVENTUALLY,
    ask::{Conversation, ask_all, open_all},
    isp, within,
};

use crate::stage::{
    FAMILIES, ISP1_BY_DEFAULT,
    Sender::{Client, Router},
    Stage,
};

/// Connections of both transports and families, of a host and of the router: eight.
const EACH: u64 = 8;

/// Two that share a map, one that is a rule; all lead to the same outlet.
const THREE: &str = "[[policy]]\nname = \"first\"\nmatch = { dport = 5501 }\nuse = \"isp2\"\n\
                     [[policy]]\nname = \"second-one\"\nmatch = { dport = [5502, \"5510-5519\"] }\nuse = \"isp2\"\n\
                     [[policy]]\nname = \"a_rule\"\nmatch = { dport = 5503, not = { dscp = 46 } }\nuse = \"isp2\"\n";
/// They take nothing of what is tried.
const IN_FRONT: &str = "[[policy]]\nname = \"in-front\"\nmatch = { dport = 5509 }\nuse = \"block\"\n\
                        [[policy]]\nname = \"by-source\"\nmatch = { source = \"10.0.0.200\" }\nuse = \"isp1\"\n";

fn begin(stage: &Stage, port: u16) -> Result<Vec<Conversation>> {
    let mut begun = Vec::new();
    for sender in [Client, Router] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let asks = FAMILIES.map(|f| Ask::new(transport, stage.server(f, 12)).port(port));
            begun.extend(open_all(stage.place(sender)?, asks)?);
        }
    }
    let answers = ask_all(&mut begun);
    ensure!(
        answers.iter().all(|a| a.isp().is_some()),
        "not all are answered: {answers:?}"
    );
    Ok(begun)
}

fn counted(stage: &Stage) -> Result<BTreeMap<String, Option<u64>>> {
    let out = stage.rig.tool("uplinkctl", &["policies", "--json"])?;
    let policies: Policies =
        serde_json::from_str(&out.stdout).with_context(|| out.stderr.clone())?;
    let counts = policies.policies.into_iter();
    Ok(counts.map(|p| (p.name, p.connections)).collect())
}

fn ensure_counts(stage: &Stage, expected: &[(&str, u64)], when: &str) -> Result<()> {
    let counted = counted(stage)?;
    let expected: BTreeMap<_, _> = expected
        .iter()
        .map(|(name, count)| ((*name).to_owned(), Some(*count)))
        .collect();
    ensure!(counted == expected, "{when}: {counted:?}, not {expected:?}");
    Ok(())
}

fn ensure_figure(stage: &Stage, line: &str) -> Result<()> {
    let mut stream = UnixStream::connect(uplinkd_api::socket_path(&stage.rig.places().runtime()))?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.lines().any(|l| l == line), "no {line} in\n{answer}");
    Ok(())
}

/// What tells our table from one that was put in its place.
fn table(stage: &Stage) -> Result<u64> {
    let mut command = Command::new("nft");
    command.args(["-j", "list", "tables"]);
    let router = stage.rig.lab().router();
    let listed = router.output(command, "", Duration::from_secs(5))?.stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let mut tables = listed["nftables"].as_array().context("no list")?.iter();
    let ours = tables.find(|t| t["table"]["name"] == "uplinkd");
    ours.and_then(|t| t["table"]["handle"].as_u64())
        .context("no table")
}

pub(crate) fn each_policy_counts_what_it_decides() -> Result<()> {
    let mut stage = Stage::set(&format!("{ISP1_BY_DEFAULT}{THREE}"))?;
    let nothing = [("first", 0), ("second-one", 0), ("a_rule", 0)];
    ensure_counts(&stage, &nothing, "at first")?;
    let ours = table(&stage)?;
    let mut held = Vec::new();
    for port in [5501, 5502, 5515, 5503, 5503, 5503, 5504] {
        held.extend(begin(&stage, port)?);
    }
    let some = [
        ("first", EACH),
        ("second-one", 2 * EACH),
        ("a_rule", 3 * EACH),
    ];
    ensure_counts(&stage, &some, "new ones of each")?;
    ask_all(&mut held);
    ensure_counts(&stage, &some, "packets of established ones")?;
    ensure_figure(
        &stage,
        "uplinkd_policy_connections_total{policy=\"second-one\"} 16",
    )?;

    // Others come before them: into the map of ports, and beside it. Nothing is lost of what was counted.
    stage.reload(&format!("{ISP1_BY_DEFAULT}{IN_FRONT}{THREE}"))?;
    let more = [&[("in-front", 0), ("by-source", 0)], &some[..]].concat();
    ensure_counts(&stage, &more, "policies in front")?;
    begin(&stage, 5501)?;
    let more = [
        ("in-front", 0),
        ("by-source", 0),
        ("first", 2 * EACH),
        ("second-one", 2 * EACH),
        ("a_rule", 3 * EACH),
    ];
    ensure_counts(&stage, &more, "new ones after that")?;
    ensure!(table(&stage)? == ours, "the table was put anew");

    // Somebody's change of something else has all of our table looked at: what is counted is no drift.
    let router = stage.rig.lab().router();
    router.nft("table inet somebody { chain nothing { }; }\n")?;
    router.nft("delete table inet somebody\n")?;
    std::thread::sleep(Duration::from_secs(2));
    stage.rig.wait_settled()?;
    ensure_counts(&stage, &more, "a look at all of the table")?;
    ensure!(
        table(&stage)? == ours,
        "what was counted was taken for drift"
    );
    let log = stage.rig.daemon_log();
    ensure!(!log.contains("Diverged"), "{log}");

    // A daemon that has been started anew knows less, and puts all of it at the next change.
    stage.rig.stop_daemon()?;
    stage.rig.start_daemon()?;
    stage.rig.wait_settled()?;
    ensure_counts(&stage, &more, "another daemon")?;
    ensure!(table(&stage)? == ours, "a restart changed the table");
    stage.reload(&format!("{ISP1_BY_DEFAULT}{THREE}"))?;
    let fewer = [
        ("first", 2 * EACH),
        ("second-one", 2 * EACH),
        ("a_rule", 3 * EACH),
    ];
    ensure_counts(&stage, &fewer, "the table was put anew")?;
    let now = table(&stage)?;
    ensure!(now != ours, "the table was not put anew");
    let ours = now;

    // A counter goes with its policy. Who comes back begins anew.
    stage.reload(ISP1_BY_DEFAULT)?;
    ensure_counts(&stage, &[], "no policies")?;
    stage.reload(&format!("{ISP1_BY_DEFAULT}{THREE}"))?;
    ensure_counts(&stage, &nothing, "policies once more")?;
    ensure!(table(&stage)? == ours, "the table was put anew in the end");

    // Somebody who takes a counter's entry away is noticed.
    begin(&stage, 5501)?;
    let router = stage.rig.lab().router();
    router.nft("flush map inet uplinkd count_map4_protocol_dport_ranges_1\n")?;
    within("the counters' map is filled again", EVENTUALLY, || {
        let before = counted(&stage)?["first"];
        begin(&stage, 5501)?;
        Ok(counted(&stage)?["first"] == before.map(|b| b + EACH))
    })?;
    ensure!(
        ask_all(&mut held[..8])
            .iter()
            .all(|a| a.isp() == Some(isp(2))),
        "connections had to go elsewhere"
    );
    Ok(())
}

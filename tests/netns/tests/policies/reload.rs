//! A changed file: what becomes of connections, of packets meanwhile, and of an invalid one.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use uplinkd_lab::{
    stretched,
    traffic::{Attempt, Load, Packet, Transport},
};
use uplinkd_model::{
    Family,
    policy::{address_number, number_address},
};
use uplinkd_netns_tests::{
    Ask, EVENTUALLY,
    ask::{Conversation, ask_all, open_all},
    isp, within,
};

use crate::stage::{
    Arrivals, FAMILIES, ISP1_BY_DEFAULT,
    Sender::{Client, Router},
    Stage, ensure_over, policies, whole,
};

/// Connections of both kinds and families to a port, kept open.
fn hold(stage: &Stage, port: u16) -> Result<Vec<Conversation>> {
    let mut held = Vec::new();
    for sender in [Client, Router] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let asks = FAMILIES.map(|f| Ask::new(transport, stage.server(f, 12)).port(port));
            held.extend(open_all(stage.place(sender)?, asks)?);
        }
    }
    Ok(held)
}

fn ensure_all(held: &mut [Conversation], line: usize, when: &str) -> Result<()> {
    let answers = ask_all(held);
    ensure!(
        answers.iter().all(|a| a.isp() == Some(isp(line))),
        "{when}: {answers:?}, not all over isp{line}"
    );
    Ok(())
}

pub(crate) fn connections_stay_unless_a_policy_says_move() -> Result<()> {
    let stage = Stage::set(ISP1_BY_DEFAULT)?;
    let mut kept = hold(&stage, 5301)?;
    let mut moved = hold(&stage, 5302)?;
    let mut untouched = hold(&stage, 5303)?;
    for held in [&mut kept, &mut moved, &mut untouched] {
        ensure_all(held, 1, "at first")?;
    }
    let list = [
        ("dport = 5301", "use = \"isp2\"\nflows = \"keep\""),
        ("dport = 5302", "use = \"isp2\"\nflows = \"move\""),
        ("dport = 5303", "use = \"isp1\"\nflows = \"move\""),
    ];
    stage.reload(&format!("{ISP1_BY_DEFAULT}{}", policies(list)))?;
    ensure_all(&mut kept, 1, "kept")?;
    ensure_all(&mut untouched, 1, "allowed where they are")?;
    // Datagrams move. A stream cannot change its address: it ends, which its client is told.
    let mut last = Vec::new();
    within("the others move", EVENTUALLY, || {
        last = ask_all(&mut moved);
        Ok(last.iter().filter(|a| a.isp() == Some(isp(2))).count() >= 4)
    })?;
    ensure!(
        last.iter().all(|a| a.isp() != Some(isp(1))),
        "some stayed: {last:?}"
    );
    for (port, line) in [(5301, 2), (5302, 2), (5303, 1)] {
        ensure_all(&mut hold(&stage, port)?, line, "new ones")?;
    }
    ensure_all(&mut kept, 1, "kept, in the end")
}

pub(crate) fn no_packet_is_lost_while_policies_change() -> Result<()> {
    let stage = Stage::set(ISP1_BY_DEFAULT)?;
    let mut loads = Vec::new();
    for sender in [Client, Router] {
        for family in FAMILIES {
            let to = vec![stage.server(family, 6), stage.server(family, 7)];
            let mut load = Load::new(Transport::Udp, 150, stretched(Duration::from_secs(60)), to);
            load.patience = Duration::from_secs(3);
            load.port = 5400;
            loads.push(load.start(stage.place(sender)?)?);
        }
    }
    for round in 0..8_u16 {
        let other = format!("dport = {}", 6000 + round);
        let list = [
            (
                "source = [\"10.0.0.0/24\", \"fd00:10::/64\"], dport = 5400",
                ["use = \"isp2\"", "use = \"isp1\""][usize::from(round % 2)],
            ),
            (&*other, "use = \"block\""),
        ];
        stage.reload(&format!("{ISP1_BY_DEFAULT}{}", policies(list)))?;
    }
    for load in loads {
        let attempts = load.stop()?;
        let counted = attempts.shares();
        ensure!(counted.failed == 0 && attempts.0.len() > 30, "{counted}");
    }
    Ok(())
}

pub(crate) fn no_connection_slips_past_a_new_outlet() -> Result<()> {
    const PORT: u16 = 5400;
    let stage = Stage::set(ISP1_BY_DEFAULT)?;
    let arrived = Arrivals::count(&stage, isp(1), &format!("th dport {PORT}"))?;
    let astray = Arrivals::led_out(&stage, isp(1), PORT)?;
    // Each time the outlet did not exist before.
    for target in ["block", "isp2"].repeat(3) {
        arrived.forget()?;
        let mut loads = Vec::new();
        for sender in [Client, Router] {
            for family in FAMILIES {
                let to = vec![stage.server(family, 6), stage.server(family, 7)];
                let mut load =
                    Load::new(Transport::Udp, 250, stretched(Duration::from_secs(30)), to);
                load.patience = Duration::from_millis(400);
                load.port = PORT;
                loads.push((sender, family, load.start(stage.place(sender)?)?));
            }
        }
        std::thread::sleep(stretched(Duration::from_millis(200)));
        let (conditions, leads) = (format!("dport = {PORT}"), format!("use = \"{target}\""));
        let list = policies([(&*conditions, &*leads)]);
        stage.reload(&format!("{ISP1_BY_DEFAULT}{list}"))?;
        std::thread::sleep(stretched(Duration::from_millis(200)));
        let mut by_default = 0;
        for (sender, family, load) in loads {
            let attempts = load.stop()?;
            by_default += attempts.shares().of(isp(1));
            let who = format!("{target}, {sender:?} {family}: {}", attempts.shares());
            // Some may be in the air at once: later than the first is what begins after its end.
            let others = attempts.0.iter().filter(|a| a.isp() != Some(isp(1)));
            let first = others.map(|a| a.ended).min().context("none obeyed")?;
            let later = attempts.since(first);
            let obeys = |a: &Attempt| match target {
                "block" => !a.is_answered(),
                _ => a.isp() == Some(isp(2)),
            };
            ensure!(
                later.0.len() > 30 && later.0.iter().all(obeys),
                "{who}; after the first that obeyed: {}",
                later.shares()
            );
            ensure!(target == "block" || attempts.failed() == 0, "{who}");
        }
        // What nobody was told of did not arrive either, and what a policy took did not leave.
        let (arrived, astray) = (arrived.found()?, astray.found()?);
        ensure!(
            arrived == by_default as u64 && astray == 0,
            "{target}: {arrived} arrived of {by_default} by default, {astray} led astray"
        );
        stage.reload(ISP1_BY_DEFAULT)?;
    }
    Ok(())
}

/// The servers that these lead somewhere; none lies in another's prefix.
const LED: [usize; 3] = [9, 5, 6];

/// Prefixes, more of one length than a small map holds, that lead nowhere anybody sends to, behind
/// what leads a server to a line, in different forms.
fn many_prefixes(stage: &Stage, lines: [usize; 3]) -> String {
    let mut list = Vec::new();
    for family in FAMILIES {
        let [length, longer, filler] = match family {
            Family::V4 => ["30", "32", "203.0"],
            Family::V6 => ["126", "128", "2001:db8:f"],
        };
        let number = |n| address_number(stage.server(family, n));
        let address = |number| number_address(family, number).to_string();
        let prefix = format!("{}/{length}", address(number(LED[0]) / 4 * 4));
        let single = format!("{}/{longer}", address(number(LED[1])));
        // Neither a prefix nor of a length that many have.
        let range = format!("{}-{}", address(number(LED[2])), address(number(LED[2])));
        for (line, what) in lines.into_iter().zip([prefix, single, range]) {
            list.push((what, line));
        }
        list.extend((0..400_usize).map(|n| {
            let what = match family {
                Family::V4 => format!("{filler}.{}.{}/{length}", n / 32, n % 32 * 8),
                Family::V6 => format!("{filler}:{n:x}::/{length}"),
            };
            (what, 1 + n % 2)
        }));
    }
    let policy = |(what, line): (String, usize)| {
        format!("[[policy]]\nmatch = {{ destination = \"{what}\" }}\nuse = \"isp{line}\"\n")
    };
    format!(
        "{ISP1_BY_DEFAULT}{}",
        list.into_iter().map(policy).collect::<String>()
    )
}

pub(crate) fn prefixes_of_few_lengths_lead_where_they_say() -> Result<()> {
    let stage = Stage::set(ISP1_BY_DEFAULT)?;
    for lines in [[2, 1, 2], [1, 2, 1], [2, 2, 2]] {
        stage.reload(&many_prefixes(&stage, lines))?;
        for sender in [Client, Router] {
            for family in FAMILIES {
                for (n, line) in LED.into_iter().zip(lines) {
                    let to = stage.server(family, n);
                    let fates = stage.fates_of(sender, &[Packet::udp(to, 4000)])?;
                    ensure_over(&fates, isp(line), &format!("{lines:?}, {sender:?} to {to}"))?;
                }
            }
        }
    }
    Ok(())
}

pub(crate) fn an_invalid_file_changes_nothing() -> Result<()> {
    let list = [
        ("dport = 5001", "use = \"isp2\""),
        ("dport = 5002", "use = \"block\""),
    ];
    let good = format!("{ISP1_BY_DEFAULT}{}", policies(list));
    let stage = Stage::set(&good)?;
    let ours = || -> Result<String> {
        let found = stage.rig.dump()?;
        let mut rules = found.rules.clone();
        rules.sort();
        Ok(format!(
            "{rules:?} {:?} {:?} {:?}",
            found.routes, found.nexthops, found.nft
        ))
    };
    let before = ours()?;
    for (bad, word) in [
        (
            "[[policy]]\nmatch = { dport = 70000 }\nuse = \"isp2\"\n",
            "70000",
        ),
        ("[[policy]]\nuse = \"nobody\"\n", "nobody"),
        (
            "[[policy]]\nmatch = { dprot = 1 }\nuse = \"isp2\"\n",
            "dport",
        ),
        (
            "[[policy]]\nmatch = { source = [{ file = \"none.txt\" }] }\nuse = \"isp2\"\n",
            "none.txt",
        ),
    ] {
        stage
            .rig
            .places()
            .write_config(&whole(&format!("{good}{bad}")))?;
        let log = stage.rig.daemon()?.log().len();
        stage.rig.daemon()?.process().signal(Signal::SIGHUP)?;
        within("the refusal is told", EVENTUALLY, || {
            Ok(stage.rig.daemon()?.log()[log..].contains(word))
        })?;
        ensure!(ours()? == before, "`{bad}` changed something");
        let checked = stage.rig.tool("uplinkd", &["check"])?;
        let said = format!("{}{}", checked.stdout, checked.stderr);
        ensure!(!checked.status.success() && said.contains(word), "{said}");
    }
    // What `check` says of policies that can never be reached.
    let hidden = policies([("protocol = \"udp\", dport = 5001", "use = \"isp1\"")]);
    stage
        .rig
        .places()
        .write_config(&whole(&format!("{good}{hidden}")))?;
    let checked = stage.rig.tool("uplinkd", &["check"])?;
    let said = format!("{}{}", checked.stdout, checked.stderr);
    ensure!(
        said.contains("policy-3") && said.contains("policy-1"),
        "{said}"
    );
    stage.reload(&good)?;
    ensure!(ours()? == before, "the same file changes something");
    Ok(())
}

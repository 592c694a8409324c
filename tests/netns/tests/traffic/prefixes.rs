//! Delegated IPv6 prefixes: each leaves by its own provider, is translated to another's while that
//! is out, and is reached from outside by both.

use std::{
    net::{IpAddr, Ipv6Addr},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use ipnet::Ipv6Net;
use uplinkd_lab::{
    Fault, Isp, LabSpec,
    delegation::{address, lan_network},
    traffic::{PORT, Servers, Transport},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{
    Answer, Ask, EVENTUALLY, Rig,
    ask::{Conversation, ask_all, open_all},
    config, find_line, isp, servers_of, within,
};

pub(crate) const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];
/// Translation one to one on both lines.
pub(crate) const PREFIX: &str =
    "[uplink.isp1.ipv6]\nnat = \"prefix\"\n[uplink.isp2.ipv6]\nnat = \"prefix\"\n";
/// The first address of the host in the LAN's unique local network.
pub(crate) const LOCAL: &str = "fd00:10::2";

/// Both providers delegate a /56, of which the LAN has a network each.
fn rig(more: &str) -> Result<Rig> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &(config(&[3, 2]) + more))?;
    for uplink in [isp(1), isp(2)] {
        rig.lab().delegate(uplink, uplink.delegated())?;
    }
    rig.start_daemon()?;
    rig.wait_settled()?;
    Ok(rig)
}

/// The host's address of a provider.
pub(crate) fn host(of: Isp) -> IpAddr {
    address(of.delegated(), 2).addr()
}

/// Asks a few servers once from an address of the host in the LAN.
pub(crate) fn ask(rig: &Rig, from: IpAddr, port: u16) -> Result<Vec<Answer>> {
    Ok(ask_all(&mut open(rig, from, port)?))
}

pub(crate) fn open(rig: &Rig, from: IpAddr, port: u16) -> Result<Vec<Conversation>> {
    let servers = servers_of(rig.lab(), Family::V6);
    let asks = BOTH.into_iter().flat_map(|transport| {
        let servers = servers.iter().take(5);
        servers.map(move |to| Ask::new(transport, *to).from(from).port(port))
    });
    open_all(rig.lab().client(), asks.collect::<Vec<_>>())
}

/// Every answer saw exactly this source.
pub(crate) fn all_seen(answers: &[Answer], source: IpAddr, what: &str) -> Result<()> {
    let is_so = |a: &Answer| *a == Answer::Seen(source);
    ensure!(
        answers.iter().all(is_so),
        "{what}: not all {source}: {answers:?}"
    );
    Ok(())
}

/// Every answer saw a source of this provider's prefix, with the host's part of the sender's, and
/// none of a network that hosts have as their own.
pub(crate) fn all_translated(answers: &[Answer], from: IpAddr, to: Isp, what: &str) -> Result<()> {
    let (prefix, own) = (to.delegated(), lan_network(to.delegated()));
    let host = |a: IpAddr| match a {
        IpAddr::V6(a) => u128::from(a) & u128::from(u64::MAX),
        IpAddr::V4(_) => 0,
    };
    let is_so = |answer: &Answer| match answer {
        Answer::Seen(IpAddr::V6(seen)) => {
            prefix.contains(seen) && !own.contains(seen) && host((*seen).into()) == host(from)
        }
        Answer::Seen(IpAddr::V4(_)) | Answer::Lost | Answer::Failed(_) => false,
    };
    ensure!(
        !answers.is_empty() && answers.iter().all(is_so),
        "{what}: not all translated to {prefix}: {answers:?}"
    );
    Ok(())
}

pub(crate) fn a_host_goes_on_with_the_address_of_a_dead_provider() -> Result<()> {
    let rig = rig(PREFIX)?;
    let (first, second) = (host(isp(1)), host(isp(2)));
    let local: IpAddr = LOCAL.parse()?;
    for fault in [Fault::Upstream, Fault::Carrier] {
        for own in [first, second] {
            all_seen(&ask(&rig, own, PORT)?, own, "everything is up")?;
        }
        let shared = ask(&rig, local, PORT)?;
        for uplink in [isp(1), isp(2)] {
            let some = shared.iter().copied();
            let some: Vec<_> = some.filter(|a| a.isp() == Some(uplink)).collect();
            if !some.is_empty() {
                all_translated(&some, local, uplink, "unique local")?;
            }
        }
        ensure!(
            shared.iter().all(|a| a.is_seen()),
            "unique local: {shared:?}"
        );
        let mut moving = open(&rig, first, PORT)?;
        all_seen(&ask_all(&mut moving), first, "before the failure")?;
        let broken = fault.apply(rig.lab(), isp(1))?;
        // A second later a new connection from the dead provider's address gets through at once.
        thread::sleep(Duration::from_secs(1).saturating_sub(broken.since().elapsed()));
        let answers = ask(&rig, first, PORT)?;
        all_translated(&answers, first, isp(2), "a second after the failure")?;
        rig.wait_out_of(isp(1), Family::V6)?;
        let udp = ask_all(&mut moving[..5]);
        all_translated(&udp, first, isp(2), "UDP from before the failure")?;
        all_seen(
            &ask(&rig, second, PORT)?,
            second,
            "the other provider's address",
        )?;
        broken.heal()?;
        rig.wait_settled()?;
        all_seen(&ask(&rig, first, PORT)?, first, "the provider is back")?;
    }
    Ok(())
}

pub(crate) fn a_policy_leads_a_prefix_elsewhere() -> Result<()> {
    let policy = "[[policy]]\nmatch = { dport = 5001 }\nuse = \"isp2\"\n";
    let rig = rig(&format!("{PREFIX}{policy}"))?;
    rig.lab().answer_everywhere()?;
    let (first, second) = (host(isp(1)), host(isp(2)));
    all_translated(&ask(&rig, first, 5001)?, first, isp(2), "led to isp2")?;
    all_seen(&ask(&rig, second, 5001)?, second, "led to its own uplink")?;
    all_seen(&ask(&rig, first, 5002)?, first, "not led anywhere")?;
    let to = servers_of(rig.lab(), Family::V6)[0];
    let query = |dport| uplinkd_api::ExplainQuery {
        from: Some(first),
        protocol: "tcp".parse().ok(),
        dport: Some(dport),
        ..uplinkd_api::ExplainQuery::to(to)
    };
    let told = rig.explain(&[query(5001), query(5002)])?;
    let nat = |n: usize| told[n].decision.uplinks[0].nat_address;
    let seen = ask(&rig, first, 5001)?[0];
    ensure!(
        nat(0).map(Answer::Seen) == Some(seen) && nat(1).is_none(),
        "explain says {:?} and {:?}, and {seen:?} was seen",
        nat(0),
        nat(1)
    );
    let broken = Fault::Upstream.apply(rig.lab(), isp(2))?;
    rig.wait_out_of(isp(2), Family::V6)?;
    all_seen(
        &ask(&rig, first, 5001)?,
        first,
        "its uplink is out: the default group",
    )?;
    all_translated(
        &ask(&rig, second, 5001)?,
        second,
        isp(1),
        "the other way round",
    )?;
    broken.heal()?;
    rig.wait_settled()?;
    all_translated(&ask(&rig, first, 5001)?, first, isp(2), "it is back")
}

pub(crate) fn hosts_are_reached_from_outside_by_both_providers() -> Result<()> {
    let rig = rig(PREFIX)?;
    let _listening = Servers::start(rig.lab().client(), PORT)?;
    let _router = Servers::start(rig.lab().router(), PORT)?;
    let callers = servers_of(rig.lab(), Family::V6);
    let call = |to: IpAddr, each: usize| -> Result<Vec<Answer>> {
        let asks = BOTH.into_iter().flat_map(|transport| {
            let callers = callers.iter().take(each);
            callers.map(move |from| Ask::new(transport, to).from(*from))
        });
        Ok(ask_all(&mut open_all(
            rig.lab().internet(),
            asks.collect::<Vec<_>>(),
        )?))
    };
    // What stands for the unique local network, and for the other provider's, on each line.
    let mut stand_ins = Vec::new();
    for (uplink, other) in [(isp(1), isp(2)), (isp(2), isp(1))] {
        for to in [
            host(uplink),
            stand_in(&rig, uplink, host(other))?,
            stand_in(&rig, uplink, LOCAL.parse()?)?,
        ] {
            let answers = call(to, 20)?;
            ensure!(
                answers.iter().all(|a| a.is_seen()),
                "{to} by {uplink}: {answers:?}"
            );
            stand_ins.push(to);
        }
        // The router's own address in the LAN is nobody's business outside.
        let router = stand_in(&rig, uplink, "fd00:10::1".parse()?)?;
        let answers = call(router, 2)?;
        ensure!(
            answers.iter().all(|a| !a.is_seen()),
            "{router}: {answers:?}"
        );
    }
    stand_ins.sort_unstable();
    stand_ins.dedup();
    ensure!(stand_ins.len() == 6, "some stand for two: {stand_ins:?}");
    Ok(())
}

/// What stands for an address on a line, as nft was told.
fn stand_in(rig: &Rig, uplink: Isp, of: IpAddr) -> Result<IpAddr> {
    let command = ["list", "chain", "inet", "uplinkd"];
    let chain = format!("nat6_{}", uplink.number());
    let mut nft = std::process::Command::new("nft");
    nft.args(command).arg(&chain);
    let listed = rig.lab().router().output(nft, "", EVENTUALLY)?;
    for line in listed.stdout.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let ["ip6", "saddr", network, "snat", "ip6", "prefix", "to", by] = words[..] else {
            continue;
        };
        let (network, by): (Ipv6Net, Ipv6Net) = (network.parse()?, by.parse()?);
        if let IpAddr::V6(address) = of
            && network.contains(&address)
        {
            let host = u128::from(address) & u128::from(network.hostmask());
            return Ok(Ipv6Addr::from(u128::from(by.network()) | host).into());
        }
    }
    anyhow::bail!("nothing stands for {of} in {}", listed.stdout)
}

pub(crate) fn a_provider_renumbers_under_traffic() -> Result<()> {
    let (old, new): (Ipv6Net, Ipv6Net) = (
        "2001:db8:100::/60".parse()?,
        "2001:db8:100:10::/60".parse()?,
    );
    let mut rig = Rig::without_daemon(LabSpec::default(), &(config(&[3, 2]) + PREFIX))?;
    rig.lab().delegate(isp(1), old)?;
    rig.lab().delegate(isp(2), isp(2).delegated())?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    let (before, after) = (address(old, 2).addr(), address(new, 2).addr());
    let second = host(isp(2));
    let mut talking = open(&rig, before, PORT)?;
    all_seen(&ask_all(&mut talking), before, "before")?;
    let mut translated = open(&rig, LOCAL.parse()?, PORT)?;
    ask_all(&mut translated);
    rig.lab().undelegate(isp(1), old)?;
    rig.lab().delegate(isp(1), new)?;
    within("the new prefix is known and in force", EVENTUALLY, || {
        let status = rig.status()?;
        let line = find_line(&status, isp(1), Family::V6);
        let known = line.and_then(|l| l.prefix.clone());
        Ok(status.settled && known == Some(new.to_string()))
    })?;
    all_seen(&ask(&rig, after, PORT)?, after, "the new address")?;
    all_seen(&ask(&rig, second, PORT)?, second, "the other provider's")?;
    // Nobody holds on to the old prefix, neither as it was nor as a translation.
    let local: IpAddr = LOCAL.parse()?;
    let shared = [ask(&rig, local, PORT)?, ask_all(&mut translated[..5])].concat();
    for answer in shared {
        let Answer::Seen(IpAddr::V6(seen)) = answer else {
            anyhow::bail!("unique local: {answer:?}");
        };
        ensure!(
            new.contains(&seen) || isp(2).delegated().contains(&seen),
            "unique local leaves as {seen}"
        );
    }
    let events = rig.events()?.events;
    ensure!(
        events.iter().any(|e| e.kind == "prefix-changed"),
        "nobody was told"
    );
    Ok(())
}

pub(crate) fn without_a_word_an_own_prefix_is_left_alone() -> Result<()> {
    let rig = rig("")?;
    let (first, second) = (host(isp(1)), host(isp(2)));
    for own in [first, second] {
        all_seen(&ask(&rig, own, PORT)?, own, "own")?;
    }
    let lines = [isp(1), isp(2)].map(|i| i.router(Family::V6).addr());
    let local = ask(&rig, LOCAL.parse()?, PORT)?;
    let is_masqueraded = |a: &Answer| lines.iter().any(|l| *a == Answer::Seen(*l));
    ensure!(local.iter().all(is_masqueraded), "unique local: {local:?}");
    let broken = Fault::Upstream.apply(rig.lab(), isp(1))?;
    rig.wait_out_of(isp(1), Family::V6)?;
    all_seen(
        &ask(&rig, first, PORT)?,
        lines[1],
        "masqueraded by the other",
    )?;
    broken.heal()?;
    rig.wait_settled()?;
    rig.reload(&(config(&[3, 2]) + "[uplink.isp1.ipv6]\nnat = \"masquerade\"\n"))?;
    all_seen(
        &ask(&rig, first, PORT)?,
        lines[0],
        "masqueraded when told so",
    )?;
    all_seen(&ask(&rig, second, PORT)?, second, "not told so")
}

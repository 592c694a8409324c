//! Router advertisements in the LAN: real daemons send them, a host's own kernel takes them, and hosts
//! do not use the prefix of a provider that is dead.

use std::{net::IpAddr, process::Command, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{
    Fault, Isp, LabSpec,
    delegation::{address, lan_network},
    netns::Netns,
    programs::{Dnsmasq, Networkd, Radvd, ip},
    traffic::Transport,
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{
    Answer, Ask, EVENTUALLY, Rig,
    ask::{ask_all, open_all},
    config, find_line, isp, servers_of, within,
};

/// Where nobody else does.
const ADVERTISE: &str = "advertise = true\n";

/// How the daemon's network file has to be for systemd-networkd to leave everything else alone.
const NETWORKD: &str = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n";

/// Both providers delegate a prefix, of which the LAN has a network each, and hosts make their
/// addresses from advertisements.
fn rig(more: &str) -> Result<Rig> {
    let rig = Rig::without_daemon(LabSpec::default(), &(more.to_owned() + &config(&[3, 2])))?;
    let lab = rig.lab();
    for uplink in [isp(1), isp(2)] {
        lab.delegate(uplink, uplink.delegated())?;
        // The host's is to come from an advertisement.
        let own = address(uplink.delegated(), 2);
        ip(lab.client(), &format!("-6 address del {own} dev eth0"))?;
    }
    lab.client().set_sysctls(&[
        ("net.ipv6.conf.eth0.accept_ra", "1"),
        ("net.ipv6.conf.eth0.autoconf", "1"),
        ("net.ipv6.conf.eth0.use_tempaddr", "0"),
        // It has more than the usual most already, and would make none.
        ("net.ipv6.conf.eth0.max_addresses", "0"),
    ])?;
    lab.router()
        .set_sysctls(&[("net.ipv6.conf.all.forwarding", "1")])?;
    Ok(rig)
}

/// What `ip` says.
fn told(netns: &Netns, words: &str) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    Ok(netns.output(command, "", EVENTUALLY)?.stdout)
}

/// The host's address of a provider, and whether it is deprecated.
fn address_of(rig: &Rig, of: Isp) -> Result<Option<(IpAddr, bool)>> {
    let network = lan_network(of.delegated());
    let listed = told(
        rig.lab().client(),
        "-6 -o address show dev eth0 scope global",
    )?;
    for line in listed.lines() {
        let mut words = line.split_whitespace().skip_while(|w| *w != "inet6");
        let own: ipnet::Ipv6Net = words.nth(1).context("no address")?.parse()?;
        if network.contains(&own.addr()) {
            return Ok(Some((own.addr().into(), line.contains("deprecated"))));
        }
    }
    Ok(None)
}

fn wait_deprecated(rig: &Rig, of: Isp, deprecated: bool, when: &str) -> Result<IpAddr> {
    let mut found = None;
    let what = format!("{when}: deprecated is {deprecated} of {of}'s address");
    within(&what, EVENTUALLY, || {
        found = address_of(rig, of)?;
        Ok(found.is_some_and(|(_, is)| is == deprecated))
    })?;
    Ok(found.context("no address")?.0)
}

/// New connections of the host, from where its kernel or this address says.
fn ask(rig: &Rig, from: Option<IpAddr>) -> Result<Vec<Answer>> {
    let servers = servers_of(rig.lab(), Family::V6);
    let asks = [Transport::Udp, Transport::Tcp].into_iter().flat_map(|t| {
        let servers = servers.iter().take(5);
        servers.map(move |to| {
            let ask = Ask::new(t, *to);
            from.map_or(ask, |from| ask.from(from))
        })
    });
    let asks: Vec<_> = asks.collect();
    Ok(ask_all(&mut open_all(rig.lab().client(), asks)?))
}

fn all_succeed(answers: &[Answer], what: &str) -> Result<()> {
    ensure!(answers.iter().all(|a| a.is_seen()), "{what}: {answers:?}");
    Ok(())
}

/// The host's default route that advertisements brought.
fn has_router(rig: &Rig) -> Result<bool> {
    let routes = told(rig.lab().client(), "-6 route show default")?;
    Ok(routes.contains("proto ra"))
}

/// One provider after the other dies, and comes back.
fn hosts_avoid_each(rig: &Rig) -> Result<()> {
    for (dead, other) in [(isp(1), isp(2)), (isp(2), isp(1))] {
        let own = wait_deprecated(rig, dead, false, "everything is up")?;
        let others = wait_deprecated(rig, other, false, "everything is up")?;
        ensure!(has_router(rig)?, "the daemon makes itself a default router");
        let broken = Fault::Upstream.apply(rig.lab(), dead)?;
        // A second later a new connection succeeds, whether the host was told by then or not.
        thread::sleep(Duration::from_secs(1).saturating_sub(broken.since().elapsed()));
        let (free, bound) = (ask(rig, None)?, ask(rig, Some(own))?);
        all_succeed(&free, "a second after the failure")?;
        all_succeed(&bound, "a second after the failure, from the dead address")?;
        wait_deprecated(rig, dead, true, "the provider is dead")?;
        let answers = ask(rig, None)?;
        let is_others = |a: &Answer| *a == Answer::Seen(others);
        ensure!(
            answers.iter().all(is_others),
            "the host does not use {others}: {answers:?}"
        );
        let status = rig.status()?;
        let line = find_line(&status, dead, Family::V6).context("no such line")?;
        let network = lan_network(dead.delegated()).to_string();
        ensure!(line.deprecated == [network], "{:?}", line.deprecated);
        ensure!(has_router(rig)?, "the default route has gone");
        ensure!(
            address_of(rig, other)?.is_some_and(|(_, is)| !is),
            "the other provider's address is deprecated too"
        );
        broken.heal()?;
        wait_deprecated(rig, dead, false, "the provider is back")?;
        rig.wait_settled()?;
        ensure!(has_router(rig)?, "the default route has gone");
    }
    let kinds = rig.events()?.events.into_iter().map(|e| e.kind);
    let kinds: Vec<_> = kinds.filter(|k| k.starts_with("prefix-")).collect();
    let of = |kind| kinds.iter().filter(|k| *k == kind).count();
    ensure!(
        (of("prefix-deprecated"), of("prefix-restored")) == (2, 2),
        "{kinds:?}"
    );
    Ok(())
}

fn networks() -> [ipnet::Ipv6Net; 2] {
    [isp(1), isp(2)].map(|i| lan_network(i.delegated()))
}

pub(crate) fn hosts_avoid_a_dead_provider_beside_radvd() -> Result<()> {
    let mut rig = rig("")?;
    let radvd = Radvd::in_lan(rig.lab(), &networks())?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    hosts_avoid_each(&rig).with_context(|| radvd.log())?;
    // It goes on saying that the dead prefix is to be used, and is contradicted each time.
    let broken = Fault::Upstream.apply(rig.lab(), isp(1))?;
    wait_deprecated(&rig, isp(1), true, "dead again")?;
    // It hears itself, and not us.
    let sent = || radvd.log().matches("(myself)").count();
    let before = sent();
    within("radvd has spoken twice", EVENTUALLY, || {
        Ok(sent() >= before + 2)
    })?;
    wait_deprecated(&rig, isp(1), true, "radvd has spoken")?;
    broken.heal()?;
    wait_deprecated(&rig, isp(1), false, "back again")?;
    // Who does not want it is not served.
    rig.reload(&("deprecate = false\n".to_owned() + &config(&[3, 2])))?;
    let _broken = Fault::Upstream.apply(rig.lab(), isp(1))?;
    rig.wait_out_of(isp(1), Family::V6)?;
    rig.wait_for("it is settled", EVENTUALLY, |s| s.settled)?;
    let is_deprecated = address_of(&rig, isp(1))?.is_none_or(|(_, is)| is);
    ensure!(!is_deprecated, "nobody wanted it");
    Ok(())
}

pub(crate) fn hosts_avoid_a_dead_provider_beside_dnsmasq() -> Result<()> {
    let mut rig = rig("")?;
    let dnsmasq = Dnsmasq::advertiser(rig.lab())?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    hosts_avoid_each(&rig).with_context(|| dnsmasq.log())
}

pub(crate) fn hosts_avoid_a_dead_provider_beside_networkd() -> Result<()> {
    let mut rig = rig("")?;
    let [first, second] = networks();
    let network = format!(
        "[Match]\nName=lan0\n[Network]\nKeepConfiguration=yes\nIPv6AcceptRA=no\nIPv6SendRA=yes\n\
         [IPv6SendRA]\nRouterLifetimeSec=1800\nEmitDNS=no\n\
         [IPv6Prefix]\nPrefix={first}\n[IPv6Prefix]\nPrefix={second}\n"
    );
    let files = [
        ("10-lan0.network", network.as_str()),
        ("networkd.conf", NETWORKD),
    ];
    let networkd = Networkd::start(rig.lab(), &files)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    hosts_avoid_each(&rig).with_context(|| networkd.log())
}

pub(crate) fn a_restart_finds_out_what_hosts_were_told() -> Result<()> {
    let mut rig = rig("")?;
    let radvd = Radvd::in_lan(rig.lab(), &networks())?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    wait_deprecated(&rig, isp(1), false, "everything is up")?;
    let lab = rig.shared_lab();
    let broken = Fault::Upstream.apply(&lab, isp(1))?;
    wait_deprecated(&rig, isp(1), true, "dead").with_context(|| radvd.log())?;
    rig.stop_daemon()?;
    rig.start_daemon()?;
    rig.wait_out_of(isp(1), Family::V6)?;
    wait_deprecated(&rig, isp(1), true, "dead before and after a restart")?;
    rig.stop_daemon()?;
    broken.heal()?;
    rig.start_daemon()?;
    wait_deprecated(&rig, isp(1), false, "back, but nobody saw that")?;
    Ok(())
}

pub(crate) fn hosts_avoid_a_dead_provider_without_a_daemon() -> Result<()> {
    let mut rig = rig(ADVERTISE)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    hosts_avoid_each(&rig)?;
    // A host that comes later asks, and need not wait for minutes.
    let client = rig.lab().client();
    ip(client, "link set eth0 down")?;
    ip(client, "link set eth0 up")?;
    wait_deprecated(&rig, isp(1), false, "a host has come")?;
    ensure!(has_router(&rig)?, "a host that has come has no router");
    Ok(())
}

pub(crate) fn without_a_way_out_hosts_have_no_router() -> Result<()> {
    let mut rig = rig(ADVERTISE)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    within("hosts have a router", EVENTUALLY, || has_router(&rig))?;
    let broken = [isp(1), isp(2)].map(|i| Fault::Upstream.apply(rig.lab(), i));
    within("hosts have no router", EVENTUALLY, || {
        Ok(!has_router(&rig)?)
    })?;
    ensure!(address_of(&rig, isp(1))?.is_some(), "its addresses stay");
    for broken in broken {
        broken?.heal()?;
    }
    within("hosts have a router again", EVENTUALLY, || has_router(&rig))?;
    // Who does not want it any more is not left with a router that nobody vouches for.
    rig.reload(&config(&[3, 2]))?;
    within("it is taken back", EVENTUALLY, || Ok(!has_router(&rig)?))
}

pub(crate) fn a_network_that_is_gone_is_taken_back() -> Result<()> {
    let mut rig = rig(ADVERTISE)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    wait_deprecated(&rig, isp(1), false, "everything is up")?;
    wait_deprecated(&rig, isp(2), false, "everything is up")?;
    let own = address(isp(1).delegated(), 1);
    ip(
        rig.lab().router(),
        &format!("-6 address del {own} dev lan0"),
    )?;
    wait_deprecated(&rig, isp(1), true, "the network has gone")?;
    let others = address_of(&rig, isp(2))?;
    ensure!(others.is_some_and(|(_, is)| !is), "so has the other one");
    ip(
        rig.lab().router(),
        &format!("-6 address add {own} dev lan0 nodad"),
    )?;
    wait_deprecated(&rig, isp(1), false, "the network is back")?;
    Ok(())
}

pub(crate) fn a_daemon_that_comes_has_the_word() -> Result<()> {
    let mut rig = rig(ADVERTISE)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    wait_deprecated(&rig, isp(1), false, "uplinkd advertises")?;
    // Its own word is about one network only, and that it is no router.
    let radvd = Radvd::in_lan(rig.lab(), &networks()[1..])?;
    let has_the_word = || {
        let log = rig.daemon_log();
        Ok(log.contains("another daemon of this machine advertises"))
    };
    within("it is heard", EVENTUALLY, has_the_word).with_context(|| radvd.log())?;
    // What uplinkd says from now on is what radvd says, with the dead prefix deprecated.
    let broken = Fault::Upstream.apply(rig.lab(), isp(2))?;
    wait_deprecated(&rig, isp(2), true, "dead").with_context(|| radvd.log())?;
    broken.heal()?;
    wait_deprecated(&rig, isp(2), false, "back")?;
    Ok(())
}

pub(crate) fn nothing_is_said_where_nobody_advertises() -> Result<()> {
    let mut rig = rig("")?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    let broken = Fault::Upstream.apply(rig.lab(), isp(1))?;
    rig.wait_out_of(isp(1), Family::V6)?;
    rig.wait_for("it is settled", EVENTUALLY, |s| s.settled)?;
    broken.heal()?;
    ensure!(
        address_of(&rig, isp(1))?.is_none(),
        "the host has an address"
    );
    ensure!(!has_router(&rig)?, "the host has a router");
    Ok(())
}

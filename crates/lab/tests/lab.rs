//! The laboratory itself: everything is connected, every fault does what its name says and heals,
//! traffic is counted rightly. The router is played by a few lines that set up its kernel.

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use uplinkd_kernel::netlink::{Message, find, flags, put};
use uplinkd_lab::{
    Broken, FAMILIES, Fault, Isp, Lab, LabSpec, Places, RouterDaemon, addresses, harness,
    plumbing::Plumber,
    process::quiet,
    traffic::{Flow, FlowSpec, Load, PORT, Ping, Servers, TcpEvent, Transport, shares},
};
use uplinkd_model::Family;

fn main() -> ExitCode {
    harness::run(&[
        ("everything_is_connected", everything_is_connected),
        (
            "a_large_network_is_built_fast",
            a_large_network_is_built_fast,
        ),
        (
            "nothing_is_forwarded_at_first",
            nothing_is_forwarded_at_first,
        ),
        (
            "a_bare_line_waits_for_somebody_to_bring_its_address",
            a_bare_line,
        ),
        ("carrier", carrier),
        ("silent", silent),
        ("upstream", upstream),
        ("loss", loss),
        ("oneway", oneway),
        ("flap", flap),
        ("address", address),
        ("interface", interface),
        ("slow", slow),
        ("faults_of_one_line_add_up", faults_of_one_line_add_up),
        ("a_dropped_fault_is_healed", a_dropped_fault_is_healed),
        ("shares_are_counted", shares_are_counted),
        (
            "foreign_sources_are_dropped_by_the_provider",
            foreign_sources,
        ),
        ("an_outage_is_measured", an_outage_is_measured),
        ("a_tcp_flow_tells_its_reset", a_tcp_flow_tells_its_reset),
        ("a_daemon_is_run_and_killed", a_daemon_is_run_and_killed),
        ("files_stay_inside", files_stay_inside),
    ])
}

fn isp(number: usize) -> Isp {
    Isp::new(number).expect("a number from 1 to 15")
}

fn lab() -> Result<Lab> {
    Lab::build(LabSpec::default())
}

fn everything_is_connected() -> Result<()> {
    let lab = Lab::build(LabSpec {
        uplinks: 3,
        ..LabSpec::default()
    })?;
    for family in FAMILIES {
        let router = addresses::lan_router(family).addr();
        let answer = Ping::new(router).ask(lab.client())?;
        ensure!(
            answer.is_some(),
            "no way from the client to the router, {family}"
        );
        for isp in lab.isps() {
            works(&lab, isp, family)?;
        }
        let answer = Ping::new(lab.servers(family)[52]).ask(lab.router())?;
        ensure!(
            answer.is_some(),
            "no default route for the router itself, {family}"
        );
    }
    Ok(())
}

fn a_large_network_is_built_fast() -> Result<()> {
    let start = Instant::now();
    let lab = Lab::build(LabSpec {
        uplinks: 15,
        servers: 500,
        ..LabSpec::default()
    })?;
    let took = start.elapsed();
    ensure!(took < Duration::from_secs(1), "it took {took:?}");
    works(&lab, isp(15), Family::V6)?;
    ensure!(
        Lab::build(LabSpec {
            uplinks: 16,
            ..LabSpec::default()
        })
        .is_err()
    );
    ensure!(
        Lab::build(LabSpec {
            uplinks: 0,
            ..LabSpec::default()
        })
        .is_err()
    );
    Ok(())
}

fn nothing_is_forwarded_at_first() -> Result<()> {
    let lab = lab()?;
    ensure!(lab.router().sysctl("net.ipv4.ip_forward")? == "0");
    for family in FAMILIES {
        let answer = Ping::new(lab.servers(family)[0]).ask(lab.client())?;
        ensure!(answer.is_none(), "the router forwards {family} by itself");
    }
    Ok(())
}

fn a_bare_line() -> Result<()> {
    let lab = Lab::build(LabSpec {
        bare: 1,
        ..LabSpec::default()
    })?;
    let gateway = isp(1).gateway(Family::V4).addr();
    let answers = || ping(&lab, isp(1), gateway);
    ensure!(has_carrier(&lab, isp(1))? == Some(true));
    ensure!(!answers()?, "it has an address");
    other_line_works(&lab)?;
    // One that is plugged in again is bare again.
    Fault::Interface.apply(&lab, isp(1))?.heal()?;
    ensure!(!answers()?, "it got an address");
    let address = isp(1).router(Family::V4);
    Plumber::new(lab.router())?.add_addresses("wan1", &[address])?;
    ensure!(answers()?, "nobody is there");
    Ok(())
}

fn carrier() -> Result<()> {
    let lab = lab()?;
    let broken = Fault::Carrier.apply(&lab, isp(1))?;
    within(Duration::from_millis(100), || {
        Ok(has_carrier(&lab, isp(1))? == Some(false))
    })?;
    other_line_works(&lab)?;
    heals(&lab, broken)
}

fn silent() -> Result<()> {
    let lab = lab()?;
    let broken = Fault::Silent.apply(&lab, isp(1))?;
    is_dead(&lab, isp(1).gateway(Family::V4).addr())?;
    is_dead(&lab, isp(1).gateway(Family::V6).addr())?;
    ensure!(has_carrier(&lab, isp(1))? == Some(true));
    other_line_works(&lab)?;
    heals(&lab, broken)
}

fn upstream() -> Result<()> {
    let lab = lab()?;
    let broken = Fault::Upstream.apply(&lab, isp(1))?;
    for family in FAMILIES {
        ensure!(
            ping(&lab, isp(1), isp(1).gateway(family).addr())?,
            "gateway, {family}"
        );
        is_dead(&lab, lab.servers(family)[0])?;
    }
    other_line_works(&lab)?;
    heals(&lab, broken)
}

fn loss() -> Result<()> {
    let lab = lab()?;
    works(&lab, isp(1), Family::V4)?;
    let broken = Fault::Loss(30).apply(&lab, isp(1))?;
    let to = isp(1).gateway(Family::V4).addr();
    let mut answered = 0;
    for _ in 0..100 {
        let ask = Ping {
            patience: Duration::from_millis(5),
            ..Ping::new(to).by("wan1")
        };
        answered += i32::from(ask.ask(lab.router())?.is_some());
    }
    // 70 % of 70 % is 49; five times the deviation of a hundred draws is 25.
    ensure!((24..=74).contains(&answered), "{answered} of 100 answered");
    heals(&lab, broken)
}

fn oneway() -> Result<()> {
    let lab = lab()?;
    works(&lab, isp(1), Family::V4)?;
    let inside = isp(1).router(Family::V4).addr();
    let outside = lab.servers(Family::V4)[0];
    let bind = |address: IpAddr| {
        let socket = UdpSocket::bind(SocketAddr::new(address, 7000))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok(socket)
    };
    let near = lab.router().run(|| bind(inside))?;
    let far = lab.internet().run(|| bind(outside))?;
    let arrives = |from: &UdpSocket, to: &UdpSocket| -> Result<bool> {
        from.send_to(b"?", to.local_addr()?)?;
        Ok(to.recv(&mut [0; 8]).is_ok())
    };
    ensure!(arrives(&near, &far)? && arrives(&far, &near)?);
    let broken = Fault::OnewayOut.apply(&lab, isp(1))?;
    ensure!(
        !arrives(&near, &far)? && arrives(&far, &near)?,
        "oneway-out"
    );
    heals(&lab, broken)?;
    let broken = Fault::OnewayIn.apply(&lab, isp(1))?;
    ensure!(arrives(&near, &far)? && !arrives(&far, &near)?, "oneway-in");
    heals(&lab, broken)
}

fn flap() -> Result<()> {
    let lab = lab()?;
    let broken = Fault::Flap(40).apply(&lab, isp(1))?;
    let (mut changes, mut before) = (0, Some(true));
    let end = Instant::now() + Duration::from_millis(600);
    while Instant::now() < end {
        let now = has_carrier(&lab, isp(1))?;
        changes += i32::from(now != before);
        before = now;
        std::thread::sleep(Duration::from_millis(2));
    }
    ensure!((6..=16).contains(&changes), "{changes} changes in 600 ms");
    heals(&lab, broken)
}

fn address() -> Result<()> {
    let lab = lab()?;
    let broken = Fault::Address.apply(&lab, isp(1))?;
    for family in FAMILIES {
        is_dead(&lab, isp(1).gateway(family).addr())?;
    }
    ensure!(has_carrier(&lab, isp(1))? == Some(true));
    other_line_works(&lab)?;
    heals(&lab, broken)
}

fn interface() -> Result<()> {
    let lab = lab()?;
    let broken = Fault::Interface.apply(&lab, isp(1))?;
    ensure!(
        has_carrier(&lab, isp(1))?.is_none(),
        "the device is still there"
    );
    other_line_works(&lab)?;
    heals(&lab, broken)?;
    // Once more: the second device has yet another number.
    heals(&lab, Fault::Interface.apply(&lab, isp(1))?)
}

fn slow() -> Result<()> {
    let lab = lab()?;
    let to = lab.servers(Family::V4)[0];
    let ask = Ping {
        payload: 1000,
        patience: Duration::from_secs(2),
        ..Ping::new(to).by("wan1")
    };
    let ten = || -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..10 {
            ensure!(ask.ask(lab.router())?.is_some(), "no answer");
        }
        Ok(start.elapsed())
    };
    let fast = ten()?;
    let broken = Fault::Slow(64).apply(&lab, isp(1))?;
    let slow = ten()?;
    ensure!(
        slow > fast + Duration::from_millis(300),
        "{fast:?}, then {slow:?}"
    );
    heals(&lab, broken)
}

fn faults_of_one_line_add_up() -> Result<()> {
    let lab = lab()?;
    let mute = Fault::Silent.apply(&lab, isp(1))?;
    let dead = Fault::Upstream.apply(&lab, isp(1))?;
    mute.heal()?;
    within(Duration::from_secs(3), || {
        ping(&lab, isp(1), isp(1).gateway(Family::V4).addr())
    })?;
    is_dead(&lab, lab.servers(Family::V4)[0])?;
    heals(&lab, dead)
}

fn a_dropped_fault_is_healed() -> Result<()> {
    let lab = lab()?;
    drop(Fault::Upstream.apply(&lab, isp(2))?);
    works(&lab, isp(2), Family::V4)
}

fn shares_are_counted() -> Result<()> {
    let lab = lab()?;
    let _servers = Servers::start(lab.internet(), PORT)?;
    play_router(&lab, &[3, 2])?;
    for transport in [Transport::Udp, Transport::Tcp] {
        for family in FAMILIES {
            let start = Instant::now();
            let counted = shares(lab.client(), transport, &lab.servers(family), 5000)?;
            let took = start.elapsed();
            ensure!(
                counted.answered() == 5000,
                "{transport:?} {family}: {counted}"
            );
            let first = counted.percent(isp(1));
            ensure!(
                (56.0..64.0).contains(&first),
                "{transport:?} {family}: {counted}"
            );
            ensure!(
                took < Duration::from_secs(5),
                "{transport:?} {family} took {took:?}"
            );
        }
    }
    Ok(())
}

fn foreign_sources() -> Result<()> {
    let lab = lab()?;
    let _servers = Servers::start(lab.internet(), PORT)?;
    play_router(&lab, &[1, 1])?;
    // Without translation the client's own address reaches the provider.
    lab.router().nft("delete table inet play\n")?;
    let servers = lab.servers(Family::V4);
    let counted = shares(lab.client(), Transport::Udp, &servers, 20)?;
    ensure!(counted.failed == 20, "{counted}");
    Ok(())
}

fn an_outage_is_measured() -> Result<()> {
    let lab = lab()?;
    let _servers = Servers::start(lab.internet(), PORT)?;
    play_router(&lab, &[1])?;
    let second = Duration::from_secs(1);
    let mut load = Load::new(Transport::Udp, 200, 20 * second, lab.servers(Family::V4));
    load.patience = second / 5;
    let running = load.start(lab.client())?;
    let spec = FlowSpec::new(Transport::Udp, lab.servers(Family::V4)[0]);
    let flow = Flow::start(lab.client(), spec)?;
    let answer = flow.wait_for_answer(Instant::now(), second);
    answer.context("the flow does not begin")?;
    std::thread::sleep(second / 4);
    let broken = Fault::Upstream.apply(&lab, isp(1))?;
    let cut = broken.since();
    std::thread::sleep(second / 2);
    let healed = broken.heal()?;
    let answer = flow.wait_for_answer(healed, second);
    answer.context("the flow does not go on")?;
    std::thread::sleep(second / 4);
    let (attempts, record) = (running.stop()?, flow.stop()?);
    let dark = healed.duration_since(cut).as_millis();
    for outage in [attempts.outage(), record.outage_since(cut)] {
        let outage = outage.context("no outage was seen")?;
        let took = outage.duration().context("it never ended")?.as_millis();
        ensure!(
            took.abs_diff(dark) < 100,
            "{dark} ms dark, {took} ms measured"
        );
        ensure!(outage.lost > 20, "{} lost", outage.lost);
    }
    ensure!(
        attempts
            .first_over(isp(1), cut)
            .is_some_and(|t| t >= healed - second / 20)
    );
    ensure!(attempts.first_not_over(isp(1), cut).is_none());
    ensure!(record.last_isp() == Some(isp(1)));
    Ok(())
}

fn a_tcp_flow_tells_its_reset() -> Result<()> {
    let lab = lab()?;
    let servers = Servers::start(lab.internet(), PORT)?;
    let spec = FlowSpec::new(Transport::Tcp, lab.servers(Family::V6)[0]);
    let flow = Flow::start(lab.router(), spec)?;
    let second = Duration::from_secs(1);
    let answer = flow.wait_for_answer(Instant::now(), second);
    answer.context("the flow does not begin")?;
    let stopped = Instant::now();
    drop(servers);
    within(second, || Ok(flow.record().broken_since(stopped).is_some()))?;
    let _servers = Servers::start(lab.internet(), PORT)?;
    let answer = flow.wait_for_answer(Instant::now(), second);
    answer.context("the flow makes no new connection")?;
    let record = flow.stop()?;
    let made = record.events.iter().filter(|e| e.1 == TcpEvent::Connected);
    ensure!(made.count() == 2, "{:?}", record.events);
    ensure!(record.lost() > 0);
    Ok(())
}

fn a_daemon_is_run_and_killed() -> Result<()> {
    let lab = lab()?;
    let places = Places::new(&lab)?;
    let mut command = Command::new("sleep");
    command.arg("60");
    let daemon = RouterDaemon::start_command(&lab, &places, command)?;
    ensure!(daemon.process().status().is_none());
    ensure!(fs::metadata(format!("/proc/{}", daemon.process().pid())).is_ok());
    let status = daemon.stop(Duration::from_secs(2))?;
    ensure!(!status.success());
    daemon.process().signal(Signal::SIGKILL)?;
    let early = daemon.wait_until("never", Duration::from_secs(1), || false);
    ensure!(early.is_err_and(|e| e.to_string().contains("ended")));
    let pid = lab.router().spawn({
        let mut command = quiet("sleep");
        command.arg("60");
        command
    })?;
    let folder = format!("/proc/{}", pid.pid());
    drop(pid);
    ensure!(
        fs::metadata(folder).is_err(),
        "a dropped program is still running"
    );
    ensure!(lab.router().spawn(quiet("/nonexistent")).is_err());
    Ok(())
}

fn files_stay_inside() -> Result<()> {
    let lab = lab()?;
    let paths = [
        "/run/uplink-lab-test",
        "/etc/iproute2/rt_tables.d/uplink-lab-test.conf",
    ];
    for path in paths {
        let written = lab.mounts().run(|| Ok(fs::write(path, "x").is_ok()))?;
        let seen = lab.mounts().run(|| Ok(fs::metadata(path).is_ok()))?;
        ensure!(written == seen);
        ensure!(fs::metadata(path).is_err(), "{path} got out");
    }
    Ok(())
}

/// A router for tests: forwards, translates, and shares out by weight.
fn play_router(lab: &Lab, weights: &[u8]) -> Result<()> {
    lab.router().set_sysctls(&[
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
        ("net.ipv4.fib_multipath_hash_policy", "1"),
        ("net.ipv6.fib_multipath_hash_policy", "1"),
    ])?;
    lab.router().nft(
        "table inet play { chain nat { type nat hook postrouting priority srcnat; \
         oifname \"wan*\" masquerade; }; }\n",
    )?;
    let mut socket = lab.router().netlink()?;
    for family in FAMILIES {
        let mut hops = Vec::new();
        for (isp, weight) in lab.isps().zip(weights) {
            let link = Message::new(18, 0, &[0; 16]).str(3, &isp.interface());
            let index = socket.ask(link)?.body[4..8].to_vec();
            let mut gateway = Vec::new();
            match isp.gateway(family).addr() {
                IpAddr::V4(a) => put(&mut gateway, 5, &a.octets()),
                IpAddr::V6(a) => put(&mut gateway, 5, &a.octets()),
            }
            let length = u16::try_from(8 + gateway.len())?;
            hops.extend_from_slice(&length.to_ne_bytes());
            hops.extend_from_slice(&[0, weight - 1]);
            hops.extend_from_slice(&index);
            hops.extend_from_slice(&gateway);
        }
        // Better than the default routes of the lease.
        let fixed = [family.number(), 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
        let route = Message::new(24, flags::CREATE | flags::REPLACE, &fixed)
            .u32(6, 1)
            .attr(9, &hops);
        socket.one(route)?;
    }
    Ok(())
}

fn ping(lab: &Lab, isp: Isp, to: IpAddr) -> Result<bool> {
    let device = isp.interface();
    Ok(Ping::new(to).by(&device).ask(lab.router())?.is_some())
}

fn works(lab: &Lab, isp: Isp, family: Family) -> Result<()> {
    let (gateway, beyond) = (isp.gateway(family).addr(), lab.servers(family)[0]);
    ensure!(
        ping(lab, isp, gateway)?,
        "the gateway of {isp} is dead, {family}"
    );
    ensure!(ping(lab, isp, beyond)?, "nothing beyond {isp}, {family}");
    Ok(())
}

fn other_line_works(lab: &Lab) -> Result<()> {
    FAMILIES.into_iter().try_for_each(|f| works(lab, isp(2), f))
}

fn is_dead(lab: &Lab, to: IpAddr) -> Result<()> {
    ensure!(!ping(lab, isp(1), to)?, "{to} still answers");
    Ok(())
}

fn heals(lab: &Lab, broken: Broken<'_>) -> Result<()> {
    let (isp, fault) = (broken.isp(), broken.fault());
    broken.heal()?;
    for family in FAMILIES {
        // A neighbour that failed is asked again after a second.
        within(Duration::from_secs(3), || {
            Ok(works(lab, isp, family).is_ok())
        })
        .with_context(|| format!("{fault} does not heal, {family}"))?;
    }
    let carrier = has_carrier(lab, isp)?;
    ensure!(carrier == Some(true), "no carrier after {fault}");
    Ok(())
}

/// Whether the router's interface has one; `None` when it does not exist.
fn has_carrier(lab: &Lab, isp: Isp) -> Result<Option<bool>> {
    let question = Message::new(18, 0, &[0; 16]).str(3, &isp.interface());
    let Ok(reply) = lab.router().netlink()?.ask(question) else {
        return Ok(None);
    };
    let carrier = find(&reply.body[16..], 33).context("no carrier attribute")?;
    Ok(Some(carrier == [1]))
}

fn within(limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !holds()? {
        ensure!(Instant::now() < deadline, "not within {limit:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

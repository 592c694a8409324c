//! What is left of TCP connections whose uplink failed: the last words of a sender that closes are no
//! connection's any more, and shall not leave by another line as they are.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::libc;
use socket2::{Domain, Socket, Type};
use uplinkd_lab::{
    Fault, Isp, Netns,
    addresses::client,
    traffic::{PORT, wire},
};
use uplinkd_netns_tests::{EVENTUALLY, isp};

use crate::stage::{
    Arrivals, FAMILIES, ISP1_BY_DEFAULT,
    Sender::{self, Client, Router},
    Stage, policies,
};

/// How long nothing may arrive. An unanswered end is repeated several times in that.
const QUIET: Duration = Duration::from_secs(2);
/// Connections of each sender in each family.
const EACH: usize = 4;
/// The port of a policy that is strict.
const STRICT: u16 = 5005;

/// Connects, and sees that a line carries it.
fn connect(place: &Netns, to: SocketAddr, over: Isp) -> Result<Socket> {
    place.run(|| {
        let mut socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_tcp_nodelay(true)?;
        socket.connect_timeout(&to.into(), EVENTUALLY)?;
        socket.set_read_timeout(Some(EVENTUALLY))?;
        let mut greeting = [0; wire::ANSWER];
        socket.read_exact(&mut greeting)?;
        let seen = wire::read_answer(&greeting).context("no greeting")?.1;
        ensure!(Isp::of(seen) == Some(over), "{to} saw {seen}, not {over}");
        Ok(socket)
    })
}

/// Several connections of each sender, in both families.
fn connect_all(stage: &Stage, senders: &[Sender], port: u16, over: Isp) -> Result<Vec<Socket>> {
    let mut all = Vec::new();
    for sender in senders {
        for family in FAMILIES {
            for number in 0..EACH {
                let to = SocketAddr::new(stage.server(family, number), port);
                all.push(connect(stage.place(*sender)?, to, over)?);
            }
        }
    }
    Ok(all)
}

/// Ends a connection with data and end in one packet, as when a program writes and closes while
/// earlier data still waits.
fn end_with_data(socket: &mut Socket) -> Result<()> {
    socket.set_tcp_cork(true)?;
    socket.write_all(&wire::question(1))?;
    socket.shutdown(std::net::Shutdown::Write)?;
    Ok(())
}

/// Fails a line under connections, ends or aborts them, and sees that senders who wait are told and
/// that no stray comes to the other line's far end.
fn ensure_nothing_is_left(
    stage: &Stage,
    senders: &[Sender],
    port: u16,
    over: Isp,
    strays: &Arrivals<'_>,
) -> Result<()> {
    let mut held = connect_all(stage, senders, port, over)?;
    let aborted = connect_all(stage, senders, port, over)?;
    let broken = Fault::Carrier.apply(stage.rig.lab(), over)?;
    stage.rig.wait_out(over)?;
    strays.forget()?;
    let ended = Instant::now();
    for socket in &mut held {
        end_with_data(socket)?;
    }
    for socket in aborted {
        // Closing it then sends a reset.
        socket.set_linger(Some(Duration::ZERO))?;
    }
    for socket in &mut held {
        let read = socket.read(&mut [0; 64]);
        let told = read.as_ref().err().and_then(std::io::Error::raw_os_error);
        ensure!(
            told == Some(libc::ECONNRESET),
            "{over} failed, port {port}: {read:?} and no reset after {:?}; {} packets left",
            ended.elapsed(),
            strays.found()?,
        );
    }
    std::thread::sleep(QUIET.saturating_sub(ended.elapsed()));
    let found = strays.found()?;
    ensure!(
        found == 0,
        "{over} failed, port {port}: {found} packets left"
    );
    broken.heal()?;
    stage.rig.wait_settled()?;
    Ok(())
}

pub(crate) fn of_a_failed_line_never_leave_by_another() -> Result<()> {
    let strict = policies([(
        &*format!("dport = {STRICT}"),
        "use = \"isp2\"\notherwise = \"block\"",
    )]);
    let stage = Stage::set(&format!("{ISP1_BY_DEFAULT}{strict}"))?;
    // By default the other line serves, but only with its own address.
    let [v4, v6] = FAMILIES.map(|f| {
        let (lan, first) = (client(f, 0).trunc(), isp(1).network(f));
        format!("saddr {{ {lan}, {first} }}")
    });
    let untranslated = Arrivals::count(&stage, isp(2), &format!("ip {v4}\nip6 {v6}"))?;
    ensure_nothing_is_left(&stage, &[Client, Router], PORT, isp(1), &untranslated)?;
    // A strict policy lets nothing at all go by another.
    let forbidden = Arrivals::count(&stage, isp(1), &format!("th dport {STRICT}"))?;
    ensure_nothing_is_left(&stage, &[Client, Router], STRICT, isp(2), &forbidden)
}

//! What it costs the daemon that many pages are told what happens, as it happens.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _, stdout},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::{SysconfVar, sysconf};
use uplinkd_lab::Fault;
use uplinkd_netns_tests::{Rig, config, isp};

use crate::stage::{PORT, READER, rig, with_tcp};

/// As many as there may be connections, less some that only ask.
const FOLLOWERS: usize = 100;
/// How long is measured, without them and with them.
const MEASURED: Duration = Duration::from_secs(6);
/// How often a line goes or comes meanwhile, in milliseconds.
const FLAP_MS: u64 = 1000;
/// What all of them may cost, in percent of a core.
const COST_MAX: f64 = 3.0;

pub(crate) fn cost_little() -> Result<()> {
    let rig = rig(2, &with_tcp(&config(&[3, 2])))?;
    let _flapping = Fault::Flap(FLAP_MS).apply(rig.lab(), isp(1))?;
    let (alone, nothing) = measure(&rig, &mut [])?;
    let mut followers = Vec::new();
    for _ in 0..FOLLOWERS {
        followers.push(follow(&rig)?);
    }
    let (followed, bytes) = measure(&rig, &mut followers)?;
    let _ = writeln!(
        stdout(),
        "page: {FOLLOWERS} followers cost {:.1} % of a core ({alone:.1} % without them), for {} events each",
        followed - alone,
        bytes.matches("\ndata:").count()
    );
    ensure!(nothing.is_empty());
    ensure!(bytes.contains("went from up to down"), "they are told");
    ensure!(
        followed - alone <= COST_MAX,
        "{followed} % of a core, {alone} % without them"
    );
    Ok(())
}

fn follow(rig: &Rig) -> Result<TcpStream> {
    let stream = rig.in_router(|| Ok(TcpStream::connect(("127.0.0.1", PORT))?))?;
    write!(
        &stream,
        "GET /v1/events/stream HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nAuthorization: Bearer {READER}\r\n\r\n"
    )?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// How much of a core the daemon used, in percent, and what one of the followers was told meanwhile.
fn measure(rig: &Rig, followers: &mut [TcpStream]) -> Result<(f64, String)> {
    let (began, before) = (Instant::now(), used(rig)?);
    let mut told = Vec::new();
    while began.elapsed() < MEASURED {
        std::thread::sleep(Duration::from_millis(100));
        for (number, follower) in followers.iter_mut().enumerate() {
            let mut bytes = Vec::new();
            match follower.read_to_end(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                ended => bail!("a follower was cut off: {ended:?}"),
            }
            if number == 0 {
                told.append(&mut bytes);
            }
        }
    }
    let share = (used(rig)? - before) / began.elapsed().as_secs_f64();
    Ok((share * 100.0, String::from_utf8_lossy(&told).into_owned()))
}

/// Processor time that the daemon has used, in seconds.
fn used(rig: &Rig) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{}/stat", rig.daemon()?.process().pid()))?;
    // The name in brackets may hold anything.
    let (_, rest) = text.rsplit_once(')').context("no such process")?;
    let ticks = |place: usize| {
        rest.split_whitespace()
            .nth(place)
            .and_then(|t| t.parse().ok())
    };
    let (user, system): (f64, f64) = ticks(11).zip(ticks(12)).context("no times")?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock")?;
    Ok((user + system) / per_second as f64)
}

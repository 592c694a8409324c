//! TCP connections from the LAN as a sign: they are the first to know of a line that is asked seldom.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use uplinkd_lab::{Fault, Isp, LabSpec, find_program, harness::Skipped, traffic::PORT};
use uplinkd_model::Family;
use uplinkd_netns_tests::{EVENTUALLY, Rig, find_line, isp, servers, within};

use crate::common::LONG;

/// Everything leaves by the first line, which is asked once in ten seconds.
const FILE: &str = "lan = [\"lan0\"]\n\
     [uplink.isp1]\ninterface = \"wan1\"\nipv6 = { use = false }\n\
     [uplink.isp2]\ninterface = \"wan2\"\nipv6 = { use = false }\n\
     [group.default]\ntiers = [[\"isp1\"], [\"isp2\"]]\n\
     [probe]\ntargets = [\"icmp:198.18.0.1\"]\nprofile = \"metered\"\ninterval = \"10s\"\n";

/// What the log says once TCP connections cannot be watched.
const ABSENT: &str = "TCP connections are not watched";

/// Two programs on each interface while it runs, and none after it was killed.
const HOOKS: [TcAttachType; 2] = [TcAttachType::Ingress, TcAttachType::Egress];

pub(crate) fn connections_that_send_again_are_a_sign() -> Result<()> {
    let rig = watching(FILE)?;
    let mut streams = open(&rig, 4)?;
    let lab = rig.shared_lab();
    // Something comes in all the time, so that the interface's counters say nothing.
    let chatter = Chatter::start(&rig, isp(1))?;
    rig.wait_for("connections are counted and timed", EVENTUALLY, |s| {
        let line = find_line(s, isp(1), Family::V4);
        line.and_then(|l| l.tcp)
            .is_some_and(|t| t.sent >= 4 && t.rtt_ms.is_some_and(|ms| ms > 0.0))
    })?;
    // Once the first burst is over there are ten seconds between two questions.
    let sent = |rig: &Rig| Ok::<_, anyhow::Error>(rig.uplink(isp(1))?.targets[0].sent);
    within("the first burst is over", LONG, || {
        let before = sent(&rig)?;
        std::thread::sleep(Duration::from_secs(3));
        Ok(sent(&rig)? == before)
    })?;
    let before = sent(&rig)?;
    within("asked", LONG, || Ok(sent(&rig)? > before))?;
    let told = signs(&rig).len();
    let cut = Fault::Upstream.apply(&lab, isp(1))?;
    for stream in &mut streams {
        stream.write_all(&[1])?;
    }
    rig.wait_out_of(isp(1), Family::V4)?;
    let signs = signs(&rig);
    let first = signs.get(told).context("it was found without any sign")?;
    ensure!(first.contains("TCP connections sent"), "{signs:?}");
    ensure!(first.contains("nothing was acknowledged"), "{signs:?}");
    drop((cut, chatter));
    Ok(())
}

pub(crate) fn nothing_stays_behind_a_daemon_that_was_killed() -> Result<()> {
    let mut rig = watching(FILE)?;
    for device in ["wan1", "wan2"] {
        ensure!(attached(&rig, device)? == [1, 1], "on {device}");
    }
    ensure!(attached(&rig, "lan0")? == [0, 0], "on lan0");
    // Who does not want it any more is let go at once.
    rig.reload(&(FILE.to_owned() + "tcp_sign = false\n"))?;
    rig.wait_for("nobody watches", EVENTUALLY, |s| {
        s.uplinks.iter().all(|u| u.tcp.is_none())
    })?;
    ensure!(
        attached(&rig, "wan1")? == [0, 0],
        "after it was switched off"
    );
    rig.reload(FILE)?;
    wait_watching(&rig)?;
    // An interface that was replaced is another one.
    Fault::Interface.apply(&rig.shared_lab(), isp(1))?.heal()?;
    rig.wait_settled()?;
    wait_watching(&rig)?;
    ensure!(attached(&rig, "wan1")? == [1, 1], "on the new wan1");
    rig.kill_daemon()?;
    for device in ["wan1", "wan2"] {
        ensure!(attached(&rig, device)? == [0, 0], "on {device}, afterwards");
    }
    Ok(())
}

pub(crate) fn without_the_right_to_watch_it_runs_on() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), FILE)?;
    let uplinkd = find_program("uplinkd")?.display().to_string();
    let less = ["--bounding-set=-bpf,-sys_admin", &uplinkd];
    let setpriv = Path::new("/usr/bin/setpriv");
    let mut check = rig.places().command(setpriv);
    check.args(less).arg("check");
    let check = rig.lab().router().output(check, "", EVENTUALLY)?;
    ensure!(check.status.success(), "check: {check:?}");
    ensure!(
        check.stderr.contains("TCP connections cannot be watched")
            && check.stderr.contains("CAP_BPF"),
        "check: {check:?}"
    );
    rig.start_daemon_by(setpriv, &[less[0], less[1], "run"])?;
    let status = rig.wait_settled()?;
    ensure!(status.uplinks.iter().all(|u| u.tcp.is_none()), "{status:?}");
    // Said once, however often the counters were read.
    std::thread::sleep(Duration::from_secs(2));
    let log = rig.daemon_log();
    let said = log.lines().filter(|l| l.contains(ABSENT)).count();
    ensure!(said == 1, "said {said} times\n{log}");
    let silent = Fault::Carrier.apply(rig.lab(), isp(1))?;
    rig.wait_out_of(isp(1), Family::V4)?;
    drop(silent);
    Ok(())
}

/// A running daemon that watches both lines; skipped where it cannot.
fn watching(file: &str) -> Result<Rig> {
    let rig = Rig::start(file)?;
    rig.wait_settled()?;
    wait_watching(&rig)?;
    Ok(rig)
}

fn wait_watching(rig: &Rig) -> Result<()> {
    let watched = rig.wait_for("both lines are watched", EVENTUALLY, |s| {
        let mut lines = s.uplinks.iter().filter(|u| u.family == Family::V4);
        lines.all(|u| u.tcp.is_some())
    });
    let log = rig.daemon_log();
    match log.lines().find(|l| l.contains(ABSENT)) {
        Some(line) => bail!(Skipped(line.to_owned())),
        None => watched.map(drop),
    }
}

/// What made the daemon ask the first line at once, in order.
fn signs(rig: &Rig) -> Vec<String> {
    let log = rig.daemon_log();
    let signs = log.lines().filter(|l| l.contains("is asked at once"));
    let signs = signs.filter(|l| l.contains("uplink isp1"));
    signs.map(str::to_owned).collect()
}

/// How many programs there are on an interface of the router: where packets come in, and go out.
fn attached(rig: &Rig, device: &str) -> Result<[usize; 2]> {
    rig.lab().router().run(|| {
        let mut found = [0; 2];
        for (count, hook) in found.iter_mut().zip(HOOKS) {
            *count = SchedClassifier::query_tcx(device, hook)?.1.len();
        }
        Ok(found)
    })
}

/// Connections of a host in the LAN that are well.
fn open(rig: &Rig, count: usize) -> Result<Vec<TcpStream>> {
    let server = *servers(rig.lab()).first().context("there are no servers")?;
    rig.lab().client().run(|| {
        let connect = |_| {
            let mut stream = TcpStream::connect((server, PORT))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(EVENTUALLY))?;
            // The server greets.
            stream.read_exact(&mut [0])?;
            Ok(stream)
        };
        (0..count).map(connect).collect()
    })
}

/// Datagrams for everybody on the line, which nobody answers, until dropped.
struct Chatter {
    is_over: Arc<AtomicBool>,
}

impl Chatter {
    fn start(rig: &Rig, from: Isp) -> Result<Self> {
        let line = rig.uplink(from)?;
        let address = line.addresses.first().context("no address")?;
        let network: ipnet::Ipv4Net = address.parse()?;
        let gateway = line.gateway.context("no gateway")?;
        let to = SocketAddr::from((network.broadcast(), 9));
        let socket = rig.lab().isp(from).run(|| {
            let socket = UdpSocket::bind((gateway, 0))?;
            socket.set_broadcast(true)?;
            Ok(socket)
        })?;
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                // One that is lost is followed by others.
                let _ = socket.send_to(&[0; 32], to);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Ok(Self { is_over })
    }
}

impl Drop for Chatter {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

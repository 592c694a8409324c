//! How long a large file takes: its check, its first apply, a reload after a change of one policy.
//!
//! Applied means that a packet was led as the file says: packets of new connections are sent all
//! the time to an address that the last policy speaks of, and received at the provider it names.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde::Serialize;
use uplinkd_kernel::netlink::{Frames, Protocol, Socket};
use uplinkd_lab::{Isp, Lab, LabSpec, Places, RouterDaemon, addresses::client, plumbing::Plumber};
use uplinkd_model::Family;

use super::{
    said,
    scale::{CHOICES, DEFAULT, Scale, UPLINKS, marked},
};
use crate::bench::{print::talk, program::Programs, statistics::Spread};

/// Longer than this is a failure.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Between two packets that try out whether a policy holds.
const STEP: Duration = Duration::from_micros(200);
/// After a change the daemon looks whether it took; only then the next change is made.
const REST: Duration = Duration::from_secs(1);
/// Where the packets go.
const PORT: u16 = 9;
/// The lowest port that they come from.
const SOURCE_PORTS: u16 = 1024;
/// The multicast group of changes to nftables.
const NFT_CHANGES: u32 = 7;

/// How large a file, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimesArgs {
    pub(super) policies: usize,
    pub(super) prefixes: usize,
    pub(super) repetitions: usize,
}

/// Times in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Times {
    pub(super) policies: usize,
    pub(super) prefixes: usize,
    pub(super) repetitions: usize,
    /// Of the configuration and the lists.
    pub(super) file_bytes: usize,
    /// `uplinkd check --file-only`, start and end of the program included.
    pub(super) check: Spread,
    /// From the start of the program until a policy holds.
    pub(super) first_apply: Spread,
    /// From the change of the file, and the signal, until the changed policy holds.
    pub(super) reload: Spread,
    /// The part of it between handing the change to the kernel and its acknowledgement.
    pub(super) reload_sending: Spread,
    /// The processor time of the daemon until the changed policy holds.
    pub(super) reload_work: Spread,
    /// What a reload changed in the nft table, as the kernel tells it.
    pub(super) reload_messages: Spread,
    pub(super) reload_bytes: Spread,
    /// Connections that went where no policy leads, during all reloads: of those that were begun five
    /// thousand times a second.
    pub(super) lost: u64,
    /// The most memory that the daemon ever had, in 10^6 bytes.
    pub(super) memory_mb: f64,
}

/// Measures all of it.
///
/// # Errors
/// When the file is refused, or a policy never holds.
pub(super) fn measure(args: &TimesArgs, programs: &Programs) -> Result<Times> {
    let program = programs.uplinkd.as_deref().context("there is no uplinkd")?;
    let scale = Scale {
        policies: args.policies,
        prefixes: args.prefixes,
    };
    talk(&format!(
        "{} policies, {} prefixes",
        args.policies, args.prefixes
    ));
    let (mut check, mut first_apply) = (Vec::new(), Vec::new());
    let mut file_bytes = 0;
    let mut last = None;
    for _ in 0..args.repetitions {
        drop(last.take());
        let stand = Stand::build(scale)?;
        file_bytes = stand.file_bytes;
        check.push(stand.check(program)?);
        let begin = Instant::now();
        let daemon = RouterDaemon::start(&stand.lab, &stand.places, program, &["run"], &[])?;
        let held = stand
            .watch
            .wait_for(CHOICES[0])
            .with_context(|| daemon.log_tail())?;
        first_apply.push(ms(held - begin));
        last = Some((daemon, stand));
    }
    let (daemon, stand) = last.context("nothing was started")?;
    let reloads = (0..args.repetitions.max(2))
        .map(|number| {
            let uplink = CHOICES[(1 + number) % CHOICES.len()];
            stand
                .reload(&daemon, uplink)
                .with_context(|| daemon.log_tail())
        })
        .collect::<Result<Vec<_>>>()?;
    let spread = |all: Vec<f64>| Spread::of(all).context("nothing was measured");
    Ok(Times {
        policies: args.policies,
        prefixes: args.prefixes,
        repetitions: args.repetitions,
        file_bytes,
        check: spread(check)?,
        first_apply: spread(first_apply)?,
        reload: spread(reloads.iter().map(|r| r.took).collect())?,
        reload_sending: spread(reloads.iter().map(|r| r.sending).collect())?,
        reload_work: spread(reloads.iter().map(|r| r.work).collect())?,
        reload_messages: spread(reloads.iter().map(|r| r.messages).collect())?,
        reload_bytes: spread(reloads.iter().map(|r| r.bytes).collect())?,
        lost: reloads.iter().map(|r| r.lost).sum(),
        memory_mb: memory_most(&daemon)?,
    })
}

struct Reload {
    took: f64,
    sending: f64,
    work: f64,
    /// Connections that no policy took meanwhile.
    lost: u64,
    messages: f64,
    bytes: f64,
}

/// A laboratory with the file in its place.
struct Stand {
    places: Places,
    scale: Scale,
    file_bytes: usize,
    // Before the laboratory, whose sockets it has.
    watch: Watch,
    lab: Lab,
}

impl Stand {
    fn build(scale: Scale) -> Result<Self> {
        let lab = Lab::build(LabSpec {
            uplinks: UPLINKS,
            ..LabSpec::default()
        })?;
        let places = Places::new(&lab)?;
        let configuration = scale.configuration(CHOICES[0]);
        places.write_config(&configuration)?;
        let mut file_bytes = configuration.len();
        for (name, text) in scale.lists() {
            file_bytes += text.len();
            let path = places.config().with_file_name(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Self {
            watch: Watch::start(&lab)?,
            places,
            scale,
            file_bytes,
            lab,
        })
    }

    /// The time of a check of the file alone.
    fn check(&self, program: &std::path::Path) -> Result<f64> {
        let mut command = self.places.command(program);
        command.args(["check", "--file-only"]);
        run_timed(command)
    }

    /// Leads the marked address to another uplink and waits until it is.
    fn reload(&self, daemon: &RouterDaemon, uplink: usize) -> Result<Reload> {
        thread::sleep(REST);
        let mut changes = self.lab.router().run(|| {
            let socket = Socket::open(Protocol::Netfilter)?;
            socket
                .join(NFT_CHANGES)
                .context("cannot hear of changes to nftables")?;
            Ok(socket)
        })?;
        let configuration = self.scale.configuration(uplink);
        self.watch.forget()?;
        let said = daemon.log().len();
        let work = said::work_done(daemon)?;
        // The daemon may look after its files by itself, so that writing is the beginning.
        let begin = Instant::now();
        self.places.write_config(&configuration)?;
        daemon.process().signal(Signal::SIGHUP)?;
        let held = self.watch.wait_for(uplink)?;
        let work = said::work_done(daemon)?.saturating_sub(work);
        let lost = self.watch.count(DEFAULT)?;
        thread::sleep(REST);
        let (messages, bytes) = told(&mut changes)?;
        let log = daemon.log();
        Ok(Reload {
            took: ms(held - begin),
            sending: said::sending(log.get(said..).unwrap_or_default())?,
            work: ms(work),
            lost,
            messages,
            bytes,
        })
    }
}

/// Everything that was told so far: messages and bytes.
fn told(changes: &mut Socket) -> Result<(f64, f64)> {
    changes.set_non_blocking(true)?;
    let (mut messages, mut bytes) = (0_u32, 0_usize);
    loop {
        match changes.receive() {
            Ok(datagram) => {
                messages += u32::try_from(Frames(datagram).count())?;
                bytes += datagram.len();
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e).context("too many changes to count"),
        }
    }
    Ok((f64::from(messages), f64::from(u32::try_from(bytes)?)))
}

/// Providers that receive packets for the marked address.
struct Watch {
    receivers: Vec<UdpSocket>,
    client: uplinkd_lab::Netns,
    /// Counted on, so that none comes again while the router still knows the connection of its first
    /// packet, and leads it as the policies were then.
    source_ports: AtomicU16,
}

impl Watch {
    fn start(lab: &Lab) -> Result<Self> {
        let receivers = lab
            .isps()
            .map(|isp: Isp| {
                let provider = lab.isp(isp);
                Plumber::new(provider)?.add_addresses("lo", &[marked().into()])?;
                provider.run(|| {
                    let socket = UdpSocket::bind((marked(), PORT))?;
                    socket.set_nonblocking(true)?;
                    Ok(socket)
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            receivers,
            client: lab.client().clone(),
            source_ports: AtomicU16::new(SOURCE_PORTS),
        })
    }

    /// Throws away what came by now.
    fn forget(&self) -> Result<()> {
        for uplink in 1..=self.receivers.len() {
            self.count(uplink)?;
        }
        Ok(())
    }

    /// What came to the provider of this number since the last count.
    fn count(&self, uplink: usize) -> Result<u64> {
        let receiver = self.receiver(uplink)?;
        let mut count = 0;
        while has_come(receiver)? {
            count += 1;
        }
        Ok(count)
    }

    fn receiver(&self, uplink: usize) -> Result<&UdpSocket> {
        let receiver = uplink.checked_sub(1).and_then(|n| self.receivers.get(n));
        receiver.context("there is no such provider")
    }

    /// Sends until a packet comes to the provider of this number, and says when it did.
    fn wait_for(&self, uplink: usize) -> Result<Instant> {
        let receiver = self.receiver(uplink)?;
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let sender = scope.spawn(|| self.client.run(|| self.send_until(&is_done)));
            let deadline = Instant::now() + WAIT_MAX;
            let came = loop {
                if has_come(receiver)? {
                    break Ok(Instant::now());
                }
                if Instant::now() > deadline {
                    break Err(anyhow::anyhow!(
                        "nothing was led to isp{uplink} in {WAIT_MAX:?}"
                    ));
                }
                thread::sleep(STEP);
            };
            is_done.store(true, Ordering::Relaxed);
            match sender.join() {
                Ok(sent) => sent?,
                Err(_) => bail!("the sender broke down"),
            }
            came
        })
    }

    /// A packet each step, each a connection of its own.
    fn send_until(&self, is_done: &AtomicBool) -> Result<()> {
        let source = client(Family::V4, 0).addr();
        while !is_done.load(Ordering::Relaxed) {
            let port = self.source_ports.fetch_add(1, Ordering::Relaxed);
            let source = SocketAddr::new(source, port.max(SOURCE_PORTS));
            let socket = UdpSocket::bind(source).context("cannot send")?;
            // The router may not forward yet, and then says so with an ICMP message.
            let _ = socket.send_to(&[0], (marked(), PORT));
            thread::sleep(STEP);
        }
        Ok(())
    }
}

fn has_come(receiver: &UdpSocket) -> Result<bool> {
    match receiver.recv(&mut [0; 16]) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(e).context("cannot receive"),
    }
}

/// The milliseconds of a program that must succeed.
fn run_timed(mut command: Command) -> Result<f64> {
    let begin = Instant::now();
    let output = command.output().context("cannot start a check")?;
    let took = ms(begin.elapsed());
    ensure!(
        output.status.success(),
        "the file was refused: {}",
        String::from_utf8_lossy(&output.stderr)
            .lines()
            .take(20)
            .collect::<Vec<_>>()
            .join("\n")
    );
    Ok(took)
}

fn memory_most(daemon: &RouterDaemon) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.process().pid()))
        .with_context(|| format!("the daemon ended\n{}", daemon.log_tail()))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.context("the kernel does not tell the memory")? * 1024.0 / 1e6)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

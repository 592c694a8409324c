//! Real packets in private network namespaces: what the kernel does, not what we think it does.
//!
//! Each test runs in threads of its own, unshared from the machine's network. Needs root; says
//! `SKIPPED` otherwise, and fails where `CI` is set, since a test that did not run proves nothing.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers are tests too"
)]

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
};
use socket2::{Domain, Protocol, Socket, Type};
use uplinkd_model::UplinkName;
use uplinkd_probe::{Probe, Prober, Reply, SendError};

/// The group that root is in, which is all that a user namespace may know.
const PING_FOR_US: &str = "0 0";
/// What a new namespace begins with. A user namespace cannot go back to it, so it comes first.
const PING_FOR_NOBODY: &str = "1 0";
/// Long enough for any answer on a virtual wire, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long silence is listened to before it is believed.
const SILENCE: Duration = Duration::from_millis(250);

#[test]
fn loopback_answers_ping_sockets_and_raw_sockets_alike() {
    in_netns(|| async {
        for range in [PING_FOR_NOBODY, PING_FOR_US] {
            allow_ping_sockets(range);
            let mut prober = Prober::new();
            for (id, target) in [(1, "127.0.0.1"), (2, "127.0.0.2"), (3, "::1")] {
                prober.send(probe(id, "lo", target)).unwrap();
            }
            assert_eq!(collect(&mut prober, 3).await, [1, 2, 3], "range {range}");
            assert_eq!(sockets_open(range), 2, "one for each family");
            assert!(silence(&mut prober).await.is_empty(), "answered twice");
        }
    });
}

#[test]
fn an_answer_that_is_read_late_is_not_slow() {
    in_netns(|| async {
        let mut prober = Prober::new();
        prober.send(probe(1, "lo", "127.0.0.1")).unwrap();
        // The daemon is busy with something else, on the only thread.
        thread::sleep(Duration::from_millis(100));
        let replies = prober.drain();
        assert_eq!(replies.len(), 1);
        assert!(replies[0].rtt < Duration::from_millis(50), "{replies:?}");
        assert!(prober.drain().is_empty());
    });
}

#[test]
fn a_device_made_anew_under_the_old_name_works_at_once() {
    with_far_side(|far| async move {
        for range in [PING_FOR_NOBODY, PING_FOR_US] {
            allow_ping_sockets(range);
            let mut prober = Prober::new();
            prober.send(probe(1, "near", "10.9.0.2")).unwrap();
            assert_eq!(collect(&mut prober, 1).await, [1]);

            ip("link del near");
            let gone = prober.send(probe(2, "near", "10.9.0.2")).unwrap_err();
            assert!(matches!(gone, SendError::NoDevice { .. }), "{gone}");
            far.wire();
            prober.send(probe(3, "near", "10.9.0.2")).unwrap();
            assert_eq!(collect(&mut prober, 1).await, [3]);

            // And without a probe in between that would have noticed.
            ip("link del near");
            far.wire();
            prober.send(probe(4, "near", "10.9.0.2")).unwrap();
            assert_eq!(collect(&mut prober, 1).await, [4]);

            // Another device takes the name.
            ip("link set near down");
            ip("link set near name old");
            ip("link add near type veth peer name spare");
            ip("link set near up");
            let _ = prober.send(probe(5, "near", "10.9.0.2"));
            assert!(silence(&mut prober).await.is_empty());
            ip("link del old");
            ip("link del near");
            far.wire();
        }
    });
}

#[test]
fn many_that_leave_together_are_each_answered_or_refused() {
    in_netns(|| async {
        for range in [PING_FOR_NOBODY, PING_FOR_US] {
            allow_ping_sockets(range);
            let mut prober = Prober::new();
            let target = |id| match id {
                7 => "127.255.255.255".to_owned(),
                30.. => "::1".to_owned(),
                _ => format!("127.0.0.{id}"),
            };
            let mut probes: Vec<_> = (1..=40).map(|id| probe(id, "lo", &target(id))).collect();
            probes[20].device = "nowhere".to_owned();
            probes[20].uplink = UplinkName::new("isp2").unwrap();
            // The second time there are sockets, and the device is known.
            for _ in 0..2 {
                let refused = prober.send_all(&probes);
                let why: Vec<_> = refused.iter().map(|(id, e)| (*id, e.errno())).collect();
                let (barred, absent) = (Errno::EACCES as i32, Errno::ENODEV as i32);
                assert_eq!(why, [(7, barred), (21, absent)], "range {range}");
                let answered = collect(&mut prober, 38).await;
                let expected = (1..=40).filter(|id| ![7, 21].contains(id));
                assert_eq!(answered, expected.collect::<Vec<_>>(), "range {range}");
            }
        }
    });
}

#[test]
fn what_cannot_be_sent_is_told_and_heals_by_itself() {
    with_far_side(|_far| async move {
        let mut prober = Prober::new();
        ip("link set near down");
        let down = prober.send(probe(1, "near", "10.9.0.2")).unwrap_err();
        assert!(matches!(down, SendError::Send { .. }), "{down}");
        assert_ne!(down.errno(), 0);
        ip("link set near up");
        // The kernel is done with the link a moment after the command.
        for _ in 0..100 {
            if prober.send(probe(2, "near", "10.9.0.2")).is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(collect(&mut prober, 1).await, [2]);
        let broadcast = prober.send(probe(3, "near", "10.9.0.255")).unwrap_err();
        assert_eq!(
            broadcast.to_string(),
            "cannot send an echo request to 10.9.0.255 by near: Permission denied (EACCES)"
        );
    });
}

#[test]
fn unreachable_from_a_router_is_silence_and_breaks_nothing() {
    with_far_side(|far| async move {
        far.run("ip route add unreachable 203.0.113.1");
        far.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0");
        ip("route add 203.0.113.0/24 via 10.9.0.2");
        for range in [PING_FOR_NOBODY, PING_FOR_US] {
            allow_ping_sockets(range);
            let mut prober = Prober::new();
            for id in 0..50 {
                prober.send(probe(id, "near", "203.0.113.1")).unwrap();
            }
            assert!(silence(&mut prober).await.is_empty());
            prober.send(probe(100, "near", "10.9.0.2")).unwrap();
            assert_eq!(collect(&mut prober, 1).await, [100]);
        }
    });
}

#[test]
fn forged_answers_are_ignored_and_a_true_one_counts_once() {
    with_far_side(|far| async move {
        far.run("sysctl -qw net.ipv4.icmp_echo_ignore_all=1");
        far.run("ip addr add 10.9.0.3/24 dev far");
        for range in [PING_FOR_NOBODY, PING_FOR_US] {
            allow_ping_sockets(range);
            let forger = far.forge();
            let mut prober = Prober::new();
            prober.send(probe(7, "near", "10.9.0.2")).unwrap();
            let told = forger.recv_timeout(PATIENCE).unwrap();
            assert_eq!(told, "forged");
            assert!(silence(&mut prober).await.is_empty(), "range {range}");
            let told = forger.recv_timeout(PATIENCE).unwrap();
            assert_eq!(told, "answered twice");
            assert_eq!(collect(&mut prober, 1).await, [7]);
            assert!(silence(&mut prober).await.is_empty(), "range {range}");
        }
    });
}

#[test]
fn a_flood_does_not_starve_other_work_and_true_answers_get_through() {
    with_far_side(|far| async move {
        let stop = far.flood();
        let mut prober = Prober::new();
        let begin = Instant::now();
        for turn in 0..20 {
            // Where others keep the processor from us, the kernel has to drop what does not fit any more.
            for id in 3 * turn..3 * turn + 3 {
                prober.send(probe(id, "near", "10.9.0.2")).unwrap();
            }
            let is_one = |id: &u64| id / 3 == turn;
            while !collect(&mut prober, 1).await.iter().any(is_one) {}
        }
        assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
        drop(stop);
    });
}

#[test]
fn the_mark_decides_about_the_routing_table() {
    with_far_side(|far| async move {
        far.run("ip addr add 198.51.100.1/32 dev lo");
        far.run("sysctl -qw net.ipv4.conf.all.arp_ignore=1");
        ip("rule add pref 10 fwmark 0x5 lookup 777");
        ip("route add default via 10.9.0.2 table 777");
        let mut prober = Prober::new();
        prober.send(probe(1, "near", "198.51.100.1")).unwrap();
        // Without a route the kernel takes the target for a neighbour.
        assert!(silence(&mut prober).await.is_empty());
        let marked = Probe {
            mark: Some(5),
            ..probe(2, "near", "198.51.100.1")
        };
        prober.send(marked).unwrap();
        assert_eq!(collect(&mut prober, 1).await, [2]);
    });
}

#[test]
fn a_link_local_gateway_is_asked_on_the_device_that_the_socket_is_bound_to() {
    with_far_side(|far| async move {
        // The same link-local address behind both wires, as providers' routers like to have it.
        far.wire_more("near2", "far2");
        ip("addr add 2001:db8:9::1/64 dev near nodad");
        far.run("ip addr add 2001:db8:9::2/64 dev far nodad");
        for device in ["near", "near2"] {
            ip(&format!("addr add fe80::2/64 dev {device} nodad"));
        }
        far.run("ip addr add fe80::1/64 dev far nodad");
        far.run("ip addr add fe80::1/64 dev far2 nodad");
        for range in [PING_FOR_NOBODY, PING_FOR_US] {
            allow_ping_sockets(range);
            let mut prober = Prober::new();
            prober.send(probe(1, "near", "fe80::1")).unwrap();
            prober.send(probe(2, "near", "2001:db8:9::2")).unwrap();
            assert_eq!(collect(&mut prober, 2).await, [1, 2], "range {range}");
            prober.send(probe(3, "near2", "fe80::1")).unwrap();
            assert_eq!(collect(&mut prober, 1).await, [3], "range {range}");

            // One of them goes mute: its answers must not come from the other.
            far.run("ip addr del fe80::1/64 dev far2");
            let mut prober = Prober::new();
            let _ = prober.send(probe(4, "near2", "fe80::1"));
            assert!(silence(&mut prober).await.is_empty(), "range {range}");
            prober.send(probe(5, "near", "fe80::1")).unwrap();
            assert_eq!(collect(&mut prober, 1).await, [5], "range {range}");
            far.run("ip addr add fe80::1/64 dev far2 nodad");
        }
    });
}

#[test]
fn without_an_ipv6_route_the_refusal_is_told_and_ipv4_goes_on() {
    with_far_side(|_far| async move {
        ip("-6 addr flush dev near");
        let mut prober = Prober::new();
        let refused = prober.send(probe(1, "near", "2001:db8::1")).unwrap_err();
        assert!(matches!(refused, SendError::Send { .. }), "{refused}");
        prober.send(probe(2, "near", "10.9.0.2")).unwrap();
        assert_eq!(collect(&mut prober, 1).await, [2]);
    });
}

#[test]
fn sockets_of_uplinks_that_are_gone_are_closed() {
    in_netns(|| async {
        allow_ping_sockets(PING_FOR_NOBODY);
        let mut prober = Prober::new();
        prober.send(probe(1, "lo", "127.0.0.1")).unwrap();
        assert_eq!(sockets_open(PING_FOR_NOBODY), 1);
        prober.retain(|name| name.as_str() != "isp1");
        assert_eq!(sockets_open(PING_FOR_NOBODY), 0);
    });
}

fn probe(id: u64, device: &str, target: &str) -> Probe {
    Probe {
        id,
        uplink: UplinkName::new("isp1").unwrap(),
        device: device.to_owned(),
        mark: None,
        target: target.parse().unwrap(),
    }
}

async fn collect(prober: &mut Prober, count: usize) -> Vec<u64> {
    let mut ids: Vec<u64> = Vec::new();
    while ids.len() < count {
        let replies = tokio::time::timeout(PATIENCE, prober.replies())
            .await
            .unwrap_or_else(|_| panic!("only {ids:?} answered"));
        assert!(replies.iter().all(|r| r.rtt < PATIENCE), "{replies:?}");
        ids.extend(replies.iter().map(|r| r.id));
    }
    ids.sort_unstable();
    ids
}

async fn silence(prober: &mut Prober) -> Vec<Reply> {
    tokio::time::timeout(SILENCE, prober.replies())
        .await
        .unwrap_or_default()
}

fn allow_ping_sockets(range: &str) {
    // Below /proc/sys/net one always sees the namespace of the thread that looks.
    let written = std::fs::write("/proc/sys/net/ipv4/ping_group_range", range);
    assert!(written.is_ok() || range == PING_FOR_NOBODY, "{written:?}");
}

/// ICMP sockets in this namespace of the kind that the range leads to, both families together.
fn sockets_open(range: &str) -> usize {
    let kind = if range == PING_FOR_US { "icmp" } else { "raw" };
    [kind.to_owned(), format!("{kind}6")]
        .iter()
        .map(|name| {
            std::fs::read_to_string(format!("/proc/thread-self/net/{name}"))
                .unwrap()
                .lines()
                .count()
                - 1
        })
        .sum()
}

fn ip(words: &str) {
    sh(&format!("ip {words}"));
}

fn sh(line: &str) {
    // A child inherits the namespace of the thread that starts it.
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs a test on a thread with a network namespace of its own and a tokio runtime like ours.
fn in_netns<F, Fut>(test: F)
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    let ran = thread::spawn(move || {
        if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
            assert!(
                std::env::var_os("CI").is_none(),
                "cannot have a network namespace: {errno}"
            );
            println!("SKIPPED: cannot have a network namespace: {errno}");
            return;
        }
        ip("link set lo up");
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test());
    })
    .join();
    if let Err(panic) = ran {
        std::panic::resume_unwind(panic);
    }
}

/// Another namespace at the end of a wire: `near` (10.9.0.1) here, `far` (10.9.0.2) there.
struct FarSide {
    path: String,
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

fn with_far_side<F, Fut>(test: F)
where
    F: FnOnce(FarSide) -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    in_netns(|| {
        let far = FarSide::start();
        far.wire();
        test(far)
    });
}

impl FarSide {
    fn start() -> Self {
        let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ip("link set lo up");
            let me = (std::process::id(), nix::unistd::gettid());
            tell.send(format!("/proc/{}/task/{}/ns/net", me.0, me.1))
                .unwrap();
            for job in queue {
                job();
            }
        });
        let path = told.recv().unwrap();
        Self { path, jobs }
    }

    /// Lays the wire (again).
    fn wire(&self) {
        ip(&format!(
            "link add near type veth peer name far netns {}",
            self.path
        ));
        ip("addr add 10.9.0.1/24 dev near");
        ip("link set near up");
        self.run("ip addr add 10.9.0.2/24 dev far");
        self.run("ip link set far up");
    }

    /// Lays another wire, without addresses.
    fn wire_more(&self, near: &str, far: &str) {
        ip(&format!(
            "link add {near} type veth peer name {far} netns {}",
            self.path
        ));
        ip(&format!("link set {near} up"));
        self.run(&format!("ip link set {far} up"));
    }

    /// Runs a command over there.
    fn run(&self, line: &str) {
        let line = line.to_owned();
        self.call(move || sh(&line));
    }

    fn call<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.jobs
            .send(Box::new(move || {
                let _ = tell.send(job());
            }))
            .unwrap();
        told.recv().expect("the job over there failed")
    }

    /// Answers the next echo request: first with everything that is almost right, then, after a
    /// pause, twice as it should be.
    fn forge(&self) -> mpsc::Receiver<&'static str> {
        let (tell, told) = mpsc::channel();
        let (right, wrong) = self.call(|| (raw_socket("10.9.0.2"), raw_socket("10.9.0.3")));
        thread::spawn(move || {
            let to: SocketAddr = "10.9.0.1:0".parse().unwrap();
            let request = loop {
                let packet = read(&right);
                if packet.get(20) == Some(&8) {
                    break packet[20..].to_vec();
                }
            };
            let mut answer = request;
            answer[0] = 0;
            with_checksum(&mut answer);
            let send = |socket: &Socket, bytes: &[u8]| {
                socket.send_to(bytes, &to.into()).unwrap();
            };
            // The right packet from the wrong place.
            send(&wrong, &answer);
            // Too short, too long, another number, another token, another identifier, a wrong sum.
            let mut short = answer[..16].to_vec();
            with_checksum(&mut short);
            send(&right, &short);
            send(&right, &answer[..8]);
            let mut long = [answer.as_slice(), &[0; 2000]].concat();
            with_checksum(&mut long);
            send(&right, &long);
            for at in [5, 7, 15, 23] {
                let mut other = answer.clone();
                other[at] ^= 1;
                send(&right, &other);
                with_checksum(&mut other);
                send(&right, &other);
            }
            tell.send("forged").unwrap();
            thread::sleep(SILENCE * 2);
            send(&right, &answer);
            send(&right, &answer);
            tell.send("answered twice").unwrap();
        });
        told
    }

    /// Sends echo replies that nobody asked for, and other datagrams, until dropped.
    fn flood(&self) -> mpsc::Sender<()> {
        let (stop, stopped) = mpsc::channel::<()>();
        let (raw, udp) = self.call(|| {
            (
                raw_socket("10.9.0.2"),
                UdpSocket::bind("10.9.0.2:0").unwrap(),
            )
        });
        thread::spawn(move || {
            let to: SocketAddr = "10.9.0.1:9".parse().unwrap();
            let mut ident = 0_u16;
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                let mut junk = vec![0; 24];
                junk[4..6].copy_from_slice(&ident.to_be_bytes());
                with_checksum(&mut junk);
                let _ = raw.send_to(&junk, &to.into());
                let _ = udp.send_to(&junk, to);
                ident = ident.wrapping_add(1);
            }
        });
        stop
    }
}

fn raw_socket(source: &str) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    let source: IpAddr = source.parse().unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn read(mut socket: &Socket) -> Vec<u8> {
    let mut buffer = [0; 256];
    let length = std::io::Read::read(&mut socket, &mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn with_checksum(packet: &mut [u8]) {
    packet[2..4].fill(0);
    let mut sum: u32 = packet
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).unwrap();
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
}

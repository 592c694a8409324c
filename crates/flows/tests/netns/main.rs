//! Real connections in private network namespaces, and what the program in the kernel says of them.
//!
//! Each test runs in threads of its own, unshared from the machine's network. Needs root and a kernel
//! from 6.6 on; says `SKIPPED` otherwise, and fails where `CI` is set, since a test that did not run
//! proves nothing.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers are tests too"
)]

mod forged;

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use aya::programs::{SchedClassifier, TcAttachType};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};
use uplinkd_flows::Flows;
use uplinkd_model::{Family, TcpCounters};

use forged::{ACK, Forwarded, Kind, SYN, Segment, Tag, Virtual, Way};

/// Long enough for anything on a virtual wire, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

const BOTH: [(&str, Family); 2] = [("10.9.0.2", Family::V4), ("fd09::2", Family::V6)];

#[test]
fn a_connection_that_is_well_is_counted_and_timed() {
    for ((host, family), (_, other)) in [(BOTH[0], BOTH[1]), (BOTH[1], BOTH[0])] {
        with_far_side(move |far| {
            let mut watch = Watch::new("near");
            let mut stream = far.connect(host);
            for _ in 0..20 {
                ask(&mut stream);
            }
            let seen = watch.read(family);
            assert_eq!(seen.sent, 21, "{seen:?}");
            assert!((20..=21).contains(&seen.acked), "{seen:?}");
            assert_eq!(seen.rtts, seen.acked, "{seen:?}");
            assert!(seen.rtt_sum > Duration::ZERO, "{seen:?}");
            assert_eq!(seen.all_again(), 0, "{seen:?}");
            assert_eq!(watch.read(other), TcpCounters::default());
        });
    }
}

#[test]
fn connections_that_are_cut_send_again_and_nothing_is_acknowledged() {
    with_far_side(|far| {
        let mut watch = Watch::new("near");
        for (host, family) in BOTH {
            let mut streams: Vec<_> = (0..4).map(|_| far.connect(host)).collect();
            streams.iter_mut().for_each(ask);
            far.cut();
            let before = watch.read(family);
            for stream in &mut streams {
                stream.write_all(&[1]).unwrap();
            }
            let seen = watch.wait(family, |now| flows(&now.since(before).unwrap()) >= 2);
            let seen = seen.since(before).unwrap();
            assert_eq!((seen.acked, seen.rtts), (0, 0), "{seen:?}");
            assert!(seen.sent >= 4 + seen.all_again(), "{seen:?}");
            // What was cut is acknowledged afterwards, and timed by its stamps.
            far.mend();
            let seen = watch.wait(family, |now| now.since(before).unwrap().acked >= 4);
            let seen = seen.since(before).unwrap();
            assert!(seen.rtts >= 1, "{seen:?}");
            assert!(seen.rtt_sum < Duration::from_millis(200) * 4, "{seen:?}");
        }
    });
}

#[test]
fn one_silent_host_is_one_flow_however_often_it_is_called() {
    with_far_side(|far| {
        let mut watch = Watch::new("near");
        far.cut();
        // Nobody has to be asked for its hardware address.
        sh("ip neigh replace 10.9.0.2 dev near lladdr 02:00:00:00:00:02 nud permanent");
        let before = watch.read(Family::V4);
        let call = || {
            // A thread has the namespace of the one that made it.
            thread::spawn(|| {
                let to = "10.9.0.2:7000".parse().unwrap();
                let _ = TcpStream::connect_timeout(&to, Duration::from_millis(2500));
            })
        };
        let callers: Vec<_> = (0..6).map(|_| call()).collect();
        let seen = watch.wait(Family::V4, |now| {
            now.since(before).unwrap().all_again() >= 6
        });
        callers.into_iter().for_each(|c| c.join().unwrap());
        let seen = seen.since(before).unwrap();
        assert_eq!(flows(&seen), 1, "{seen:?}");
        assert_eq!(seen.acked, 0, "{seen:?}");
    });
}

#[test]
fn the_measured_time_is_that_of_the_line() {
    with_far_side(|far| {
        let mut watch = Watch::new("near");
        drop(far.connect("10.9.0.2"));
        // What the far side sends next waits behind 300 ms of something else.
        far.run("tc qdisc add dev far root tbf rate 1mbit burst 3k latency 5s");
        let before = watch.read(Family::V4);
        far.call(|| {
            let socket = UdpSocket::bind("10.9.0.2:0").unwrap();
            for _ in 0..30 {
                socket.send_to(&[0; 1208], "10.9.0.1:9").unwrap();
            }
        });
        let began = Instant::now();
        let stream = far.connect("10.9.0.2");
        let took = began.elapsed();
        let seen = watch.read(Family::V4).since(before).unwrap();
        assert_eq!(seen.rtts, 1, "{seen:?}");
        assert!(seen.rtt_sum <= took, "{seen:?} of {took:?}");
        let least = Duration::from_millis(150);
        assert!(seen.rtt_sum > least, "{seen:?} of {took:?}");
        drop(stream);
    });
}

#[test]
fn a_device_without_link_headers_is_read_alike() {
    with_far_side(|_far| {
        let mut line = Virtual::new("raw0", Kind::Ip);
        let mut watch = Watch::new("raw0");
        let call = line.call();
        line.answer(&call, Tag::None);
        let seen = watch.read(Family::V4);
        assert_eq!((seen.sent, seen.acked, seen.rtts), (1, 1, 1), "{seen:?}");
    });
}

#[test]
fn a_tagged_frame_belongs_to_another_device() {
    with_far_side(|_far| {
        let mut line = Virtual::new("eth7", Kind::Ethernet);
        let mut watch = Watch::new("eth7");
        let call = line.call();
        line.answer(&call, Tag::Vlan);
        assert_eq!(watch.read(Family::V4).acked, 0);
        line.answer(&call, Tag::None);
        let seen = watch.read(Family::V4);
        assert_eq!((seen.sent, seen.acked, seen.rtts), (1, 1, 1), "{seen:?}");
    });
}

#[test]
fn what_is_sent_again_is_told_from_what_only_looks_so() {
    with_far_side(|_far| {
        let mut net = Forwarded::new();
        let mut watch = Watch::new("wan0");
        // Numbers that begin again from zero on the way.
        let at = |n: u32| 0xffff_ff00_u32.wrapping_add(n);
        let mut see = |net: &mut Forwarded, out: Option<Segment>, inward: Option<Segment>| {
            out.into_iter().for_each(|s| net.send(Way::Out, &s));
            inward.into_iter().for_each(|s| net.send(Way::In, &s));
            let seen = watch.read(Family::V4);
            (seen.sent, seen.acked, seen.all_again(), seen.rtts)
        };
        let data = |seq, length| Segment {
            seq: at(seq),
            length,
            ..Segment::default()
        };
        let ack = |n| Segment {
            ack: at(n),
            ..Segment::default()
        };
        let stamped = |segment: Segment, stamp| Segment {
            stamps: Some((stamp, stamp)),
            ..segment
        };

        let syn = Segment {
            seq: at(0),
            flags: SYN,
            ..Segment::default()
        };
        let syn_ack = Segment {
            ack: at(1),
            flags: SYN | ACK,
            ..Segment::default()
        };
        assert_eq!(see(&mut net, Some(syn), Some(syn_ack)), (1, 1, 0, 1));
        // An acknowledgement alone asks for nothing, nor does a reset.
        assert_eq!(see(&mut net, Some(data(1, 0)), None), (1, 1, 0, 1));
        let reset = Segment {
            seq: at(1),
            flags: 4,
            ..Segment::default()
        };
        assert_eq!(see(&mut net, Some(reset), None), (1, 1, 0, 1));
        // Sent twice; nobody knows which of the two is acknowledged.
        assert_eq!(see(&mut net, Some(data(1, 300)), None), (2, 1, 0, 1));
        assert_eq!(
            see(&mut net, Some(data(1, 300)), Some(ack(301))),
            (3, 2, 1, 1)
        );
        // The same acknowledgement once more is no progress, and one of what was never sent is none.
        assert_eq!(see(&mut net, None, Some(ack(301))), (3, 2, 1, 1));
        assert_eq!(see(&mut net, None, Some(ack(999))), (3, 2, 1, 1));
        // A keep-alive with a byte that was acknowledged.
        assert_eq!(see(&mut net, Some(data(300, 1)), None), (4, 2, 1, 1));
        // The echo says which one was acknowledged: here the first, there the second.
        see(&mut net, Some(stamped(data(301, 10), 5)), None);
        let first = see(
            &mut net,
            Some(stamped(data(301, 10), 7)),
            Some(stamped(ack(311), 5)),
        );
        assert_eq!(first, (6, 3, 2, 1));
        see(&mut net, Some(stamped(data(311, 10), 9)), None);
        let second = see(
            &mut net,
            Some(stamped(data(311, 10), 11)),
            Some(stamped(ack(321), 11)),
        );
        assert_eq!(second, (8, 4, 3, 2));
        // Two that overlap, as when a sender packs anew.
        see(&mut net, Some(data(321, 10)), None);
        assert_eq!(see(&mut net, Some(data(326, 10)), None), (10, 4, 4, 2));
        // Another connection of the same ports begins anew.
        let syn = Segment {
            seq: at(200),
            flags: SYN,
            ..Segment::default()
        };
        assert_eq!(see(&mut net, Some(syn), None), (11, 4, 4, 2));
        assert_eq!(see(&mut net, Some(syn), None), (12, 4, 5, 2));
    });
}

#[test]
fn it_follows_interfaces_and_leaves_nothing_behind() {
    with_far_side(|far| {
        let attached = |name: &str| {
            let on = |hook| SchedClassifier::query_tcx(name, hook).unwrap().1.len();
            (on(TcAttachType::Ingress), on(TcAttachType::Egress))
        };
        let mut flows = Flows::loaded().unwrap();
        let near = if_nametoindex("near").unwrap();
        sh("ip link add spare type bridge");
        let spare = if_nametoindex("spare").unwrap();
        assert_eq!(flows.count(&[near, spare]).counters.len(), 4);
        assert_eq!((attached("near"), attached("spare")), ((1, 1), (1, 1)));
        // Named again it is the same, and not one more.
        assert_eq!(flows.count(&[near]).counters.len(), 2);
        assert_eq!((attached("near"), attached("spare")), ((1, 1), (0, 0)));

        // Made anew under the same name it is another interface, with other counts.
        drop(far.connect("10.9.0.2"));
        assert_ne!(flows.count(&[near]).counters[&(near, Family::V4)].sent, 0);
        sh("ip link del near");
        assert!(flows.count(&[near]).news.is_empty());
        far.wire();
        let near = if_nametoindex("near").unwrap();
        let counters = flows.count(&[near]).counters;
        assert_eq!(counters[&(near, Family::V4)], TcpCounters::default());
        assert_eq!(attached("near"), (1, 1));

        // One that never existed is no news: the next look at the kernel says so.
        assert_eq!(flows.count(&[near, 999_999]).news, []);
        drop(flows);
        assert_eq!(attached("near"), (0, 0));
    });
}

/// What a packet costs, by the kernel's own count, and what a question and its answer take with and
/// without it: run with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost() {
    with_far_side(|far| {
        let _stats = aya::sys::enable_stats(aya::sys::Stats::RunTime).unwrap();
        let mut stream = far.connect("10.9.0.2");
        let mut flows = Flows::loaded().unwrap();
        let near = if_nametoindex("near").unwrap();
        let mut best = [Duration::MAX; 2];
        for round in 0..10 {
            let is_watched = round % 2;
            let wanted: &[u32] = if is_watched == 1 { &[near] } else { &[] };
            flows.count(wanted);
            let began = Instant::now();
            for _ in 0..5000 {
                ask(&mut stream);
            }
            best[is_watched] = best[is_watched].min(began.elapsed() / 5000);
        }
        println!(
            "a question and its answer: {:?} without, {:?} with",
            best[0], best[1]
        );
        for hook in [TcAttachType::Egress, TcAttachType::Ingress] {
            for program in SchedClassifier::query_tcx("near", hook).unwrap().1 {
                let (time, count) = (program.run_time(), program.run_count());
                let each = time.as_nanos() / u128::from(count.max(1));
                println!("{hook:?}: {count} packets, {each} ns each");
            }
        }
        let began = Instant::now();
        for _ in 0..1000 {
            flows.count(&[near]);
        }
        println!("a reading of both families: {:?}", began.elapsed() / 1000);
        let began = Instant::now();
        Flows::check().unwrap();
        println!("loading: {:?}", began.elapsed());
    });
}

/// How many flows sent something again, at least.
fn flows(counters: &TcpCounters) -> usize {
    counters.again.iter().filter(|n| **n > 0).count()
}

/// The counts of one interface.
struct Watch {
    flows: Flows,
    index: u32,
}

impl Watch {
    fn new(name: &str) -> Self {
        let mut watch = Self {
            flows: Flows::loaded().unwrap(),
            index: if_nametoindex(name).unwrap(),
        };
        watch.read(Family::V4);
        watch
    }

    fn read(&mut self, family: Family) -> TcpCounters {
        let reading = self.flows.count(&[self.index]);
        assert_eq!(reading.news, []);
        reading.counters[&(self.index, family)]
    }

    fn wait(&mut self, family: Family, until: impl Fn(&TcpCounters) -> bool) -> TcpCounters {
        let began = Instant::now();
        loop {
            let now = self.read(family);
            if until(&now) {
                return now;
            }
            assert!(began.elapsed() < PATIENCE, "{now:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Sends a byte and waits until it comes back.
fn ask(stream: &mut TcpStream) {
    stream.write_all(&[1]).unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

/// Another namespace at the end of a wire: `near` here, `far` there, where all bytes come back.
struct FarSide {
    path: String,
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

fn with_far_side(test: impl FnOnce(FarSide) + Send + 'static) {
    let ran = thread::spawn(move || {
        if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
            return skip(&format!("cannot have a network namespace: {errno}"));
        }
        sh("ip link set lo up");
        if let Err(error) = Flows::check() {
            return skip(&error.to_string());
        }
        let far = FarSide::start();
        far.wire();
        test(far);
    });
    if let Err(panic) = ran.join() {
        std::panic::resume_unwind(panic);
    }
}

fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    println!("SKIPPED: {why}");
}

impl FarSide {
    fn start() -> Self {
        let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            sh("ip link set lo up");
            let listener = TcpListener::bind("[::]:7000").unwrap();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    thread::spawn(|| echo(stream));
                }
            });
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
        let far = &self.path;
        sh(&format!(
            "ip link add near type veth peer name far netns {far}"
        ));
        sh("ip addr add 10.9.0.1/24 dev near");
        sh("ip addr add fd09::1/64 dev near nodad");
        sh("ip link set near up");
        self.run("ip link set far address 02:00:00:00:00:02");
        self.run("ip addr add 10.9.0.2/24 dev far");
        self.run("ip addr add fd09::2/64 dev far nodad");
        self.run("ip link set far up");
    }

    /// Nothing of IP arrives there any more.
    fn cut(&self) {
        self.run("nft add table netdev cut");
        self.run(
            "nft add chain netdev cut in { type filter hook ingress device far priority 0; policy drop; }",
        );
    }

    fn mend(&self) {
        self.run("nft delete table netdev cut");
    }

    /// Runs a command over there.
    fn run(&self, line: &str) {
        let line = line.to_owned();
        self.call(move || sh(&line));
    }

    fn call<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let job = Box::new(move || {
            let _ = tell.send(job());
        });
        self.jobs.send(job).unwrap();
        told.recv().expect("the job over there failed")
    }

    fn connect(&self, host: &str) -> TcpStream {
        let to = SocketAddr::new(host.parse::<IpAddr>().unwrap(), 7000);
        let stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

fn echo(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
}

fn sh(line: &str) {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    let output = command.args(words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {text}");
}

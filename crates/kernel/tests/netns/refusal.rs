//! What routing refuses is refused at once, in a form that every protocol heeds.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use uplinkd_kernel::Kernel;
use uplinkd_model::{
    Family, Nat, Reserve, RouteVia, Rule, Step, TableId, kernel_state::RuleAction, nft::Refusal,
};

use crate::{
    common::{OURS, default_route, done, in_netns, sh},
    packets::{Net, all_to, lead_by_marks, net, uplinks},
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const SERVER: [&str; 2] = ["203.0.113.1:7", "[2001:db8:ffff::1]:7"];
/// In a connected network: behind `lan`, and the provider of `wan1`.
const NEAR: [&str; 4] = [
    "10.0.0.2:70",
    "[2001:db8:a::2]:70",
    "100.64.1.1:7",
    "[2001:db8:1::1]:7",
];
const ROUTER: [&str; 2] = ["10.0.0.1:70", "[2001:db8:a::1]:70"];

/// Sooner than TCP tries again.
const AT_ONCE: Duration = Duration::from_millis(900);

/// How connecting ended, and how long it took.
fn connect(to: &str) -> (Result<(), ErrorKind>, Duration) {
    let began = Instant::now();
    let address: SocketAddr = to.parse().unwrap();
    let result = TcpStream::connect_timeout(&address, Duration::from_secs(5));
    (result.map(drop).map_err(|e| e.kind()), began.elapsed())
}

/// How a question by UDP ended.
fn ask(to: &str) -> Result<(), ErrorKind> {
    let any: IpAddr = if to.starts_with('[') {
        "::".parse().unwrap()
    } else {
        "0.0.0.0".parse().unwrap()
    };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    let wait = Some(Duration::from_secs(1));
    socket.set_read_timeout(wait).unwrap();
    socket.connect(to).unwrap();
    let answer = socket.send(b"?").and_then(|_| socket.recv(&mut [0; 99]));
    answer.map(drop).map_err(|e| e.kind())
}

/// Both providers' servers, the client and the router take connections by TCP.
fn listen(net: &Net) {
    let serve = |address: &'static str| {
        let listener = TcpListener::bind(address).unwrap();
        std::thread::spawn(move || listener.incoming().for_each(drop));
    };
    for isp in &net.isp {
        // Of both families.
        isp.run(move || serve("[::]:7"));
    }
    net.client
        .run(move || NEAR[..2].iter().for_each(|a| serve(a)));
    ROUTER.iter().for_each(|a| serve(a));
}

/// How an outlet refuses.
#[derive(Clone, Copy)]
enum By {
    /// A rule leads to a table of its own, where nothing is live.
    Route,
    /// The rule itself.
    Rule,
}

/// Policies lead everything to outlet 1, which refuses.
fn prepare(kernel: &mut Kernel, by: By) {
    lead_by_marks(kernel);
    let mut table = uplinks([Nat::Masquerade; 2]);
    for uplink in &mut table.uplinks {
        uplink.nat6 = Nat::Masquerade;
    }
    all_to(&mut table, 1);
    table.outlets[1].refusal = Refusal::Possible;
    done(kernel, [Step::SetNft(table)]);
    let reserve = Reserve::default();
    for family in FAMILIES {
        let main = Rule {
            suppress_prefix_length: Some(0),
            ..Rule::lookup(family, 1000, TableId::MAIN, OURS)
        };
        let lookup = Rule::lookup(family, 1200, TableId(7900), OURS);
        let outlet = Rule {
            action: match by {
                By::Route => lookup.action,
                By::Rule => RuleAction::Prohibit,
            },
            mark: Some(reserve.mark_outlet(1)),
            ..lookup
        };
        let prohibit = default_route(family, 7900, 1_000_000, RouteVia::Prohibit);
        done(
            kernel,
            [
                Step::AddRoute(prohibit),
                Step::AddRule(main),
                Step::AddRule(outlet),
            ],
        );
    }
}

#[test]
fn what_an_outlet_refuses_fails_at_once_and_nothing_else_does() {
    in_netns(|| {
        let net = net();
        listen(&net);
        let mut kernel = Kernel::open().unwrap();
        prepare(&mut kernel, By::Route);
        // More often than the kernel sends ICMP.
        for round in 0..12 {
            for to in SERVER {
                let (result, took) = net.client.run(move || connect(to));
                assert_eq!(result, Err(ErrorKind::ConnectionRefused), "{round}: {to}");
                assert!(took < AT_ONCE, "{round}: {to}, {took:?}");
            }
        }
        for to in SERVER {
            let (result, took) = connect(to);
            assert_eq!(result, Err(ErrorKind::ConnectionRefused), "own, {to}");
            let most = if to.starts_with('[') { 900 } else { 2500 };
            assert!(took < Duration::from_millis(most), "own, {to}, {took:?}");
            let began = Instant::now();
            let own = ask(to);
            assert!(own.is_err() && began.elapsed() < AT_ONCE, "{to}: {own:?}");
        }
        // The kernel sends few of these.
        for to in SERVER {
            let is_told = || net.client.run(move || ask(to)) == Err(ErrorKind::HostUnreachable);
            let is_told_v6 = || net.client.run(move || ask(to)) == Err(ErrorKind::PermissionDenied);
            assert!((0..3).any(|_| is_told() || is_told_v6()), "{to}");
        }
        for to in NEAR {
            assert_eq!(connect(to).0, Ok(()), "own, {to}");
        }
        for to in NEAR[2..].iter().chain(&ROUTER) {
            assert_eq!(net.client.run(move || connect(to).0), Ok(()), "{to}");
        }
        sh("ping -c1 -W1 10.0.0.2");
        sh("ping -c1 -W1 2001:db8:a::2");
        assert!(!crate::common::try_sh("ping -c1 -W1 2001:db8:ffff::1").0);

        // An uplink of the outlet is live again: a better route is there.
        for family in FAMILIES {
            let device = crate::common::device("wan2");
            let gateway = match family {
                Family::V4 => "100.64.2.1",
                Family::V6 => "2001:db8:2::1",
            };
            let via = RouteVia::Device {
                device,
                gateway: Some(gateway.parse().unwrap()),
            };
            done(
                &mut kernel,
                [Step::AddRoute(default_route(family, 7900, 10, via))],
            );
        }
        let unheard = |kernel: &mut Kernel| kernel.dynamic_sets("uplinkd").unwrap()["unheard4"];
        let before = unheard(&mut kernel);
        for _ in 0..3 {
            for to in SERVER {
                assert_eq!(connect(to).0, Ok(()), "own, {to}");
                assert_eq!(net.client.run(move || connect(to).0), Ok(()), "{to}");
            }
        }
        // What came out is not remembered.
        assert!(unheard(&mut kernel) <= before);
    });
}

#[test]
fn a_blocked_policy_leaves_specific_networks_alone() {
    in_netns(|| {
        let net = net();
        listen(&net);
        let mut kernel = Kernel::open().unwrap();
        prepare(&mut kernel, By::Rule);
        for to in SERVER {
            let (result, took) = net.client.run(move || connect(to));
            assert_eq!(result, Err(ErrorKind::ConnectionRefused), "{to}");
            assert!(took < AT_ONCE, "{to}, {took:?}");
            assert_eq!(
                connect(to).0,
                Err(ErrorKind::ConnectionRefused),
                "own, {to}"
            );
        }
        // Somebody's route in `main`, and a rule of others that is asked before the outlet's.
        sh("ip route add 203.0.113.1 via 100.64.1.1");
        sh("ip -6 route add 2001:db8:ffff::1 via 2001:db8:1::1");
        let both = |connect: &dyn Fn(&'static str)| SERVER.iter().for_each(|to| connect(to));
        let reached = |to: &'static str| {
            assert_eq!(connect(to).0, Ok(()), "own, {to}");
            assert_eq!(net.client.run(move || connect(to).0), Ok(()), "{to}");
        };
        both(&reached);
        sh("ip route del 203.0.113.1 via 100.64.1.1");
        sh("ip -6 route del 2001:db8:ffff::1 via 2001:db8:1::1");
        sh("ip route add default via 100.64.2.1 table 52");
        sh("ip -6 route add default via 2001:db8:2::1 table 52");
        sh("ip rule add pref 1100 lookup 52");
        sh("ip -6 rule add pref 1100 lookup 52");
        both(&reached);
        for to in NEAR[2..].iter().chain(&ROUTER) {
            assert_eq!(net.client.run(move || connect(to).0), Ok(()), "{to}");
        }
    });
}

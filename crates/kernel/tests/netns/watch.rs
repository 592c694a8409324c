//! Which changes give hints, and which do not.

use std::{fmt::Write as _, fs, future::Future, time::Duration};

use tokio::time::timeout;
use uplinkd_kernel::{Hint, Kernel, OwnPorts, Watch};
use uplinkd_model::{Family, NexthopId, Reserve, RouteVia, Rule, Step, TableId};

use crate::{
    common::{OURS, default_route, done, group, in_netns, sh, single, veth},
    nft::table,
};

/// Long enough for what was sent before to have arrived, which is immediately.
const QUIET: Duration = Duration::from_millis(150);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Everything that comes until it is quiet, each kind once.
pub(crate) async fn hints(watch: &mut Watch) -> Vec<Hint> {
    let mut hints = Vec::new();
    while let Ok(hint) = timeout(QUIET, watch.next()).await {
        let hint = hint.unwrap();
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    hints
}

fn open(ports: OwnPorts) -> Watch {
    Watch::open(&[Reserve::default()], ports).unwrap()
}

#[test]
fn each_kind_of_change_gives_its_hint() {
    in_netns(|| {
        let wan = veth("wan1", &["192.0.2.9/24", "2001:db8::9/64"]);
        let index = wan.index;
        block_on(async {
            let mut watch = open(OwnPorts::default());
            // The kernel tells of the new links' carrier a moment after they were switched on.
            hints(&mut watch).await;
            for (command, expected) in [
                ("ip addr add 192.0.2.10/24 dev wan1", Hint::Address(index)),
                (
                    "ip addr add 2001:db8::10/64 dev wan1 nodad",
                    Hint::Address(index),
                ),
                ("ip rule add pref 9 lookup 9", Hint::Rule),
                ("ip -6 rule add pref 9 lookup 9", Hint::Rule),
                ("ip nexthop add id 5 via 192.0.2.1 dev wan1", Hint::Nexthop),
                ("ip route add default via 192.0.2.1 dev wan1", Hint::Route),
                ("ip route add default dev wan1 table 100", Hint::Route),
                (
                    "ip -6 route add default via 2001:db8::1 dev wan1",
                    Hint::Route,
                ),
                (
                    "ip route add 203.0.113.0/24 dev wan1 table 7001",
                    Hint::Route,
                ),
                (
                    "ip -6 route add 2001:db8:7::/48 dev wan1 proto 177",
                    Hint::Route,
                ),
                ("nft add table inet uplinkd", Hint::Nft),
            ] {
                sh(command);
                assert_eq!(hints(&mut watch).await, [expected], "{command}");
            }
            for command in [
                "ip route add 203.0.113.0/24 dev wan1",
                "ip route add 203.0.113.0/24 dev wan1 table 100",
                "nft add table inet other",
            ] {
                sh(command);
                assert_eq!(hints(&mut watch).await, [], "{command}");
            }
            sh("ip link set wan1-far down");
            let link = |carrier, admin_up, gone| Hint::Link {
                index: wan.index,
                name: wan.name.clone(),
                admin_up,
                carrier,
                gone,
            };
            let seen = hints(&mut watch).await;
            assert!(seen.contains(&link(false, true, false)), "{seen:?}");
            assert!(
                !seen.contains(&Hint::Nexthop),
                "the kernel has learned to tell: {seen:?}"
            );
            sh("ip link del wan1");
            let seen = hints(&mut watch).await;
            let is_gone =
                |h: &Hint| matches!(h, Hint::Link { name, gone: true, .. } if name == "wan1");
            assert!(seen.iter().any(is_gone), "{seen:?}");
        });
    });
}

#[test]
fn our_own_steps_give_no_hints() {
    in_netns(|| {
        let wan = veth("wan1", &["192.0.2.9/24", "2001:db8::9/64"]);
        block_on(async {
            let mut kernel = Kernel::open().unwrap();
            let mut watch = open(kernel.ports());
            hints(&mut watch).await;
            let via = RouteVia::Nexthop(NexthopId(2));
            let six = RouteVia::Nexthop(NexthopId(4));
            let rule = |family| Rule::lookup(family, 2000, TableId(7001), OURS);
            for step in [
                Step::AddNexthop(single(1, &wan, "192.0.2.1")),
                Step::AddNexthop(single(5, &wan, "192.0.2.2")),
                Step::AddNexthop(group(2, &[(1, 1), (5, 1)])),
                Step::AddNexthop(single(3, &wan, "2001:db8::1")),
                Step::AddNexthop(group(4, &[(3, 1)])),
                Step::AddRoute(default_route(Family::V4, 7001, 10, via.clone())),
                Step::AddRoute(default_route(Family::V6, 7001, 10, six)),
                Step::ReplaceNexthop(single(1, &wan, "192.0.2.3")),
                Step::AddRule(rule(Family::V4)),
                Step::AddRule(rule(Family::V6)),
                Step::DeleteRule(rule(Family::V4)),
                Step::DeleteNexthop(NexthopId(5)),
                Step::DeleteRoute(default_route(Family::V4, 7001, 10, via)),
                Step::DeleteNexthop(NexthopId(1)),
            ] {
                done(&mut kernel, [step.clone()]);
                assert_eq!(hints(&mut watch).await, [], "{step}");
            }
            // IPv6 tells of the route that goes with its nexthop as the kernel's own doing; IPv4
            // does not tell at all.
            done(&mut kernel, [Step::DeleteNexthop(NexthopId(3))]);
            assert_eq!(hints(&mut watch).await, [Hint::Route]);
            // nft is a process of its own, but one of ours.
            done(&mut kernel, [Step::SetNft(table(Vec::new()))]);
            assert_eq!(hints(&mut watch).await, []);
        });
    });
}

#[test]
fn a_flood_of_foreign_routes_is_cheap_and_an_overrun_is_said() {
    in_netns(|| {
        veth("lan", &["10.0.0.1/24"]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("batch");
        let mut batch = String::new();
        for n in 0..100_000_u32 {
            let (a, b) = (n >> 8 & 255, n & 255);
            writeln!(batch, "route add 20.{}.{a}.{b}/32 via 10.0.0.2", n >> 16).unwrap();
        }
        fs::write(&file, &batch).unwrap();
        block_on(async {
            let mut watch = open(OwnPorts::default());
            hints(&mut watch).await;
            // Nobody reads meanwhile. The kernel keeps none of these for us, so that what concerns us
            // is not dropped for them.
            sh(&format!("ip -batch {}", file.display()));
            sh("ip route add default via 10.0.0.2");
            assert_eq!(hints(&mut watch).await, [Hint::Route]);
            sh("ip route flush table main root 20.0.0.0/8");
            assert_eq!(hints(&mut watch).await, []);

            // In tables of others it cannot tell: it drops what does not fit, and says so.
            let elsewhere = batch.replace("via 10.0.0.2", "via 10.0.0.2 table 1000");
            fs::write(&file, elsewhere).unwrap();
            sh(&format!("ip -batch {}", file.display()));
            sh("ip route flush table 1000");
            assert_eq!(hints(&mut watch).await, [Hint::Overrun]);
        });
    });
}

//! What the kernel does beyond what it is told. The simulator imitates what is asserted here.

use nix::libc;
use uplinkd_kernel::Kernel;
use uplinkd_model::{
    Family, Nexthop, NexthopId, NexthopKind, Outcome, Proto, RouteVia, Rule, Step, TableId,
};

use crate::common::{
    OURS, default_route, done, execute, group, in_netns, observe, refusal, sh, single, veth,
};

const A: u32 = 177_000_001;
const B: u32 = 177_000_002;
const G: u32 = 177_008_192;

/// Two uplinks, a group over both, and a route on it, of both families.
fn two_uplinks(kernel: &mut Kernel) {
    let wan1 = veth("wan1", &["192.0.2.9/24", "2001:db8:1::9/64"]);
    let wan2 = veth("wan2", &["198.51.100.9/24", "2001:db8:2::9/64"]);
    let six = 0x80000;
    done(
        kernel,
        [
            Step::AddNexthop(single(A, &wan1, "192.0.2.1")),
            Step::AddNexthop(single(B, &wan2, "198.51.100.1")),
            Step::AddNexthop(group(G, &[(A, 3), (B, 2)])),
            Step::AddNexthop(single(A + six, &wan1, "2001:db8:1::1")),
            Step::AddNexthop(single(B + six, &wan2, "2001:db8:2::1")),
            Step::AddNexthop(group(G + six, &[(A + six, 3), (B + six, 2)])),
        ],
    );
    for (family, offset) in [(Family::V4, 0), (Family::V6, six)] {
        for (table, id) in [(7001, A), (7002, B), (15192, G)] {
            let via = RouteVia::Nexthop(NexthopId(id + offset));
            done(
                kernel,
                [Step::AddRoute(default_route(family, table, 10, via))],
            );
        }
    }
}

#[test]
fn deleting_a_member_keeps_the_rest_of_the_group_and_takes_its_own_routes() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        two_uplinks(&mut kernel);
        done(&mut kernel, [Step::DeleteNexthop(NexthopId(A))]);
        let seen = observe(&mut kernel);
        let expected = NexthopKind::Group(vec![(NexthopId(B), 2)]);
        assert_eq!(seen.nexthops[&NexthopId(G)].kind, expected);
        let v4: Vec<_> = seen
            .routes
            .iter()
            .filter(|r| r.family() == Family::V4)
            .collect();
        let tables: Vec<_> = v4.iter().map(|r| r.table.0).collect();
        assert_eq!(tables, [7002, 15192]);

        // The last member: the group goes, and the route on it.
        done(&mut kernel, [Step::DeleteNexthop(NexthopId(B))]);
        let seen = observe(&mut kernel);
        assert!(!seen.nexthops.contains_key(&NexthopId(G)));
        assert!(seen.routes.iter().all(|r| r.family() == Family::V6));
        assert_eq!(seen.routes.len(), 3);
    });
}

#[test]
fn losing_carrier_or_being_switched_off_deletes_the_nexthops_of_both_families() {
    for command in ["ip link set wan1-far down", "ip link set wan1 down"] {
        in_netns(move || {
            let mut kernel = Kernel::open().unwrap();
            two_uplinks(&mut kernel);
            sh(command);
            wait_for(&mut kernel, |kernel| {
                !observe(kernel).nexthops.contains_key(&NexthopId(A))
            });
            let seen = observe(&mut kernel);
            assert!(!seen.link("wan1").unwrap().carrier);
            let ids: Vec<_> = seen.nexthops.keys().map(|id| id.0).collect();
            assert_eq!(ids, [B, G, B + 0x80000, G + 0x80000], "{command}");
            let tables: Vec<_> = seen.routes.iter().map(|r| r.table.0).collect();
            assert_eq!(tables, [7002, 7002, 15192, 15192], "{command}");

            // It does not come back by itself, and cannot be put back before the carrier is there.
            let wan1 = seen.link("wan1").unwrap().device.clone();
            let add = Step::AddNexthop(single(A, &wan1, "192.0.2.1"));
            let outcomes = execute(&mut kernel, [add.clone()]);
            let (errno, text) = refusal(&outcomes[0]);
            assert_eq!(errno, libc::ENETDOWN, "{text}");
            let words = if command.contains("far") {
                "Carrier for nexthop device is down"
            } else {
                "Nexthop device is not up"
            };
            assert!(text.contains(words), "{text}");
            sh(&command.replace("down", "up"));
            wait_for(&mut kernel, |kernel| {
                observe(kernel).link("wan1").unwrap().carrier
            });
            assert!(!observe(&mut kernel).nexthops.contains_key(&NexthopId(A)));
            done(&mut kernel, [add]);
        });
    }
}

/// The kernel tells of carrier from a work queue, so that it takes a moment.
fn wait_for(kernel: &mut Kernel, is_so: impl Fn(&mut Kernel) -> bool) {
    let start = std::time::Instant::now();
    while !is_so(kernel) {
        assert!(start.elapsed().as_secs() < 5, "it never came to be so");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn groups_and_single_nexthops_do_not_replace_each_other() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        two_uplinks(&mut kernel);
        let wan1 = observe(&mut kernel).link("wan1").unwrap().device.clone();
        for (bad, errno) in [
            (
                Step::ReplaceNexthop(single(G, &wan1, "192.0.2.1")),
                libc::EINVAL,
            ),
            (Step::ReplaceNexthop(group(A, &[(B, 1)])), libc::EINVAL),
            (Step::AddNexthop(group(G + 1, &[(G, 1)])), libc::EINVAL),
            (
                Step::AddNexthop(group(G + 1, &[(A, 1), (A, 1)])),
                libc::EINVAL,
            ),
            (Step::AddNexthop(group(G + 1, &[])), libc::EINVAL),
            (Step::AddNexthop(group(G + 1, &[(77, 1)])), libc::EINVAL),
        ] {
            let outcomes = execute(&mut kernel, [bad.clone()]);
            assert_eq!(refusal(&outcomes[0]).0, errno, "{bad}: {outcomes:?}");
        }
        let same = group(G, &[(B, 1)]);
        done(&mut kernel, [Step::ReplaceNexthop(same.clone())]);
        assert_eq!(observe(&mut kernel).nexthops[&NexthopId(G)], same);
    });
}

#[test]
fn a_replaced_group_keeps_the_number_of_who_put_it_first_and_a_single_one_does_not() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        two_uplinks(&mut kernel);
        for (id, kept) in [(A, false), (G, true)] {
            let id = NexthopId(id);
            let before = observe(&mut kernel).nexthops[&id].clone();
            let renamed = Nexthop {
                proto: Proto(99),
                ..before.clone()
            };
            done(&mut kernel, [Step::ReplaceNexthop(renamed.clone())]);
            let now = observe(&mut kernel).nexthops[&id].clone();
            assert_eq!(now, if kept { before } else { renamed });
        }
    });
}

#[test]
fn a_rule_that_differs_only_in_who_put_it_is_another_rule() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        sh("ip rule add pref 2000 lookup 7001 proto 4");
        let rule = Rule::lookup(Family::V4, 2000, TableId(7001), OURS);
        done(&mut kernel, [Step::AddRule(rule.clone())]);
        let seen = observe(&mut kernel).rules;
        let there = seen.iter().filter(|r| r.priority == rule.priority);
        assert_eq!(there.map(|r| r.proto.0).collect::<Vec<_>>(), [4, 177]);
    });
}

#[test]
fn a_rule_delete_cannot_say_what_the_rule_does_not_have() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let plain = Rule::lookup(Family::V4, 2000, TableId(7001), OURS);
        let marked = Rule {
            mark: Some(uplinkd_model::Mark::new(0x0100_0000, 0x1f00_0000)),
            ..plain.clone()
        };
        done(
            &mut kernel,
            [Step::AddRule(marked.clone()), Step::AddRule(plain.clone())],
        );
        // The first rule that has everything the delete names goes: not the plain one.
        done(&mut kernel, [Step::DeleteRule(plain.clone())]);
        let rules = observe(&mut kernel).rules;
        assert!(rules.contains(&plain) && !rules.contains(&marked));
    });
}

#[test]
fn an_address_that_goes_leaves_its_nexthops_and_rules() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        two_uplinks(&mut kernel);
        let before = observe(&mut kernel);
        sh("ip addr del 192.0.2.9/24 dev wan1");
        let after = observe(&mut kernel);
        assert_eq!(after.nexthops, before.nexthops);
        assert_eq!(after.routes, before.routes);
        assert_eq!(after.rules, before.rules);
        assert_ne!(after.links, before.links);
    });
}

#[test]
fn weights_beyond_256_depend_on_the_kernel() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        two_uplinks(&mut kernel);
        let wide = group(G + 1, &[(A, 257)]);
        match &execute(&mut kernel, [Step::AddNexthop(wide.clone())])[0] {
            // From 6.12 on.
            Outcome::Done => assert_eq!(observe(&mut kernel).nexthops[&wide.id], wide),
            other @ (Outcome::AlreadySo | Outcome::Refused { .. } | Outcome::Skipped) => {
                assert_eq!(refusal(other).0, libc::EINVAL);
            }
        }
    });
}

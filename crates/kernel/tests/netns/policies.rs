//! What policies need besides matching: sticky choices, marks of others, control groups, addresses
//! that resolvers find.

use std::{fs, net::UdpSocket, process::Command, time::Duration};

use uplinkd_kernel::{ConnectionQuery, Kernel, Look};
use uplinkd_model::{
    Classifier, Family, Nat, Reserve, Rule, Slot, Step,
    classify::{Condition, RuleStage, Stage},
    kernel_state::NftState,
    nft::NftTable,
    policy::{Sticky, StickyBy},
};

use crate::{
    common::{OURS, done, in_netns, look, nft, sh},
    nft::{outlet, state},
    packets::{
        SERVER, SERVER6, address, all_to, ask, connection_mark, lead_by_marks, net, socket, uplinks,
    },
};

/// Everything goes to outlet 1, which remembers sources.
fn sticky(by: StickyBy) -> NftTable {
    let mut table = uplinks([Nat::Masquerade; 2]);
    for uplink in &mut table.uplinks {
        uplink.nat6 = Nat::Masquerade;
    }
    all_to(&mut table, 1);
    table.outlets[1].sticky = Some(Sticky {
        by,
        idle: Duration::from_secs(600),
    });
    table.outlets[1].members = vec![1, 2];
    table
}

/// The rules that lead what outlet 1 takes out by wan2.
fn to_wan2() -> Vec<Rule> {
    let reserve = Reserve::default();
    [Family::V4, Family::V6]
        .map(|family| Rule {
            mark: Some(reserve.mark_outlet(1)),
            ..Rule::lookup(family, 2200, reserve.table_service(Slot(2)), OURS)
        })
        .to_vec()
}

#[test]
fn a_source_keeps_its_uplink_until_that_uplink_fails() {
    in_netns(|| {
        let net = net();
        let mut kernel = Kernel::open().unwrap();
        lead_by_marks(&mut kernel);
        done(&mut kernel, [Step::SetNft(sticky(StickyBy::Source))]);
        let ask_both = || {
            net.client.run(|| {
                [("0.0.0.0:0", SERVER), ("[::]:0", SERVER6)]
                    .map(|(from, to)| ask(&socket(from), to).unwrap())
            })
        };
        let by =
            |n: u16| [format!("100.64.{n}.2"), format!("2001:db8:{n}::2")].map(|a| address(&a));
        done(&mut kernel, to_wan2().into_iter().map(Step::AddRule));
        assert_eq!(ask_both(), by(2));
        let choices = |kernel: &mut Kernel| {
            [("10.0.0.2", SERVER), ("2001:db8:a::2", SERVER6)].map(|(source, to)| {
                let to = to.parse::<std::net::SocketAddr>().unwrap().ip();
                kernel
                    .sticky_choices("uplinkd", 1, address(source), to)
                    .unwrap()
            })
        };
        assert_eq!(choices(&mut kernel), [[2].into(), [2].into()]);

        // The outlet would choose another one for new sources now.
        done(&mut kernel, to_wan2().into_iter().map(Step::DeleteRule));
        assert_eq!(ask_both(), by(2));

        // Another content, in place, and then all of it.
        let mut other = sticky(StickyBy::Source);
        other.lan = vec!["lan".to_owned()];
        done(&mut kernel, [Step::SetNft(other.clone())]);
        assert_eq!(choices(&mut kernel), [[2].into(), [2].into()]);
        let mut forgetful = Kernel::open().unwrap();
        done(&mut forgetful, [Step::SetNft(sticky(StickyBy::Source))]);
        assert_eq!(choices(&mut kernel), [[2].into(), [2].into()]);
        assert!(sh("nft list set inet uplinkd sticky4_1_2").contains("expires 9m"));
        assert_eq!(ask_both(), by(2));
        assert_eq!(kernel.dynamic_sets("uplinkd").unwrap()["sticky6_1_2"], 1);

        // The uplink fails: the outlet chooses, and that is remembered.
        sh("ip route flush table 7002");
        sh("ip -6 route flush table 7002");
        assert_eq!(ask_both(), by(1));
        assert_eq!(choices(&mut kernel), [[1].into(), [1].into()]);

        let forget = Step::ForgetSticky {
            table: "uplinkd".to_owned(),
            outlet: 1,
            slots: vec![1, 2, 3],
        };
        done(&mut kernel, [forget]);
        assert_eq!(choices(&mut kernel), [[].into(), [].into()]);
    });
}

#[test]
fn a_pair_of_source_and_destination_is_remembered_as_it_was_before_translation() {
    in_netns(|| {
        let net = net();
        let mut kernel = Kernel::open().unwrap();
        lead_by_marks(&mut kernel);
        done(
            &mut kernel,
            [Step::SetNft(sticky(StickyBy::SourceDestination))],
        );
        nft("table inet stranger {
               chain before {
                 type nat hook prerouting priority dstnat
                 ip daddr 203.0.113.77 dnat ip to 203.0.113.1
               }
             }");
        let ask = || {
            net.client
                .run(|| ask(&socket("0.0.0.0:0"), "203.0.113.77:7"))
        };
        assert_eq!(ask().unwrap(), address("100.64.1.2"));
        let mut slots = |destination| {
            let (source, destination) = (address("10.0.0.2"), address(destination));
            kernel
                .sticky_choices("uplinkd", 1, source, destination)
                .unwrap()
        };
        assert_eq!(slots("203.0.113.77"), [1].into());
        assert_eq!(slots("203.0.113.1"), [].into());
        done(&mut kernel, to_wan2().into_iter().map(Step::AddRule));
        assert_eq!(ask().unwrap(), address("100.64.1.2"));
        let other = net
            .client
            .run(|| crate::packets::ask(&socket("0.0.0.0:0"), SERVER).unwrap());
        assert_eq!(other, address("100.64.2.2"));
    });
}

#[test]
fn whole_marks_of_others_are_left_alone() {
    in_netns(|| {
        let net = net();
        let mut kernel = Kernel::open().unwrap();
        lead_by_marks(&mut kernel);
        let mut content = sticky(StickyBy::Source);
        content.foreign_marks = [51_820].into();
        done(&mut kernel, [Step::SetNft(content)]);
        nft("table inet stranger {
               counter same { }
               counter other { }
               chain before {
                 type filter hook prerouting priority -160
                 iifname lan meta mark set 51820
               }
               chain after {
                 type filter hook forward priority 0
                 iifname lan meta mark 51820 counter name same
                 iifname lan meta mark != 51820 counter name other
               }
             }");
        net.client.run(|| {
            let socket = socket("0.0.0.0:6001");
            [(); 3].map(|()| ask(&socket, SERVER).unwrap())
        });
        let mark = connection_mark("sport=6001 dport=7");
        assert_eq!(mark & Reserve::default().marks().outlet, 0);
        let count = |name: &str| sh(&format!("nft list counter inet stranger {name}"));
        assert!(count("same").contains("packets 3"), "{}", count("same"));
        assert!(count("other").contains("packets 0"), "{}", count("other"));
    });
}

/// A control group that goes when the test ends.
struct Group(std::path::PathBuf);

impl Group {
    fn new(name: &str) -> Option<(Self, String)> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|l| l.contains(" - cgroup2 "))?;
        let root = line.split(' ').nth(4)?;
        let path = format!("uplinkd-test-{}/{name}", std::process::id());
        let group = std::path::Path::new(root).join(&path);
        fs::create_dir_all(&group).ok()?;
        Some((Self(group), path))
    }

    /// Sends a datagram to a port from a process in the group.
    fn send(&self, port: u16) {
        let procs = self.0.join("cgroup.procs");
        let words = format!(
            "echo $$ > {} && echo > /dev/udp/203.0.113.1/{port}",
            procs.display()
        );
        assert!(
            Command::new("bash")
                .args(["-c", &words])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Processes that have just ended may still be in it; what is left is empty and harmless.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = fs::remove_dir(self.0.parent().unwrap());
    }
}

#[test]
fn the_routers_own_traffic_is_known_by_its_control_group() {
    let Some((group, path)) = Group::new("backup.service") else {
        assert!(std::env::var_os("CI").is_none(), "no control groups");
        println!("SKIPPED: no control group can be made");
        return;
    };
    in_netns(move || {
        let net = net();
        let mut kernel = Kernel::open().unwrap();
        let missing = "uplinkd-test-none/missing.service".to_owned();
        let want = Look {
            cgroups: vec![path.clone(), missing.clone()],
            ..look()
        };
        let found = kernel.observe(&want).unwrap().cgroups;
        assert_eq!(found.keys().collect::<Vec<_>>(), [&path]);
        let rule = |not, outlet| {
            Stage::Rule(RuleStage {
                conditions: vec![Condition::Cgroup {
                    any_of: vec![path.clone(), missing.clone()],
                    not,
                }],
                outlet,
                policy: 0,
            })
        };
        let mut content = uplinks([Nat::None; 2]);
        content.outlets = (0..=2).map(outlet).collect();
        content.classifier = Classifier {
            v4: vec![rule(false, 1), rule(true, 2)],
            v6: Vec::new(),
            fingerprint: 1,
            ..Classifier::default()
        }
        .into();
        let outlet_of = |kernel: &mut Kernel, port| {
            let query = ConnectionQuery {
                destination_port: Some(port),
                ..ConnectionQuery::default()
            };
            let found = kernel.find_connections(&query, 9).unwrap().list;
            assert_eq!(found.len(), 1, "{port}: {found:?}");
            (found[0].mark & Reserve::default().marks().outlet) >> 28
        };
        // Before the group is known, it matches nothing.
        done(&mut kernel, [Step::SetNft(content.clone())]);
        group.send(8001);
        assert_eq!(outlet_of(&mut kernel, 8001), 2);
        content.cgroups = found;
        done(&mut kernel, [Step::SetNft(content.clone())]);
        assert_eq!(state(&mut kernel), NftState::Holds(content.fingerprint()));
        group.send(8002);
        assert_eq!(outlet_of(&mut kernel, 8002), 1);
        let own = UdpSocket::bind("0.0.0.0:0").unwrap();
        own.send_to(b"?", "203.0.113.1:8003").unwrap();
        assert_eq!(outlet_of(&mut kernel, 8003), 2);
        net.client.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"?", "203.0.113.1:8004").unwrap();
        });
        assert_eq!(outlet_of(&mut kernel, 8004), 2);
        // All of it once more.
        let mut forgetful = Kernel::open().unwrap();
        done(&mut forgetful, [Step::SetNft(content)]);
        group.send(8005);
        assert_eq!(outlet_of(&mut kernel, 8005), 1);
    });
}

#[test]
fn an_address_that_a_resolver_found_stays_while_it_is_used() {
    in_netns(|| {
        let net = net();
        let mut kernel = Kernel::open().unwrap();
        let mut content = uplinks([Nat::Masquerade, Nat::Masquerade]);
        all_to(&mut content, 1);
        let rule = Stage::Rule(RuleStage {
            conditions: vec![Condition::Domain {
                set: "zoom".to_owned(),
                not: false,
            }],
            outlet: 1,
            policy: 0,
        });
        content.classifier = Classifier {
            v4: vec![rule.clone()],
            v6: vec![rule],
            fingerprint: 7,
            ..Classifier::default()
        }
        .into();
        content.domains = [("zoom".to_owned(), Duration::from_secs(3600))].into();
        done(&mut kernel, [Step::SetNft(content.clone())]);
        nft(
            "add element inet uplinkd dns4_zoom { 203.0.113.1 timeout 1h expires 5m }
             add element inet uplinkd dns6_zoom { 2001:db8:ffff::1 timeout 1h expires 5m }",
        );
        // Resolvers' additions are nobody's alteration.
        assert_eq!(state(&mut kernel), NftState::Holds(content.fingerprint()));
        for (to, address) in [(SERVER, "203.0.113.1"), (SERVER6, "2001:db8:ffff::1")] {
            let from = if to == SERVER {
                "0.0.0.0:6001"
            } else {
                "[::]:6002"
            };
            net.client.run(move || {
                let socket = socket(from);
                socket.send_to(b"?", to).unwrap();
            });
            let holding = kernel.domain_sets_holding("uplinkd", address.parse().unwrap());
            assert_eq!(holding.unwrap(), ["zoom".to_owned()].into());
        }
        let none = kernel.domain_sets_holding("uplinkd", address("203.0.113.9"));
        assert_eq!(none.unwrap(), [].into());
        let outlet = Reserve::default().mark_outlet(1).value;
        for words in ["sport=6001 dport=7", "sport=6002 dport=7"] {
            let mark = connection_mark(words);
            assert_eq!(mark & Reserve::default().marks().outlet, outlet, "{words}");
        }
        for set in ["dns4_zoom", "dns6_zoom"] {
            let listing = sh(&format!("nft list set inet uplinkd {set}"));
            assert!(listing.contains("expires 59m"), "{listing}");
        }
    });
}

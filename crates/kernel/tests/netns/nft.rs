//! Our nft table as nft and the kernel take it: put, read, altered by others, removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use uplinkd_kernel::{Hint, Kernel, Look, Watch, nft::render};
use uplinkd_model::{
    Classifier, Nat, Outcome, Reserve, Slot, Step,
    classify::{Condition, Field, RuleStage, Stage},
    kernel_state::NftState,
    nft::{NftOutlet, NftTable, NftUplink, Refusal},
    policy::{Span, Spans},
};

use crate::{
    common::{done, execute, in_netns, look, nft, refusal, sh},
    watch::hints,
};

/// An uplink's part, with the marks of the default reserve. IPv6 is not translated.
pub(crate) fn uplink(slot: u16, interface: &str, nat: Nat, addresses: &[&str]) -> NftUplink {
    NftUplink {
        slot,
        interface: interface.to_owned(),
        mark: Reserve::default().mark_out(Slot(slot)).value,
        nat4: nat,
        nat6: Nat::None,
        kept: Vec::new(),
        translations: Vec::new(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
    }
}

/// A table with the names and marks of the default reserve, with the default group's outlet only.
pub(crate) fn table(uplinks: Vec<NftUplink>) -> NftTable {
    let reserve = Reserve::default();
    NftTable {
        marks: reserve.marks(),
        name: reserve.nft_table,
        lan: Vec::new(),
        foreign_marks: BTreeSet::new(),
        uplinks,
        outlets: vec![outlet(0)],
        classifier: Arc::new(Classifier::default()),
        domains: BTreeMap::new(),
        cgroups: BTreeMap::new(),
    }
}

/// An outlet's part; nothing is sticky.
pub(crate) fn outlet(code: u16) -> NftOutlet {
    NftOutlet {
        code,
        mark: Reserve::default().mark_outlet(code).value,
        sticky: None,
        members: Vec::new(),
        refusal: Refusal::Never,
    }
}

fn full() -> NftTable {
    let source = Nat::Source("203.0.113.9".parse().unwrap());
    table(vec![
        uplink(1, "wan1", Nat::Masquerade, &["192.0.2.9", "2001:db8::9"]),
        uplink(2, "eth0.7", source, &["198.51.100.9"]),
        uplink(3, "a;b}#", Nat::None, &[]),
    ])
}

pub(crate) fn state(kernel: &mut Kernel) -> NftState {
    let look = Look {
        nft: true,
        ..look()
    };
    kernel.observe(&look).unwrap().nft.unwrap()
}

#[test]
fn every_shape_of_table_loads() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let none = uplink(1, "wan1", Nat::None, &[]);
        let six = uplink(1, "wan1", Nat::None, &["2001:db8::9"]);
        for shape in [
            table(Vec::new()),
            table(vec![none]),
            table(vec![six]),
            full(),
            table(
                (1..=15)
                    .map(|s| uplink(s, &format!("w{s}"), Nat::Masquerade, &[]))
                    .collect(),
            ),
        ] {
            done(&mut kernel, [Step::SetNft(shape.clone())]);
            assert_eq!(state(&mut kernel), NftState::Holds(shape.fingerprint()));
            // What is listed can be loaded again, so that a person can save and restore it.
            nft(&format!("flush ruleset\n{}", sh("nft list ruleset")));
            nft(&format!("flush ruleset\n{}", render(&shape).unwrap()));
        }
    });
}

#[test]
fn the_table_comes_is_altered_and_goes() {
    in_netns(|| {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            Kernel::open()
                .unwrap()
                .with_state_dir(Some(dir.path().to_owned()))
        };
        let mut kernel = open();
        assert_eq!(state(&mut kernel), NftState::Absent);
        nft("table inet other { chain c { }\n }");
        done(&mut kernel, [Step::SetNft(full()), Step::SetNft(full())]);
        assert_eq!(state(&mut kernel), NftState::Holds(full().fingerprint()));

        // After a restart the file tells what was put; without it nothing is believed.
        assert_eq!(state(&mut open()), NftState::Holds(full().fingerprint()));
        let forgetful = state(&mut Kernel::open().unwrap());
        assert!(
            matches!(forgetful, NftState::Altered { .. }),
            "{forgetful:?}"
        );

        sh("nft add rule inet uplinkd postrouting counter accept");
        let NftState::Altered { found } = state(&mut kernel) else {
            panic!("not seen");
        };
        assert_eq!(found, "chain `postrouting` is not as we put it");
        done(&mut kernel, [Step::SetNft(full())]);
        assert_eq!(state(&mut kernel), NftState::Holds(full().fingerprint()));

        sh("nft delete element inet uplinkd nat4 { wan1 }");
        assert!(matches!(state(&mut open()), NftState::Altered { .. }));

        let delete = Step::DeleteNft {
            name: "uplinkd".to_owned(),
        };
        done(&mut kernel, [delete.clone()]);
        assert_eq!(execute(&mut kernel, [delete]), [Outcome::AlreadySo]);
        assert_eq!(state(&mut kernel), NftState::Absent);
        assert!(sh("nft list tables").contains("table inet other"));
    });
}

/// A set of 30 addresses, so that it has a name.
fn with_a_named_set() -> NftTable {
    let values = (0..30_u32).map(|n| Span::one(0x0a00_0000 + 2 * n));
    let mut table = full();
    table.outlets.push(outlet(1));
    table.classifier = Arc::new(Classifier {
        v4: vec![Stage::Rule(RuleStage {
            conditions: vec![Condition::Among {
                field: Field::Source,
                values: Spans::new(values),
            }],
            outlet: 1,
            policy: 0,
        })],
        v6: Vec::new(),
        fingerprint: 1,
        ..Classifier::default()
    });
    table
}

#[test]
fn elements_that_others_change_are_seen_with_a_watch_and_without() {
    in_netns(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut kernel = Kernel::open().unwrap();
            let content = with_a_named_set();
            let holds = NftState::Holds(content.fingerprint());
            done(&mut kernel, [Step::SetNft(content.clone())]);
            let set = sh("nft list sets inet")
                .split_whitespace()
                .find(|w| w.starts_with("values_"))
                .unwrap()
                .to_owned();
            let alterations = [
                format!("nft add element inet uplinkd {set} {{ 192.0.2.1 }}"),
                format!("nft delete element inet uplinkd {set} {{ 10.0.0.4 }}"),
                "nft delete element inet uplinkd nat4 { wan1 }".to_owned(),
            ];
            for alteration in &alterations {
                sh(alteration);
                let found = state(&mut kernel);
                assert!(
                    matches!(found, NftState::Altered { .. }),
                    "{alteration}: {found:?}"
                );
                done(&mut kernel, [Step::SetNft(content.clone())]);
                assert_eq!(state(&mut kernel), holds);
            }
            let mut watch = Watch::open(&[Reserve::default()], kernel.ports()).unwrap();
            for alteration in &alterations {
                sh(alteration);
                assert_eq!(hints(&mut watch).await, [Hint::Nft]);
                let NftState::Altered { found } = state(&mut kernel) else {
                    panic!("not seen: {alteration}");
                };
                assert!(found.contains("other elements in `"), "{found}");
                assert!(found.contains("(changed by nft (pid "), "{found}");
                done(&mut kernel, [Step::SetNft(content.clone())]);
                assert_eq!(state(&mut kernel), holds);
            }
            // There and gone again: nothing is different.
            sh(&alterations[0]);
            sh(&alterations[0].replace("add", "delete"));
            assert_eq!(hints(&mut watch).await, [Hint::Nft]);
            assert_eq!(state(&mut kernel), holds);
        });
    });
}

#[test]
fn what_cannot_be_put_leaves_the_old_table_in_place() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        done(&mut kernel, [Step::SetNft(full())]);
        let before = sh("nft list ruleset");
        let bad = table(vec![uplink(1, "a\"b", Nat::None, &[])]);
        let outcomes = execute(&mut kernel, [Step::SetNft(bad)]);
        assert!(refusal(&outcomes[0]).1.contains("not an interface name"));
        // `hook` is a word of nft's own language, so that nft itself refuses it as a name.
        let bad = NftTable {
            name: "hook".to_owned(),
            ..full()
        };
        let outcomes = execute(&mut kernel, [Step::SetNft(bad)]);
        assert!(
            refusal(&outcomes[0]).1.contains("nft refused: "),
            "{outcomes:?}"
        );
        assert_eq!(sh("nft list ruleset"), before);
    });
}

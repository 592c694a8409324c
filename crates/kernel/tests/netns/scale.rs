//! 10,000 policies and 100,000 prefixes. Figures are printed; what is asserted has room for slow
//! machines and for a build without optimisation.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use uplinkd_kernel::Kernel;
use uplinkd_model::{
    Classifier, Nat, Step,
    classify::{Condition, Entry, Field, MapStage, RuleStage, Stage},
    kernel_state::NftState,
    nft::NftTable,
    policy::{Span, Spans},
};

use crate::{
    common::{done, in_netns, nft},
    nft::{outlet, state, table, uplink},
};

/// A prefix of 128 addresses, so that no two of them touch.
fn prefix(n: u32) -> Span {
    let first = 0x1400_0000 + n * 256;
    Span::new(first, first + 127)
}

/// One list of 100,000 prefixes, 10,000 policies on source and port, 2,000 that need a rule each; the
/// one that changes has words that need no nft.
fn content(change: u32) -> NftTable {
    let prefixes = (0..100_000).map(|n| Entry {
        key: vec![prefix(n)],
        outlet: 1 + (if n == 50_000 { n + change } else { n } % 2) as u16,
        policy: 0,
    });
    let services = (0..10_000_u32).map(|n| Entry {
        key: vec![
            Span::one(0x0a00_0000 + n),
            Span::one(6_u8),
            Span::new(1000_u16, 2000_u16),
        ],
        outlet: 2,
        policy: 1,
    });
    let rules = (0..2000_u32).map(|n| {
        let port = if n == 1000 { n + change } else { n };
        let mut conditions = vec![
            Condition::Among {
                field: Field::Protocol,
                values: Spans::new([Span::one(17_u8)]),
            },
            Condition::Among {
                field: Field::DestinationPort,
                values: Spans::new([Span::one(port)]),
            },
        ];
        if n != 1000 {
            conditions.push(Condition::Mark {
                any_of: vec![uplinkd_model::Mark::new(n, 0xffff)],
                not: false,
            });
        }
        Stage::Rule(RuleStage {
            conditions,
            outlet: 3,
            policy: 2,
        })
    });
    let mut v4 = vec![
        Stage::Map(MapStage {
            fields: vec![Field::Destination],
            entries: prefixes.collect(),
        }),
        Stage::Map(MapStage {
            fields: vec![Field::Source, Field::Protocol, Field::DestinationPort],
            entries: services.collect(),
        }),
    ];
    v4.extend(rules);
    let mut table = table(vec![
        uplink(1, "wan1", Nat::Masquerade, &["192.0.2.9"]),
        uplink(2, "wan2", Nat::Masquerade, &["198.51.100.9"]),
    ]);
    table.outlets = (0..4).map(outlet).collect();
    table.classifier = Arc::new(Classifier {
        v4,
        v6: Vec::new(),
        fingerprint: change.into(),
        ..Classifier::default()
    });
    table
}

fn timed<T>(what: &str, most: u64, act: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = act();
    let took = start.elapsed();
    println!("{what}: {took:?}");
    assert!(took < Duration::from_millis(most), "{what}: {took:?}");
    result
}

#[test]
fn many_policies_are_put_at_once_and_changed_one_by_one() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let first = content(0);
        timed("first", 10_000, || {
            done(&mut kernel, [Step::SetNft(first.clone())])
        });
        let held = |kernel: &mut Kernel, table: &NftTable| {
            assert_eq!(state(kernel), NftState::Holds(table.fingerprint()));
        };
        timed("look, nobody changed anything", 500, || {
            held(&mut kernel, &first)
        });
        nft("table inet other { }");
        timed("look at everything", 5000, || held(&mut kernel, &first));
        nft("delete table inet other");
        held(&mut kernel, &first);

        let mut only_elements = content(1);
        let stages = &mut Arc::make_mut(&mut only_elements.classifier).v4;
        stages.truncate(2);
        stages.extend_from_slice(&first.classifier.v4[2..]);
        timed("one element of 100,000 leads elsewhere", 1000, || {
            done(&mut kernel, [Step::SetNft(only_elements.clone())]);
        });
        held(&mut kernel, &only_elements);
        let both = content(3);
        timed("one rule of 2,000 is another", 2000, || {
            done(&mut kernel, [Step::SetNft(both.clone())]);
        });
        held(&mut kernel, &both);
        nft("table inet other { }");
        held(&mut kernel, &both);
        let mut forgetful = Kernel::open().unwrap();
        timed("all of it in place of what is there", 30_000, || {
            done(&mut forgetful, [Step::SetNft(both.clone())]);
        });
    });
}

//! Rules that are put by messages of ours are those that `nft` makes of the same text.

use std::sync::Arc;

use uplinkd_kernel::{Kernel, nft::Forms};
use uplinkd_model::{
    Classifier, Family, Nat, Step,
    classify::{Condition, Entry, Field, MapStage, RuleStage, Stage},
    kernel_state::NftState,
    nft::NftTable,
    policy::{Span, Spans},
};

use crate::{
    common::{done, in_netns, sh},
    nft::{outlet, state, table, uplink},
};

/// A rule with one span of each field.
fn rule(spans: &[(Field, Span)], outlet: u16) -> Stage {
    let condition = |(field, span): &(Field, Span)| Condition::Among {
        field: *field,
        values: Spans::new([*span]),
    };
    Stage::Rule(RuleStage {
        conditions: spans.iter().map(condition).collect(),
        outlet,
        policy: 0,
    })
}

/// So many rules of every form that needs no nft, in chains that are cut into parts.
fn rules(family: Family) -> Vec<Stage> {
    let first = match family {
        Family::V4 => 0x0a00_0000_u128,
        Family::V6 => 0x2001_0db8 << 96,
    };
    let form = |n: u16| {
        let number = u128::from(n);
        let address = Span::new(first + number * 256, first + number * 256 + number % 3 * 9);
        let udp = (Field::Protocol, Span::one(17_u8));
        let ports = Span::new(n, n + n % 2 * 100);
        match n % 4 {
            0 => rule(&[(Field::Source, address)], 1),
            1 => rule(&[(Field::Destination, address)], 2),
            2 => rule(&[udp, (Field::DestinationPort, ports)], 1),
            _ => rule(
                &[
                    (Field::Destination, address),
                    udp,
                    (Field::SourcePort, ports),
                ],
                2,
            ),
        }
    };
    (0..300).map(form).collect()
}

fn content(v4: &[Stage], v6: &[Stage], number: u64) -> NftTable {
    let mut table = table(vec![uplink(1, "wan1", Nat::Masquerade, &["192.0.2.9"])]);
    table.outlets = (0..4).map(outlet).collect();
    table.classifier = Arc::new(Classifier {
        v4: v4.to_vec(),
        v6: v6.to_vec(),
        counted: [(0, "all_of-them".to_owned())].into(),
        fingerprint: number,
    });
    table
}

/// The table as nft shows it, its chains in no order.
fn shown() -> Vec<String> {
    let text = sh("nft -nn list table inet uplinkd");
    let mut blocks: Vec<_> = text.split("\t}\n").map(|b| b.trim().to_owned()).collect();
    blocks.sort();
    blocks
}

#[test]
fn rules_that_are_put_by_messages_are_those_that_nft_makes() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        let (mut v4, mut v6) = (rules(Family::V4), rules(Family::V6));
        let mut number = 1;
        done(&mut kernel, [Step::SetNft(content(&v4, &v6, number))]);
        // Others, more and fewer, at the beginning, in the middle and at the end, in both families.
        for change in 0..9 {
            for stages in [&mut v4, &mut v6] {
                let at = [0, 150, stages.len() - 1][change % 3];
                match change / 3 {
                    0 => stages[at] = stages[(at + 2) % 300].clone(),
                    1 => stages
                        .splice(at..at, stages[40..60].to_vec())
                        .for_each(drop),
                    _ => stages.drain(at..(at + 15).min(stages.len())).for_each(drop),
                }
            }
            number += 1;
            let table = content(&v4, &v6, number);
            done(&mut kernel, [Step::SetNft(table.clone())]);
            assert_eq!(
                state(&mut kernel),
                NftState::Holds(table.fingerprint()),
                "{change}"
            );
            let in_place = shown();
            // One that remembers nothing has nft make all of it.
            done(&mut Kernel::open().unwrap(), [Step::SetNft(table.clone())]);
            let whole = shown();
            let differs = in_place.iter().zip(&whole).find(|(a, b)| a != b);
            assert!(
                in_place.len() == whole.len() && differs.is_none(),
                "{change}: {differs:#?}"
            );
            // From there on by difference again.
            kernel = Kernel::open().unwrap();
            done(&mut kernel, [Step::SetNft(table)]);
        }
    });
}

/// A map that is put as sets of prefixes, one of ranges of two fields in parts, and a rule.
fn stages(outlet: u16) -> Vec<Stage> {
    let entry = |key: Vec<Span>, outlet| Entry {
        key,
        outlet,
        policy: 0,
    };
    let prefix = |n: u128| Span::new(0x1000_0000 + n * 512, 0x1000_0000 + n * 512 + 255);
    let map = |fields: &[Field], entries: Vec<Entry>| {
        Stage::Map(MapStage {
            fields: fields.to_vec(),
            entries: entries.into(),
        })
    };
    let udp = Span::one(17_u8);
    vec![
        map(
            &[Field::Destination],
            (0..600).map(|n| entry(vec![prefix(n)], 1)).collect(),
        ),
        map(
            &[Field::Source, Field::Protocol],
            (0..1500).map(|n| entry(vec![prefix(n), udp], 2)).collect(),
        ),
        rule(&[(Field::Protocol, Span::one(6_u8))], outlet),
    ]
}

#[test]
fn what_was_foreseen_is_put_as_what_was_not_and_what_was_foreseen_in_vain_does_no_harm() {
    in_netns(|| {
        let first = stages(1);
        let table = |stages: &[Stage], number| content(stages, &[], number);
        // Only the rule leads elsewhere; then an entry of a map; then the map is another one.
        let led = [first[..2].to_vec(), stages(3)[2..].to_vec()].concat();
        let mut moved = led.clone();
        if let Stage::Map(map) = &mut moved[0] {
            map.entries[7].outlet = 3;
        }
        let fewer = moved[1..].to_vec();
        for in_vain in [false, true] {
            let mut kernel = Kernel::open().unwrap();
            done(&mut kernel, [Step::SetNft(table(&first, 1))]);
            for (number, stages) in (2..).zip([&led, &moved, &fewer]) {
                let next = table(stages, number);
                let foreseen = if in_vain {
                    table(&first, 9)
                } else {
                    next.clone()
                };
                let forms = Forms::of(&foreseen.classifier, &kernel.nft_forms());
                kernel.foresee_nft(forms);
                done(&mut kernel, [Step::SetNft(next.clone())]);
                let holds = NftState::Holds(next.fingerprint());
                assert_eq!(state(&mut kernel), holds, "{number}");
                let foreseen = shown();
                done(&mut Kernel::open().unwrap(), [Step::SetNft(next.clone())]);
                assert!(foreseen == shown(), "{number} {in_vain}");
                // From there on by difference again.
                kernel = Kernel::open().unwrap();
                done(&mut kernel, [Step::SetNft(next)]);
            }
        }
    });
}

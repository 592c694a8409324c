//! What each kind of clause compiles to.

use uplinkd_model::{
    Family, Policy,
    classify::{Condition, Field, interface_number},
    policy::{Selector, Span, Spans},
};
use uplinkd_policy::{
    Answer, Before, Evaluator, Fact, Flow, Origin, active, compile, compile_again, evaluate,
    shadows,
};

use crate::fixtures::{
    among, clause, compiled, conditions, destination, interface, not, outlets, policy, set, shadow,
    shapes, source,
};

#[test]
fn policies_on_one_field_are_one_map_however_many_they_are() {
    let count: u32 = if cfg!(debug_assertions) {
        1_000
    } else {
        10_000
    };
    let prefix = |n: u32| Span::new(n * 4096, n * 4096 + 255);
    let policies: Vec<_> = (0..count)
        .map(|n| policy([source((0..10).map(|i| prefix(n * 10 + i)))]))
        .collect();
    let classifier = compiled(&policies);
    assert_eq!(shapes(&classifier), [format!("Source x{}", count * 10)]);
    assert!(classifier.v6.is_empty());
    assert_eq!(shadows(&policies), []);
}

#[test]
fn rules_among_many_prefixes_do_not_break_their_map() {
    let prefix = |n: u32| [Span::new(n * 4096, n * 4096 + 255)];
    let policies: Vec<_> = (0..400)
        .map(|n| match n % 4 {
            0 => policy([source(prefix(n)), clause(Selector::Dscp(set([46])))]),
            _ => policy([source(prefix(n))]),
        })
        .collect();
    let shapes = shapes(&compiled(&policies));
    assert_eq!(
        shapes.iter().filter(|s| s.starts_with("Source x")).count(),
        1
    );
    assert_eq!(shapes.len(), 101);
}

#[test]
fn a_rule_far_back_keeps_its_turn() {
    let host = |n: u8| source([Span::one(n)]);
    let with_point = |n: u8| policy([host(n), clause(Selector::Dscp(set([46])))]);
    let hosts = policy([source([Span::one(201_u8), Span::one(203_u8)])]);
    let mut policies = vec![hosts, with_point(7)];
    policies.extend((100..150).map(with_point));
    policies.extend([policy([host(7)]), policy([host(9)])]);
    let classifier = compiled(&policies);
    let flow = Flow {
        source: Some([0, 0, 0, 7].into()),
        dscp: Some(46),
        ..Flow::unknown(Family::V4)
    };
    let answer = evaluate(&classifier, &flow);
    assert!(matches!(answer, Answer::Policy { policy: 1, .. }));
    assert_eq!(shapes(&classifier)[0], "Source x3");
}

#[test]
fn shapes_in_turn_that_do_not_meet_share_two_maps() {
    let prefix = |n: u32| [Span::new(n * 4096, n * 4096 + 255)];
    let policies: Vec<_> = (0..200)
        .map(|n| match n % 2 {
            0 => policy([source(prefix(n))]),
            _ => policy([source(prefix(n)), destination(prefix(n))]),
        })
        .collect();
    assert_eq!(
        shapes(&compiled(&policies)),
        ["Source x100", "Source+Destination x100"]
    );
}

#[test]
fn shapes_in_turn_that_meet_keep_their_order() {
    let policies = [
        policy([source([Span::one(1_u8), Span::one(3_u8)])]),
        policy([destination([Span::one(1_u8), Span::one(3_u8)])]),
        policy([source([Span::one(5_u8), Span::one(7_u8)])]),
    ];
    assert_eq!(
        shapes(&compiled(&policies)),
        ["Source x2", "Destination x2", "Source x2"]
    );
}

#[test]
fn ports_imply_the_protocols_that_have_them() {
    let web = policy([clause(Selector::DestinationPort(set([443])))]);
    assert_eq!(
        shapes(&compiled(std::slice::from_ref(&web))),
        ["Protocol+DestinationPort x5"]
    );
    let tcp = clause(Selector::Protocol(set([1, 6])));
    let tcp_web = policy([web.clauses[0].clone(), tcp]);
    assert_eq!(
        conditions(&compiled(&[tcp_web]).v4[0]),
        [
            among(Field::Protocol, [6]),
            among(Field::DestinationPort, [443])
        ]
    );
    let icmp = clause(Selector::Protocol(set([1])));
    let nothing = policy([web.clauses[0].clone(), icmp]);
    assert!(compiled(&[nothing]).v4.is_empty());
}

#[test]
fn icmp_types_imply_the_icmp_of_the_family() {
    let ping = policy([clause(Selector::IcmpType {
        v4: set([8]),
        v6: Spans::default(),
    })]);
    let classifier = compiled(&[ping]);
    assert_eq!(
        conditions(&classifier.v4[0]),
        [among(Field::Protocol, [1]), among(Field::IcmpType, [8])]
    );
    assert!(classifier.v6.is_empty());
}

#[test]
fn not_a_list_of_ipv4_addresses_holds_for_all_of_ipv6() {
    let classifier = compiled(&[policy([not(source([Span::one(7_u8)]))])]);
    assert_eq!(shapes(&classifier), ["Source x2"]);
    assert_eq!(conditions(&classifier.v6[0]), []);
}

#[test]
fn not_an_interface_holds_for_own_traffic() {
    let elsewhere = policy([not(interface("guest"))]);
    let classifier = compiled(&[elsewhere]);
    assert_eq!(
        conditions(&classifier.v4[0]),
        [Condition::NotInterface(vec!["guest".into()])]
    );
    let from = |origin| {
        let flow = Flow {
            origin,
            ..Flow::unknown(Family::V4)
        };
        evaluate(&classifier, &flow) != Answer::Default
    };
    assert!(from(Origin::Own));
    assert!(from(Origin::Interface("lan".into())));
    assert!(!from(Origin::Interface("guest".into())));
}

#[test]
fn an_interface_and_a_user_never_meet() {
    let user = clause(Selector::User(set([1000])));
    let both = policy([interface("lan"), user.clone()]);
    assert!(compiled(&[both]).v4.is_empty());
    let own = policy([not(interface("lan")), user]);
    let classifier = compiled(&[own]);
    assert_eq!(conditions(&classifier.v4[0]), [among(Field::User, [1000])]);
}

#[test]
fn interfaces_share_a_key_only_with_exact_values() {
    let lans = |last: u8| {
        let hosts = [Span::new(1_u8, last), Span::one(9_u8)];
        policy([interface("lan"), source(hosts)])
    };
    assert_eq!(shapes(&compiled(&[lans(1)])), ["Interface+Source x2"]);
    assert_eq!(shapes(&compiled(&[lans(2)])), ["rule"]);
    assert_eq!(
        conditions(&compiled(&[lans(2)]).v4[0])[0],
        among(Field::Interface, [interface_number("lan")])
    );
}

#[test]
fn large_products_become_a_rule() {
    let hosts = |count: u8| (0..count).map(|n| Span::one(n * 2));
    let pairs = |count| policy([source(hosts(count)), destination(hosts(8))]);
    assert_eq!(shapes(&compiled(&[pairs(8)])), ["Source+Destination x64"]);
    assert_eq!(shapes(&compiled(&[pairs(9)])), ["rule"]);
}

#[test]
fn a_box_around_a_few_is_cut_and_one_around_many_gets_a_stage() {
    let small = |n: u8| policy([source([Span::one(n * 2)]), destination([Span::one(n * 2)])]);
    let large = policy([
        source([Span::new(0_u8, 200_u8)]),
        destination([Span::new(0_u8, 200_u8)]),
    ]);
    let around = |count: u8| {
        let smalls = (0..count).map(small);
        shapes(&compiled(
            &smalls.chain([large.clone()]).collect::<Vec<_>>(),
        ))
    };
    assert_eq!(around(2).len(), 1);
    assert_eq!(around(50), ["Source+Destination x50", "rule"]);
}

#[test]
fn nothing_comes_after_a_policy_for_everything() {
    let policies = [policy([]), policy([interface("lan")])];
    assert_eq!(shapes(&compiled(&policies)), ["rule"]);
    assert_eq!(shadows(&policies), [shadow(1, &[0])]);
}

#[test]
fn schedules_leave_policies_out_while_they_do_not_hold() {
    let minutes = Spans::new([Span::new(60_u8, 119_u8)]);
    let night = policy([clause(Selector::Schedule(minutes.clone()))]);
    let day = policy([not(clause(Selector::Schedule(minutes)))]);
    let policies = [night, day];
    for (minute, holds) in [(59, 1), (60, 0), (119, 0), (120, 1)] {
        assert_eq!(active(&policies, minute), [holds == 0, holds == 1]);
        let classifier = compile(&policies, &outlets(), minute);
        let answer = evaluate(&classifier, &Flow::unknown(Family::V6));
        assert!(matches!(answer, Answer::Policy { policy, .. } if policy == holds));
    }
}

#[test]
fn the_fingerprint_knows_outlets_and_what_is_counted() {
    let one = policy([source([Span::one(7_u8)])]);
    let never = policy([interface("lan"), clause(Selector::User(set([1])))]);
    let number = |policies: &[Policy]| compiled(policies).fingerprint;
    assert_eq!(number(&[]), 0);
    assert_ne!(number(std::slice::from_ref(&one)), 0);
    // The same to packets, but not to counters.
    assert_ne!(
        number(std::slice::from_ref(&one)),
        number(&[never, one.clone()])
    );
    let elsewhere = Policy {
        outlet: 1,
        ..one.clone()
    };
    assert_ne!(number(std::slice::from_ref(&one)), number(&[elsewhere]));
    // Who is counted where: as rules, and in one map.
    let other = policy([source([Span::one(9_u8)])]);
    for two in [
        [one.clone(), policy([clause(Selector::Dscp(set([1])))])],
        [one, other],
    ] {
        let called = |names: [&str; 2]| {
            let policies = [0, 1].map(|n: usize| Policy {
                name: names[n].into(),
                ..two[n].clone()
            });
            number(&policies)
        };
        assert_eq!(called(["a", "b"]), called(["a", "b"]));
        assert_ne!(called(["a", "b"]), called(["b", "a"]));
        assert_ne!(called(["a", "b"]), called(["a", "c"]));
    }
}

#[test]
fn the_first_policies_are_counted_and_what_others_are_called_is_all_the_same() {
    let mut policies: Vec<_> = (0..300_u16)
        .map(|n| Policy {
            name: format!("p{n}"),
            ..policy([source([Span::one(n)])])
        })
        .collect();
    let classifier = compiled(&policies);
    assert_eq!(classifier.counted.len(), 256);
    assert_eq!(
        classifier.counted.last_key_value(),
        Some((&255, &"p255".to_owned()))
    );
    policies[256].name = "other".to_owned();
    assert_eq!(compiled(&policies).fingerprint, classifier.fingerprint);
    policies[255].name = "another".to_owned();
    assert_ne!(compiled(&policies).fingerprint, classifier.fingerprint);
}

#[test]
fn a_policy_that_needs_more_entries_than_are_left_is_not_counted_but_later_ones_are() {
    let sources =
        |first: u32, count: u32| policy([source((0..count).map(|n| Span::one(first + 2 * n)))]);
    let list = [
        sources(0, 1500),
        sources(10_000, 549),
        sources(20_000, 548),
        sources(30_000, 1),
    ];
    let counted = |policies: &[Policy]| compiled(policies).counted.into_keys().collect::<Vec<_>>();
    assert_eq!(counted(&list), [0, 2]);
    assert_eq!(counted(&list[..2]), [0]);
    assert_eq!(counted(&list[1..]), [0, 1, 2]);
    // A rule needs none, however many values it compares.
    let mut rule = sources(40_000, 3000);
    rule.clauses.push(not(clause(Selector::Dscp(set([46])))));
    assert_eq!(counted(&[list[0].clone(), rule]), [0, 1]);
    // No map of the kernel has code points.
    let class = |n| policy([clause(Selector::Dscp(set([n])))]);
    assert_eq!(counted(&[class(1), class(2)]), [0_usize; 0]);
    assert_eq!(counted(&[class(1)]), [0]);
}

#[test]
fn another_name_alone_is_another_counter() {
    let before = [policy([source([Span::one(7_u8)])])];
    let after = [Policy {
        name: "q".into(),
        ..before[0].clone()
    }];
    let classifier = compiled(&before);
    let known = Before {
        policies: &before[..],
        minute: 0,
        classifier: &classifier,
    };
    let again = compile_again(&after, &outlets(), 0, &known, |_, _| false);
    assert!(again.conditions_hold);
    assert_eq!(again.classifier, compiled(&after));
}

#[test]
fn an_unknown_fact_is_named_with_the_first_policy_that_asks_for_it() {
    let policies = [
        policy([source([Span::one(7_u8)])]),
        policy([source([Span::one(3_u8)])]),
        policy([]),
    ];
    let classifier = compiled(&policies);
    let flow = Flow::unknown(Family::V4);
    let depends = Answer::Depends {
        policy: 0,
        on: Fact::Source,
    };
    assert_eq!(evaluate(&classifier, &flow), depends);
    assert_eq!(Evaluator::new(&classifier).evaluate(&flow), depends);
    assert_eq!(
        Fact::Source.clause(&policies[0]),
        policies[0].clauses.first()
    );
    let known = Flow {
        source: Some([0, 0, 0, 9].into()),
        ..flow
    };
    let last = Answer::Policy {
        policy: 2,
        outlet: 5,
        stage: 1,
    };
    assert_eq!(evaluate(&classifier, &known), last);
}

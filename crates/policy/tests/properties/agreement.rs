//! The compiled policies say what the policies say.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};
use uplinkd_model::{
    Classifier, Family,
    classify::{Field, MapStage, Stage},
    policy::PROTOCOLS_WITH_PORTS,
};
use uplinkd_policy::{
    Answer, Before, Evaluator, Fact, Flow, Origin, active, compile, compile_again, evaluate, naive,
    why_not,
};

use crate::random;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(random::CASES))]

    #[test]
    fn compiled_policies_answer_as_the_policies_do(
        policies in random::policies(),
        flows in vec(random::flow(), 16),
        minute in random::minute(),
    ) {
        let outlets = random::outlets();
        let classifier = compile(&policies, &outlets, minute);
        for flow in &flows {
            let expected = naive(&policies, &outlets, flow, minute);
            let answer = evaluate(&classifier, flow);
            prop_assert_eq!(
                decision(&answer), decision(&expected), "{:?}\n{:#?}", flow, classifier
            );
            let earlier = match &expected {
                Answer::Policy { policy, .. } => *policy,
                Answer::Default | Answer::Depends { .. } => policies.len(),
            };
            for (index, policy) in policies.iter().enumerate() {
                let clause = why_not(policy, flow, minute);
                prop_assert!(clause.is_some() || index >= earlier);
                prop_assert!(clause.is_none() || index != earlier);
            }
        }
    }

    #[test]
    fn policies_that_are_compiled_again_come_to_the_same(
        policies in random::policies(),
        changed in vec((any::<prop::sample::Index>(), 0..5_usize), 0..3),
        swapped in proptest::option::weighted(0.3, any::<(prop::sample::Index, prop::sample::Index)>()),
        is_one_less in proptest::bool::weighted(0.1),
        minutes in (random::minute(), random::minute()),
        known in any::<bool>(),
    ) {
        let old: Vec<_> = policies.into_iter().map(Arc::new).collect();
        let mut new = old.clone();
        if !new.is_empty() {
            for (index, outlet) in changed {
                Arc::make_mut(index.get_mut(&mut new)).outlet = outlet;
            }
            if let Some((one, other)) = swapped {
                let (one, other) = (one.index(new.len()), other.index(new.len()));
                new.swap(one, other);
            }
            if is_one_less {
                new.pop();
            }
        }
        let mut outlets = random::outlets();
        let before = compile(&old, &outlets, minutes.0);
        // An outlet may have another code as well.
        outlets[1].code = 7;
        let before = Before { policies: &old, minute: minutes.0, classifier: &before };
        let is_same = |a: &Arc<_>, b: &Arc<_>| known && Arc::ptr_eq(a, b);
        let again = compile_again(&new, &outlets, minutes.1, &before, is_same);
        prop_assert_eq!(again.classifier, compile(&new, &outlets, minutes.1));
        if again.conditions_hold {
            prop_assert_eq!(active(&old, minutes.0), active(&new, minutes.1));
        }
    }

    #[test]
    fn many_policies_answer_as_well(
        policies in random::many_policies(),
        flows in vec(random::flow(), 64),
    ) {
        let outlets = random::outlets();
        let classifier = compile(&policies, &outlets, 0);
        for flow in &flows {
            let expected = naive(&policies, &outlets, flow, 0);
            let answer = evaluate(&classifier, flow);
            prop_assert_eq!(decision(&answer), decision(&expected), "{:?}", flow);
        }
    }

    #[test]
    fn what_is_certain_of_a_half_known_flow_holds_for_the_whole_one(
        policies in random::policies(),
        flows in vec(random::half_known(), 16),
        minute in random::minute(),
    ) {
        let outlets = random::outlets();
        let classifier = compile(&policies, &outlets, minute);
        let evaluator = Evaluator::new(&classifier);
        for (whole, half) in &flows {
            let truth = naive(&policies, &outlets, whole, minute);
            let guess = naive(&policies, &outlets, half, minute);
            let answer = evaluate(&classifier, half);
            prop_assert_eq!(&evaluator.evaluate(half), &answer);
            prop_assert_eq!(evaluator.evaluate(whole), evaluate(&classifier, whole));
            for answer in [&guess, &answer] {
                match answer {
                    Answer::Depends { policy, on } => {
                        prop_assert!(is_unknown(half, *on), "{:?} {:?}", on, half);
                        prop_assert!(on.clause(&policies[*policy]).is_some());
                    }
                    Answer::Policy { .. } | Answer::Default => {
                        prop_assert_eq!(decision(answer), decision(&truth), "{:?}", half);
                    }
                }
            }
            if matches!(answer, Answer::Depends { .. }) {
                prop_assert!(
                    matches!(guess, Answer::Depends { .. }),
                    "{:?} though {:?} for {:?}\n{:#?}", answer, guess, half, classifier
                );
            }
        }
    }

    #[test]
    fn maps_are_such_as_the_kernel_takes(
        policies in random::policies(),
        minute in random::minute(),
    ) {
        let classifier = compile(&policies, &random::outlets(), minute);
        for family in [Family::V4, Family::V6] {
            for stage in classifier.of(family) {
                match stage {
                    Stage::Map(map) => check_map(map, family)?,
                    Stage::Rule(_) => {}
                }
            }
        }
    }

    #[test]
    fn the_same_schedules_make_the_same_stages(
        policies in random::policies(),
        minutes in (random::minute(), random::minute()),
    ) {
        let outlets = random::outlets();
        let (a, b) = minutes;
        let compiled = [a, b].map(|minute| compile(&policies, &outlets, minute));
        if active(&policies, a) == active(&policies, b) {
            prop_assert_eq!(&compiled[0], &compiled[1]);
        }
        let same_number = compiled[0].fingerprint == compiled[1].fingerprint;
        let contents = compiled.map(without_policies);
        prop_assert_eq!(same_number, contents[0] == contents[1]);
    }
}

/// An answer without its stage, which the reference knows nothing of.
fn decision(answer: &Answer) -> Option<(usize, u16)> {
    match answer {
        Answer::Policy { policy, outlet, .. } => Some((*policy, *outlet)),
        Answer::Default => None,
        Answer::Depends { .. } => panic!("nothing was unknown: {answer:?}"),
    }
}

fn is_unknown(flow: &Flow, fact: Fact) -> bool {
    match fact {
        Fact::Interface => flow.origin == Origin::Unknown,
        Fact::Mac => flow.mac.is_none(),
        Fact::Source => flow.source.is_none(),
        Fact::Destination => flow.destination.is_none(),
        Fact::Protocol => flow.protocol.is_none(),
        Fact::SourcePort => flow.source_port.is_none(),
        Fact::DestinationPort => flow.destination_port.is_none(),
        Fact::IcmpType => flow.icmp_type.is_none(),
        Fact::Dscp => flow.dscp.is_none(),
        Fact::User => flow.user.is_none(),
        Fact::Group => flow.group.is_none(),
        Fact::Cgroup => flow.cgroup.is_none(),
        Fact::Domain => flow.domain_sets.is_none(),
    }
}

fn check_map(map: &MapStage, family: Family) -> Result<(), TestCaseError> {
    prop_assert!(map.fields.is_sorted_by(|a, b| a < b));
    prop_assert!(map.entries.is_sorted_by(|a, b| a.key < b.key));
    prop_assert!(map.entries.len() > 1);
    let has = |field| map.fields.contains(&field);
    prop_assert!(!has(Field::IcmpType));
    prop_assert!(!has(Field::Dscp) || map.fields.len() == 1);
    let demanding = [Field::Interface, Field::Mac, Field::User, Field::Group];
    let must_be_exact = map.fields.len() > 1 && demanding.into_iter().any(has);
    for (place, entry) in map.entries.iter().enumerate() {
        prop_assert_eq!(entry.key.len(), map.fields.len());
        for (field, span) in map.fields.iter().zip(&entry.key) {
            prop_assert!(span.first <= span.last && span.last <= (*field).max(family));
            prop_assert!(span.is_one() || !must_be_exact);
        }
        if has(Field::SourcePort) || has(Field::DestinationPort) {
            let place = map.fields.iter().position(|f| *f == Field::Protocol);
            let protocols = entry.key[place.expect("ports come with protocols")];
            for number in protocols.first..=protocols.last {
                prop_assert!(PROTOCOLS_WITH_PORTS.map(u128::from).contains(&number));
            }
        }
        for later in &map.entries[place + 1..] {
            let mut pairs = entry.key.iter().zip(&later.key);
            let meet = pairs.all(|(a, b)| a.first <= b.last && b.first <= a.last);
            prop_assert!(!meet, "{:?} meets {:?}", entry, later);
        }
    }
    Ok(())
}

fn without_policies(mut classifier: Classifier) -> Classifier {
    for stage in classifier.v4.iter_mut().chain(&mut classifier.v6) {
        match stage {
            Stage::Map(map) => map.entries.iter_mut().for_each(|e| e.policy = 0),
            Stage::Rule(rule) => rule.policy = 0,
        }
    }
    classifier.counted.clear();
    classifier.fingerprint = 0;
    classifier
}

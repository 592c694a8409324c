//! What is said to be unreachable is.

use proptest::{collection::vec, prelude::*};
use uplinkd_model::Policy;
use uplinkd_policy::{Answer, naive, shadows};

use crate::random;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(random::CASES))]

    #[test]
    fn no_flow_reaches_a_shadowed_policy(
        policies in random::policies(),
        flows in vec((random::flow(), random::minute()), 48),
    ) {
        let outlets = random::outlets();
        let shadows = shadows(&policies);
        prop_assert!(shadows.is_sorted_by(|a, b| a.policy < b.policy));
        for (flow, minute) in &flows {
            if let Answer::Policy { policy, .. } = naive(&policies, &outlets, flow, *minute) {
                let shadow = shadows.iter().find(|s| s.policy == policy);
                prop_assert!(shadow.is_none(), "{:?} reached by {:?}", shadow, flow);
            }
        }
    }

    #[test]
    fn those_who_hide_a_policy_suffice_for_it(
        policies in random::policies(),
        flows in vec((random::flow(), random::minute()), 48),
    ) {
        let outlets = random::outlets();
        for shadow in shadows(&policies) {
            prop_assert!(shadow.by.iter().all(|by| *by < shadow.policy));
            let with_it = shadow.by.iter().chain([&shadow.policy]);
            let few: Vec<Policy> = with_it.map(|index| policies[*index].clone()).collect();
            for (flow, minute) in &flows {
                if let Answer::Policy { policy, .. } = naive(&few, &outlets, flow, *minute) {
                    prop_assert!(policy < shadow.by.len(), "{:?} reached by {:?}", shadow, flow);
                }
            }
        }
    }
}

//! Who hides whom.

use uplinkd_model::{
    Family, Mark,
    policy::{Clause, Selector, Span, Spans},
};
use uplinkd_policy::shadows;

use crate::fixtures::{clause, interface, not, policy, set, shadow, source};

#[test]
fn a_policy_is_hidden_by_one_that_takes_more_in_every_dimension() {
    let wide = policy([source([Span::new(0_u8, 99_u8)])]);
    let narrow = policy([source([Span::new(5_u8, 9_u8)]), interface("lan")]);
    let beyond = policy([source([Span::new(5_u8, 100_u8)]), interface("lan")]);
    assert_eq!(shadows(&[wide, narrow, beyond]), [shadow(1, &[0])]);
}

#[test]
fn several_hide_what_none_hides_alone() {
    let hosts = |first: u8, last: u8| policy([source([Span::new(first, last)])]);
    let policies = [
        hosts(0, 4),
        hosts(50, 60),
        hosts(5, 9),
        hosts(2, 8),
        hosts(2, 10),
    ];
    assert_eq!(shadows(&policies), [shadow(3, &[0, 2])]);
}

#[test]
fn a_schedule_hides_only_what_holds_within_it() {
    let at = |first: u8, last: u8| {
        let minutes = Spans::new([Span::new(first, last)]);
        policy([clause(Selector::Schedule(minutes))])
    };
    let policies = [at(10, 50), at(20, 30), at(20, 51), policy([])];
    assert_eq!(shadows(&policies), [shadow(1, &[0])]);
}

#[test]
fn exceptions_and_marks_hide_what_is_at_least_as_narrow() {
    let mark = |value, mask| clause(Selector::Mark(vec![Mark::new(value, mask)]));
    let policies = [
        policy([not(interface("lan"))]),
        policy([interface("guest")]),
        policy([interface("lan")]),
        policy([mark(0x10, 0xf0)]),
        policy([mark(0x13, 0xff)]),
        policy([mark(0x20, 0xff)]),
        policy([not(mark(0x13, 0xff))]),
        policy([not(mark(0x10, 0xf0))]),
    ];
    let expected = [shadow(1, &[0]), shadow(4, &[3]), shadow(7, &[6])];
    assert_eq!(shadows(&policies), expected);
    let narrow_last = [policies[7].clone(), policies[6].clone()];
    assert_eq!(shadows(&narrow_last), []);
}

#[test]
fn control_groups_hide_those_below_them() {
    let within = |path: &str| clause(Selector::Cgroup(vec![path.into()]));
    let (above, below) = (within("a.slice"), within("a.slice/b.service"));
    let order = |first: &Clause, second: &Clause| {
        shadows(&[policy([first.clone()]), policy([second.clone()])]).len()
    };
    assert_eq!((order(&above, &below), order(&below, &above)), (1, 0));
    let (above, below) = (not(above), not(below));
    assert_eq!((order(&above, &below), order(&below, &above)), (0, 1));
}

#[test]
fn each_family_may_be_hidden_by_another() {
    let family = |family| policy([clause(Selector::Family(family))]);
    let policies = [
        family(Family::V4),
        family(Family::V6),
        policy([interface("lan")]),
    ];
    assert_eq!(shadows(&policies), [shadow(2, &[0, 1])]);
    assert_eq!(
        shadows(&[family(Family::V4), policy([interface("lan")])]),
        []
    );
}

#[test]
fn clauses_that_exclude_each_other_are_told_without_anybody_to_blame() {
    let user = clause(Selector::User(set([1])));
    let never = policy([interface("lan"), user]);
    assert_eq!(shadows(&[never]), [shadow(0, &[])]);
}

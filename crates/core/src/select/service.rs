//! Which uplinks of a family are in service.

use std::collections::{BTreeMap, BTreeSet};

use uplinkd_model::{UplinkName, budget::AtLimit, policy::YieldAt};

use super::PoolState;

/// What decides about one uplink's service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Health says that it carries traffic.
    pub(crate) live: bool,
    /// It is live, but to yield to those that are well.
    pub(crate) yields: bool,
    /// It works, and is held back because it failed too often.
    pub(crate) held: bool,
    /// The link could carry traffic, whatever the probes say.
    pub(crate) usable: bool,
    /// Its budget is used up, and this becomes of it.
    pub(crate) spent: Option<AtLimit>,
    /// Somebody wants no new connections by it.
    pub(crate) drained: bool,
    /// Somebody wants new connections by it alone.
    pub(crate) preferred: bool,
}

/// The uplinks in service and whether they are only kept for want of anything better.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Service {
    /// Names of those in service.
    pub(crate) uplinks: BTreeSet<UplinkName>,
    /// Those of them that yield to others of their tier.
    pub(crate) yielding: BTreeSet<UplinkName>,
    /// Those that exceed limits of groups, for each such limit.
    pub(crate) exceeding: BTreeMap<YieldAt, BTreeSet<UplinkName>>,
    /// Those, in service or not, whose budget is used up.
    pub(crate) spent: BTreeSet<UplinkName>,
    /// Those of them that are not to carry anything of ours.
    pub(crate) off: BTreeSet<UplinkName>,
    /// Those in service that take no new connections: somebody drained them, and another one serves.
    pub(crate) drained: BTreeSet<UplinkName>,
    /// The one in service that takes all new connections of the outlets that have it.
    pub(crate) preferred: Option<UplinkName>,
    /// What is decided of pools whose shares follow their lines.
    pub(crate) pools: Vec<PoolState>,
    /// No uplink is live; these are kept so that the network is not "unreachable".
    pub(crate) last_resort: bool,
}

impl Service {
    /// Whether it differs from another one in nothing but weights that follow the lines.
    pub(crate) fn is_weighed_otherwise(&self, other: &Self) -> bool {
        let without = |service: &Self| {
            let mut service = service.clone();
            service.pools.iter_mut().for_each(|p| p.weights = None);
            service
        };
        self != other && without(self) == without(other)
    }
}

/// Decides who is in service: everybody live; else who works and is only held back; else the same of those
/// whose budget is used up; else the same of those that are drained; else the last good choice as far as
/// its links can still carry anything; else every usable link.
///
/// One that is drained stays in service beside the others, since it goes on carrying what it carries.
pub(crate) fn service<'a>(
    candidates: impl Iterator<Item = (&'a UplinkName, Candidate)> + Clone,
    before: &BTreeSet<UplinkName>,
) -> Service {
    let all = |is: fn(&Candidate) -> bool| -> BTreeSet<_> {
        let those = candidates.clone().filter(|(_, c)| is(c));
        those.map(|(n, _)| n.clone()).collect()
    };
    let base = Service {
        spent: all(|c| c.spent.is_some()),
        off: all(|c| c.spent == Some(AtLimit::Off)),
        ..Service::default()
    };
    let names = |is: fn(&Candidate) -> bool| -> BTreeSet<_> {
        let usable = candidates.clone().filter(|(_, c)| c.usable && is(c));
        let usable = usable.map(|(n, _)| n.clone());
        usable.filter(|n| !base.off.contains(n)).collect()
    };
    let drained = names(|c| c.drained);
    let beside = names(|c| c.drained && c.live && c.spent != Some(AtLimit::LastResort));
    for works in [
        names(|c| !c.drained && c.live && c.spent != Some(AtLimit::LastResort)),
        names(|c| !c.drained && c.held && c.spent != Some(AtLimit::LastResort)),
        names(|c| !c.drained && c.live),
        names(|c| !c.drained && c.held),
    ] {
        if !works.is_empty() {
            let preferred = names(|c| c.preferred);
            return Service {
                yielding: names(|c| c.live && c.yields),
                preferred: preferred.intersection(&works).next().cloned(),
                uplinks: works.union(&beside).cloned().collect(),
                drained: beside,
                ..base
            };
        }
    }
    for works in [
        beside,
        names(|c| c.held && c.spent != Some(AtLimit::LastResort)),
        names(|c| c.live),
        names(|c| c.held),
    ] {
        if !works.is_empty() {
            return Service {
                uplinks: works,
                yielding: names(|c| c.live && c.yields),
                ..base
            };
        }
    }
    let usable = names(|_| true);
    let kept: BTreeSet<_> = usable.intersection(before).cloned().collect();
    let uplinks = if kept.is_empty() { usable } else { kept };
    let idle: BTreeSet<_> = drained.intersection(&uplinks).cloned().collect();
    Service {
        drained: if idle == uplinks {
            BTreeSet::new()
        } else {
            idle
        },
        uplinks,
        last_resort: true,
        ..base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(word: &str) -> UplinkName {
        UplinkName::new(word).unwrap()
    }

    fn choose(candidates: &[(&str, bool, bool)], before: &[&str]) -> (Vec<String>, bool) {
        let named: Vec<_> = candidates
            .iter()
            .map(|(n, live, usable)| {
                (
                    name(n),
                    Candidate {
                        live: *live,
                        usable: *usable,
                        ..Candidate::default()
                    },
                )
            })
            .collect();
        let chosen = service(
            named.iter().map(|(n, c)| (n, *c)),
            &before.iter().map(|n| name(n)).collect(),
        );
        (
            chosen.uplinks.iter().map(ToString::to_string).collect(),
            chosen.last_resort,
        )
    }

    #[test]
    fn everybody_live_serves() {
        assert_eq!(
            choose(&[("a", true, true), ("b", true, true)], &["a"]),
            (vec!["a".into(), "b".into()], false)
        );
        assert_eq!(
            choose(&[("a", false, true), ("b", true, true)], &["a"]),
            (vec!["b".into()], false)
        );
    }

    #[test]
    fn with_nothing_live_the_last_good_choice_stays() {
        assert_eq!(
            choose(&[("a", false, true), ("b", false, true)], &["b"]),
            (vec!["b".into()], true)
        );
    }

    #[test]
    fn a_last_good_choice_without_a_link_gives_way_to_any_usable_link() {
        assert_eq!(
            choose(&[("a", false, true), ("b", false, false)], &["b"]),
            (vec!["a".into()], true)
        );
        assert_eq!(
            choose(&[("a", false, false), ("b", true, false)], &["b"]),
            (vec![], true)
        );
    }

    #[test]
    fn one_that_is_held_back_serves_where_nobody_else_works() {
        let (a, b) = (name("a"), name("b"));
        let held = Candidate {
            held: true,
            usable: true,
            ..Candidate::default()
        };
        let dead = Candidate {
            held: false,
            ..held
        };
        let live = Candidate { live: true, ..dead };
        let of = |other| {
            let both = [(&a, held), (&b, other)];
            service(both.into_iter(), &BTreeSet::from([name("b")]))
        };
        let alone = of(dead);
        assert_eq!(alone.uplinks, BTreeSet::from([name("a")]));
        assert!(!alone.last_resort);
        assert_eq!(of(live).uplinks, BTreeSet::from([name("b")]));
    }

    #[test]
    fn one_that_has_used_up_its_budget_serves_where_nobody_else_works_or_never() {
        let (a, b) = (name("a"), name("b"));
        let live = Candidate {
            live: true,
            usable: true,
            ..Candidate::default()
        };
        let dead = Candidate {
            live: false,
            ..live
        };
        let held = Candidate { held: true, ..dead };
        let of = |spent, other| {
            let own = Candidate { spent, ..live };
            let both = [(&a, own), (&b, other)];
            let service = service(both.into_iter(), &BTreeSet::from([name("a")]));
            let serving: Vec<_> = service.uplinks.iter().map(ToString::to_string).collect();
            (serving.join(" "), service.last_resort)
        };
        let cases = [
            (Some(AtLimit::LastResort), live, ("b", false)),
            (Some(AtLimit::LastResort), held, ("b", false)),
            (Some(AtLimit::LastResort), dead, ("a", false)),
            (Some(AtLimit::Off), live, ("b", false)),
            (Some(AtLimit::Off), dead, ("b", true)),
            (Some(AtLimit::Keep), live, ("a b", false)),
            (None, live, ("a b", false)),
        ];
        for (spent, other, (serving, last_resort)) in cases {
            let found = of(spent, other);
            assert_eq!(
                found,
                (serving.to_owned(), last_resort),
                "{spent:?} {other:?}"
            );
        }
    }

    #[test]
    fn one_that_is_drained_stays_beside_others_and_serves_only_without_them() {
        let (a, b) = (name("a"), name("b"));
        let dead = Candidate {
            usable: true,
            ..Candidate::default()
        };
        let live = Candidate { live: true, ..dead };
        let held = Candidate { held: true, ..dead };
        let spent = Candidate {
            spent: Some(AtLimit::LastResort),
            ..live
        };
        let gone = Candidate::default();
        let drained = Candidate {
            drained: true,
            ..live
        };
        let drained_and_dead = Candidate {
            drained: true,
            ..dead
        };
        let words = |names: &BTreeSet<UplinkName>| {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            names.join(" ")
        };
        for (own, other, uplinks, idle, last_resort) in [
            (drained, live, "a b", "a", false),
            (drained, held, "a b", "a", false),
            (drained, spent, "a b", "a", false),
            (drained, dead, "a", "", false),
            (drained, gone, "a", "", false),
            (drained, drained, "a b", "", false),
            (drained_and_dead, live, "b", "", false),
            (drained_and_dead, dead, "a b", "a", true),
            (drained_and_dead, gone, "a", "", true),
            (live, live, "a b", "", false),
        ] {
            let both = [(&a, own), (&b, other)];
            let found = service(both.into_iter(), &BTreeSet::new());
            assert_eq!(
                (&*words(&found.uplinks), &*words(&found.drained)),
                (uplinks, idle),
                "{own:?} {other:?}"
            );
            assert_eq!(found.last_resort, last_resort, "{own:?} {other:?}");
        }
    }

    #[test]
    fn one_that_is_preferred_is_so_only_while_it_works_and_is_not_drained() {
        let (a, b) = (name("a"), name("b"));
        let live = Candidate {
            live: true,
            usable: true,
            ..Candidate::default()
        };
        let preferred = Candidate {
            preferred: true,
            ..live
        };
        let of = |own| {
            let both = [(&a, own), (&b, live)];
            service(both.into_iter(), &BTreeSet::new()).preferred
        };
        assert_eq!(of(preferred), Some(name("a")));
        assert_eq!(of(live), None);
        for (drained, live) in [(true, true), (false, false)] {
            assert_eq!(
                of(Candidate {
                    drained,
                    live,
                    ..preferred
                }),
                None
            );
        }
    }
}

//! Which tier of an outlet serves, and when it returns to a better one.
//!
//! ```text
//!             no member of the serving tier is in service, or none is well enough for the group
//!   serving ────────────────────────────────────────────────> the best tier that has one, at once
//!      │ ^
//!      │ └─ the better tier fails again: it waits from the beginning
//!      v
//!   a better tier is live ── at once │ after its time │ by hand ──> it serves
//! ```

use uplinkd_model::policy::{FailbackWhen, Outflow};

use super::{Pool, Service};
use crate::Time;

/// What one family of an outlet uses now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Serving {
    /// The tier that serves; none where no tier has a member in service.
    pub(crate) tier: Option<usize>,
    /// Since when each tier has had a live member, without a break.
    live_since: Vec<Option<Time>>,
    /// It served by another tier before. The very first choice after a boot is no failover: a better
    /// tier whose lines come up a moment later does not have to wait.
    has_chosen_before: bool,
}

/// A better tier that could serve and does not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which tier: its index in the outlet's list.
    pub tier: usize,
    /// Since when it is live.
    pub since: Time,
    /// When it will serve; none: when somebody says so.
    pub until: Option<Time>,
}

impl Serving {
    /// Goes on from what the kernel serves.
    pub(crate) fn adopted(tier: usize) -> Self {
        Self {
            tier: Some(tier),
            live_since: Vec::new(),
            has_chosen_before: true,
        }
    }

    /// The same choice, after the tiers were numbered anew.
    pub(crate) fn renumbered(&self, count: usize, before: impl Fn(usize) -> Option<usize>) -> Self {
        let tier = self
            .tier
            .and_then(|old| (0..count).find(|new| before(*new) == Some(old)));
        let since = |new: usize| *self.live_since.get(before(new)?)?;
        Self {
            tier,
            live_since: (0..count).map(since).collect(),
            has_chosen_before: self.has_chosen_before,
        }
    }

    /// Decides again. `is_told`: somebody wants the best tier now. Returns the tier that was left for
    /// a better one, though it could have gone on.
    pub(crate) fn decide(
        &mut self,
        outflow: &Outflow,
        service: &Service,
        now: Time,
        is_told: bool,
    ) -> Option<usize> {
        let tiers = &outflow.tiers;
        self.live_since.resize(tiers.len(), None);
        for (tier, since) in tiers.iter().zip(&mut self.live_since) {
            let is_live = !service.last_resort && Pool::of(tier).is_well(service);
            *since = is_live.then(|| since.unwrap_or(now));
        }
        let is_served = |n: &usize| {
            let tier = tiers.get(*n);
            tier.is_some_and(|t| Pool::of(t).is_served(service))
        };
        let is_well = |n: &usize| tiers.get(*n).is_some_and(|t| Pool::of(t).is_well(service));
        let best_well = (0..tiers.len()).find(is_well);
        // One that is served and not well makes way only where another one is well.
        let stays = |n: &usize| is_served(n) && (is_well(n) || best_well.is_none());
        let Some(current) = self.tier.filter(stays) else {
            self.has_chosen_before |= self.tier.is_some();
            self.tier = best_well.or_else(|| (0..tiers.len()).find(is_served));
            return None;
        };
        let better = (0..current).find(|n| {
            let ready = |since| self.until(outflow, since).is_some_and(|at| at <= now);
            self.live_since[*n].is_some_and(|since| is_told || ready(since))
        })?;
        self.tier = Some(better);
        Some(current)
    }

    /// Which tier takes new connections: the one that serves, or the next one while that is full. Nobody
    /// takes over, so nothing has to wait for its return.
    pub(crate) fn leading(&self, outflow: &Outflow, service: &Service) -> Option<usize> {
        let serving = self.tier?;
        let further = outflow.tiers.iter().enumerate().skip(serving);
        let mut able = further.filter(|(n, tier)| {
            let pool = Pool::of(tier);
            let is_able = *n == serving || pool.is_well(service);
            is_able && !pool.is_full(service)
        });
        let overflows = |n: &usize| {
            outflow
                .tiers
                .get(*n)
                .is_some_and(|t| Pool::of(t).is_full(service))
        };
        match overflows(&serving) {
            true => able.next().map(|(n, _)| n).or(Some(serving)),
            false => Some(serving),
        }
    }

    /// When a tier that is live since then may serve again.
    fn until(&self, outflow: &Outflow, since: Time) -> Option<Time> {
        match outflow.failback.when {
            _ if !self.has_chosen_before => Some(since),
            FailbackWhen::AtOnce => Some(since),
            FailbackWhen::After(time) => Some(since + time),
            FailbackWhen::ByHand => None,
        }
    }

    /// The better tiers that are live and wait, best first.
    fn all_waiting<'a>(&'a self, outflow: &'a Outflow) -> impl Iterator<Item = Waiting> + 'a {
        let better = self.live_since.iter().take(self.tier.unwrap_or(0));
        better.enumerate().filter_map(|(tier, since)| {
            let since = (*since)?;
            Some(Waiting {
                tier,
                since,
                until: self.until(outflow, since),
            })
        })
    }

    /// The better tier that will serve next.
    pub(crate) fn waiting(&self, outflow: &Outflow) -> Option<Waiting> {
        self.all_waiting(outflow)
            .min_by_key(|w| (w.until.is_none(), w.until, w.tier))
    }

    /// When to decide again, if nothing happens before.
    pub(crate) fn next_deadline(&self, outflow: &Outflow) -> Option<Time> {
        self.all_waiting(outflow).filter_map(|w| w.until).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uplinkd_model::{
        Member, Permille, UplinkName,
        policy::{Conduct, End, Failback, FailbackFlows, OutletTier, YieldAt},
    };

    use super::*;
    use crate::select::PoolState;

    fn at(s: u64) -> Time {
        Time(Duration::from_secs(s))
    }

    fn name(n: usize) -> UplinkName {
        UplinkName::new(&format!("isp{n}")).unwrap()
    }

    /// As many tiers of one uplink each.
    fn outflow(tiers: usize, when: FailbackWhen) -> Outflow {
        let tier = |n| OutletTier {
            group: None,
            rank: n,
            members: vec![Member {
                uplink: name(n),
                weight: 1,
                is_auto: false,
            }],
            conduct: Conduct::default(),
        };
        Outflow {
            group: None,
            tiers: (1..=tiers).map(tier).collect(),
            end: End::Default,
            failback: Failback {
                when,
                flows: FailbackFlows::Keep,
            },
            sticky: None,
        }
    }

    fn live(uplinks: &[usize]) -> Service {
        Service {
            uplinks: uplinks.iter().map(|n| name(*n)).collect(),
            ..Service::default()
        }
    }

    /// A history: at each time these uplinks are live. Returns the tier after each.
    fn history(tiers: usize, when: FailbackWhen, steps: &[(u64, &[usize])]) -> Vec<Option<usize>> {
        let (outflow, mut serving) = (outflow(tiers, when), Serving::default());
        steps
            .iter()
            .map(|(s, uplinks)| {
                serving.decide(&outflow, &live(uplinks), at(*s), false);
                serving.tier
            })
            .collect()
    }

    #[test]
    fn the_best_live_tier_serves_and_returns_at_once() {
        let steps: &[(u64, &[usize])] = &[(0, &[1, 2]), (1, &[2]), (2, &[]), (3, &[1, 2])];
        let tiers = history(2, FailbackWhen::AtOnce, steps);
        assert_eq!(tiers, [Some(0), Some(1), None, Some(0)]);
    }

    #[test]
    fn a_return_waits_its_time_and_again_after_another_failure() {
        let when = FailbackWhen::After(Duration::from_secs(60));
        let tiers = history(
            2,
            when,
            &[
                (0, &[1, 2]),
                (10, &[2]),
                (20, &[1, 2]),
                (79, &[1, 2]),
                (79, &[2]),
                (80, &[1, 2]),
                (139, &[1, 2]),
                (140, &[1, 2]),
            ],
        );
        let expected = [0, 1, 1, 1, 1, 1, 1, 0].map(Some);
        assert_eq!(tiers, expected);
    }

    #[test]
    fn with_the_serving_tier_gone_the_best_one_need_not_wait() {
        let steps: &[(u64, &[usize])] = &[(0, &[1]), (1, &[2]), (2, &[1, 2, 3]), (3, &[1, 3])];
        let tiers = history(3, FailbackWhen::ByHand, steps);
        assert_eq!(tiers, [Some(0), Some(1), Some(1), Some(0)]);
    }

    #[test]
    fn by_hand_waits_for_a_word() {
        let (outflow, mut serving) = (outflow(2, FailbackWhen::ByHand), Serving::default());
        serving.decide(&outflow, &live(&[1, 2]), at(0), false);
        serving.decide(&outflow, &live(&[2]), at(1), false);
        serving.decide(&outflow, &live(&[1, 2]), at(2), false);
        let waiting = Waiting {
            tier: 0,
            since: at(2),
            until: None,
        };
        assert_eq!(serving.waiting(&outflow), Some(waiting));
        assert_eq!(serving.next_deadline(&outflow), None);
        let left = serving.decide(&outflow, &live(&[1, 2]), at(3), true);
        assert_eq!((left, serving.tier), (Some(1), Some(0)));
    }

    #[test]
    fn the_first_choice_after_a_boot_is_no_failover() {
        let steps: &[(u64, &[usize])] = &[(0, &[2]), (1, &[1, 2])];
        let tiers = history(2, FailbackWhen::ByHand, steps);
        assert_eq!(tiers, [Some(1), Some(0)]);
    }

    #[test]
    fn a_restart_goes_on_with_the_tier_that_the_kernel_serves() {
        let outflow = outflow(2, FailbackWhen::After(Duration::from_secs(9)));
        let mut serving = Serving::adopted(1);
        serving.decide(&outflow, &live(&[1, 2]), at(5), false);
        assert_eq!(serving.tier, Some(1));
        assert_eq!(serving.next_deadline(&outflow), Some(at(14)));
    }

    #[test]
    fn a_tier_over_the_groups_limit_makes_way_only_for_one_that_is_not() {
        let limit = YieldAt {
            loss: Some(Permille(20)),
            rtt: None,
        };
        let mut outflow = outflow(3, FailbackWhen::After(Duration::from_secs(9)));
        for tier in &mut outflow.tiers {
            tier.conduct.yield_at = Some(limit);
        }
        let over = |uplinks: &[usize]| Service {
            exceeding: [(limit, uplinks.iter().map(|n| name(*n)).collect())].into(),
            ..live(&[1, 2, 3])
        };
        let mut serving = Serving::default();
        let mut at_time = |s, uplinks: &[usize]| {
            serving.decide(&outflow, &over(uplinks), at(s), false);
            serving.tier
        };
        assert_eq!(at_time(0, &[]), Some(0));
        assert_eq!(at_time(1, &[1, 2]), Some(2));
        assert_eq!(at_time(2, &[1, 2, 3]), Some(2), "nobody is better");
        assert_eq!(
            at_time(3, &[1, 3]),
            Some(1),
            "one that is well need not wait"
        );
        assert_eq!(at_time(4, &[]), Some(1));
        assert_eq!(at_time(12, &[]), Some(1));
        assert_eq!(
            at_time(13, &[]),
            Some(0),
            "the best one has waited its time"
        );
    }

    #[test]
    fn a_full_tier_leaves_new_connections_to_the_next_one_and_still_serves() {
        let mut outflow = outflow(3, FailbackWhen::ByHand);
        for tier in &mut outflow.tiers {
            tier.conduct.overflow_at = Some(Permille(800));
        }
        let full = |tiers: &[usize], uplinks: &[usize]| {
            let state = |n: &usize| PoolState {
                members: outflow.tiers[*n].members.clone(),
                conduct: outflow.tiers[*n].conduct,
                weights: None,
                is_full: true,
            };
            Service {
                pools: tiers.iter().map(state).collect(),
                ..live(uplinks)
            }
        };
        let mut serving = Serving::default();
        let mut leading = |tiers: &[usize], uplinks: &[usize]| {
            let service = full(tiers, uplinks);
            serving.decide(&outflow, &service, at(1), false);
            (serving.tier, serving.leading(&outflow, &service))
        };
        assert_eq!(leading(&[], &[1, 2, 3]), (Some(0), Some(0)));
        assert_eq!(leading(&[0], &[1, 2, 3]), (Some(0), Some(1)));
        assert_eq!(leading(&[0, 1], &[1, 2, 3]), (Some(0), Some(2)));
        assert_eq!(
            leading(&[0, 1, 2], &[1, 2, 3]),
            (Some(0), Some(0)),
            "all are full"
        );
        assert_eq!(
            leading(&[0], &[1, 3]),
            (Some(0), Some(2)),
            "the next is out"
        );
        // No word is needed for the return: it was no failover.
        assert_eq!(leading(&[], &[1, 2, 3]), (Some(0), Some(0)));
        assert_eq!(leading(&[0], &[2, 3]), (Some(1), Some(1)));
    }

    #[test]
    fn a_last_good_choice_makes_no_tier_live() {
        let outflow = outflow(2, FailbackWhen::After(Duration::from_secs(9)));
        let mut serving = Serving::adopted(1);
        let kept = Service {
            last_resort: true,
            ..live(&[1, 2])
        };
        serving.decide(&outflow, &kept, at(5), false);
        assert_eq!((serving.tier, serving.waiting(&outflow)), (Some(1), None));
    }
}

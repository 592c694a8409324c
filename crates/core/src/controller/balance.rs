//! Shares that follow the lines: what is read of them, and who is told.

use uplinkd_model::{Family, NexthopKind, Observed, UplinkName};

use super::{Controller, serve::News};
use crate::{
    Time,
    balance::Reading,
    families::FAMILIES,
    probe::{TargetVerdict, quantile},
    select::{Pool, distinct_tiers},
};

impl Controller {
    /// Looks at shares, where it is time, and decides again where they are to be others.
    pub(super) fn balance(&mut self, now: Time) {
        let mut balancer = std::mem::take(&mut self.balancer);
        let read = |family, uplink: &UplinkName| self.reading(family, uplink);
        let news: News = balancer.look(&self.config, now, read);
        self.balancer = balancer;
        if news.v4.is_some() || news.v6.is_some() {
            self.reselect(news, now);
        }
    }

    /// What is measured of an uplink that is in service.
    fn reading(&self, family: Family, uplink: &UplinkName) -> Option<Reading> {
        let service = self.service.of(family);
        if !service.uplinks.contains(uplink) || service.drained.contains(uplink) {
            return None;
        }
        let index = self.line_of(family, uplink)?;
        let spec = &self.access_of(index).probe;
        let targets = self.asked_targets(index);
        let passing = targets.iter().filter(|(target, state)| {
            spec.decides(target) && state.verdict() == TargetVerdict::Pass
        });
        let medians = passing.filter_map(|(_, state)| {
            let rtts: Vec<_> = state.window.judged_rtts().collect();
            quantile(rtts, 50)
        });
        let traffic = &self.lines[index].traffic;
        Some(Reading {
            rates: traffic.rates(),
            highest: traffic.highest(),
            rtt: medians.min(),
            is_queueing: targets.iter().any(|(_, t)| t.patience.is_queueing()),
        })
    }

    /// Goes on from the weights that the kernel has.
    pub(super) fn adopt_weights(&mut self, observed: &Observed) {
        let (config, balancer) = (&self.config, &mut self.balancer);
        for (pool, number) in distinct_tiers(config) {
            for family in FAMILIES {
                let id = config.reserve.nexthop_group(family, number);
                let group = observed.nexthops.get(&id).map(|n| &n.kind);
                let Some(NexthopKind::Group(members)) = group else {
                    continue;
                };
                let uplinks = config.uplinks.iter();
                let weights = uplinks.filter_map(|uplink| {
                    let id = config.reserve.nexthop_service(family, uplink.slot);
                    let (_, weight) = members.iter().find(|(member, _)| *member == id)?;
                    Some((uplink.name.clone(), *weight))
                });
                let weights: Vec<_> = weights.collect();
                balancer.adopt(family, pool, &weights);
            }
        }
    }

    /// Why the shares of a tier are what they are.
    pub(crate) fn why_shares(&self, family: Family, pool: Pool<'_>) -> Option<String> {
        self.balancer.why(family, pool)
    }
}

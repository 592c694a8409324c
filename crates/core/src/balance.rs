//! Shares that follow the lines: weights by what they can carry, the line that is least used or nearest,
//! and tiers that overflow.
//!
//! Looked at once a second, and changed seldom: established connections stay by their marks, so that what
//! was decided shows only as they end. A change that is too small to matter, or too soon, is not made, and
//! nothing happens on account of lines that do next to nothing.

mod pool;
#[cfg(test)]
mod tests;

use std::time::Duration;

use uplinkd_model::{Config, Rates, UplinkName};

use crate::{
    Time,
    families::{FAMILIES, PerFamily},
    select::{Pool, PoolState},
};
use pool::Balanced;

/// How often shares are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// A rate below was never measured as the highest that a line can carry, in bytes a second.
const RATE_LEAST: f64 = 60_000.0;
/// Which part of a new reading goes into the smoothed load: it follows in some three seconds.
const SMOOTHING: f64 = 0.3;

/// What is measured of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// Bytes a second over the last second, in and out.
    pub(crate) rates: (f64, f64),
    /// The highest that were measured.
    pub(crate) highest: (f64, f64),
    /// The median round-trip time of the nearest target.
    pub(crate) rtt: Option<Duration>,
    /// Answers wait in a queue.
    pub(crate) is_queueing: bool,
}

/// What a line can carry, and does, in bytes a second. Of what is not known there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Use {
    down: (Option<f64>, f64),
    up: (Option<f64>, f64),
    rtt: Option<Duration>,
    is_queueing: bool,
    /// The file says what it can carry.
    is_given: bool,
}

impl Use {
    /// Which part of what it can carry it does, in the direction that is fuller.
    fn part(&self) -> Option<f64> {
        let part = |(capacity, load): (Option<f64>, f64)| capacity.map(|c| load / c);
        [self.down, self.up]
            .map(part)
            .into_iter()
            .flatten()
            .max_by(f64::total_cmp)
    }

    /// What it could carry beside what it does, towards us, or away from us where only that is known.
    fn free(&self) -> Option<f64> {
        let (capacity, load) = match (self.down.0, self.up.0) {
            (Some(capacity), _) => (capacity, self.down.1),
            (None, Some(capacity)) => (capacity, self.up.1),
            (None, None) => return None,
        };
        Some((capacity - load).max(capacity * 0.05))
    }
}

/// What the shares of a family's pools are, and of what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Balancer {
    pools: PerFamily<Vec<Balanced>>,
    /// The smoothed load of each uplink, by its index: in and out.
    loads: Vec<(f64, f64)>,
    at: Option<Time>,
}

impl Balancer {
    /// For a configuration, of which `before` knows something already.
    pub(crate) fn new(config: &Config, before: Self) -> Self {
        let outflows = config.outlets.iter().filter_map(|o| o.outflow());
        let tiers = outflows.flat_map(|o| &o.tiers);
        let mut pools: Vec<_> = tiers.map(Pool::of).filter(|p| p.is_measured()).collect();
        pools.sort_unstable();
        pools.dedup();
        let mut known = before.pools;
        let pools = PerFamily::from_fn(|family| {
            let known = known.of_mut(family);
            let of = |pool: &Pool<'_>| {
                let same = known.iter().position(|k| k.state.is(*pool));
                let kept = same.map(|index| known.swap_remove(index));
                let mut balanced = kept.unwrap_or_else(|| Balanced::new(*pool));
                balanced.weigh_by_rates(&rates_of(config, *pool));
                balanced
            };
            pools.iter().map(of).collect()
        });
        Self {
            at: before.at,
            loads: vec![(0.0, 0.0); config.uplinks.len()],
            pools,
        }
    }

    /// When shares are to be looked at again; none where nothing is measured.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.at
    }

    /// Whether the counters of an uplink are of use.
    pub(crate) fn measures(&self, uplink: &UplinkName) -> bool {
        let mut pools = self.pools.v4.iter();
        pools.any(|p| p.state.members.iter().any(|m| m.uplink == *uplink))
    }

    /// Goes on from the weights that the kernel has for a pool.
    pub(crate) fn adopt(
        &mut self,
        family: uplinkd_model::Family,
        pool: Pool<'_>,
        weights: &[(UplinkName, u16)],
    ) {
        let pools = self.pools.of_mut(family).iter_mut();
        for own in pools.filter(|p| p.state.is(pool)) {
            own.adopt(weights);
        }
    }

    /// Looks at the lines, where it is time. `read` tells what is measured of an uplink's family, where
    /// it is in service there. Says whether anything is to be different, and why.
    pub(crate) fn look(
        &mut self,
        config: &Config,
        now: Time,
        read: impl Fn(uplinkd_model::Family, &UplinkName) -> Option<Reading>,
    ) -> PerFamily<Option<String>> {
        let mut news = PerFamily::default();
        if self.pools.v4.is_empty() {
            self.at = None;
            return news;
        }
        if self.at.is_some_and(|at| at > now) {
            return news;
        }
        self.at = Some(now + EVERY);
        for (uplink, load) in config.uplinks.iter().zip(&mut self.loads) {
            // The counters are the interface's: of both families.
            let reading = FAMILIES.into_iter().find_map(|f| read(f, &uplink.name));
            let (rx, tx) = reading.unwrap_or_default().rates;
            load.0 += (rx - load.0) * SMOOTHING;
            load.1 += (tx - load.1) * SMOOTHING;
        }
        for family in FAMILIES {
            for pool in self.pools.of_mut(family) {
                let members = pool.state.members.iter();
                let uses: Vec<_> = members
                    .map(|member| {
                        let index = config
                            .uplinks
                            .iter()
                            .position(|u| u.name == member.uplink)?;
                        let reading = read(family, &member.uplink)?;
                        let load = self.loads[index];
                        Some(use_of(reading, load, config.uplinks[index].rates))
                    })
                    .collect();
                if let Some(why) = pool.look(&uses, now) {
                    *news.of_mut(family) = Some(why);
                }
            }
        }
        news
    }

    /// What the pools of a family are to be.
    pub(crate) fn states(&self, family: uplinkd_model::Family) -> Vec<PoolState> {
        let pools = self.pools.of(family).iter();
        pools.map(|p| p.state.clone()).collect()
    }

    /// Why a pool's shares are what they are, for people.
    pub(crate) fn why(&self, family: uplinkd_model::Family, pool: Pool<'_>) -> Option<String> {
        let mut pools = self.pools.of(family).iter();
        let own = pools.find(|p| p.state.is(pool))?;
        Some(own.why.clone()).filter(|why| !why.is_empty())
    }

    /// Begins to look, where something is measured.
    pub(crate) fn start(&mut self, now: Time) {
        if !self.pools.v4.is_empty() {
            self.at.get_or_insert(now);
        }
    }
}

fn rates_of(config: &Config, pool: Pool<'_>) -> Vec<Rates> {
    let members = pool.members.iter();
    let rates = members.map(|m| config.uplink(&m.uplink).map(|u| u.rates));
    rates.map(Option::unwrap_or_default).collect()
}

fn use_of(reading: Reading, load: (f64, f64), given: Rates) -> Use {
    let capacity = |given: Option<u64>, highest: f64| {
        let measured = Some(highest).filter(|rate| *rate >= RATE_LEAST);
        given.map(|rate| rate as f64).or(measured)
    };
    Use {
        down: (capacity(given.down, reading.highest.0), load.0),
        up: (capacity(given.up, reading.highest.1), load.1),
        rtt: reading.rtt,
        is_queueing: reading.is_queueing,
        is_given: given.down.is_some() || given.up.is_some(),
    }
}

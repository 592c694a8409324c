//! Which tier serves each outlet: never a worse one without need, never a better one before its time,
//! never later than it should.
//!
//! Judged from what the daemon says about its lines, with no more memory than who served last and
//! since when each tier has been live.

use std::{collections::BTreeSet, time::Duration};

use uplinkd_core::{OutletState, PerFamily, Time};
use uplinkd_model::{
    Config, Family,
    policy::{FailbackFlows, FailbackWhen},
};

use super::World;
use crate::{
    kernel::{Connection, Direction},
    reference::{Layout, LayoutKind},
    scenario::FAMILIES,
};

/// How late a failback may be.
const SLACK: Duration = Duration::from_millis(2);
/// How long a plan may still be about a failback that is no longer the last thing that happened.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// What is remembered of all outlets.
#[derive(Debug)]
pub(crate) struct Tiers {
    watched: Vec<PerFamily<Watched>>,
    /// Failbacks under earlier files, which a plan under way may still be about.
    under_way: Vec<UnderWay>,
    /// Somebody asks for failback of this outlet or group at this moment.
    pub(super) told: Option<String>,
    /// When the first failback is overdue.
    due: Option<Time>,
}

/// What is remembered of one family of an outlet.
#[derive(Clone, Debug, Default)]
struct Watched {
    /// Who served last; none where that is not known for certain.
    tier: Option<Option<usize>>,
    /// Since when each tier has been live: at the earliest, and at the latest.
    live: Vec<Option<(Time, Time)>>,
    /// It left a tier that failed since the daemon knows it, so that failback takes its time.
    has_failed_over: bool,
    returned: Option<Returned>,
    /// The one before, which a plan under way may still be about until then.
    lately: Option<(Returned, Time)>,
}

impl Watched {
    fn forget_return(&mut self, now: Time) {
        if let Some(returned) = self.returned.take() {
            self.lately = Some((returned, now + UNDER_WAY));
        }
    }

    /// The failbacks that a step of the daemon may be about.
    fn returns(&self, now: Time) -> impl Iterator<Item = &Returned> {
        let lately = self.lately.iter().filter(move |(_, until)| now <= *until);
        self.returned.iter().chain(lately.map(|(r, _)| r))
    }
}

/// The last thing that happened to an outlet was a failback.
#[derive(Clone, Debug)]
struct Returned {
    to: usize,
    /// Connections that were on worse tiers then, by number.
    left_behind: BTreeSet<u32>,
    /// It may also have been there all the time.
    is_doubtful: bool,
}

/// A failback of an outlet as an earlier file had it.
#[derive(Debug)]
struct UnderWay {
    code: u16,
    family: Family,
    /// The lines of the tiers behind.
    behind: Vec<usize>,
    until: Time,
}

impl Tiers {
    pub(super) fn new(outlets: usize) -> Self {
        Self {
            watched: vec![PerFamily::default(); outlets],
            under_way: Vec::new(),
            told: None,
            due: None,
        }
    }
}

impl World {
    /// The daemon dies: what the kernel serves must go on after the next start, if nothing else
    /// happens.
    pub(super) fn tiers_at_death(&mut self) {
        let is_certain = self.daemon.is_some() && self.said.settled && self.was_calm();
        for index in 0..self.layouts.len() {
            for family in FAMILIES {
                let tier = self.said.tier(index, family);
                let watched = self.tiers.watched[index].of_mut(family);
                *watched = Watched {
                    tier: tier.filter(|_| is_certain).map(Some),
                    ..Watched::default()
                };
            }
        }
    }

    /// The daemon starts: what was certain at its death is so no more if anything happened since.
    pub(super) fn tiers_at_start(&mut self) {
        let is_certain = self.was_calm();
        for watched in &mut self.tiers.watched {
            for family in FAMILIES {
                let watched = watched.of_mut(family);
                let tier = watched.tier.filter(|_| is_certain);
                *watched = Watched {
                    tier,
                    has_failed_over: tier.is_some(),
                    ..Watched::default()
                };
            }
        }
    }

    /// The file was read again. Outlets that are as before go on; of others nothing is certain.
    pub(super) fn tiers_after_reload(&mut self, before: &Config) {
        let (now, said) = (self.now(), std::mem::take(&mut self.said.outlets));
        let old = std::mem::take(&mut self.tiers.watched);
        let layouts = &self.earlier[self.earlier.len() - old.len()..];
        self.tiers.under_way.retain(|u| now <= u.until);
        for (layout, watched) in layouts.iter().zip(&old) {
            for family in FAMILIES {
                let layout = layout.of(family);
                if layout.failback.flows == FailbackFlows::Keep {
                    continue;
                }
                let returns = watched.of(family).returns(now);
                self.tiers.under_way.extend(returns.map(|r| UnderWay {
                    code: layout.code,
                    family,
                    behind: layout.behind(r.to).into_iter().collect(),
                    until: now + UNDER_WAY,
                }));
            }
        }
        let config = &self.scenario.config;
        let mut outlets = Vec::new();
        for (index, outlet) in config.outlets.iter().enumerate() {
            let mut earlier = before.outlets.iter();
            let known = earlier.position(|o| o.code == outlet.code);
            outlets.push(
                known
                    .and_then(|n| said.get(n).cloned())
                    .unwrap_or_else(|| PerFamily::from_fn(|_| None)),
            );
            let is_same = known.is_some_and(|n| before.outlets[n] == *outlet);
            let watched = PerFamily::from_fn(|family| {
                let old = known.and_then(|n| old.get(n)).map(|w| w.of(family));
                let layout = self.layouts[index].of(family);
                let live = |tier| {
                    let is_live = layout.any(tier, |l| self.said.in_service[l]);
                    let is_live = is_live && !self.said.last_resort.of(family);
                    is_live.then_some((Time::default(), now))
                };
                match old {
                    Some(old) if is_same => Watched {
                        returned: None,
                        ..old.clone()
                    },
                    Some(_) | None => Watched {
                        live: (0..layout.tiers.len()).map(live).collect(),
                        ..Watched::default()
                    },
                }
            });
            self.tiers.watched.push(watched);
        }
        self.said.outlets = outlets;
    }

    /// Judges who serves after something happened.
    pub(super) fn judge_tiers(&mut self) -> Result<(), String> {
        self.tiers.due = None;
        for index in 0..self.layouts.len() {
            for family in FAMILIES {
                let layout = self.layouts[index].of(family);
                let state = self.said.outlets[index].of(family);
                if let (LayoutKind::Uplinks(_), Some(state)) = (layout.kind, state) {
                    self.judge_tier(index, family, layout.clone(), state.clone())
                        .map_err(|what| {
                            let name = &self.layouts[index].v4.name;
                            format!("outlet {name} ({family}): {what}")
                        })?;
                }
            }
        }
        Ok(())
    }

    fn judge_tier(
        &mut self,
        index: usize,
        family: Family,
        layout: Layout,
        state: OutletState,
    ) -> Result<(), String> {
        let now = self.now();
        let is_last_resort = *self.said.last_resort.of(family);
        let serves: Vec<bool> = (0..layout.tiers.len())
            .map(|tier| layout.any(tier, |l| self.said.takes_new(l)))
            .collect();
        let told = self.tiers.told.as_ref();
        let is_told = told.is_some_and(|n| *n == layout.name || Some(n) == layout.group.as_ref());
        let watched = self.tiers.watched[index].of_mut(family);
        watched.live.resize(serves.len(), None);
        for (serves, since) in serves.iter().zip(&mut watched.live) {
            let is_live = *serves && !is_last_resort;
            *since = is_live.then(|| since.unwrap_or((now, now)));
        }
        if state == OutletState::LastResort {
            if !is_last_resort && serves.contains(&true) {
                return Err(format!("last resort, though tiers serve: {serves:?}"));
            }
            watched.tier = None;
            watched.forget_return(now);
            return Ok(());
        }
        let tier = self.said.tier(index, family);
        if tier.is_some_and(|t| !serves[t]) || tier.is_none() && serves.contains(&true) {
            return Err(format!("it is {state:?}, while tiers serve: {serves:?}"));
        }
        let best = serves.iter().position(|s| *s);
        let wait = match layout.failback.when {
            FailbackWhen::AtOnce => Some(Duration::ZERO),
            FailbackWhen::After(wait) => Some(wait),
            FailbackWhen::ByHand => None,
        };
        match (watched.tier, tier) {
            (Some(Some(before)), Some(after)) if serves[before] => {
                if after > before {
                    return Err(format!("left tier {before} for {after}, which is worse"));
                }
                let waited = |(earliest, _): (Time, Time)| {
                    let is_ripe = wait.is_some_and(|w| earliest + w <= now);
                    is_ripe || is_told || !watched.has_failed_over
                };
                if after < before && !watched.live[after].is_some_and(waited) {
                    return Err(format!(
                        "back on tier {after} too early: {:?}, live since {:?}",
                        layout.failback.when, watched.live[after]
                    ));
                }
                let best_live = watched.live.iter().position(Option::is_some);
                if is_told && best_live.is_some_and(|b| b < after) {
                    return Err(format!("asked for, but stays on tier {after}: {serves:?}"));
                }
                let is_late = |(_, latest): (Time, Time)| {
                    let due = wait.map(|w| latest + w + SLACK);
                    due.is_some_and(|due| due < now)
                };
                if after < before && watched.live[after].is_some_and(is_late) && !is_told {
                    return Err(format!(
                        "back on tier {after} too late: {:?}, live since {:?}",
                        layout.failback.when, watched.live[after]
                    ));
                }
                if after < before {
                    let behind = layout.behind(after);
                    let left = self.kernel.connections.iter();
                    let left = left.filter(|c| is_of(c, &layout, family, &behind));
                    watched.returned = Some(Returned {
                        to: after,
                        left_behind: left.map(|c| c.id).collect(),
                        is_doubtful: false,
                    });
                    self.report.failbacks += 1;
                }
            }
            (Some(before), after) => {
                if after != best {
                    return Err(format!("on {after:?} after {before:?}: {serves:?}"));
                }
                watched.has_failed_over |= before.is_some() && after != before;
                if before != after {
                    watched.forget_return(now);
                }
            }
            (None, after) => {
                watched.returned = after.map(|to| Returned {
                    to,
                    left_behind: BTreeSet::new(),
                    is_doubtful: true,
                });
            }
        }
        watched.tier = Some(tier);
        if let (Some(tier), Some(wait)) = (tier, wait) {
            let waiting = watched.live[..tier].iter().flatten();
            let due = waiting.map(|(_, latest)| *latest + wait + SLACK).min();
            self.tiers.due = self.tiers.due.into_iter().chain(due).min();
        }
        Ok(())
    }

    /// A failback must not be later than it may.
    pub(super) fn check_overdue(&self) -> Result<(), String> {
        let is_awake = self.daemon.as_ref().is_some_and(|d| d.has_looked);
        if let Some(due) = self.tiers.due.filter(|due| is_awake && *due < self.now()) {
            let due = due.0.as_secs_f64();
            let tiers: Vec<_> = (0..self.layouts.len())
                .flat_map(|n| FAMILIES.map(|f| (n, f, self.said.tier(n, f))))
                .collect();
            return Err(format!("a failback was due at {due:.3} s: {tiers:?}"));
        }
        Ok(())
    }

    /// Whether a failback happens about now.
    pub(super) fn is_failback_due(&self) -> bool {
        self.tiers.due.is_some_and(|due| due <= self.now() + SLACK)
    }

    /// When the next failback happens by itself.
    pub(crate) fn next_failback(&self) -> Option<Time> {
        self.tiers.due
    }

    /// Whether a connection may be released since its outlet went back to a better tier.
    pub(super) fn was_left_behind(&self, connection: &Connection) -> bool {
        let layouts = self.layouts.iter().enumerate();
        let mut own = layouts.filter(|(_, l)| l.v4.code == connection.outlet);
        let family = connection.talk.family;
        own.any(|(index, layout)| {
            let layout = layout.of(family);
            let watched = self.tiers.watched[index].of(family);
            let mut returns = watched.returns(self.now());
            layout.failback.flows == FailbackFlows::Move
                && returns.any(|r| is_of(connection, layout, family, &layout.behind(r.to)))
        })
    }

    /// Whether an outlet went back to a better tier, and these lines are only on worse ones.
    pub(super) fn may_forget(&self, code: u16, lines: impl Fn(Family) -> Vec<usize>) -> bool {
        let was = |u: &UnderWay| {
            let is_behind = |line: &usize| u.behind.contains(line);
            let is_of_now = u.code == code && self.now() <= u.until;
            is_of_now && !u.behind.is_empty() && lines(u.family).iter().all(is_behind)
        };
        if self.tiers.under_way.iter().any(was) {
            return true;
        }
        let mut layouts = self.layouts.iter().enumerate();
        let Some((index, layout)) = layouts.find(|(_, l)| l.v4.code == code) else {
            return false;
        };
        FAMILIES.into_iter().any(|family| {
            let layout = layout.of(family);
            let watched = self.tiers.watched[index].of(family);
            let mut returns = watched.returns(self.now());
            let is_behind = |r: &Returned| {
                let behind = layout.behind(r.to);
                !behind.is_empty() && lines(family).iter().all(|l| behind.contains(l))
            };
            layout.failback.flows != FailbackFlows::Keep && returns.any(is_behind)
        })
    }

    /// Once all is settled: what failback left behind is moved, forgotten or kept as the file says.
    pub(crate) fn judge_left_behind(&self) -> Result<(), String> {
        for (index, layouts) in self.layouts.iter().enumerate() {
            for family in FAMILIES {
                let layout = layouts.of(family);
                let returned = self.tiers.watched[index].of(family).returned.as_ref();
                let Some(returned) = returned.filter(|r| !r.is_doubtful) else {
                    continue;
                };
                let connections = self.kernel.connections.iter();
                let mut left = connections.filter(|c| returned.left_behind.contains(&c.id));
                if let (FailbackFlows::Move, Some(left)) = (layout.failback.flows, left.next()) {
                    return Err(format!(
                        "outlet {} is back on tier {}, but connection {} was not moved",
                        layout.name, returned.to, left.id
                    ));
                }
                let uplink = |line: usize| &self.scenario.uplinks[self.net.lines[line].uplink];
                let is_kept = |line: usize| {
                    let slot = uplink(line).slot.0;
                    self.kernel.sticky.is_kept(layout.code, slot, family)
                };
                let kept = layout.behind(returned.to).into_iter().find(|l| is_kept(*l));
                let forgets = layout.sticky && layout.failback.flows != FailbackFlows::Keep;
                if let Some(line) = kept.filter(|_| forgets) {
                    return Err(format!(
                        "outlet {} is back on tier {}, but clients keep to line {line}",
                        layout.name, returned.to
                    ));
                }
            }
        }
        Ok(())
    }
}

fn is_of(connection: &Connection, layout: &Layout, family: Family, lines: &[usize]) -> bool {
    connection.direction != Direction::Inbound
        && connection.outlet == layout.code
        && connection.talk.family == family
        && lines.contains(&connection.line)
}

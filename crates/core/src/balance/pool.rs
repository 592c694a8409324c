//! One pool: its weights, the member that is chosen, and whether it is full.

use std::time::Duration;

use uplinkd_model::{Rates, UplinkName, policy::Balance};

use super::Use;
use crate::{
    Time,
    select::{Pool, PoolState},
};

/// The largest weight that is given: many ratios of small numbers are whole numbers under it.
const WEIGHT_TOP: u16 = 240;
/// The part of the largest weight that every member has at least. One that never carries anything would
/// never show what it can.
const SHARE_LEAST: f64 = 0.125;
/// Weights change no sooner again.
const STEP_AFTER: Duration = Duration::from_secs(10);
/// By which part a weight changes at most at a time.
const STEP: f64 = 0.2;
/// From which part on a weight is different enough to be changed.
const WORTH: f64 = 0.15;
/// A round-trip time that counts like half of the free capacity.
const RTT_HALVES: f64 = 0.05;
/// By which factor another member must be better to be chosen.
const BETTER: f64 = 1.25;
/// A round-trip time must be shorter by so much.
const NEARER: Duration = Duration::from_millis(5);
/// So long another member must have been better, without a break.
const BETTER_FOR: Duration = Duration::from_secs(5);
/// A full pool that carries less than this part of what makes it full is not full any more.
const NOT_FULL: f64 = 0.8;
/// How long it must be beyond a limit before it is full, or not full any more.
const FULL_FOR: Duration = Duration::from_secs(3);
const NOT_FULL_FOR: Duration = Duration::from_secs(10);

/// A pool with what is remembered of it.
#[derive(Clone, Debug)]
pub(super) struct Balanced {
    pub(super) state: PoolState,
    /// Why, for people.
    pub(super) why: String,
    /// Weights as parts of the largest, before they are rounded.
    parts: Vec<f64>,
    /// The file says what every member can carry.
    is_given: bool,
    /// The member that is chosen, where one is.
    chosen: Option<usize>,
    /// Which one is better, and since when.
    better: Option<(usize, Time)>,
    changed_at: Option<Time>,
    /// Since when it is on the other side of the limit that decides whether it is full.
    crossed_at: Option<Time>,
}

impl Balanced {
    pub(super) fn new(pool: Pool<'_>) -> Self {
        let count = pool.members.len();
        let weights = match (pool.conduct.balance, pool.is_auto()) {
            (Balance::Weights, false) => None,
            (Balance::Weights, true) | (Balance::LeastUsed | Balance::LowestLatency, _) => {
                Some(vec![WEIGHT_TOP; count])
            }
        };
        Self {
            state: PoolState {
                members: pool.members.to_vec(),
                conduct: pool.conduct,
                weights,
                is_full: false,
            },
            why: String::new(),
            parts: vec![1.0; count],
            is_given: false,
            chosen: None,
            better: None,
            changed_at: None,
            crossed_at: None,
        }
    }

    /// Where the file says what every member can carry, weights are that from the beginning.
    pub(super) fn weigh_by_rates(&mut self, rates: &[Rates]) {
        let has_weights = self.state.conduct.balance == Balance::Weights;
        let down: Option<Vec<_>> = rates.iter().map(|r| r.down).collect();
        let up = || rates.iter().map(|r| r.up).collect::<Option<Vec<_>>>();
        let given = down.or_else(up);
        self.is_given = has_weights && self.state.weights.is_some() && given.is_some();
        if let Some(given) = given.filter(|_| self.is_given) {
            let parts: Vec<_> = given.iter().map(|rate| *rate as f64).collect();
            self.parts = of_largest(&parts, 0.0);
            self.round();
            self.why = "shares follow the rates of the lines".to_owned();
        }
    }

    /// Goes on from these weights.
    pub(super) fn adopt(&mut self, weights: &[(UplinkName, u16)]) {
        if self.is_given || self.state.weights.is_none() {
            return;
        }
        let of = |name: &UplinkName| weights.iter().find(|(n, _)| n == name).map(|(_, w)| *w);
        let members = self.state.members.iter().map(|m| of(&m.uplink));
        // Of members that are out of service the kernel has no weight.
        let known: Vec<_> = members.map(|w| w.map(f64::from)).collect();
        let most = known.iter().flatten().copied().fold(0.0, f64::max);
        if most < 1.0 {
            return;
        }
        match self.state.conduct.balance {
            Balance::Weights => {
                self.parts = known.iter().map(|w| w.map_or(1.0, |w| w / most)).collect();
                self.round();
            }
            Balance::LeastUsed | Balance::LowestLatency => {
                let top = |w: &Option<f64>| w.is_some_and(|w| w >= most);
                let others = known.iter().flatten().filter(|w| **w < most).count();
                if others > 0 {
                    self.choose(known.iter().position(top));
                }
            }
        }
    }

    /// Looks at what each member carries; of those out of service there is nothing. Says what is to be
    /// different, if anything.
    pub(super) fn look(&mut self, uses: &[Option<Use>], now: Time) -> Option<String> {
        let before = self.state.clone();
        match self.state.conduct.balance {
            Balance::Weights if self.state.weights.is_some() && !self.is_given => {
                self.follow(uses, now);
            }
            Balance::Weights => {}
            Balance::LeastUsed => self.choose_best(uses, now, |u| u.free(), "most free capacity"),
            Balance::LowestLatency => self.choose_best(uses, now, nearness, "lowest latency"),
        }
        let full = self.fill(uses, now);
        if self.state == before {
            return None;
        }
        full.or_else(|| Some(self.why.clone()))
    }

    /// Lets weights follow what is free.
    fn follow(&mut self, uses: &[Option<Use>], now: Time) {
        let score = |u: &Use| {
            let rtt = u.rtt.unwrap_or_default().as_secs_f64();
            u.free().map(|free| free * RTT_HALVES / (RTT_HALVES + rtt))
        };
        let known = uses.iter().flatten();
        if known.clone().count() < 2 {
            self.why.clear();
            return;
        }
        if known.clone().any(|u| u.free().is_none()) {
            self.why = "shares wait until every line has shown what it can carry".to_owned();
            return;
        }
        self.why = format!("shares follow free capacity: {}", self.words(uses));
        if self.changed_at.is_some_and(|at| now < at + STEP_AFTER) {
            return;
        }
        let scores = uses.iter().map(|u| u.as_ref().and_then(score));
        let scores: Vec<_> = scores.map(|s| s.unwrap_or(0.0)).collect();
        let wanted = of_largest(&scores, SHARE_LEAST);
        let in_service: Vec<_> = (0..uses.len()).filter(|n| uses[*n].is_some()).collect();
        let differs = |n: &usize| (wanted[*n] - self.parts[*n]).abs() >= self.parts[*n] * WORTH;
        if !in_service.iter().any(differs) {
            return;
        }
        for n in in_service {
            let part = self.parts[n];
            self.parts[n] = wanted[n].clamp(part * (1.0 - STEP), part * (1.0 + STEP));
        }
        self.changed_at = Some(now);
        self.round();
    }

    /// Chooses the member of the highest score, where it is better for long enough.
    fn choose_best(
        &mut self,
        uses: &[Option<Use>],
        now: Time,
        score: impl Fn(&Use) -> Option<f64>,
        what: &str,
    ) {
        let scores: Vec<_> = uses.iter().map(|u| u.as_ref().and_then(&score)).collect();
        let known = scores.iter().zip(uses).filter(|(_, u)| u.is_some());
        if known.clone().count() < 2 {
            self.why.clear();
            return;
        }
        if known.clone().any(|(s, _)| s.is_none()) {
            self.why = format!("nobody is chosen until the {what} is known of every line");
            return;
        }
        let of = |n: usize| scores[n].unwrap_or(0.0);
        let best = (0..scores.len()).fold(0, |best, n| if of(n) > of(best) { n } else { best });
        let current = self.chosen.filter(|n| scores[*n].is_some());
        let is_better = |current: usize| {
            let gap = |n: usize| uses[n].as_ref().and_then(|u| u.rtt).unwrap_or_default();
            let is_far = match self.state.conduct.balance {
                Balance::LowestLatency => gap(current) >= gap(best) + NEARER,
                Balance::Weights | Balance::LeastUsed => true,
            };
            of(best) >= of(current) * BETTER && is_far
        };
        match current {
            None => self.choose(Some(best)),
            Some(current) if is_better(current) => {
                let since = match self.better {
                    Some((known, since)) if known == best => since,
                    Some(_) | None => now,
                };
                self.better = Some((best, since));
                let is_soon = self.changed_at.is_some_and(|at| now < at + STEP_AFTER);
                if now >= since + BETTER_FOR && !is_soon {
                    self.choose(Some(best));
                    self.changed_at = Some(now);
                }
            }
            Some(_) => self.better = None,
        }
        if let Some(chosen) = self.chosen {
            let name = &self.state.members[chosen].uplink;
            let words = self.words(uses);
            self.why = format!("new connections use {name}, of the {what}: {words}");
        }
    }

    /// One of the others stays in the kernel's group with the least weight, so that it takes over by
    /// itself where the interface of the chosen one goes.
    fn choose(&mut self, chosen: Option<usize>) {
        (self.chosen, self.better) = (chosen, None);
        let weight = |n| if Some(n) == chosen { WEIGHT_TOP } else { 1 };
        self.state.weights = Some((0..self.parts.len()).map(weight).collect());
    }

    fn round(&mut self) {
        let most = self.parts.iter().copied().fold(0.0, f64::max);
        self.parts.iter_mut().for_each(|part| *part /= most);
        let weight = |part: &f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 1 and WEIGHT_TOP"
            )]
            let weight = (part * f64::from(WEIGHT_TOP)).round().max(1.0) as u16;
            weight
        };
        self.state.weights = Some(self.parts.iter().map(weight).collect());
    }

    /// Finds whether it is full, or not any more, and says so where that is new.
    fn fill(&mut self, uses: &[Option<Use>], now: Time) -> Option<String> {
        let limit = self.state.conduct.overflow_at?.of_one();
        let known: Vec<_> = uses.iter().flatten().collect();
        let part = part_of(&known)?;
        let is_queueing = known.iter().any(|u| u.is_queueing);
        let is_sure = known.iter().all(|u| u.is_given) || is_queueing;
        let is_beyond = match self.state.is_full {
            false => part >= limit && is_sure,
            true => part < limit * NOT_FULL,
        };
        if !is_beyond {
            self.crossed_at = None;
            return None;
        }
        let since = *self.crossed_at.get_or_insert(now);
        let needed = match self.state.is_full {
            false => FULL_FOR,
            true => NOT_FULL_FOR,
        };
        if now < since + needed {
            return None;
        }
        self.crossed_at = None;
        self.state.is_full = !self.state.is_full;
        let names: Vec<_> = self
            .state
            .members
            .iter()
            .map(|m| m.uplink.as_str())
            .collect();
        let (names, percent) = (names.join(" and "), part * 100.0);
        Some(match self.state.is_full {
            true => format!("{names} full, {percent:.0}% used"),
            false => format!("{names} not full any more, {percent:.0}% used"),
        })
    }

    /// What each member carries, in words.
    fn words(&self, uses: &[Option<Use>]) -> String {
        let members = self.state.members.iter().zip(uses);
        let word = |(member, found): (&uplinkd_model::Member, &Option<Use>)| {
            let name = &member.uplink;
            let Some(found) = found else {
                return format!("{name} out of service");
            };
            let mut words = name.to_string();
            if let Some(part) = found.part() {
                words += &format!(" {:.0}% used", part * 100.0);
            }
            if let Some(rtt) = found.rtt {
                words += &format!(" {:.0} ms", rtt.as_secs_f64() * 1000.0);
            }
            words
        };
        members.map(word).collect::<Vec<_>>().join(", ")
    }
}

/// Short times make a high score.
fn nearness(found: &Use) -> Option<f64> {
    let rtt = found.rtt?.as_secs_f64();
    Some(1.0 / rtt.max(1e-6))
}

/// Which part of what all can carry together they do, in the direction that is fuller; none where nothing
/// is known of some.
fn part_of(uses: &[&Use]) -> Option<f64> {
    let of = |direction: fn(&Use) -> (Option<f64>, f64)| {
        let each = uses.iter().map(|u| direction(u));
        let all = each.map(|(capacity, load)| Some((capacity?, load)));
        let all: Option<Vec<_>> = all.collect();
        let all = all.filter(|all| !all.is_empty())?;
        let (capacity, load) = all
            .iter()
            .fold((0.0, 0.0), |(c, l), one| (c + one.0, l + one.1));
        Some(load / capacity)
    };
    let parts = [of(|u| u.down), of(|u| u.up)];
    parts.into_iter().flatten().max_by(f64::total_cmp)
}

/// Each as a part of the largest, and not less than so much.
fn of_largest(scores: &[f64], least: f64) -> Vec<f64> {
    let most = scores.iter().copied().fold(0.0, f64::max);
    let part = |score: &f64| if most > 0.0 { score / most } else { 1.0 };
    scores.iter().map(|score| part(score).max(least)).collect()
}

//! From targets to the state of an uplink: quorum, misses, loss and round-trip times, and doubt.
//!
//! | what is found | judgement |
//! |---|---|
//! | enough targets answer | up |
//! | too few do, each silent for long enough | down; but not while packets come in as usual |
//! | enough do, and more is lost or takes longer than allowed | degraded, or down |
//! | the same on a line that is full | up: its own traffic is in the way |
//! | anything else | as before |

pub(crate) mod damping;
pub(crate) mod limits;
pub(crate) mod neighbour;
pub(crate) mod segments;
pub(crate) mod traffic;

use std::time::Duration;

use uplinkd_model::{Health, Limits, Permille, ProbeSpec, Reason, Target};

use crate::{
    Time,
    probe::{TargetState, TargetVerdict, quantile},
};

/// How seldom a line that merely loses packets may be taken for dead: once in so many streaks of
/// misses. The number of misses that are needed follows from it and from what the line loses.
const MISTAKES: f64 = 1e-7;
/// Misses in a row of one target are never needed more than this.
pub(crate) const MISSES_MAX: u32 = 10;
/// Results below which a part of them means nothing.
const RESULTS_LEAST: usize = 10;
/// Losses below which a part means nothing: two may be chance.
const LOSSES_LEAST: usize = 3;
/// Targets whose wrong answers stand in the reason of a line; those of the others are in the status.
const REFUSALS_MAX: usize = 3;
/// How many questions of a burst long targets must be silent at least: a line whose packets take
/// another way all at once answers late, and not never.
const GRACE: u32 = 3;
/// How long targets must be silent on a line on which packets come in as usual: then the targets, or
/// the way to them, are likelier to be at fault.
const STUBBORN: Duration = Duration::from_secs(10);

/// What a line is judged by.
pub(crate) struct Evidence<'a> {
    pub(crate) spec: &'a ProbeSpec,
    /// Those that have an address at the moment and are not at fault themselves.
    pub(crate) targets: &'a [(&'a Target, &'a TargetState)],
    pub(crate) before: Health,
    /// Before, it was down because nothing answered.
    pub(crate) was_silent: bool,
    /// Packets leave, so that its failure would be felt; also where nobody knows.
    pub(crate) is_moving: bool,
    /// Packets come in as usual.
    pub(crate) is_alive: bool,
    /// Its own traffic fills it.
    pub(crate) is_full: bool,
    pub(crate) now: Time,
}

/// Judges an uplink whose link is usable. Doubt keeps what is: an uplink is never cut, and never
/// trusted again, because something is not known yet.
pub(crate) fn judge(evidence: &Evidence<'_>) -> (Health, Reason) {
    let Evidence { spec, before, .. } = *evidence;
    let deciding: Vec<_> = evidence.deciding().collect();
    if deciding.is_empty() {
        let gateway = spec.targets.iter().all(Target::is_local);
        // A gateway without an address cannot be asked; hosts that are at fault can tell nothing.
        return match gateway || before == Health::Unknown {
            true => (Health::Up, Reason::LinkOnly),
            false => (before, Reason::TargetsDown),
        };
    }
    let total = deciding.len();
    let quorum = spec.quorum.min(total);
    let of = |verdict| deciding.iter().filter(move |t| t.verdict() == verdict);
    let passing = of(TargetVerdict::Pass).count();
    if passing >= quorum {
        return evidence.judge_quality(&deciding, passing);
    }
    let is_lasting = |t: &&&TargetState| t.silent_for(evidence.now) >= evidence.silence(t);
    let failing = of(TargetVerdict::Fail).count();
    let lasting = of(TargetVerdict::Fail).filter(is_lasting).count();
    if total - failing >= quorum {
        return (before, Reason::Probing { passing, quorum });
    }
    if total - lasting >= quorum && before != Health::Down {
        return match evidence.is_alive {
            true => (before, Reason::TrafficFlows { passing, total }),
            false => (before, Reason::Probing { passing, quorum }),
        };
    }
    let silent = Reason::TargetsSilent {
        passing,
        total,
        quorum,
        gateway_answers: evidence.gateway_answers(),
        refusals: evidence.refusals(),
    };
    (Health::Down, silent)
}

/// How many misses in a row fail a target of this line: as many as the file says, and on a line that
/// loses packets so many that chance does not explain them. The misses of all deciding targets count
/// together, since a line dies for all of them at once.
pub(crate) fn misses_needed(spec: &ProbeSpec, targets: &[(&Target, &TargetState)]) -> u32 {
    let deciding = targets.iter().filter(|(t, _)| spec.decides(t));
    let deciding: Vec<_> = deciding.map(|(_, state)| *state).collect();
    let (asked, lost) = results(&deciding, 1);
    if asked < RESULTS_LEAST || lost < LOSSES_LEAST {
        return spec.fall;
    }
    let loss = (lost as f64 / asked as f64).min(0.99);
    let together = MISTAKES.ln() / loss.ln();
    let each = (together / deciding.len() as f64).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and MISSES_MAX"
    )]
    let each = each.clamp(0.0, f64::from(MISSES_MAX)) as u32;
    each.max(spec.fall)
}

/// Questions with a result, and how many of them were lost; without the losses in a row at the end where
/// there are at least `streak`: those are silence, and judged as such.
fn results(targets: &[&TargetState], streak: usize) -> (usize, usize) {
    targets.iter().fold((0, 0), |(asked, lost), target| {
        let (all, missed) = target.window.judged();
        // Hardly ever has one lost anything, and this is asked with every judgement.
        if missed == 0 {
            return (asked + all, lost);
        }
        let last = Some(target.window.lost_last());
        let last = last.filter(|last| *last >= streak).unwrap_or(0);
        (
            asked + all.saturating_sub(last),
            lost + missed.saturating_sub(last),
        )
    })
}

impl<'a> Evidence<'a> {
    fn deciding(&self) -> impl Iterator<Item = &'a TargetState> + '_ {
        let deciding = self.targets.iter().filter(|(t, _)| self.spec.decides(t));
        deciding.map(|(_, state)| *state)
    }

    /// How long targets must have been silent, beside the misses that are needed. Where nothing moves
    /// nobody suffers yet, and the line may merely have become slower.
    fn silence(&self, target: &TargetState) -> Duration {
        let timeout = self.spec.timeout;
        match (self.is_alive, self.is_moving) {
            (true, _) => STUBBORN,
            (false, true) => {
                // Of a target whose answers come when they like, none is missed for good so soon.
                let patience = target.patience.limit(timeout) * 2;
                (self.spec.burst * GRACE).max(patience.min(timeout))
            }
            (false, false) => timeout,
        }
    }

    fn gateway_answers(&self) -> Option<bool> {
        let targets = self.targets.iter();
        let local = targets.filter(|(t, _)| t.is_local() && !self.spec.decides(t));
        // However it is asked, one answer will do.
        let verdicts: Vec<_> = local.map(|(_, state)| state.verdict()).collect();
        let has = |verdict| {
            verdicts
                .contains(&verdict)
                .then_some(verdict == TargetVerdict::Pass)
        };
        has(TargetVerdict::Pass).or(has(TargetVerdict::Fail))
    }

    /// What those said that answered, and not well.
    fn refusals(&self) -> Vec<(String, String)> {
        let targets = self.targets.iter();
        let refused =
            targets.filter_map(|(t, state)| Some((t.to_string(), state.refusal()?.to_owned())));
        refused.take(REFUSALS_MAX).collect()
    }

    /// The line carries traffic: how well?
    fn judge_quality(&self, deciding: &[&TargetState], passing: usize) -> (Health, Reason) {
        let spec = self.spec;
        let total = deciding.len();
        let good = (Health::Up, Reason::TargetsAnswer { passing, total });
        if self.was_silent {
            return good;
        }
        let counting = deciding.iter().copied();
        let counting: Vec<_> = counting
            .filter(|t| t.verdict() == TargetVerdict::Pass)
            .collect();
        match Quality::of(&counting, spec).worse_than(spec, self.before) {
            None => good,
            Some(_) if self.is_full => (Health::Up, Reason::Full),
            Some(found) => found,
        }
    }
}

/// How well a line carries traffic, over its window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quality {
    /// Lost answers, where there are enough results to say.
    pub(crate) loss: Option<Permille>,
    /// The median round-trip time of the nearest target, where it matters.
    pub(crate) rtt: Option<Duration>,
}

impl Quality {
    /// Of the targets of a line that pass.
    fn of(targets: &[&TargetState], spec: &ProbeSpec) -> Self {
        let (asked, lost) = results(targets, spec.fall as usize);
        let is_enough = asked >= RESULTS_LEAST;
        // Sorting them for each answer is not worth it where nobody asks.
        let has_limit = spec.rtt != Limits::default();
        let counting = targets.iter().filter(|_| is_enough && has_limit);
        let medians = counting.filter_map(|t| {
            let rtts: Vec<_> = t.window.judged_rtts().collect();
            quantile(rtts, 50)
        });
        let permille = match lost {
            lost if lost < LOSSES_LEAST => 0,
            lost => lost * 1000 / asked.max(1),
        };
        Self {
            loss: is_enough.then(|| Permille(u16::try_from(permille).unwrap_or(1000))),
            rtt: medians.min(),
        }
    }

    /// The worst limit that is exceeded, and by what. A line that is as bad already has to be twice as
    /// good before it is better.
    fn worse_than(&self, spec: &ProbeSpec, before: Health) -> Option<(Health, Reason)> {
        let over = spec.window;
        for (health, loss_limit, rtt_limit) in [
            (Health::Down, spec.loss.fail, spec.rtt.fail),
            (Health::Degraded, spec.loss.degraded, spec.rtt.degraded),
        ] {
            let is_so_already = before == health;
            if let Some((loss, limit)) = self.loss.zip(loss_limit)
                && (loss >= limit || is_so_already && loss.0 * 2 >= limit.0)
                && loss.0 > 0
            {
                return Some((health, Reason::Lossy { loss, limit, over }));
            }
            if let Some((rtt, limit)) = self.rtt.zip(rtt_limit)
                && (rtt >= limit || is_so_already && rtt * 5 >= limit * 4)
            {
                return Some((health, Reason::Slow { rtt, limit, over }));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::event::ProbeId;

    fn spec(quorum: usize) -> ProbeSpec {
        ProbeSpec {
            quorum,
            ..ProbeSpec::default()
        }
    }

    fn host(n: u8) -> Target {
        Target::Icmp(IpAddr::from([198, 18, 0, n]))
    }

    fn state(verdict: TargetVerdict) -> TargetState {
        let mut state = TargetState::default();
        match verdict {
            TargetVerdict::Unknown => {}
            TargetVerdict::Pass => answer(&mut state, 1, 1),
            TargetVerdict::Fail => miss(&mut state, 3),
        }
        state
    }

    const PROBE: ProbeId = ProbeId(0);

    fn answer(state: &mut TargetState, count: u32, ms: u64) {
        let rtt = Duration::from_millis(ms);
        (0..count).for_each(|_| state.answered(PROBE, rtt, 1, &spec(1), Time::default()));
    }

    fn miss(state: &mut TargetState, count: u32) {
        let now = Time::default();
        for _ in 0..count {
            state.missed(PROBE, now, 3, &spec(1), now);
            state.gave_up(PROBE);
        }
    }

    fn health(quorum: usize, targets: &[(Target, TargetVerdict)], before: Health) -> Health {
        let asked = targets.iter().map(|(t, _)| t.clone()).collect();
        let spec = ProbeSpec {
            targets: asked,
            ..spec(quorum)
        };
        let states: Vec<_> = targets.iter().map(|(t, v)| (t, state(*v))).collect();
        judge(&Evidence {
            spec: &spec,
            targets: &states.iter().map(|(t, s)| (*t, s)).collect::<Vec<_>>(),
            before,
            was_silent: false,
            is_moving: true,
            is_alive: false,
            is_full: false,
            now: Time(Duration::from_secs(1)),
        })
        .0
    }

    use TargetVerdict::{Fail, Pass, Unknown};

    #[test]
    fn the_gateway_alone_does_not_prove_the_internet() {
        assert_eq!(
            health(1, &[(Target::Gateway, Pass), (host(1), Fail)], Health::Up),
            Health::Down
        );
    }

    #[test]
    fn a_gateway_that_never_answers_does_not_condemn_the_line() {
        assert_eq!(
            health(1, &[(Target::Gateway, Fail), (host(1), Pass)], Health::Up),
            Health::Up
        );
    }

    #[test]
    fn where_it_is_the_only_target_the_gateway_decides() {
        assert_eq!(
            health(1, &[(Target::Gateway, Fail)], Health::Up),
            Health::Down
        );
        assert_eq!(
            health(1, &[(Target::Gateway, Pass)], Health::Down),
            Health::Up
        );
    }

    #[test]
    fn the_gateway_by_any_way_of_asking_is_no_more_than_the_gateway() {
        let both = [(Target::Gateway, Fail), (Target::Neighbour, Pass)];
        assert_eq!(health(1, &both, Health::Down), Health::Up);
        let beside = [(Target::Neighbour, Pass), (host(1), Fail)];
        assert_eq!(health(1, &beside, Health::Up), Health::Down);
    }

    #[test]
    fn what_was_wrong_with_an_answer_is_in_the_reason() {
        let (mut gateway, mut refusing) = (TargetState::default(), TargetState::default());
        miss(&mut gateway, 3);
        miss(&mut refusing, 3);
        refusing.refused(PROBE, "HTTP status 503".to_owned());
        let neighbour = state(Pass);
        let targets = [
            (&Target::Gateway, &gateway),
            (&Target::Neighbour, &neighbour),
            (&host(1), &refusing),
        ];
        let spec = ProbeSpec {
            targets: targets.map(|(t, _)| t.clone()).to_vec(),
            ..spec(1)
        };
        let found = judge(&Evidence {
            spec: &spec,
            targets: &targets,
            before: Health::Up,
            was_silent: false,
            is_moving: true,
            is_alive: false,
            is_full: false,
            now: Time(Duration::from_secs(1)),
        });
        let expected = "0 of 1 targets answer, 1 needed; the gateway answers, so the fault lies \
                        beyond it; icmp:198.18.0.1: HTTP status 503";
        assert_eq!(
            (found.0, found.1.to_string().as_str()),
            (Health::Down, expected)
        );
        answer(&mut refusing, 1, 1);
        assert_eq!(refusing.refusal(), None);
    }

    #[test]
    fn the_quorum_counts_answers_not_silence() {
        assert_eq!(
            health(
                2,
                &[(host(1), Pass), (host(2), Fail), (host(3), Pass)],
                Health::Down
            ),
            Health::Up
        );
        assert_eq!(
            health(
                2,
                &[(host(1), Pass), (host(2), Fail), (host(3), Fail)],
                Health::Up
            ),
            Health::Down
        );
    }

    #[test]
    fn doubt_keeps_what_is() {
        for before in [Health::Unknown, Health::Up, Health::Down] {
            assert_eq!(
                health(1, &[(host(1), Unknown), (host(2), Fail)], before),
                before
            );
        }
    }

    #[test]
    fn without_targets_the_link_decides() {
        assert_eq!(health(1, &[], Health::Unknown), Health::Up);
    }

    /// Two hosts with these results each: so many answers of so many milliseconds, misses among them.
    fn judged(
        spec: &ProbeSpec,
        before: Health,
        (answers, misses, ms): (u32, u32, u64),
        change: impl Fn(&mut Evidence<'_>),
    ) -> (Health, Reason) {
        let mut state = TargetState::default();
        for _ in 0..misses {
            miss(&mut state, 1);
            answer(&mut state, 1, ms);
        }
        answer(&mut state, answers.saturating_sub(misses), ms);
        let targets = [(&host(1), &state), (&host(2), &state)];
        let mut evidence = Evidence {
            spec,
            targets: &targets,
            before,
            was_silent: false,
            is_moving: true,
            is_alive: false,
            is_full: false,
            now: Time::default(),
        };
        change(&mut evidence);
        judge(&evidence)
    }

    #[test]
    fn loss_degrades_and_a_degraded_line_has_to_be_twice_as_good() {
        let limits = ProbeSpec {
            loss: Limits {
                degraded: Some(Permille(100)),
                fail: Some(Permille(600)),
            },
            ..spec(1)
        };
        let of = |answers, misses, before| judged(&limits, before, (answers, misses, 1), |_| {}).0;
        assert_eq!(of(91, 9, Health::Up), Health::Up);
        assert_eq!(of(90, 10, Health::Up), Health::Degraded);
        assert_eq!(of(94, 6, Health::Degraded), Health::Degraded);
        assert_eq!(of(96, 4, Health::Degraded), Health::Up);
        assert_eq!(of(50, 50, Health::Up), Health::Degraded);
        // Too few results to say: three of eight.
        assert_eq!(of(3, 1, Health::Up), Health::Up);
    }

    #[test]
    fn round_trip_times_are_judged_by_the_nearest_target() {
        let limits = ProbeSpec {
            rtt: Limits {
                degraded: Some(Duration::from_millis(300)),
                fail: Some(Duration::from_millis(900)),
            },
            ..spec(1)
        };
        let of = |ms| judged(&limits, Health::Up, (20, 0, ms), |_| {}).0;
        assert_eq!(of(299), Health::Up);
        assert_eq!(of(300), Health::Degraded);
        assert_eq!(of(900), Health::Down);
    }

    #[test]
    fn a_full_line_is_not_degraded() {
        let of = |is_full| {
            let change = |e: &mut Evidence<'_>| e.is_full = is_full;
            judged(&spec(1), Health::Up, (70, 30, 1), change)
        };
        assert_eq!(of(false).0, Health::Degraded);
        assert_eq!(of(true), (Health::Up, Reason::Full));
    }

    #[test]
    fn the_more_a_line_loses_the_more_misses_it_takes() {
        let needed = |answers: u32, misses: u32| {
            let mut state = TargetState::default();
            for _ in 0..misses {
                miss(&mut state, 1);
                answer(&mut state, 1, 1);
            }
            answer(&mut state, answers.saturating_sub(misses), 1);
            let targets = [(&host(1), &state), (&host(2), &state)];
            misses_needed(&spec(1), &targets)
        };
        assert_eq!(needed(100, 0), 3);
        assert_eq!(needed(99, 1), 3);
        // A chance of 0.3 to the fourteenth: seven each.
        assert_eq!(needed(70, 30), 7);
        assert_eq!(needed(50, 50), MISSES_MAX);
        assert_eq!(needed(10, 90), MISSES_MAX);
    }

    #[test]
    fn the_silence_itself_is_no_loss_that_asks_for_more_misses() {
        let mut state = TargetState::default();
        answer(&mut state, 20, 1);
        miss(&mut state, 10);
        let targets = [(&host(1), &state), (&host(2), &state)];
        assert_eq!(misses_needed(&spec(1), &targets), 3);
        // The near miss: an answer among them, and it is a lossy line.
        answer(&mut state, 1, 1);
        let targets = [(&host(1), &state), (&host(2), &state)];
        assert!(misses_needed(&spec(1), &targets) > 3);
    }

    #[test]
    fn silence_while_packets_come_in_has_to_last() {
        let mut state = TargetState::default();
        answer(&mut state, 20, 1);
        miss(&mut state, 3);
        let targets = [(&host(1), &state)];
        let after = |seconds, is_alive| {
            judge(&Evidence {
                spec: &spec(1),
                targets: &targets,
                before: Health::Up,
                was_silent: false,
                is_moving: true,
                is_alive,
                is_full: false,
                now: Time(Duration::from_secs(seconds)),
            })
            .0
        };
        assert_eq!(after(1, false), Health::Down);
        assert_eq!(after(9, true), Health::Up);
        assert_eq!(after(10, true), Health::Down);
    }
}

//! Was it right to leave, and what was missed? Answered from the whole history, also from what came
//! after.

use std::time::Duration;

use serde::Serialize;
use uplinkd_model::{Config, Family, Limits, Permille, UplinkName};

use super::{
    hindsight::Spell,
    player::{Played, PlayedLine},
    report::{LineReport, Replayed, States, Switch},
    survey::{LineId, Survey, is_gateway},
    trace::{Seen, Trace, TraceError},
};

/// A death that is shorter is not missed where nobody left for it.
const MISSED_LEAST: Duration = Duration::from_secs(5);
/// Results that are held for one claim at most.
const RESULTS_MAX: usize = 10_000;
/// Claims that are open at one moment at most; more are taken for needless. They stand for bad lines
/// that are left again and again within one window.
const OPEN_MAX: usize = 1000;

/// What hindsight says of a line that left service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Judged {
    pub(crate) uplink: String,
    pub(crate) verdict: Verdict,
    /// How long it had been dead by then, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dead_for: Option<f64>,
}

/// What hindsight says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// It was dead.
    Dead,
    /// It worked, and lost or delayed as much as the file does not allow, before and after.
    Bad,
    /// It worked.
    Needless,
}

/// A line that was left although it was not dead: was it as bad as that?
struct Claim {
    replay: usize,
    switch: usize,
    uplink: String,
    family: Family,
    from: Duration,
    to: Duration,
    loss: Option<Permille>,
    rtt: Option<Duration>,
    results: Vec<Option<Duration>>,
}

/// Judges what was played.
pub(crate) fn judge(
    trace: &Trace,
    survey: &Survey,
    mut played: Vec<(String, Played)>,
) -> Result<Vec<Replayed>, TraceError> {
    let mut claims = Vec::new();
    for (replay, (_, played)) in played.iter_mut().enumerate() {
        for (number, switch) in played.switches.iter_mut().enumerate() {
            for uplink in switch.left.clone() {
                let id = (uplink.clone(), switch.family);
                let spell = survey.lines.get(&id).and_then(|l| l.spell_at(switch.time));
                let judged = Judged {
                    uplink,
                    verdict: spell.map_or(Verdict::Needless, |_| Verdict::Dead),
                    dead_for: spell.map(|s| (switch.time - s.start).as_secs_f64()),
                };
                if spell.is_none() {
                    claims.extend(claim(&played.config, replay, number, switch, &id.0));
                }
                switch.judged.push(judged);
            }
        }
    }
    for (replay, switch, uplink) in proven(trace, claims)? {
        let switch = &mut played[replay].1.switches[switch];
        for judged in switch.judged.iter_mut().filter(|j| j.uplink == uplink) {
            judged.verdict = Verdict::Bad;
        }
    }
    let replays = played.into_iter();
    Ok(replays
        .map(|(name, played)| replayed(name, played, survey))
        .collect())
}

/// What would have to be true for a living line to be left rightly; none where the file has no limits.
fn claim(
    config: &Config,
    replay: usize,
    number: usize,
    switch: &Switch,
    uplink: &str,
) -> Option<Claim> {
    let name = UplinkName::new(uplink).ok()?;
    let spec = &config.uplink(&name)?.access(switch.family)?.probe;
    let least = |of: Limits<Permille>| of.degraded.into_iter().chain(of.fail).min();
    let loss = least(spec.loss);
    let rtt = spec.rtt.degraded.into_iter().chain(spec.rtt.fail).min();
    (loss.is_some() || rtt.is_some()).then(|| Claim {
        replay,
        switch: number,
        uplink: uplink.to_owned(),
        family: switch.family,
        from: switch.time.saturating_sub(spec.window / 2),
        to: switch.time + spec.window / 2,
        loss,
        rtt,
        results: Vec::new(),
    })
}

/// Which of these lines were as bad as that, by what the trace says half a window before and after.
fn proven(
    trace: &Trace,
    mut claims: Vec<Claim>,
) -> Result<Vec<(usize, usize, String)>, TraceError> {
    let mut proven = Vec::new();
    if claims.is_empty() {
        return Ok(proven);
    }
    // The next one to begin is the last.
    claims.sort_by_key(|c| std::cmp::Reverse(c.from));
    let mut open: Vec<Claim> = Vec::new();
    let mut reader = trace.read("judging");
    while let Some(line) = reader.next()? {
        while claims.last().is_some_and(|c| c.from <= line.time) {
            let next = claims.pop();
            open.extend(next.filter(|_| open.len() < OPEN_MAX));
        }
        if open.is_empty() {
            if claims.is_empty() {
                break;
            }
            continue;
        }
        open.retain(|claim| {
            let is_over = line.time > claim.to + super::trace::BACK_MAX;
            if is_over && claim.holds() {
                proven.push((claim.replay, claim.switch, claim.uplink.clone()));
            }
            !is_over
        });
        if let Seen::Sample { target, rtt } = line.seen
            && !is_gateway(target)
        {
            for claim in &mut open {
                let is_within = (claim.from..=claim.to).contains(&line.time);
                let is_own = claim.uplink == line.uplink && claim.family == line.family;
                if is_within && is_own && claim.results.len() < RESULTS_MAX {
                    claim.results.push(rtt);
                }
            }
        }
    }
    let left = open.iter().filter(|c| c.holds());
    proven.extend(left.map(|c| (c.replay, c.switch, c.uplink.clone())));
    Ok(proven)
}

impl Claim {
    fn holds(&self) -> bool {
        let mut rtts: Vec<_> = self.results.iter().flatten().copied().collect();
        let all = self.results.len().max(1);
        let lost = self.results.len() - rtts.len();
        let is_lossy = self
            .loss
            .is_some_and(|limit| lost * 1000 >= usize::from(limit.0) * all);
        rtts.sort_unstable();
        let median = rtts.get(rtts.len() / 2);
        let is_slow = median
            .zip(self.rtt)
            .is_some_and(|(median, limit)| *median >= limit);
        lost > 0 && is_lossy || is_slow
    }
}

fn replayed(name: String, played: Played, survey: &Survey) -> Replayed {
    let lines = played.lines.iter();
    let lines = lines.map(|(id, line)| line_report(id, line, &played, survey));
    Replayed {
        config: name,
        lines: lines.collect(),
        more_switches: played.unkept,
        switches: played.switches,
    }
}

fn line_report(id: &LineId, line: &PlayedLine, played: &Played, survey: &Survey) -> LineReport {
    let mut left: Vec<(Duration, Verdict)> = Vec::new();
    for switch in played.switches.iter().filter(|s| s.family == id.1) {
        let own = switch.judged.iter().find(|j| j.uplink == id.0);
        // Several groups that are left at one moment are one failover.
        if let Some(own) = own
            && left.last().is_none_or(|(at, _)| *at != switch.time)
        {
            left.push((switch.time, own.verdict));
        }
    }
    let (mut missed, mut outage, mut longest) = (0, Duration::ZERO, Duration::ZERO);
    let spells = survey.lines.get(id).map_or(&[][..], |l| &l.spells);
    for spell in spells.iter().filter(|s| has_other(id, s, played, survey)) {
        let parts = line.service.iter().map(|(from, to)| {
            let (from, to) = (spell.start.max(*from), spell.end.min(*to));
            to.saturating_sub(from)
        });
        let served: Duration = parts.sum();
        outage += served;
        longest = longest.max(served);
        let is_whole = served >= spell.length();
        missed += usize::from(is_whole && spell.length() >= MISSED_LEAST);
    }
    let [unknown, up, degraded, down] = line.states;
    LineReport {
        uplink: id.0.clone(),
        family: id.1,
        seconds: States {
            unknown,
            up,
            degraded,
            down,
        },
        failovers: left.len(),
        needless: left.iter().filter(|(_, v)| *v == Verdict::Needless).count(),
        missed,
        outage,
        outage_longest: longest,
        changes: line.changes.clone(),
    }
}

/// Whether another line of the family worked while this one was dead.
fn has_other(id: &LineId, spell: &Spell, played: &Played, survey: &Survey) -> bool {
    let others = played.lines.keys().filter(|o| o.1 == id.1 && *o != id);
    let mut others = others.filter_map(|o| survey.lines.get(o));
    others.any(|other| {
        let mut spells = other.spells.iter();
        !spells.any(|s| s.start < spell.end && spell.start < s.end)
    })
}

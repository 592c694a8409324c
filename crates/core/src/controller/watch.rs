//! Watching the lines: asking at two speeds, taking answers and signs, and settling each line's health.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use uplinkd_model::{
    Counters, Family, Health, NeighbourState, ProbeSpec, Reason, Sign, Target, TcpCounters,
    UplinkName, notice::Notice,
};

use super::{Controller, line::LineState, line::access, serve::News};
use crate::{
    Time,
    event::{Action, Probe, ProbeId},
    facts::LinkState,
    health::{Evidence, judge, misses_needed},
    probe::{Due, Reply, TargetKey, TargetState, TargetVerdict, Timing},
};

/// Answers in a row of a target that end a burst, where `rise` is not more. A line that loses three of
/// ten packets would come to so many once in forty bursts.
const CLEAR: u32 = 10;
/// Time between two questions on a line whose budget is used up.
const SPARING: Duration = Duration::from_secs(30);
/// Time between two readings of the counters where something moves.
const COUNT_MOVING: Duration = Duration::from_millis(100);
/// The same where nothing does.
const COUNT_QUIET: Duration = Duration::from_millis(500);

impl Controller {
    /// Asks, and counts what was not answered. Only when the time itself is the news: an answer that
    /// is told now may have waited while the shell was busy, and others with it.
    pub(super) fn run_due(&mut self, now: Time) {
        while let Some(due) = self.schedule.next_due(now, |key| {
            let line = &self.lines[key.line];
            let spec = &access(&self.config, line).probe;
            let (target, pace) = (&spec.targets[key.target], spec.targets[key.target].pace());
            let interval = match line.burst.is_on() {
                true => spec.burst.min(spec.interval).max(pace.burst),
                false if line.is_spared => spec.interval.max(SPARING).max(pace.rest),
                false => spec.interval.max(pace.rest),
            };
            let timeout = target.limit(spec.timeout);
            Timing {
                interval,
                patience: line.targets[key.target].patience.limit(timeout),
                timeout,
                least: pace.is_alone.then_some(pace.burst),
            }
        }) {
            match due {
                Due::Missed(key, probe, asked) => self.count_missed(key, probe, asked, now),
                Due::GivenUp(key, probe) => {
                    self.lines[key.line].targets[key.target].fell_silent(probe);
                    self.rejudge(key.line, now);
                }
                Due::Ask(key, id) => self.ask_target(key, id, now),
            }
        }
        for index in 0..self.lines.len() {
            if self.lines[index].neighbour.is_silent(now) {
                self.suspect(index, Sign::GatewayMissed, now);
            }
            if self.lines[index].wake_at.is_some_and(|at| at <= now) {
                self.rejudge(index, now);
            }
        }
        self.count_if_due(now);
    }

    /// Asks all targets of an uplink that can be asked now. Those that are dear to ask may have been
    /// asked a moment ago, and are not asked again.
    pub(super) fn probe_now(&mut self, uplink: &UplinkName, now: Time) {
        for index in 0..self.lines.len() {
            if self.uplink_of(index).name != *uplink {
                continue;
            }
            for key in TargetKey::all(index, self.lines[index].targets.len()) {
                self.schedule.hasten(key, now);
            }
        }
        self.run_due(now);
    }

    fn ask_target(&mut self, key: TargetKey, id: ProbeId, now: Time) {
        let interval = self.access_of(key.line).probe.interval;
        self.lines[key.line].burst.heed_end(interval, now);
        let uplink = self.uplink_of(key.line);
        let Some(asking) = self.asking_of(key) else {
            self.schedule.stop(key);
            return;
        };
        let mark = self.config.reserve.mark_in(uplink.slot).value;
        let (device, name) = (uplink.interface.clone(), uplink.name.clone());
        self.actions.push_back(Action::Probe(Probe {
            id,
            uplink: name,
            device,
            mark,
            asking,
        }));
    }

    /// Answers came, by the kernel's stamps after so long.
    ///
    /// Where one finds its line well and its target passing, it can wait for the judgement until the
    /// others are counted: there may be thousands a second, and a judgement looks at all targets.
    pub(super) fn take_replies(&mut self, replies: &[(ProbeId, Duration)], now: Time) {
        let mut put_off = None;
        for (probe, rtt) in replies {
            let Some(heard) = self.take_reply(*probe, *rtt, now) else {
                continue;
            };
            if let Some(line) = put_off.take_if(|line| *line != heard.line) {
                self.rejudge(line, now);
            }
            put_off = heard.is_as_usual.then_some(heard.line);
            if !heard.is_as_usual {
                self.rejudge(heard.line, now);
            }
        }
        if let Some(line) = put_off {
            self.rejudge(line, now);
        }
    }

    /// Counts an answer. None where it changes nothing, or was judged already.
    fn take_reply(&mut self, probe: ProbeId, rtt: Duration, now: Time) -> Option<Heard> {
        let reply = self.schedule.close(probe)?;
        let (Reply::InTime(key, _) | Reply::Late(key)) = reply;
        let line = &mut self.lines[key.line];
        let spec = &access(&self.config, line).probe;
        let limit = spec.targets[key.target].limit(spec.timeout);
        let rise = match line.judged {
            Health::Down => spec.rise,
            Health::Unknown | Health::Up | Health::Degraded => 1,
        };
        let target = &mut line.targets[key.target];
        let was_failing = target.verdict() != TargetVerdict::Pass;
        match reply {
            Reply::Late(_) if rtt <= limit => target.answered_late(probe, rtt, rise),
            Reply::InTime(..) if rtt <= limit => {
                target.answered(probe, rtt, rise, spec, now);
            }
            Reply::Late(_) => target.gave_up(probe),
            Reply::InTime(_, asked) => {
                self.count_missed(key, probe, asked, now);
                self.lines[key.line].targets[key.target].gave_up(probe);
                return None;
            }
        }
        if was_failing {
            self.begin_burst(key.line, now);
        }
        self.end_burst_if_clear(key.line, now);
        let line = &self.lines[key.line];
        Some(Heard {
            line: key.line,
            is_as_usual: !was_failing && line.judged == Health::Up && !line.burst.is_on(),
        })
    }

    /// An answer came that is no good. That is a miss at once, and its reason is kept for people.
    pub(super) fn take_refusal(&mut self, probe: ProbeId, why: String, now: Time) {
        let Some(reply) = self.schedule.close(probe) else {
            return;
        };
        let (Reply::InTime(key, _) | Reply::Late(key)) = reply;
        self.lines[key.line].targets[key.target].refused(probe, why);
        if let Reply::InTime(key, asked) = reply {
            self.count_missed(key, probe, asked, now);
        }
        self.lines[key.line].targets[key.target].gave_up(probe);
        if let Reply::Late(_) = reply {
            self.rejudge(key.line, now);
        }
    }

    /// A question could not be sent.
    pub(super) fn take_send_failure(&mut self, probe: ProbeId, now: Time) {
        if let Some(Reply::InTime(key, asked)) = self.schedule.close(probe) {
            self.count_missed(key, probe, asked, now);
            self.lines[key.line].targets[key.target].gave_up(probe);
        }
    }

    fn count_missed(&mut self, key: TargetKey, probe: ProbeId, asked: Time, now: Time) {
        let needed = self.misses_needed(key.line);
        let line = &mut self.lines[key.line];
        let spec = &access(&self.config, line).probe;
        let target = &mut line.targets[key.target];
        target.missed(probe, asked, needed, spec, now);
        let is_serious = target.misses() == spec.fall;
        if is_serious {
            line.burst.end_pause();
        }
        if is_serious || target.misses() == 1 {
            self.begin_burst(key.line, now);
            self.ask_elsewhere(key, now);
        }
        self.end_burst_if_clear(key.line, now);
        self.rejudge(key.line, now);
    }

    fn misses_needed(&self, line: usize) -> u32 {
        misses_needed(&self.access_of(line).probe, &self.asked_targets(line))
    }

    /// Something in the traffic of a line looks wrong.
    fn suspect(&mut self, line: usize, sign: Sign, now: Time) {
        if self.begin_burst(line, now) {
            let (uplink, family) = (self.uplink_of(line).name.clone(), self.lines[line].family);
            self.notify(Notice::Sign {
                uplink,
                family,
                sign,
            });
        }
    }

    /// Asks all targets of a line now, and often from now on. Says whether that is new.
    fn begin_burst(&mut self, line: usize, now: Time) -> bool {
        let is_new = self.lines[line].burst.begin(now);
        if is_new {
            for key in TargetKey::all(line, self.lines[line].targets.len()) {
                self.lines[line].targets[key.target].begin_burst();
                self.schedule.hasten(key, now);
            }
        }
        is_new
    }

    /// Asks a target that has fallen silent on the other lines as well: where it is silent there too, it
    /// is the one at fault.
    fn ask_elsewhere(&mut self, key: TargetKey, now: Time) {
        let target = self.access_of(key.line).probe.targets[key.target].clone();
        if target.is_local() {
            return;
        }
        let family = self.lines[key.line].family;
        for line in 0..self.lines.len() {
            if line == key.line || self.lines[line].family != family {
                continue;
            }
            for other in TargetKey::all(line, self.lines[line].targets.len()) {
                if self.access_of(line).probe.targets[other.target] == target {
                    self.schedule.hasten(other, now);
                }
            }
        }
    }

    /// Ends a burst once every target has made itself clear.
    fn end_burst_if_clear(&mut self, index: usize, now: Time) {
        if !self.lines[index].burst.is_on() {
            return;
        }
        let silent = self.misses_needed(index).saturating_mul(2);
        let line = &mut self.lines[index];
        let spec = &access(&self.config, line).probe;
        let (clear, count) = (spec.rise.max(CLEAR), line.targets.len());
        let mut asked: Vec<_> = TargetKey::all(index, count).collect();
        asked.retain(|key| self.schedule.is_running(*key));
        let is_clear = |key: &TargetKey| {
            let state = &line.targets[key.target];
            // What may be asked seldom only shall not hold up the burst of the others.
            let clear = match spec.targets[key.target].pace().is_alone {
                true => spec.rise,
                false => clear,
            };
            state.answers_in_burst() >= clear || state.misses() >= silent
        };
        if !asked.iter().all(is_clear) {
            return;
        }
        line.burst.end();
        if line.judged == Health::Up {
            line.traffic.was_false_alarm();
            line.segments.was_false_alarm(now);
        } else {
            line.segments.was_right();
        }
        let first = now + spec.interval / u32::try_from(count).unwrap_or(u32::MAX).max(1);
        for key in asked {
            let next = key.turn(first, spec.interval, count);
            self.schedule.start(key, next);
        }
    }

    /// The targets of a line that have an address at the moment, with what is known of them.
    pub(super) fn asked_targets(&self, index: usize) -> Vec<(&Target, &TargetState)> {
        let (spec, state) = (&self.access_of(index).probe, &self.lines[index]);
        // All at once: what is asked for with every judgement shall not grow step by step.
        let mut asked = Vec::with_capacity(spec.targets.len());
        let keys = TargetKey::all(index, spec.targets.len());
        let keys = keys.filter(|key| self.can_ask(*key));
        asked.extend(keys.map(|key| (&spec.targets[key.target], &state.targets[key.target])));
        asked
    }

    /// Targets that are silent on every line that asks them, at least two, while another target
    /// answers on one of these: they are at fault themselves.
    pub(super) fn targets_at_fault(&self, family: Family) -> Vec<Target> {
        self.targets_missing(family, |t, spec| t.misses() >= spec.fall)
    }

    /// Targets that may be at fault: they do not answer anywhere, and it is not clear yet what the
    /// other lines say.
    fn targets_in_doubt(&self, family: Family) -> Vec<Target> {
        self.targets_missing(family, |t, _| t.answers() == 0)
    }

    fn targets_missing(
        &self,
        family: Family,
        is_missing: impl Fn(&TargetState, &ProbeSpec) -> bool,
    ) -> Vec<Target> {
        let lines = self.lines.iter().enumerate();
        let lines: Vec<_> = lines
            .filter(|(_, l)| l.family == family && l.link.usable().is_some())
            .map(|(index, _)| (index, self.asked_targets(index)))
            .collect();
        let mut silent: BTreeMap<&Target, (usize, usize, bool)> = BTreeMap::new();
        for (index, targets) in &lines {
            let spec = &self.access_of(*index).probe;
            let answers = |t: &TargetState| t.verdict() == TargetVerdict::Pass && !t.missed_last();
            for (target, state) in targets.iter().filter(|(t, _)| !t.is_local()) {
                let others = targets.iter().filter(|(t, _)| t != target);
                let mut others = others.filter(|(t, _)| !t.is_local());
                let (asked, missing, is_contrasted) = silent.entry(target).or_default();
                *asked += 1;
                *missing += usize::from(is_missing(state, spec));
                *is_contrasted |= others.any(|(_, other)| answers(other));
            }
        }
        let at_fault = silent
            .into_iter()
            .filter(|(_, (asked, missing, is_contrasted))| {
                *asked > 1 && asked == missing && *is_contrasted
            });
        at_fault.map(|(target, _)| target.clone()).collect()
    }

    /// Asks for the counters of the lines that are watched, when it is time.
    fn count_if_due(&mut self, now: Time) {
        if self.count_at.is_none_or(|at| at > now) {
            return;
        }
        let watched = self.lines.iter().filter(|l| is_counted(l));
        let mut indexes: Vec<_> = watched
            .filter_map(|l| Some(l.link.usable()?.device.index))
            .collect();
        indexes.sort_unstable();
        indexes.dedup();
        if indexes.is_empty() {
            self.count_at = None;
            return;
        }
        let is_moving = self
            .lines
            .iter()
            .filter(|l| is_counted(l))
            .any(|l| l.traffic.is_moving() || l.burst.is_on() || l.segments.is_stalling(now));
        let wait = if is_moving { COUNT_MOVING } else { COUNT_QUIET };
        self.count_at = Some(now + wait);
        self.actions.push_back(Action::Count(indexes));
        self.count_tcp();
    }

    /// Asks what TCP connections do, of the lines that the file wants it of. The last time is when
    /// there is none any more, so that nobody goes on counting.
    fn count_tcp(&mut self) {
        let lines = self.lines.iter();
        let wanted = lines.filter(|l| is_counted(l) && access(&self.config, l).probe.tcp_sign);
        let mut indexes: Vec<_> = wanted
            .filter_map(|l| Some(l.link.usable()?.device.index))
            .collect();
        indexes.sort_unstable();
        indexes.dedup();
        for line in &mut self.lines {
            if !access(&self.config, line).probe.tcp_sign {
                // What was seen before is not to be shown, nor compared with what is seen later.
                line.segments.start_anew();
            }
        }
        let is_wanted = !indexes.is_empty();
        if std::mem::replace(&mut self.watches_tcp, is_wanted) || is_wanted {
            self.actions.push_back(Action::CountTcp(indexes));
        }
    }

    /// Begins to read counters, where there is a line to be watched.
    pub(super) fn start_counting(&mut self, now: Time) {
        if self.count_at.is_none() && self.lines.iter().any(is_counted) {
            self.count_at = Some(now);
        }
    }

    /// What interfaces have counted.
    pub(super) fn take_counters(&mut self, counters: &BTreeMap<u32, Counters>, now: Time) {
        self.count_bytes(counters, now);
        for index in 0..self.lines.len() {
            let line = &mut self.lines[index];
            let device = line.link.usable().map(|u| u.device.index);
            let Some(counters) = device.and_then(|d| counters.get(&d)) else {
                continue;
            };
            if line.traffic.take(*counters, now) {
                self.suspect(index, Sign::TooFewComeIn, now);
            }
        }
    }

    /// What was seen of TCP connections.
    pub(super) fn take_tcp(&mut self, counters: &BTreeMap<(u32, Family), TcpCounters>, now: Time) {
        for index in 0..self.lines.len() {
            let line = &mut self.lines[index];
            if !access(&self.config, line).probe.tcp_sign {
                continue;
            }
            let device = line.link.usable().map(|u| u.device.index);
            let counters = device.and_then(|d| counters.get(&(d, line.family)));
            if let Some(counters) = counters
                && let Some(sign) = line.segments.take(*counters, now)
            {
                self.suspect(index, sign, now);
            }
        }
    }

    /// What the kernel says of a neighbour: a sign, where it is a line's gateway.
    pub(super) fn take_neighbour(
        &mut self,
        index: u32,
        address: IpAddr,
        state: NeighbourState,
        now: Time,
    ) {
        for line in 0..self.lines.len() {
            let usable = self.lines[line].link.usable();
            let is_its =
                usable.is_some_and(|u| u.device.index == index && u.gateway == Some(address));
            if is_its && self.lines[line].neighbour.take(state, now) {
                self.suspect(line, Sign::GatewayMissed, now);
            }
        }
    }

    /// Judges a line again. Who serves is decided again only where that could make a difference: there
    /// may be thousands of answers a second.
    fn rejudge(&mut self, index: usize, now: Time) {
        let family = self.lines[index].family;
        let new = self.judge_line(index, now);
        if new.is_some() || self.serves_in_doubt(family) {
            let mut news = News::default();
            *news.of_mut(family) = new;
            // What is learned of a target here concerns those that are kept in doubt because of it: they
            // are heard before anybody is taken out.
            for other in 0..self.lines.len() {
                if other != index && self.is_in_doubt(other, family) {
                    let also = self.judge_line(other, now);
                    let news = news.of_mut(family);
                    *news = news.take().or(also);
                }
            }
            self.reselect(news, now);
        }
    }

    /// What the link and the targets of a line say at the moment; none before the first look.
    fn found_at(&self, index: usize, now: Time) -> Option<(Health, Reason)> {
        let state = &self.lines[index];
        match &state.link {
            LinkState::Absent | LinkState::Unusable(Reason::JustStarted) => None,
            LinkState::Unusable(reason) => Some((Health::Down, reason.clone())),
            LinkState::Usable(_) => Some(self.answers_say(index, now)),
        }
    }

    /// What the targets of a line with a usable link say.
    fn answers_say(&self, index: usize, now: Time) -> (Health, Reason) {
        let state = &self.lines[index];
        let spec = &self.access_of(index).probe;
        let mut targets = self.asked_targets(index);
        // Looked for only where it could make a difference.
        if targets.iter().any(|(_, t)| t.misses() >= spec.fall) {
            let at_fault = self.targets_at_fault(state.family);
            targets.retain(|(t, _)| !at_fault.contains(*t));
        }
        let is_queueing = targets.iter().any(|(_, t)| t.patience.is_queueing());
        let is_full = state
            .traffic
            .is_full(self.uplink_of(index).rates, is_queueing);
        // What comes in may be of the other family, where that one works.
        let is_own = is_full || !self.other_family_answers(index);
        let evidence = Evidence {
            spec,
            targets: &targets,
            before: state.judged,
            was_silent: state.was_silent,
            is_alive: is_own && state.traffic.is_alive(now),
            is_moving: state.traffic.is_moving(),
            is_full,
            now,
        };
        let found = judge(&evidence);
        if found.0 != Health::Down || state.judged == Health::Down {
            return found;
        }
        // Before it is taken out on the word of targets that may be at fault themselves, the
        // other lines have to be heard, which are asked at this moment.
        let in_doubt = self.targets_in_doubt(state.family);
        let mut sure = targets.clone();
        sure.retain(|(t, _)| !in_doubt.contains(*t));
        if sure.len() == targets.len() {
            return found;
        }
        let without_doubt = judge(&Evidence {
            targets: &sure,
            ..evidence
        });
        match without_doubt.0 {
            Health::Down => found,
            Health::Unknown | Health::Up | Health::Degraded => (state.judged, Reason::TargetsDown),
        }
    }

    fn other_family_answers(&self, index: usize) -> bool {
        let (own, lines) = (&self.lines[index], self.lines.iter());
        let mut other = lines.filter(|l| l.uplink == own.uplink && l.family != own.family);
        other.any(|l| l.targets.iter().any(|t| t.answers() > 0))
    }

    /// Settles the health of one line from its link and its targets. Says what is new, if anything.
    pub(super) fn judge_line(&mut self, index: usize, now: Time) -> Option<String> {
        let (verdict, reason) = self.found_at(index, now)?;
        let name = self.uplink_of(index).name.clone();
        let state = &mut self.lines[index];
        let spec = &access(&self.config, state).probe;
        state.judged = verdict;
        let was_silent = std::mem::replace(
            &mut state.was_silent,
            verdict == Health::Down
                && !matches!(reason, Reason::Lossy { .. } | Reason::Slow { .. }),
        );
        if was_silent && !state.was_silent {
            // What was lost while it was dead says nothing of how it is now.
            state.targets.iter_mut().for_each(|t| t.start_anew(now));
        }
        let (health, reason) = state.settle(verdict, reason, spec, now);
        let family = state.family;
        let from = std::mem::replace(&mut state.health, health);
        state.reason = reason.clone();
        let for_groups = self.judge_for_groups(index, now);
        let state = &mut self.lines[index];
        let is_held = matches!(reason, Reason::Held { .. });
        let is_news = is_held && !state.is_held_told;
        state.is_held_told |= is_held;
        if from == health && !is_news {
            return for_groups;
        }
        if from != health {
            state.since = now;
            state.is_held_told = false;
        }
        let news = format!("uplink {name} ({family}) is {health}: {reason}");
        self.notify(Notice::Health {
            uplink: name,
            family,
            from,
            to: health,
            reason,
        });
        Some(news)
    }

    /// Judges a line by the limits of the groups that it is in. Says what is new, if anything.
    fn judge_for_groups(&mut self, index: usize, now: Time) -> Option<String> {
        // There may be thousands of answers a second, and hardly a group asks.
        if self.lines[index].limits.is_empty() {
            return None;
        }
        let mut limits = std::mem::take(&mut self.lines[index].limits);
        let spec = &self.access_of(index).probe;
        let mut deciding = self.asked_targets(index);
        deciding.retain(|(target, _)| spec.decides(target));
        let deciding: Vec<_> = deciding.into_iter().map(|(_, state)| state).collect();
        let news = limits.judge(&deciding, spec, now);
        self.lines[index].limits = limits;
        let (limit, reason) = news?;
        let groups = self.config.groups.iter();
        let groups = groups.filter(|g| g.conduct.yield_at == Some(limit));
        let groups: Vec<_> = groups.map(|g| g.name.as_str()).collect();
        let (name, groups) = (&self.uplink_of(index).name, groups.join(", "));
        let family = self.lines[index].family;
        Some(match reason {
            Some(reason) => format!("uplink {name} ({family}) yields in {groups}: {reason}"),
            None => format!("uplink {name} ({family}) is good enough for {groups} again"),
        })
    }

    /// When a line has to be judged again though nothing happens, or counters be read.
    pub(super) fn watch_deadline(&self) -> Option<Time> {
        let wakes = self.lines.iter();
        let wakes = wakes.flat_map(|l| l.wake_at.into_iter().chain(l.neighbour.deadline()));
        wakes.chain(self.count_at).min()
    }
}

/// An answer that was counted.
struct Heard {
    line: usize,
    /// On a line that is well, of a target that was before.
    is_as_usual: bool,
}

/// Whether the counters of a line's interface are of use.
fn is_counted(line: &LineState) -> bool {
    line.link.usable().is_some() && (line.is_counted || !line.targets.is_empty())
}

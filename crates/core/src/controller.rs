//! The one owner of all state: takes facts, settles health, selects, and hands out intentions.
//!
//! ```text
//! event ─> facts, probes ─> health ─> service ─┬─> urgent plan (two kinds of step, at once)
//!                                              └─> observe ─> desired ─> diff ─> plan ─> observe …
//! ```
//! An uplink that leaves service while another stays is taken out at once by an urgent plan, whose
//! length does not depend on the number of groups. Everything else is settled by comparing the whole
//! desired state with a fresh look, until a look shows no difference.

mod reload;
mod settle;
#[cfg(test)]
mod tests;
mod view;

use std::{
    collections::{BTreeSet, VecDeque},
    net::IpAddr,
};

use uplinkd_model::{
    Config, Health, Mark, Observed, Plan, Reason, Reserve, Step, Target, Uplink, UplinkName,
    notice::Notice,
};

use crate::{
    FAMILY, Time,
    event::{Action, Event, HintKind, Probe},
    facts::{LinkState, link_state},
    health::judge,
    probe::{Due, Schedule, TargetKey, TargetState},
    select::{Candidate, Service, service, shares},
};
use settle::Settle;

/// Decides. One for each network namespace; give it every fact and carry out every action in order.
#[derive(Debug)]
pub struct Controller {
    config: Config,
    /// The reserves whose objects are ours: the current one, then those of earlier configurations.
    claims: Vec<Reserve>,
    uplinks: Vec<UplinkState>,
    schedule: Schedule,
    observed: Option<Observed>,
    service: Service,
    /// Marks of uplinks that the file no longer has, whose connections must be released.
    departed: Vec<Mark>,
    settle: Settle,
    actions: VecDeque<Action>,
}

#[derive(Clone, Debug)]
struct UplinkState {
    health: Health,
    reason: Reason,
    since: Time,
    link: LinkState,
    gateway: Option<IpAddr>,
    targets: Vec<TargetState>,
    /// Serves while its health is unknown, because the kernel has it in service or nobody.
    serves_unknown: bool,
    /// Connections that must leave connection tracking once somebody else serves.
    flush: Option<Mark>,
}

impl UplinkState {
    fn new(uplink: &Uplink, now: Time) -> Self {
        Self {
            health: Health::Unknown,
            reason: Reason::JustStarted,
            since: now,
            link: LinkState::Unusable(Reason::JustStarted),
            gateway: None,
            targets: vec![TargetState::default(); uplink.probe.targets.len()],
            serves_unknown: false,
            flush: None,
        }
    }
}

impl Controller {
    /// A controller that knows nothing yet; its first action is to look at the kernel.
    ///
    /// `earlier` are reserves of configurations before this one, whose objects have to go.
    pub fn new(config: Config, earlier: Vec<Reserve>, now: Time) -> Self {
        let mut claims = vec![config.reserve.clone()];
        claims.extend(earlier.into_iter().filter(|r| *r != config.reserve));
        let mut controller = Self {
            uplinks: config
                .uplinks
                .iter()
                .map(|u| UplinkState::new(u, now))
                .collect(),
            config,
            claims,
            schedule: Schedule::default(),
            observed: None,
            service: Service::default(),
            departed: Vec::new(),
            settle: Settle::default(),
            actions: VecDeque::new(),
        };
        controller.settle.cause = Some("start".to_owned());
        controller.look_now(now, true);
        controller
    }

    /// Takes a fact.
    pub fn handle(&mut self, event: Event, now: Time) {
        match event {
            Event::Tick => self.run_due(now),
            Event::Observed(observed) => self.take_observed(*observed, now),
            Event::ObserveFailed { text } => self.observe_failed(text, now),
            Event::Hint { what } => self.take_hint(what, now),
            Event::LinkChanged {
                name,
                admin_up,
                carrier,
                gone,
            } => {
                self.take_link(&name, (admin_up, carrier, gone), now);
            }
            Event::Reply { probe, rtt } => {
                if let Some(key) = self.schedule.close(probe) {
                    let spec = &self.config.uplinks[key.uplink].probe;
                    let target = &mut self.uplinks[key.uplink].targets[key.target];
                    if rtt <= spec.timeout {
                        target.answered(rtt, spec);
                    } else {
                        target.lost(spec);
                    }
                    self.rejudge(key.uplink, now);
                }
            }
            Event::SendFailed { probe } => {
                if let Some(key) = self.schedule.close(probe) {
                    self.count_lost(key, now);
                }
            }
            Event::Outcomes(outcomes) => self.take_outcomes(outcomes, now),
            Event::Config(config) => self.take_config(*config, now),
        }
        self.look_if_due(now);
    }

    /// The moment at which [`Event::Tick`] is wanted, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        self.schedule
            .next_deadline()
            .into_iter()
            .chain(self.settle.next_deadline())
            .min()
    }

    /// The next intention; ask until there is none.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The reserves whose objects are ours, the current one first.
    pub fn claims(&self) -> &[Reserve] {
        &self.claims
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn notify(&mut self, notice: Notice) {
        self.actions.push_back(Action::Notify(notice));
    }

    /// Asks, and counts what was not answered. Only when the time itself is the news: an answer that
    /// is told now may have waited while the shell was busy, and others with it.
    fn run_due(&mut self, now: Time) {
        while let Some(due) = self.schedule.next_due(now, |key| {
            let spec = &self.config.uplinks[key.uplink].probe;
            (spec.interval, spec.timeout)
        }) {
            match due {
                Due::Lost(key) => self.count_lost(key, now),
                Due::Ask(key, id) => {
                    let uplink = &self.config.uplinks[key.uplink];
                    let Some(target) = self.address_of(key) else {
                        self.schedule.stop(key);
                        continue;
                    };
                    let mark = self.config.reserve.mark_in(uplink.slot).value;
                    let (device, name) = (uplink.interface.clone(), uplink.name.clone());
                    self.actions.push_back(Action::Probe(Probe {
                        id,
                        uplink: name,
                        device,
                        mark,
                        target,
                    }));
                }
            }
        }
    }

    fn count_lost(&mut self, key: TargetKey, now: Time) {
        let spec = &self.config.uplinks[key.uplink].probe;
        self.uplinks[key.uplink].targets[key.target].lost(spec);
        self.rejudge(key.uplink, now);
    }

    fn address_of(&self, key: TargetKey) -> Option<IpAddr> {
        match self.config.uplinks[key.uplink].probe.targets[key.target] {
            Target::Gateway => self.uplinks[key.uplink].link.usable()?.gateway,
            Target::Icmp(address) => Some(address),
        }
    }

    /// An interface changed: what its carrier says counts at once, the rest is looked up.
    fn take_link(&mut self, name: &str, (admin_up, carrier, gone): (bool, bool, bool), now: Time) {
        let is_uplinks = self.config.uplinks.iter().any(|u| u.interface == name);
        let Some(observed) = self.observed.as_mut() else {
            return;
        };
        let Some(index) = observed
            .links
            .iter()
            .find(|(_, l)| l.device.name == name)
            .map(|(i, _)| *i)
        else {
            if is_uplinks {
                self.look_now(now, false);
            }
            return;
        };
        if gone {
            observed.links.remove(&index);
        } else if let Some(link) = observed.links.get_mut(&index) {
            if (link.admin_up, link.carrier) == (admin_up, carrier) {
                // It may have changed twice while nobody told us, and the kernel has then removed
                // its nexthops, of which it never tells.
                if is_uplinks {
                    self.look_soon(now, false);
                }
                return;
            }
            (link.admin_up, link.carrier) = (admin_up, carrier);
        }
        if is_uplinks {
            let what = match (gone, carrier && admin_up) {
                (true, _) => "is gone",
                (false, true) => "has a carrier",
                (false, false) => "lost its carrier or was switched off",
            };
            self.settle.because(|| format!("interface {name} {what}"));
            self.take_facts(now);
            self.look_now(now, false);
        }
    }

    /// Judges every uplink's link again from what was last observed.
    fn take_facts(&mut self, now: Time) {
        let Some(observed) = self.observed.take() else {
            return;
        };
        for index in 0..self.uplinks.len() {
            let uplink = &self.config.uplinks[index];
            let known = self.uplinks[index].gateway;
            let link = link_state(uplink, FAMILY, &observed, &self.config.reserve, known);
            if link != self.uplinks[index].link {
                self.link_changed(index, link);
            }
        }
        self.observed = Some(observed);
        let mut news = None;
        for index in 0..self.uplinks.len() {
            news = news.or(self.judge_uplink(index, now));
        }
        self.reselect(news, now);
    }

    fn link_changed(&mut self, index: usize, link: LinkState) {
        let uplink = &self.config.uplinks[index];
        let state = &mut self.uplinks[index];
        let was_usable = state.link.usable().is_some();
        let is_first_look = state.health == Health::Unknown && state.reason == Reason::JustStarted;
        state.link = link;
        let Some(usable) = state.link.usable() else {
            if was_usable {
                // The address may be gone for good, so inbound connections go as well.
                state.flush = Some(self.config.reserve.mark_all(uplink.slot));
                state
                    .targets
                    .iter_mut()
                    .for_each(|t| *t = TargetState::distrusted());
            }
            for target in 0..uplink.probe.targets.len() {
                self.schedule.stop(TargetKey {
                    uplink: index,
                    target,
                });
            }
            self.settle
                .because(|| format!("uplink {} is not usable", uplink.name));
            return;
        };
        if !was_usable {
            // What comes in from now on is answered, even where the release is still owed.
            let mark_out = self.config.reserve.mark_out(uplink.slot);
            state.flush = state.flush.map(|_| mark_out);
        }
        if !was_usable && !is_first_look {
            state
                .targets
                .iter_mut()
                .for_each(|t| *t = TargetState::distrusted());
        }
        self.settle
            .because(|| format!("the link of uplink {} changed", uplink.name));
        if usable.gateway != state.gateway || is_first_look {
            state.gateway = usable.gateway;
            let gateway = usable
                .gateway
                .map_or_else(|| "none (point to point)".to_owned(), |g| g.to_string());
            for (n, target) in uplink.probe.targets.iter().enumerate() {
                if *target == Target::Gateway {
                    state.targets[n] = TargetState::default();
                    self.schedule.stop(TargetKey {
                        uplink: index,
                        target: n,
                    });
                }
            }
            self.notify(Notice::GatewayChanged {
                uplink: self.config.uplinks[index].name.clone(),
                gateway,
            });
        }
    }

    fn rejudge(&mut self, index: usize, now: Time) {
        let news = self.judge_uplink(index, now);
        self.reselect(news, now);
    }

    /// Settles the health of one uplink from its link and its targets. Says what is new, if anything.
    fn judge_uplink(&mut self, index: usize, now: Time) -> Option<String> {
        let uplink = &self.config.uplinks[index];
        let state = &self.uplinks[index];
        let (health, reason) = match &state.link {
            LinkState::Unusable(Reason::JustStarted) => return None,
            LinkState::Unusable(reason) => (Health::Down, reason.clone()),
            LinkState::Usable(_) => {
                let targets: Vec<_> = uplink
                    .probe
                    .targets
                    .iter()
                    .enumerate()
                    .filter(|(n, _)| {
                        self.address_of(TargetKey {
                            uplink: index,
                            target: *n,
                        })
                        .is_some()
                    })
                    .map(|(n, target)| (*target, &state.targets[n]))
                    .collect();
                judge(&uplink.probe, &targets, state.health)
            }
        };
        let name = uplink.name.clone();
        let state = &mut self.uplinks[index];
        let from = std::mem::replace(&mut state.health, health);
        state.reason = reason.clone();
        if from == health {
            return None;
        }
        state.since = now;
        let news = format!("uplink {name} is {health}: {reason}");
        self.notify(Notice::Health {
            uplink: name,
            family: FAMILY,
            from,
            to: health,
            reason,
        });
        Some(news)
    }

    pub(crate) fn candidates(&self) -> impl Iterator<Item = (&UplinkName, Candidate)> + Clone {
        let is_live = |state: &UplinkState| match state.health {
            Health::Up | Health::Degraded => true,
            Health::Unknown => state.serves_unknown,
            Health::Down => false,
        };
        let live = (0..self.uplinks.len()).filter(|index| {
            let state = &self.uplinks[*index];
            is_live(state) && state.link.usable().is_some()
        });
        // Where everybody who would stay misses answers too, the targets may be at fault and not the
        // lines: then nobody is taken out before an answer, or its lasting absence, tells.
        let somebody_is_sound = live.clone().any(|index| self.answers_now(index));
        let holds = live.count() > 0 && !somebody_is_sound;
        self.config
            .uplinks
            .iter()
            .zip(&self.uplinks)
            .map(move |(uplink, state)| {
                let is_held = holds && self.service.uplinks.contains(&uplink.name);
                let live = is_live(state) || is_held;
                let usable = state.link.usable().is_some();
                (&uplink.name, Candidate { live, usable })
            })
    }

    /// Whether enough deciding targets of an uplink answered when last asked, or were not asked yet.
    fn answers_now(&self, index: usize) -> bool {
        let spec = &self.config.uplinks[index].probe;
        let deciding: Vec<_> = (0..spec.targets.len())
            .filter(|n| spec.decides(spec.targets[*n]))
            .map(|n| &self.uplinks[index].targets[n])
            .collect();
        let answering = deciding.iter().filter(|t| !t.missed_last()).count();
        answering >= spec.quorum.min(deciding.len())
    }

    /// Decides who serves; where somebody leaves while somebody stays, acts at once. `news` is what
    /// made it worth deciding again.
    fn reselect(&mut self, news: Option<String>, now: Time) {
        if self.observed.is_none() {
            return;
        }
        let after = service(self.candidates(), &self.service.uplinks);
        if after == self.service {
            return;
        }
        let before = std::mem::replace(&mut self.service, after);
        let reason = news
            .or_else(|| self.settle.cause.clone())
            .unwrap_or_else(|| "the configuration changed".to_owned());
        self.settle.because(|| reason.clone());
        for group in &self.config.groups {
            let was = shares(group, &before.uplinks);
            let is = shares(group, &self.service.uplinks);
            if was != is {
                self.actions.push_back(Action::Notify(Notice::Selection {
                    group: group.name.clone(),
                    family: FAMILY,
                    before: was,
                    after: is,
                    reason: reason.clone(),
                }));
            }
        }
        if self.service.last_resort && !before.last_resort {
            let kept = self.service.uplinks.iter().cloned().collect();
            self.notify(Notice::LastResort {
                family: FAMILY,
                kept,
            });
        }
        self.release_leavers(&before.uplinks);
        self.look_now(now, false);
    }

    /// Notes whose connections have to go, and takes leavers out at once where another one stays.
    fn release_leavers(&mut self, before: &BTreeSet<UplinkName>) {
        let reserve = &self.config.reserve;
        let in_kernel = |uplink: &Uplink| {
            let id = reserve.nexthop_service(FAMILY, uplink.slot);
            self.observed.as_ref().and_then(|o| o.nexthops.get(&id))
        };
        let somebody_stays = self.config.uplinks.iter().any(|uplink| {
            let serves_on =
                before.contains(&uplink.name) && self.service.uplinks.contains(&uplink.name);
            serves_on && in_kernel(uplink).is_some()
        });
        let (mut deletes, mut flushes) = (Vec::new(), Vec::new());
        for (uplink, state) in self.config.uplinks.iter().zip(&mut self.uplinks) {
            if self.service.uplinks.contains(&uplink.name) {
                state.flush = None;
            } else if before.contains(&uplink.name) {
                let mark = *state.flush.get_or_insert(reserve.mark_out(uplink.slot));
                let reason = format!(
                    "uplink {} is {}: {}",
                    uplink.name, state.health, state.reason
                );
                // A stranger's object under an id of ours stays.
                let is_foreign = in_kernel(uplink)
                    .is_some_and(|n| !self.claims.iter().any(|c| c.owns_nexthop(n)));
                if !is_foreign {
                    let id = reserve.nexthop_service(FAMILY, uplink.slot);
                    deletes.push((Step::DeleteNexthop(id), reason.clone()));
                }
                flushes.push((Step::FlushConnections(mark), reason));
            } else if !somebody_stays {
                // There may have been a moment in which nobody served, since all were lost or we were
                // dead. The last resort or `main` then led new connections out by any uplink.
                state.flush.get_or_insert(reserve.mark_out(uplink.slot));
            }
        }
        if somebody_stays && !deletes.is_empty() {
            let mut plan = Plan::default();
            for (step, reason) in deletes.into_iter().chain(flushes) {
                plan.push(step, reason);
            }
            self.apply_urgent(plan);
        }
    }

    fn take_hint(&mut self, what: HintKind, now: Time) {
        match what {
            HintKind::Nft | HintKind::Overrun => self.look_soon(now, true),
            HintKind::Address | HintKind::Route | HintKind::Rule | HintKind::Nexthop => {
                self.look_soon(now, false)
            }
        }
    }
}

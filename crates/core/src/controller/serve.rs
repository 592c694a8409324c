//! Who serves: deciding it again, and acting at once where somebody leaves.

use std::collections::BTreeSet;

use uplinkd_model::{
    By, Family, Health, Plan, Reason, Step, Uplink, UplinkName,
    notice::{Notice, Share},
    policy::{FailbackFlows, FailbackWhen, Outflow},
};

use super::{Controller, LineState};
use crate::{
    Time,
    facts::LinkState,
    families::{FAMILIES, PerFamily},
    select::{Candidate, Service, Serving, service},
};

/// What is owed to connections on the worse tiers of an outlet, once the better one's route is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwedMove {
    pub(super) outlet: u16,
    pub(super) family: Family,
    pub(super) step: Step,
    pub(super) reason: String,
}

/// What is new of the lines of each family, in words.
pub(super) type News = PerFamily<Option<String>>;

/// Who serves an outlet, as people are told.
type Picture = Vec<PerFamily<Vec<Share>>>;

impl Controller {
    /// The lines of a family that may serve, with what decides about it.
    pub(crate) fn candidates(
        &self,
        family: Family,
    ) -> impl Iterator<Item = (&UplinkName, Candidate)> + Clone {
        let lines = self.lines.iter().enumerate();
        let lines = lines.filter(move |(_, l)| l.family == family && !l.is_absent());
        let live = lines
            .clone()
            .filter(move |(_, line)| line.is_live() && line.link.usable().is_some());
        // Where everybody who would stay misses answers too, the targets may be at fault and not the
        // lines: then nobody is taken out before an answer, or its lasting absence, tells.
        let somebody_is_sound = live.clone().any(|(index, _)| self.answers_now(index));
        let holds = live.count() > 0 && !somebody_is_sound;
        lines.map(move |(index, line)| {
            let uplink = self.uplink_of(index);
            let is_kept = holds && self.service.of(family).uplinks.contains(&uplink.name);
            let candidate = Candidate {
                live: line.is_live() || is_kept,
                yields: uplink.yields && line.health == Health::Degraded,
                held: matches!(line.reason, Reason::Held { .. }),
                usable: line.link.usable().is_some(),
                spent: self.spent(line.uplink),
                drained: self.wishes.drained(&uplink.name).is_some(),
                preferred: self.wishes.preferred(&uplink.name).is_some(),
            };
            (&uplink.name, candidate)
        })
    }

    /// Who of these is in service.
    pub(crate) fn service_by<'a>(
        &'a self,
        family: Family,
        candidates: impl Iterator<Item = (&'a UplinkName, Candidate)> + Clone,
    ) -> Service {
        let mut service = service(candidates, &self.service.of(family).uplinks);
        service.pools = self.balancer.states(family);
        if service.last_resort {
            return service;
        }
        let lines = self.lines.iter().enumerate();
        for (index, line) in lines.filter(|(_, l)| l.family == family) {
            let name = &self.uplink_of(index).name;
            if service.uplinks.contains(name) {
                for limit in line.limits.all_exceeded() {
                    let names = service.exceeding.entry(limit).or_default();
                    names.insert(name.clone());
                }
            }
        }
        service
    }

    /// Whether somebody serves a family for want of anything better, or until it is known whether it is
    /// the targets that are at fault: then every answer may change who serves.
    pub(super) fn serves_in_doubt(&self, family: Family) -> bool {
        let mut lines = 0..self.lines.len();
        self.service.of(family).last_resort || lines.any(|n| self.is_in_doubt(n, family))
    }

    /// Whether a line of this family serves though its health does not let it.
    pub(super) fn is_in_doubt(&self, index: usize, family: Family) -> bool {
        let line = &self.lines[index];
        let name = &self.uplink_of(index).name;
        let serves = || self.service.of(family).uplinks.contains(name);
        line.family == family && !line.is_live() && serves()
    }

    /// Whether enough deciding targets of a line answered when last asked, or were not asked yet.
    fn answers_now(&self, index: usize) -> bool {
        let spec = &self.access_of(index).probe;
        let mut deciding = self.asked_targets(index);
        deciding.retain(|(t, _)| spec.decides(t));
        if deciding.iter().any(|(_, t)| t.missed_last()) {
            let at_fault = self.targets_at_fault(self.lines[index].family);
            deciding.retain(|(t, _)| !at_fault.contains(*t));
        }
        let answering = deciding.iter().filter(|(_, t)| !t.missed_last()).count();
        answering >= spec.quorum.min(deciding.len())
    }

    /// Whether the link of an uplink's family could carry something.
    pub(crate) fn is_usable(&self, family: Family, name: &UplinkName) -> bool {
        let line = self.line_of(family, name);
        line.is_some_and(|n| self.lines[n].link.usable().is_some())
    }

    /// When an outlet may return to a better tier.
    pub(super) fn failback_deadline(&self) -> Option<Time> {
        let outlets = self.config.outlets.iter().zip(&self.serving);
        let outflows = outlets.filter_map(|(o, s)| Some((o.outflow()?, s)));
        let deadlines = outflows.flat_map(|(outflow, serving)| {
            FAMILIES.map(|family| serving.of(family).next_deadline(outflow))
        });
        deadlines.flatten().min()
    }

    /// Decides who serves; where somebody leaves while somebody stays, acts at once. `news` is what
    /// made it worth deciding again.
    pub(super) fn reselect(&mut self, news: News, now: Time) {
        self.reselect_and(news, None, now);
    }

    /// Somebody wants the outlets of this name, or of this group, to return to their best tier.
    pub(super) fn fail_back(&mut self, name: &str, by: By, now: Time) {
        self.notify(Notice::FailbackTold {
            group: name.to_owned(),
            by,
        });
        self.reselect_and(News::default(), Some(name), now);
    }

    fn reselect_and(&mut self, news: News, told: Option<&str>, now: Time) {
        if self.observed.is_none() {
            return;
        }
        let after = PerFamily::from_fn(|family| {
            if self.candidates(family).next().is_none() {
                return Service::default();
            }
            self.service_by(family, self.candidates(family))
        });
        let is_due = self.failback_deadline().is_some_and(|at| at <= now);
        let must_choose = std::mem::take(&mut self.must_choose);
        if after == self.service && !is_due && !must_choose && told.is_none() {
            return;
        }
        let before = std::mem::replace(&mut self.service, after);
        for index in 0..self.lines.len() {
            self.lines[index].is_spared = self.is_spared(self.lines[index].uplink);
        }
        let any = news.v4.as_ref().or(news.v6.as_ref()).cloned();
        let any = any
            .or_else(|| self.settle.cause.clone())
            .unwrap_or_else(|| "the configuration changed".to_owned());
        let reason =
            PerFamily::from_fn(|family| news.of(family).clone().unwrap_or_else(|| any.clone()));
        let changed = before != self.service;
        let is_detail = FAMILIES.into_iter().all(|family| {
            let (before, after) = (before.of(family), self.service.of(family));
            before == after || before.is_weighed_otherwise(after)
        });
        if changed {
            match is_detail && !must_choose && !is_due && told.is_none() {
                true => self.settle.because_in_detail(|| any),
                false => self.settle.because(|| any),
            }
            // First of all: whoever waits for a way out waits for this.
            self.release_leavers(&before);
        }
        let pictured = self.picture(&before);
        let returned = self.choose_tiers(told, &reason, now);
        self.owe_resort();
        self.owe_forgetting(&before);
        self.tell_selection(&pictured, &returned, &reason, changed && is_detail);
        for family in FAMILIES {
            let service = self.service.of(family);
            if service.last_resort && !before.of(family).last_resort {
                let kept = service.uplinks.iter().cloned().collect();
                self.notify(Notice::LastResort { family, kept });
            }
        }
        self.advertise();
        if changed || !returned.is_empty() {
            self.look_now(now, false);
        }
    }

    /// Who serves each outlet, going by these uplinks in service.
    fn picture(&self, service: &PerFamily<Service>) -> Picture {
        let outlets = self.config.outlets.iter().zip(&self.serving);
        let of = |outflow: &Outflow, serving: &Serving, family| {
            self.shares_of(outflow, serving, service.of(family), family)
        };
        outlets
            .map(|(outlet, serving)| {
                PerFamily::from_fn(|family| {
                    let outflow = outlet.outflow();
                    outflow.map_or_else(Vec::new, |o| of(o, serving.of(family), family))
                })
            })
            .collect()
    }

    /// Decides for each outlet which tier serves. Returns those that went back to a better one, by
    /// index, with the reason.
    fn choose_tiers(
        &mut self,
        told: Option<&str>,
        reason: &PerFamily<String>,
        now: Time,
    ) -> Vec<(usize, Family, String)> {
        let mut returned = Vec::new();
        for index in 0..self.config.outlets.len() {
            let outlet = &self.config.outlets[index];
            let Some(outflow) = outlet.outflow() else {
                continue;
            };
            let is_named =
                |name: &str| outlet.name == name || outflow.group.as_deref() == Some(name);
            let is_told = told.is_some_and(is_named);
            for family in FAMILIES {
                let serving = self.serving[index].of_mut(family);
                let before = serving.tier;
                let left = serving.decide(outflow, self.service.of(family), now, is_told);
                if serving.tier == before {
                    continue;
                }
                let code = outlet.code;
                self.moves
                    .retain(|m| (m.outlet, m.family) != (code, family));
                if left.is_some() {
                    let better = serving.tier.unwrap_or_default();
                    let why = match outflow.failback.when {
                        _ if is_told => "somebody said so".to_owned(),
                        FailbackWhen::After(time) => format!("it was live for {time:?}"),
                        // By hand without a word: the first choice after a boot gets better.
                        FailbackWhen::AtOnce | FailbackWhen::ByHand => reason.of(family).clone(),
                    };
                    let reason = format!("back to tier {}: {why}", better + 1);
                    self.settle.because(|| format!("{}: {reason}", outlet.name));
                    self.moves
                        .extend(owed_moves(&self.config, index, family, better));
                    returned.push((index, family, reason));
                }
            }
        }
        returned
    }

    fn tell_selection(
        &mut self,
        before: &Picture,
        returned: &[(usize, Family, String)],
        reason: &PerFamily<String>,
        is_detail: bool,
    ) {
        let after = self.picture(&self.service);
        for (index, (was, is)) in before.iter().zip(after).enumerate() {
            for family in FAMILIES {
                let (was, is) = (was.of(family), is.of(family));
                if was == is {
                    continue;
                }
                if is_detail {
                    let notice = Notice::Weights {
                        group: self.config.outlets[index].name.clone(),
                        family,
                        after: is.clone(),
                        reason: reason.of(family).clone(),
                    };
                    self.notify(notice);
                    continue;
                }
                let own = returned
                    .iter()
                    .find(|(n, f, _)| (*n, *f) == (index, family));
                self.actions
                    .push_back(crate::Action::Notify(Notice::Selection {
                        group: self.config.outlets[index].name.clone(),
                        family,
                        before: was.clone(),
                        after: is.clone(),
                        reason: own
                            .map_or(reason.of(family), |(_, _, reason)| reason)
                            .clone(),
                    }));
            }
        }
    }

    /// Notes whose connections have to go, and takes leavers out at once where another one stays.
    fn release_leavers(&mut self, before: &PerFamily<Service>) {
        let reserve = &self.config.reserve;
        let in_kernel = |family, uplink: &Uplink| {
            let id = reserve.nexthop_service(family, uplink.slot);
            self.observed.as_ref().and_then(|o| o.nexthops.get(&id))
        };
        let (mut deletes, mut flushes) = (Vec::new(), Vec::new());
        for family in FAMILIES {
            let (before, after) = (&before.of(family).uplinks, &self.service.of(family).uplinks);
            let somebody_stays = self.config.uplinks.iter().any(|uplink| {
                let serves_on = before.contains(&uplink.name) && after.contains(&uplink.name);
                serves_on && in_kernel(family, uplink).is_some()
            });
            for line in self.lines.iter_mut().filter(|l| l.family == family) {
                let uplink = &self.config.uplinks[line.uplink];
                if after.contains(&uplink.name) {
                    line.flush = None;
                } else if before.contains(&uplink.name) {
                    let mark = *line.flush.get_or_insert(reserve.mark_out(uplink.slot));
                    if !somebody_stays {
                        continue;
                    }
                    let reason = match self.service.of(family).spent.contains(&uplink.name) {
                        true => format!("uplink {} has used up its budget", uplink.name),
                        false => leaving(uplink, line),
                    };
                    // A stranger's object under an id of ours stays.
                    let is_foreign = in_kernel(family, uplink)
                        .is_some_and(|n| !self.claims.iter().any(|c| c.owns_nexthop(n)));
                    if !is_foreign {
                        let id = reserve.nexthop_service(family, uplink.slot);
                        deletes.push((Step::DeleteNexthop(id), reason.clone()));
                    }
                    let family = Some(family);
                    flushes.push((Step::FlushConnections { mark, family }, reason));
                } else if !somebody_stays {
                    // There may have been a moment in which nobody served, since all were lost or we
                    // were dead. The last resort or `main` then led new connections out by any uplink.
                    line.flush.get_or_insert(reserve.mark_out(uplink.slot));
                }
            }
        }
        if !deletes.is_empty() {
            let mut plan = Plan::default();
            for (step, reason) in deletes.into_iter().chain(flushes) {
                plan.push(step, reason);
            }
            self.apply_urgent(plan);
        }
    }
}

/// Why an uplink is out of service, as half a sentence.
pub(super) fn leaving(uplink: &Uplink, line: &LineState) -> String {
    let (name, family) = (&uplink.name, line.family);
    match line.link {
        LinkState::Absent => format!("uplink {name} has no {family} any more"),
        LinkState::Usable(_) | LinkState::Unusable(_) => {
            format!(
                "uplink {name} ({family}) is {}: {}",
                line.health, line.reason
            )
        }
    }
}

/// What becomes of connections on the tiers behind the one that serves again.
fn owed_moves(
    config: &uplinkd_model::Config,
    index: usize,
    family: Family,
    better: usize,
) -> Vec<OwedMove> {
    let outlet = &config.outlets[index];
    let Some(outflow) = outlet.outflow() else {
        return Vec::new();
    };
    let slots = |tiers: &[uplinkd_model::policy::OutletTier]| -> BTreeSet<_> {
        let members = tiers.iter().flat_map(|t| &t.members);
        let slots = members.filter_map(|m| Some(config.uplink(&m.uplink)?.slot));
        slots.collect()
    };
    let serving = slots(&outflow.tiers[..=better]);
    let worse: Vec<_> = slots(&outflow.tiers[better + 1..])
        .difference(&serving)
        .copied()
        .collect();
    let owed = |step, reason: &str| OwedMove {
        outlet: outlet.code,
        family,
        step,
        reason: format!("{} is back on a better tier; {reason}", outlet.name),
    };
    let forget = outflow.sticky.map(|_| {
        let step = Step::ForgetSticky {
            table: config.reserve.nft_table.clone(),
            outlet: outlet.code,
            slots: worse.iter().map(|s| s.0).collect(),
        };
        owed(step, "new connections move")
    });
    let release = worse.iter().map(|slot| {
        let step = Step::MoveConnections {
            mark: config.reserve.mark_outlet_by(outlet.code, *slot),
            family,
        };
        owed(step, "connections on worse ones move")
    });
    match outflow.failback.flows {
        _ if worse.is_empty() => Vec::new(),
        FailbackFlows::Keep => Vec::new(),
        FailbackFlows::Drain => forget.into_iter().collect(),
        FailbackFlows::Move => forget.into_iter().chain(release).collect(),
    }
}

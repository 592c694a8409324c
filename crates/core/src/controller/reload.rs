//! A new configuration in a running controller.

use uplinkd_model::{By, Config, Outlet, notice::Notice, policy::OutletTier};

use super::{Controller, LineState, Words};
use crate::{
    Time,
    balance::Balancer,
    families::{FAMILIES, PerFamily},
    policies::Policies,
    probe::TargetState,
    select::Serving,
};

impl Controller {
    /// Lines that keep uplink and interface keep what is known of them; the connections of those that
    /// are gone will be released. Outlets that keep their code keep the tier that serves. The policies
    /// are compiled here where nobody has done it before.
    pub(super) fn take_config(
        &mut self,
        config: Config,
        compiled: Option<Policies>,
        notice: Option<Notice>,
        now: Time,
    ) {
        let old = std::mem::replace(&mut self.config, config);
        self.words = Words::of(&self.config);
        self.resolve_interfaces();
        self.take_lines(&old, now);
        self.serving = kept_tiers(&old.outlets, &self.serving, &self.config.outlets);
        let balancer = std::mem::take(&mut self.balancer);
        self.balancer = Balancer::new(&self.config, balancer);
        self.must_choose = true;
        self.moves.clear();
        self.owe_forgetting(&PerFamily::default());
        if self.config.reserve != old.reserve {
            self.claims.retain(|r| *r != self.config.reserve);
            self.claims.insert(0, self.config.reserve.clone());
        }
        if (&self.config.policies, &self.config.outlets) != (&old.policies, &old.outlets) {
            let minute = self.policies.minute;
            self.policies = match compiled {
                Some(mut policies) => {
                    policies.tell_time(&self.config, minute);
                    policies
                }
                None => Policies::new(&self.config, minute),
            };
            self.review.ask(&self.config);
        }
        self.settle.because(|| "the file changed".to_owned());
        self.notify(notice.unwrap_or_else(|| Notice::Reloaded {
            by: By::new("the file"),
            confirm: None,
        }));
        self.take_facts(now);
        self.look_now(now, true);
    }

    fn take_lines(&mut self, old: &Config, now: Time) {
        let mut states = std::mem::take(&mut self.lines);
        self.schedule = std::mem::take(&mut self.schedule).emptied();
        for fresh in LineState::all(&self.config, now) {
            let uplink = &self.config.uplinks[fresh.uplink];
            let known = states.iter().position(|state| {
                let before = &old.uplinks[state.uplink];
                let is_same = before.name == uplink.name && before.interface == uplink.interface;
                is_same && state.family == fresh.family
            });
            self.lines.push(match known.map(|n| states.swap_remove(n)) {
                Some(state) => {
                    let targets = |u: &uplinkd_model::Uplink| {
                        u.access(fresh.family).map(|a| a.probe.targets.clone())
                    };
                    let targets = if targets(&old.uplinks[state.uplink]) == targets(uplink) {
                        state.targets
                    } else {
                        vec![TargetState::default(); fresh.targets.len()]
                    };
                    LineState {
                        uplink: fresh.uplink,
                        targets,
                        is_counted: fresh.is_counted,
                        limits: fresh.limits.with_memory_of(&state.limits),
                        ..state
                    }
                }
                None => fresh,
            });
        }
        for family in FAMILIES {
            let has = |name: &uplinkd_model::UplinkName| {
                let uplink = self.config.uplink(name);
                uplink.is_some_and(|u| u.access(family).is_some())
            };
            let service = self.service.of_mut(family);
            service.uplinks.retain(has);
            let gone = states.iter().filter(|s| s.family == family);
            let gone = gone.map(|s| &old.uplinks[s.uplink]);
            let marks = gone.filter(|u| !has(&u.name));
            self.departed
                .extend(marks.map(|u| (old.reserve.mark_all(u.slot), family)));
        }
        self.welcome_back();
    }

    /// What is owed to an uplink's departure is not owed any more where the file has it again, but its
    /// outgoing connections still are, until it serves.
    fn welcome_back(&mut self) {
        let reserve = &self.config.reserve;
        for line in &mut self.lines {
            let slot = self.config.uplinks[line.uplink].slot;
            let owed = (reserve.mark_all(slot), line.family);
            let before = self.departed.len();
            self.departed.retain(|d| *d != owed);
            if self.departed.len() < before {
                line.flush.get_or_insert(reserve.mark_out(slot));
            }
        }
    }
}

/// What serves each outlet of the new file, as far as it can be carried over from the old one.
fn kept_tiers(
    old: &[Outlet],
    serving: &[PerFamily<Serving>],
    new: &[Outlet],
) -> Vec<PerFamily<Serving>> {
    let tiers = |outlet: &Outlet| outlet.outflow().map_or(Vec::new(), |o| o.tiers.clone());
    new.iter()
        .map(|outlet| {
            let before = old.iter().zip(serving).find(|(o, _)| o.code == outlet.code);
            let Some((before, serving)) = before else {
                return PerFamily::default();
            };
            let (was, is) = (tiers(before), tiers(outlet));
            let number = |n: usize| was.iter().position(|tier| is_same(tier, &is[n]));
            PerFamily::from_fn(|family| serving.of(family).renumbered(is.len(), number))
        })
        .collect()
}

/// Whether two tiers have the same uplinks, whatever their weights.
fn is_same(one: &OutletTier, other: &OutletTier) -> bool {
    let names = |tier: &OutletTier| {
        let names = tier.members.iter().map(|m| m.uplink.clone());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    names(one) == names(other)
}

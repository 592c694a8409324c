//! What others may see of the state.

use std::net::IpAddr;

use uplinkd_model::{
    Config, Desired, Family, Group, Outlet, OutletKind, Rule, UplinkName,
    notice::Share,
    policy::{End, Outflow, OutletTier},
};

use super::Controller;
use crate::{
    families::{FAMILIES, PerFamily},
    prefixes::Prefixes,
    probe::TargetKey,
    select::{Pool, Service, Serving, preferred_in, serving_of},
    status::{
        LineHealth, LineSnapshot, OutletSnapshot, OutletState, Snapshot, TargetSnapshot, Yielding,
    },
};

impl Controller {
    /// Whether the last look at the kernel found it as it shall be, and nothing has happened since.
    pub fn is_settled(&self) -> bool {
        self.settle.is_settled()
    }

    /// A picture of the present state.
    pub fn snapshot(&self) -> Snapshot {
        let families = FAMILIES.into_iter().filter(|f| self.has_family(*f));
        let families: Vec<_> = families.collect();
        let outlets = self.config.outlets.iter().zip(&self.serving);
        let outlets = outlets.flat_map(|(outlet, serving)| {
            let of = |family| self.outlet_snapshot(outlet, serving.of(family), family);
            families.iter().map(move |family| of(*family))
        });
        let idle = self.idle_groups();
        let idle = idle.iter().flat_map(|group| {
            let of = |family| self.group_snapshot(group, family);
            families.iter().map(move |family| of(*family))
        });
        Snapshot {
            settled: self.settle.is_settled(),
            problem: self.settle.problem.clone(),
            last_resort: PerFamily::from_fn(|family| self.service.of(family).last_resort),
            lines: (0..self.lines.len())
                .map(|index| self.line_snapshot(index))
                .collect(),
            outlets: outlets.chain(idle).collect(),
        }
    }

    /// How each family of each uplink is, in the order of [`Snapshot::lines`].
    pub fn line_healths(&self) -> impl Iterator<Item = LineHealth<'_>> {
        self.lines.iter().map(|line| LineHealth {
            name: &self.config.uplinks[line.uplink].name,
            family: line.family,
            absent: line.is_absent(),
            health: line.health,
            reason: &line.reason,
        })
    }

    /// Whether some uplink has a family, be it out of order.
    pub(crate) fn has_family(&self, family: Family) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|l| l.family == family && !l.is_absent())
    }

    fn line_snapshot(&self, index: usize) -> LineSnapshot {
        let (uplink, state) = (self.uplink_of(index), &self.lines[index]);
        let (reserve, family) = (&self.config.reserve, state.family);
        let default = self.config.outlets.first().and_then(Outlet::outflow);
        let mut members = default.into_iter().flat_map(Outflow::members);
        let member = members.find(|m| m.uplink == uplink.name);
        let serving = default.zip(self.serving.first()).map(|(outflow, serving)| {
            self.shares_of(outflow, serving.of(family), self.service.of(family), family)
        });
        let serving = serving.unwrap_or_default();
        let total: f64 = serving.iter().map(|s| f64::from(s.weight)).sum();
        let own = serving
            .iter()
            .find(|s| s.uplink == uplink.name)
            .map_or(0.0, |s| f64::from(s.weight));
        let link = self
            .observed
            .as_ref()
            .and_then(|o| o.link(&uplink.interface));
        let known_gateway = state.link.usable().and_then(|u| u.gateway);
        let keys = TargetKey::all(index, state.targets.len());
        LineSnapshot {
            name: uplink.name.clone(),
            interface: uplink.interface.clone(),
            family,
            absent: state.is_absent(),
            health: state.health,
            reason: state.reason.clone(),
            since: state.since,
            in_service: self.service.of(family).uplinks.contains(&uplink.name),
            weight: {
                let now = serving.iter().find(|s| s.uplink == uplink.name);
                let now = now.map(|s| s.weight);
                now.or(member.map(|m| m.weight)).unwrap_or(0)
            },
            share: if total > 0.0 { own / total } else { 0.0 },
            table: reserve.table_service(uplink.slot),
            mark: reserve.mark_out(uplink.slot),
            all_mark: reserve.mark_all(uplink.slot),
            gateway: known_gateway.or(state.known.gateway.and_then(|l| l.gateway)),
            addresses: {
                let own = link.into_iter().flat_map(|l| l.addresses_of(family));
                let borrowed = state.link.usable().and_then(|u| u.borrowed);
                own.chain(borrowed.map(|a| IpAddr::V6(a).into())).collect()
            },
            prefix: match family {
                Family::V4 => None,
                Family::V6 => self.prefixes.of(&uplink.name),
            },
            deprecated: match family {
                Family::V4 => Vec::new(),
                Family::V6 => self.deprecated_of(&uplink.name),
            },
            carrier: link.map(|l| l.carrier),
            targets: keys.map(|key| self.target_snapshot(key)).collect(),
            tcp: state.segments.figures(),
            budget: self.budget_snapshot(state.uplink),
            drained: self.wishes.drained(&uplink.name).cloned(),
            is_idle: self.service.of(family).drained.contains(&uplink.name),
            preferred: self.wishes.preferred(&uplink.name).cloned(),
        }
    }

    fn target_snapshot(&self, key: TargetKey) -> TargetSnapshot {
        let spec = &self.access_of(key.line).probe;
        let target = &spec.targets[key.target];
        let state = &self.lines[key.line].targets[key.target];
        let (sent, lost) = state.counts();
        TargetSnapshot {
            target: target.clone(),
            address: self.address_of(key),
            verdict: state.verdict(),
            decides: spec.decides(target),
            last_rtt: state.last_rtt(),
            refusal: state.refusal().map(str::to_owned),
            figures: state.figures(),
            sent,
            lost,
        }
    }

    /// Who carries new connections of an outlet under this service.
    pub(crate) fn shares_of(
        &self,
        outflow: &Outflow,
        serving: &Serving,
        service: &Service,
        family: Family,
    ) -> Vec<Share> {
        let is_usable = |name: &UplinkName| self.is_usable(family, name);
        serving_of(&self.config, outflow, serving, service, is_usable)
    }

    fn outlet_snapshot(
        &self,
        outlet: &Outlet,
        serving: &Serving,
        family: Family,
    ) -> OutletSnapshot {
        let (table, group, state, shares, waiting) = match &outlet.kind {
            OutletKind::Block => (None, None, OutletState::Blocked, Vec::new(), None),
            OutletKind::Main => (None, None, OutletState::Main, Vec::new(), None),
            OutletKind::Uplinks(outflow) => {
                let service = self.service.of(family);
                (
                    Some(self.config.reserve.table_outlet(outlet.code)),
                    outflow.group.clone(),
                    state_of(outflow, serving, service),
                    self.shares_of(outflow, serving, service, family),
                    serving.waiting(outflow),
                )
            }
        };
        OutletSnapshot {
            name: outlet.name.clone(),
            code: Some(outlet.code),
            table,
            group,
            family,
            state,
            serving: shares,
            is_preferred: outlet
                .outflow()
                .is_some_and(|outflow| preferred_in(outflow, self.service.of(family)).is_some()),
            waiting,
            balance: outlet
                .outflow()
                .and_then(|outflow| self.why_served(outflow, serving, family)),
            yielding: outlet.outflow().map_or_else(Vec::new, |outflow| {
                self.yielding_in(outflow, self.service.of(family), family)
            }),
        }
    }

    /// Groups that no outlet takes its first tiers from.
    fn idle_groups(&self) -> Vec<&Group> {
        let used = |group: &&Group| {
            let mut outflows = self.config.outlets.iter().filter_map(Outlet::outflow);
            outflows.any(|o| o.group.as_ref() == Some(&group.name))
        };
        self.config.groups.iter().filter(|g| !used(g)).collect()
    }

    /// What would serve a group if something used it.
    fn group_snapshot(&self, group: &Group, family: Family) -> OutletSnapshot {
        let outflow = outflow_of(group);
        let (service, mut serving) = (self.service.of(family), Serving::default());
        serving.decide(&outflow, service, crate::Time::default(), false);
        OutletSnapshot {
            name: group.name.clone(),
            code: None,
            table: None,
            group: Some(group.name.clone()),
            family,
            state: state_of(&outflow, &serving, service),
            serving: self.shares_of(&outflow, &serving, service, family),
            is_preferred: preferred_in(&outflow, service).is_some(),
            waiting: None,
            balance: None,
            yielding: self.yielding_in(&outflow, service, family),
        }
    }

    /// Why the shares of an outlet are what they are, where they follow the lines, or who is full.
    pub(crate) fn why_served(
        &self,
        outflow: &Outflow,
        serving: &Serving,
        family: Family,
    ) -> Option<String> {
        let service = self.service.of(family);
        let leading = serving.leading(outflow, service)?;
        if let Some(preferred) = preferred_in(outflow, service) {
            return Some(format!("{preferred} is preferred for a while"));
        }
        let tiers = outflow.tiers.iter().enumerate();
        let full = tiers.filter(|(_, tier)| Pool::of(tier).is_full(service));
        let full = full.map(|(n, _)| format!("tier {} is full", n + 1));
        let shares = self.why_shares(family, Pool::of(&outflow.tiers[leading]));
        let words: Vec<_> = full.chain(shares).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Who of an outlet is in service and leaves new connections to others, and why.
    pub(crate) fn yielding_in(
        &self,
        outflow: &Outflow,
        service: &Service,
        family: Family,
    ) -> Vec<Yielding> {
        let mut yielding: Vec<Yielding> = Vec::new();
        for tier in &outflow.tiers {
            let pool = Pool::of(tier);
            let serving = tier.members.iter().map(|m| &m.uplink);
            let serving = serving.filter(|name| service.uplinks.contains(*name));
            for name in serving.filter(|name| pool.yields(name, service)) {
                let Some(line) = self.line_of(family, name).map(|n| &self.lines[n]) else {
                    continue;
                };
                let limit = pool.conduct.yield_at;
                let reason = limit.and_then(|l| line.limits.exceeded(l));
                let found = Yielding {
                    uplink: name.clone(),
                    reason: reason.unwrap_or(&line.reason).clone(),
                };
                if !yielding.contains(&found) {
                    yielding.push(found);
                }
            }
        }
        yielding
    }

    /// Which tier serves an outlet, by its index.
    pub(crate) fn serving_tier(&self, outlet: usize, family: Family) -> &Serving {
        self.serving[outlet].of(family)
    }

    /// The policies as compiled.
    pub(crate) fn policies(&self) -> &crate::policies::Policies {
        &self.policies
    }

    /// Whether an address is one of this machine's.
    pub fn has_address(&self, address: IpAddr) -> bool {
        let links = self.observed.iter().flat_map(|o| o.links.values());
        links
            .flat_map(|l| &l.addresses)
            .any(|a| a.addr() == address)
    }

    /// The first address of an uplink's interface, or that of its prefix where it has none: which
    /// translation uses.
    pub(crate) fn first_address(&self, name: &UplinkName, family: Family) -> Option<IpAddr> {
        let uplink = self.config.uplink(name)?;
        let link = self.observed.as_ref()?.link(&uplink.interface)?;
        let own = link.addresses_of(family).next().map(|a| a.addr());
        let borrowed = || match family {
            Family::V4 => None,
            Family::V6 => self.prefixes.address_of(name).map(IpAddr::V6),
        };
        own.or_else(borrowed)
    }

    /// Which delegated IPv6 prefix is whose.
    pub fn prefixes(&self) -> &Prefixes {
        &self.prefixes
    }

    /// What the kernel should hold now; nothing before the first look.
    pub(crate) fn wanted(&self) -> Desired {
        let wanted = self.observed.as_ref().map(|o| self.desired(o));
        wanted.unwrap_or_default()
    }

    /// The rules of a family that should be there, in the order in which they are asked.
    pub(crate) fn rules(&self, family: Family) -> Vec<Rule> {
        let rules = self.wanted().rules.into_iter();
        rules.filter(|r| r.family == family).collect()
    }
}

/// What an outlet does with new connections, going by who is in service.
pub(crate) fn state_of(outflow: &Outflow, serving: &Serving, service: &Service) -> OutletState {
    let leading = serving.leading(outflow, service);
    let tier = leading.and_then(|n| Some((n, outflow.tiers.get(n)?)));
    match (tier, outflow.end) {
        (Some(_), End::Keep) if service.last_resort => OutletState::LastResort,
        (Some((index, tier)), _) => OutletState::Tier {
            index,
            group: tier.group.clone(),
            rank: tier.rank,
        },
        (None, End::Keep) => OutletState::LastResort,
        (None, End::Default) => OutletState::Default,
        (None, End::Block) => OutletState::Blocked,
    }
}

/// A group as an outlet of its own.
fn outflow_of(group: &Group) -> Outflow {
    let tiers = group.tiers.iter().zip(1..);
    Outflow {
        group: Some(group.name.clone()),
        tiers: tiers
            .map(|(members, rank)| OutletTier {
                group: Some(group.name.clone()),
                rank,
                members: members.clone(),
                conduct: group.conduct,
            })
            .collect(),
        end: End::Default,
        failback: group.failback,
        sticky: group.sticky,
    }
}

impl Controller {
    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

//! Lines: what is known of each family of each uplink, and its settled health.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use ipnet::Ipv6Net;
use uplinkd_model::{
    Access, Config, Family, Group, Health, Mark, Observed, ProbeSpec, Question, Reason, Subject,
    Target, Uplink, UplinkName, notice::Notice,
};

use super::{Controller, serve::News};
use crate::{
    Time,
    balance::Balancer,
    event::Asking,
    facts::{Known, Learned, LinkState, link_state},
    families::FAMILIES,
    health::{
        damping::Damping, limits::GroupLimits, neighbour::Neighbour, segments::Segments,
        traffic::Traffic,
    },
    prefixes::Prefixes,
    probe::{Burst, TargetKey, TargetState},
};

/// How many addresses of other interfaces are taken for such that a line without one was masqueraded
/// behind. The kernel takes the first that it finds, so that later ones hardly matter.
const OTHERS_MAX: usize = 16;

/// One family of one uplink.
#[derive(Clone, Debug)]
pub(super) struct LineState {
    /// The uplink's index in the configuration.
    pub(super) uplink: usize,
    pub(super) family: Family,
    pub(super) health: Health,
    pub(super) reason: Reason,
    pub(super) since: Time,
    pub(super) link: LinkState,
    pub(super) known: Known,
    pub(super) targets: Vec<TargetState>,
    /// Serves while its health is unknown, because the kernel has it in service or nobody.
    pub(super) serves_unknown: bool,
    /// Connections that must leave connection tracking once somebody else serves.
    pub(super) flush: Option<Mark>,
    /// The addresses that it had when its link was last usable.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Addresses that it no longer has, whose connections must leave connection tracking.
    pub(super) stale: BTreeSet<IpAddr>,
    /// What link and targets said last, before holds and damping.
    pub(super) judged: Health,
    /// It was down since nothing answered, rather than because of too much loss or delay.
    pub(super) was_silent: bool,
    /// Whether its targets are asked fast.
    pub(super) burst: Burst,
    /// What its interface counts.
    pub(super) traffic: Traffic,
    /// What its TCP connections do.
    pub(super) segments: Segments,
    /// Its gateway in the kernel's neighbour table.
    pub(super) neighbour: Neighbour,
    pub(super) damping: Damping,
    /// Its counters are of use even where nobody is asked.
    pub(super) is_counted: bool,
    /// Its budget is used up, so that it is asked seldom.
    pub(super) is_spared: bool,
    /// What groups put up with, and what of it is too much.
    pub(super) limits: GroupLimits,
    /// It was told that it is held back; told again only after it was let go.
    pub(super) is_held_told: bool,
    /// When its health may change by itself.
    pub(super) wake_at: Option<Time>,
}

impl LineState {
    fn new(uplink: usize, family: Family, access: &Access, now: Time) -> Self {
        Self {
            uplink,
            family,
            health: Health::Unknown,
            reason: Reason::JustStarted,
            since: now,
            link: LinkState::Unusable(Reason::JustStarted),
            known: Known::default(),
            targets: vec![TargetState::default(); access.probe.targets.len()],
            serves_unknown: false,
            flush: None,
            addresses: BTreeSet::new(),
            stale: BTreeSet::new(),
            judged: Health::Unknown,
            was_silent: false,
            burst: Burst::default(),
            traffic: Traffic::default(),
            segments: Segments::default(),
            neighbour: Neighbour::default(),
            damping: Damping::default(),
            limits: GroupLimits::default(),
            is_counted: false,
            is_spared: false,
            is_held_told: false,
            wake_at: None,
        }
    }

    /// The lines of a configuration, of which nothing is known.
    pub(super) fn all(config: &Config, now: Time) -> Vec<Self> {
        let balancer = &Balancer::new(config, Balancer::default());
        let uplinks = config.uplinks.iter().enumerate();
        let lines = uplinks.flat_map(|(index, uplink)| {
            let access = FAMILIES.map(|f| uplink.access(f).map(|a| (f, a)));
            let access = access.into_iter().flatten();
            access.map(move |(family, access)| Self {
                limits: limits_of(config, &uplink.name),
                is_counted: balancer.measures(&uplink.name) || uplink.budget.is_some(),
                ..Self::new(index, family, access, now)
            })
        });
        lines.collect()
    }

    /// Notes which addresses came and went. What talks from one that is gone, or to it, has no future:
    /// the kernel releases only what it masqueraded.
    ///
    /// In a moment without any address of its own the kernel masquerades what leaves by the line
    /// behind an address of another interface, if there is one. Whatever bears one of those `others`
    /// goes as well, since such a moment may be over before anybody sees it.
    fn take_addresses(&mut self, now: BTreeSet<IpAddr>, others: impl Iterator<Item = IpAddr>) {
        let before = std::mem::replace(&mut self.addresses, now);
        if !before.is_subset(&self.addresses) {
            self.stale.extend(others.take(OTHERS_MAX));
        }
        self.stale.extend(before);
        self.stale.retain(|a| !self.addresses.contains(a));
    }

    /// From what is found now to what counts: a line that gets better has to have been as it was for
    /// `hold`, and one that failed too often is held back.
    pub(super) fn settle(
        &mut self,
        verdict: Health,
        reason: Reason,
        spec: &ProbeSpec,
        now: Time,
    ) -> (Health, Reason) {
        self.wake_at = None;
        let was_held = matches!(self.reason, Reason::Held { .. });
        if verdict == Health::Down {
            let has_failed =
                self.health != Health::Unknown && (self.health != Health::Down || was_held);
            if has_failed && counts_as_failure(&reason) {
                self.damping.failed(spec.damping, now);
            }
            return (verdict, reason);
        }
        if self.health == Health::Down
            && let Some((until, failures)) = self.damping.held_until(spec.damping, now)
        {
            self.wake_at = Some(until);
            let left = until.since(now);
            return (Health::Down, Reason::Held { failures, left });
        }
        let is_better = verdict < self.health && self.health != Health::Unknown;
        let kept_until = self.since + spec.hold;
        if is_better && now < kept_until && !was_held {
            self.wake_at = Some(kept_until);
            return (self.health, self.reason.clone());
        }
        (verdict, reason)
    }

    /// Whether its health lets it serve.
    pub(super) fn is_live(&self) -> bool {
        match self.health {
            Health::Up | Health::Degraded => true,
            Health::Unknown => self.serves_unknown,
            Health::Down => false,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        self.link == LinkState::Absent
    }

    fn is_first_look(&self) -> bool {
        self.health == Health::Unknown && self.reason == Reason::JustStarted
    }
}

impl Controller {
    /// The uplink of a line.
    pub(super) fn uplink_of(&self, line: usize) -> &Uplink {
        &self.config.uplinks[self.lines[line].uplink]
    }

    /// The line of an uplink's family, where the file has it.
    pub(super) fn line_of(&self, family: Family, uplink: &UplinkName) -> Option<usize> {
        let mut lines = 0..self.lines.len();
        lines.find(|n| self.lines[*n].family == family && self.uplink_of(*n).name == *uplink)
    }

    /// How its family leaves by it.
    pub(super) fn access_of(&self, line: usize) -> &Access {
        access(&self.config, &self.lines[line])
    }

    /// The address of a target, where it has one at the moment.
    pub(super) fn address_of(&self, key: TargetKey) -> Option<IpAddr> {
        match &self.access_of(key.line).probe.targets[key.target] {
            Target::Gateway | Target::Neighbour => self.lines[key.line].link.usable()?.gateway,
            Target::Icmp(address) => Some(*address),
            Target::Service(service) => service.host()?.address(),
        }
    }

    /// Whether a target can be asked at the moment.
    pub(super) fn can_ask(&self, key: TargetKey) -> bool {
        match &self.access_of(key.line).probe.targets[key.target] {
            Target::Icmp(_) | Target::Service(_) => true,
            Target::Gateway | Target::Neighbour => self.address_of(key).is_some(),
        }
    }

    /// What to ask of a target, where it can be asked at the moment.
    pub(super) fn asking_of(&self, key: TargetKey) -> Option<Asking> {
        let (line, spec) = (&self.lines[key.line], &self.access_of(key.line).probe);
        let target = &spec.targets[key.target];
        let subject = match target {
            Target::Gateway | Target::Icmp(_) => {
                return self.address_of(key).map(Asking::Echo);
            }
            Target::Neighbour => Subject::Neighbour(self.address_of(key)?),
            Target::Service(service) => Subject::Service(Arc::clone(service)),
        };
        let link = line.link.usable();
        let own = link.and_then(|l| l.addresses.first());
        Some(Asking::Question(Question {
            subject,
            family: line.family,
            source: own.map(ipnet::IpNet::addr),
            limit: target.limit(spec.timeout),
        }))
    }

    /// An interface changed: what its carrier says counts at once, the rest is looked up.
    pub(super) fn take_link(
        &mut self,
        index: u32,
        name: &str,
        (admin_up, carrier, gone): (bool, bool, bool),
        now: Time,
    ) {
        let is_uplinks = self.config.uplinks.iter().any(|u| u.interface == name);
        let is_awaited = self.awaits_a_name();
        let Some(observed) = self.observed.as_mut() else {
            return;
        };
        let known = observed.links.get(&index);
        if known.is_none_or(|l| l.device.name != name) {
            if is_uplinks || known.is_some() {
                self.look_now(now, false);
            } else if is_awaited {
                self.look_soon(now, false);
            }
            return;
        }
        if gone {
            observed.links.remove(&index);
        } else if let Some(link) = observed.links.get_mut(&index) {
            if (link.admin_up, link.carrier) == (admin_up, carrier) {
                // It may have changed twice while nobody told us, and the kernel has then removed
                // its nexthops, of which it never tells.
                if is_uplinks || is_awaited {
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

    /// Judges every line's link again from what was last observed.
    pub(super) fn take_facts(&mut self, now: Time) {
        let Some(observed) = self.observed.take() else {
            return;
        };
        // Before the links, of which some have no other address than one of their prefix.
        self.learn_prefixes(&observed);
        for index in 0..self.lines.len() {
            let (uplink, family) = (self.uplink_of(index), self.lines[index].family);
            let known = |family| self.known_of(self.lines[index].uplink, family);
            let (reserve, prefixes) = (&self.config.reserve, &self.prefixes);
            let link = link_state(uplink, family, &observed, reserve, prefixes, known);
            let interface_name = uplink.interface.clone();
            let interface = observed.link(&interface_name);
            let has_address = interface.is_some_and(|l| l.addresses_of(family).next().is_some());
            self.lines[index].known.was_seen |= has_address || link.usable().is_some();
            if link != self.lines[index].link {
                let others = observed.links.values();
                let others = others.filter(|l| l.device.name != interface_name);
                let others = others
                    .flat_map(|l| l.addresses_of(family))
                    .map(|a| a.addr());
                self.link_changed(index, link, others.filter(|a| !a.is_loopback()));
            }
        }
        self.observed = Some(observed);
        let mut news = News::default();
        for index in 0..self.lines.len() {
            let new = self.judge_line(index, now);
            let news = news.of_mut(self.lines[index].family);
            *news = news.take().or(new);
        }
        self.reselect(news, now);
        // The last resort's members may be others although nobody's service changed.
        self.owe_resort();
        self.advertise();
    }

    /// Learns whose the delegated prefixes are, and tells what is new.
    fn learn_prefixes(&mut self, observed: &Observed) {
        let was_seen = |name: &UplinkName| {
            let index = self.config.uplinks.iter().position(|u| u.name == *name);
            index.is_some_and(|index| self.known_of(index, Family::V6).was_seen)
        };
        let learned = Prefixes::learn(&self.config, observed, &self.prefixes, was_seen);
        let before = std::mem::replace(&mut self.prefixes, learned);
        if before == self.prefixes {
            return;
        }
        let mut news = Vec::new();
        for Uplink { name, slot, .. } in &self.config.uplinks {
            let all = self.prefixes.all_of(name);
            // One that is only known to be larger or smaller now goes on.
            let is_there = |p: &Ipv6Net| all.iter().any(|n| n.contains(p) || p.contains(n));
            let lost = before.all_of(name).iter().filter(|p| !is_there(p));
            let mark = self.config.reserve.mark_all(*slot);
            self.lost_prefixes.extend(lost.map(|p| (mark, *p)));
            self.lost_prefixes
                .retain(|(m, p)| *m != mark || !is_there(p));
            let prefix = self.prefixes.of(name);
            if before.of(name) != prefix {
                let uplink = name.clone();
                news.push(Notice::PrefixChanged { uplink, prefix });
            }
        }
        let unclaimed = self.prefixes.unclaimed.iter();
        let unclaimed = unclaimed.filter(|u| !before.unclaimed.contains(u));
        news.extend(unclaimed.map(|u| Notice::PrefixUnclaimed {
            prefix: u.prefix,
            uplinks: u.uplinks.clone(),
        }));
        self.settle
            .because(|| "the delegated prefixes changed".to_owned());
        news.into_iter().for_each(|notice| self.notify(notice));
    }

    fn known_of(&self, uplink: usize, family: Family) -> Known {
        let mut lines = self.lines.iter();
        let line = lines.find(|l| l.uplink == uplink && l.family == family);
        line.map(|l| l.known).unwrap_or_default()
    }

    /// `others` are the addresses of other interfaces.
    fn link_changed(
        &mut self,
        index: usize,
        link: LinkState,
        others: impl Iterator<Item = IpAddr>,
    ) {
        let slot = self.uplink_of(index).slot;
        let name = self.uplink_of(index).name.clone();
        let (mark_all, mark_out) = (
            self.config.reserve.mark_all(slot),
            self.config.reserve.mark_out(slot),
        );
        let line = &mut self.lines[index];
        let family = line.family;
        if let Some(usable) = link.usable() {
            let addresses = usable.addresses.iter().map(ipnet::IpNet::addr);
            let addresses = addresses.chain(usable.borrowed.map(IpAddr::V6));
            line.take_addresses(addresses.collect(), others);
        }
        let was_usable = line.link.usable().is_some();
        let is_first_look = line.is_first_look();
        if line.is_absent() {
            // It came later than we did. The first of its family serves at once.
            line.serves_unknown = self.service.of(family).uplinks.is_empty();
        }
        line.link = link;
        let Some(usable) = line.link.usable() else {
            if was_usable {
                // The address may be gone for good, so inbound connections go as well.
                line.flush = Some(mark_all);
                line.targets
                    .iter_mut()
                    .for_each(|t| *t = TargetState::distrusted());
            }
            let is_missed = !line.is_absent();
            if !is_missed {
                (line.health, line.reason) = (Health::Unknown, Reason::JustStarted);
                line.judged = Health::Unknown;
            }
            line.burst.end();
            line.limits.forget();
            line.wake_at = None;
            for key in TargetKey::all(index, line.targets.len()) {
                self.schedule.stop(key);
            }
            if is_missed {
                self.settle
                    .because(|| format!("uplink {name} is not usable ({family})"));
            }
            return;
        };
        if !was_usable {
            line.traffic.start_anew();
            line.segments.start_anew();
            // What comes in from now on is answered, even where the release is still owed.
            line.flush = line.flush.map(|_| mark_out);
        }
        if !was_usable && !is_first_look {
            line.targets
                .iter_mut()
                .for_each(|t| *t = TargetState::distrusted());
        }
        self.settle
            .because(|| format!("the link of uplink {name} changed ({family})"));
        let learned = Learned {
            gateway: usable.gateway,
            on_link: usable.on_link,
            advertised: usable.advertised,
        };
        let before = line.known.gateway.replace(learned);
        if before.is_none_or(|b| b.gateway != usable.gateway) || is_first_look {
            let gateway = usable
                .gateway
                .map_or_else(|| "none (point to point)".to_owned(), |g| g.to_string());
            let targets = &access(&self.config, line).probe.targets;
            for (target, asked) in targets.iter().enumerate() {
                if asked.is_local() {
                    line.targets[target] = TargetState::default();
                    self.schedule.stop(TargetKey {
                        line: index,
                        target,
                    });
                }
            }
            self.notify(Notice::GatewayChanged {
                uplink: name,
                family,
                gateway,
            });
        }
    }
}

/// The limits of all groups that an uplink is in.
fn limits_of(config: &Config, name: &UplinkName) -> GroupLimits {
    let is_in = |group: &&Group| group.tiers.iter().flatten().any(|m| m.uplink == *name);
    let groups = config.groups.iter().filter(is_in);
    GroupLimits::new(groups.filter_map(|g| g.conduct.yield_at).collect())
}

/// Whether a line that goes down like this may be flapping. Addresses and interfaces that come and go
/// are somebody's doing.
fn counts_as_failure(reason: &Reason) -> bool {
    match reason {
        Reason::NoCarrier
        | Reason::TargetsSilent { .. }
        | Reason::Lossy { .. }
        | Reason::Slow { .. } => true,
        Reason::JustStarted
        | Reason::InterfaceMissing { .. }
        | Reason::InterfaceAdminDown
        | Reason::NoAddress
        | Reason::NoPrefixAddress { .. }
        | Reason::NoGateway
        | Reason::GatewayOffLink { .. }
        | Reason::Probing { .. }
        | Reason::TargetsAnswer { .. }
        | Reason::LinkOnly
        | Reason::TargetsDown
        | Reason::TrafficFlows { .. }
        | Reason::Full
        | Reason::Held { .. } => false,
    }
}

pub(super) fn access<'a>(config: &'a Config, line: &LineState) -> &'a Access {
    config.uplinks[line.uplink]
        .access(line.family)
        .expect("a line is made only of a family that its uplink has")
}

//! The file is read again, the wall clock goes on, somebody asks for failback: what people do.

use std::{collections::BTreeSet, time::Duration};

use uplinkd_core::Event;
use uplinkd_model::{
    By, Family, Order,
    policy::{MINUTES_PER_WEEK, PolicyFlows},
};
use uplinkd_policy::{Answer, Flow, Origin, naive};

use super::{Happening, World};
use crate::{
    kernel::{Connection, Direction},
    operate::Deed,
    reference::{LayoutKind, layouts},
    scenario::{LAN, file},
};

/// How long a minute of the wall clock is.
const MINUTE: Duration = Duration::from_secs(60);

/// What a review of existing connections must come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Review {
    /// Connections that the policies forbid the uplink they are on, by number.
    pub(crate) condemned: BTreeSet<u32>,
    /// Those that were so under this file or an earlier one: a plan under way may be about these.
    pub(super) ever: BTreeSet<u32>,
}

/// What a review makes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It must be released.
    Condemned,
    /// It may be: wherever it came in, a policy forbids it its uplink.
    Doubtful,
    /// It must not.
    Spared,
}

impl World {
    pub(super) fn reload(&mut self, groups: bool) -> Result<(), String> {
        self.report.reloads += 1;
        let scenario = &mut self.scenario;
        let (config, codes) = (&mut scenario.config, &mut scenario.codes);
        let before = config.clone();
        if groups {
            // Now and then the file loses an uplink, or gets it back.
            let mut all = scenario.uplinks.clone();
            if all.len() > 2 && self.luck.bool() {
                all.retain(|_| self.luck.u8(0..4) > 0);
            }
            if !all.is_empty() {
                config.uplinks = all;
            }
            let now = self.agenda.now();
            for (index, line) in self.net.lines.iter_mut().enumerate() {
                let was = std::mem::replace(&mut line.routed, config.uplink(&line.name).is_some());
                if was != line.routed {
                    self.watch.line_struck(index, now);
                }
            }
            file::draw(&mut self.luck, config, codes, self.minute);
        } else {
            file::draw_policies(&mut self.luck, config, codes, self.minute);
        }
        let config = config.clone();
        self.earlier.append(&mut self.layouts);
        self.layouts = layouts(&config, &self.net);
        self.said.settled = false;
        self.watch.said_version += 1;
        self.review.condemned.clear();
        self.ways_after_reload(&before);
        self.tiers_after_reload(&before);
        self.forget_lost_lines();
        self.say_file();
        let until = self.now() + Duration::from_secs(1);
        self.watch.late_until(until);
        self.feed(Event::Config(Box::new(config)))?;
        self.tell_time()
    }

    /// Of lines that the file has lost, connections are released by the daemon that was told so.
    pub(super) fn forget_lost_lines(&mut self) {
        for (line, forgotten) in self.net.lines.iter().zip(&mut self.watch.forgotten) {
            *forgotten = !line.routed && (*forgotten || self.daemon.is_none());
        }
    }

    /// Whether nobody will release the connections of a line.
    pub(crate) fn is_forgotten(&self, line: usize) -> bool {
        self.watch.forgotten[line]
    }

    /// Tells the daemon the local time, if it wants to know.
    pub(super) fn tell_time(&mut self) -> Result<(), String> {
        let mut daemon = self.daemon.iter();
        if daemon.any(|d| d.controller.wants_local_time()) {
            let minute = self.minute;
            self.say(|| format!("it is minute {minute} of the week"));
            return self.feed(Event::LocalTime { minute });
        }
        Ok(())
    }

    /// The next minute of the wall clock. It stands still once all is quiet.
    pub(super) fn minute_passes(&mut self) -> Result<(), String> {
        if self.is_quiet {
            return Ok(());
        }
        self.note_in(MINUTE, Happening::Minute);
        self.set_clock(1)
    }

    pub(super) fn set_clock(&mut self, minutes: u16) -> Result<(), String> {
        self.minute = (self.minute + minutes) % MINUTES_PER_WEEK;
        self.tell_time()
    }

    /// Ends what would end by itself while the end of the history is judged.
    pub(crate) fn end_wishes(&mut self) -> Result<(), String> {
        let drained = self.wishes.drained.iter().filter(|w| w.until.is_some());
        let drained: Vec<_> = drained.map(|w| w.uplink.clone()).collect();
        for uplink in drained {
            let order = Order::Undrain { uplink };
            self.feed(Event::Operate(order, By::new("somebody")))?;
        }
        self.feed(Event::Operate(Order::Unprefer, By::new("somebody")))
    }

    /// Somebody drains an uplink, or prefers one, or ends that.
    pub(super) fn operate(&mut self, deed: Deed) -> Result<(), String> {
        let name = |n: usize| self.scenario.uplinks[n].name.clone();
        let order = match deed {
            Deed::Drain(n, span) => Order::Drain {
                uplink: name(n),
                span: span.map(Duration::from_secs),
            },
            Deed::Undrain(n) => Order::Undrain { uplink: name(n) },
            Deed::Prefer(n, span) => Order::Prefer {
                uplink: name(n),
                span: Duration::from_secs(span),
            },
            Deed::Unprefer => Order::Unprefer,
        };
        self.was_operated = true;
        self.feed(Event::Operate(order, By::new("somebody")))
    }

    /// Somebody wants an outlet, or the group that it begins with, to return to its best tier.
    pub(super) fn fail_back(&mut self, number: u8) -> Result<(), String> {
        let number = usize::from(number);
        let layout = &self.layouts[number % self.layouts.len()].v4;
        let group = layout.group.clone().filter(|_| number.is_multiple_of(2));
        let name = group.unwrap_or_else(|| layout.name.clone());
        self.say(|| format!("somebody asks for failback of {name}"));
        self.tiers.told = Some(name.clone());
        let result = self.feed(Event::Failback {
            name,
            by: By::new("somebody"),
        });
        self.tiers.told = None;
        result
    }

    /// Answers the daemon's question for connections, and works out what it must do about them.
    pub(super) fn list_connections(&mut self) -> Result<(), String> {
        let connections = &self.kernel.connections;
        let verdicts = connections.iter().map(|c| (c.id, self.verdict(c)));
        let verdicts: Vec<_> = verdicts.collect();
        let condemned = verdicts.iter().filter(|(_, v)| *v == Verdict::Condemned);
        self.review.condemned = condemned.map(|(id, _)| *id).collect();
        let fair = verdicts.iter().filter(|(_, v)| *v != Verdict::Spared);
        self.review.ever.extend(fair.map(|(id, _)| *id));
        let list = connections.iter().map(Connection::listed).collect();
        let condemned = self.review.condemned.clone();
        self.say(|| format!("connections are listed; forbidden are {condemned:?}"));
        self.feed(Event::Connections(list))
    }

    /// Whether a policy certainly takes a connection, would not lead it out by its uplink, and says
    /// that such connections move. Where a forwarded one came in, nobody remembers.
    fn verdict(&self, connection: &Connection) -> Verdict {
        let original = connection.original();
        let config = &self.scenario.config;
        let port = |kind| match kind {
            uplinkd_model::connection::TupleKind::Ports {
                source,
                destination,
            } => (Some(source), Some(destination)),
            uplinkd_model::connection::TupleKind::Icmp { .. }
            | uplinkd_model::connection::TupleKind::Other => (None, None),
        };
        let (source_port, destination_port) = port(original.kind);
        let mut links = self.kernel.links();
        let is_own = links.any(|l| l.addresses.iter().any(|a| a.addr() == original.source));
        let flow = |origin| Flow {
            source: Some(original.source),
            destination: Some(original.destination),
            protocol: Some(original.protocol),
            source_port,
            destination_port,
            origin,
            ..Flow::unknown(connection.talk.family)
        };
        let forbids = |origin| {
            let (policies, outlets) = (&config.policies, &config.outlets);
            let answer = naive(policies, outlets, &flow(origin), self.minute);
            let Answer::Policy { policy, .. } = answer else {
                return false;
            };
            let policy = &config.policies[policy];
            policy.flows == PolicyFlows::Move
                && !self.may_lead(policy.outlet, connection.line, connection.talk.family)
        };
        if connection.direction == Direction::Inbound || !self.net.lines[connection.line].routed {
            return Verdict::Spared;
        }
        if is_own && forbids(Origin::Own) || !is_own && forbids(Origin::Unknown) {
            return Verdict::Condemned;
        }
        let interfaces = [LAN, "elsewhere"].map(|name| Origin::Interface(name.to_owned()));
        let mut origins = interfaces.into_iter().chain([Origin::Own]);
        if !is_own && origins.all(forbids) {
            return Verdict::Doubtful;
        }
        Verdict::Spared
    }

    /// Whether an outlet may lead out by a line now.
    fn may_lead(&self, outlet: usize, line: usize, family: Family) -> bool {
        let layout = self.layouts[outlet].of(family);
        let is_served = self.said.tier(outlet, family).is_some();
        match layout.kind {
            LayoutKind::Block | LayoutKind::Main => false,
            LayoutKind::Uplinks(uplinkd_model::policy::End::Default) if !is_served => {
                layout.has(line) || self.layouts[0].of(family).has(line)
            }
            LayoutKind::Uplinks(_) => layout.has(line),
        }
    }

    /// Writes the file into the trace.
    pub(crate) fn say_file(&mut self) {
        if self.trace.is_none() {
            return;
        }
        let config = self.scenario.config.clone();
        for layouts in self.layouts.clone() {
            for layout in [&layouts.v4, &layouts.v6] {
                self.say(|| {
                    format!(
                        "outlet {} {}: {:?}, lines {:?}, {:?}, sticky {}",
                        layout.code,
                        layout.name,
                        layout.kind,
                        layout.tiers,
                        layout.failback,
                        layout.sticky
                    )
                });
            }
        }
        for policy in &config.policies {
            self.say(|| {
                let clauses: Vec<_> = policy.clauses.iter().map(|c| &c.text).collect();
                let outlet = &config.outlets[policy.outlet].name;
                format!(
                    "policy {}: {clauses:?} -> {outlet}, {:?}",
                    policy.name, policy.flows
                )
            });
        }
    }
}

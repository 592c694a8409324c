//! The invariants that are checked after everything that happens.
//!
//! Those that speak of time hold only while nobody works against the daemon: refusals, lost
//! notifications and rivals excuse it for as long as its own back-off and slow looks may take.

use std::time::Duration;

use uplinkd_core::Time;
use uplinkd_model::{Health, Step};

use super::{
    World,
    traffic::{CLIENT, new_packet},
};
use crate::{
    kernel::{Direction, Packet},
    reference::{self, Expected},
    scenario::LAN,
};

/// Looks and plans in any one second, at most. A look every 20 ms is what constant hints bring.
const LOOKS_MAX: u32 = 90;
const PLANS_MAX: u32 = 45;
/// How long a connection may be moved after its uplink left service or lost its link: what a plan
/// that is under way may still do.
const EXCUSE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Watch {
    /// Served by kernel and daemon alike, and nothing has struck it since.
    pub(super) installed: Vec<bool>,
    /// Since when its line has been without fault.
    pub(super) perfect_since: Vec<Option<Time>>,
    /// Since when its link has not worked, or, with true, too few of its targets would answer.
    down_since: Vec<Option<(Time, bool)>>,
    /// The two above have to be looked at again.
    is_struck: Vec<bool>,
    excused_service: Vec<Excuse>,
    excused_link: Vec<Excuse>,
    /// Until then the daemon may be late.
    disturbed_until: Time,
    /// Until then what the daemon has put in place may be missing.
    pub(super) shielded_until: Time,
    bad_since: Option<Time>,
    seen: Option<(u64, u64)>,
    pub(super) said_version: u64,
    second: u64,
    looks: u32,
    plans: u32,
    ticks_at_once: u32,
    pub(super) is_removing: bool,
    /// The uplinks in service when the last plan was made.
    pub(super) at_plan: Vec<bool>,
    /// When something last happened to a line.
    struck_at: Time,
}

/// Something is wrong now, or was so lately.
#[derive(Clone, Copy, Debug, Default)]
struct Excuse {
    lasts: bool,
    until: Time,
}

impl Excuse {
    fn go_on(&mut self, lasts: bool, now: Time) {
        if self.lasts || lasts {
            self.until = now + EXCUSE;
        }
        self.lasts = lasts;
    }

    fn holds(&self, now: Time) -> bool {
        self.lasts || self.until >= now
    }
}

impl Watch {
    pub(super) fn new(uplinks: usize) -> Self {
        Self {
            installed: vec![false; uplinks],
            perfect_since: vec![None; uplinks],
            down_since: vec![None; uplinks],
            is_struck: vec![true; uplinks],
            excused_service: vec![Excuse::default(); uplinks],
            excused_link: vec![Excuse::default(); uplinks],
            disturbed_until: Time::default(),
            shielded_until: Time::default(),
            bad_since: None,
            seen: None,
            said_version: 0,
            second: 0,
            looks: 0,
            plans: 0,
            ticks_at_once: 0,
            is_removing: false,
            at_plan: Vec::new(),
            struck_at: Time::default(),
        }
    }

    /// Somebody works against the daemon; so many seconds later it has no excuse any more.
    pub(super) fn disturb(&mut self, now: Time, seconds: u64) {
        let until = now + Duration::from_secs(seconds);
        self.shielded_until = self.shielded_until.max(until);
        self.late_until(until);
    }

    /// The daemon may be late until then, but nothing that is in place may go.
    pub(super) fn late_until(&mut self, until: Time) {
        self.disturbed_until = self.disturbed_until.max(until);
    }

    /// A rival touched what is ours.
    pub(super) fn tampered(&mut self, now: Time) {
        self.installed.fill(false);
        self.disturb(now, 12);
    }

    /// Something happened to a line.
    pub(super) fn line_struck(&mut self, uplink: usize, now: Time) {
        self.struck_at = now;
        self.installed[uplink] = false;
        self.perfect_since[uplink] = None;
        self.down_since[uplink] = None;
        self.is_struck[uplink] = true;
    }

    /// A plan made of fresh facts must not hold what the kernel cannot do.
    pub(super) fn judge_refusal(&self, step: &Step, text: &str, now: Time) -> Result<(), String> {
        let never_struck = self.struck_at == Time::default();
        let is_calm = never_struck || now.since(self.struck_at) > Duration::from_secs(1);
        if is_calm && now >= self.shielded_until {
            return Err(format!(
                "`{step}` was refused, though nothing had happened: {text}"
            ));
        }
        Ok(())
    }

    pub(super) fn looked(&mut self, now: Time) -> Result<(), String> {
        self.count(now);
        self.looks += 1;
        if self.looks > LOOKS_MAX {
            return Err(format!("more than {LOOKS_MAX} looks in one second"));
        }
        Ok(())
    }

    pub(super) fn applied(&mut self, now: Time, in_service: &[bool]) -> Result<(), String> {
        self.at_plan = in_service.to_vec();
        self.count(now);
        self.plans += 1;
        if self.plans > PLANS_MAX {
            return Err(format!("more than {PLANS_MAX} plans in one second"));
        }
        Ok(())
    }

    fn count(&mut self, now: Time) {
        if now.0.as_secs() != self.second {
            (self.second, self.looks, self.plans) = (now.0.as_secs(), 0, 0);
        }
    }

    /// A tick that does not bring time forward must not follow on a thousand others.
    pub(super) fn tick(&mut self, stands_still: bool) -> Result<(), String> {
        self.ticks_at_once = if stands_still {
            self.ticks_at_once + 1
        } else {
            0
        };
        if self.ticks_at_once > 1000 {
            return Err("the daemon wants to be woken again and again at one moment".to_owned());
        }
        Ok(())
    }
}

impl World {
    /// The uplinks by which the default group's table sends new connections; none where it has no
    /// way out for them.
    pub(crate) fn exits(&self) -> Option<Vec<usize>> {
        let answer = self.kernel.lookup(&new_packet(Direction::Lan))?;
        if answer.table != self.scenario.config.reserve.table_group(0) {
            return None;
        }
        let exits: Vec<_> = answer
            .ways
            .iter()
            .filter_map(|w| self.uplink_of(w))
            .collect();
        (!exits.is_empty()).then_some(exits)
    }

    /// Whether the interface of an uplink can carry something, going by the kernel.
    pub(crate) fn link_works(&self, uplink: usize) -> bool {
        let line = &self.net.lines[uplink];
        self.kernel
            .link(&line.interface)
            .is_some_and(|l| l.admin_up && l.carrier && l.addresses.contains(&line.address))
    }

    /// From now on everything is taken away on purpose.
    pub(crate) fn begin_removal(&mut self) {
        self.watch.is_removing = true;
    }

    /// The daemon cannot have what it wants in this history.
    pub(crate) fn excuse_for_ever(&mut self) {
        self.watch.disturb(Time(Duration::from_secs(1 << 30)), 0);
    }

    pub(crate) fn check(&mut self) -> Result<(), String> {
        if let Some(trespass) = self.kernel.trespass() {
            return Err(format!("a step touched what is not ours: it {trespass}"));
        }
        self.look_at_lines();
        self.check_down()?;
        let seen = Some((self.kernel.version(), self.watch.said_version));
        if seen != self.watch.seen {
            self.watch.seen = seen;
            self.check_ways()?;
        }
        let late = self.lateness();
        if let Some(since) = self.watch.bad_since
            && self.now().since(since.max(self.watch.disturbed_until)) > late
        {
            return Err(format!(
                "for {late:?} new connections go by {:?}, while {:?} are in service",
                self.exits(),
                self.said.in_service
            ));
        }
        Ok(())
    }

    fn look_at_lines(&mut self) {
        for uplink in 0..self.watch.is_struck.len() {
            if !std::mem::take(&mut self.watch.is_struck[uplink]) {
                continue;
            }
            let now = self.now();
            let is_told = self.gateway_is_told(uplink);
            let is_perfect = is_told && self.net.is_perfect(&self.kernel, uplink);
            self.watch.perfect_since[uplink] = is_perfect.then_some(now);
            let expected = reference::expected(&self.scenario.config, &self.kernel, &self.net);
            let Expected { health, usable } = expected[uplink];
            let is_certain = !usable || is_told && self.link_works(uplink);
            let is_down = is_certain && health == Health::Down;
            self.watch.down_since[uplink] = is_down.then_some((now, usable));
        }
    }

    /// A link that is lost is known at once, silent targets in the time that their probes take.
    fn check_down(&self) -> Result<(), String> {
        if !self.daemon.as_ref().is_some_and(|d| d.has_looked) {
            return Ok(());
        }
        for (uplink, since) in self.watch.down_since.iter().enumerate() {
            let Some((since, usable)) = since.filter(|_| self.said.health[uplink] == Health::Up)
            else {
                continue;
            };
            let spec = &self.scenario.config.uplinks[uplink].probe;
            let probes = spec.interval * (spec.fall + 1) + spec.timeout;
            let longest = self.lateness() + if usable { probes } else { Duration::ZERO };
            if self.now().since(since.max(self.watch.disturbed_until)) > longest {
                return Err(format!(
                    "uplink {uplink} is up, though it was not for {longest:?}"
                ));
            }
        }
        Ok(())
    }

    /// How late the daemon may be with nobody working against it.
    fn lateness(&self) -> Duration {
        Duration::from_millis(400 + 20 * self.scenario.look_ms_max)
    }

    fn check_ways(&mut self) -> Result<(), String> {
        let (now, count) = (self.now(), self.net.lines.len());
        let works: Vec<bool> = (0..count).map(|u| self.link_works(u)).collect();
        for (uplink, works) in works.iter().copied().enumerate() {
            // What the kernel took away is missing until the daemon has put it back.
            let lost = |e: &Excuse, mark| e.lasts && !self.is_pinned_well(uplink, mark);
            let link = !works
                || !self.gateway_is_told(uplink)
                || lost(&self.watch.excused_link[uplink], Direction::Inbound);
            let service = !works
                || !self.said.in_service[uplink]
                || lost(&self.watch.excused_service[uplink], Direction::Lan);
            self.watch.excused_link[uplink].go_on(link, now);
            self.watch.excused_service[uplink].go_on(service, now);
            if !self.said.in_service[uplink] {
                self.watch.installed[uplink] = false;
            } else if self.said.settled && works && self.is_pinned_well(uplink, Direction::Lan) {
                self.watch.installed[uplink] = true;
            }
        }
        self.check_lan()?;
        if self.watch.is_removing {
            return Ok(());
        }
        let exits = self.exits();
        let promised =
            (0..count).find(|u| self.watch.installed[*u] && self.said.in_service[*u] && works[*u]);
        if let Some(uplink) = promised.filter(|_| now >= self.watch.shielded_until) {
            let fits = exits
                .as_ref()
                .is_some_and(|e| e.iter().all(|u| works[*u] || !self.watch.installed[*u]));
            if !fits {
                return Err(format!(
                    "uplink {uplink} is in service, but new connections go by {exits:?}"
                ));
            }
        }
        let somebody = (0..count).any(|u| self.said.in_service[u] && works[u]);
        let strays = exits
            .as_ref()
            .is_none_or(|e| e.iter().any(|u| !self.said.in_service[*u]));
        let is_bad = self.daemon.as_ref().is_some_and(|d| d.has_looked) && somebody && strays;
        self.watch.bad_since = is_bad.then(|| self.watch.bad_since.unwrap_or(now));
        self.check_connections()
    }

    /// Whether the connections of an uplink find their way by their mark.
    pub(crate) fn is_pinned_well(&self, uplink: usize, direction: Direction) -> bool {
        let reserve = &self.scenario.config.reserve;
        let slot = self.scenario.config.uplinks[uplink].slot;
        let (mark, table) = match direction {
            Direction::Inbound => (reserve.mark_in(slot), reserve.table_path(slot)),
            Direction::Lan | Direction::Own => {
                (reserve.mark_out(slot), reserve.table_service(slot))
            }
        };
        let packet = Packet {
            mark: mark.value,
            ..new_packet(direction)
        };
        self.kernel
            .lookup(&packet)
            .is_some_and(|a| a.table == table)
    }

    /// A connection moves only where its uplink failed.
    fn check_connections(&mut self) -> Result<(), String> {
        if self.kernel.nft().is_none() {
            return Ok(());
        }
        let now = self.now();
        for index in 0..self.kernel.connections.len() {
            let connection = &self.kernel.connections[index];
            let astray = !self.stays(connection);
            if astray && !connection.astray {
                let (uplink, direction) = (connection.uplink, connection.direction);
                if !self.may_move(uplink, direction) && now >= self.watch.shielded_until {
                    return Err(format!(
                        "connection {} ({direction:?}) lost its way, though uplink {uplink} did not fail",
                        connection.id
                    ));
                }
                self.report.moved += 1;
            }
            self.kernel.connections[index].astray = astray;
        }
        Ok(())
    }

    /// What is for the LAN goes there, whatever its mark, and so it must while we are taken away.
    fn check_lan(&self) -> Result<(), String> {
        let reserve = &self.scenario.config.reserve;
        if self.now() < self.watch.shielded_until {
            return Ok(());
        }
        for uplink in &self.scenario.config.uplinks {
            let marks = [reserve.mark_out(uplink.slot), reserve.mark_in(uplink.slot)];
            for mark in [0, marks[0].value, marks[1].value] {
                let packet = Packet {
                    mark,
                    iif: if mark == 0 { "lo" } else { &uplink.interface },
                    to: CLIENT,
                    ..new_packet(Direction::Own)
                };
                let answer = self.kernel.lookup(&packet);
                let way = answer.as_ref().and_then(|a| a.ways.first());
                if way.and_then(|w| self.kernel.name_of(w.ifindex)) != Some(LAN) {
                    return Err(format!(
                        "a packet for the LAN, mark {mark:#x}, goes by {answer:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether its uplink failed, or did so lately.
    pub(super) fn may_move(&self, uplink: usize, direction: Direction) -> bool {
        let now = self.now();
        let link = self.watch.excused_link[uplink].holds(now);
        link || direction != Direction::Inbound && self.watch.excused_service[uplink].holds(now)
    }
}

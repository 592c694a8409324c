//! The invariants that are checked after everything that happens.
//!
//! Those that speak of time hold only while nobody works against the daemon: refusals, lost
//! notifications and rivals excuse it for as long as its own back-off and slow looks may take.

use std::time::Duration;

use uplinkd_core::{PerFamily, Time};
use uplinkd_model::{Family, Health, Step};

use super::{World, traffic::new_packet};
use crate::{
    kernel::{Direction, Fate, Packet, client},
    reference::{self, Expected},
    scenario::LAN,
};

/// Looks and plans in any one second, at most. A look every 20 ms is what constant hints bring.
const LOOKS_MAX: u32 = 90;
const PLANS_MAX: u32 = 45;
/// How long a connection may be moved after its line left service or lost its link: what a plan
/// that is under way may still do.
const EXCUSE: Duration = Duration::from_secs(2);

/// The lines by which the default group sends new connections; none where it has no way out.
pub(super) type Exits = PerFamily<Option<Vec<usize>>>;

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
    pub(super) disturbed_until: Time,
    /// Until then what the daemon has put in place may be missing.
    pub(super) shielded_until: Time,
    /// The default group's exits, and the version of the kernel that they were found in.
    exits: Option<(u64, Exits)>,
    /// What was seen at the last check: the versions of kernel and opinion, and whether anybody
    /// worked against the daemon.
    seen: Option<(u64, u64, bool)>,
    pub(super) said_version: u64,
    second: u64,
    looks: u32,
    plans: u32,
    ticks_at_once: u32,
    pub(super) is_removing: bool,
    /// The lines in service when the last plan was made.
    pub(super) at_plan: Vec<bool>,
    /// The file lost it while no daemon was there to release its connections: nobody does.
    pub(crate) forgotten: Vec<bool>,
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
    pub(super) fn new(lines: usize) -> Self {
        Self {
            installed: vec![false; lines],
            perfect_since: vec![None; lines],
            down_since: vec![None; lines],
            is_struck: vec![true; lines],
            excused_service: vec![Excuse::default(); lines],
            excused_link: vec![Excuse::default(); lines],
            disturbed_until: Time::default(),
            shielded_until: Time::default(),
            exits: None,
            seen: None,
            said_version: 0,
            second: 0,
            looks: 0,
            plans: 0,
            ticks_at_once: 0,
            is_removing: false,
            at_plan: Vec::new(),
            forgotten: vec![false; lines],
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
    pub(super) fn line_struck(&mut self, line: usize, now: Time) {
        self.struck_at = now;
        self.installed[line] = false;
        self.perfect_since[line] = None;
        self.down_since[line] = None;
        self.is_struck[line] = true;
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
    /// The lines by which the default group's table sends new connections; none where it has no way
    /// out for them.
    pub(crate) fn exits(&self, family: Family) -> Option<Vec<usize>> {
        let answer = self.kernel.lookup(&new_packet(Direction::Lan, family, 0))?;
        if answer.table != self.scenario.config.reserve.table_outlet(0) {
            return None;
        }
        let lines = self.lines_by(&answer, family);
        let exits: Vec<_> = lines.into_iter().map(|(line, _)| line).collect();
        (!exits.is_empty()).then_some(exits)
    }

    /// The same for both families, worked out once for each change of the kernel.
    pub(super) fn exits_now(&mut self) -> Exits {
        let version = self.kernel.version();
        if let Some((at, exits)) = &self.watch.exits
            && *at == version
        {
            return exits.clone();
        }
        let exits = PerFamily::from_fn(|family| self.exits(family));
        self.watch.exits = Some((version, exits.clone()));
        exits
    }

    /// Nothing has happened to any line for a while.
    pub(super) fn was_calm(&self) -> bool {
        let now = self.now();
        let is_calm = now.since(self.watch.struck_at) > Duration::from_secs(1);
        is_calm && now >= self.watch.shielded_until
    }

    /// Whether the interface of a line can carry something, going by the kernel.
    pub(crate) fn link_works(&self, line: usize) -> bool {
        self.net.has_link(&self.kernel, line)
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
        let is_shielded = self.now() < self.watch.shielded_until;
        let seen = Some((self.kernel.version(), self.watch.said_version, is_shielded));
        if seen != self.watch.seen {
            self.watch.seen = seen;
            self.check_ways()?;
        }
        self.check_lateness()?;
        self.check_overdue()
    }

    fn look_at_lines(&mut self) {
        for line in 0..self.watch.is_struck.len() {
            if !std::mem::take(&mut self.watch.is_struck[line]) {
                continue;
            }
            let now = self.now();
            let is_told = self.gateway_is_told(line);
            let is_perfect = is_told && self.net.is_perfect(&self.kernel, line);
            self.watch.perfect_since[line] = is_perfect.then_some(now);
            let expected = reference::expected(&self.scenario.uplinks, &self.kernel, &self.net);
            let Expected {
                health,
                usable,
                has_dead_host,
                ..
            } = expected[line];
            let is_certain = !usable || is_told && self.link_works(line) && !has_dead_host;
            let is_down = is_certain && health == Health::Down;
            self.watch.down_since[line] = is_down.then_some((now, usable));
        }
    }

    /// A link that is lost is known at once, silent targets in the time that their probes take.
    fn check_down(&self) -> Result<(), String> {
        if !self.daemon.as_ref().is_some_and(|d| d.has_looked) {
            return Ok(());
        }
        for (line, since) in self.watch.down_since.iter().enumerate() {
            let Some((since, usable)) = since.filter(|_| self.said.health[line] == Health::Up)
            else {
                continue;
            };
            let probes = self.time_to_fall(line);
            let longest = self.lateness() + if usable { probes } else { Duration::ZERO };
            if self.now().since(since.max(self.watch.disturbed_until)) > longest {
                let snapshot = self.daemon.as_ref().map(|d| d.controller.snapshot());
                let own = snapshot.as_ref().and_then(|s| s.lines.get(line));
                let why = own.map(|l| (&l.reason, &l.targets));
                return Err(format!(
                    "line {line} is up, though it was not for {longest:?}: {why:?}"
                ));
            }
        }
        Ok(())
    }

    /// How long the probes of a line need to find out that it is down.
    pub(crate) fn time_to_fall(&self, line: usize) -> Duration {
        let line = &self.net.lines[line];
        let access = self.scenario.uplinks[line.uplink].access(line.family);
        let spec = access.map(|a| &a.probe);
        // A line that lost packets before needs more misses, which come at the pace of a burst.
        spec.map_or(Duration::ZERO, |s| {
            s.interval + s.timeout + s.burst.min(s.interval) * (s.fall.max(10) + 3)
        })
    }

    /// How late the daemon may be with nobody working against it.
    pub(super) fn lateness(&self) -> Duration {
        Duration::from_millis(400 + 20 * self.scenario.look_ms_max)
    }

    fn check_ways(&mut self) -> Result<(), String> {
        let (now, count) = (self.now(), self.net.lines.len());
        let works: Vec<bool> = (0..count).map(|u| self.link_works(u)).collect();
        for (line, works) in works.iter().copied().enumerate() {
            // What the kernel took away is missing until the daemon has put it back.
            let lost = |e: &Excuse, mark| e.lasts && !self.is_pinned_well(line, mark);
            let link = !works
                || !self.net.lines[line].routed
                || !self.gateway_is_told(line)
                || lost(&self.watch.excused_link[line], Direction::Inbound);
            let service = !works
                || !self.said.in_service[line]
                || lost(&self.watch.excused_service[line], Direction::Lan);
            self.watch.excused_link[line].go_on(link, now);
            self.watch.excused_service[line].go_on(service, now);
            if !self.said.in_service[line] {
                self.watch.installed[line] = false;
            } else if self.said.settled && works && self.is_pinned_well(line, Direction::Lan) {
                self.watch.installed[line] = true;
            }
        }
        self.check_lan()?;
        if self.watch.is_removing {
            return Ok(());
        }
        self.check_outlets()?;
        self.check_connections()
    }

    /// Whether the connections of a line find their way by their mark.
    pub(crate) fn is_pinned_well(&self, line: usize, direction: Direction) -> bool {
        let reserve = &self.scenario.config.reserve;
        let line = &self.net.lines[line];
        let slot = self.scenario.uplinks[line.uplink].slot;
        let (mark, table) = match direction {
            Direction::Inbound => (reserve.mark_in(slot), reserve.table_path(slot)),
            Direction::Lan | Direction::Own => {
                (reserve.mark_out(slot), reserve.table_service(slot))
            }
        };
        let packet = new_packet(direction, line.family, mark.value);
        self.kernel
            .lookup(&packet)
            .is_some_and(|a| a.table == table)
    }

    /// A connection moves only where its line failed.
    fn check_connections(&mut self) -> Result<(), String> {
        if self.kernel.nft().is_none() {
            return Ok(());
        }
        let now = self.now();
        for index in 0..self.kernel.connections.len() {
            let connection = &self.kernel.connections[index];
            let fate = self.fate_of(connection);
            let astray = !self.stays_with(connection, &fate);
            if let (true, Fate::By(answer)) = (astray, &fate)
                && connection.direction != Direction::Inbound
            {
                let family = connection.talk.family;
                let lines: Vec<_> = self.lines_by(answer, family).iter().map(|l| l.0).collect();
                let what = format!("connection {}", connection.id);
                self.judge_leak(connection.outlet, family, &lines, &what)?;
            }
            if astray && !connection.astray {
                let (line, direction) = (connection.line, connection.direction);
                if !self.may_move(line, direction) && now >= self.watch.shielded_until {
                    return Err(format!(
                        "connection {} ({direction:?}) lost its way, though line {line} did not fail",
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
        for line in &self.net.lines {
            let uplink = &self.scenario.uplinks[line.uplink];
            let marks = [reserve.mark_out(uplink.slot), reserve.mark_in(uplink.slot)];
            for mark in [0, marks[0].value, marks[1].value] {
                let packet = Packet {
                    mark,
                    iif: if mark == 0 { "lo" } else { &uplink.interface },
                    to: client(line.family, 20),
                    ..new_packet(Direction::Own, line.family, mark)
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

    /// Whether its line failed, or did so lately.
    pub(super) fn may_move(&self, line: usize, direction: Direction) -> bool {
        let now = self.now();
        let link = self.watch.excused_link[line].holds(now);
        link || direction != Direction::Inbound && self.watch.excused_service[line].holds(now)
    }
}

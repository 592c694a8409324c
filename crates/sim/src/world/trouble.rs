//! Faults, carried out.

use std::time::Duration;

use uplinkd_core::{Event, Time, event::HintKind};
use uplinkd_model::{Family, Gateway, Route, RouteVia, Step, TableId};

use super::{Happening, World};
use crate::{
    delegation,
    faults::Fault,
    kernel::{Notification, errno},
    net::is_link_local,
    scenario::{LAN, PROTO_DHCP, address, host, link_local},
};

/// Trouble that lasts.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    refuse: u8,
    number: i32,
    flush_refused_until: Time,
    deaf_until: Time,
    overrun_until: Time,
    pub(super) look_fails: u8,
    dies_after: Option<u8>,
}

impl Trouble {
    /// Whether the daemon's last moment has come; counts steps.
    pub(super) fn dies_before_step(&mut self) -> bool {
        match self.dies_after {
            None => false,
            Some(0) => {
                self.dies_after = None;
                true
            }
            Some(n) => {
                self.dies_after = Some(n - 1);
                false
            }
        }
    }

    pub(super) fn refusal(&mut self, step: &Step, now: Time) -> Option<i32> {
        let releases = matches!(
            step,
            Step::FlushConnections { .. } | Step::MoveConnections { .. }
        );
        if releases && now < self.flush_refused_until {
            return Some(errno::EPERM);
        }
        (self.refuse > 0).then(|| {
            self.refuse -= 1;
            self.number
        })
    }

    pub(super) fn is_deaf(&self, now: Time) -> bool {
        now < self.deaf_until || now < self.overrun_until
    }
}

impl World {
    pub(super) fn strike(&mut self, fault: Fault) -> Result<(), String> {
        self.report.faults += 1;
        self.ways_struck();
        self.say(|| format!("fault: {fault:?}"));
        let now = self.now();
        match fault {
            Fault::Refuse(count, number) => {
                (self.trouble.refuse, self.trouble.number) = (count, number);
                self.watch.disturb(now, 8);
            }
            Fault::FlushRefused(span) => {
                self.trouble.flush_refused_until = now + span;
                self.watch.disturb(now + span, 8);
            }
            Fault::Deaf(span) => self.be_deaf(span),
            Fault::Overrun(span) => {
                self.trouble.overrun_until = now + span;
                self.watch.disturb(now + span, 3);
                self.note_in(span, Happening::OverrunEnds);
            }
            Fault::LookFails(count) => self.trouble.look_fails = count,
            Fault::Noise(count) => {
                for n in 0..u32::from(count) {
                    let number = self.shell.incarnation;
                    let hint = Notification::Hint(HintKind::Route);
                    let wait = Duration::from_millis(5) * n;
                    self.note_in(wait, Happening::Tell(number, hint));
                }
            }
            Fault::CrashAfterSteps(count) => self.trouble.dies_after = Some(count),
            Fault::Crash => self.crash(),
            Fault::Reload(groups) => return self.reload(groups),
            Fault::Clock(minutes) => return self.set_clock(minutes),
            Fault::FailBack(number) => return self.fail_back(number),
            Fault::Operate(deed) => return self.operate(deed),
            Fault::Rival(deed) => {
                self.watch.tampered(now);
                self.ways_tampered();
                self.tamper(deed);
            }
            Fault::Host(family, n, alive) => {
                let lines: Vec<_> = self.net.of(family).collect();
                lines
                    .into_iter()
                    .for_each(|l| self.watch.line_struck(l, now));
                if alive {
                    self.net.dead_hosts.remove(&host(family, n));
                } else {
                    self.net.dead_hosts.insert(host(family, n));
                }
            }
            Fault::Carrier(line, _) | Fault::Admin(line, _) | Fault::Interface(line, _) => {
                let both = self.on_interface_of(line);
                both.iter().for_each(|l| self.watch.line_struck(*l, now));
                self.strike_line(line, fault);
            }
            Fault::Gateway(line, _)
            | Fault::Upstream(line, _)
            | Fault::Loss(line, _)
            | Fault::Address(line, _)
            | Fault::Renumber(line)
            | Fault::ExtraAddress(line, _)
            | Fault::GatewayMoves(line)
            | Fault::Delegate(line, _)
            | Fault::Default(line, _) => {
                self.watch.line_struck(line, now);
                self.strike_line(line, fault);
            }
        }
        Ok(())
    }

    /// Notifications are lost for so long, and nobody says so: the next slow look makes it good.
    pub(crate) fn be_deaf(&mut self, span: Duration) {
        let until = self.now() + span;
        self.trouble.deaf_until = until;
        self.watch.disturb(until, 35);
    }

    fn strike_line(&mut self, index: usize, fault: Fault) {
        let line = self.net.lines[index].clone();
        let name = &line.interface;
        match fault {
            Fault::Carrier(_, up) => {
                self.kernel.set_carrier(name, up);
                self.lines_come_back(index, up);
            }
            Fault::Admin(_, up) => {
                self.kernel.set_admin(name, up);
                self.lines_come_back(index, up);
            }
            Fault::Gateway(_, alive) => self.net.lines[index].gateway_alive = alive,
            Fault::Upstream(_, alive) => self.net.lines[index].upstream_alive = alive,
            Fault::Loss(_, percent) => self.net.lines[index].loss = percent,
            Fault::Address(_, true) => {
                // A provider who gave nothing so far begins to, now and then.
                self.net.lines[index].provided |= self.luck.bool();
                if self.net.lines[index].provided {
                    self.kernel.add_address(name, line.address);
                    self.default_soon(index);
                }
            }
            Fault::Address(_, false) => self.kernel.remove_address(name, line.address),
            Fault::Renumber(_) => {
                self.kernel.remove_address(name, line.address);
                let host = self.luck.u8(10..200);
                self.net.lines[index].address = address(line.uplink, line.family, host);
                let wait = Duration::from_millis(self.luck.u64(1..800));
                self.note_in(wait, Happening::Fault(Fault::Address(index, true)));
            }
            Fault::ExtraAddress(_, here) => {
                let extra = address(line.uplink, line.family, 250);
                if here && line.provided {
                    self.kernel.add_address(name, extra);
                } else {
                    self.kernel.remove_address(name, extra);
                }
            }
            Fault::GatewayMoves(_) => {
                let is_auto = self.gateway_of(index) == Some(Gateway::Auto);
                if let Some(before) = line.gateway.filter(|_| is_auto) {
                    let host = self.luck.u8(201..250);
                    self.net.lines[index].gateway = Some(if is_link_local(before) {
                        link_local(host)
                    } else {
                        address(line.uplink, line.family, host).addr()
                    });
                    self.set_default(index, true);
                }
            }
            Fault::Default(_, here) => self.set_default(index, here),
            Fault::Delegate(_, number) => {
                let wanted = number.map(|n| delegation::prefix(line.uplink, n));
                let all = self.kernel.delegated();
                let gone: Vec<_> = all
                    .filter(|(prefix, by)| by == name && Some(*prefix) != wanted)
                    .map(|(prefix, _)| prefix)
                    .collect();
                for prefix in gone {
                    self.kernel.undelegate(prefix, LAN);
                }
                if let Some(prefix) = wanted {
                    self.kernel.delegate(prefix, name, LAN);
                }
            }
            Fault::Interface(_, true) => {
                if self.kernel.link(name).is_none() {
                    self.kernel.add_link(name);
                }
                for line in self.on_interface_of(index) {
                    let wait = Duration::from_millis(self.luck.u64(1..300));
                    self.note_in(wait, Happening::Fault(Fault::Address(line, true)));
                }
            }
            Fault::Interface(_, false) => self.kernel.remove_link(name),
            Fault::Host(..)
            | Fault::Rival(_)
            | Fault::Refuse(..)
            | Fault::FlushRefused(_)
            | Fault::Deaf(_)
            | Fault::Overrun(_)
            | Fault::LookFails(_)
            | Fault::Noise(_)
            | Fault::CrashAfterSteps(_)
            | Fault::Crash
            | Fault::Clock(_)
            | Fault::FailBack(_)
            | Fault::Operate(_)
            | Fault::Reload(_) => {}
        }
    }

    /// The lines on the interface of a line, itself among them.
    fn on_interface_of(&self, line: usize) -> Vec<usize> {
        let interface = &self.net.lines[line].interface;
        let lines = self.net.lines.iter().enumerate();
        lines
            .filter(|(_, l)| &l.interface == interface)
            .map(|(n, _)| n)
            .collect()
    }

    /// The provider notices that a link is back: default routes come, and IPv6 addresses, which
    /// switching the interface off has taken away.
    fn lines_come_back(&mut self, index: usize, is_back: bool) {
        for line in self.on_interface_of(index) {
            if !is_back {
                continue;
            }
            if self.net.lines[line].family == Family::V6 {
                let wait = Duration::from_millis(self.luck.u64(1..500));
                self.note_in(wait, Happening::Fault(Fault::Address(line, true)));
            } else {
                self.default_soon(line);
            }
        }
    }

    fn default_soon(&mut self, index: usize) {
        let wait = Duration::from_millis(self.luck.u64(1..500));
        self.note_in(wait, Happening::Fault(Fault::Default(index, true)));
    }

    /// Where the file says that the gateway of a line comes from.
    fn gateway_of(&self, index: usize) -> Option<Gateway> {
        let line = &self.net.lines[index];
        let uplink = &self.scenario.uplinks[line.uplink];
        uplink.access(line.family).map(|a| a.gateway)
    }

    /// Puts or removes somebody's default route over a line, if its link can bear one.
    pub(crate) fn set_default(&mut self, index: usize, here: bool) {
        let line = &self.net.lines[index];
        let destination = line.family.default_route();
        let metric = 100 + u32::try_from(index).unwrap_or(0);
        let Some(link) = self.kernel.link(&line.interface) else {
            return;
        };
        if !here {
            self.kernel
                .drop_route(&(TableId::MAIN, destination, metric), true);
        } else if link.admin_up && link.addresses.contains(&line.address) {
            let device = link.device.clone();
            let gateway = line.gateway;
            self.kernel.put_route(Route {
                table: TableId::MAIN,
                destination,
                metric,
                via: RouteVia::Device { device, gateway },
                source: None,
                proto: PROTO_DHCP,
            });
        }
    }

    /// Whether the daemon can know the gateway of a line: somebody's default route says so, or the file.
    pub(crate) fn gateway_is_told(&self, index: usize) -> bool {
        let line = &self.net.lines[index];
        if self.gateway_of(index) != Some(Gateway::Auto) {
            return true;
        }
        let Some(link) = self.kernel.link(&line.interface) else {
            return false;
        };
        let via = RouteVia::Device {
            device: link.device.clone(),
            gateway: line.gateway,
        };
        self.kernel.routes().any(|r| {
            let is_default = r.destination.prefix_len() == 0 && r.family() == line.family;
            r.table == TableId::MAIN && is_default && r.via == via
        })
    }

    pub(super) fn crash(&mut self) {
        if self.daemon.is_none() {
            return;
        }
        self.say(|| "the daemon dies".to_owned());
        self.die();
        let wait = Duration::from_millis(self.luck.u64(1..2_000));
        let until = self.now() + wait + Duration::from_secs(3);
        self.watch.late_until(until);
        self.note_in(wait, Happening::Start);
    }

    pub(super) fn overrun_ends(&mut self) -> Result<(), String> {
        let what = HintKind::Overrun;
        self.feed(Event::Hint { what })
    }
}

//! A controller with a small machine that does what it is told, at once.

use std::collections::BTreeMap;

use uplinkd_model::{Connection, Question, kernel_state::Link};

pub(super) use crate::paper::obey;

use super::*;
use crate::event::Asking;

pub(super) struct Driver {
    pub(super) controller: Controller,
    pub(super) machine: Observed,
    /// Uplinks whose targets answer, by family.
    pub(super) answering: PerFamily<Vec<&'static str>>,
    /// Uplinks whose services answer, and not well, with what is wrong.
    pub(super) refusing: BTreeMap<&'static str, &'static str>,
    /// What was asked of services, of whom and when.
    pub(super) questions: Vec<(u64, UplinkName, Question)>,
    /// What connection tracking has.
    pub(super) connections: Vec<Connection>,
    pub(super) now: u64,
    /// The plans so far, as lines.
    pub(super) plans: Vec<Vec<String>>,
    pub(super) notices: Vec<Notice>,
    /// What was written down of what people want.
    pub(super) kept: Wishes,
    /// What hosts are told to avoid, one wish after the other.
    pub(super) wishes: Vec<Advice>,
}

impl Driver {
    /// Starts on this machine, with these uplinks answering in both families, and lets it settle.
    pub(super) fn new(config: Config, machine: Observed, answering: &[&'static str]) -> Self {
        let mut driver = Self {
            controller: Controller::new(config, Vec::new(), at(0)),
            machine,
            answering: PerFamily::from_fn(|_| answering.to_vec()),
            refusing: BTreeMap::new(),
            questions: Vec::new(),
            connections: Vec::new(),
            now: 0,
            plans: Vec::new(),
            notices: Vec::new(),
            kept: Wishes::default(),
            wishes: Vec::new(),
        };
        driver.run(1000);
        driver.forget();
        driver
    }

    /// Another run of the daemon on the same machine.
    pub(super) fn restart(&mut self) {
        let config = self.controller.config.clone();
        self.controller = Controller::new(config, Vec::new(), at(self.now));
        self.controller.restore_wishes(self.kept.clone());
    }

    /// Forgets what was done and told so far.
    pub(super) fn forget(&mut self) {
        self.plans.clear();
        self.notices.clear();
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.controller.handle(event, at(self.now));
        self.carry_out();
    }

    /// Lets so many milliseconds pass.
    pub(super) fn run(&mut self, ms: u64) {
        self.carry_out();
        for _ in 0..ms / 50 {
            self.now += 50;
            self.tell(Event::Tick);
        }
    }

    pub(super) fn carrier(&mut self, name: &str, carrier: bool) {
        let mut links = self.machine.links.iter_mut();
        let (index, link) = links.find(|(_, l)| l.device.name == name).unwrap();
        link.carrier = carrier;
        let index = *index;
        self.tell(Event::LinkChanged {
            index,
            name: name.to_owned(),
            admin_up: true,
            carrier,
            gone: false,
        });
    }

    pub(super) fn link(&mut self, index: u32) -> &mut Link {
        self.machine.links.get_mut(&index).unwrap()
    }

    /// Makes these uplinks answer in a family, and no others, and waits until that is settled.
    pub(super) fn answering(&mut self, family: Family, uplinks: &[&'static str]) {
        *self.answering.of_mut(family) = uplinks.to_vec();
        self.run(1000);
    }

    /// All steps so far.
    pub(super) fn steps(&self) -> Vec<&str> {
        self.plans.iter().flatten().map(String::as_str).collect()
    }

    /// Who serves an outlet, with weights.
    pub(super) fn serving(&self, outlet: &str, family: Family) -> Vec<String> {
        let snapshot = self.controller.snapshot();
        let mut outlets = snapshot.outlets.iter();
        let own = outlets.find(|o| o.name == outlet && o.family == family);
        let shares = own.map(|o| o.serving.clone()).unwrap_or_default();
        shares.iter().map(|s| s.uplink.to_string()).collect()
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.controller.next_action() {
            let event = match action {
                Action::Apply(plan) => {
                    self.plans.push(lines(&plan));
                    for planned in &plan.steps {
                        obey(&mut self.machine, &planned.step);
                    }
                    Event::Outcomes(vec![Outcome::Done; plan.steps.len()])
                }
                Action::Observe { .. } => Event::Observed(Box::new(self.machine.clone())),
                Action::ListConnections => Event::Connections(self.connections.clone()),
                Action::Probe(probe) => {
                    let family = match &probe.asking {
                        Asking::Echo(address) => Family::of(*address),
                        Asking::Question(question) => question.family,
                    };
                    let refusal = self.refusing.get(probe.uplink.as_str());
                    if let Asking::Question(question) = probe.asking {
                        let asked = (self.now, probe.uplink.clone(), question);
                        self.questions.push(asked);
                        if let Some(why) = refusal {
                            let (probe, why) = (probe.id, (*why).to_owned());
                            self.controller
                                .handle(Event::Refused { probe, why }, at(self.now));
                            continue;
                        }
                    }
                    let answering = self.answering.of(family);
                    if !answering.contains(&probe.uplink.as_str()) {
                        continue;
                    }
                    Event::Reply {
                        probe: probe.id,
                        rtt: Duration::from_millis(1),
                    }
                }
                Action::Count(_) | Action::CountTcp(_) | Action::WriteLedger(_) => continue,
                Action::KeepWishes(wishes) => {
                    self.kept = wishes;
                    continue;
                }
                Action::Notify(notice) => {
                    self.notices.push(notice);
                    continue;
                }
                Action::Advertise(advice) => {
                    self.wishes.push(advice);
                    continue;
                }
            };
            self.controller.handle(event, at(self.now));
        }
    }
}

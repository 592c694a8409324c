//! The core's intentions, carried out in the order in which it had them.

use std::{fs, time::Instant};

use anyhow::Context as _;
use tracing::{debug, info, warn};
use uplinkd_core::{Action, Event, ProbeId, event::Asking};
use uplinkd_kernel::sysctl;
use uplinkd_model::{Outcome, Plan, Step, notice::Notice};
use uplinkd_probe::Inquiry;

use super::Daemon;
use crate::{look::look, serve::unix_now, wishes};

/// Connections that are listed when policies have changed. A table with more of ours is looked
/// through only that far, and the rest keep their uplink until they end.
const CONNECTIONS_MAX: usize = 200_000;

/// How many connections the kernel tracks in this network namespace.
fn tracked_count() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").ok()?;
    text.trim().parse().ok()
}

impl Daemon {
    pub(super) fn carry_out(&mut self) {
        let mut echoes = Vec::new();
        loop {
            let action = self.controller.next_action();
            if !matches!(action, Some(Action::Probe(_))) {
                self.send(std::mem::take(&mut echoes));
            }
            // Where some could not be sent, the core may want more.
            let Some(action) = action.or_else(|| self.controller.next_action()) else {
                break;
            };
            match action {
                Action::Probe(probe) => echoes.extend(self.probe(probe)),
                Action::Observe { nft } => self.observe(nft),
                Action::Apply(plan) => self.apply(&plan),
                Action::Count(indexes) => {
                    let counted = self.kernel.counters(&indexes);
                    let (config, now) = (self.controller.config(), self.clock.now());
                    self.recorder.counted(&counted, config, now);
                    self.tell_core(Event::Counted(counted));
                }
                Action::CountTcp(indexes) => self.count_tcp(&indexes),
                Action::ListConnections => self.list_connections(),
                Action::WriteLedger(ledger) => self.ledger.write(&ledger),
                Action::KeepWishes(wishes) => {
                    let bytes = wishes::to_bytes(&wishes, self.clock.now(), unix_now());
                    let owed = std::mem::take(&mut self.owed);
                    self.wishes.write(bytes, owed);
                }
                Action::Notify(notice) => self.tell(&notice),
                Action::Advertise(advice) => self.advertiser.wish(&advice),
            }
        }
        self.note_claims();
    }

    /// Where they cannot be watched this is said once, and lines are judged without.
    fn count_tcp(&mut self, indexes: &[u32]) {
        let reading = self.flows.count(indexes);
        for error in reading.news {
            info!(reason = %error, "TCP connections are not watched; lines are judged without this sign");
        }
        if !reading.counters.is_empty() {
            self.tell_core(Event::CountedTcp(reading.counters));
        }
    }

    /// Asks a question. An echo is handed back instead, to leave together with others.
    fn probe(&mut self, probe: uplinkd_core::Probe) -> Option<uplinkd_probe::Probe> {
        let id = probe.id;
        let now = self.clock.now();
        self.recorder.asked(&probe, self.controller.config(), now);
        self.meter.asked(&probe, self.controller.config(), now);
        self.note_question(&probe);
        let question = match probe.asking {
            Asking::Echo(target) => {
                return Some(uplinkd_probe::Probe {
                    id: id.0,
                    uplink: probe.uplink,
                    device: probe.device,
                    mark: Some(probe.mark),
                    target,
                });
            }
            Asking::Question(question) => question,
        };
        let inquiry = Inquiry {
            id: id.0,
            line: uplinkd_probe::Line {
                uplink: probe.uplink,
                family: question.family,
                device: probe.device,
                mark: Some(probe.mark),
            },
            question,
        };
        let asked = self.asker.ask(inquiry);
        if let Err(error) = asked.context("cannot have a thread for probes") {
            self.was_not_sent(id, &error);
        }
        None
    }

    fn send(&mut self, echoes: Vec<uplinkd_probe::Probe>) {
        for (id, error) in self.prober.send_all(&echoes) {
            self.was_not_sent(ProbeId(id), &error.into());
        }
    }

    fn was_not_sent(&mut self, probe: ProbeId, error: &anyhow::Error) {
        debug!(error = format!("{error:#}"), "probe not sent");
        self.note_answer(probe, Err(format!("could not be asked: {error:#}")));
        self.tell_core(Event::SendFailed { probe });
    }

    fn observe(&mut self, nft: bool) {
        let look = look(
            self.controller.config(),
            self.controller.uplink_interfaces(),
            self.controller.claims(),
            nft,
        );
        let event = match self.kernel.observe(&look) {
            Ok(observed) => Event::Observed(Box::new(observed)),
            Err(error) => {
                let text = format!("{:#}", anyhow::Error::from(error));
                warn!(reason = text, "cannot look at the kernel");
                Event::ObserveFailed { text }
            }
        };
        self.tell_core(event);
    }

    fn list_connections(&mut self) {
        let bits = self.controller.config().reserve.marks().all();
        let connections = match self.kernel.connections(bits, CONNECTIONS_MAX) {
            Ok(found) => {
                if !found.complete {
                    warn!("more than {CONNECTIONS_MAX} connections: the rest keep their uplink");
                }
                found.list
            }
            Err(error) => {
                warn!(%error, "cannot list connections: all keep their uplink");
                Vec::new()
            }
        };
        self.tell_core(Event::Connections(connections));
    }

    fn apply(&mut self, plan: &Plan) {
        let began = Instant::now();
        self.remember_sysctls(plan);
        let releases = |step: &Step| {
            matches!(
                step,
                Step::FlushConnections { .. } | Step::MoveConnections { .. }
            )
        };
        let is_release = plan.steps.iter().any(|s| releases(&s.step));
        let before = is_release.then(tracked_count).flatten();
        let outcomes = self.kernel.execute(plan);
        let took = began.elapsed();
        if let (Some(before), Some(after)) = (before, before.and_then(|_| tracked_count())) {
            let connections = before.saturating_sub(after);
            if connections > 0 {
                self.tell(&Notice::Released { connections });
            }
        }
        for (planned, outcome) in plan.steps.iter().zip(&outcomes) {
            let level_is_warn = matches!(outcome, Outcome::Refused { .. } | Outcome::Skipped);
            if level_is_warn {
                warn!(step = %planned.step, reason = planned.reason, ?outcome, "step not done");
            } else {
                debug!(step = %planned.step, reason = planned.reason, ?outcome, "step");
            }
        }
        info!(steps = plan.steps.len(), ?took, "plan applied");
        self.tell_core(Event::Outcomes(outcomes));
    }

    /// What sysctls were before us is on disk before they change.
    fn remember_sysctls(&mut self, plan: &Plan) {
        let mut is_new = false;
        for planned in &plan.steps {
            if let Step::SetSysctl { path, .. } = &planned.step {
                for path in std::iter::once(path.clone()).chain(sysctl::dragged_along(path)) {
                    if let Ok(before) = sysctl::read(&path) {
                        is_new |= self.state.remember_sysctl(&path, &before);
                    }
                }
            }
        }
        if is_new {
            self.save_state();
        }
    }

    /// A full disk must not stop a router: what could not be written is kept, and written next time.
    pub(super) fn save_state(&self) {
        if let Err(error) = self.state.save() {
            let reason = format!("{error:#}");
            warn!(
                reason,
                "routing goes on, but a restart or `clean` may not remember all"
            );
        }
    }

    /// Once objects under earlier reserves are verified to be gone, they are forgotten.
    fn note_claims(&mut self) {
        if self.state.reserves != self.controller.claims() {
            self.state.reserves = self.controller.claims().to_vec();
            self.save_state();
        }
    }

    pub(super) fn tell(&mut self, notice: &Notice) {
        let now = self.clock.now();
        self.recorder.told(notice, now);
        self.meter.told(notice);
        self.memory.told(notice, now);
        let time = self.clock.unix(now);
        if notice.is_detail() {
            debug!("{notice}");
            return;
        }
        if notice.is_warning() {
            warn!("{notice}");
        } else {
            info!("{notice}");
        }
        let mut event = uplinkd_api::Event::of_notice(notice, time);
        event.id = self.shared.publish(event.clone());
        self.notifier.tell(notice, &event);
    }
}

//! Orders from people, and what they want to know at once.

use std::time::{Duration, Instant};

use tracing::info;
use uplinkd_api::{ApiError, NotifyTested, Operated, Probed};
use uplinkd_core::{Event, ProbeId};
use uplinkd_model::{By, Order, UplinkName};
use uplinkd_web::{Answer, Caller, Operation, Refused};

use super::{Daemon, reading::Cause, reload::Asked};
use crate::serve::{self, Burst, unix_now};

/// The longest that answers to one round of questions are waited for, whatever the targets' own limits.
const ROUND_MAX: Duration = Duration::from_secs(30);

/// The longest that a test of who is told is waited for: below the patience of whoever asks for it.
const TEST_MAX: Duration = Duration::from_secs(65);

impl Daemon {
    /// Who asks, as people are told.
    pub(super) fn by(&self, caller: Caller) -> By {
        By {
            who: match caller.user {
                Some(user) => self.loaded.who(user),
                None => "whoever has a token".to_owned(),
            },
            why: caller.why,
        }
    }

    pub(super) fn operate(
        &mut self,
        operation: Operation,
        caller: Caller,
        answer: Answer<Operated>,
    ) {
        let by = self.by(caller);
        match operation {
            Operation::Reload(confirm) => {
                let asked = Asked {
                    by,
                    confirm,
                    answer: Some(answer),
                };
                self.reload(Cause::Told, asked);
            }
            Operation::Confirm => self.confirm(by, answer),
            Operation::Rollback => self.roll_back_now(by, answer),
            Operation::Drain(..)
            | Operation::Undrain(_)
            | Operation::Prefer(..)
            | Operation::Unprefer => {
                match serve::order(
                    self.controller.config(),
                    self.controller.wishes(),
                    operation,
                ) {
                    Ok(order) => self.give(order, by, answer),
                    Err(refused) => drop(answer.send(Err(refused))),
                }
            }
        }
    }

    /// Tells the core. Whoever ordered it hears so when it is on the disk.
    fn give(&mut self, order: Order, by: By, answer: Answer<Operated>) {
        self.tell_core(Event::Operate(order.clone(), by));
        let mut done = serve::ordered(&order, &self.controller, &self.clock);
        self.owed.push(Box::new(move |kept| {
            if let Err(reason) = kept {
                done.text += &format!(", but a restart forgets it: {reason}");
            }
            // Whoever asked may be gone.
            let _ = answer.send(Ok(done));
        }));
    }

    /// Asks all targets of an uplink, and answers when they have, or have had their time.
    pub(super) fn begin_burst(&mut self, name: &str, answer: Answer<Probed>) {
        let config = self.controller.config();
        let Some(uplink) = config.uplinks.iter().find(|u| u.name.as_str() == name) else {
            let refused = serve::no_such_uplink(config, name);
            return drop(answer.send(Err(refused)));
        };
        let accesses = [&uplink.ipv4, &uplink.ipv6].into_iter().flatten();
        let limits = accesses.flat_map(|access| {
            let targets = access.probe.targets.iter();
            targets.map(|target| target.limit(access.probe.timeout))
        });
        let limit = limits.max().unwrap_or_default().min(ROUND_MAX);
        let uplink = uplink.name.clone();
        self.bursts
            .push(Burst::new(uplink.clone(), Instant::now() + limit, answer));
        self.collecting = Some(uplink.clone());
        self.tell_core(Event::ProbeNow { uplink });
        self.carry_out();
        self.collecting = None;
    }

    /// Tells who is told of events that this is a test, and answers when they were, beside the loop.
    pub(super) fn test_notify(&self, channel: Option<&str>, by: &By, answer: Answer<NotifyTested>) {
        if let Err(refused) = serve::notify_testable(&self.notifier, channel) {
            return drop(answer.send(Err(refused)));
        }
        info!(by = %by, "a test of who is told");
        let tested = self
            .notifier
            .test(channel, &by.to_string(), unix_now(), TEST_MAX);
        tokio::spawn(async move {
            // Whoever asked may be gone.
            let _ = answer.send(Ok(serve::notify_tested(tested.await)));
        });
    }

    /// Notes a question of a round.
    pub(super) fn note_question(&mut self, probe: &uplinkd_core::Probe) {
        let is_meant = |uplink: &UplinkName| *uplink == probe.uplink;
        if self.collecting.as_ref().is_some_and(is_meant)
            && let Some(burst) = self.bursts.last_mut()
        {
            let label = probe.label(self.controller.config());
            burst.asks(probe.id, probe.family(), label);
        }
    }

    /// Notes what came of a question, if a round has it.
    pub(super) fn note_answer(&mut self, probe: ProbeId, result: Result<Duration, String>) {
        for burst in &mut self.bursts {
            burst.hears(probe, &result);
        }
    }

    /// Answers the rounds that are over.
    pub(super) fn end_bursts(&mut self) {
        let now = Instant::now();
        for burst in std::mem::take(&mut self.bursts) {
            match burst.is_over(now) {
                true => burst.answer(&self.controller),
                false => self.bursts.push(burst),
            }
        }
    }

    /// When the next round is over.
    pub(super) fn burst_deadline(&self) -> Option<Instant> {
        self.bursts.iter().map(Burst::deadline).min()
    }
}

/// Nothing waits to be confirmed.
pub(super) fn no_trial() -> Refused {
    let hint = "`uplinkctl reload --confirm 60s` begins a trial";
    Refused::Conflict(ApiError::new("no configuration waits to be confirmed").with_hint(hint))
}

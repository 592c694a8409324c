//! Questions from outside.

use std::{collections::BTreeMap, time::Instant};

use nix::net::if_::if_nametoindex;
use tokio::sync::oneshot;
use uplinkd_api::Support;
use uplinkd_core::Event;
use uplinkd_web::Request;

use super::{Daemon, REST, REST_MAX};
use crate::{local_time, serve, support::Subject};

impl Daemon {
    /// Answers a question, and has the next one wait a little.
    pub(super) fn answer_in_turn(&mut self, request: Request) {
        let begun = Instant::now();
        self.answer(request);
        let rest = begun.elapsed().saturating_mul(REST).min(REST_MAX);
        self.answer_after = Some(Instant::now() + rest);
    }

    /// Answers a question. Whoever asked may be gone by now.
    fn answer(&mut self, request: Request) {
        match request {
            Request::Status(reply) => {
                let (mut status, counted) = serve::status(
                    &self.controller,
                    &mut self.kernel,
                    &self.clock,
                    &self.state.sysctls,
                );
                status.trial = self.trial.as_ref().map(|t| t.status(&self.clock));
                status.rolled_back.clone_from(&self.rolled_back);
                status.notify = serve::notify_status(&self.notifier);
                self.connections.complete(status, counted, reply);
            }
            Request::Policies(reply) => {
                let config = self.controller.config();
                let shadows = self
                    .shadows
                    .get_or_insert_with(|| uplinkd_policy::shadows(&config.policies));
                let policies = serve::policies(config, shadows, local_time::minute_now());
                let table = config.reserve.nft_table.clone();
                tokio::task::spawn_blocking(move || {
                    let counted = serve::policy_connections(&table);
                    let _ = reply.send(serve::with_connections(policies, &counted));
                });
            }
            Request::Explain(query, reply) => {
                let _ = reply.send(serve::explain(&self.controller, &mut self.kernel, query));
            }
            Request::ExplainConnection(query, reply) => {
                let answer = serve::explain_connection(&self.controller, &mut self.kernel, query);
                let _ = reply.send(answer);
            }
            Request::History(query, reply) => self.memory.query(query, reply),
            Request::Report(query, reply) => {
                let lines = self.controller.snapshot().lines.into_iter();
                let budgets = lines.filter_map(|line| {
                    let budget = serve::budget_status(line.budget?);
                    Some((line.name.to_string(), budget))
                });
                self.memory.report(query, budgets.collect(), reply);
            }
            Request::Metrics(reply) => self.figures(reply),
            Request::Support(reply) => self.support(reply),
            Request::Operate(operation, caller, reply) => self.operate(operation, caller, reply),
            Request::NotifyTest(channel, caller, reply) => {
                let by = self.by(caller);
                self.test_notify(channel.as_deref(), &by, reply);
            }
            Request::Probe(name, reply) => self.begin_burst(&name, reply),
            Request::SetUsed(name, used, caller, reply) => {
                let by = self.by(caller);
                let answer = serve::set_used(self.controller.config(), &name, used);
                let answer = answer.map(|(uplink, done)| {
                    self.tell_core(Event::SetUsed { uplink, used, by });
                    done
                });
                let _ = reply.send(answer);
            }
            Request::Failback(name, caller, reply) => {
                let by = self.by(caller);
                let answer = serve::failback(&self.controller.snapshot().outlets, &name);
                if answer.is_ok() {
                    self.tell_core(Event::Failback { name, by });
                }
                let _ = reply.send(answer);
            }
        }
    }

    /// Has what helps who looks for a mistake written beside the loop.
    fn support(&mut self, reply: oneshot::Sender<Support>) {
        let subject = Subject {
            text: self.loaded.text.to_string(),
            config: self.controller.config().clone(),
            reserves: self.controller.claims().to_vec(),
            wishes: self.controller.wishes().clone(),
            state_dir: self.state_dir.clone(),
            samples: self.recorder.folder().to_owned(),
        };
        // One at a time: each looks at the whole kernel.
        if self.support.as_ref().is_some_and(|s| !s.is_finished()) {
            let note = "another one is being written; try again in a moment\n".to_owned();
            let texts = BTreeMap::from([("busy.txt".to_owned(), note)]);
            let _ = reply.send(Support { texts });
            return;
        }
        self.support = Some(tokio::task::spawn_blocking(move || {
            let _ = reply.send(subject.write());
        }));
    }

    /// Takes a picture of the figures, and has it written as text beside the loop.
    fn figures(&mut self, reply: oneshot::Sender<String>) {
        self.meter.settle(self.clock.now());
        let mut counters = BTreeMap::new();
        for uplink in &self.controller.config().uplinks {
            if let Ok(index) = if_nametoindex(uplink.interface.as_str())
                && let Some(counted) = self.kernel.counters(&[index]).remove(&index)
            {
                counters.insert(uplink.name.clone(), counted);
            }
        }
        let snapshot = self.controller.snapshot();
        let picture = serve::Picture::take(snapshot, counters, &self.meter, &self.clock)
            .with_notify(self.notifier.figures());
        let reader = self.memory.reader();
        let config = self.controller.config();
        let table = (!config.policies.is_empty()).then(|| config.reserve.nft_table.clone());
        tokio::task::spawn_blocking(move || {
            let counted = table.map(|table| serve::policy_connections(&table));
            let picture = picture.with_policies(counted.unwrap_or_default());
            let is_written = reader.map(|reader| reader.trouble().is_none());
            let _ = reply.send(picture.render(is_written));
        });
    }
}

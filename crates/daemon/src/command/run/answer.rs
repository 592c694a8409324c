//! Questions from outside.

use uplinkd_core::Event;
use uplinkd_web::Request;

use super::Daemon;
use crate::{local_time, serve};

impl Daemon {
    /// Answers a question. Whoever asked may be gone by now.
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            Request::Status(reply) => {
                let mut status = serve::status(
                    &self.controller,
                    &mut self.kernel,
                    &self.clock,
                    &self.state.sysctls,
                );
                status.trial = self.trial.as_ref().map(|t| t.status(&self.clock));
                status.rolled_back.clone_from(&self.rolled_back);
                let _ = reply.send(status);
            }
            Request::Policies(reply) => {
                let config = self.controller.config();
                let shadows = self
                    .shadows
                    .get_or_insert_with(|| uplinkd_policy::shadows(&config.policies));
                let _ = reply.send(serve::policies(config, shadows, local_time::minute_now()));
            }
            Request::Explain(query, reply) => {
                let _ = reply.send(serve::explain(&self.controller, &mut self.kernel, query));
            }
            Request::ExplainConnection(query, reply) => {
                let answer = serve::explain_connection(&self.controller, &mut self.kernel, query);
                let _ = reply.send(answer);
            }
            Request::Operate(operation, caller, reply) => self.operate(operation, caller, reply),
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
}

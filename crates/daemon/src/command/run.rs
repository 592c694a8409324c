//! `uplinkd run`: the one loop. Facts go into the core in the order in which they happened, and its
//! intentions are carried out in the order in which it had them.

use std::{path::PathBuf, time::Instant};

use anstream::eprintln;
use anyhow::Context as _;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tracing::{debug, info, trace, warn};
use uplinkd_core::{Action, Controller, Event, ProbeId, event::HintKind};
use uplinkd_kernel::{Hint, Kernel, Watch, sysctl};
use uplinkd_model::{Outcome, Plan, Step, notice::Notice};
use uplinkd_probe::Prober;
use uplinkd_web::{Request, Shared};

use crate::{
    args::Paths,
    exit::Exit,
    load,
    lock::Lock,
    look::look,
    machine,
    serve::{self, Clock},
    state::State,
};

/// Routes until SIGTERM or SIGINT.
///
/// # Errors
/// When something outside the kernel's routing fails for good.
pub fn run(paths: &Paths) -> anyhow::Result<Exit> {
    let loaded = match load::read_or_show(&paths.config) {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let mut kernel = Kernel::open()?.with_state_dir(Some(paths.state_dir.clone()));
    // Everything that could stand in the way is found before anything is written.
    let mut state = State::load(&paths.state_dir)?;
    let config = state.config(&loaded.parsed)?;
    let problems = machine::examine(&mut kernel, &loaded.parsed, &config, &state.reserves)?;
    let diagnostics: Vec<_> = problems.iter().map(|p| p.diagnostic.clone()).collect();
    load::show(&diagnostics, &paths.config, &loaded.text);
    if problems.iter().any(|p| p.is_fatal) {
        eprintln!("uplinkd does not start, and nothing was changed");
        return Ok(Exit::NotApplied);
    }
    let lock = Lock::take(&paths.runtime_dir)?;
    if !state.reserves.contains(&config.reserve) {
        state.reserves.insert(0, config.reserve.clone());
    }
    state.save()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let exit = runtime.block_on(async {
        let daemon = Daemon::start(kernel, config, state, paths)?;
        daemon.serve_until_stopped().await
    });
    drop(lock);
    exit
}

/// The shell around the core.
struct Daemon {
    kernel: Kernel,
    watch: Watch,
    prober: Prober,
    controller: Controller,
    clock: Clock,
    state: State,
    shared: Shared,
    requests: mpsc::Receiver<Request>,
    stop_server: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<()>,
    config_path: PathBuf,
}

impl Daemon {
    fn start(
        kernel: Kernel,
        config: uplinkd_model::Config,
        state: State,
        paths: &Paths,
    ) -> anyhow::Result<Self> {
        let clock = Clock::start();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "unix seconds of this century"
        )]
        let first_event = clock.unix(uplinkd_core::Time::default()) as u64;
        let (shared, requests) = Shared::new(first_event);
        let listener = uplinkd_web::bind(&uplinkd_api::socket_path(&paths.runtime_dir))?;
        let (stop_server, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(uplinkd_web::serve(listener, shared.clone(), async {
            let _ = stopped.await;
        }));
        // Subscribed before the first look, so that nothing falls between.
        let watch = Watch::open(&state.reserves, kernel.ports())
            .context("cannot subscribe to network changes")?;
        let controller = Controller::new(config, state.reserves.clone(), clock.now());
        let daemon = Self {
            kernel,
            watch,
            prober: Prober::new(),
            controller,
            clock,
            state,
            shared,
            requests,
            stop_server,
            server,
            config_path: paths.config.clone(),
        };
        daemon.tell(&Notice::Started);
        Ok(daemon)
    }

    async fn serve_until_stopped(mut self) -> anyhow::Result<Exit> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            self.carry_out();
            let deadline = self.controller.next_deadline();
            let wait = deadline.map(|t| self.clock.until(t));
            // Answers before everything else: a busy moment of ours must not look like a slow line.
            tokio::select! {
                biased;
                replies = self.prober.replies() => self.take_replies(replies),
                // Before hints, of which a storm may never leave a moment without one.
                () = sleep(wait) => self.tell_core(Event::Tick),
                hint = self.watch.next() => self.take_hint(hint?),
                Some(request) = self.requests.recv() => self.answer(request),
                _ = hangup.recv() => self.reload(),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        self.tell(&Notice::Stopping);
        let _ = self.stop_server.send(());
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), self.server).await;
        Ok(Exit::Yes)
    }

    fn take_replies(&mut self, replies: Vec<uplinkd_probe::Reply>) {
        let now = self.clock.now();
        for reply in replies {
            trace!(probe = reply.id, rtt = ?reply.rtt, "answer");
            let (probe, rtt) = (ProbeId(reply.id), reply.rtt);
            self.controller.handle(Event::Reply { probe, rtt }, now);
        }
    }

    /// Gives the core a fact, after the answers that came while we were busy.
    fn tell_core(&mut self, event: Event) {
        let waiting = self.prober.drain();
        self.take_replies(waiting);
        self.controller.handle(event, self.clock.now());
    }

    fn take_hint(&mut self, hint: Hint) {
        let event = match hint {
            Hint::Link {
                name,
                admin_up,
                carrier,
                gone,
                ..
            } => Event::LinkChanged {
                name,
                admin_up,
                carrier,
                gone,
            },
            Hint::Address => Event::Hint {
                what: HintKind::Address,
            },
            Hint::Route => Event::Hint {
                what: HintKind::Route,
            },
            Hint::Rule => Event::Hint {
                what: HintKind::Rule,
            },
            Hint::Nexthop => Event::Hint {
                what: HintKind::Nexthop,
            },
            Hint::Nft => Event::Hint {
                what: HintKind::Nft,
            },
            Hint::Overrun => Event::Hint {
                what: HintKind::Overrun,
            },
        };
        debug!(?event, "the kernel hints");
        self.tell_core(event);
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.controller.next_action() {
            match action {
                Action::Probe(probe) => self.probe(probe),
                Action::Observe { nft } => self.observe(nft),
                Action::Apply(plan) => self.apply(&plan),
                Action::Notify(notice) => self.tell(&notice),
            }
        }
        self.note_claims();
    }

    fn probe(&mut self, probe: uplinkd_core::Probe) {
        let id = probe.id;
        let sent = self.prober.send(uplinkd_probe::Probe {
            id: id.0,
            uplink: probe.uplink,
            device: probe.device,
            mark: Some(probe.mark),
            target: probe.target,
        });
        if let Err(error) = sent {
            debug!(%error, "probe not sent");
            self.tell_core(Event::SendFailed { probe: id });
        }
    }

    fn observe(&mut self, nft: bool) {
        let look = look(self.controller.config(), self.controller.claims(), nft);
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

    fn apply(&mut self, plan: &Plan) {
        let began = Instant::now();
        self.remember_sysctls(plan);
        let outcomes = self.kernel.execute(plan);
        let took = began.elapsed();
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
    fn save_state(&self) {
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

    fn tell(&self, notice: &Notice) {
        let time = self.clock.unix(self.clock.now());
        if notice.is_warning() {
            warn!("{notice}");
        } else {
            info!("{notice}");
        }
        self.shared
            .publish(uplinkd_api::Event::of_notice(notice, time));
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Status(reply) => {
                let status = serve::status(
                    &self.controller,
                    &mut self.kernel,
                    &self.clock,
                    &self.state.sysctls,
                );
                let _ = reply.send(status);
            }
            Request::Explain(query, reply) => {
                let _ = reply.send(serve::explain(&self.controller, &mut self.kernel, query));
            }
        }
    }

    /// Reads the file again; an invalid one changes nothing.
    fn reload(&mut self) {
        if let Err(text) = self.try_reload() {
            self.tell(&Notice::ReloadRefused { text });
        }
    }

    fn try_reload(&mut self) -> Result<(), String> {
        let path = self.config_path.clone();
        let loaded = load::read_or_show(&path)
            .map_err(|_| format!("`uplinkd check {}` says what is wrong", path.display()))?;
        let chain = |e: anyhow::Error| format!("{e:#}");
        let config = self.state.config(&loaded.parsed).map_err(chain)?;
        self.check_machine(&loaded.parsed, &config).map_err(chain)?;
        if !self.state.reserves.contains(&config.reserve) {
            self.state.reserves.insert(0, config.reserve.clone());
        }
        self.state.save().map_err(chain)?;
        self.watch =
            Watch::open(&self.state.reserves, self.kernel.ports()).map_err(|e| e.to_string())?;
        let names: Vec<_> = config.uplinks.iter().map(|u| u.name.clone()).collect();
        self.prober.retain(|name| names.contains(name));
        self.tell_core(Event::Config(Box::new(config)));
        Ok(())
    }

    fn check_machine(
        &mut self,
        parsed: &uplinkd_config::Parsed,
        config: &uplinkd_model::Config,
    ) -> anyhow::Result<()> {
        let problems = machine::examine(&mut self.kernel, parsed, config, &self.state.reserves)?;
        match problems.into_iter().find(|p| p.is_fatal) {
            Some(problem) => anyhow::bail!("{}", problem.diagnostic.message),
            None => Ok(()),
        }
    }
}

async fn sleep(wait: Option<std::time::Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

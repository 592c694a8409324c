//! `uplinkd run`: the one loop. Facts go into the core in the order in which they happened, and its
//! intentions are carried out in the order in which it had them.

mod answer;
mod carry_out;
mod operate;
mod reading;
mod reload;
mod trial;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anstream::eprintln;
use anyhow::Context as _;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
};
use tracing::{debug, trace, warn};
use uplinkd_advertise::Advertiser;
use uplinkd_core::{Controller, Event, ProbeId, Time, cgroup_paths, event::HintKind};
use uplinkd_flows::Flows;
use uplinkd_kernel::{Hint, Kernel, Watch};
use uplinkd_model::{UplinkName, notice::Notice};
use uplinkd_notify::Notifier;
use uplinkd_policy::Shadow;
use uplinkd_probe::{Answer, Asker, Prober, Reply};
use uplinkd_web::{Request, Shared};

use self::{
    reading::{Cause, Readings},
    reload::{Asked, Refused},
    trial::{Beginning, Trial},
};
use crate::{
    args::Paths,
    cgroups::Cgroups,
    connections::ConnectionCounter,
    exit::Exit,
    face::{Face, Wish},
    ledger::{LedgerFile, LedgerWriter, boot_id},
    lists::Lists,
    load::{self, Loaded},
    local_time::{self, LocalTime},
    lock::Lock,
    machine,
    memory::Memory,
    meter::Meter,
    record::Recorder,
    serve::{Burst, Clock, unix_now},
    service_manager::ServiceManager,
    state::State,
    trial::TrialFile,
    wishes,
    writer::{Then, Writer},
};

/// Between two ticks at least: with thousands of targets something is due each quarter of a
/// millisecond, and what is due within this time shares a wake-up. A miss is known so much later.
const TICK_LEAST: Duration = Duration::from_millis(4);

/// After a question so many times what it took passes before the next, so that a flood of them takes a
/// fifth of the loop's time: whatever else happens then finds a loop that mostly sleeps, which the
/// kernel runs at once. Beyond that questions wait, and the queue refuses them.
const REST: u32 = 4;
/// The longest such wait.
const REST_MAX: Duration = Duration::from_millis(250);

/// Routes until SIGTERM or SIGINT.
///
/// # Errors
/// When something outside the kernel's routing fails for good.
pub fn run(paths: &Paths) -> anyhow::Result<Exit> {
    let beginning = match trial::begin(paths) {
        Ok(beginning) => beginning,
        Err(exit) => return Ok(exit),
    };
    let loaded = &beginning.loaded;
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
        let daemon = Daemon::start(kernel, beginning, config, state, paths)?;
        daemon.serve_until_stopped().await
    });
    // A file of another machine that hangs may still be read, and must not be waited for.
    runtime.shutdown_background();
    drop(lock);
    exit
}

/// The shell around the core.
struct Daemon {
    kernel: Kernel,
    watch: Watch,
    prober: Prober,
    asker: Asker,
    flows: Flows,
    advertiser: Advertiser,
    controller: Controller,
    clock: Clock,
    /// When the core was last told that time has passed.
    ticked_at: Time,
    state: State,
    /// Where what was used of budgets is written down.
    ledger: LedgerWriter,
    shared: Shared,
    requests: mpsc::Receiver<Request>,
    /// Questions wait until then.
    answer_after: Option<std::time::Instant>,
    face: Face,
    config_path: PathBuf,
    /// The file in force.
    loaded: Arc<Loaded>,
    readings: Readings,
    refused: Refused,
    /// The list files that it names.
    lists: Lists,
    /// The control groups that it names.
    cgroups: Cgroups,
    local_time: LocalTime,
    recorder: Recorder,
    service_manager: ServiceManager,
    meter: Meter,
    memory: Memory,
    /// Tells people and programs what happens, on threads of its own.
    notifier: Notifier,
    connections: ConnectionCounter,
    state_dir: PathBuf,
    /// Somebody looks for a mistake.
    support: Option<JoinHandle<()>>,
    /// Policies that can never be reached, once somebody asked for them.
    shadows: Option<Vec<Shadow>>,
    /// Where it is written down what people want of uplinks, and who waits for that.
    wishes: Writer,
    owed: Vec<Then>,
    /// Rounds of questions that somebody waits for, and whose questions are being sent.
    bursts: Vec<Burst>,
    collecting: Option<UplinkName>,
    /// Who wants the file read that is being read, and who wants it read after that.
    asked: Vec<Asked>,
    asked_next: Vec<Asked>,
    /// What is in force is on trial.
    trial: Option<Trial>,
    /// Why what is in force is not what the file says.
    rolled_back: Option<String>,
    trial_file: TrialFile,
}

impl Daemon {
    fn start(
        kernel: Kernel,
        beginning: Beginning,
        config: uplinkd_model::Config,
        state: State,
        paths: &Paths,
    ) -> anyhow::Result<Self> {
        let Beginning { loaded, back } = beginning;
        let clock = Clock::start();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "unix seconds of this century"
        )]
        let first_event = clock.unix(uplinkd_core::Time::default()) as u64;
        let (shared, requests) = Shared::new(first_event);
        let wish = Wish::read(loaded.parsed.api())?;
        let socket = uplinkd_api::socket_path(&paths.runtime_dir);
        let face = Face::open(&socket, shared.clone(), wish)?;
        // Subscribed before the first look, so that nothing falls between.
        let watch = Watch::open(&state.reserves, kernel.ports())
            .context("cannot subscribe to network changes")?;
        let mut lists = Lists::open();
        lists.set(&loaded.lists);
        let mut cgroups = Cgroups::open();
        cgroups.set(cgroup_paths(&config));
        let mut controller = Controller::new(config, state.reserves.clone(), clock.now());
        let ledger = LedgerFile::new(&paths.state_dir);
        let known = ledger.load().unwrap_or_else(|error| {
            let reason = format!("{error:#}");
            warn!(
                reason,
                "budgets begin anew; `uplinkctl budget` corrects them"
            );
            Default::default()
        });
        controller.restore_budgets(known, boot_id(), local_time::today());
        let wanted = wishes::load(&paths.state_dir, clock.now(), unix_now());
        controller.restore_wishes(wanted.unwrap_or_else(|error| {
            let reason = format!("{error:#}");
            warn!(reason, "what was drained or preferred is forgotten");
            Default::default()
        }));
        let mut daemon = Self {
            kernel,
            watch,
            prober: Prober::new(),
            asker: Asker::new(),
            flows: Flows::default(),
            advertiser: Advertiser::new(),
            controller,
            clock,
            ticked_at: Time::default(),
            state,
            ledger: LedgerWriter::new(ledger),
            shared,
            requests,
            answer_after: None,
            face,
            config_path: paths.config.clone(),
            loaded: Arc::new(loaded),
            readings: Readings::default(),
            refused: Refused::default(),
            lists,
            cgroups,
            local_time: LocalTime::open().context("cannot have a timer")?,
            recorder: Recorder::new(&paths.state_dir),
            service_manager: ServiceManager::open(),
            meter: Meter::default(),
            memory: Memory::new(&paths.state_dir),
            notifier: Notifier::default(),
            connections: ConnectionCounter::default(),
            state_dir: paths.state_dir.clone(),
            support: None,
            shadows: None,
            wishes: Writer::new(
                paths.state_dir.join(wishes::FILE),
                "a restart may not know what is drained or preferred",
            ),
            owed: Vec::new(),
            bursts: Vec::new(),
            collecting: None,
            asked: Vec::new(),
            asked_next: Vec::new(),
            trial: None,
            rolled_back: None,
            trial_file: TrialFile::new(&paths.state_dir),
        };
        daemon.record();
        // Before the first look, so that the first plan is right already.
        daemon.tell_local_time();
        daemon.tell(&Notice::Started);
        if let Some(back) = back {
            daemon.begin_rolled_back(back);
        }
        Ok(daemon)
    }

    async fn serve_until_stopped(mut self) -> anyhow::Result<Exit> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            self.carry_out();
            self.service_manager.work(|| self.controller.is_settled());
            self.end_bursts();
            let burst = self.burst_deadline();
            let trial = self.trial.as_ref().and_then(Trial::deadline);
            let pause = self
                .answer_after
                .filter(|at| *at > std::time::Instant::now());
            let deadline = self.controller.next_deadline();
            let wait = deadline.map(|t| self.clock.until(t.max(self.ticked_at + TICK_LEAST)));
            // Answers before everything else: a busy moment of ours must not look like a slow line.
            tokio::select! {
                biased;
                replies = self.prober.replies() => self.take_replies(replies),
                answers = self.asker.answers() => self.take_answers(answers),
                // Before hints, of which a storm may never leave a moment without one.
                () = sleep(wait) => {
                    self.ticked_at = self.clock.now();
                    self.tell_core(Event::Tick);
                }
                () = sleep(self.memory.wait(self.clock.now())) => self.end_slot(),
                hint = self.watch.next() => self.take_hint(hint?),
                () = self.advertiser.work() => {}
                Some(request) = self.requests.recv(), if pause.is_none() => {
                    self.answer_in_turn(request);
                }
                () = self.local_time.changed(), if self.controller.wants_local_time() => {
                    self.tell_local_time();
                }
                // The numbers of control groups are part of our nft table.
                () = self.cgroups.changed() => self.tell_core(Event::Hint { what: HintKind::Nft }),
                () = self.lists.changed() => {
                    self.reload(Cause::Lists, Asked::by("a list file has changed"));
                }
                () = sleep_until(burst) => {}
                () = sleep_until(pause) => {}
                () = sleep_until(trial) => self.trial_is_over(),
                read = self.readings.done() => {
                    self.take_loaded(read);
                    self.service_manager.reloaded();
                }
                _ = hangup.recv() => {
                    self.service_manager.reloading();
                    self.reload(Cause::Told, Asked::by("SIGHUP"));
                    // It can be refused before anything is read.
                    if !self.readings.is_reading() {
                        self.service_manager.reloaded();
                    }
                }
                () = self.service_manager.due() => {}
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        self.service_manager.stopping();
        self.tell(&Notice::Stopping);
        self.recorder.stop(self.clock.now());
        self.memory.stop(self.clock.now());
        if self
            .controller
            .config()
            .uplinks
            .iter()
            .any(|u| u.budget.is_some())
        {
            self.ledger.write(&self.controller.last_ledger());
        }
        self.ledger.stop();
        self.wishes.stop();
        tokio::join!(self.face.close(), self.notifier.stop());
        Ok(Exit::Yes)
    }

    fn take_replies(&mut self, replies: Vec<Reply>) {
        if replies.is_empty() {
            return;
        }
        let now = self.clock.now();
        let mut told = Vec::with_capacity(replies.len());
        for Reply { id, rtt } in replies {
            trace!(probe = id, ?rtt, "answer");
            self.recorder.answered(id, rtt, now);
            self.meter.answered(id, rtt, now);
            self.note_answer(ProbeId(id), Ok(rtt));
            told.push((ProbeId(id), rtt));
        }
        self.controller.handle(Event::Replies(told), now);
    }

    fn take_answers(&mut self, answers: Vec<Answer>) {
        let now = self.clock.now();
        for Answer { id, result } in answers {
            trace!(probe = id, ?result, "answer");
            let probe = ProbeId(id);
            self.note_answer(probe, result.clone());
            let event = match result {
                Ok(rtt) => {
                    self.recorder.answered(id, rtt, now);
                    self.meter.answered(id, rtt, now);
                    Event::Reply { probe, rtt }
                }
                Err(why) => Event::Refused { probe, why },
            };
            self.controller.handle(event, now);
        }
    }

    fn end_slot(&mut self) {
        let now = self.clock.now();
        self.memory
            .end_slot(&mut self.meter, &self.controller, &mut self.kernel, now);
    }

    /// Gives the core a fact, after the answers that came while we were busy.
    fn tell_core(&mut self, event: Event) {
        let waiting = self.prober.drain();
        self.take_replies(waiting);
        let waiting = self.asker.drain();
        self.take_answers(waiting);
        self.controller.handle(event, self.clock.now());
    }

    fn take_hint(&mut self, hint: Hint) {
        let event = match hint {
            Hint::Link {
                index,
                name,
                admin_up,
                carrier,
                gone,
            } => Event::LinkChanged {
                index,
                name,
                admin_up,
                carrier,
                gone,
            },
            Hint::Address(index) => Event::Hint {
                what: HintKind::Address(index),
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
            Hint::Neighbour {
                index,
                address,
                state,
            } => {
                trace!(index, %address, ?state, "neighbour");
                let event = Event::Neighbour {
                    index,
                    address,
                    state,
                };
                return self.tell_core(event);
            }
            Hint::Overrun => Event::Hint {
                what: HintKind::Overrun,
            },
        };
        debug!(?event, "the kernel hints");
        self.tell_core(event);
    }
}

async fn sleep_until(at: Option<std::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn sleep(wait: Option<std::time::Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

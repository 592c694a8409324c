//! A configuration on trial, and the way back: by time, by word, and by another run of the daemon.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anstream::eprintln;
use tokio::task::spawn_blocking;
use tracing::warn;
use uplinkd_api::{ApiError, Operated, TrialStatus};
use uplinkd_model::{By, notice::Notice, operate::span_in_words};
use uplinkd_web::{Answer, Refused};

use super::{
    Daemon,
    operate::no_trial,
    reading::Cause,
    reload::{Asked, answer_all},
};
use crate::{
    args::Paths,
    exit::Exit,
    load::{self, Loaded},
    serve::{Clock, unix_now},
    trial::{Before, Record, Ticket, TrialFile},
    wishes::Until,
};

/// How long after a way back that failed it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What is in force on trial.
pub(super) struct Trial {
    by: By,
    /// What was in force before, and was confirmed.
    pub(super) before: Arc<Loaded>,
    /// When it is over.
    over: Instant,
    /// Why the way back is being taken, where it is.
    going_back: Option<String>,
}

impl Trial {
    /// When something has to be done.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.going_back.is_none().then_some(self.over)
    }

    /// For people.
    pub(super) fn status(&self, clock: &Clock) -> TrialStatus {
        let left = self.over.saturating_duration_since(Instant::now());
        TrialStatus {
            who: self.by.who.clone(),
            why: self.by.why.clone(),
            until: clock.unix(clock.now() + left),
        }
    }
}

/// What has to be on the disk before a trial begins.
pub(super) struct ToKeep {
    file: TrialFile,
    ticket: Ticket,
    path: PathBuf,
    by: By,
    span: Duration,
}

impl ToKeep {
    /// Writes down what was in force before.
    pub(super) fn keep(self, before: &Loaded) -> anyhow::Result<()> {
        let record = Record {
            path: self.path,
            by: self.by,
            until: Until::after(self.span, unix_now()),
            given_up: None,
            before: Before::of(before),
        };
        self.file.save(self.ticket, &record)
    }
}

/// What a run begins with.
pub(super) struct Beginning {
    /// The configuration.
    pub(super) loaded: Loaded,
    /// Where it is not what the file says: what is to be remembered of that, and why.
    pub(super) back: Option<(Record, String)>,
}

/// Reads the file, or what was in force before a trial that nobody confirmed.
///
/// # Errors
/// Where the file has mistakes, which are shown.
pub(super) fn begin(paths: &Paths) -> Result<Beginning, Exit> {
    let file = TrialFile::new(&paths.state_dir);
    let record = file.load().unwrap_or_else(|error| {
        eprintln!("warning: {error:#}: it cannot be told whether a configuration was on trial");
        None
    });
    if let Some(mut record) = record.filter(|r| r.path == paths.config) {
        let now = load::text(&paths.config).unwrap_or_default();
        let reason = match &record.given_up {
            None => Some(format!(
                "the one that {} put in force was not confirmed before uplinkd ended",
                record.by
            )),
            Some(given_up) if *given_up == now => {
                Some("the file is still the one that was given up".to_owned())
            }
            Some(_) => None,
        };
        if let Some(reason) = reason {
            let loaded = match record.given_up {
                None => record.before.load(&paths.config),
                Some(_) => record.before.load_later(&paths.config),
            };
            match loaded {
                Ok(loaded) => {
                    record.given_up = Some(now);
                    let back = Some((record, reason));
                    return Ok(Beginning { loaded, back });
                }
                Err(error) => {
                    load::show_error(&error, &paths.config);
                    eprintln!(
                        "warning: the configuration of before is no longer possible: taking the file"
                    );
                }
            }
        }
        if let Err(error) = file.remove(file.ticket()) {
            eprintln!("warning: {error:#}");
        }
    }
    let loaded = load::read_or_show(&paths.config)?;
    Ok(Beginning { loaded, back: None })
}

impl Daemon {
    /// Goes on from an earlier run that was on trial, or went back.
    pub(super) fn begin_rolled_back(&mut self, (record, reason): (Record, String)) {
        if let Err(error) = self.trial_file.save(self.trial_file.ticket(), &record) {
            warn!(
                reason = format!("{error:#}"),
                "a later start may take the file again"
            );
        }
        self.rolled_back = Some(differs(&reason));
        self.tell(&Notice::RolledBack { reason });
    }

    /// What has to be kept before what is asked for can be put in force.
    pub(super) fn trial_to_keep(&mut self) -> Option<ToKeep> {
        let asked = self.asked.iter().rev().find(|a| a.confirm.is_some())?;
        Some(ToKeep {
            span: asked.confirm?,
            by: asked.by.clone(),
            file: self.trial_file.clone(),
            ticket: self.trial_file.ticket(),
            path: self.config_path.clone(),
        })
    }

    /// A file was read again and is in force.
    pub(super) fn is_reloaded(
        &mut self,
        before: Arc<Loaded>,
        confirm: Option<Duration>,
        by: By,
    ) -> Operated {
        let was_rolled_back = self.rolled_back.take().is_some();
        if let Some(span) = confirm {
            let earlier = self.trial.take().map(|t| t.before);
            self.trial = Some(Trial {
                by,
                before: earlier.unwrap_or(before),
                over: Instant::now() + span,
                going_back: None,
            });
        } else if was_rolled_back {
            self.forget_trial(|_| {});
        }
        let Some(trial) = &self.trial else {
            return Operated {
                text: "the file is in force".to_owned(),
                until: None,
            };
        };
        let left = trial.over.saturating_duration_since(Instant::now());
        let left = Duration::from_secs((left + Duration::from_millis(500)).as_secs());
        Operated {
            text: format!(
                "the file is in force, and goes back in {} unless `uplinkctl confirm` comes first",
                span_in_words(left)
            ),
            until: Some(trial.status(&self.clock).until),
        }
    }

    /// A file that was to be put in force on trial was not.
    pub(super) fn trial_did_not_begin(&mut self) {
        // A thread that hangs must not write it later.
        let ticket = self.trial_file.ticket();
        if self.trial.is_none() && self.rolled_back.is_none() {
            let file = self.trial_file.clone();
            spawn_blocking(move || warn_of(file.remove(ticket)));
        }
    }

    /// Nobody confirmed it in time.
    pub(super) fn trial_is_over(&mut self) {
        if let Some(trial) = &self.trial {
            let reason = format!("nobody confirmed the one that {} put in force", trial.by);
            self.go_back(reason, Vec::new());
        }
    }

    pub(super) fn confirm(&mut self, by: By, answer: Answer<Operated>) {
        match self.trial.take_if(|t| t.going_back.is_none()) {
            Some(_) => {
                self.tell(&Notice::Confirmed { by });
                self.forget_trial(move |forgotten| {
                    let mut text = "the configuration stays".to_owned();
                    if let Err(error) = forgotten {
                        text += &format!(", but the next start may go back: {error:#}");
                    }
                    let _ = answer.send(Ok(Operated { text, until: None }));
                });
            }
            None => drop(answer.send(Err(no_trial()))),
        }
    }

    pub(super) fn roll_back_now(&mut self, by: By, answer: Answer<Operated>) {
        if self.trial.as_ref().and_then(Trial::deadline).is_none() {
            return drop(answer.send(Err(no_trial())));
        }
        let asked = Asked {
            by: by.clone(),
            confirm: None,
            answer: Some(answer),
        };
        self.go_back(by.to_string(), vec![asked]);
    }

    /// Begins to put back what was in force before. A file that is being read must not hold it up.
    fn go_back(&mut self, reason: String, asked: Vec<Asked>) {
        let Some(trial) = &mut self.trial else { return };
        trial.going_back = Some(reason);
        self.readings.abandon();
        let waiting = std::mem::take(&mut self.asked);
        let next = std::mem::take(&mut self.asked_next);
        let error = ApiError::new("the configuration of before was put back meanwhile");
        let refused = Err(Refused::Conflict(error.with_hint("ask again")));
        answer_all(waiting.into_iter().chain(next).collect(), &refused);
        // What was being read must not write another way back.
        let _ = self.trial_file.ticket();
        self.asked = asked;
        self.begin_reading(Cause::Back);
    }

    /// Why the way back is being taken.
    pub(super) fn why_back(&self) -> String {
        let trial = self.trial.as_ref();
        trial.and_then(|t| t.going_back.clone()).unwrap_or_default()
    }

    /// The way back is taken. `given_up` was in force until now.
    pub(super) fn is_back(&mut self, given_up: &Loaded) -> Operated {
        let reason = self.why_back();
        if let Some(trial) = self.trial.take() {
            let record = Record {
                path: self.config_path.clone(),
                by: trial.by,
                until: Until::after(Duration::ZERO, unix_now()),
                given_up: Some(given_up.text.to_string()),
                before: Before::of(&self.loaded),
            };
            let (file, ticket) = (self.trial_file.clone(), self.trial_file.ticket());
            spawn_blocking(move || warn_of(file.save(ticket, &record)));
        }
        self.rolled_back = Some(differs(&reason));
        Operated {
            text: "the configuration of before is in force again".to_owned(),
            until: None,
        }
    }

    /// The way back could not be taken.
    pub(super) fn try_back_later(&mut self) {
        if let Some(trial) = &mut self.trial {
            trial.going_back = None;
            trial.over = Instant::now() + AGAIN;
        }
    }

    /// The next start takes the file. Says so when that is on the disk.
    fn forget_trial(&mut self, then: impl FnOnce(&anyhow::Result<()>) + Send + 'static) {
        let (file, ticket) = (self.trial_file.clone(), self.trial_file.ticket());
        spawn_blocking(move || {
            let removed = file.remove(ticket);
            then(&removed);
            warn_of(removed);
        });
    }
}

fn warn_of(done: anyhow::Result<()>) {
    if let Err(error) = done {
        let reason = format!("{error:#}");
        warn!(
            reason,
            "routing goes on, but the next start may take another configuration"
        );
    }
}

/// What the status says while the file is not what is in force.
fn differs(reason: &str) -> String {
    format!(
        "The file is not in force, but the configuration of before: {reason}. `uplinkctl reload` takes the file."
    )
}

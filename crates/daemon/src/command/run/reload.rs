//! Reading the file again, as a transaction: either all of it is in force, or nothing has changed.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use tracing::{debug, warn};
use uplinkd_api::{ApiError, Operated};
use uplinkd_config::{OutletCodes, Slots};
use uplinkd_core::{Compiled, Event, Prepared};
use uplinkd_kernel::{Watch, nft::Forms};
use uplinkd_model::{By, Reserve, notice::Notice};
use uplinkd_web::{Answer, Refused as No};

use super::{
    Daemon,
    reading::{Cause, Done},
};
use crate::{
    face::Wish,
    load::{self, LoadError, Loaded},
    local_time,
    local_time::minute_now,
    machine,
    state::State,
};

/// A file that was read, and what is made of it before anything is decided: for thousands of policies
/// that takes longer than an uplink may wait for its failover.
pub(super) struct Fresh {
    loaded: Loaded,
    prepared: Prepared,
    forms: Forms,
    slots: Slots,
    outlets: OutletCodes,
    /// Who may ask.
    wish: Wish,
}

/// What is in force, for what is read and compiled to begin from.
struct InForce {
    /// With the numbers of uplinks and outlets.
    state: State,
    compiled: Compiled,
    forms: [Forms; 2],
    /// Who may ask; none where that is to be read again.
    wish: Option<Wish>,
}

impl Fresh {
    /// Those uplinks and outlets that are new are given their numbers here.
    fn of(loaded: Loaded, before: InForce) -> Result<Self, LoadError> {
        let mut state = before.state;
        let config = state
            .config(&loaded.parsed)
            .map_err(|e| LoadError::Unreadable(format!("{e:#}")))?;
        let wish = match before.wish {
            Some(wish) => wish,
            None => Wish::read(loaded.parsed.api())
                .map_err(|e| LoadError::Unreadable(format!("{e}; {}", e.hint())))?,
        };
        let prepared = Prepared::after(config, minute_now(), &before.compiled);
        Ok(Self {
            forms: Forms::of(prepared.classifier(), &before.forms),
            prepared,
            slots: state.slots,
            outlets: state.outlets,
            wish,
            loaded,
        })
    }
}

/// What was refused last and is not repaired yet.
#[derive(Debug, Default)]
pub(super) struct Refused(Option<Cause>);

impl Refused {
    fn note(&mut self, cause: Cause) {
        self.0 = Some(cause);
    }

    /// Whether a good reading puts right what was refused. Lists that are good again say nothing of a
    /// configuration that is not.
    fn is_repaired(&mut self, cause: Cause) -> bool {
        let repaired = self.0.is_some_and(|refused| refused <= cause);
        if repaired {
            self.0 = None;
        }
        repaired
    }
}

/// Somebody who wants the file read again.
#[derive(Debug)]
pub(super) struct Asked {
    /// Who.
    pub(super) by: By,
    /// On trial for so long.
    pub(super) confirm: Option<Duration>,
    /// Where to say what came of it.
    pub(super) answer: Option<Answer<Operated>>,
}

impl Asked {
    /// Somebody who waits for no answer.
    pub(super) fn by(who: &str) -> Self {
        Self {
            by: By::new(who),
            confirm: None,
            answer: None,
        }
    }
}

/// Tells all who asked what came of it.
pub(super) fn answer_all(asked: Vec<Asked>, answer: &Result<Operated, No>) {
    for reply in asked.into_iter().filter_map(|a| a.answer) {
        // Whoever asked may be gone.
        let _ = reply.send(answer.clone());
    }
}

impl Daemon {
    /// Begins to read; the loop goes on.
    pub(super) fn reload(&mut self, cause: Cause, asked: Asked) {
        if self.readings.is_reading() {
            self.asked_next.push(asked);
            self.readings.again(cause);
            return;
        }
        self.asked.push(asked);
        self.begin_reading(cause);
    }

    pub(super) fn begin_reading(&mut self, cause: Cause) {
        debug!(?cause, "reading the file again");
        let (loaded, path) = (Arc::clone(&self.loaded), self.config_path.clone());
        let before = InForce {
            state: self.state.clone(),
            compiled: self.controller.compiled(),
            forms: self.kernel.nft_forms(),
            // Of lists that changed it is none of the tokens' business.
            wish: (cause == Cause::Lists).then(|| self.face.wish().clone()),
        };
        let trial = self.trial_to_keep();
        let earlier = self.trial.as_ref().map(|t| Arc::clone(&t.before));
        let read = move || {
            let fresh = match cause {
                Cause::Told => loaded.fresh(&path)?,
                Cause::Lists => loaded.again()?,
                Cause::Back => Loaded::clone(earlier.as_ref().unwrap_or(&loaded)),
            };
            let fresh = Fresh::of(fresh, before)?;
            // Nothing is put in force on trial before the way back is on the disk.
            if let Some(trial) = trial
                && cause == Cause::Told
                && (earlier.is_some() || !is_same(&fresh.loaded, &loaded))
            {
                trial
                    .keep(earlier.as_ref().unwrap_or(&loaded))
                    .map_err(|e| LoadError::Unreadable(format!("{e:#}")))?;
            }
            Ok(fresh)
        };
        if let Err(text) = self.readings.begin(cause, read) {
            let asked = std::mem::take(&mut self.asked);
            answer_all(asked, &Err(No::Conflict(ApiError::new(text.clone()))));
            self.refuse(cause, text, By::new("uplinkd"));
        }
    }

    /// Takes what was read. Mistakes change nothing.
    pub(super) fn take_loaded(&mut self, done: Done) {
        let Done {
            cause,
            result,
            again,
        } = done;
        let asked = std::mem::take(&mut self.asked);
        let by = asked.iter().rev().map(|a| a.by.clone()).next();
        let by = by.unwrap_or_else(|| By::new("uplinkd"));
        let answer = match result {
            Err(error) => {
                load::show_error(&error, &self.config_path);
                let text = error.in_short(&self.config_path);
                self.refuse(self.at_fault(cause, &error), text.clone(), by);
                // One that hangs must not keep a way back when it ends after all.
                self.trial_did_not_begin();
                Err(No::Unfit(error.to_api(&self.config_path)))
            }
            // Touched, but not changed.
            Ok(fresh) if cause == Cause::Lists && fresh.loaded.parsed == self.loaded.parsed => {
                if self.refused.is_repaired(cause) {
                    self.tell(&Notice::Reloaded { by, confirm: None });
                }
                Ok(Operated::default())
            }
            Ok(fresh) => self.take_fresh(fresh, cause, &asked, by),
        };
        answer_all(asked, &answer);
        if let Some(cause) = again {
            self.asked = std::mem::take(&mut self.asked_next);
            self.begin_reading(cause);
        }
    }

    /// Puts what was read in force, on trial if that was asked for.
    fn take_fresh(
        &mut self,
        fresh: Fresh,
        cause: Cause,
        asked: &[Asked],
        by: By,
    ) -> Result<Operated, No> {
        let confirm = asked.iter().rev().find_map(|a| a.confirm);
        if confirm.is_some() && self.trial.is_none() && is_same(&fresh.loaded, &self.loaded) {
            return Ok(Operated {
                text: "nothing has changed, so that nothing waits to be confirmed".to_owned(),
                until: None,
            });
        }
        let before = Arc::clone(&self.loaded);
        let notice = match cause {
            Cause::Back => Notice::RolledBack {
                reason: self.why_back(),
            },
            Cause::Told | Cause::Lists => Notice::Reloaded {
                by: by.clone(),
                confirm: confirm.map(|span| span.as_secs()),
            },
        };
        // The core tells it.
        if let Err(error) = self.put_in_force(fresh, cause, notice) {
            let text = format!("{error:#}");
            self.refuse(cause, text.clone(), by);
            match cause {
                Cause::Back => self.try_back_later(),
                Cause::Told | Cause::Lists => self.trial_did_not_begin(),
            }
            return Err(No::Conflict(ApiError::new(text)));
        }
        self.refused.is_repaired(cause);
        Ok(match cause {
            Cause::Back => self.is_back(&before),
            Cause::Told => self.is_reloaded(before, confirm, by),
            Cause::Lists => Operated::default(),
        })
    }

    /// What has to be repaired: where the text is the one in force, a list.
    fn at_fault(&self, cause: Cause, error: &LoadError) -> Cause {
        match error {
            LoadError::Mistakes { text, .. } if **text == *self.loaded.text => Cause::Lists,
            LoadError::Mistakes { .. } | LoadError::Unreadable(_) => cause,
        }
    }

    fn refuse(&mut self, at_fault: Cause, text: String, by: By) {
        self.refused.note(at_fault);
        self.tell(&Notice::ReloadRefused { text, by });
    }

    /// Everything that can fail comes first, and touches nothing that is in force.
    fn put_in_force(&mut self, fresh: Fresh, cause: Cause, notice: Notice) -> anyhow::Result<()> {
        let Fresh {
            loaded,
            prepared,
            forms,
            slots,
            outlets,
            wish,
        } = fresh;
        let mut state = self.state.clone();
        (state.slots, state.outlets) = (slots, outlets);
        let config = prepared.config();
        same_layout(&self.controller.config().reserve, &config.reserve)?;
        let face = self.face.prepare(wish)?;
        if cause == Cause::Told {
            load::show(loaded.parsed.warnings(), &self.config_path, &loaded.text);
        }
        // All that makes a reload impossible comes of the numbers that the file claims.
        if cause == Cause::Told && self.controller.config().reserve != config.reserve {
            let kernel = &mut self.kernel;
            let problems = machine::examine(kernel, &loaded.parsed, config, &state.reserves)?;
            if let Some(problem) = problems.into_iter().find(|p| p.is_fatal) {
                anyhow::bail!("{}", problem.diagnostic.message);
            }
        }
        if !state.reserves.contains(&config.reserve) {
            state.reserves.insert(0, config.reserve.clone());
        }
        let is_other_watch = state.reserves != self.state.reserves;
        let watch = is_other_watch.then(|| Watch::open(&state.reserves, self.kernel.ports()));
        let watch = watch.transpose()?;
        if state != self.state {
            match (state.save(), cause) {
                // A full disk must not keep what works from coming back.
                (Err(error), Cause::Back) => {
                    warn!(reason = format!("{error:#}"), "state not saved")
                }
                (saved, _) => saved?,
            }
            self.state = state;
        }
        if let Some(watch) = watch {
            self.watch = watch;
        }
        self.face.take(face);
        let names: Vec<_> = config.uplinks.iter().map(|u| u.name.clone()).collect();
        self.prober.retain(|name| names.contains(name));
        self.lists.set(&loaded.lists);
        self.cgroups.set(prepared.cgroups().clone());
        self.kernel.foresee_nft(forms);
        let before = std::mem::replace(&mut self.loaded, Arc::new(loaded));
        self.record();
        // A file of thousands of policies takes milliseconds to be freed.
        tokio::task::spawn_blocking(move || drop(before));
        self.shadows = None;
        // The new policies are those of the last time of day that was told.
        self.tell_time_of_day();
        self.tell_core(Event::Prepared(Box::new(prepared.told(notice))));
        self.meter.configured(self.controller.config());
        Ok(())
    }

    /// Records samples, keeps history and tells people from now on, or not, as the file in force says.
    pub(super) fn record(&mut self) {
        let epoch = self.clock.unix(uplinkd_core::Time::default());
        let wanted = self.loaded.parsed.record();
        self.recorder.set(wanted, epoch, self.clock.now());
        let wanted = self.loaded.parsed.history();
        self.memory.set(wanted, &self.controller, self.clock.now());
        if let Err(error) = self.notifier.set(self.loaded.parsed.notify()) {
            let reason = error.to_string();
            warn!(
                reason,
                "there is no room for a thread: nobody is told otherwise than before"
            );
        }
    }

    /// Tells the core what time it is here, where some policy has a schedule.
    pub(super) fn tell_local_time(&mut self) {
        if self.controller.wants_local_time() {
            self.tell_time_of_day();
        }
    }

    /// Tells it in any case, and sets the timer for the next minute.
    fn tell_time_of_day(&mut self) {
        match self.local_time.minute() {
            Ok(minute) => {
                self.tell_core(Event::LocalTime { minute });
                self.tell_core(Event::LocalDay(local_time::today()));
            }
            Err(error) => warn!(%error, "cannot set a timer: schedules stay as they are"),
        }
    }
}

/// Whether two readings are the same to the letter, lists and all.
fn is_same(one: &Loaded, other: &Loaded) -> bool {
    one.text == other.text && one.parsed == other.parsed
}

/// Refuses a layout of the mark that is not the one in force. Connections that live bear marks of
/// this one, and would be taken for those of other uplinks and policies.
fn same_layout(now: &Reserve, new: &Reserve) -> anyhow::Result<()> {
    ensure!(
        now.marks() == new.marks(),
        "`reserve.mark_mask` or `reserve.mark_uplink_bits` has changed: marks of living connections \
         would be read wrongly; run `uplinkd clean` and start again"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_is_told_once_and_only_of_what_was_refused() {
        let mut refused = Refused::default();
        assert!(!refused.is_repaired(Cause::Lists), "nothing was refused");
        refused.note(Cause::Lists);
        assert!(refused.is_repaired(Cause::Lists));
        assert!(!refused.is_repaired(Cause::Lists), "told already");
        refused.note(Cause::Told);
        assert!(!refused.is_repaired(Cause::Lists), "the file is still bad");
        assert!(refused.is_repaired(Cause::Told));
    }

    #[test]
    fn only_another_layout_of_the_mark_is_refused() {
        let now = Reserve::default();
        let moved = Reserve {
            tables: 100_000,
            rule_priority: 3000,
            ..Reserve::default()
        };
        assert!(same_layout(&now, &moved).is_ok());
        let bits = Reserve {
            mark_uplink_bits: 4,
            ..Reserve::default()
        };
        let mask = Reserve {
            mark_mask: 0xffff_0000,
            ..Reserve::default()
        };
        for new in [bits, mask] {
            let refused = same_layout(&now, &new).unwrap_err().to_string();
            assert!(
                refused.contains("read wrongly; run `uplinkd clean`"),
                "{refused}"
            );
        }
    }
}

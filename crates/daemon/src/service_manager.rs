//! What a service manager is told, where one started us: systemd, or whoever else has set
//! `NOTIFY_SOCKET` (sd_notify(3)). Without one nothing is told and nothing is different.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

/// We are ready once the kernel is as it shall be, or after so long without that: a line that is missing at
/// boot must not keep everything else from starting, nor have us started anew.
const READY_AFTER: Duration = Duration::from_secs(10);

/// The connection to the service manager.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    /// Until when to wait with being ready; none: we are.
    ready_at: Option<Instant>,
    is_reloading: bool,
    /// How often it wants a sign of life, and when it is due. Both none where it wants none.
    watchdog: Option<(Duration, Instant)>,
}

impl ServiceManager {
    /// Finds out what it wants.
    pub(crate) fn open() -> Self {
        let now = Instant::now();
        // Half of the time that it waits: one sign may be late.
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        Self {
            ready_at: Some(now + READY_AFTER),
            is_reloading: false,
            watchdog: every.map(|every| (every, now)),
        }
    }

    /// When [`Self::work`] has something to do by itself.
    pub(crate) async fn due(&self) {
        let watchdog = self.watchdog.map(|(_, due)| due);
        match self.ready_at.into_iter().chain(watchdog).min() {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// To be called in each turn of the loop, which is what a sign of life tells of.
    pub(crate) fn work(&mut self, is_settled: impl FnOnce() -> bool) {
        let now = Instant::now();
        if self.ready_at.is_some_and(|at| at <= now || is_settled()) {
            self.ready_at = None;
            say(&[NotifyState::Ready]);
        }
        if let Some((every, due)) = &mut self.watchdog
            && *due <= now
        {
            *due = now + *every;
            say(&[NotifyState::Watchdog]);
        }
    }

    /// The file is about to be read again because somebody asked.
    pub(crate) fn reloading(&mut self) {
        self.is_reloading = true;
        match NotifyState::monotonic_usec_now() {
            Ok(now) => say(&[NotifyState::Reloading, now]),
            Err(error) => debug!(%error, "no monotonic clock"),
        }
    }

    /// It was read and is in force, or was refused.
    pub(crate) fn reloaded(&mut self) {
        if std::mem::take(&mut self.is_reloading) {
            say(&[NotifyState::Ready]);
        }
    }

    /// We are about to end.
    pub(crate) fn stopping(&self) {
        say(&[NotifyState::Stopping]);
    }
}

fn say(words: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(words) {
        debug!(%error, "the service manager was not told");
    }
}

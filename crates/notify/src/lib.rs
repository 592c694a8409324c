//! Tells people and programs what happens: hooks, webhooks, e-mail.
//!
//! [`outbox`] decides what is sent when, and is pure: the time is a parameter. Around it a `channel` is a
//! task for each way out, and a `worker` is a thread with those of one kind. The daemon's loop hands over
//! events by a bounded queue and never waits; whatever hangs, hangs over there.
//!
//! Two threads, since programs that are hooks may gain no rights in any way, and the system's sendmail
//! has to gain those of its queue.
//!
//! Start with [`Notifier`].

mod channel;
mod hooks;
mod mail;
mod message;
pub mod outbox;
pub mod secret;
mod template;
mod webhook;
mod worker;

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};
use uplinkd_api::{Event, Level};
use uplinkd_model::{
    Notify,
    notice::Notice,
    notify::{Channel, Means},
};

pub use hooks::{Hook, listed};

use self::worker::{Kind, Order, Worker};

/// How long what is still to be told may take when we stop.
pub const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// Tells all channels of a configuration. Nothing runs where there are none.
#[derive(Debug, Default)]
pub struct Notifier {
    wish: Notify,
    programs: Option<Worker>,
    messages: Option<Worker>,
    board: Board,
}

/// What became of a channel's messages since the daemon's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages that arrived; of hooks: events that all of them were told.
    pub sent: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Events that were dropped: there were too many, or nobody would ever take them.
    pub dropped: u64,
    /// Events that wait.
    pub waiting: usize,
    /// What was wrong with the last try; none where it was good.
    pub problem: Option<String>,
}

/// What came of a test, for one channel or one hook of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// The channel.
    pub channel: String,
    /// Which of its parts, such as a hook; none: all of it.
    pub part: Option<String>,
    /// What was wrong; none: it arrived.
    pub problem: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// Figures that both threads write and the daemon reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<String, Figures>>>);

impl Board {
    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Figures>> {
        // Whole after every line of its code.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, channel: &str, change: impl FnOnce(&mut Figures)) {
        if let Some(figures) = self.lock().get_mut(channel) {
            change(figures);
        }
    }
}

impl Notifier {
    /// Tells these from now on. What waits for a channel of the same name goes on waiting for it.
    ///
    /// # Errors
    /// Where there is no room for a thread. Everything else stays as it was.
    pub fn set(&mut self, wish: &Notify) -> io::Result<()> {
        if *wish == self.wish {
            return Ok(());
        }
        let names: Vec<_> = wish.channels.iter().map(|c| c.name.clone()).collect();
        {
            let mut board = self.board.lock();
            board.retain(|name, _| names.contains(name));
            for name in names {
                board.entry(name).or_default();
            }
        }
        let of = |kind: Kind| -> Vec<Channel> {
            let all = wish.channels.iter();
            all.filter(|c| kind.is_for(&c.means)).cloned().collect()
        };
        for (kind, worker) in [
            (Kind::Programs, &mut self.programs),
            (Kind::Messages, &mut self.messages),
        ] {
            let own = Notify {
                channels: of(kind),
                ..wish.clone()
            };
            match worker {
                Some(worker) => worker.set(own),
                None if own.channels.is_empty() => {}
                None => *worker = Some(Worker::start(kind, own, self.board.clone())?),
            }
        }
        self.wish = wish.clone();
        Ok(())
    }

    /// Hands an event over. Never waits: what finds the queue full is counted, and told so with the next
    /// message.
    pub fn tell(&self, notice: &Notice, event: &Event) {
        let has_takers = self.wish.channels.iter().any(|c| c.wanted.has(notice));
        let is_back = worker::is_back(notice);
        if !has_takers && !is_back {
            return;
        }
        let told = Arc::new((notice.clone(), Arc::new(event.clone())));
        for worker in self.workers() {
            worker.order(Order::Told(Arc::clone(&told)));
        }
    }

    /// The names of the channels, in the order of the file.
    pub fn channels(&self) -> impl Iterator<Item = &str> {
        self.wish.channels.iter().map(|c| c.name.as_str())
    }

    /// What became of the messages of each channel, in the order of the file.
    pub fn figures(&self) -> Vec<(String, Figures)> {
        let board = self.board.lock();
        let figures = |name: &str| board.get(name).cloned().unwrap_or_default();
        self.channels()
            .map(|name| (name.to_owned(), figures(name)))
            .collect()
    }

    /// Tells a channel, or all, at once that this is a test, and waits for what comes of it, up to
    /// `patience`.
    pub fn test(
        &self,
        channel: Option<&str>,
        by: &str,
        unix_time: f64,
        patience: Duration,
    ) -> impl Future<Output = Vec<Tested>> + Send + use<> {
        let event = Arc::new(Event {
            id: 0,
            time: unix_time,
            level: Level::Info,
            kind: "test".to_owned(),
            text: format!("this is a test of uplinkd, ordered by {by}"),
            detail: serde_json::json!({}),
        });
        let wanted = self.wish.channels.iter();
        let wanted: Vec<_> = wanted
            .filter(|c| channel.is_none_or(|name| c.name == name))
            .map(|c| (c.name.clone(), matches!(c.means, Means::Hooks(_))))
            .collect();
        let asked: Vec<_> = wanted
            .into_iter()
            .map(|(name, is_hooks)| {
                let (answer, result) = oneshot::channel();
                let worker = match is_hooks {
                    true => self.programs.as_ref(),
                    false => self.messages.as_ref(),
                };
                if let Some(worker) = worker {
                    worker.order(Order::Test(name.clone(), Arc::clone(&event), answer));
                }
                (name, result)
            })
            .collect();
        async move {
            let deadline = tokio::time::Instant::now() + patience;
            let mut all = Vec::new();
            for (channel, result) in asked {
                let left = deadline.saturating_duration_since(tokio::time::Instant::now());
                let problem = match timeout(left, result).await {
                    Ok(Ok(tested)) => {
                        all.extend(tested);
                        continue;
                    }
                    Ok(Err(_)) => "it is too busy to be tested, or was just taken away".to_owned(),
                    Err(_) => format!("no result within {patience:?}"),
                };
                all.push(Tested {
                    channel,
                    part: None,
                    problem: Some(problem),
                    took: patience,
                });
            }
            all
        }
    }

    /// Tells what is still to be told, where that is quick, and ends.
    pub async fn stop(mut self) {
        let ends: Vec<_> = [self.programs.take(), self.messages.take()]
            .into_iter()
            .flatten()
            .map(Worker::stop)
            .collect();
        let all = async {
            for end in ends {
                let _ = end.await;
            }
        };
        let _ = timeout(STOP_PATIENCE, all).await;
    }

    fn workers(&self) -> impl Iterator<Item = &Worker> {
        [&self.programs, &self.messages].into_iter().flatten()
    }
}

/// What keeps a channel from telling anything, seen without trying: files that are missing or open to others,
/// hooks that would be refused. Each with the file that it is about.
pub fn doubts(channel: &Channel) -> Vec<(&Path, String)> {
    match &channel.means {
        Means::Hooks(hooks) => match listed(&hooks.dir) {
            Err(why) => vec![(&hooks.dir, why)],
            Ok(found) => found
                .into_iter()
                .filter_map(|hook| Some((hooks.dir.as_path(), hook.problem()?)))
                .collect(),
        },
        Means::Webhook(webhook) => {
            let secrets = [webhook.secret_url(), webhook.token_file.as_deref()];
            let secrets = secrets.into_iter().flatten();
            let bad = secrets.filter_map(|file| {
                let why = secret::read(file, secret::SECRET_MAX).err()?;
                Some((
                    file,
                    format!("cannot take a secret from {}: {why}", file.display()),
                ))
            });
            bad.collect()
        }
        Means::Mail(mail) => match mail.program.exists() {
            true => Vec::new(),
            false => vec![(
                &mail.program,
                format!("there is no program {}", mail.program.display()),
            )],
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, thread, time::Instant};

    use uplinkd_model::notify::{Hooks, Wanted};

    use super::*;

    #[test]
    fn a_storm_holds_nobody_up_and_every_event_is_accounted_for() {
        const EVENTS: u64 = 2000;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let hooks = Hooks {
            dir: dir.path().to_owned(),
            user: None,
            limit: Duration::from_secs(10),
        };
        let wish = Notify {
            channels: vec![Channel {
                name: Channel::HOOKS.to_owned(),
                wanted: Wanted::All,
                means: Means::Hooks(hooks),
            }],
            ..Notify::default()
        };
        let mut notifier = Notifier::default();
        let event = message::tests::event("storm", Level::Warn);
        notifier.tell(&Notice::Started, &event);
        notifier.set(&wish).unwrap();
        for _ in 0..EVENTS {
            notifier.tell(&Notice::Started, &event);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut told = EVENTS;
        loop {
            let (name, figures) = notifier.figures().remove(0);
            assert_eq!(name, "hooks");
            let accounted = figures.sent + figures.dropped + figures.waiting as u64;
            assert!(accounted <= told, "{figures:?} of {told}");
            if accounted == told && figures.waiting == outbox::WAITING_MAX {
                assert_eq!(figures.failed, 0);
                break;
            }
            assert!(Instant::now() < deadline, "{figures:?} of {told}");
            thread::sleep(Duration::from_millis(20));
            // What found the queue full is counted with the next one.
            notifier.tell(&Notice::Started, &event);
            told += 1;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(notifier.stop());
    }
}

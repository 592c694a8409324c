//! One channel: a task that keeps its outbox and sends one message at a time.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, info, warn};
use uplinkd_api::Event;
use uplinkd_model::{
    Notify,
    notify::{Channel, Means},
};
use uplinkd_probe::Trust;

use crate::{
    Board, Figures, Tested, hooks, mail,
    message::Message,
    outbox::{Batch, Outbox, Pace},
    webhook,
};

/// Events of one message at most.
const BATCH_MAX: usize = 50;
/// Events that hooks are told in a minute at most. Twice a second: more is a storm that nobody can
/// follow, and waits.
const HOOKS_PER_MINUTE: usize = 120;
/// Hooks that are named where several fail.
const PROBLEMS_MAX: usize = 5;
/// How long the last messages may take when we stop.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Tests at once, of each channel.
const TESTS_MAX: usize = 4;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It has arrived.
    Delivered,
    /// It was told as far as it goes, and something was wrong: it is not told again.
    Partly(String),
    /// It is to be sent again, not before that time from now.
    Again {
        /// What was wrong.
        why: String,
        /// How long the other end wants to be left alone.
        after: Option<Duration>,
    },
    /// Nobody will ever take it.
    Refused(String),
}

impl Sent {
    fn problem(&self) -> Option<&str> {
        match self {
            Self::Delivered => None,
            Self::Partly(why) | Self::Again { why, .. } | Self::Refused(why) => Some(why),
        }
    }
}

/// What channels of a thread have in common.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) trust: Trust,
    pub(crate) host: String,
    pub(crate) zone: TimeZone,
    pub(crate) began: Instant,
    pub(crate) board: Board,
}

/// What a channel is told.
#[derive(Debug)]
pub(crate) enum Post {
    Event(Arc<Event>),
    /// So many were lost on the way here.
    Lost(u64),
    LineIsBack,
    /// It is another one from now on, under the same name.
    Changed(Rc<Channel>, Pace),
    Test(Arc<Event>, oneshot::Sender<Vec<Tested>>),
}

/// How fast a channel is to be.
pub(crate) fn pace(channel: &Channel, notify: &Notify) -> Pace {
    match channel.means {
        // Each event by itself: programs want all of them.
        Means::Hooks(_) => Pace {
            together: Duration::ZERO,
            most: HOOKS_PER_MINUTE,
            span: Duration::from_secs(60),
            batch: 1,
        },
        Means::Webhook(_) | Means::Mail(_) => Pace {
            together: notify.together,
            most: notify.per_hour as usize,
            span: Duration::from_secs(3600),
            batch: BATCH_MAX,
        },
    }
}

/// The task: until nobody has anything to tell it any more.
pub(crate) async fn run(
    channel: Rc<Channel>,
    pace: Pace,
    context: Rc<Context>,
    mut posts: mpsc::UnboundedReceiver<Post>,
) {
    let mut task = Task {
        channel,
        context,
        outbox: Outbox::new(pace),
        under_way: JoinSet::new(),
        is_heard: Rc::default(),
        tests: JoinSet::new(),
        problem: None,
    };
    loop {
        task.begin();
        let due = task.outbox.deadline().map(|d| task.context.began + d);
        tokio::select! {
            biased;
            Some(sent) = task.under_way.join_next() => task.end(sent.ok()),
            Some(_) = task.tests.join_next() => {}
            post = posts.recv() => match post {
                Some(post) => task.take(post),
                None => break,
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
    task.finish().await;
}

struct Task {
    channel: Rc<Channel>,
    context: Rc<Context>,
    outbox: Outbox<Arc<Event>>,
    /// At most one.
    under_way: JoinSet<Sent>,
    /// Somebody may have heard of it.
    is_heard: Rc<Cell<bool>>,
    tests: JoinSet<()>,
    /// What was wrong last, so that it is said once.
    problem: Option<String>,
}

impl Task {
    fn now(&self) -> Duration {
        self.context.began.elapsed()
    }

    fn take(&mut self, post: Post) {
        let now = self.now();
        match post {
            Post::Event(event) => {
                let dropped = self.outbox.push(event, now);
                self.note(dropped, "too many wait", |_| {});
            }
            Post::Lost(count) => {
                self.outbox.note_dropped(count);
                self.note(count, "too many came at once", |_| {});
            }
            Post::LineIsBack => self.hasten(now),
            Post::Changed(channel, pace) => {
                self.channel = channel;
                self.outbox.set_pace(pace);
                // It may be right now.
                self.hasten(now);
            }
            Post::Test(event, answer) => self.test(event, answer),
        }
    }

    /// A line is back: what failed is tried again soon. What still looks for a way, and has told nobody
    /// anything, may do so by a dead one, and begins anew.
    fn hasten(&mut self, now: Duration) {
        self.outbox.hasten(now);
        if !self.under_way.is_empty() && !self.is_heard.get() {
            self.under_way = JoinSet::new();
            let dropped = self.outbox.failed(now, None, 0.0);
            self.note(dropped, "too many wait", |_| {});
        }
    }

    /// Sends what it is time for, where nothing is under way.
    fn begin(&mut self) {
        let Some(batch) = self.outbox.take(self.now()) else {
            return;
        };
        self.is_heard = Rc::default();
        let is_heard = Rc::clone(&self.is_heard);
        let (channel, context) = (Rc::clone(&self.channel), Rc::clone(&self.context));
        self.under_way
            .spawn_local(async move { send(&channel, &context, &batch, &is_heard).await });
    }

    /// Takes what came of it; none where the task died.
    fn end(&mut self, sent: Option<Sent>) {
        let now = self.now();
        let sent = sent.unwrap_or_else(|| Sent::Refused("it could not be put together".to_owned()));
        let problem = sent.problem().map(str::to_owned);
        let dropped = match &sent {
            Sent::Delivered | Sent::Partly(_) => {
                self.outbox.delivered(now);
                0
            }
            Sent::Again { after, .. } => self.outbox.failed(now, *after, fastrand::f64()),
            Sent::Refused(_) => self.outbox.refused(now),
        };
        self.note(dropped, "nobody takes them", |figures| {
            match &problem {
                None => figures.sent += 1,
                Some(_) => figures.failed += 1,
            }
            figures.problem.clone_from(&problem);
        });
        let name = &self.channel.name;
        match (&problem, &self.problem) {
            (Some(why), before) if before.as_ref() != Some(why) => {
                warn!(channel = %name, reason = why, "cannot tell all");
            }
            (Some(why), _) => debug!(channel = %name, reason = why, "cannot tell all, as before"),
            (None, Some(_)) => info!(channel = %name, "told again"),
            (None, None) => debug!(channel = %name, "told"),
        }
        self.problem = problem;
    }

    /// Says what was dropped, and brings the board up to date in one step.
    fn note(&self, dropped: u64, reason: &str, change: impl FnOnce(&mut Figures)) {
        let name = &self.channel.name;
        // Once for each message that will say how many: a storm must not become one of the log.
        if dropped > 0 && self.outbox.untold() == dropped {
            warn!(channel = %name, reason, "events are left out");
        }
        let waiting = self.outbox.waiting();
        self.context.board.note(name, |figures| {
            figures.dropped += dropped;
            figures.waiting = waiting;
            change(figures);
        });
    }

    /// Beside the outbox: whoever tests wants to know now.
    fn test(&mut self, event: Arc<Event>, answer: oneshot::Sender<Vec<Tested>>) {
        if self.tests.len() >= TESTS_MAX {
            return;
        }
        let (channel, context) = (Rc::clone(&self.channel), Rc::clone(&self.context));
        self.tests.spawn_local(async move {
            // Whoever asked may be gone.
            let _ = answer.send(test(&channel, &context, event).await);
        });
    }

    /// Sends what is left, while that works and is quick.
    async fn finish(mut self) {
        self.outbox.close();
        let last = async {
            loop {
                self.begin();
                match self.under_way.join_next().await {
                    Some(sent) => self.end(sent.ok()),
                    None => break,
                }
            }
        };
        let _ = timeout(LAST_WORDS, last).await;
        let left = self.outbox.waiting();
        if left > 0 {
            warn!(channel = %self.channel.name, left, "events were not told any more");
        }
    }
}

/// Sends a message. `is_heard` is set before anybody is told anything.
async fn send(
    channel: &Channel,
    context: &Context,
    batch: &Batch<Arc<Event>>,
    is_heard: &Cell<bool>,
) -> Sent {
    let message = || Message::of(batch, &context.host, &context.zone);
    match &channel.means {
        Means::Hooks(hooks) => {
            is_heard.set(true);
            let mut problems = Vec::new();
            for event in &batch.items {
                match hooks::run(hooks, event, batch.dropped).await {
                    Ok(ran) => problems.extend(
                        ran.into_iter()
                            .filter_map(|r| Some(format!("{}: {}", r.name, r.problem?))),
                    ),
                    Err(why) => problems.push(why),
                }
            }
            let more = problems.len().saturating_sub(PROBLEMS_MAX);
            problems.truncate(PROBLEMS_MAX);
            if more > 0 {
                problems.push(format!("and {more} more"));
            }
            match problems.is_empty() {
                true => Sent::Delivered,
                false => Sent::Partly(problems.join("; ")),
            }
        }
        Means::Webhook(webhook) => {
            webhook::send(&context.trust, webhook, &message(), is_heard).await
        }
        Means::Mail(mail) => {
            is_heard.set(true);
            mail::send(mail, &message()).await
        }
    }
}

async fn test(channel: &Channel, context: &Context, event: Arc<Event>) -> Vec<Tested> {
    let began = Instant::now();
    let name = channel.name.clone();
    let whole = |problem: Option<String>| Tested {
        channel: name.clone(),
        part: None,
        problem,
        took: began.elapsed(),
    };
    if let Means::Hooks(hooks) = &channel.means {
        return match hooks::run(hooks, &event, 0).await {
            Ok(ran) if ran.is_empty() => {
                let dir = hooks.dir.display();
                vec![whole(Some(format!("there are no hooks in {dir}")))]
            }
            Ok(ran) => ran
                .into_iter()
                .map(|r| Tested {
                    channel: name.clone(),
                    part: Some(r.name),
                    problem: r.problem,
                    took: r.took,
                })
                .collect(),
            Err(why) => vec![whole(Some(why))],
        };
    }
    let batch = Batch {
        items: vec![event],
        dropped: 0,
    };
    let sent = send(channel, context, &batch, &Cell::default()).await;
    vec![whole(sent.problem().map(str::to_owned))]
}

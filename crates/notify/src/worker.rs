//! A thread with the channels of one kind. It has a queue of orders, which are passed on at once.

use std::{
    collections::BTreeMap,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use jiff::tz::TimeZone;
use nix::{sys::prctl, unistd::gethostname};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, LocalSet},
    time::Instant,
};
use tracing::warn;
use uplinkd_api::Event;
use uplinkd_model::{
    Health, Notify,
    notice::Notice,
    notify::{Channel, Means},
};
use uplinkd_probe::{Trust, program};

use crate::{
    Board, Tested,
    channel::{self, Context, Post},
    outbox::Pace,
};

/// Orders that wait for the thread, which is busy for milliseconds at most. With more events are dropped
/// and counted.
const ORDERS_MAX: usize = 256;
/// Names that are looked up at once; more wait. While no resolver answers, each look-up hangs for half a
/// minute, and the next try begins sooner.
const LOOK_UPS_MAX: usize = 16;

/// What its channels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Hooks, which may gain no rights by what they run.
    Programs,
    /// Webhooks and e-mail.
    Messages,
}

impl Kind {
    pub(crate) fn is_for(self, means: &Means) -> bool {
        match means {
            Means::Hooks(_) => self == Self::Programs,
            Means::Webhook(_) | Means::Mail(_) => self == Self::Messages,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Programs => "hooks",
            Self::Messages => "notify",
        }
    }
}

/// What a thread is told.
#[derive(Debug)]
pub(crate) enum Order {
    Told(Arc<(Notice, Arc<Event>)>),
    /// To the channel of this name.
    Test(String, Arc<Event>, oneshot::Sender<Vec<Tested>>),
}

/// The handle of a thread.
#[derive(Debug)]
pub(crate) struct Worker {
    orders: mpsc::Sender<Order>,
    wish: watch::Sender<Notify>,
    lost: Arc<AtomicU64>,
    end: oneshot::Receiver<()>,
}

impl Worker {
    pub(crate) fn start(kind: Kind, wish: Notify, board: Board) -> io::Result<Self> {
        let (orders, queue) = mpsc::channel(ORDERS_MAX);
        let (wish, wished) = watch::channel(wish);
        let lost = Arc::new(AtomicU64::new(0));
        let (ended, end) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(LOOK_UPS_MAX)
            .build()?;
        let is_lost = Arc::clone(&lost);
        let thread = thread::Builder::new().name(kind.name().to_owned());
        thread.spawn(move || {
            program::drop_ambient();
            if kind == Kind::Programs
                && let Err(error) = prctl::set_no_new_privs()
            {
                warn!(reason = error.desc(), "hooks could gain rights");
            }
            let hall = Hall {
                orders: queue,
                wish: wished,
                lost: is_lost,
                channels: BTreeMap::new(),
            };
            LocalSet::new().block_on(&runtime, hall.work(board));
            // A name that is being looked up is not waited for.
            runtime.shutdown_background();
            let _ = ended.send(());
        })?;
        Ok(Self {
            orders,
            wish,
            lost,
            end,
        })
    }

    /// Has other channels from now on.
    pub(crate) fn set(&self, wish: Notify) {
        self.wish.send_replace(wish);
    }

    /// Never waits.
    pub(crate) fn order(&self, order: Order) {
        let sent = self.orders.try_send(order);
        if let Err(error) = sent
            && let Order::Told(..) = error.into_inner()
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has it end; done when it has.
    pub(crate) fn stop(self) -> oneshot::Receiver<()> {
        self.end
    }
}

/// Whether a line works again by which what failed may leave.
pub(crate) fn is_back(notice: &Notice) -> bool {
    matches!(
        notice,
        Notice::Health {
            from: Health::Down | Health::Unknown,
            to: Health::Up | Health::Degraded,
            ..
        }
    )
}

/// Where orders come in and are passed on.
struct Hall {
    orders: mpsc::Receiver<Order>,
    wish: watch::Receiver<Notify>,
    lost: Arc<AtomicU64>,
    channels: BTreeMap<String, Running>,
}

struct Running {
    channel: Rc<Channel>,
    posts: mpsc::UnboundedSender<Post>,
    task: JoinHandle<()>,
}

impl Hall {
    async fn work(mut self, board: Board) {
        let host = gethostname().map(|h| h.to_string_lossy().into_owned());
        let context = Rc::new(Context {
            trust: Trust::default(),
            host: host.unwrap_or_else(|_| "uplinkd".to_owned()),
            zone: TimeZone::system(),
            began: Instant::now(),
            board,
        });
        self.fit(&context);
        loop {
            tokio::select! {
                biased;
                Ok(()) = self.wish.changed() => self.fit(&context),
                order = self.orders.recv() => match order {
                    Some(order) => self.pass_on(order),
                    None => break,
                },
            }
        }
        let channels = std::mem::take(&mut self.channels);
        let tasks: Vec<_> = channels.into_values().map(Running::close).collect();
        for task in tasks {
            let _ = task.await;
        }
    }

    /// Has the channels that are wished.
    fn fit(&mut self, context: &Rc<Context>) {
        let wish = self.wish.borrow_and_update().clone();
        let is_wished = |name: &String| wish.channels.iter().any(|c| c.name == *name);
        self.channels.retain(|name, running| {
            let stays = is_wished(name);
            if !stays {
                // What waits for it is for nobody any more.
                running.task.abort();
            }
            stays
        });
        for channel in &wish.channels {
            let pace = channel::pace(channel, &wish);
            let channel = Rc::new(channel.clone());
            match self.channels.get_mut(&channel.name) {
                Some(running) => {
                    running.channel = Rc::clone(&channel);
                    let _ = running.posts.send(Post::Changed(channel, pace));
                }
                None => {
                    let running = Running::start(channel, pace, context);
                    self.channels.insert(running.channel.name.clone(), running);
                }
            }
        }
    }

    fn pass_on(&mut self, order: Order) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            for running in self.channels.values() {
                let _ = running.posts.send(Post::Lost(lost));
            }
        }
        match order {
            Order::Told(told) => {
                let (notice, event) = &*told;
                let is_back = is_back(notice);
                for running in self.channels.values() {
                    if running.channel.wanted.has(notice) {
                        let _ = running.posts.send(Post::Event(Arc::clone(event)));
                    }
                    if is_back {
                        let _ = running.posts.send(Post::LineIsBack);
                    }
                }
            }
            Order::Test(name, event, answer) => {
                if let Some(running) = self.channels.get(&name) {
                    let _ = running.posts.send(Post::Test(event, answer));
                }
            }
        }
    }
}

impl Running {
    fn start(channel: Rc<Channel>, pace: Pace, context: &Rc<Context>) -> Self {
        // Bounded by what it is read from: whoever reads it does nothing else, on the same thread.
        let (posts, received) = mpsc::unbounded_channel();
        let work = channel::run(Rc::clone(&channel), pace, Rc::clone(context), received);
        Self {
            channel,
            posts,
            task: tokio::task::spawn_local(work),
        }
    }

    /// Has nothing more to tell it.
    fn close(self) -> JoinHandle<()> {
        self.task
    }
}

//! A thread of its own for questions that take more than an echo.
//!
//! A TLS handshake or a file of certificates takes milliseconds, which the loop that fails over must
//! not wait for; and a loop that is busy must not make a line look slow.

use std::{io, rc::Rc, thread};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{JoinSet, LocalSet},
    time::{Duration, timeout},
};
use uplinkd_model::Question;

use crate::{
    line::Line,
    program,
    service::{Shared, ask},
};

/// Questions under way. Each may hold a socket and a body; more are refused.
const OPEN_MAX: usize = 512;
/// Answers that are taken at once.
const BATCH: usize = 64;

/// A question with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// Comes back in the [`Answer`]; the caller keeps it unique.
    pub id: u64,
    /// The line that it tests.
    pub line: Line,
    /// What is asked.
    pub question: Question,
}

/// What became of a question. One that nobody answers in time is never spoken of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The question's.
    pub id: u64,
    /// How long a good answer took, or what is wrong, in words.
    pub result: Result<Duration, String>,
}

/// Asks, by a thread that starts with the first question and ends when this is dropped.
#[derive(Debug)]
pub struct Asker {
    worker: Option<Worker>,
    answers: UnboundedReceiver<Answer>,
    sender: UnboundedSender<Answer>,
}

#[derive(Debug)]
struct Worker {
    inquiries: UnboundedSender<Inquiry>,
    thread: thread::JoinHandle<()>,
}

impl Default for Asker {
    fn default() -> Self {
        let (sender, answers) = unbounded_channel();
        Self {
            worker: None,
            answers,
            sender,
        }
    }
}

impl Asker {
    /// An asker that has nothing to do yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks. Never waits.
    ///
    /// # Errors
    /// When there is no room for a thread.
    pub fn ask(&mut self, inquiry: Inquiry) -> io::Result<()> {
        // One that has ended was out of file descriptors; a new one may fare better.
        let worker = self.worker.take().filter(|w| !w.thread.is_finished());
        let worker = match worker {
            Some(worker) => worker,
            None => Worker::start(self.sender.clone())?,
        };
        let sent = worker.inquiries.send(inquiry);
        self.worker = Some(worker);
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    /// The next answers. Waits for ever where nothing was asked.
    pub async fn answers(&mut self) -> Vec<Answer> {
        let mut found = Vec::new();
        self.answers.recv_many(&mut found, BATCH).await;
        found
    }

    /// The answers that are there now, without waiting.
    pub fn drain(&mut self) -> Vec<Answer> {
        std::iter::from_fn(|| self.answers.try_recv().ok()).collect()
    }
}

/// Ends the thread, and with it the programs that it runs.
impl Drop for Asker {
    fn drop(&mut self) {
        if let Some(Worker { inquiries, thread }) = self.worker.take() {
            drop(inquiries);
            let _ = thread.join();
        }
    }
}

impl Worker {
    fn start(answers: UnboundedSender<Answer>) -> io::Result<Self> {
        let (inquiries, mut asked) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = thread::Builder::new().name("probes".to_owned());
        let thread = thread.spawn(move || {
            program::drop_ambient();
            LocalSet::new().block_on(&runtime, work(&mut asked, &answers));
            // A file that hangs is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { inquiries, thread })
    }
}

async fn work(asked: &mut UnboundedReceiver<Inquiry>, answers: &UnboundedSender<Answer>) {
    let shared = Rc::new(Shared::default());
    // Dropped with this function, which ends whatever is under way.
    let mut open = JoinSet::new();
    while let Some(inquiry) = asked.recv().await {
        while open.try_join_next().is_some() {}
        let answers = answers.clone();
        if open.len() >= OPEN_MAX {
            let why = format!("{OPEN_MAX} questions are open already");
            let _ = answers.send(Answer {
                id: inquiry.id,
                result: Err(why),
            });
            continue;
        }
        let shared = Rc::clone(&shared);
        open.spawn_local(async move {
            let Inquiry { id, line, question } = inquiry;
            if let Ok(result) = timeout(question.limit, ask(&shared, &line, &question)).await {
                let _ = answers.send(Answer { id, result });
            }
        });
    }
}

//! Files that are read, checked and compiled on another thread: a long one must not keep the loop from a
//! failover, and a file of another machine that hangs must not keep later files from being read.

use std::time::Duration;

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, timeout_at},
};

use super::reload::Fresh;
use crate::load::LoadError;

/// How long files may take to be read and checked: many times what the longest ones need.
const PATIENCE: Duration = Duration::from_secs(60);
/// Threads that still wait for files that were given up. With more of them nothing is read, since
/// each takes memory for as long as it hangs.
const GIVEN_UP_MAX: usize = 4;

/// Why files are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// A list file has changed: the text of the configuration stays as it was accepted, since it may
    /// be half written.
    Lists,
    /// Somebody said so (SIGHUP, `uplinkctl reload`).
    Told,
    /// What was in force before comes back.
    Back,
}

/// What a thread that reads files ends with.
type Read = Result<Fresh, LoadError>;

/// What was read, or why not.
pub(super) struct Done {
    pub(super) cause: Cause,
    pub(super) result: Read,
    /// Somebody asked once more meanwhile.
    pub(super) again: Option<Cause>,
}

/// The files that are being read, one reading at a time.
#[derive(Default)]
pub(super) struct Readings {
    now: Option<Reading>,
    given_up: Vec<JoinHandle<Read>>,
}

struct Reading {
    cause: Cause,
    task: JoinHandle<Read>,
    deadline: Instant,
    again: Option<Cause>,
}

impl Readings {
    /// Whether something is being read.
    pub(super) fn is_reading(&self) -> bool {
        self.now.is_some()
    }

    /// Has it read once more after that.
    pub(super) fn again(&mut self, cause: Cause) {
        if let Some(reading) = &mut self.now {
            reading.again = reading.again.max(Some(cause));
        }
    }

    /// Gives up what is being read, and what was to be read after it.
    pub(super) fn abandon(&mut self) {
        self.given_up
            .extend(self.now.take().map(|reading| reading.task));
    }

    /// Begins to read; where that is under way already, it is done once more afterwards.
    pub(super) fn begin(
        &mut self,
        cause: Cause,
        read: impl FnOnce() -> Read + Send + 'static,
    ) -> Result<(), String> {
        self.begin_with(PATIENCE, cause, read)
    }

    fn begin_with(
        &mut self,
        patience: Duration,
        cause: Cause,
        read: impl FnOnce() -> Read + Send + 'static,
    ) -> Result<(), String> {
        if let Some(reading) = &mut self.now {
            reading.again = reading.again.max(Some(cause));
            return Ok(());
        }
        self.given_up.retain(|task| !task.is_finished());
        // What was in force before needs no file.
        if cause != Cause::Back && self.given_up.len() >= GIVEN_UP_MAX {
            return Err(format!(
                "{GIVEN_UP_MAX} earlier attempts to read the files still hang: is a network file system away?"
            ));
        }
        self.now = Some(Reading {
            cause,
            task: spawn_blocking(read),
            deadline: Instant::now() + patience,
            again: None,
        });
        Ok(())
    }

    /// Waits until the files are read or given up; for ever where none are read. Nothing is lost when
    /// the wait is given up.
    pub(super) async fn done(&mut self) -> Done {
        let Some(reading) = &mut self.now else {
            return std::future::pending().await;
        };
        let ended = timeout_at(reading.deadline, &mut reading.task).await;
        let Some(Reading {
            cause, task, again, ..
        }) = self.now.take()
        else {
            return std::future::pending().await;
        };
        let result = match ended {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => Err(LoadError::Unreadable(format!(
                "cannot read the file: {error}"
            ))),
            Err(_elapsed) => {
                self.given_up.push(task);
                let text = "cannot read the file and its lists: no end of it, given up";
                Err(LoadError::Unreadable(text.to_owned()))
            }
        };
        Done {
            cause,
            result,
            again,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    fn bad(text: &str) -> Read {
        Err(LoadError::Unreadable(text.to_owned()))
    }

    async fn said(readings: &mut Readings) -> String {
        let done = readings.done().await;
        done.result.err().unwrap().in_short("t".as_ref())
    }

    #[tokio::test]
    async fn a_reading_that_hangs_is_given_up_and_the_next_one_is_tried() {
        let mut readings = Readings::default();
        // Dropped at the end of the test, which ends the threads that wait for it.
        let mut network = Vec::new();
        for _ in 0..GIVEN_UP_MAX {
            let (away, answer) = channel::<()>();
            network.push(away);
            let hang = move || {
                let _ = answer.recv();
                bad("late")
            };
            readings.begin_with(SHORT, Cause::Told, hang).unwrap();
            assert!(said(&mut readings).await.contains("given up"));
            if network.len() < GIVEN_UP_MAX {
                readings.begin(Cause::Told, || bad("read")).unwrap();
                assert_eq!(said(&mut readings).await, "read");
            }
        }
        let refused = readings.begin(Cause::Told, || bad("read")).unwrap_err();
        assert!(refused.contains("still hang"), "{refused}");
        network.pop();
        while readings.begin(Cause::Told, || bad("read")).is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(said(&mut readings).await, "read");
    }

    #[tokio::test]
    async fn who_asks_meanwhile_is_told_with_the_strongest_cause() {
        let mut readings = Readings::default();
        for cause in [Cause::Lists, Cause::Told, Cause::Lists] {
            readings.begin(cause, || bad("read")).unwrap();
        }
        let done = readings.done().await;
        assert_eq!((done.cause, done.again), (Cause::Lists, Some(Cause::Told)));
    }
}

//! Writes a file beside the loop: a disk that is slow to keep things must not hold decisions up.

use std::{
    io,
    path::{Path, PathBuf},
    sync::mpsc::{self, Sender},
    thread::JoinHandle,
};

use anyhow::Context as _;
use tracing::warn;

use crate::{record::wait_for, state::replace};

/// What is done once a file is written, or could not be.
pub(crate) type Then = Box<dyn FnOnce(Result<(), String>) + Send>;

/// Has the newest content of a file written soon.
#[derive(Debug)]
pub(crate) struct Writer {
    file: PathBuf,
    /// What follows where it cannot be written, for the log.
    otherwise: &'static str,
    /// From the first writing on.
    thread: Option<(Sender<Job>, JoinHandle<()>)>,
}

struct Job {
    bytes: Vec<u8>,
    then: Vec<Then>,
}

impl Writer {
    /// A writer that has written nothing.
    pub(crate) fn new(file: PathBuf, otherwise: &'static str) -> Self {
        Self {
            file,
            otherwise,
            thread: None,
        }
    }

    /// Has it written, or something newer in its place; `then` hears of it.
    pub(crate) fn write(&mut self, bytes: Vec<u8>, then: Vec<Then>) {
        if self.thread.is_none() {
            self.thread = self.start().ok();
        }
        let job = Job { bytes, then };
        let refused = match &self.thread {
            Some((queue, _)) => queue.send(job).err().map(|e| e.0),
            None => Some(job),
        };
        // Without a thread it takes its time here.
        if let Some(job) = refused {
            write(&self.file, self.otherwise, job);
        }
    }

    fn start(&self) -> io::Result<(Sender<Job>, JoinHandle<()>)> {
        let (queue, waiting) = mpsc::channel::<Job>();
        let (file, otherwise) = (self.file.clone(), self.otherwise);
        let work = move || {
            while let Ok(mut newest) = waiting.recv() {
                for mut job in waiting.try_iter() {
                    job.then.splice(..0, newest.then);
                    newest = job;
                }
                write(&file, otherwise, newest);
            }
        };
        let thread = std::thread::Builder::new().name("writer".to_owned());
        Ok((queue, thread.spawn(work)?))
    }

    /// Waits until all is written: a little, and not for a disk that hangs.
    pub(crate) fn stop(&mut self) {
        let Some((queue, thread)) = self.thread.take() else {
            return;
        };
        drop(queue);
        wait_for(&thread);
    }
}

fn write(file: &Path, otherwise: &str, job: Job) {
    let written =
        replace(file, &job.bytes).with_context(|| format!("cannot write {}", file.display()));
    let written = written.map_err(|error| format!("{error:#}"));
    if let Err(reason) = &written {
        warn!(reason, "routing goes on, but {otherwise}");
    }
    job.then.into_iter().for_each(|then| then(written.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_hears_when_it_is_on_the_disk_or_cannot_be() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("wishes.json");
        let mut writer = Writer::new(file.clone(), "nothing");
        let (tell, told) = mpsc::channel();
        for text in ["one", "two", "three"] {
            let (tell, file) = (tell.clone(), file.clone());
            let then: Then = Box::new(move |done| {
                let there = std::fs::read_to_string(file).unwrap_or_default();
                tell.send((text, there, done)).unwrap();
            });
            writer.write(text.into(), vec![then]);
        }
        for text in ["one", "two", "three"] {
            let (whose, there, done) = told.recv().unwrap();
            assert_eq!((whose, done), (text, Ok(())));
            assert!(*there >= *text || there == "three", "{there}");
        }
        writer.stop();
        let mut lost = Writer::new("/proc/nowhere/x".into(), "nothing");
        let then: Then = Box::new(move |done| tell.send(("lost", String::new(), done)).unwrap());
        lost.write(b"x".to_vec(), vec![then]);
        assert!(told.recv().unwrap().2.unwrap_err().contains("cannot write"));
    }
}

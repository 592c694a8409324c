//! Programs that run inside a laboratory and never outlive it.
//!
//! Each has a keeper thread, from which it is started (it inherits that thread's namespaces) and
//! which waits for its end. The kernel kills the program when its keeper ends, so even a laboratory
//! that is killed itself leaves nothing running.

use std::{
    env,
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use crate::slowness::stretched;

/// How long a program that was killed may take to vanish. Nothing can hold one longer than a driver
/// that hangs in the kernel; then we go on without it.
const KILLED_WAIT: Duration = Duration::from_secs(5);

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    end: Arc<End>,
}

/// What a short program left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit code or signal.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

#[derive(Debug, Default)]
struct End {
    status: Mutex<Option<ExitStatus>>,
    changed: Condvar,
}

impl End {
    fn lock(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts a program from a thread on which `prepare` has run, and which lives as long as it.
    pub(crate) fn spawn_after(
        mut command: Command,
        name: &str,
        prepare: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        // An ordinary user's path often lacks the places where nft lives.
        let path = env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
        command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
        kill_with_parent(&mut command);
        let end = Arc::new(End::default());
        let (report, started) = mpsc::channel();
        let keeper_end = Arc::clone(&end);
        thread::Builder::new()
            .name(format!("lab-{name}-keeper"))
            .spawn(move || {
                let child = prepare().and_then(|()| {
                    let program = command.get_program().to_string_lossy().into_owned();
                    command
                        .spawn()
                        .with_context(|| format!("cannot start `{program}`"))
                });
                drop(command); // Closes our copies of its files.
                match child {
                    Ok(child) => {
                        let _ = report.send(Ok(child.id()));
                        keep(child, &keeper_end);
                    }
                    Err(e) => {
                        let _ = report.send(Err(e));
                    }
                }
            })?;
        let pid = started.recv().context("the starting thread died")??;
        Ok(Self {
            pid: Pid::from_raw(pid.cast_signed()),
            end,
        })
    }

    /// Runs a program to its end, bounded in time.
    pub(crate) fn output(
        mut command: Command,
        input: &str,
        limit: Duration,
        spawn: impl FnOnce(Command) -> Result<Self>,
    ) -> Result<Output> {
        // Files instead of pipes: no program can block because nobody reads what it says.
        let mut stdin = tempfile::tempfile()?;
        stdin.write_all(input.as_bytes())?;
        stdin.rewind()?;
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        command
            .stdin(stdin)
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?);
        let name = command.get_program().to_string_lossy().into_owned();
        let process = spawn(command)?;
        let Some(status) = process.wait(stretched(limit)) else {
            bail!("`{name}` has not ended after {limit:?}");
        };
        Ok(Output {
            status,
            stdout: text(stdout)?,
            stderr: text(stderr)?,
        })
    }

    /// Its process id, as the machine sees it.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// Sends a signal; to a program that has ended it does nothing.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // Under the lock the program cannot be reaped, so its id cannot be somebody else's.
        let status = self.end.lock();
        if status.is_none() {
            kill(self.pid, signal).with_context(|| format!("cannot send {signal}"))?;
        }
        Ok(())
    }

    /// How it ended, if it has.
    pub fn status(&self) -> Option<ExitStatus> {
        *self.end.lock()
    }

    /// Waits for its end; `None` when it is still running after `limit`.
    pub fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        let mut status = self.end.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if status.is_some() || left.is_zero() {
                return *status;
            }
            status = self
                .end
                .changed
                .wait_timeout(status, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for its end without a limit, for a program that belongs to a person.
    pub fn wait_for_ever(&self) -> Option<ExitStatus> {
        let status = self.end.lock();
        let ended = self.end.changed.wait_while(status, |s| s.is_none());
        *ended.unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks it to end (`SIGTERM`) and kills it when it has not after `limit`. Returns how it ended
    /// when it did so by itself.
    ///
    /// # Errors
    /// When the kernel does not let us signal it.
    pub fn terminate(&self, limit: Duration) -> Result<Option<ExitStatus>> {
        self.signal(Signal::SIGTERM)?;
        let status = self.wait(stretched(limit));
        if status.is_none() {
            self.kill()?;
        }
        Ok(status)
    }

    /// Kills it without warning (`SIGKILL`) and waits until it is gone.
    ///
    /// # Errors
    /// When the kernel does not let us signal it.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let _ = self.wait(stretched(KILLED_WAIT));
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Waits for the end of a program and tells it.
fn keep(mut child: Child, end: &End) {
    let pid = Pid::from_raw(child.id().cast_signed());
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    // First without reaping, so that the id stays taken until the lock is held.
    while waitid(Id::Pid(pid), flags) == Err(nix::Error::EINTR) {}
    let mut status = end.lock();
    // A status that cannot be read would block those who wait; it is told as a failure.
    *status = Some(
        child
            .wait()
            .unwrap_or_else(|_| ExitStatus::from_raw(1 << 8)),
    );
    end.changed.notify_all();
}

/// What happens to a program between fork and exec: the kernel is asked to kill it with its keeper,
/// and no signal is blocked, though they are here while somebody waits for them
/// ([`crate::router::remove_when_interrupted`]).
#[expect(
    unsafe_code,
    reason = "the only way to do something between fork and exec"
)]
fn kill_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe functions may run. These are two system
    // calls without allocation; an error is carried as a number.
    unsafe {
        command.pre_exec(|| {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(SigSet::empty().thread_set_mask()?)
        });
    }
}

fn text(mut file: File) -> Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A command that says nothing and hears nothing, for [`crate::Netns::spawn`].
pub fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

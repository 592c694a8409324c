//! The program under test: a router daemon, inside the router.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};

use crate::{
    process::{Output, Process},
    slowness::{slowness, stretched},
    topology::Lab,
};

/// How much of a log is kept for a message.
const LOG_TAIL_LINES: usize = 15;

/// Where a daemon and its tools find each other, below the laboratory's folder.
#[derive(Clone, Debug)]
pub struct Places {
    folder: PathBuf,
}

impl Places {
    /// The places of the laboratory's one router.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn new(lab: &Lab) -> Result<Self> {
        let places = Self {
            folder: lab.folder().to_owned(),
        };
        for folder in [places.runtime(), places.state()] {
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(places)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("uplinkd.toml")
    }

    /// For the socket and the lock.
    pub fn runtime(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// For what outlives a restart.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The daemon's log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("uplinkd.log")
    }

    /// Writes the configuration file, whole or not at all.
    ///
    /// # Errors
    /// When the folder is gone or full.
    pub fn write_config(&self, text: &str) -> Result<()> {
        let fresh = self.folder.join("uplinkd.toml.new");
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, self.config()))
            .with_context(|| format!("cannot write {}", self.config().display()))
    }

    /// A command that finds all this by its environment, and nothing of the machine's own.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.folder)
            .env("UPLINKD_CONFIG", self.config())
            .env("UPLINKD_RUNTIME_DIR", self.runtime())
            .env("UPLINKD_STATE_DIR", self.state())
            .env("UPLINKD_NFT_SECONDS", (3 * slowness()).to_string())
            .env("NO_COLOR", "1")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("JOURNAL_STREAM")
            .env_remove("LISTEN_FDS");
        command
    }

    /// Runs one of the daemon's tools (`uplinkctl status`, `uplinkd plan`) inside the router.
    ///
    /// # Errors
    /// When it cannot be started or does not end in ten seconds.
    pub fn tool<S: AsRef<OsStr>>(
        &self,
        lab: &Lab,
        program: &Path,
        arguments: &[S],
    ) -> Result<Output> {
        let mut command = self.command(program);
        command.args(arguments);
        lab.router().output(command, "", Duration::from_secs(10))
    }
}

/// A router daemon that is running in a laboratory. Dropping it kills it, without a chance to tidy
/// up; so does the end of this process.
#[derive(Debug)]
pub struct RouterDaemon {
    process: Process,
    log: PathBuf,
}

impl RouterDaemon {
    /// Starts a daemon with arguments (for uplinkd: `["run"]`). What it says is added to the log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<S: AsRef<OsStr>>(
        lab: &Lab,
        places: &Places,
        program: &Path,
        arguments: &[S],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let mut command = places.command(program);
        command.args(arguments).envs(environment.iter().copied());
        Self::start_command(lab, places, command)
    }

    /// Starts any program as the router's daemon.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_command(lab: &Lab, places: &Places, mut command: Command) -> Result<Self> {
        let log = places.log();
        let open = || -> std::io::Result<(File, File)> {
            let file = OpenOptions::new().create(true).append(true).open(&log)?;
            Ok((file.try_clone()?, file))
        };
        let (out, err) = open().with_context(|| format!("cannot open {}", log.display()))?;
        command
            .stdin(std::process::Stdio::null())
            .stdout(out)
            .stderr(err);
        Ok(Self {
            process: lab.router().spawn(command)?,
            log,
        })
    }

    /// The running program, for signals and waiting.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Asks it to end and returns how it did; an error when it did not in `limit`.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(&self, limit: Duration) -> Result<ExitStatus> {
        match self.process.terminate(limit)? {
            Some(status) => Ok(status),
            None => bail!("the daemon did not end in {limit:?} and was killed"),
        }
    }

    /// Everything that it said so far.
    pub fn log(&self) -> String {
        // A log that cannot be read is as good as an empty one to those who look for words in it.
        fs::read(&self.log).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// The last lines that it said.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// Waits until a condition holds; an error when the daemon ends first or time runs out.
    ///
    /// # Errors
    /// With the last lines of the log.
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + stretched(limit);
        while !holds() {
            if let Some(status) = self.process.status() {
                bail!(
                    "the daemon ended ({status}) before {what}\n{}",
                    self.log_tail()
                );
            }
            if Instant::now() >= deadline {
                bail!("{what}: not within {limit:?}\n{}", self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// What [`remove_when_interrupted`] found to remove.
#[derive(Clone, Debug, Default)]
pub struct Interrupts {
    folders: Arc<Mutex<Vec<PathBuf>>>,
}

impl Interrupts {
    /// Has a folder removed when this process is asked to end.
    pub fn watch(&self, folder: &Path) {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        folders.push(folder.to_owned());
    }
}

/// Lets this process remove its folders when it is interrupted (`SIGINT`, `SIGTERM`, `SIGHUP`).
/// Everything else of a laboratory vanishes by itself. Call it before threads are started: they
/// inherit that these signals are waited for.
///
/// # Errors
/// When there is no room for a thread.
pub fn remove_when_interrupted() -> Result<Interrupts> {
    let interrupts = Interrupts::default();
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let watched = interrupts.clone();
    std::thread::Builder::new()
        .name("lab-interrupts".to_owned())
        .spawn(move || {
            if let Ok(signal) = signals.wait() {
                let folders = watched.folders.lock();
                for folder in folders.unwrap_or_else(PoisonError::into_inner).iter() {
                    let _ = fs::remove_dir_all(folder);
                }
                // As a shell tells it. Our programs die with us.
                std::process::exit(128 + signal as i32);
            }
        })?;
    Ok(interrupts)
}

/// A program that was built with this one: in the same folder, or, for a test or bench binary, in
/// the folder above.
///
/// # Errors
/// Naming the places that were looked at.
pub fn find_program(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find the own program")?;
    let places: Vec<_> = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .collect();
    if let Some(found) = places.iter().find(|p| p.is_file()) {
        return Ok(found.clone());
    }
    let looked: Vec<_> = places.iter().map(|p| p.display().to_string()).collect();
    bail!(
        "there is no program `{name}`\n  looked at: {}\n  hint: build it with `cargo build`, \
         or say where it is with --{name} PATH",
        looked.join(", ")
    )
}

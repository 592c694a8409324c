//! Programs of the user's: run as nobody, in a process group of their own, for so long and no longer.
//!
//! Capabilities that a service manager gives an ordinary user for itself are for the thread that starts
//! programs to drop ([`drop_ambient`]): they are inherited from it.

use std::{
    cell::RefCell,
    fs,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use caps::CapSet;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Gid, Pid, Uid, User},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    task::JoinSet,
    time::timeout,
};

use crate::line::{bounded, in_words};

/// What is kept of what a program says; the rest is read and forgotten, so that it need not wait.
const WORDS_MAX: usize = 1024;
/// How long the end of its words is waited for once it has ended: something that it leaves behind may
/// hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// How long the end of one that was killed is waited for.
const KILL_LIMIT: Duration = Duration::from_secs(1);
/// Whom programs run as where the file does not say.
const NOBODY: &str = "nobody";
/// The same where the system has no such user.
const NOBODY_ID: u32 = 65534;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How long it ran.
    pub took: Duration,
    /// Its exit code, or the signal that killed it.
    pub status: ExitStatus,
    /// The beginning of what it said, on both its outputs.
    pub words: Vec<u8>,
}

/// A program with nothing in its environment but a `PATH`, about to run as somebody.
///
/// # Errors
/// As [`user`].
pub fn command(path: &str, as_user: Option<&str>) -> Result<Command, String> {
    let mut command = Command::new(path);
    command.current_dir("/").env_clear().env("PATH", PATH);
    if let Some((user, group)) = user(as_user)? {
        command.uid(user.as_raw()).gid(group.as_raw());
    }
    Ok(command)
}

/// Runs a program to its end. Where that takes too long, or nobody waits for it any more, its whole
/// process group is killed. Must be called inside a [`tokio::task::LocalSet`].
///
/// # Errors
/// Where it cannot be run, or was killed.
pub async fn run(mut command: Command, input: Vec<u8>, limit: Duration) -> Result<Ended, String> {
    let began = Instant::now();
    command
        .stdin(match input.is_empty() {
            true => Stdio::null(),
            false => Stdio::piped(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let started = command.spawn();
    let mut child = started.map_err(|e| {
        let path = command.as_std().get_program().to_string_lossy();
        format!("cannot run {path}: {}", in_words(&e))
    })?;
    let mut running = Running::of(&child);
    let (words, mut pipes) = (Rc::default(), JoinSet::new());
    if let Some(mut to) = child.stdin.take() {
        // One that does not want to hear it closes the pipe.
        pipes.spawn_local(async move { drop(to.write_all(&input).await) });
    }
    if let Some(errors) = child.stderr.take() {
        pipes.spawn_local(hear(errors, Rc::clone(&words)));
    }
    if let Some(output) = child.stdout.take() {
        pipes.spawn_local(hear(output, Rc::clone(&words)));
    }
    let Ok(ended) = timeout(limit, child.wait()).await else {
        running.kill();
        // At once, unless we lack the right: it may have become somebody else.
        let ended = timeout(KILL_LIMIT, child.wait()).await;
        running.is_over = ended.is_ok();
        let how = if running.is_over {
            "ended"
        } else {
            "not to be ended"
        };
        return Err(format!("still running after {limit:?}, and {how}"));
    };
    running.is_over = true;
    let took = began.elapsed();
    let status = ended.map_err(|e| in_words(&e))?;
    let last = async { while pipes.join_next().await.is_some() {} };
    let _ = timeout(LAST_WORDS, last).await;
    let words = words.take();
    Ok(Ended {
        took,
        status,
        words,
    })
}

impl Ended {
    /// How it ended, with the last line of what it said.
    pub fn told(&self) -> String {
        let ended = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "no exit code".to_owned(),
        };
        match self.last_words() {
            Some(line) => format!("{ended}: {line}"),
            None => ended,
        }
    }

    /// The last line of what it said, short and harmless.
    pub fn last_words(&self) -> Option<String> {
        let words = String::from_utf8_lossy(&self.words);
        let line = words.lines().rfind(|l| !l.trim().is_empty())?;
        Some(bounded(line.trim()))
    }
}

/// What a service manager gives an ordinary user for itself and for `nft` is not for the programs that
/// this thread starts from now on. Old kernels that fail here have none.
pub fn drop_ambient() {
    let _ = caps::clear(None, CapSet::Ambient);
}

/// Whom a program is to run as; none: we stay who we are.
///
/// # Errors
/// Where there is no such user, or we may not become others.
pub fn user(wanted: Option<&str>) -> Result<Option<(Uid, Gid)>, String> {
    if !may_become_others() {
        let own = User::from_uid(Uid::effective()).ok().flatten();
        return match wanted {
            Some(name) if own.is_none_or(|o| o.name != name) => Err(format!(
                "cannot run as {name}: uplinkd may not become others"
            )),
            Some(_) | None => Ok(None),
        };
    }
    let name = wanted.unwrap_or(NOBODY);
    let known = User::from_name(name).map_err(|e| format!("cannot run as {name}: {}", e.desc()))?;
    match (known, wanted) {
        (Some(user), _) => Ok(Some((user.uid, user.gid))),
        (None, None) => Ok(Some((Uid::from_raw(NOBODY_ID), Gid::from_raw(NOBODY_ID)))),
        (None, Some(name)) => Err(format!("cannot run as {name}: there is no such user")),
    }
}

/// Whether there are others that we could become. The root of a user namespace of its own is an
/// ordinary user, and alone.
pub fn may_become_others() -> bool {
    let covers_nobody = |map: &str| {
        map.lines().any(|line| {
            let numbers: Vec<u64> = line
                .split_whitespace()
                .filter_map(|w| w.parse().ok())
                .collect();
            let [first, _, count] = numbers[..] else {
                return false;
            };
            (first..first.saturating_add(count)).contains(&u64::from(NOBODY_ID))
        })
    };
    let is_mapped = |path| fs::read_to_string(path).is_ok_and(|map| covers_nobody(&map));
    Uid::effective().is_root()
        && has_capabilities()
        && is_mapped("/proc/self/uid_map")
        && is_mapped("/proc/self/gid_map")
}

/// Whether a service manager has left us the rights to become others: CAP_SETGID and CAP_SETUID.
fn has_capabilities() -> bool {
    const NEEDED: u64 = 1 << 6 | 1 << 7;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    effective.is_some_and(|bits| bits & NEEDED == NEEDED)
}

/// A process group that ends with this.
struct Running {
    group: Option<Pid>,
    /// Its first process was waited for; from then on the number may be somebody else's.
    is_over: bool,
}

impl Running {
    fn of(child: &Child) -> Self {
        let number = child.id().and_then(|id| i32::try_from(id).ok());
        Self {
            group: number.map(Pid::from_raw),
            is_over: false,
        }
    }

    fn kill(&self) {
        if let Some(group) = self.group.filter(|_| !self.is_over) {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn hear(mut pipe: impl AsyncRead + Unpin, words: Rc<RefCell<Vec<u8>>>) {
    let mut part = [0; 512];
    while let Ok(length) = pipe.read(&mut part).await {
        if length == 0 {
            return;
        }
        let mut words = words.borrow_mut();
        let room = WORDS_MAX.saturating_sub(words.len());
        words.extend_from_slice(&part[..length.min(room)]);
    }
}

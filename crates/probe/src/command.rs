//! A user's program: it is run, and what it ends with is the answer.
//!
//! It knows what it tests by its environment: `UPLINK`, `FAMILY`, `DEVICE`, `MARK` and `SOURCE`. It is
//! a process group of its own, which is killed where it takes too long, and where we end.

use std::{
    cell::RefCell,
    fs,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Gid, Pid, Uid, User},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    task::JoinSet,
    time::timeout,
};
use uplinkd_model::{Family, Question, target::Program};

use crate::line::{Line, bounded, in_words};

/// What is kept of what a program says; the rest is read and forgotten, so that it need not wait.
const WORDS_MAX: usize = 1024;
/// How long the end of its words is waited for once it has ended: something that it leaves behind may
/// hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// Whom programs run as where the file does not say.
const NOBODY: &str = "nobody";
/// The same where the system has no such user.
const NOBODY_ID: u32 = 65534;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a program: how long it took, or what is wrong.
pub(crate) async fn run(
    line: &Line,
    question: &Question,
    program: &Program,
) -> Result<Duration, String> {
    let began = Instant::now();
    let mut child = start(line, question, program)?;
    let mut running = Running::of(&child);
    let (words, mut readers) = (Rc::default(), JoinSet::new());
    if let Some(errors) = child.stderr.take() {
        readers.spawn_local(hear(errors, Rc::clone(&words)));
    }
    if let Some(output) = child.stdout.take() {
        readers.spawn_local(hear(output, Rc::clone(&words)));
    }
    let Ok(ended) = timeout(program.limit, child.wait()).await else {
        running.kill();
        // At once: nobody survives that.
        let _ = child.wait().await;
        running.is_over = true;
        return Err(format!(
            "still running after {:?}, and ended",
            program.limit
        ));
    };
    running.is_over = true;
    let took = began.elapsed();
    let status = ended.map_err(|e| in_words(&e))?;
    if status.success() {
        return Ok(took);
    }
    let last = async { while readers.join_next().await.is_some() {} };
    let _ = timeout(LAST_WORDS, last).await;
    Err(told(status, &words.borrow()))
}

fn start(line: &Line, question: &Question, program: &Program) -> Result<Child, String> {
    let (path, arguments) = program.words.split_first().ok_or("no program")?;
    let mut command = Command::new(path);
    command
        .args(arguments)
        .current_dir("/")
        .env_clear()
        .env("PATH", PATH)
        .env("UPLINK", line.uplink.as_str())
        .env("DEVICE", &line.device)
        .env(
            "FAMILY",
            match line.family {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            },
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(mark) = line.mark {
        command.env("MARK", format!("{mark:#x}"));
    }
    if let Some(source) = question.source {
        command.env("SOURCE", source.to_string());
    }
    if let Some((user, group)) = user(program.user.as_deref())? {
        command.uid(user.as_raw()).gid(group.as_raw());
    }
    let started = command.spawn();
    started.map_err(|e| format!("cannot run {path}: {}", in_words(&e)))
}

/// Whom to become; none: we stay who we are.
fn user(wanted: Option<&str>) -> Result<Option<(Uid, Gid)>, String> {
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
fn may_become_others() -> bool {
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

/// How a program ended, with the last line of what it said.
fn told(status: ExitStatus, words: &[u8]) -> String {
    let ended = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    };
    let words = String::from_utf8_lossy(words);
    match words.lines().rfind(|l| !l.trim().is_empty()) {
        Some(line) => format!("{ended}: {}", bounded(line.trim())),
        None => ended,
    }
}

#[cfg(test)]
mod tests;

//! Other people's programs that work on the same kernel tables as a router daemon, run inside the
//! laboratory as they are.
//!
//! Each has files of its own, its own `/run`, `/sys` and process ids, and ends with all that it
//! started when it is dropped or when this process dies. A program that is not installed, or that
//! an ordinary user cannot run, is told by [`Missing`].

mod dnsmasq;
mod docker;
mod network_manager;
mod networkd;

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use crate::{mounts::MountView, netns::Netns, process::Process};

pub use dnsmasq::Dnsmasq;
pub use docker::Docker;
pub use network_manager::NetworkManager;
pub use networkd::Networkd;

/// How long a program may take to get ready, on a busy machine.
const READY_MAX: Duration = Duration::from_secs(20);
/// How much of a program's log is told when it does not.
const LOG_TAIL_LINES: usize = 12;

/// A program cannot be run here. A test that needs it is then skipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{program} cannot be run here: {why}")]
pub struct Missing {
    /// Which one.
    pub program: String,
    /// What is missing.
    pub why: String,
}

/// A program in a corner of its own.
#[derive(Debug)]
pub(crate) struct Guest {
    process: Process,
    log: PathBuf,
}

impl Guest {
    /// Runs a shell script whose last command is the program, in mount and process namespaces of its
    /// own whose `/run` and `/sys` are fresh. What it says goes to `NAME.log` in `folder`.
    fn start(netns: &Netns, folder: &Path, name: &str, script: &str) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let whole = format!(
            "set -e\n\
             mount -t tmpfs -o mode=755,size=64m lab /run\n\
             mount -t sysfs -o ro lab /sys\n\
             cd {}\n{script}\nexit $?\n",
            folder.display()
        );
        let mut command = Command::new("unshare");
        // Programs that change their user lose the kernel's promise to kill them with their parent.
        // So the shell stays, keeps it, and as the first process of a namespace of process ids
        // takes all others with it.
        command
            .args(["--mount", "--propagation", "private"])
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", &whole])
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let netns = netns.clone().with_mounts(Arc::new(MountView::new()?));
        Ok(Self {
            process: netns.spawn(command)?,
            log,
        })
    }

    /// Waits until it is ready; an error when it ends first or takes too long.
    fn wait_ready(&self, name: &str, mut is_ready: impl FnMut(&str) -> bool) -> Result<()> {
        let deadline = Instant::now() + READY_MAX;
        while !is_ready(&self.log()) {
            if let Some(status) = self.process.status() {
                bail!("{name} ended ({status})\n{}", self.log_tail());
            }
            if Instant::now() >= deadline {
                bail!("{name} does not get ready\n{}", self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// A command that will run in its corner, among its processes, for programs that ask who speaks.
    fn inside(&self, program: &Path) -> Result<Command> {
        let outer = self.process.pid();
        let children = format!("/proc/{outer}/task/{outer}/children");
        let children = fs::read_to_string(children).context("this kernel tells no children")?;
        let first = children.split_whitespace().next();
        let first = first.context("the program has ended")?;
        let mut command = Command::new("nsenter");
        command
            .args(["--target", first, "--mount", "--pid", "--"])
            .arg(program);
        Ok(command)
    }

    fn log(&self) -> String {
        fs::read(&self.log).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

/// Where a program is, looked for where system programs are too.
///
/// # Errors
/// [`Missing`].
pub fn find(program: &str) -> Result<PathBuf, Missing> {
    let path = env::var("PATH").unwrap_or_default();
    let usual = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/lib/systemd:/lib/systemd";
    let mut folders = path.split(':').chain(usual.split(':'));
    let found = folders.find_map(|folder| {
        let place = Path::new(folder).join(program);
        place.is_file().then_some(place)
    });
    found.ok_or_else(|| Missing {
        program: program.to_owned(),
        why: "it is not installed".to_owned(),
    })
}

/// As [`find`], for a program that wants to be root of the whole machine.
fn find_for_root(program: &str) -> Result<PathBuf, Missing> {
    let is_root = geteuid().is_root() && may_change_users();
    if !is_root {
        return Err(Missing {
            program: program.to_owned(),
            why: "it wants to be root, with all users there are".to_owned(),
        });
    }
    find(program)
}

/// In a user namespace of an ordinary user there is one user only.
pub fn may_change_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let count = map.split_whitespace().nth(2).and_then(|n| n.parse().ok());
    count.is_some_and(|n: u64| n > 65_535)
}

/// Runs `iptables` with the words of a line, as the system's version of it.
///
/// # Errors
/// [`Missing`], or its own words when it refuses.
pub fn iptables(netns: &Netns, line: &str) -> Result<()> {
    run(netns, "iptables", line)
}

/// Runs `ip` with the words of a line, as scripts of VPN software do.
///
/// # Errors
/// As [`iptables`].
pub fn ip(netns: &Netns, line: &str) -> Result<()> {
    run(netns, "ip", line)
}

fn run(netns: &Netns, program: &str, line: &str) -> Result<()> {
    let mut command = Command::new(find(program)?);
    command.args(line.split_whitespace());
    let output = netns.output(command, "", Duration::from_secs(10))?;
    if !output.status.success() {
        bail!("`{program} {line}`: {}", output.stderr.trim());
    }
    Ok(())
}

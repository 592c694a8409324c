//! Other people's programs that work on the same kernel tables as a router daemon, run inside the
//! laboratory as they are.
//!
//! Each has files of its own, its own `/run`, `/sys` and process ids, and ends with all that it
//! started when it is dropped or when this process dies. A program that is not installed, or that
//! an ordinary user cannot run, is told by [`Missing`].

mod dhclient;
mod dhcp_server;
mod dhcpcd;
mod dnsmasq;
mod docker;
mod network_manager;
mod networkd;
mod openvpn;
mod pppoe;
mod prometheus;
mod radvd;
mod tunnel;
mod udhcpc;

use std::{
    env,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;

use crate::{mounts::MountView, netns::Netns, process::Process, slowness::stretched};

pub use dhclient::Dhclient;
pub use dhcp_server::{DhcpServer, Pool};
pub use dhcpcd::Dhcpcd;
pub use dnsmasq::Dnsmasq;
pub use docker::Docker;
pub use network_manager::NetworkManager;
pub use networkd::Networkd;
pub use openvpn::{OpenVpn, TUN, TUN_FAR, TUN_NEAR, TUN_PORT};
pub use pppoe::{PppoeClient, PppoeServer};
pub use prometheus::{PROMETHEUS, Prometheus, promtool};
pub use radvd::{Advert, Radvd};
pub use tunnel::Tunnel;
pub use udhcpc::Udhcpc;

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
    netns: Netns,
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
            netns,
            log,
        })
    }

    /// Waits until it is ready; an error when it ends first or takes too long.
    fn wait_ready(&self, name: &str, mut is_ready: impl FnMut(&str) -> bool) -> Result<()> {
        let deadline = Instant::now() + stretched(READY_MAX);
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

    /// The first process of its corner, by its number on the machine.
    fn first_inside(&self) -> Result<String> {
        let outer = self.process.pid();
        let children = format!("/proc/{outer}/task/{outer}/children");
        let children = fs::read_to_string(children).context("this kernel tells no children")?;
        let first = children.split_whitespace().next();
        Ok(first.context("the program has ended")?.to_owned())
    }

    /// A command that will run in its corner, among its processes, for programs that ask who speaks.
    fn inside(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.first_inside()?])
            .args(["--mount", "--pid", "--"])
            .arg(program);
        Ok(command)
    }

    /// Sends a signal (`USR1`) to the process whose number, as its corner sees it, is in a file.
    fn signal(&self, signal: &str, pid_file: &Path) -> Result<()> {
        let mut command = self.inside(Path::new("sh"))?;
        let line = format!("kill -{signal} $(cat {})", pid_file.display());
        command.args(["-c", &line]);
        let output = self.netns.output(command, "", Duration::from_secs(5))?;
        if !output.status.success() {
            bail!("`{line}`: {}", output.stderr.trim());
        }
        Ok(())
    }

    /// Kills it and waits until all of its processes are gone, so that its sockets are free.
    fn end(&self) -> Result<()> {
        let first = self.first_inside();
        self.process.kill()?;
        // One that ended by itself has left nothing.
        let Ok(first) = first else {
            return Ok(());
        };
        let deadline = Instant::now() + READY_MAX;
        // The first process of a namespace ends after all others. Where nobody collects the dead it
        // stays in the list as one of them, without any sockets.
        let lives = || {
            let stat = fs::read_to_string(format!("/proc/{first}/stat")).unwrap_or_default();
            let state = stat.rsplit(')').next().map(str::trim_start);
            state.is_some_and(|s| !s.is_empty() && !s.starts_with(['Z', 'X']))
        };
        while lives() {
            ensure!(Instant::now() < deadline, "process {first} does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
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

/// Writes a script that a program is to run.
fn write_script(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let file = folder.join(name);
    fs::write(&file, text)
        .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
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

/// As [`find`], and where `cargo xtask test` unpacks packages that shall not be installed.
fn find_unpacked(package: &str, program: &str) -> Result<PathBuf, Missing> {
    find(program).or_else(|missing| {
        let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
        let place = unpacked.join(package).join("usr/bin").join(program);
        place.is_file().then_some(place).ok_or(missing)
    })
}

/// What boots a systemd in a container.
///
/// # Errors
/// [`Missing`].
pub fn systemd_nspawn() -> Result<PathBuf, Missing> {
    find_for_root("systemd")?;
    find_unpacked("systemd-container", "systemd-nspawn")
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

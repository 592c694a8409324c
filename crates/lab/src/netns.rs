//! Anonymous network namespaces, held by a descriptor, and the way into a private corner of the
//! machine for somebody who is not root.
//!
//! A namespace lives as long as its [`Netns`], its sockets and its processes; nothing is ever put
//! under `/run/netns`, so nothing can be left behind. Threads enter one with `setns` and are never
//! used for anything else afterwards. Start with [`enter_private`], then [`Netns::new`].

use std::{
    fs::{self, File},
    future::Future,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    unistd::{getegid, geteuid},
};
use uplinkd_kernel::netlink::{Protocol, Socket};

use crate::{
    mounts::MountView,
    process::{Output, Process},
};

/// Moves this process into namespaces of its own, so that it can build networks without being root
/// and cannot touch those of the machine even when it is root.
///
/// Call it first thing in `main`, before any thread exists: the kernel refuses a user namespace to
/// a process with threads. That is why a test that wants to run as an ordinary user needs a test
/// binary with `harness = false` (see [`crate::harness`]). As root the rest of this crate also works
/// without this call, from any thread, for instance under libtest.
///
/// # Errors
/// When threads exist already, or when the system keeps user namespaces from ordinary users; the
/// message then says what can be done about it.
pub fn enter_private() -> Result<()> {
    let threads = fs::read_dir("/proc/self/task")?.count();
    ensure!(
        threads == 1,
        "private namespaces must be entered before the first thread starts ({threads} are running)"
    );
    let (uid, gid) = (geteuid(), getegid());
    let ours = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    // Root of a container often may not unshare, but may have a user namespace like anybody else.
    let is_root = uid.is_root() && unshare(ours).is_ok();
    if !is_root {
        if let Err(e) = unshare(ours | CloneFlags::CLONE_NEWUSER) {
            bail!("{}", no_user_namespaces(e));
        }
        fs::write("/proc/self/setgroups", "deny").context("cannot give up groups")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("cannot map the user")?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).context("cannot map the group")?;
    }
    let everything = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    match mount(None::<&str>, "/", None::<&str>, everything, None::<&str>) {
        Ok(()) => Ok(()),
        Err(e @ (Errno::EPERM | Errno::EACCES)) => bail!("{}", no_user_namespaces(e)),
        Err(e) => Err(e).context("cannot make the mounts private"),
    }
}

fn no_user_namespaces(errno: Errno) -> String {
    format!(
        "this system does not let an ordinary user make network namespaces: {}\n  \
         hint: run it as root, or allow user namespaces: \
         `sysctl user.max_user_namespaces=10000`; on Ubuntu also \
         `sysctl kernel.apparmor_restrict_unprivileged_userns=0`; \
         in a container, start that one with CAP_SYS_ADMIN",
        errno.desc()
    )
}

/// A network namespace without a name in the file system. Copies share it.
#[derive(Clone, Debug)]
pub struct Netns {
    name: Arc<str>,
    fd: Arc<OwnedFd>,
    mounts: Option<Arc<MountView>>,
}

impl Netns {
    /// Makes an empty namespace whose loopback is down. `name` is for messages and thread names.
    ///
    /// # Errors
    /// When this process may not make one: call [`enter_private`] first, or be root.
    pub fn new(name: &str) -> Result<Self> {
        let open = || -> Result<OwnedFd> {
            unshare(CloneFlags::CLONE_NEWNET)
                .context("cannot make a network namespace (not root, and not in a private one)")?;
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        };
        let fd = on_new_thread(name, open)?;
        Ok(Self {
            name: name.into(),
            fd: Arc::new(fd),
            mounts: None,
        })
    }

    /// The same namespace, whose processes see the files of `mounts`.
    #[must_use]
    pub fn with_mounts(mut self, mounts: Arc<MountView>) -> Self {
        self.mounts = Some(mounts);
        self
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Moves the calling thread in, for good.
    fn enter(&self) -> Result<()> {
        setns(&self.fd, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter the namespace `{}`", self.name))
    }

    /// Runs something inside and waits for it. Sockets that it returns stay inside for ever.
    ///
    /// # Errors
    /// What `f` returns, or that the namespace could not be entered.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_new_thread(&self.name, || {
            self.enter()?;
            f()
        })
    }

    /// Starts a thread inside and does not wait for it.
    ///
    /// # Errors
    /// When there is no room for a thread. What happens inside comes with its result.
    pub fn start<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<thread::JoinHandle<Result<T>>> {
        let this = self.clone();
        let body = move || {
            this.enter()?;
            f()
        };
        Ok(builder(&self.name).spawn(body)?)
    }

    /// Runs asynchronous work inside, on a thread and a tokio runtime of its own.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn block_on<T, F>(&self, work: impl FnOnce() -> F + Send) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>>,
    {
        self.run(|| block_on_here(work()))
    }

    /// As [`Self::start`], for asynchronous work.
    ///
    /// # Errors
    /// When there is no room for a thread.
    pub fn start_async<T, F>(
        &self,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<thread::JoinHandle<Result<T>>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>>,
    {
        self.start(|| block_on_here(work()))
    }

    /// Starts a program inside. It is killed when its [`Process`] is dropped, and by the kernel when
    /// this process dies.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, command: Command) -> Result<Process> {
        let this = self.clone();
        Process::spawn_after(command, &self.name, move || {
            this.enter()?;
            this.mounts.as_ref().map_or(Ok(()), |m| m.enter())
        })
    }

    /// Runs a short program inside, with `input` as its standard input, and returns what it said.
    ///
    /// # Errors
    /// When it cannot be started or has not ended in time; an exit code is not an error here.
    pub fn output(&self, command: Command, input: &str, limit: Duration) -> Result<Output> {
        Process::output(command, input, limit, |c| self.spawn(c))
    }

    /// Applies an nft script. This is the only outside program that the laboratory uses itself.
    ///
    /// # Errors
    /// With nft's own words when it refuses the script.
    pub fn nft(&self, script: &str) -> Result<()> {
        let mut command = Command::new("nft");
        command.args(["-f", "-"]);
        let output = self
            .output(command, script, Duration::from_secs(20))
            .context("cannot run `nft` (is nftables installed?)")?;
        if !output.status.success() {
            bail!("nft refused in `{}`: {}", self.name, output.stderr.trim());
        }
        Ok(())
    }

    /// A routing socket inside, usable from any thread.
    ///
    /// # Errors
    /// When the kernel has no such socket for us.
    pub fn netlink(&self) -> Result<Socket> {
        self.run(|| Socket::open(Protocol::Route).context("cannot open a netlink socket"))
    }

    /// Writes network sysctls (`net.ipv4.ip_forward`), in order.
    ///
    /// # Errors
    /// Naming the first that the kernel refuses.
    pub fn set_sysctls(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (key, value) in settings {
                fs::write(sysctl_path(key), value)
                    .with_context(|| format!("cannot set {key}={value} in `{}`", self.name))?;
            }
            Ok(())
        })
    }

    /// Reads a network sysctl.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn sysctl(&self, key: &str) -> Result<String> {
        self.run(|| {
            let text = fs::read_to_string(sysctl_path(key))
                .with_context(|| format!("cannot read {key} in `{}`", self.name))?;
            Ok(text.trim().to_owned())
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `net.ipv4.conf.wan1.rp_filter` as a file. A `/` in the key stands for a dot in a name.
fn sysctl_path(key: &str) -> String {
    let path: String = key
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    format!("/proc/sys/{path}")
}

fn builder(name: &str) -> thread::Builder {
    thread::Builder::new().name(format!("lab-{name}"))
}

/// Runs something on a thread that ends afterwards, so that what it did to itself ends with it.
pub(crate) fn on_new_thread<T: Send>(
    name: &str,
    f: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    thread::scope(|scope| {
        let handle = builder(name).spawn_scoped(scope, f)?;
        match handle.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn block_on_here<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

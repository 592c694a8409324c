//! One virtual machine, from its first to its last breath.
//!
//! What the tests say goes to a file that both sides see; each suite leaves a line with its exit
//! code in another. A suite without such a line has failed, whatever else was said.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write, stdout},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{install::Unpacked, suites::Wish};
use crate::bench::print::talk;

/// The first process inside.
const INSIDE: &str = include_str!("inside.sh");
/// What the machine's kernel says is told when no result came, so much of it.
const CONSOLE_LINES: usize = 25;
/// How often it is looked for something new to tell.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a machine is to do.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) kernel: &'a Unpacked,
    pub(super) vng: &'a Path,
    /// Without libraries.
    pub(super) busybox: &'a Path,
    /// Where the programs are.
    pub(super) bin: &'a Path,
    /// Where files are put that both sides see.
    pub(super) share: PathBuf,
    pub(super) wishes: &'a [Wish],
    pub(super) slowness: u32,
    /// For everything, boot included.
    pub(super) limit: Duration,
}

/// What came of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) suite: String,
    /// `None`: it never ended.
    pub(super) code: Option<i32>,
    /// How long it took, as far as it is known.
    pub(super) seconds: Option<u32>,
    /// The tests' own summary.
    pub(super) summary: String,
}

impl Verdict {
    pub(super) fn is_good(&self) -> bool {
        self.code == Some(0)
    }
}

/// What came of a machine.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// When the work began, in the machine's own time.
    pub(super) booted: Option<f64>,
    pub(super) whole: Duration,
    pub(super) verdicts: Vec<Verdict>,
}

/// Boots a machine, has it do its work, and waits for its end.
pub(super) fn run(order: &Order<'_>) -> Result<Report> {
    prepare(order)?;
    let console = order.share.join("console");
    let begun = Instant::now();
    let mut child = start(order, &console)?;
    let mut told = Tail::new(order.share.join("output"));
    let ended = loop {
        told.tell();
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if begun.elapsed() >= order.limit {
            // Its processes are in a namespace that goes with it.
            child.kill().and_then(|()| child.wait())?;
            break None;
        }
        std::thread::sleep(LOOK_EVERY);
    };
    told.tell();
    let read = |name: &str| fs::read_to_string(order.share.join(name)).unwrap_or_default();
    let verdicts = verdicts(order.wishes, &read("codes"), &read("output"));
    if verdicts.iter().any(|v| v.code.is_none()) {
        let why = match ended {
            Some(status) => format!("the machine ended ({status})"),
            None => format!("the machine was ended after {} s", order.limit.as_secs()),
        };
        talk(&format!(
            "{why} without all results; the last words on its console ({}):\n{}",
            console.display(),
            last_lines(&fs::read(&console).unwrap_or_default())
        ));
    }
    Ok(Report {
        booted: read("booted").trim().parse().ok(),
        whole: begun.elapsed(),
        verdicts,
    })
}

fn prepare(order: &Order<'_>) -> Result<()> {
    let share = &order.share;
    if share.exists() {
        fs::remove_dir_all(share).with_context(|| format!("cannot empty {}", share.display()))?;
    }
    fs::create_dir_all(share).with_context(|| format!("cannot make {}", share.display()))?;
    let inside = share.join("inside.sh");
    let text = INSIDE
        .replace("@MODULES@", &order.kernel.modules.display().to_string())
        .replace("@BIN@", &order.bin.display().to_string());
    fs::write(&inside, text)?;
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o755))?;
    fs::write(share.join("work.sh"), work(order))?;
    Ok(())
}

/// The work as a shell script.
fn work(order: &Order<'_>) -> String {
    let mut text = format!(
        "export UPLINK_LAB_SLOWNESS={}\nexport RUST_BACKTRACE=0\n",
        order.slowness
    );
    if std::env::var_os("CI").is_some_and(|v| !v.is_empty()) {
        text.push_str("export CI=1\n");
    }
    for Wish { suite, filters } in order.wishes {
        let filters: Vec<_> = filters.iter().map(|f| quoted(f)).collect();
        // libtest would run kernel tests side by side, which an emulated processor has no use for.
        let _ = write!(
            text,
            "echo '==> {suite}'\nbegun=$(cut -d . -f 1 /proc/uptime)\n\
             /opt/vm/bin/{suite} --test-threads 1 {}\ncode=$?\n\
             echo {suite} $code $(($(cut -d . -f 1 /proc/uptime) - begun)) >>/opt/vm/share/codes\n",
            filters.join(" ")
        );
    }
    text
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn start(order: &Order<'_>, console: &Path) -> Result<Child> {
    let share = order.share.display();
    let kernel = format!(
        "console=ttyS0 panic=-1 loglevel=4 mitigations=off nokaslr nowatchdog init={share}/inside.sh"
    );
    let file =
        File::create(console).with_context(|| format!("cannot make {}", console.display()))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let venv = order.vng.parent().unwrap_or(Path::new("/"));
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare"]);
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    // The emulator is the great-grandchild of vng. In a namespace of process ids it cannot outlive it.
    command
        .args(["--mount", "--propagation", "private"])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(order.vng)
        .args(["-v", "--cpus", "2", "--memory", "2G"])
        .args(["--force-9p", "--disable-kvm", "-r"])
        .arg(&order.kernel.image)
        .arg("--busybox")
        .arg(order.busybox)
        .arg(format!("--rwdir=/run={share}"))
        .args(["--rodir=/mnt=/", "--exec", "true"])
        .arg(format!("--qemu-opts=-append '{kernel}'"))
        .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", venv.display()))
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    command.spawn().context("cannot run setpriv (util-linux)")
}

/// What each suite's end was, from the lines that the machine left.
fn verdicts(wishes: &[Wish], codes: &str, output: &str) -> Vec<Verdict> {
    let ends: Vec<Vec<&str>> = codes.lines().map(|l| l.split(' ').collect()).collect();
    let end = |suite: &str| match ends
        .iter()
        .find(|w| w.first() == Some(&suite))
        .map(|w| &w[..])
    {
        Some([_, code, seconds]) => (code.parse().ok(), seconds.parse().ok()),
        _ => (None, None),
    };
    let summary = |suite: &str| {
        let said = output
            .split("==> ")
            .find(|part| part.lines().next() == Some(suite));
        let mut lines = said.unwrap_or_default().lines();
        let last = lines.rfind(|l| l.contains(" passed") && l.contains(" failed"));
        last.unwrap_or("no result").trim().to_owned()
    };
    wishes
        .iter()
        .map(|w| {
            let (code, seconds) = end(w.suite);
            Verdict {
                suite: w.suite.to_owned(),
                code,
                seconds,
                summary: summary(w.suite),
            }
        })
        .collect()
}

fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let lines: Vec<_> = text.lines().map(|l| l.escape_debug().to_string()).collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
}

/// A file that grows, of which everything new is told once.
#[derive(Debug)]
struct Tail {
    file: PathBuf,
    told: u64,
}

impl Tail {
    fn new(file: PathBuf) -> Self {
        Self { file, told: 0 }
    }

    fn tell(&mut self) {
        if let Err(e) = self.try_tell()
            && e.kind() != std::io::ErrorKind::NotFound
        {
            talk(&format!("cannot follow {}: {e}", self.file.display()));
        }
    }

    fn try_tell(&mut self) -> std::io::Result<()> {
        let mut file = File::open(&self.file)?;
        file.seek(SeekFrom::Start(self.told))?;
        let mut fresh = Vec::new();
        file.read_to_end(&mut fresh)?;
        self.told += fresh.len() as u64;
        stdout().write_all(&fresh)
    }
}

/// An error unless everything that was wanted was done well.
pub(super) fn ensure_good(reports: &[Report]) -> Result<()> {
    let verdicts = reports.iter().flat_map(|r| &r.verdicts);
    let bad = verdicts.filter(|v| !v.is_good()).count();
    if bad > 0 {
        bail!("{bad} suites did not hold in the virtual machine");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(suite: &'static str) -> Wish {
        Wish {
            suite,
            filters: Vec::new(),
        }
    }

    #[test]
    fn a_suite_without_its_line_has_not_held() {
        let output =
            "==> life\ntest a (1 ms) ... ok\n1 passed, 0 failed\n==> traffic\n3 passed, 0 failed\n";
        let verdicts = verdicts(&[wish("life"), wish("traffic")], "life 0 12\n", output);
        assert!(verdicts[0].is_good());
        assert_eq!(verdicts[0].seconds, Some(12));
        assert_eq!(verdicts[0].summary, "1 passed, 0 failed");
        // It said that all is well, and then the machine was gone.
        assert!(!verdicts[1].is_good());
    }

    #[test]
    fn a_code_other_than_zero_or_half_a_line_has_not_held() {
        for codes in [
            "life 1 12\n",
            "life 137 1\n",
            "life\n",
            "life 0",
            "lifetime 0 1\n",
            "",
        ] {
            let verdicts = verdicts(&[wish("life")], codes, "");
            assert!(!verdicts[0].is_good(), "{codes:?}");
        }
    }

    #[test]
    fn words_reach_the_shell_as_they_are() {
        assert_eq!(quoted("it's $x"), r"'it'\''s $x'");
    }
}

//! The unit under a systemd that was booted for it, in a container over a copy of this machine's root that
//! is thrown away.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use uplinkd_lab::{Lab, LabSpec, find_program, harness::Skipped, programs, stretched};

const SCRIPT: &str = include_str!("booted.sh");
/// Runs the script once, and ends the system.
const ONCE: &str = "[Service]\nType=oneshot\nExecStart=/script\n\
                    ExecStopPost=/bin/systemctl --no-block poweroff\n";
/// Nobody wants to wait as long as people do.
const IMPATIENT: &str = "[Service]\nWatchdogSec=2s\n";
const FILE: &str = "[uplink.isp1]\ninterface = \"wan1\"\n[uplink.isp2]\ninterface = \"wan2\"\n\
                    [notify.hooks]\n";
const HOOK: &str = "#!/bin/sh\nexec sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status \
                    >/var/lib/uplinkd/hooked\n";

/// A root file system: this machine's, and what was written over it.
struct Root(PathBuf);

impl Root {
    fn over_this(folder: &Path) -> Result<Self> {
        let folder = folder.join("booted");
        let part = |name| folder.join(name);
        fs::create_dir(&folder)?;
        let (none, flags) = (None::<&str>, MsFlags::empty());
        // Of another kind than what is below it, which may be such a layer itself.
        mount(Some("tmpfs"), &folder, Some("tmpfs"), flags, none)?;
        for name in ["upper", "work", "root"] {
            fs::create_dir(part(name))?;
        }
        let layers = format!(
            "lowerdir=/,upperdir={},workdir={}",
            part("upper").display(),
            part("work").display()
        );
        let root = part("root");
        mount(
            Some("overlay"),
            &root,
            Some("overlay"),
            flags,
            Some(&*layers),
        )
        .map_err(|e| Skipped(format!("this kernel puts no layer over its root: {e}")))?;
        Ok(Self(root))
    }

    fn place(&self, path: &str) -> Result<PathBuf> {
        let place = self.0.join(path);
        fs::create_dir_all(place.parent().context("a name")?)?;
        Ok(place)
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.place(path)?, text)?)
    }

    fn copy(&self, from: &Path, path: &str) -> Result<()> {
        fs::copy(from, self.place(path)?)?;
        Ok(())
    }

    fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.0.join(path)).with_context(|| format!("the system left no {path}"))
    }
}

fn prepare(folder: &Path) -> Result<Root> {
    let root = Root::over_this(folder)?;
    for program in ["uplinkd", "uplinkctl"] {
        root.copy(&find_program(program)?, &format!("usr/sbin/{program}"))?;
    }
    let ours = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../contrib/systemd"
    ));
    for (name, place) in [
        ("uplinkd.service", "usr/lib/systemd/system/uplinkd.service"),
        ("uplinkd.sysusers.conf", "usr/lib/sysusers.d/uplinkd.conf"),
        ("uplinkd.tmpfiles.conf", "usr/lib/tmpfiles.d/uplinkd.conf"),
    ] {
        root.copy(&ours.join(name), place)?;
    }
    let units = "etc/systemd/system";
    root.write("etc/uplinkd/uplinkd.toml", FILE)?;
    root.write(&format!("{units}/uplinkd.service.d/test.conf"), IMPATIENT)?;
    root.write(&format!("{units}/once.service"), ONCE)?;
    for (path, text) in [("script", SCRIPT), ("etc/uplinkd/hooks.d/10-rights", HOOK)] {
        root.write(path, text)?;
        fs::set_permissions(root.place(path)?, fs::Permissions::from_mode(0o755))?;
    }
    let wanted = root.place(&format!("{units}/basic.target.wants/once.service"))?;
    symlink("/etc/systemd/system/once.service", wanted)?;
    Ok(root)
}

pub(crate) fn systemd_starts_reloads_watches_and_stops_it() -> Result<()> {
    let nspawn = programs::systemd_nspawn()?;
    let lab = Lab::build(LabSpec::default())?;
    // Layers are seen by whatever runs in the laboratory, and by nobody else.
    let root = lab.mounts().run(|| prepare(lab.folder()))?;
    let mut command = Command::new(nspawn);
    command
        .arg("--directory")
        .arg(&root.0)
        .args([
            "--private-network",
            "--capability=CAP_NET_ADMIN,CAP_NET_RAW",
        ])
        .args(["--keep-unit", "--register=no", "--link-journal=no"])
        .args(["--console=pipe", "--machine=uplinkd-test", "--boot"])
        .arg("systemd.unit=basic.target");
    let limit = stretched(Duration::from_secs(90));
    let output = lab.internet().output(command, "", limit)?;
    let read = |path| lab.mounts().run(|| root.read(path));
    let said = read("said").with_context(|| format!("{}{}", output.stdout, output.stderr))?;
    let answers: BTreeMap<_, _> = said
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    let answer = |question: &str| answers.get(question).copied().unwrap_or_default();
    let is = |question: &str, expected: &str| {
        ensure!(
            answer(question) == expected,
            "{question}: not {expected}\n{said}"
        );
        Ok(())
    };
    // Ready is when the kernel is as the file wants it.
    is("start", "0")?;
    is("state", "active")?;
    let rules = answer("rules-at-start");
    let count = |rules: &str| rules.parse::<u32>().unwrap_or_default();
    ensure!(count(rules) > count(answer("rules-before")), "{said}");
    is("user", "uplinkd")?;
    // CAP_NET_ADMIN and CAP_NET_RAW.
    is("rights", "0000000000003000")?;
    is("status", "0")?;
    let status: uplinkd_api::Status = serde_json::from_str(&read("status.json")?)?;
    ensure!(
        status.settled && status.last_problem.is_none(),
        "{status:?}"
    );
    is("names", "0")?;
    is("told", "0")?;
    is("hook", "0000000000000000")?;
    is("reload", "0")?;
    is("refused", "active")?;
    is("refused-rules", rules)?;
    // The kernel routes on while nobody watches.
    is("hung-rules", rules)?;
    is("after-watchdog", "active")?;
    is("restarts", "1")?;
    is("another", "yes")?;
    is("stop", "0")?;
    is("stopped", "inactive success")?;
    is("rules-after", rules)?;
    let journal = read("journal.json")?;
    ensure!(journal.contains("\"UPLINKD_REASON\":"), "{journal}");
    Ok(())
}

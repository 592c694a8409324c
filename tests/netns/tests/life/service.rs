//! Under a service manager: what it is told, the rights that its unit leaves, and the unit itself.

use std::{
    fs,
    io::ErrorKind,
    os::unix::{fs::chown, net::UnixDatagram},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use uplinkd_api::{Status, TargetState, TargetStatus};
use uplinkd_lab::{Fault, LabSpec, find_program, harness::Skipped, programs, stretched};
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, find_uplink, isp, within};

const NOBODY: u32 = 65534;

/// A target that is there for whoever has no right at all.
const POWERLESS: &str = "{ command = [\"/bin/grep\", \"-q\", \"^CapEff:.*0000000000000000$\", \
                         \"/proc/self/status\"] }";

/// The socket of a service manager that only listens.
struct Manager(UnixDatagram);

impl Manager {
    fn open(folder: &Path) -> Result<(Self, String)> {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path)?;
        let path = path.to_str().context("a name")?.to_owned();
        Ok((Self(socket), path))
    }

    /// The next message, if there is one in time.
    fn hears(&self, limit: Duration) -> Result<Option<String>> {
        let mut bytes = [0; 512];
        self.0
            .set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
        match self.0.recv(&mut bytes) {
            Ok(size) => Ok(Some(String::from_utf8_lossy(&bytes[..size]).into_owned())),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The next message that says this; signs of life in between are passed over, nothing else is.
    fn hears_of(&self, word: &str) -> Result<String> {
        let deadline = Instant::now() + stretched(EVENTUALLY);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let said = self.hears(left)?.with_context(|| format!("no {word}"))?;
            if said.lines().any(|line| line == word) {
                return Ok(said);
            }
            ensure!(said.trim() == "WATCHDOG=1", "{said:?} instead of {word}");
        }
    }
}

pub(crate) fn a_service_manager_hears_that_we_are_ready_read_the_file_and_live() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[3, 2]))?;
    let (manager, socket) = Manager::open(rig.lab().folder())?;
    let environment = [
        ("NOTIFY_SOCKET", socket.as_str()),
        ("WATCHDOG_USEC", "400000"),
    ];
    rig.start_daemon_with(&environment)?;
    manager.hears_of("READY=1")?;
    ensure!(
        rig.status()?.settled,
        "it was ready before the kernel was as it shall be"
    );
    let said = manager.hears_of("WATCHDOG=1")?;
    ensure!(said.lines().count() == 1, "{said:?}");

    rig.daemon()?.process().signal(Signal::SIGHUP)?;
    let said = manager.hears_of("RELOADING=1")?;
    ensure!(said.contains("MONOTONIC_USEC="), "{said:?}");
    manager.hears_of("READY=1")?;
    // A file that is refused ends the reload as well.
    rig.places().write_config("nonsense = 1\n")?;
    rig.daemon()?.process().signal(Signal::SIGHUP)?;
    manager.hears_of("RELOADING=1")?;
    manager.hears_of("READY=1")?;

    // Signs of life come from the loop: they end where that stands still.
    rig.daemon()?.process().signal(Signal::SIGSTOP)?;
    while manager.hears(Duration::from_millis(50))?.is_some() {}
    let silent = manager.hears(stretched(Duration::from_secs(1)))?;
    rig.daemon()?.process().signal(Signal::SIGCONT)?;
    ensure!(
        silent.is_none(),
        "a daemon that stands still says {silent:?}"
    );
    manager.hears_of("WATCHDOG=1")?;
    rig.daemon()?.process().signal(Signal::SIGTERM)?;
    manager.hears_of("STOPPING=1")?;
    rig.stop_daemon()
}

pub(crate) fn the_rights_that_the_unit_leaves_are_enough() -> Result<()> {
    if !programs::may_change_users() {
        return Err(Skipped("there is nobody else to become".to_owned()).into());
    }
    // What a user's command has: nothing.
    let file = config(&[3, 2]).replacen("\"gateway\"", POWERLESS, 1);
    let mut rig = Rig::without_daemon(LabSpec::default(), &file)?;
    let folder = rig.lab().folder().to_owned();
    let to_nobody = |path: &Path| {
        chown(path, Some(NOBODY), Some(NOBODY))
            .with_context(|| format!("cannot give {} away", path.display()))
    };
    for place in [rig.places().runtime(), rig.places().state()] {
        to_nobody(&place)?;
    }
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    rig.lab().mounts().run(|| {
        let names = Path::new("/etc/iproute2/rt_tables.d");
        fs::create_dir_all(names)?;
        to_nobody(names)
    })?;
    // A hook leaves word of its rights.
    let (hooks, out) = (folder.join("hooks"), folder.join("out"));
    for (place, mode) in [(&hooks, 0o755), (&out, 0o777)] {
        fs::create_dir(place)?;
        fs::set_permissions(place, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    }
    let hook = hooks.join("10-rights");
    let word = format!(
        "#!/bin/sh\ngrep -E '^(Cap(Prm|Eff|Amb)|NoNewPrivs|Uid)' /proc/self/status >{}/rights\n",
        out.display()
    );
    fs::write(&hook, word)?;
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    rig.places().write_config(&format!(
        "{file}[notify.hooks]\ndir = {hooks:?}\nevents = [\"all\"]\n"
    ))?;
    // A place that everybody can read, wherever the build directory is.
    let copy = folder.join("uplinkd");
    fs::copy(find_program("uplinkd")?, &copy)?;
    let unit = fs::read_to_string(unit())?;
    let rights = unit
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .context("the unit bounds no rights")?;
    let rights = rights.split(' ').map(|right| {
        let name = right.strip_prefix("CAP_").unwrap_or(right).to_lowercase();
        format!("+{name}")
    });
    let rights = rights.collect::<Vec<_>>().join(",");
    let bounds = format!("-all,{rights}");
    let copy = copy.to_str().context("a name")?;
    let words = [
        &["--reuid", "65534", "--regid", "65534", "--clear-groups"][..],
        &["--inh-caps", &rights, "--ambient-caps", &rights],
        &["--bounding-set", &bounds, "--no-new-privs", copy, "run"],
    ];
    rig.start_daemon_by(&programs::find("setpriv")?, &words.concat())?;
    rig.wait_settled()?;
    let serves = |s: &Status, line| find_uplink(s, isp(line)).is_some_and(|u| u.in_service);
    let is_powerless =
        |t: &TargetStatus| t.target.contains("CapEff") && t.state == TargetState::Pass;
    rig.wait_for("its commands have no rights", EVENTUALLY, |s| {
        find_uplink(s, isp(1)).is_some_and(|u| u.targets.iter().any(is_powerless))
    })?;
    within("a hook is run", EVENTUALLY, || {
        Ok(out.join("rights").exists())
    })?;
    let rights = fs::read_to_string(out.join("rights"))?;
    let none = "0000000000000000";
    let expected = format!(
        "Uid:\t65534\t65534\t65534\t65534\nCapPrm:\t{none}\nCapEff:\t{none}\nCapAmb:\t{none}\nNoNewPrivs:\t1\n"
    );
    ensure!(rights == expected, "{rights}");
    let broken = Fault::Carrier.apply(rig.lab(), isp(1))?;
    rig.wait_for("isp1 is out", EVENTUALLY, |s| s.settled && !serves(s, 1))?;
    broken.heal()?;
    rig.wait_for("isp1 is back", EVENTUALLY, |s| s.settled && serves(s, 1))?;
    let status = rig.status()?;
    ensure!(status.last_problem.is_none(), "{:?}", status.last_problem);
    rig.stop_daemon()
}

pub(crate) fn the_unit_is_one_and_leaves_little() -> Result<()> {
    let analyze = programs::find("systemd-analyze")?;
    // 20 is an exposure of 2.0.
    let output = Command::new(&analyze)
        .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
        .arg(unit())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{said}");
    ensure!(said.contains("Overall exposure level"), "{said}");
    // A word that it does not know, apart from the type that older ones do not.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let complaints = said.lines().filter(|line| !line.contains("notify-reload"));
    let complaints: Vec<_> = complaints.filter(|line| !line.trim().is_empty()).collect();
    ensure!(complaints.is_empty(), "{complaints:#?}");
    Ok(())
}

fn unit() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../contrib/systemd/uplinkd.service"
    ))
}

//! Everything on the router that a router daemon could have changed, to see that nothing did.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use uplinkd_kernel::{
    Kernel, Look,
    netlink::{Message, Protocol, Socket},
};
use uplinkd_model::Reserve;
use uplinkd_netns_tests::Rig;

use crate::common::{difference, nft};

/// Everything that a router daemon could change, byte for byte, whosever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine(Vec<String>);

impl Machine {
    /// Reads it: rules, routes and nexthops as the kernel lists them, the nft ruleset, sysctls, the
    /// names of tables, and the daemon's own memory.
    pub(crate) fn read(rig: &Rig) -> Result<Self> {
        let mut lines = rig.in_router(kernel_lines)?;
        let ruleset = rig.lab().router().output(
            nft(&["-s", "list", "ruleset"]),
            "",
            Duration::from_secs(10),
        )?;
        ensure!(
            ruleset.status.success(),
            "cannot list nft: {}",
            ruleset.stderr
        );
        lines.extend(ruleset.stdout.lines().map(|l| format!("nft {l}")));
        lines.extend(rig.in_router(|| Ok(sysctl_lines()))?);
        let names = Path::new("/etc/iproute2/rt_tables.d");
        lines.extend(rig.lab().mounts().run(|| Ok(file_lines(names)))?);
        // What is remembered of the lines grows with each run, and nothing is decided by it.
        let state = file_lines(&rig.places().state()).into_iter();
        lines.extend(state.filter(|line| !line.contains("/history.db")));
        Ok(Self(lines))
    }

    /// Leaves out the daemon's own memory, which `clean` empties.
    pub(crate) fn without_memory(mut self, rig: &Rig) -> Self {
        let state = format!("file {}", rig.places().state().display());
        self.0.retain(|line| !line.starts_with(&state));
        self
    }

    /// An error that names what is other than in `wanted`.
    pub(crate) fn ensure_is(&self, wanted: &Self) -> Result<()> {
        ensure!(
            self == wanted,
            "something changed on this machine:\n{}",
            difference(&wanted.0, &self.0)
        );
        Ok(())
    }
}

/// What rtnetlink lists, as lines that can be compared.
fn kernel_lines() -> Result<Vec<String>> {
    const GET_ROUTE: u16 = 26;
    const GET_RULE: u16 = 34;
    const GET_NEXTHOP: u16 = 106;
    const V4: u8 = 2;
    const V6: u8 = 10;
    let mut socket = Socket::open(Protocol::Route)?;
    let mut lines = Vec::new();
    for (what, kind, family, length) in [
        ("rule", GET_RULE, V4, 12),
        ("rule6", GET_RULE, V6, 12),
        ("route", GET_ROUTE, V4, 12),
        ("nexthop", GET_NEXTHOP, 0, 8),
    ] {
        let mut fixed = vec![0; length];
        fixed[0] = family;
        for reply in socket.dump(Message::new(kind, 0, &fixed))? {
            lines.push(format!("{what} {:02x?}", reply.body));
        }
    }
    // The order of equal keys is the kernel's business.
    lines.sort();
    // The same for people.
    let observed = Kernel::open()?.observe(&Look {
        reserve: vec![Reserve::default()],
        ..Look::default()
    })?;
    lines.extend(observed.rules.iter().map(|r| format!("rule {r}")));
    lines.extend(observed.routes.iter().map(|r| format!("route {r}")));
    lines.extend(observed.nexthops.values().map(|n| format!("nexthop {n}")));
    Ok(lines)
}

/// All IPv4 settings of this namespace.
fn sysctl_lines() -> Vec<String> {
    let root = Path::new("/proc/sys/net/ipv4");
    let mut files = Vec::new();
    list_files(root, &mut files);
    // Some of them cannot be read, and some are figures, not settings.
    let is_setting =
        |f: &&PathBuf| !f.ends_with("route/flush") && !f.starts_with(root.join("neigh"));
    let line = |f: &PathBuf| {
        let value = fs::read_to_string(f).ok()?;
        Some(format!("sysctl {} = {}", f.display(), value.trim()))
    };
    files.iter().filter(is_setting).filter_map(line).collect()
}

fn list_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            list_files(&entry, files);
        } else {
            files.push(entry);
        }
    }
}

fn file_lines(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    list_files(folder, &mut files);
    let line = |f: &PathBuf| {
        let content = fs::read(f).unwrap_or_default();
        format!(
            "file {}: {}",
            f.display(),
            String::from_utf8_lossy(&content)
        )
    };
    files.iter().map(line).collect()
}

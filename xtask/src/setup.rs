//! What a command needs on this machine: installed where we may, said in one line where not.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::bench::print::talk;

/// A program, where it may be, and the Debian package that it is in.
struct Program {
    name: &'static str,
    package: &'static str,
}

const NFT: Program = Program {
    name: "nft",
    package: "nftables",
};

/// What tests beside ours run in the laboratory, to see that all get along.
const BESIDE: &[Program] = &[
    Program {
        name: "ping",
        package: "iputils-ping",
    },
    Program {
        name: "ip",
        package: "iproute2",
    },
    Program {
        name: "dnsmasq",
        package: "dnsmasq-base",
    },
    Program {
        name: "udhcpc",
        package: "udhcpc",
    },
    Program {
        name: "dhclient",
        package: "isc-dhcp-client",
    },
    Program {
        name: "dhcpcd",
        package: "dhcpcd-base",
    },
    // It has no settings of its own after that, so it does not start on the machine.
    Program {
        name: "radvd",
        package: "radvd",
    },
    Program {
        name: "socat",
        package: "socat",
    },
    Program {
        name: "iptables",
        package: "iptables",
    },
    Program {
        name: "NetworkManager",
        package: "network-manager",
    },
    Program {
        name: "dockerd",
        package: "docker.io",
    },
    Program {
        name: "systemd-analyze",
        package: "systemd",
    },
    Program {
        name: "dbus-daemon",
        package: "dbus",
    },
];

/// What tests of the dashboard look at it with.
const BROWSER: [Program; 3] = [
    Program {
        name: "chromium",
        package: "chromium",
    },
    Program {
        name: "node",
        package: "nodejs",
    },
    Program {
        name: "npm",
        package: "npm",
    },
];

/// What a virtual machine is made with.
const EMULATOR: [Program; 4] = [
    Program {
        name: "qemu-system-x86_64",
        package: "qemu-system-x86",
    },
    Program {
        name: "depmod",
        package: "kmod",
    },
    Program {
        name: "setpriv",
        package: "util-linux",
    },
    Program {
        name: "python3",
        package: "python3",
    },
];

/// What tests of access lines run, which only a kernel with such lines has a use for.
const OF_LINES: [Program; 4] = [
    Program {
        name: "openvpn",
        package: "openvpn",
    },
    Program {
        name: "pppd",
        package: "ppp",
    },
    Program {
        name: "pppoe-server",
        package: "pppoe",
    },
    Program {
        name: "wg-quick",
        package: "wireguard-tools",
    },
];

/// Makes sure that `nft` is there, the one outside program that routing needs.
pub(crate) fn ensure_nft() -> Result<()> {
    install(&[NFT]);
    if is_there(&NFT) {
        return Ok(());
    }
    bail!(
        "the program nft is missing; type: sudo apt-get install nftables (or your system's package of that name)"
    )
}

/// Installs what tests run beside us, where that is possible. Tests of programs that are missing then
/// say that they were skipped.
pub(crate) fn ensure_programs_beside() {
    install(BESIDE);
}

/// Installs a browser and what it is driven by, as [`ensure_programs_beside`].
pub(crate) fn ensure_browser() {
    install(&BROWSER);
}

/// Makes sure that a virtual machine can be made here.
pub(crate) fn ensure_emulator() -> Result<()> {
    install(&EMULATOR);
    let missing: Vec<_> = EMULATOR.iter().filter(|p| !is_there(p)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let of = |part: fn(&Program) -> &'static str| {
        let parts: Vec<_> = missing.iter().map(|p| part(p)).collect();
        parts.join(" ")
    };
    bail!(
        "a virtual machine needs {}; type: sudo apt-get install {}",
        of(|p| p.name),
        of(|p| p.package)
    )
}

/// Unpacks programs below the target folder, where that is possible, whose packages would begin to serve this
/// machine or change it if they were installed.
pub(crate) fn ensure_unpacked() {
    for (package, program) in [
        ("prometheus", "promtool"),
        ("systemd-container", "systemd-nspawn"),
    ] {
        unpack(package, program);
    }
}

fn unpack(package: &str, program: &str) {
    let place = Path::new("usr/bin").join(program);
    if !Path::new("/").join(&place).is_file() {
        unpacked(package, &place);
    }
}

/// A busybox that needs no libraries, for a machine that has none yet when it starts. Unpacked: the packages of a
/// system have one or the other, and programs beside us bring the other.
///
/// # Errors
/// When it is not to be had.
pub(crate) fn static_busybox() -> Result<PathBuf> {
    let place = unpacked("busybox-static", Path::new("bin/busybox"));
    place.canonicalize().with_context(|| {
        format!(
            "a virtual machine needs {}, from Debian's package busybox-static",
            place.display()
        )
    })
}

/// Where a file of a package is below the target folder, once that is unpacked there, as far as that is possible.
fn unpacked(package: &str, file: &Path) -> PathBuf {
    let folder = Path::new("target/tools").join(package);
    let place = folder.join(file);
    if place.is_file() || !runs("apt-get", &["--version"]) || fs::create_dir_all(&folder).is_err() {
        return place;
    }
    talk(&format!("unpacking the package {package}"));
    // What did not come of it is seen by looking for the programs.
    let in_folder = |program: &str, arguments: &[&str]| {
        let _ = quiet(program, arguments).current_dir(&folder).status();
    };
    in_folder("apt-get", &["download", "-q", package]);
    in_folder("sh", &["-c", "dpkg -x ./*.deb . && rm ./*.deb"]);
    place
}

/// Installs what tests of access lines run, where that is possible; as
/// [`ensure_programs_beside`].
pub(crate) fn ensure_programs_of_lines() {
    install(&OF_LINES);
}

fn install(programs: &[Program]) {
    let missing = programs.iter().filter(|p| !is_there(p));
    install_packages(&missing.map(|p| p.package).collect::<Vec<_>>());
}

/// Installs a package that no program's absence tells of, where that is possible.
pub(crate) fn install_package(package: &str) {
    install_packages(&[package]);
}

fn install_packages(missing: &[&str]) {
    let is_root = nix::unistd::geteuid().is_root();
    if missing.is_empty() || !is_root || !runs("apt-get", &["--version"]) {
        return;
    }
    talk(&format!("installing packages: {}", missing.join(" ")));
    let apt = |arguments: &[&str]| {
        // What did not come of it is seen by looking for the programs.
        let _ = quiet("apt-get", &["-o", "DPkg::Lock::Timeout=300"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // No daemon shall start on this machine because of a test.
            .env("RUNLEVEL", "1")
            .status();
    };
    // An old package list may name a file that the mirror no longer has.
    apt(&["update", "-q"]);
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend_from_slice(missing);
    apt(&arguments);
}

fn is_there(program: &Program) -> bool {
    [
        "/usr/sbin",
        "/sbin",
        "/usr/bin",
        "/bin",
        "/usr/local/sbin",
        "/usr/local/bin",
    ]
    .iter()
    .any(|folder| std::path::Path::new(folder).join(program.name).is_file())
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    quiet(program, arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

fn quiet(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs cargo; an error where it fails.
pub(crate) fn cargo(arguments: &[&str]) -> Result<()> {
    cargo_with(arguments, &[])
}

/// Runs cargo with more in its environment; an error where it fails.
pub(crate) fn cargo_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args(arguments)
        .envs(environment.iter().copied())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    Ok(())
}

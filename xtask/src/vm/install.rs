//! What a virtual machine needs on this one: a kernel, an emulator, and virtme-ng.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::{bench::print::talk, python, setup};

/// The version whose habits we rely on: where its mounts are found, and that the emulator's last
/// `-append` counts.
const VIRTME_NG: &str = "virtme-ng==1.42";

/// A kernel of Debian's, as most routers run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// Debian 12's.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13's, which Debian 12 has too.
    #[value(name = "6.12")]
    V6_12,
}

impl Kernel {
    pub(super) const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// Whether a package holds this kernel as it is meant for PCs: `linux-image-6.1.0-56-amd64`.
    /// Others have `cloud`, `rt`, `dbg` or `unsigned` in their names, or name no version at all.
    fn is_in(self, package: &str) -> Option<Vec<u32>> {
        let version = package
            .strip_prefix("linux-image-")?
            .strip_prefix(self.name())?
            .strip_prefix('.')?
            .strip_suffix("-amd64")?;
        let numbers = version.split(['.', '-', '+']);
        numbers
            .map(|n| n.strip_prefix("deb").unwrap_or(n).parse().ok())
            .collect()
    }
}

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub(super) struct Unpacked {
    /// As `uname -r` tells it.
    pub(super) version: String,
    pub(super) image: PathBuf,
    pub(super) modules: PathBuf,
}

/// The kernel in the cache; what is not there is fetched.
pub(super) fn kernel(kernel: Kernel, cache: &Path) -> Result<Unpacked> {
    let place = cache.join(kernel.name());
    if unpacked(&place).is_err() {
        fetch(kernel, &place)?;
    }
    let found = unpacked(&place)?;
    if !found.modules.join("modules.dep").is_file() {
        let base = place.display().to_string();
        run(Command::new("/usr/sbin/depmod").args(["-b", &base, &found.version]))
            .context("cannot list the kernel's modules")?;
    }
    Ok(found)
}

fn unpacked(place: &Path) -> Result<Unpacked> {
    let modules = place.join("lib/modules");
    let entries = fs::read_dir(&modules).context("no kernel there")?;
    let versions: Vec<_> = entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .collect();
    let [version] = &versions[..] else {
        bail!(
            "{} holds {} kernels, not one",
            modules.display(),
            versions.len()
        );
    };
    let image = place.join(format!("boot/vmlinuz-{version}"));
    ensure!(image.is_file(), "{} is missing", image.display());
    Ok(Unpacked {
        version: version.clone(),
        image,
        modules: modules.join(version),
    })
}

fn fetch(kernel: Kernel, place: &Path) -> Result<()> {
    let all = Command::new("apt-cache")
        .args(["pkgnames", &format!("linux-image-{}.", kernel.name())])
        .output()
        .context("cannot run apt-cache; only Debian's packages are known here")?;
    let all = String::from_utf8_lossy(&all.stdout).into_owned();
    let newest = all
        .lines()
        .filter_map(|p| Some((kernel.is_in(p)?, p)))
        .max();
    let Some((_, package)) = newest else {
        bail!(
            "no package linux-image-{}.…-amd64 in the package lists; hint: `apt-get update`, with \
             Debian 12 and its security updates in the sources, or unpack one into {}",
            kernel.name(),
            place.display()
        );
    };
    talk(&format!("fetching {package}"));
    let down = tempfile::tempdir_in(place.parent().context("a cache has a parent")?)?;
    run(Command::new("apt-get")
        .args(["-o", "APT::Sandbox::User=root", "download", "-q", package])
        .current_dir(down.path()))
    .with_context(|| format!("cannot fetch {package}"))?;
    let file = fs::read_dir(down.path())?
        .next()
        .context("apt-get left no file")??
        .path();
    if place.exists() {
        fs::remove_dir_all(place)?;
    }
    // In the place only when it is whole.
    let whole = down.path().join("unpacked");
    run(Command::new("dpkg").arg("-x").args([&file, &whole]))
        .with_context(|| format!("cannot unpack {}", file.display()))?;
    fs::rename(&whole, place).with_context(|| format!("cannot fill {}", place.display()))
}

/// The program `vng`, in an environment of its own.
pub(super) fn virtme_ng(cache: &Path) -> Result<PathBuf> {
    python::program(&cache.join("venv"), VIRTME_NG, "vng")
}

/// Everything that is asked of the machine itself; the busybox that a virtual one starts with.
pub(super) fn programs() -> Result<PathBuf> {
    setup::ensure_emulator()?;
    setup::ensure_programs_beside();
    setup::ensure_programs_of_lines();
    setup::static_busybox()
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_for_pcs_is_taken_by_number() {
        let (old, new) = (Kernel::V6_1, Kernel::V6_12);
        assert_eq!(old.is_in("linux-image-6.1.0-56-amd64"), Some(vec![0, 56]));
        assert!(old.is_in("linux-image-6.1.0-9-amd64") < old.is_in("linux-image-6.1.0-56-amd64"));
        assert!(
            new.is_in("linux-image-6.12.9+deb12-amd64")
                < new.is_in("linux-image-6.12.117+deb12-amd64")
        );
        for other in [
            "linux-image-6.1-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-56-rt-amd64",
            "linux-image-6.1.0-56-amd64-dbg",
            "linux-image-6.1.0-56-amd64-unsigned",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-6.1.0-56-arm64",
        ] {
            assert_eq!(old.is_in(other), None, "{other}");
        }
    }
}

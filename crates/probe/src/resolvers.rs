//! The resolvers that a provider gave for a line, found where its client or manager left word of them.
//!
//! | who | where |
//! |---|---|
//! | systemd-networkd | `/run/systemd/netif/links/INDEX`, `…/leases/INDEX` |
//! | systemd-resolved (told by NetworkManager, `resolvectl`) | `/run/systemd/resolve/netif/INDEX` |
//! | dhcpcd | `/run/dhcpcd/hook-state/resolv.conf/DEVICE.*`, `/run/dhcpcd/resolv.conf/DEVICE.*` |
//! | resolvconf, openresolv | `/run/resolvconf/interface/DEVICE*`, `/run/resolvconf/interfaces/DEVICE*` |
//! | dhclient | `/var/lib/dhcp/*.leases`, `/var/lib/dhclient/*.leases` |
//! | netifd of OpenWrt | `/tmp/resolv.conf.d/resolv.conf.auto`, by `/etc/config/network` |
//! | pppd | `/etc/ppp/resolv.conf`, for `ppp*` |
//!
//! The first that knows any decides. Files are small and local, and read each time: an answer that
//! is remembered would be wrong after the next lease.

mod files;

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use nix::net::if_::if_nametoindex;
use uplinkd_model::Family;

use self::files::{leases, named, openwrt_names, resolv_conf, sections};
use crate::line::Line;

/// What is read of a file at most. Leases grow over the years; their newest part is at the end.
const FILE_MAX: u64 = 1 << 20;
/// Resolvers of a line that are of use; more are passed over.
const SERVERS_MAX: usize = 6;

/// Who can be asked for names, and where that was looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolvers {
    pub(crate) servers: Vec<IpAddr>,
    looked_at: Vec<String>,
}

impl Resolvers {
    /// That there is none, in words.
    pub(crate) fn lack(&self) -> String {
        format!(
            "no resolver is known; looked at {}",
            self.looked_at.join(", ")
        )
    }
}

/// The resolvers that the provider gave for a line, of its family.
pub(crate) fn given(line: &Line) -> Resolvers {
    let index = if_nametoindex(line.device.as_str()).unwrap_or(0);
    let mut found = Place::of(Path::new("/"), &line.device, index).given();
    found.servers.retain(|s| Family::of(*s) == line.family);
    found
}

/// Whom to ask for names over a line: the given ones, those of its family first, or else the system's.
pub(crate) fn for_names(line: &Line) -> Resolvers {
    let index = if_nametoindex(line.device.as_str()).unwrap_or(0);
    let place = Place::of(Path::new("/"), &line.device, index);
    let mut found = place.given();
    if found.servers.is_empty() {
        let system = place.system();
        found.servers = system.servers;
        found.looked_at.extend(system.looked_at);
    }
    found.servers.sort_by_key(|s| Family::of(*s) != line.family);
    found
}

/// One interface of a machine.
struct Place<'a> {
    root: &'a Path,
    device: &'a str,
    index: u32,
}

impl<'a> Place<'a> {
    fn of(root: &'a Path, device: &'a str, index: u32) -> Self {
        Self {
            root,
            device,
            index,
        }
    }

    fn given(&self) -> Resolvers {
        let Self { device, index, .. } = *self;
        let mut look = Look::new(self);
        let is_given = look.files(&[&format!("run/systemd/netif/links/{index}")], |t| {
            named(t, "DNS")
        }) || look.files(&[&format!("run/systemd/netif/leases/{index}")], |t| {
            named(t, "DNS")
        }) || look.files(&[&format!("run/systemd/resolve/netif/{index}")], |t| {
            named(t, "SERVERS")
        }) || look.folder("run/dhcpcd/hook-state/resolv.conf", "", resolv_conf)
            || look.folder("run/dhcpcd/resolv.conf", "", resolv_conf)
            || look.folder("run/resolvconf/interface", "", resolv_conf)
            || look.folder("run/resolvconf/interfaces", "", resolv_conf)
            || look.folder("var/lib/dhcp", ".leases", |t| leases(t, device))
            || look.folder("var/lib/dhclient", ".lease", |t| leases(t, device))
            || self.openwrt(&mut look)
            || device.starts_with("ppp") && look.files(&["etc/ppp/resolv.conf"], resolv_conf);
        let _ = is_given;
        look.found
    }

    fn openwrt(&self, look: &mut Look<'_>) -> bool {
        let network = self.read("etc/config/network").unwrap_or_default();
        let names = openwrt_names(&network, self.device);
        let own = |text: &str| {
            let own = sections(text).filter(|(name, _)| names.iter().any(|n| n == name));
            own.flat_map(|(_, text)| resolv_conf(&text)).collect()
        };
        look.files(
            &["tmp/resolv.conf.d/resolv.conf.auto", "tmp/resolv.conf.auto"],
            own,
        )
    }

    /// The machine's own. A resolver on the machine itself is no use: it would ask over whatever
    /// uplink serves.
    fn system(&self) -> Resolvers {
        let mut look = Look::new(self);
        for path in [
            "etc/resolv.conf",
            "run/systemd/resolve/resolv.conf",
            "run/NetworkManager/no-stub-resolv.conf",
            "tmp/resolv.conf.d/resolv.conf.auto",
        ] {
            if look.files(&[path], resolv_conf) {
                break;
            }
        }
        look.found
    }

    fn read(&self, path: &str) -> io::Result<String> {
        read_bounded(&self.root.join(path))
    }
}

/// A look at one place after the other.
struct Look<'a> {
    place: &'a Place<'a>,
    found: Resolvers,
}

impl<'a> Look<'a> {
    fn new(place: &'a Place<'a>) -> Self {
        Self {
            place,
            found: Resolvers::default(),
        }
    }

    /// Reads these files. Whether there was any resolver in them.
    fn files(&mut self, paths: &[&str], servers: impl Fn(&str) -> Vec<String>) -> bool {
        for path in paths {
            self.found.looked_at.push(format!("/{path}"));
            if let Ok(text) = self.place.read(path) {
                self.take(servers(&text));
            }
        }
        !self.found.servers.is_empty()
    }

    /// Reads the files of a folder that are about the interface, or all with an ending.
    fn folder(&mut self, path: &str, end: &str, servers: impl Fn(&str) -> Vec<String>) -> bool {
        self.found.looked_at.push(format!("/{path}"));
        for file in self.own_files(path, end) {
            if let Ok(text) = read_bounded(&file) {
                self.take(servers(&text));
            }
        }
        !self.found.servers.is_empty()
    }

    /// In the order of their names: those of DHCP come before those of advertisements.
    fn own_files(&self, path: &str, end: &str) -> Vec<PathBuf> {
        let device = self.place.device;
        let Ok(entries) = fs::read_dir(self.place.root.join(path)) else {
            return Vec::new();
        };
        let is_own = |name: &str| match end {
            "" => name
                .strip_prefix(device)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
            end => name.ends_with(end) || name.ends_with(&format!("{end}s")),
        };
        let files = entries.flatten().map(|e| e.path());
        let mut own: Vec<_> = files
            .filter(|f| f.file_name().and_then(|n| n.to_str()).is_some_and(is_own))
            .collect();
        own.sort();
        own
    }

    fn take(&mut self, words: Vec<String>) {
        for word in words {
            let server = address(&word, self.place.device);
            if let Some(server) = server
                && !self.found.servers.contains(&server)
                && self.found.servers.len() < SERVERS_MAX
            {
                self.found.servers.push(server);
            }
        }
    }
}

/// The address in a word such as `192.0.2.1`, `fe80::1%eth1`, `[2001:db8::1]:53#name`; none where it is
/// on this machine itself, or on another link.
fn address(word: &str, device: &str) -> Option<IpAddr> {
    let word = word.split('#').next()?;
    let word = match word.strip_prefix('[').and_then(|w| w.split_once(']')) {
        Some((inside, _)) => inside,
        None => word,
    };
    let (word, zone) = match word.split_once('%') {
        Some((word, zone)) => (word, Some(zone)),
        None => (word, None),
    };
    if zone.is_some_and(|z| z != device && z.parse::<u32>().is_err()) {
        return None;
    }
    let address: IpAddr = word.parse().ok()?;
    let is_elsewhere =
        !address.is_loopback() && !address.is_unspecified() && !address.is_multicast();
    is_elsewhere.then_some(address)
}

fn read_bounded(path: &Path) -> io::Result<String> {
    use io::{Read as _, Seek as _};
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    if length > FILE_MAX {
        file.seek(io::SeekFrom::Start(length - FILE_MAX))?;
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;

//! Network managers that remove what they did not make, as far as their own files tell.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use uplinkd_config::Diagnostic;
use uplinkd_model::Config;

use super::Problem;

/// What runs in our network namespace, by the names that the kernel keeps of processes.
pub(super) fn running(proc: &Path) -> Vec<String> {
    let namespace = |process: &Path| fs::read_link(process.join("ns/net")).ok();
    let ours = namespace(&proc.join("self"));
    let processes = fs::read_dir(proc).into_iter().flatten().flatten();
    processes
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            name.bytes().all(|b| b.is_ascii_digit())
        })
        .filter_map(|path| {
            let name = fs::read_to_string(path.join("comm")).ok()?;
            // Where we may not look, it could be.
            let is_here = namespace(&path).is_none_or(|n| ours.as_ref() == Some(&n));
            is_here.then(|| name.trim_end().to_owned())
        })
        .collect()
}

/// Settings by section and key, the last one of a key counting.
pub(super) type Settings = BTreeMap<(String, String), String>;

/// Settings of systemd-networkd under which it leaves the objects of others alone. All are on where
/// nothing is said.
const NETWORKD: [(&str, &str); 3] = [
    ("ManageForeignRoutingPolicyRules", "rules"),
    ("ManageForeignRoutes", "routes"),
    (NETWORKD_NEXTHOPS, "nexthops"),
];
/// Of these, the one that only systemd from [`NETWORKD_NEXTHOPS_SINCE`] on knows.
const NETWORKD_NEXTHOPS: &str = "ManageForeignNextHops";
const NETWORKD_NEXTHOPS_SINCE: u32 = 256;
/// Where systemd looks for settings, the most important first.
pub(super) const SYSTEMD: [&str; 4] = [
    "etc/systemd",
    "run/systemd",
    "usr/local/lib/systemd",
    "usr/lib/systemd",
];

/// systemd-networkd removes rules, routes and nexthops that it did not make whenever it sets up an
/// interface anew.
pub(super) fn networkd(found: &mut Vec<Problem>, root: &Path, running: &[String]) {
    // The kernel keeps 15 characters of a name.
    if !running.iter().any(|name| name == "systemd-network") {
        return;
    }
    let settings = systemd_settings(root, "networkd.conf");
    let is_off = |key: &str| {
        let value = settings.get(&("Network".to_owned(), key.to_owned()));
        value
            .is_some_and(|v| ["no", "false", "off", "0"].contains(&v.to_ascii_lowercase().as_str()))
    };
    let old = systemd_version(root).filter(|version| *version < NETWORKD_NEXTHOPS_SINCE);
    let removed: Vec<_> = NETWORKD
        .into_iter()
        .filter(|(key, _)| !is_off(key) && (old.is_none() || *key != NETWORKD_NEXTHOPS))
        .collect();
    if !removed.is_empty() {
        let objects: Vec<_> = removed.iter().map(|(_, objects)| *objects).collect();
        let lines: Vec<_> = removed.iter().map(|(key, _)| format!("{key}=no")).collect();
        let message = format!(
            "systemd-networkd runs and removes {} of others",
            objects.join(", ")
        );
        found.push(Problem::local(Diagnostic::warning(0..0, message).hint(format!(
            "uplinkd puts ours back each time; to stop it, write `[Network]` and below it {} to \
             /etc/systemd/networkd.conf.d/uplinkd.conf and restart systemd-networkd",
            lines.join(", ")
        ))));
    }
    if let Some(version) = old {
        let message = format!(
            "systemd-networkd {version} runs and removes nexthops of others when it sets up an interface"
        );
        found.push(Problem::local(Diagnostic::warning(0..0, message).hint(format!(
            "uplinkd puts ours back each time, and until then the main table decides; there is a \
             setting against it from systemd {NETWORKD_NEXTHOPS_SINCE} on ({NETWORKD_NEXTHOPS}=no)"
        ))));
    }
}

/// The version of systemd, as its library's name tells it.
fn systemd_version(root: &Path) -> Option<u32> {
    let libraries = entries(&root.join("usr/lib")).map(|directory| directory.join("systemd"));
    let places = [root.join("usr/lib/systemd"), root.join("lib/systemd")];
    let mut names = places
        .into_iter()
        .chain(libraries)
        .flat_map(|d| entries(&d));
    names.find_map(|path| {
        let name = path
            .file_name()?
            .to_str()?
            .strip_prefix("libsystemd-shared-")?;
        let digits = name.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    })
}

/// NetworkManager removes routes that it did not make from all tables of a device once it is told to
/// use another table for it.
pub(super) fn network_manager(
    found: &mut Vec<Problem>,
    config: &Config,
    root: &Path,
    running: &[String],
) {
    if !running.iter().any(|name| name == "NetworkManager") {
        return;
    }
    let general = [
        "etc/NetworkManager",
        "run/NetworkManager",
        "usr/lib/NetworkManager",
    ];
    let mut files: Vec<(PathBuf, bool)> = Vec::new();
    for directory in general.map(|d| root.join(d)) {
        files.push((directory.join("NetworkManager.conf"), false));
        files.extend(entries(&directory.join("conf.d")).map(|f| (f, false)));
        files.extend(entries(&directory.join("system-connections")).map(|f| (f, true)));
    }
    for (file, is_connection) in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let mut settings = Settings::new();
        add_settings(&mut settings, &text);
        for family in ["ipv4", "ipv6"] {
            let (section, key) = if is_connection {
                (family, "route-table".to_owned())
            } else {
                ("connection", format!("{family}.route-table"))
            };
            let value = settings.get(&(section.to_owned(), key.clone()));
            let Some(value) = value.filter(|v| v.as_str() != "0") else {
                continue;
            };
            let interface = settings.get(&("connection".to_owned(), "interface-name".to_owned()));
            let concerns_us =
                interface.is_none_or(|i| config.uplinks.iter().any(|u| u.interface == *i));
            if concerns_us {
                found.push(Problem::local(
                    Diagnostic::warning(
                        0..0,
                        format!(
                            "NetworkManager runs and removes our routes because of `{key}={value}` in {}",
                            file.display()
                        ),
                    )
                    .hint(format!(
                        "uplinkd puts them back each time; to stop it, write `{key}=0` below [{section}] there"
                    )),
                ));
            }
        }
    }
}

/// The settings of a service: its file, then its drop-ins by name; of two drop-ins with one name the
/// more important place counts.
fn systemd_settings(root: &Path, file: &str) -> Settings {
    let mut settings = Settings::new();
    let places = SYSTEMD.map(|place| root.join(place));
    if let Some(text) = places
        .iter()
        .find_map(|place| fs::read_to_string(place.join(file)).ok())
    {
        add_settings(&mut settings, &text);
    }
    let mut drop_ins = BTreeMap::new();
    for place in places.iter().rev() {
        let found = entries(&place.join(format!("{file}.d")));
        for path in found.filter(|p| p.extension().is_some_and(|e| e == "conf")) {
            drop_ins.insert(path.file_name().map(ToOwned::to_owned), path);
        }
    }
    for path in drop_ins.values() {
        add_settings(&mut settings, &fs::read_to_string(path).unwrap_or_default());
    }
    settings
}

pub(super) fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let found = fs::read_dir(directory).into_iter().flatten().flatten();
    found.map(|entry| entry.path())
}

/// Adds the settings of a file in the manner of systemd and NetworkManager.
pub(super) fn add_settings(settings: &mut Settings, text: &str) {
    let mut section = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, value)) = line.split_once('=')
            && !line.starts_with(['#', ';'])
        {
            let key = (section.clone(), key.trim().to_owned());
            settings.insert(key, value.trim().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "[Network]\nManageForeignRoutingPolicyRules=";

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn hints(root: &Path) -> Vec<String> {
        let mut found = Vec::new();
        networkd(&mut found, root, &["systemd-network".to_owned()]);
        let hint = |p: Problem| p.diagnostic.hint.unwrap_or_default();
        found.into_iter().map(hint).collect()
    }

    #[test]
    fn networkd_is_named_with_the_very_lines_to_set() {
        let root = tempfile::tempdir().unwrap();
        let all = hints(root.path());
        for (key, _) in NETWORKD {
            assert!(all[0].contains(&format!("{key}=no")), "{all:?}");
        }
        let mut found = Vec::new();
        networkd(&mut found, root.path(), &["systemd-resolve".to_owned()]);
        assert!(found.is_empty(), "it does not run");

        write(
            root.path(),
            "etc/systemd/networkd.conf",
            &format!("{RULES}no\n"),
        );
        let rest = hints(root.path());
        assert!(!rest[0].contains("RoutingPolicyRules"), "{rest:?}");
        write(
            root.path(),
            "usr/lib/systemd/networkd.conf.d/50-foreign.conf",
            "# x=y\n[Network]\nManageForeignRoutes = false\nManageForeignNextHops=off\n",
        );
        assert_eq!(hints(root.path()), Vec::<String>::new());
        // The same name in a more important place hides it.
        write(
            root.path(),
            "etc/systemd/networkd.conf.d/50-foreign.conf",
            "",
        );
        assert_eq!(hints(root.path()).len(), 1);
    }

    #[test]
    fn an_old_networkd_is_not_told_a_setting_that_it_does_not_know() {
        let root = tempfile::tempdir().unwrap();
        let library = "usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so";
        write(root.path(), library, "");
        let both = hints(root.path());
        assert_eq!(both.len(), 2);
        assert!(!both[0].contains(NETWORKD_NEXTHOPS), "{both:?}");
        let off = "[Network]\nManageForeignRoutingPolicyRules=no\nManageForeignRoutes=no\n";
        write(root.path(), "etc/systemd/networkd.conf", off);
        let rest = hints(root.path());
        assert!(rest.len() == 1 && rest[0].contains("256"), "{rest:?}");
        let new = root.path().join(library.replace("252", "257"));
        fs::rename(root.path().join(library), new).unwrap();
        assert!(hints(root.path())[0].contains("ManageForeignNextHops=no"));
    }

    #[test]
    fn network_manager_is_named_where_it_uses_another_table_on_an_uplink() {
        let root = tempfile::tempdir().unwrap();
        let parsed = uplinkd_config::parse("t", "[uplink.isp1]\ninterface = \"wan1\"\n").unwrap();
        let config = parsed.to_config(&Default::default(), &Default::default());
        let connection = |name: &str, interface: &str, table: &str| {
            write(
                root.path(),
                &format!("etc/NetworkManager/system-connections/{name}.nmconnection"),
                &format!(
                    "[connection]\ninterface-name={interface}\n\n[ipv4]\nroute-table={table}\n"
                ),
            );
        };
        connection("a", "wan1", "254");
        connection("b", "other", "254");
        connection("c", "wan1", "0");
        let mut found = Vec::new();
        let running = ["NetworkManager".to_owned()];
        network_manager(&mut found, &config, root.path(), &running);
        assert_eq!(found.len(), 1);
        assert!(found[0].diagnostic.message.contains("a.nmconnection"));
        found.clear();
        network_manager(&mut found, &config, root.path(), &[]);
        assert!(found.is_empty());
    }

    #[test]
    fn what_runs_in_our_namespace_is_seen() {
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        let running = running(Path::new("/proc"));
        assert!(running.iter().any(|n| n == name.trim_end()), "{running:?}");
    }
}

//! What systemd-networkd is told about the very interfaces of uplinks.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use uplinkd_model::{Config, Family, Uplink};

use super::{
    Problem, learns,
    managers::{SYSTEMD, Settings, add_settings, entries},
    misses, warning,
};

/// Settings of an uplink's `.network` file that keep its gateway from us or its address on the
/// interface.
pub(super) fn links(found: &mut Vec<Problem>, config: &Config, root: &Path, running: &[String]) {
    if !running.iter().any(|name| name == "systemd-network") {
        return;
    }
    for uplink in &config.uplinks {
        if let Some((file, settings)) = network_file(root, &uplink.interface) {
            judge(found, uplink, &file, &settings);
        }
    }
}

fn judge(found: &mut Vec<Problem>, uplink: &Uplink, file: &Path, settings: &Settings) {
    let (interface, file) = (&uplink.interface, file.display());
    let value = |section: &str, key: &str| {
        let value = settings.get(&(section.to_owned(), key.to_owned()));
        value.map(|v| v.to_ascii_lowercase())
    };
    let is = |section: &str, key: &str, wanted: &[&str]| {
        value(section, key).is_some_and(|v| wanted.contains(&v.as_str()))
    };
    for (family, section) in [(Family::V4, "DHCPv4"), (Family::V6, "IPv6AcceptRA")] {
        let key = ["UseGateway", "UseRoutes"]
            .into_iter()
            .find(|key| value(section, key).is_some());
        if learns(uplink, family)
            && let Some(key) = key.filter(|key| is(section, key, &NO))
        {
            found.push(warning(
                format!(
                    "systemd-networkd puts no {family} default route for {interface}: `{key}=no` in {file}"
                ),
                format!(
                    "uplinkd learns the gateway from there: write `UseGateway=yes` below [{section}], \
                     or the gateway into uplinkd's file"
                ),
            ));
        }
    }
    if is("Network", "IPv6AcceptRA", &NO) && misses(uplink, Family::V6) {
        found.push(warning(
            format!(
                "systemd-networkd takes no router advertisements on {interface}: `IPv6AcceptRA=no` in {file}"
            ),
            "write `IPv6AcceptRA=yes` below [Network] there".to_owned(),
        ));
    }
    let forwards = ["IPForward", "IPv6Forwarding"]
        .into_iter()
        .find(|key| is("Network", key, &["yes", "true", "on", "1", "ipv6"]));
    if let Some(key) = forwards.filter(|_| value("Network", "IPv6AcceptRA").is_none())
        && learns(uplink, Family::V6)
    {
        found.push(warning(
            format!(
                "systemd-networkd takes no router advertisements on {interface}, since `{key}=` in {file} makes a router of it"
            ),
            "write `IPv6AcceptRA=yes` below [Network] there, if the line has IPv6".to_owned(),
        ));
    }
    let keeps = value("Network", "KeepConfiguration");
    if let Some(kept) = keeps.filter(|v| ["yes", "true", "on", "1", "dhcp"].contains(&v.as_str())) {
        found.push(warning(
            format!(
                "systemd-networkd leaves address and route on {interface} when their lease is over: \
                 `KeepConfiguration={kept}` in {file}"
            ),
            "write `KeepConfiguration=dhcp-on-stop` there; until then only probes notice".to_owned(),
        ));
    }
}

const NO: [&str; 4] = ["no", "false", "off", "0"];

/// The `.network` file that counts for an interface, with its drop-ins: the first by name whose
/// `Name=` fits, of two with one name the one in the more important place. Files that choose
/// interfaces by something else are passed over.
fn network_file(root: &Path, interface: &str) -> Option<(PathBuf, Settings)> {
    let places = SYSTEMD.map(|place| root.join(place).join("network"));
    let mut files = BTreeMap::new();
    for place in places.iter().rev() {
        let networks = entries(place).filter(|p| p.extension().is_some_and(|e| e == "network"));
        for path in networks {
            files.insert(path.file_name()?.to_owned(), path);
        }
    }
    for (name, path) in files {
        let mut settings = Settings::new();
        add_settings(
            &mut settings,
            &fs::read_to_string(&path).unwrap_or_default(),
        );
        let names = settings.get(&("Match".to_owned(), "Name".to_owned()));
        if !names.is_some_and(|names| fits(names, interface)) {
            continue;
        }
        let mut drop_in_name = name;
        drop_in_name.push(".d");
        for place in places.iter().rev() {
            let mut drop_ins: Vec<_> = entries(&place.join(&drop_in_name)).collect();
            drop_ins.sort();
            for drop_in in drop_ins {
                let text = fs::read_to_string(drop_in).unwrap_or_default();
                add_settings(&mut settings, &text);
            }
        }
        return Some((path, settings));
    }
    None
}

/// Whether a list of patterns takes a name; one that begins with `!` takes what none of them takes.
fn fits(patterns: &str, name: &str) -> bool {
    let (inverted, patterns) = match patterns.trim().strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, patterns),
    };
    let any = patterns
        .split_whitespace()
        .any(|p| matches(p.as_bytes(), name.as_bytes()));
    any != inverted
}

/// `*` stands for any run of characters and `?` for any one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|n| matches(rest, &name[n..])),
        ([b'?', rest @ ..], [_, after @ ..]) => matches(rest, after),
        ([p, rest @ ..], [n, after @ ..]) => p == n && matches(rest, after),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};

    fn said(file: &str, network: &str) -> Vec<(String, String)> {
        let root = tempfile::tempdir().unwrap();
        fixtures::write(root.path(), "etc/systemd/network/10-wan.network", network);
        let mut found = Vec::new();
        let running = ["systemd-network".to_owned()];
        links(&mut found, &fixtures::config(file), root.path(), &running);
        let mut nothing = Vec::new();
        links(&mut nothing, &fixtures::config(file), root.path(), &[]);
        assert!(nothing.is_empty(), "it does not run");
        fixtures::texts(found)
    }

    const AUTO: &str = "[uplink.isp1]\ninterface = \"wan1\"\n";
    const WAN: &str = "[Match]\nName=wan*\n";

    #[test]
    fn a_gateway_that_is_not_put_is_named_with_the_line_that_would_put_it() {
        let found = said(AUTO, &format!("{WAN}[DHCPv4]\nUseGateway=no\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0]
                .0
                .contains("IPv4 default route for wan1: `UseGateway=no`")
        );
        assert!(found[0].1.contains("`UseGateway=yes` below [DHCPv4]"));
        let by_routes = said(AUTO, &format!("{WAN}[DHCPv4]\nUseRoutes=False\n"));
        assert!(by_routes[0].0.contains("UseRoutes=no"), "{by_routes:?}");
        let v6 = said(AUTO, &format!("{WAN}[IPv6AcceptRA]\nUseGateway=off\n"));
        assert!(v6[0].1.contains("[IPv6AcceptRA]"), "{v6:?}");
        // The near misses: the gateway is put all the same, or nobody learns it, or it is not ours.
        let put = format!("{WAN}[DHCPv4]\nUseRoutes=no\nUseGateway=yes\n");
        assert_eq!(said(AUTO, &put), []);
        let fixed = format!("{AUTO}[uplink.isp1.ipv4]\ngateway = \"192.0.2.1\"\n");
        assert_eq!(said(&fixed, &format!("{WAN}[DHCPv4]\nUseGateway=no\n")), []);
        let other = "[Match]\nName=lan* !wan1\n[DHCPv4]\nUseGateway=no\n";
        assert_eq!(said(AUTO, other), []);
    }

    #[test]
    fn advertisements_that_are_refused_are_named_where_somebody_waits_for_them() {
        let waits = format!("{AUTO}[uplink.isp1.ipv6]\ngateway = \"auto\"\n");
        let off = format!("{WAN}[Network]\nIPv6AcceptRA=no\n");
        assert!(said(&waits, &off)[0].1.contains("IPv6AcceptRA=yes"));
        assert_eq!(said(AUTO, &off), [], "nobody said that there is IPv6");
        let router = format!("{WAN}[Network]\nIPForward=yes\n");
        assert!(said(AUTO, &router)[0].0.contains("`IPForward=`"));
        let told = format!("{WAN}[Network]\nIPForward=yes\nIPv6AcceptRA=yes\n");
        assert_eq!(said(AUTO, &told), []);
        assert_eq!(said(AUTO, &format!("{WAN}[Network]\nIPForward=ipv4\n")), []);
    }

    #[test]
    fn an_address_that_outlives_its_lease_is_named() {
        for (kept, is_named) in [
            ("yes", true),
            ("dhcp", true),
            ("dhcp-on-stop", false),
            ("static", false),
            ("no", false),
        ] {
            let found = said(AUTO, &format!("{WAN}[Network]\nKeepConfiguration={kept}\n"));
            assert_eq!(!found.is_empty(), is_named, "{kept}");
        }
    }

    #[test]
    fn the_file_that_counts_is_the_first_that_fits_with_its_drop_ins() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| fixtures::write(root.path(), path, text);
        write(
            "usr/lib/systemd/network/10-a.network",
            "[Match]\nName=wan1\n",
        );
        write("etc/systemd/network/05-b.network", "[Match]\nName=wan2\n");
        write("etc/systemd/network/20-c.network", "[Match]\nName=*\n");
        write(
            "run/systemd/network/10-a.network.d/x.conf",
            "[DHCPv4]\nUseGateway=no\n",
        );
        let (file, settings) = network_file(root.path(), "wan1").unwrap();
        assert!(file.ends_with("usr/lib/systemd/network/10-a.network"));
        assert_eq!(
            settings[&("DHCPv4".to_owned(), "UseGateway".to_owned())],
            "no"
        );
        let other = network_file(root.path(), "eth0").unwrap().0;
        assert!(other.ends_with("20-c.network"));
    }

    #[test]
    fn patterns_take_what_systemd_takes() {
        for (patterns, name) in [
            ("wan?", "wan1"),
            ("a* w*1", "wan1"),
            ("!lan0", "wan1"),
            ("*", "x"),
        ] {
            assert!(fits(patterns, name), "{patterns}");
        }
        for (patterns, name) in [
            ("wan", "wan1"),
            ("!wan*", "wan1"),
            ("wan?", "wan10"),
            ("", "x"),
        ] {
            assert!(!fits(patterns, name), "{patterns}");
        }
    }
}

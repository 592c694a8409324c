//! NetworkManager's profiles of uplinks.

use std::{fs, path::Path};

use uplinkd_model::{Config, Family};

use super::{
    Problem, learns,
    managers::{Settings, add_settings, entries},
    misses, warning,
};

/// Where profiles are.
const PLACES: [&str; 3] = [
    "etc/NetworkManager/system-connections",
    "run/NetworkManager/system-connections",
    "usr/lib/NetworkManager/system-connections",
];

/// Settings of an uplink's profile that keep its gateway or its address from us.
pub(super) fn profiles(found: &mut Vec<Problem>, config: &Config, root: &Path, running: &[String]) {
    if !running.iter().any(|name| name == "NetworkManager") {
        return;
    }
    let mut files: Vec<_> = PLACES.iter().flat_map(|p| entries(&root.join(p))).collect();
    files.sort();
    for file in files {
        let mut settings = Settings::new();
        add_settings(
            &mut settings,
            &fs::read_to_string(&file).unwrap_or_default(),
        );
        judge(found, config, &file, &settings);
    }
}

fn judge(found: &mut Vec<Problem>, config: &Config, file: &Path, settings: &Settings) {
    let value = |section: &str, key: &str| {
        let value = settings.get(&(section.to_owned(), key.to_owned()));
        value.map(String::as_str)
    };
    let interface = value("connection", "interface-name");
    let uplink = config
        .uplinks
        .iter()
        .find(|u| Some(u.interface.as_str()) == interface);
    let Some(uplink) = uplink else {
        return;
    };
    let (interface, file) = (&uplink.interface, file.display());
    for (family, section) in [(Family::V4, "ipv4"), (Family::V6, "ipv6")] {
        if value(section, "never-default") == Some("true") && learns(uplink, family) {
            found.push(warning(
                format!(
                    "NetworkManager puts no {family} default route for {interface}: \
                     `never-default=true` in {file}"
                ),
                format!(
                    "uplinkd learns the gateway from there: write `never-default=false` below \
                     [{section}] (`route-metric=` keeps it behind others), or the gateway into \
                     uplinkd's file"
                ),
            ));
        }
        let method = value(section, "method").filter(|m| ["ignore", "disabled"].contains(m));
        if let Some(method) = method
            && misses(uplink, family)
        {
            found.push(warning(
                format!("NetworkManager leaves {interface} without {family}: `method={method}` in {file}"),
                format!("write `method=auto` below [{section}] there"),
            ));
        }
    }
    if value("connection", "autoconnect") == Some("false") {
        found.push(warning(
            format!(
                "NetworkManager does not bring {interface} up by itself: `autoconnect=false` in {file}"
            ),
            "write `autoconnect=true` below [connection] there; after a loss of carrier the line \
             stays without address otherwise"
                .to_owned(),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};

    fn said(file: &str, profile: &str) -> Vec<(String, String)> {
        let root = tempfile::tempdir().unwrap();
        fixtures::write(
            root.path(),
            &format!("{}/a.nmconnection", PLACES[0]),
            profile,
        );
        let config = fixtures::config(file);
        let mut found = Vec::new();
        profiles(&mut found, &config, root.path(), &[]);
        assert!(found.is_empty(), "it does not run");
        profiles(
            &mut found,
            &config,
            root.path(),
            &["NetworkManager".to_owned()],
        );
        fixtures::texts(found)
    }

    const AUTO: &str = "[uplink.isp1]\ninterface = \"wan1\"\n";
    const WAN: &str = "[connection]\ninterface-name=wan1\n";

    #[test]
    fn a_default_route_that_is_never_put_is_named() {
        let never = format!("{WAN}[ipv4]\nmethod=auto\nnever-default=true\n");
        let found = said(AUTO, &never);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].0.contains("IPv4") && found[0].0.contains("a.nmconnection"));
        assert!(found[0].1.contains("`never-default=false` below [ipv4]"));
        let v6 = said(AUTO, &never.replace("ipv4", "ipv6"));
        assert!(v6[0].1.contains("[ipv6]"), "{v6:?}");
        let fixed = format!("{AUTO}[uplink.isp1.ipv4]\ngateway = \"192.0.2.1\"\n");
        assert_eq!(said(&fixed, &never), []);
        assert_eq!(said(AUTO, &never.replace("wan1", "wan2")), []);
        assert_eq!(said(AUTO, &never.replace("=true", "=false")), []);
        let capitals = |text: &str| text.replace("wan1", "enP2p1");
        assert_eq!(said(&capitals(AUTO), &capitals(&never)).len(), 1);
    }

    #[test]
    fn a_line_that_stays_down_and_a_family_that_is_left_out_are_named() {
        let manual = format!("{WAN}autoconnect=false\n");
        assert!(said(AUTO, &manual)[0].1.contains("autoconnect=true"));
        let no_v6 = format!("{WAN}[ipv6]\nmethod=ignore\n");
        let waits = format!("{AUTO}[uplink.isp1.ipv6]\ngateway = \"auto\"\n");
        assert!(said(&waits, &no_v6)[0].0.contains("without IPv6"));
        assert_eq!(said(AUTO, &no_v6), []);
    }
}

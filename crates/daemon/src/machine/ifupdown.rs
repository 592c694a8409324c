//! Debian's `/etc/network/interfaces`: gateways that are missing or in each other's way.

use std::{collections::BTreeMap, fs, path::Path};

use uplinkd_model::{Config, Family, Uplink};

use super::{Problem, learns, managers::entries, warning};

/// One `iface` paragraph.
#[derive(Debug)]
struct Stanza {
    interface: String,
    family: Family,
    method: String,
    /// Its options in order; one may come more than once.
    options: Vec<(String, String)>,
}

impl Stanza {
    fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.options.iter().filter(|(n, _)| n == name);
        options.next().map(|(_, value)| value.as_str())
    }

    /// Whether it has the machine's default route put, by itself or by a command of its own.
    fn puts_default(&self) -> bool {
        let by_command = |(name, value): &(String, String)| {
            ["up", "post-up"].contains(&name.as_str()) && value.contains("default")
        };
        self.method == "dhcp"
            || self.option("gateway").is_some()
            || self.options.iter().any(by_command)
    }
}

/// What its file says about uplinks.
pub(super) fn ifupdown(found: &mut Vec<Problem>, config: &Config, root: &Path) {
    let main = root.join("etc/network/interfaces");
    let mut files: Vec<_> = entries(&root.join("etc/network/interfaces.d")).collect();
    files.sort();
    files.insert(0, main);
    let texts = files.iter().filter_map(|f| fs::read_to_string(f).ok());
    let stanzas: Vec<_> = texts.flat_map(|text| parse(&text)).collect();
    let of_uplink = |s: &&Stanza| -> Option<&Uplink> {
        config.uplinks.iter().find(|u| u.interface == s.interface)
    };
    let mut metrics: BTreeMap<(Family, &str), &str> = BTreeMap::new();
    for stanza in &stanzas {
        let Some(uplink) = of_uplink(&stanza).filter(|u| learns(u, stanza.family)) else {
            continue;
        };
        let (interface, family) = (stanza.interface.as_str(), stanza.family);
        let word = if family == Family::V4 {
            "inet"
        } else {
            "inet6"
        };
        if stanza.method == "static" && !stanza.puts_default() {
            if family == Family::V4 {
                found.push(warning(
                    format!("ifupdown puts no default route for {interface}: `iface {interface} {word} static` has no `gateway`"),
                    format!(
                        "uplinkd learns the gateway from there: write `gateway ADDRESS` there, or \
                         `gateway = \"ADDRESS\"` below [uplink.{}.ipv4]",
                        uplink.name
                    ),
                ));
            }
        } else if stanza.puts_default() && family == Family::V4 {
            let metric = stanza.option("metric").unwrap_or("0");
            match metrics.insert((family, metric), interface) {
                Some(first) if first != interface => found.push(warning(
                    format!("ifupdown puts the default routes of {first} and {interface} with one metric, of which the kernel refuses the second"),
                    format!("write `metric 200` below `iface {interface} {word} {}`", stanza.method),
                )),
                _ => {}
            }
        }
        if stanza.option("accept_ra") == Some("1") {
            found.push(warning(
                format!("ifupdown sets accept_ra of {interface} to 1, with which a router takes no router advertisements"),
                format!("write `accept_ra 2` below `iface {interface} inet6 {}`", stanza.method),
            ));
        }
    }
}

/// The `iface` paragraphs of a file. Lines that end with a backslash go on.
fn parse(text: &str) -> Vec<Stanza> {
    let text = text.replace("\\\n", " ");
    let mut stanzas: Vec<Stanza> = Vec::new();
    let mut is_inside = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let begins_another = word.starts_with("auto")
            || word.starts_with("allow-")
            || word.starts_with("source")
            || ["mapping", "rename", "no-auto-down", "no-scripts"].contains(&word);
        if word == "iface" {
            let mut words = rest.split_whitespace().map(str::to_owned);
            is_inside = false;
            let (Some(interface), Some(family), Some(method)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let family = match family.as_str() {
                "inet" => Family::V4,
                "inet6" => Family::V6,
                _ => continue,
            };
            is_inside = true;
            stanzas.push(Stanza {
                interface,
                family,
                method,
                options: Vec::new(),
            });
        } else if begins_another {
            is_inside = false;
        } else if let Some(stanza) = stanzas.last_mut().filter(|_| is_inside) {
            stanza
                .options
                .push((word.to_owned(), rest.trim().to_owned()));
        }
    }
    stanzas
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};

    const AUTO: &str = "[uplink.isp1]\ninterface = \"wan1\"\n[uplink.isp2]\ninterface = \"wan2\"\n";

    fn said(text: &str) -> Vec<(String, String)> {
        let root = tempfile::tempdir().unwrap();
        fixtures::write(root.path(), "etc/network/interfaces", text);
        let mut found = Vec::new();
        ifupdown(&mut found, &fixtures::config(AUTO), root.path());
        fixtures::texts(found)
    }

    #[test]
    fn a_static_line_without_gateway_is_named() {
        let file = "auto wan1\niface wan1 inet static\n  address 192.0.2.2/24\n";
        let found = said(file);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].1.contains("`gateway ADDRESS`") && found[0].1.contains("uplink.isp1"));
        for way in [
            "  gateway 192.0.2.1\n",
            "  up ip route add default via 192.0.2.1\n",
            "  post-up ip route \\\n    replace default via 192.0.2.1\n",
        ] {
            assert_eq!(said(&format!("{file}{way}")), [], "{way}");
        }
        // The option of another paragraph does not count, and another interface does not either.
        let other = format!("{file}auto eth5\niface eth5 inet static\n  gateway 192.0.2.1\n");
        assert_eq!(said(&other).len(), 1);
        assert_eq!(said(&file.replace("wan1", "eth5")), []);
    }

    #[test]
    fn two_default_routes_with_one_metric_are_named() {
        let both = "iface wan1 inet dhcp\n  metric 100\niface wan2 inet dhcp\n  metric 100\n";
        let found = said(both);
        assert!(found[0].0.contains("of wan1 and wan2"), "{found:?}");
        assert!(
            found[0]
                .1
                .contains("`metric 200` below `iface wan2 inet dhcp`")
        );
        assert_eq!(
            said("iface wan1 inet dhcp\niface wan2 inet dhcp\n").len(),
            1
        );
        assert_eq!(
            said("iface wan1 inet dhcp\niface wan2 inet dhcp\nmetric 5\n"),
            []
        );
        assert_eq!(said("iface wan1 inet dhcp\niface eth5 inet dhcp\n"), []);
        assert_eq!(said("iface wan1 inet dhcp\niface wan2 inet6 auto\n"), []);
    }

    #[test]
    fn advertisements_that_a_router_would_not_take_are_named() {
        let found = said("iface wan1 inet6 auto\n  accept_ra 1\n");
        assert!(
            found[0]
                .1
                .contains("`accept_ra 2` below `iface wan1 inet6 auto`")
        );
        assert_eq!(said("iface wan1 inet6 auto\n  accept_ra 2\n"), []);
        assert_eq!(said("iface wan1 inet6 auto\n"), [], "2 is its default");
    }
}

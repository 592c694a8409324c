//! Switches of the kernel that keep IPv6 from an uplink which the file says to have it.

use uplinkd_model::{Config, Family, Uplink};

use super::{Problem, learns, misses, warning};

/// Programs that take router advertisements themselves and switch the kernel's own off.
const TAKERS: [&str; 3] = ["systemd-network", "NetworkManager", "dhcpcd"];

/// Looks at the switches of each uplink; `read` gives the value of a sysctl by its path.
pub(super) fn advertisements(
    found: &mut Vec<Problem>,
    config: &Config,
    running: &[String],
    read: impl Fn(&str) -> Option<String>,
) {
    let is_taken = running.iter().any(|name| TAKERS.contains(&name.as_str()));
    for uplink in &config.uplinks {
        judge(found, uplink, is_taken, &read);
    }
}

fn judge(
    found: &mut Vec<Problem>,
    uplink: &Uplink,
    is_taken: bool,
    read: &impl Fn(&str) -> Option<String>,
) {
    let interface = &uplink.interface;
    let is = |key: &str, value: &str| {
        read(&format!("net/ipv6/conf/{interface}/{key}")).is_some_and(|v| v == value)
    };
    // `accept_ra=1` needs no word: on a router it has no effect, so `run` makes it 2.
    let named = |key: &str, value: &str| {
        format!(
            "net.ipv6.conf.{}.{key} is {value}",
            interface.replace('.', "/")
        )
    };
    let hint = |key: &str, value: &str| {
        format!(
            "write `{}` to /etc/sysctl.d/uplinkd.conf, then `sysctl --system`",
            named(key, value).replace(" is ", " = ")
        )
    };
    if is("disable_ipv6", "1") {
        if misses(uplink, Family::V6) {
            let message = format!("{interface} has no IPv6: {}", named("disable_ipv6", "1"));
            found.push(warning(message, hint("disable_ipv6", "0")));
        }
        return;
    }
    if is_taken || !learns(uplink, Family::V6) {
        return;
    }
    if is("accept_ra", "0") {
        if misses(uplink, Family::V6) {
            let message = format!(
                "the kernel takes no router advertisements on {interface}: {}",
                named("accept_ra", "0")
            );
            found.push(warning(message, hint("accept_ra", "2")));
        }
    } else if is("accept_ra_defrtr", "0") {
        let message = format!(
            "the kernel takes no default route from router advertisements on {interface}: {}",
            named("accept_ra_defrtr", "0")
        );
        found.push(warning(message, hint("accept_ra_defrtr", "1")));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};

    const AUTO: &str = "[uplink.isp1]\ninterface = \"eth0.7\"\n";
    const WAITS: &str =
        "[uplink.isp1]\ninterface = \"eth0.7\"\n[uplink.isp1.ipv6]\ngateway = \"auto\"\n";

    fn said(file: &str, running: &[&str], values: &[(&str, &str)]) -> Vec<(String, String)> {
        let running: Vec<_> = running.iter().map(|r| (*r).to_owned()).collect();
        let read = |path: &str| {
            let key = path.strip_prefix("net/ipv6/conf/eth0.7/")?;
            let value = values.iter().find(|(k, _)| *k == key)?;
            Some(value.1.to_owned())
        };
        let mut found = Vec::new();
        advertisements(&mut found, &fixtures::config(file), &running, read);
        fixtures::texts(found)
    }

    #[test]
    fn refused_advertisements_are_named_where_they_are_waited_for() {
        let found = said(WAITS, &[], &[("accept_ra", "0")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].1.contains("`net.ipv6.conf.eth0/7.accept_ra = 2`"),
            "{found:?}"
        );
        assert_eq!(said(AUTO, &[], &[("accept_ra", "0")]), []);
        assert_eq!(said(WAITS, &["systemd-network"], &[("accept_ra", "0")]), []);
        assert_eq!(
            said(WAITS, &[], &[("accept_ra", "1")]),
            [],
            "we set it to 2"
        );
    }

    #[test]
    fn advertisements_without_their_default_route_are_named() {
        let values = [("accept_ra", "2"), ("accept_ra_defrtr", "0")];
        assert!(
            said(AUTO, &[], &values)[0]
                .1
                .contains("accept_ra_defrtr = 1")
        );
        let fixed = WAITS.replace("auto", "fe80::1");
        assert_eq!(said(&fixed, &[], &values), []);
    }

    #[test]
    fn ipv6_that_is_switched_off_is_named_once() {
        let values = [("disable_ipv6", "1"), ("accept_ra", "0")];
        let found = said(WAITS, &[], &values);
        assert!(
            found.len() == 1 && found[0].1.contains("disable_ipv6 = 0"),
            "{found:?}"
        );
        assert_eq!(said(AUTO, &[], &values), []);
    }
}

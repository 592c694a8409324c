//! DHCP clients with files of their own, and pppd: whether they put the default route that an
//! uplink's gateway is learned from.

use std::{fs, path::Path};

use uplinkd_model::{Config, Family, Uplink};

use super::{Problem, learns, managers::entries, misses, warning};

/// dhcpcd's `nogateway`, for all interfaces or for an uplink's, and its silence about IPv6.
pub(super) fn dhcpcd(found: &mut Vec<Problem>, config: &Config, root: &Path, running: &[String]) {
    if !running.iter().any(|name| name == "dhcpcd") {
        return;
    }
    let file = root.join("etc/dhcpcd.conf");
    let text = fs::read_to_string(&file).unwrap_or_default();
    for uplink in &config.uplinks {
        let interface = &uplink.interface;
        let options = dhcpcd_options(&text, interface);
        let has = |option: &str| options.contains(&option);
        if has("nogateway") && (learns(uplink, Family::V4) || learns(uplink, Family::V6)) {
            found.push(warning(
                format!(
                    "dhcpcd puts no default route for {interface}: `nogateway` in {}",
                    file.display()
                ),
                "uplinkd learns the gateway from there: remove that line (`metric N` below \
                 `interface` keeps the order of lines)"
                    .to_owned(),
            ));
        }
        let silent = ["noipv6", "noipv6rs", "ipv4only"]
            .into_iter()
            .find(|o| has(o));
        if let Some(option) = silent
            && misses(uplink, Family::V6)
        {
            found.push(warning(
                format!(
                    "dhcpcd takes no router advertisements on {interface}: `{option}` in {}",
                    file.display()
                ),
                format!("remove that line, or write `ipv6rs` below `interface {interface}`"),
            ));
        }
    }
}

/// The options that count for an interface: those before the first block, and those of its own.
fn dhcpcd_options<'a>(text: &'a str, interface: &str) -> Vec<&'a str> {
    let mut options = Vec::new();
    let mut is_ours = true;
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("interface"), name) => is_ours = name == Some(interface),
            (Some("ssid" | "profile"), _) => is_ours = false,
            (Some(option), _) if is_ours => options.push(option),
            _ => {}
        }
    }
    options
}

/// A `request` of dhclient that leaves the gateway out.
pub(super) fn dhclient(found: &mut Vec<Problem>, config: &Config, root: &Path, running: &[String]) {
    if !running.iter().any(|name| name == "dhclient") {
        return;
    }
    let places = ["etc/dhcp/dhclient.conf", "etc/dhclient.conf"].map(|p| root.join(p));
    let read = |file: &Path| fs::read_to_string(file).ok();
    let Some((file, text)) = places.iter().find_map(|f| Some((f, read(f)?))) else {
        return;
    };
    let uplinks = config.uplinks.iter().filter(|u| learns(u, Family::V4));
    for uplink in uplinks.filter(|u| !asks_for_routers(&text, &u.interface)) {
        found.push(warning(
            format!(
                "dhclient does not ask for the gateway of {}: `request` in {} has no `routers`",
                uplink.interface,
                file.display()
            ),
            "uplinkd learns the gateway from the default route: add `routers` to that `request`"
                .to_owned(),
        ));
    }
}

/// Whether the `request` that counts for an interface, its own block's before the general one, has
/// the gateway in it. Without any, dhclient asks for it by itself.
fn asks_for_routers(text: &str, interface: &str) -> bool {
    let lines = text
        .lines()
        .map(|l| l.split('#').next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join(" ");
    let block = text
        .split("interface")
        .skip(1)
        .filter_map(|rest| rest.split_once('{'))
        .find(|(name, _)| name.trim().trim_matches('"') == interface)
        .and_then(|(_, rest)| rest.split('}').next());
    let general = text.split("interface").next();
    let request = [block, general].into_iter().flatten().find_map(|part| {
        let mut statements = part.split(';').map(str::trim);
        statements.find_map(|s| s.strip_prefix("request ").map(str::to_owned))
    });
    request.is_none_or(|r| r.split(',').any(|option| option.trim() == "routers"))
}

/// pppd's peers that put no default route, or take that of others away.
pub(super) fn pppd(found: &mut Vec<Problem>, config: &Config, root: &Path) {
    let general = fs::read_to_string(root.join("etc/ppp/options")).unwrap_or_default();
    let mut files: Vec<_> = entries(&root.join("etc/ppp/peers")).collect();
    files.sort();
    for file in files {
        let Ok(own) = fs::read_to_string(&file) else {
            continue;
        };
        let text = format!("{general}\n{own}");
        let words = ppp_words(&text);
        let has = |word: &str| words.iter().any(|line| line.first() == Some(&word));
        let uplink = config.uplinks.iter().find(|u| is_peer_of(&words, u));
        let shown = file.display();
        // Of an uplink, or of a line beside them: the others lose their route all the same.
        if has("replacedefaultroute") && config.uplinks.iter().any(|u| Some(u) != uplink) {
            found.push(warning(
                format!(
                    "pppd takes away the default route of others: `replacedefaultroute` in {shown}"
                ),
                "uplinkd learns their gateway from it: write `defaultroute` and \
                 `defaultroute-metric 100` instead"
                    .to_owned(),
            ));
        }
        let Some(uplink) = uplink.filter(|u| learns(u, Family::V4)) else {
            continue;
        };
        if has("nodefaultroute") || !(has("defaultroute") || has("replacedefaultroute")) {
            found.push(warning(
                format!(
                    "pppd puts no default route for {}: {shown} has {}",
                    uplink.interface,
                    if has("nodefaultroute") {
                        "`nodefaultroute`"
                    } else {
                        "no `defaultroute`"
                    }
                ),
                "uplinkd learns from it that the line leads out: write `defaultroute` there \
                 (`defaultroute-metric N` keeps it behind others)"
                    .to_owned(),
            ));
        }
    }
}

/// The words of each line, without comments.
fn ppp_words(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|l| l.split('#').next().unwrap_or_default())
        .map(|l| l.split_whitespace().collect())
        .collect()
}

/// Whether a peer's interface is an uplink's: by the name or number that it asks for, or, where it
/// asks for none, any of the names that the kernel gives.
fn is_peer_of(words: &[Vec<&str>], uplink: &Uplink) -> bool {
    let argument = |word: &str| {
        let line = words
            .iter()
            .rev()
            .find(|line| line.first() == Some(&word))?;
        line.get(1).copied()
    };
    match (argument("ifname"), argument("unit")) {
        (Some(name), _) => name == uplink.interface,
        (None, Some(number)) => format!("ppp{number}") == uplink.interface,
        (None, None) => {
            let number = uplink.interface.strip_prefix("ppp").unwrap_or("-");
            number.bytes().all(|b| b.is_ascii_digit())
        }
    }
}

#[cfg(test)]
mod tests;

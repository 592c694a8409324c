//! What the files say that clients and managers leave.

/// `nameserver` lines.
pub(super) fn resolv_conf(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::split_whitespace);
    lines
        .filter_map(|mut words| (words.next() == Some("nameserver")).then(|| words.next())?)
        .map(str::to_owned)
        .collect()
}

/// The words behind `KEY=`.
pub(super) fn named(text: &str, key: &str) -> Vec<String> {
    let values = text
        .lines()
        .filter_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    let words = values.flat_map(str::split_whitespace);
    words.map(str::to_owned).collect()
}

/// The resolvers of an interface's newest lease of dhclient, of each family.
pub(super) fn leases(text: &str, device: &str) -> Vec<String> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    // Each lease is `lease { … }` or `lease6 { … }`, the newest last.
    let blocks = text.split("\nlease").map(str::trim_start);
    for block in blocks {
        let mut is_own = false;
        for statement in block.split([';', '{', '}']).map(str::trim) {
            if let Some(name) = statement.strip_prefix("interface ") {
                is_own = name.trim_matches('"') == device;
            }
            let of = |option: &str| {
                let list = statement.strip_prefix(option)?.split(',');
                Some(list.map(|s| s.trim().to_owned()).collect())
            };
            if let Some(list) = of("option domain-name-servers ").filter(|_| is_own) {
                v4 = list;
            }
            if let Some(list) = of("option dhcp6.name-servers ").filter(|_| is_own) {
                v6 = list;
            }
        }
    }
    v4.into_iter().chain(v6).collect()
}

/// The names under which netifd knows a device: those of `config interface` with it as their `device`.
pub(super) fn openwrt_names(network: &str, device: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut current = None;
    for line in network.lines() {
        let mut words = line.split_whitespace().map(|w| w.trim_matches(['\'', '"']));
        match (words.next(), words.next(), words.next()) {
            (Some("config"), Some("interface"), name) => {
                current = name.map(str::to_owned);
                // Tunnels are named after the protocol and the interface.
                let is_tunnel = |n: &&str| {
                    let rest = device.strip_suffix(n).and_then(|r| r.strip_suffix('-'));
                    rest.is_some_and(|r| !r.is_empty() && !r.contains('-'))
                };
                names.extend(name.filter(is_tunnel).map(str::to_owned));
            }
            (Some("config"), ..) => current = None,
            (Some("option"), Some("device" | "ifname"), Some(of)) if of == device => {
                names.extend(current.clone());
            }
            _ => {}
        }
    }
    names
}

/// The parts of netifd's `resolv.conf.auto`, each after a line `# Interface NAME`.
pub(super) fn sections(text: &str) -> impl Iterator<Item = (String, String)> {
    let mut sections: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("# Interface ") {
            Some(name) => sections.push((name.trim().to_owned(), String::new())),
            None => {
                if let Some((_, text)) = sections.last_mut() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }
    sections.into_iter()
}

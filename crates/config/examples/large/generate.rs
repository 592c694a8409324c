//! A file as large as they get.

use std::fmt::Write as _;

use uplinkd_config::Sources;

/// A configuration, and the files that it names.
pub(crate) struct Large {
    /// The configuration.
    pub(crate) text: String,
    /// The files.
    pub(crate) sources: Sources,
}

/// So many policies of all common kinds, one of them with so many prefixes in the text and one with
/// as many in a file.
pub(crate) fn large(policies: u32, prefixes: u32) -> Large {
    let mut text = String::from(
        "uplink.isp1.interface = \"eth1\"\nuplink.isp2.interface = \"eth2\"\n\
         [group.calls]\ntiers = [[\"isp1\"], [\"isp2\"]]\n",
    );
    for index in 0..policies {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + index);
        let condition = match index % 5 {
            0 => format!("source = \"{address}\""),
            1 => format!("destination = [\"{address}/32\", \"2001:db8::{index:x}\"]"),
            2 => format!("protocol = \"tcp\", dport = {}", index + 1),
            3 => format!("source = \"{address}\", protocol = \"udp\", dport = \"5060-5061\""),
            _ => format!("source = \"{address}-{address}\", not = {{ dport = 443 }}"),
        };
        let condition = match index {
            7 => format!("destination = [{}]", prefix_list(prefixes)),
            8 => "destination = { file = \"nets.txt\" }".to_owned(),
            _ => condition,
        };
        let lead = ["calls", "isp1", "isp2", "block", "main"][(index % 5) as usize];
        // Writing to a String never fails.
        let _ = write!(
            text,
            "[[policy]]\nname = \"p{index}\"\nmatch = {{ {condition} }}\nuse = \"{lead}\"\n"
        );
    }
    let nets = (0..prefixes).map(|i| format!("{}\n", prefix(i))).collect();
    let mut sources = Sources::default();
    sources.files.insert("nets.txt".to_owned(), Ok(nets));
    Large { text, sources }
}

fn prefix_list(prefixes: u32) -> String {
    let prefixes: Vec<_> = (0..prefixes)
        .map(|i| format!("\"{}\"", prefix(i)))
        .collect();
    prefixes.join(", ")
}

/// Prefixes that do not touch each other.
fn prefix(index: u32) -> String {
    format!("{}/25", std::net::Ipv4Addr::from(0x6400_0000 + index * 256))
}

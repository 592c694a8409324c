//! The file as its users meet it: what is accepted, what is refused, and in which words.
#![expect(
    clippy::unwrap_used,
    reason = "clippy allows it in tests, but not in their helpers"
)]

mod accepted;
mod agreement;
mod api;
mod budgets;
mod conditions;
mod groups;
mod keys;
mod lists;
mod meaning;
mod notify;
mod outlets;
mod patched;
mod policies;
mod prefixes;
mod probe;
mod properties;
mod reserve;
mod scale;
mod syntax;
mod targets;
mod uplinks;

/// What a user sees of a text: its mistakes, or its warnings.
fn shown(text: &str) -> String {
    match uplinkd_config::parse("u.toml", text) {
        Ok(parsed) => uplinkd_config::render(parsed.warnings(), "u.toml", text, false),
        Err(found) => uplinkd_config::render(&found, "u.toml", text, false),
    }
}

/// The same for a text that names other files and accounts.
fn shown_with(text: &str, sources: &uplinkd_config::Sources) -> String {
    let found = match uplinkd_config::read("conf/u.toml", text).check(sources) {
        Ok(parsed) => parsed.warnings().to_vec(),
        Err(found) => found,
    };
    uplinkd_config::render(&found, "conf/u.toml", text, false)
}

/// Two uplinks, and whatever a test adds to them.
fn with_two(rest: &str) -> String {
    format!("uplink.isp1.interface = \"eth1\"\nuplink.isp2.interface = \"eth2\"\n{rest}")
}

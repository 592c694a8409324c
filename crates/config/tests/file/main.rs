//! The file as its users meet it: what is accepted, what is refused, and in which words.
#![expect(
    clippy::unwrap_used,
    reason = "clippy allows it in tests, but not in their helpers"
)]

mod accepted;
mod agreement;
mod keys;
mod probe;
mod properties;
mod reserve;
mod syntax;
mod uplinks;

/// What a user sees of a text: its mistakes, or its warnings.
fn shown(text: &str) -> String {
    match uplinkd_config::parse("u.toml", text) {
        Ok(parsed) => uplinkd_config::render(parsed.warnings(), "u.toml", text, false),
        Err(found) => uplinkd_config::render(&found, "u.toml", text, false),
    }
}

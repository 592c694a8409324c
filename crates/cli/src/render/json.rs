//! JSON for scripts: what the daemon said, field for field.

use serde::Serialize;

/// Over several lines.
pub(crate) fn pretty(value: &impl Serialize) -> String {
    finish(serde_json::to_string_pretty(value))
}

/// On one line.
pub(crate) fn line(value: &impl Serialize) -> String {
    finish(serde_json::to_string(value))
}

/// What came as JSON can always become JSON again.
fn finish(text: serde_json::Result<String>) -> String {
    let mut text = text.unwrap_or_default();
    text.push('\n');
    text
}

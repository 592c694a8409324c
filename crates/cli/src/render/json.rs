//! JSON for scripts: what the daemon said, field for field.

use std::fmt::Write as _;

use serde::Serialize;

use super::words::is_unsafe;

/// Over several lines.
pub(crate) fn pretty(value: &impl Serialize) -> String {
    finish(serde_json::to_string_pretty(value))
}

/// On one line.
pub(crate) fn line(value: &impl Serialize) -> String {
    finish(serde_json::to_string(value))
}

/// What came as JSON can always become JSON again.
///
/// JSON asks for escapes below U+0020 only. A terminal also obeys U+007F to U+009F, and characters that
/// turn the direction of writing make a line say something else. They stand in strings alone, so that
/// they can be written as escapes there.
fn finish(text: serde_json::Result<String>) -> String {
    let mut safe = String::new();
    for c in text.unwrap_or_default().chars() {
        if c != '\n' && is_unsafe(c) {
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe.push('\n');
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_brings_no_controls_to_a_terminal_and_says_the_same() {
        let hostile = serde_json::json!({ "text": "a\u{9b}31m\u{7f}b\u{202e}c\x1b[0m\nd ✓" });
        for text in [pretty(&hostile), line(&hostile)] {
            let end = text.trim_end().replace('\n', "");
            assert!(!end.chars().any(is_unsafe), "{text:?}");
            let back: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(back, hostile);
        }
    }
}

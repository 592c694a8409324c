//! Lengths of time.

use std::time::Duration;

use toml::Spanned;

use crate::{diagnostic::Diagnostic, quote::quoted, reader::Found};

/// Least and most of a length of time.
pub(crate) struct Limits {
    pub(crate) least: Duration,
    pub(crate) most: Duration,
    pub(crate) hint: &'static str,
}

/// A length of time within its limits. `what` names the value and whose it is.
pub(crate) fn check(
    text: &Spanned<String>,
    limits: &Limits,
    what: &str,
    found: &mut Found,
) -> Option<Duration> {
    let word = text.get_ref();
    let Ok(duration) = humantime::parse_duration(word) else {
        let hint = match word.trim().parse::<u64>() {
            Ok(number) => format!("add a unit: \"{number}ms\" or \"{number}s\""),
            Err(_) => "write a number and a unit, such as \"500ms\", \"2s\" or \"1m\"".to_owned(),
        };
        found.push(
            Diagnostic::error(
                text.span(),
                format!(
                    "{what} cannot be {}: that is no length of time",
                    quoted(word)
                ),
            )
            .label("not a length of time")
            .hint(hint),
        );
        return None;
    };
    if !(limits.least..=limits.most).contains(&duration) {
        let [least, most] = [limits.least, limits.most].map(humantime::format_duration);
        found.push(
            Diagnostic::error(
                text.span(),
                format!("{what} must be {least} to {most}, not {}", quoted(word)),
            )
            .label(format!("not in {least} to {most}"))
            .hint(limits.hint),
        );
        return None;
    }
    Some(duration)
}

//! Small words: durations, percentages, wrapping, escaping, colour.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use clap::builder::styling::{AnsiColor, Style};

/// The width that everything fits into.
pub(crate) const WIDTH: usize = 80;

/// The first second of the year 10000, which RFC 3339 cannot write.
const YEAR_10000: f64 = 253_402_300_800.0;

/// Good news.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Worth a look.
pub(crate) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
/// Bad news.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Headings.
pub(crate) const STRONG: Style = Style::new().bold();
/// Things of less weight.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// A text in a style.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Makes a text from elsewhere harmless for a terminal: control characters, line ends and
/// characters that turn the direction of writing are shown as escapes.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Whether a terminal takes a character for something else than a sign to show.
pub(crate) fn is_unsafe(c: char) -> bool {
    let is_direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{061c}' | '\u{feff}' | '\u{2028}' | '\u{2029}');
    c.is_control() || is_direction
}

/// A span of time in its two largest units.
pub(crate) fn span(seconds: f64) -> String {
    // Saturates, and makes nothing of what is no number or lies in the future.
    let seconds = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) if minutes < 5 => format!("{minutes} min {} s", seconds % 60),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

/// A point in time, UTC, to the second.
pub(crate) fn moment(unix: f64) -> String {
    if !(0.0..YEAR_10000).contains(&unix) {
        return "(no valid time)".to_owned();
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(unix);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A part of one as a percentage. Only nothing is 0% and only everything is 100%.
pub(crate) fn percent(part: f64) -> String {
    let percent = part.clamp(0.0, 1.0) * 100.0;
    if percent > 0.0 && percent < 1.0 {
        "<1%".to_owned()
    } else if percent > 99.0 && percent < 100.0 {
        ">99%".to_owned()
    } else {
        format!("{percent:.0}%")
    }
}

/// A round-trip time.
pub(crate) fn milliseconds(ms: f64) -> String {
    if ms < 0.1 {
        format!("{ms:.2} ms")
    } else if ms < 100.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

/// Adds a paragraph, indented and wrapped, with a line end.
pub(crate) fn paragraph(out: &mut String, indent: usize, text: &str) {
    paragraph_within(out, WIDTH, indent, text);
}

/// The same for another width.
pub(crate) fn paragraph_within(out: &mut String, width: usize, indent: usize, text: &str) {
    let mut column = 0;
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            let _ = write!(out, "{:indent$}{word}", "");
            column = indent + length;
        } else {
            let _ = write!(out, " {word}");
            column += 1 + length;
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        for (seconds, text) in [
            (-5.0, "0 s"),
            (f64::NAN, "0 s"),
            (59.9, "59 s"),
            (61.0, "1 min 1 s"),
            (301.0, "5 min"),
            (3600.0, "1 h 0 min"),
            (90_000.0, "1 d 1 h"),
        ] {
            assert_eq!(span(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn percentages_do_not_round_a_little_to_nothing() {
        for (part, text) in [
            (0.0, "0%"),
            (0.001, "<1%"),
            (0.6, "60%"),
            (0.999, ">99%"),
            (1.0, "100%"),
            (7.0, "100%"),
            (f64::NAN, "NaN%"),
        ] {
            assert_eq!(percent(part), text);
        }
    }

    #[test]
    fn moments_are_utc_and_never_panic() {
        assert_eq!(moment(1_795_373_059.9), "2026-11-22T18:44:19Z");
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e300, YEAR_10000] {
            assert_eq!(moment(bad), "(no valid time)");
        }
    }

    #[test]
    fn terminals_are_safe_from_names() {
        assert_eq!(
            escape("a\x1b[2Jb\n\u{202e}c\u{9b}"),
            "a\\u{1b}[2Jb\\n\\u{202e}c\\u{9b}"
        );
        assert_eq!(escape("Zürich ✓"), "Zürich ✓");
    }

    #[test]
    fn paragraphs_wrap_between_words_and_leave_long_ones_whole() {
        let mut out = String::new();
        paragraph(
            &mut out,
            4,
            &format!("{} {} end", "word ".repeat(20), "x".repeat(90)),
        );
        for line in out.lines() {
            assert!(line.starts_with("    "), "{line:?}");
            assert!(
                line.chars().count() <= WIDTH || line.trim().len() == 90,
                "{line:?}"
            );
        }
    }
}

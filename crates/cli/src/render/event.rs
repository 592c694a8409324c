//! One event, one line.

use uplinkd_api::{Event, Level};

use super::words::{DOUBTFUL, FAINT, escape, moment, styled};

/// Id, time, level, text.
pub(crate) fn line(event: &Event) -> String {
    let level = match event.level {
        Level::Info => "info".to_owned(),
        Level::Warn => styled(DOUBTFUL, "warn"),
    };
    let id = styled(FAINT, &event.id.to_string());
    format!(
        "{id}  {}  {level}  {}\n",
        moment(event.time),
        escape(&event.text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_its_text() {
        let event = Event {
            id: 1_795_373_000,
            time: 1_795_373_059.0,
            level: Level::Warn,
            kind: "drift".to_owned(),
            text: "somebody changed\nwhat is ours \x1b[31m".to_owned(),
            detail: serde_json::Value::Null,
        };
        assert_eq!(
            anstream::adapter::strip_str(&line(&event)).to_string(),
            "1795373000  2026-11-22T18:44:19Z  warn  somebody changed\\nwhat is ours \\u{1b}[31m\n"
        );
    }
}

//! Several events as one message for people.

use std::{fmt::Write as _, sync::Arc};

use jiff::{Timestamp, tz::TimeZone};
use uplinkd_api::{Event, Level};

use crate::outbox::Batch;

/// The longest text of a message, in bytes: what every service takes. The rest is counted.
const TEXT_MAX: usize = 3000;
/// The longest line of it, in characters.
const LINE_MAX: usize = 400;
/// The longest title, in characters.
const TITLE_MAX: usize = 120;

/// What is told at once.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// This machine's name.
    pub(crate) host: String,
    /// What happened, on one line.
    pub(crate) title: String,
    /// One event on each line, with its own time.
    pub(crate) text: String,
    /// The most serious of them.
    pub(crate) level: Level,
    /// So many events before these were dropped.
    pub(crate) dropped: u64,
    /// Oldest first.
    pub(crate) events: Vec<Arc<Event>>,
}

impl Message {
    pub(crate) fn of(batch: &Batch<Arc<Event>>, host: &str, zone: &TimeZone) -> Self {
        let events = &batch.items;
        let worst = events.iter().find(|e| e.level == Level::Warn);
        let title = worst
            .or(events.last())
            .map(|e| shortened(&e.text, TITLE_MAX));
        let mut title = format!("{host}: {}", title.unwrap_or_default());
        if events.len() > 1 {
            let _ = write!(title, " (+{} more)", events.len() - 1);
        }
        Self {
            host: host.to_owned(),
            title,
            text: text(batch, zone),
            level: worst.map_or(Level::Info, |_| Level::Warn),
            dropped: batch.dropped,
            events: events.clone(),
        }
    }
}

fn text(batch: &Batch<Arc<Event>>, zone: &TimeZone) -> String {
    let mut text = String::new();
    if batch.dropped > 0 {
        let _ = writeln!(
            text,
            "{} earlier events are left out; `uplinkctl events` has the latest",
            batch.dropped
        );
    }
    for (index, event) in batch.items.iter().enumerate() {
        let line = shortened(&event.text, LINE_MAX);
        let line = format!("{}  {line}\n", local(event.time, zone));
        if text.len() + line.len() > TEXT_MAX {
            let left = batch.items.len() - index;
            let _ = writeln!(text, "… and {left} more; `uplinkctl events` has them");
            break;
        }
        text += &line;
    }
    text
}

/// A time as people read it here: it may be long past when they do.
fn local(unix: f64, zone: &TimeZone) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "unix seconds of this century"
    )]
    let time = Timestamp::from_second(unix as i64).unwrap_or_default();
    let time = time.to_zoned(zone.clone());
    time.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// A text on one line, without anything that steers a terminal or ends a header.
fn shortened(text: &str, most: usize) -> String {
    let mut short: String = text
        .chars()
        .take(most)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(most).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An event for tests.
    pub(crate) fn event(text: &str, level: Level) -> Arc<Event> {
        Arc::new(Event {
            id: 7,
            time: 1_795_373_000.5,
            level,
            kind: "health".to_owned(),
            text: text.to_owned(),
            detail: serde_json::json!({ "uplink": "isp1", "to": "down" }),
        })
    }

    pub(crate) fn message(items: Vec<Arc<Event>>, dropped: u64) -> Message {
        Message::of(&Batch { items, dropped }, "gate", &TimeZone::UTC)
    }

    #[test]
    fn every_event_keeps_its_own_time_and_what_was_dropped_is_told() {
        let items = vec![
            event("fine", Level::Info),
            event("isp1 is\ndown", Level::Warn),
        ];
        let told = message(items, 3);
        assert_eq!(told.title, "gate: isp1 is down (+1 more)");
        assert_eq!(
            told.text,
            "3 earlier events are left out; `uplinkctl events` has the latest\n\
             2026-11-22 18:43:20 UTC  fine\n2026-11-22 18:43:20 UTC  isp1 is down\n"
        );
        assert_eq!(told.level, Level::Warn);
    }

    #[test]
    fn a_message_has_an_end_and_says_what_it_lacks() {
        let told = message(vec![event(&"ä".repeat(5000), Level::Info); 50], 0);
        assert!(told.text.len() < TEXT_MAX + 100, "{}", told.text.len());
        assert!(
            told.text.ends_with(" more; `uplinkctl events` has them\n"),
            "{}",
            told.text
        );
        assert!(told.title.chars().count() < TITLE_MAX + 20);
    }
}

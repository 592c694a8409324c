//! One line of a recording: plain CSV that begins with `time,uplink,target,rtt_ms`, so that traces of
//! other programs are read the same way. `docs/replay.md` describes it.

use std::{fmt, time::Duration};

use crate::{ids::UplinkName, net::Family, probe::Counters};

/// The columns, in their order. Those at the end that are empty are left out of a line.
pub const COLUMNS: [&str; 10] = [
    "time",
    "uplink",
    "target",
    "rtt_ms",
    "family",
    "rx_packets",
    "tx_packets",
    "rx_bytes",
    "tx_bytes",
    "event",
];

/// The word that stands for a lost answer.
pub const LOST: &str = "-";

/// What was seen at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// When, since the epoch. Of a question: when it was asked.
    pub time: Duration,
    /// Of which uplink; none: of the daemon itself.
    pub uplink: Option<UplinkName>,
    /// Of which family of it, where it matters.
    pub family: Option<Family>,
    /// What.
    pub seen: Seen,
}

/// The kinds of rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The result of one question.
    Sample {
        /// Who was asked, as the file names it.
        target: String,
        /// How long the answer took; none: it was lost.
        rtt: Option<Duration>,
    },
    /// What the interface had counted.
    Counted(Counters),
    /// Something that happened, in words.
    Event(String),
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uplink = self.uplink.as_ref().map_or("", UplinkName::as_str);
        let (seconds, millis) = (self.time.as_secs(), self.time.subsec_millis());
        write!(f, "{seconds}.{millis:03},{uplink},")?;
        let family = match self.family {
            Some(Family::V4) => "4",
            Some(Family::V6) => "6",
            None => "",
        };
        match &self.seen {
            Seen::Sample { target, rtt } => {
                write!(f, "{},", quoted(target))?;
                match rtt {
                    Some(rtt) => write!(f, "{:.3}", rtt.as_secs_f64() * 1000.0)?,
                    None => f.write_str(LOST)?,
                }
                if !family.is_empty() {
                    write!(f, ",{family}")?;
                }
                Ok(())
            }
            Seen::Counted(c) => write!(
                f,
                ",,{family},{},{},{},{}",
                c.rx_packets, c.tx_packets, c.rx_bytes, c.tx_bytes
            ),
            Seen::Event(event) => write!(f, ",,{family},,,,,{}", quoted(event)),
        }
    }
}

/// A field as CSV has it (RFC 4180), on one line whatever it holds.
fn quoted(field: &str) -> String {
    let one_line: String = field
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    match one_line.contains([',', '"']) {
        true => format!("\"{}\"", one_line.replace('"', "\"\"")),
        false => one_line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seen: Seen) -> String {
        let row = Row {
            time: Duration::from_millis(1_764_345_601_042),
            uplink: UplinkName::new("isp1").ok(),
            family: Some(Family::V4),
            seen,
        };
        row.to_string()
    }

    #[test]
    fn a_sample_begins_with_the_four_plain_columns() {
        let sample = |rtt| Seen::Sample {
            target: "icmp:192.0.2.1".to_owned(),
            rtt,
        };
        let answered = row(sample(Some(Duration::from_micros(12_345))));
        assert_eq!(answered, "1764345601.042,isp1,icmp:192.0.2.1,12.345,4");
        assert_eq!(row(sample(None)), "1764345601.042,isp1,icmp:192.0.2.1,-,4");
    }

    #[test]
    fn counters_and_events_stand_in_the_columns_of_their_names() {
        let counters = Counters {
            rx_packets: 1,
            tx_packets: 2,
            rx_bytes: 3,
            tx_bytes: 4,
        };
        let place = |line: &str, column: &str| {
            let index = COLUMNS.iter().position(|c| *c == column).unwrap();
            line.split(',').nth(index).unwrap_or_default().to_owned()
        };
        let line = row(Seen::Counted(counters));
        assert_eq!(place(&line, "rx_packets"), "1");
        assert_eq!(place(&line, "tx_bytes"), "4");
        assert_eq!(place(&line, "target"), "");
        assert_eq!(place(&row(Seen::Event("stop".into())), "event"), "stop");
    }

    #[test]
    fn no_event_breaks_its_line() {
        let line = row(Seen::Event("down: \"a\", b\nc".into()));
        assert!(line.ends_with(",\"down: \"\"a\"\", b c\""), "{line}");
    }
}

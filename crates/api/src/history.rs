//! What the daemon remembers: tallies over time, and the report of a month.

use std::{fmt::Write as _, ops::RangeInclusive};

use serde::{Deserialize, Serialize};
use uplinkd_model::Family;
use utoipa::{IntoParams, ToSchema};

use crate::{
    ApiError, BudgetStatus, Event,
    query::{Writer, parse, unknown},
    schema,
};

/// What is asked for: [`crate::History`].
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// Of one uplink only.
    pub uplink: Option<String>,
    /// From this unix second on; a day before `until` without.
    #[param(minimum = 0, maximum = 253_402_300_799_i64)]
    pub since: Option<i64>,
    /// Up to this unix second; now without.
    #[param(minimum = 0, maximum = 253_402_300_799_i64)]
    pub until: Option<i64>,
    /// The length of a slot in seconds, at least ten; without, such that there are some 300.
    #[param(minimum = 10, maximum = 31_622_400)]
    pub step: Option<i64>,
    /// In which form.
    #[param(inline, required = false)]
    pub format: Format,
}

/// The month whose [`crate::Report`] is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReportQuery {
    /// As `2026-11`, by the daemon's local time; the present one without.
    #[param(pattern = "^[0-9]{4}-(0[1-9]|1[0-2])$")]
    pub month: Option<String>,
    /// In which form.
    #[param(inline, required = false)]
    pub format: Format,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Format {
    /// As JSON.
    #[default]
    Json,
    /// As comma-separated values with a header (RFC 4180).
    Csv,
}

fn format(value: &str) -> Result<Format, ApiError> {
    match value {
        "json" => Ok(Format::Json),
        "csv" => Ok(Format::Csv),
        other => {
            Err(ApiError::new(format!("unknown format {other:?}"))
                .with_hint("there are json and csv"))
        }
    }
}

impl Format {
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Json => None,
            Self::Csv => Some("csv"),
        }
    }
}

/// The last second of the year 9999.
const TIME_MAX: i64 = 253_402_300_799;
/// A year of 366 days.
const STEP_MAX: i64 = 31_622_400;

fn within(key: &str, value: &str, range: RangeInclusive<i64>) -> Result<i64, ApiError> {
    let number: i64 = parse(key, value)?;
    if !range.contains(&number) {
        let (least, most) = range.into_inner();
        let message = format!("{key}={number}: from {least} to {most} are possible");
        return Err(ApiError::new(message));
    }
    Ok(number)
}

impl HistoryQuery {
    /// As the query part of an address, without the `?`.
    pub fn to_query(&self) -> String {
        let mut query = Writer::default();
        query.maybe("uplink", self.uplink.as_ref());
        query.maybe("since", self.since);
        query.maybe("until", self.until);
        query.maybe("step", self.step);
        query.maybe("format", self.format.word());
        query.finish()
    }

    /// Reads what [`HistoryQuery::to_query`] writes.
    ///
    /// # Errors
    /// Names the parameter that is unknown or cannot be read.
    pub fn from_query(query: &str) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match key.as_ref() {
                "uplink" => read.uplink = Some(value.into_owned()),
                "since" => read.since = Some(within(&key, &value, 0..=TIME_MAX)?),
                "until" => read.until = Some(within(&key, &value, 0..=TIME_MAX)?),
                "step" => read.step = Some(within(&key, &value, 10..=STEP_MAX)?),
                "format" => read.format = format(&value)?,
                _ => return Err(unknown(&key, "uplink, since, until, step and format")),
            }
        }
        Ok(read)
    }
}

impl ReportQuery {
    /// As the query part of an address, without the `?`.
    pub fn to_query(&self) -> String {
        let mut query = Writer::default();
        query.maybe("month", self.month.as_ref());
        query.maybe("format", self.format.word());
        query.finish()
    }

    /// Reads what [`ReportQuery::to_query`] writes.
    ///
    /// # Errors
    /// Names the parameter that is unknown or cannot be read.
    pub fn from_query(query: &str) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match key.as_ref() {
                "month" => read.month = Some(value.into_owned()),
                "format" => read.format = format(&value)?,
                _ => return Err(unknown(&key, "month and format")),
            }
        }
        Ok(read)
    }
}

/// Tallies over a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// From when on, unix seconds.
    pub since: i64,
    /// Until when.
    pub until: i64,
    /// The length of a slot in seconds. What is too old for it comes in longer ones.
    pub step: i64,
    /// Interfaces, lines and targets.
    pub series: Vec<HistorySeries>,
    /// Why nothing is written at the moment, where that is so.
    pub trouble: Option<String>,
}

/// The tallies of an interface, of a line, or of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistorySeries {
    /// The uplink.
    pub uplink: String,
    /// The family; none for the interface, which both share.
    #[schema(value_type = Option<schema::Family>)]
    pub family: Option<Family>,
    /// The target; none for the line.
    pub target: Option<String>,
    /// In order of time. Slots in which nobody counted are missing.
    pub points: Vec<HistoryPoint>,
}

/// What was counted in a slot. Which fields there are depends on the series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HistoryPoint {
    /// When the slot begins, unix seconds.
    pub time: i64,
    /// What became of the questions, of a target.
    #[serde(flatten)]
    pub quality: Option<Quality>,
    /// How long it had which health, of a line.
    #[serde(flatten)]
    pub health: Option<HealthTime>,
    /// What was carried, of an interface.
    #[serde(flatten)]
    pub traffic: Option<Traffic>,
}

/// What became of questions to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Quality {
    /// Questions with a result.
    #[schema(required = false)]
    pub sent: u64,
    /// Those of them that were lost.
    #[schema(required = false)]
    pub lost: u64,
    /// The lost part, 0 to 1.
    pub loss: Option<f64>,
    /// The mean round-trip time; none where nothing was answered, as all that follows.
    pub rtt_mean_ms: Option<f64>,
    /// The shortest.
    pub rtt_min_ms: Option<f64>,
    /// The longest.
    pub rtt_max_ms: Option<f64>,
    /// The median, right to a sixteenth, as the percentiles that follow.
    pub rtt_p50_ms: Option<f64>,
    /// What 95 of 100 did not exceed.
    pub rtt_p95_ms: Option<f64>,
    /// What 99 of 100 did not exceed.
    pub rtt_p99_ms: Option<f64>,
    /// The mean difference between one and the next.
    pub jitter_ms: Option<f64>,
}

/// How long a line had which health, in seconds. The rest of the slot nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthTime {
    /// Up.
    #[schema(required = false)]
    pub up_s: f64,
    /// Degraded.
    #[schema(required = false)]
    pub degraded_s: f64,
    /// Down.
    #[schema(required = false)]
    pub down_s: f64,
    /// Unknown, with a daemon that was about to find out.
    #[schema(required = false)]
    pub unknown_s: f64,
}

/// What an interface carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Bytes that came in.
    #[schema(required = false)]
    pub rx_bytes: u64,
    /// Bytes that left.
    #[schema(required = false)]
    pub tx_bytes: u64,
}

/// How all uplinks were over a month.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// The month, as `2026-11`.
    pub month: String,
    /// When it began, unix seconds.
    pub since: f64,
    /// When it ended; of the present one: now.
    pub until: f64,
    /// The uplinks that something is known of, by name.
    pub uplinks: Vec<ReportUplink>,
    /// The newest changes of who serves, oldest first.
    pub switches: Vec<Event>,
    /// How many there were.
    pub switches_count: usize,
    /// Why nothing is written at the moment, where that is so.
    pub trouble: Option<String>,
}

/// How an uplink was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportUplink {
    /// Its name.
    pub uplink: String,
    /// What its interface carried.
    pub traffic: Traffic,
    /// What it has used of its budget, where it has one and the month is the present one.
    pub budget: Option<BudgetStatus>,
    /// Each of its families.
    pub lines: Vec<ReportLine>,
}

/// How a line was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportLine {
    /// The family.
    #[schema(value_type = schema::Family)]
    pub family: Family,
    /// The part of the known time in which it was up or degraded, 0 to 1; none where nothing is known.
    pub availability: Option<f64>,
    /// How long it had which health.
    pub health: HealthTime,
    /// How much of the month nobody knows anything of, in seconds: there was no daemon.
    pub unseen_s: f64,
    /// How often it was down.
    pub outages_count: usize,
    /// The first thousand times.
    pub outages: Vec<ReportOutage>,
    /// Its targets.
    pub targets: Vec<ReportTarget>,
}

/// A line was down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportOutage {
    /// From when on, unix seconds.
    pub since: f64,
    /// For how long, in seconds; the part within the month.
    pub seconds: f64,
    /// Why, for people.
    pub reason: String,
    /// It lasts.
    pub lasts: bool,
}

/// What a target answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportTarget {
    /// Which one.
    pub target: String,
    /// What.
    #[serde(flatten)]
    pub quality: Quality,
}

const QUALITY: &str =
    "sent,lost,loss,rtt_mean_ms,rtt_min_ms,rtt_max_ms,rtt_p50_ms,rtt_p95_ms,rtt_p99_ms,jitter_ms";
const HEALTH: &str = "up_s,degraded_s,down_s,unknown_s";
const TRAFFIC: &str = "rx_bytes,tx_bytes";

impl History {
    /// As comma-separated values, a line for each slot of each series.
    pub fn to_csv(&self) -> String {
        let mut out = format!("time,uplink,family,target,{QUALITY},{HEALTH},{TRAFFIC}\n");
        for series in &self.series {
            let family = series.family.map(family_word).unwrap_or_default();
            let target = quoted(series.target.as_deref().unwrap_or_default());
            for point in &series.points {
                let _ = write!(out, "{},{},{family},{target},", point.time, series.uplink);
                let parts = [
                    quality(point.quality.as_ref()),
                    health(point.health.as_ref()),
                    traffic(point.traffic.as_ref()),
                ];
                let _ = writeln!(out, "{}", parts.join(","));
            }
        }
        out
    }
}

impl Report {
    /// As comma-separated values: a line for each uplink, line, target and outage, which `kind` tells apart.
    pub fn to_csv(&self) -> String {
        let mut out = format!(
            "kind,month,uplink,family,target,availability,outages,since,seconds,reason,{QUALITY},{HEALTH},{TRAFFIC}\n"
        );
        let month = &self.month;
        let (none_q, none_h, none_t) = (quality(None), health(None), traffic(None));
        for uplink in &self.uplinks {
            let (name, carried) = (&uplink.uplink, traffic(Some(&uplink.traffic)));
            let _ = writeln!(
                out,
                "uplink,{month},{name},,,,,,,,{none_q},{none_h},{carried}"
            );
            for line in &uplink.lines {
                let family = family_word(line.family);
                let (part, count) = (number(line.availability), line.outages_count);
                let time = health(Some(&line.health));
                let _ = writeln!(
                    out,
                    "line,{month},{name},{family},,{part},{count},,,,{none_q},{time},{none_t}"
                );
                for target in &line.targets {
                    let (word, told) = (quoted(&target.target), quality(Some(&target.quality)));
                    let _ = writeln!(
                        out,
                        "target,{month},{name},{family},{word},,,,,,{told},{none_h},{none_t}"
                    );
                }
                for outage in &line.outages {
                    let (since, length) = (outage.since, outage.seconds);
                    let reason = quoted(&outage.reason);
                    let _ = writeln!(
                        out,
                        "outage,{month},{name},{family},,,,{since:.3},{length:.3},{reason},{none_q},{none_h},{none_t}"
                    );
                }
            }
        }
        out
    }
}

fn family_word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

fn quality(quality: Option<&Quality>) -> String {
    let Some(q) = quality else {
        return ",,,,,,,,,".to_owned();
    };
    let times = [
        q.loss,
        q.rtt_mean_ms,
        q.rtt_min_ms,
        q.rtt_max_ms,
        q.rtt_p50_ms,
        q.rtt_p95_ms,
        q.rtt_p99_ms,
        q.jitter_ms,
    ];
    format!("{},{},{}", q.sent, q.lost, times.map(number).join(","))
}

fn health(health: Option<&HealthTime>) -> String {
    health.map_or(",,,".to_owned(), |h| {
        format!("{},{},{},{}", h.up_s, h.degraded_s, h.down_s, h.unknown_s)
    })
}

fn traffic(traffic: Option<&Traffic>) -> String {
    traffic.map_or(",".to_owned(), |t| format!("{},{}", t.rx_bytes, t.tx_bytes))
}

fn number(number: Option<f64>) -> String {
    let text = number.map(|n| format!("{n:.6}")).unwrap_or_default();
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A field as CSV has it, on one line whatever it holds. What a spreadsheet would take for a formula is not.
fn quoted(field: &str) -> String {
    let one_line: String = field
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let safe = match one_line.starts_with(['=', '+', '-', '@']) {
        true => format!("'{one_line}"),
        false => one_line,
    };
    match safe.contains([',', '"']) {
        true => format!("\"{}\"", safe.replace('"', "\"\"")),
        false => safe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        let quality = Quality {
            sent: 10,
            lost: 1,
            loss: Some(0.1),
            rtt_mean_ms: Some(12.25),
            ..Quality::default()
        };
        let point = |quality, traffic| HistoryPoint {
            time: 1_796_083_200,
            quality,
            health: None,
            traffic,
        };
        let traffic = Traffic {
            rx_bytes: 5,
            tx_bytes: 6,
        };
        let series = |family, target: Option<&str>, point| HistorySeries {
            uplink: "isp1".to_owned(),
            family,
            target: target.map(str::to_owned),
            points: vec![point],
        };
        History {
            since: 0,
            until: 1,
            step: 10,
            series: vec![
                series(
                    Some(Family::V4),
                    Some("command:a, b"),
                    point(Some(quality), None),
                ),
                series(None, None, point(None, Some(traffic))),
            ],
            trouble: None,
        }
    }

    #[test]
    fn a_point_has_the_fields_of_its_kind_and_is_read_back() {
        let history = history();
        let json = serde_json::to_value(&history).unwrap();
        let points = [0, 1].map(|i| json["series"][i]["points"][0].clone());
        assert_eq!(
            (&points[0]["sent"], &points[0]["loss"]),
            (&10.into(), &0.1.into())
        );
        assert!(points[0].get("rx_bytes").is_none(), "{}", points[0]);
        assert_eq!(
            points[1],
            serde_json::json!({"time": 1_796_083_200, "rx_bytes": 5, "tx_bytes": 6})
        );
        assert_eq!(serde_json::from_value::<History>(json).unwrap(), history);
    }

    #[test]
    fn csv_has_a_cell_for_each_column_in_each_line() {
        let csv = history().to_csv();
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(
            lines[1],
            "1796083200,isp1,ipv4,\"command:a, b\",10,1,0.1,12.25,,,,,,,,,,,,"
        );
        assert_eq!(lines[2], "1796083200,isp1,,,,,,,,,,,,,,,,,5,6");
        let columns = lines[0].split(',').count();
        assert_eq!(lines[2].split(',').count(), columns);
        // One comma is inside the quotes.
        assert_eq!(lines[1].split(',').count(), columns + 1);
    }

    #[test]
    fn a_report_as_csv_is_a_table_whatever_a_reason_holds() {
        let report = Report {
            month: "2026-11".to_owned(),
            since: 0.0,
            until: 1.0,
            uplinks: vec![ReportUplink {
                uplink: "isp1".to_owned(),
                traffic: Traffic::default(),
                budget: None,
                lines: vec![ReportLine {
                    family: Family::V6,
                    availability: Some(0.999),
                    health: HealthTime::default(),
                    unseen_s: 0.0,
                    outages_count: 1,
                    outages: vec![ReportOutage {
                        since: 5.5,
                        seconds: 2.0,
                        reason: "=cmd(\n)".to_owned(),
                        lasts: false,
                    }],
                    targets: vec![ReportTarget {
                        target: "gateway".to_owned(),
                        quality: Quality::default(),
                    }],
                }],
            }],
            switches: vec![],
            switches_count: 0,
            trouble: None,
        };
        let csv = report.to_csv();
        let columns: Vec<_> = csv.lines().map(|l| l.split(',').count()).collect();
        assert_eq!(columns.len(), 5);
        assert!(
            columns.iter().all(|c| *c == columns[0]),
            "{columns:?}\n{csv}"
        );
        assert!(csv.contains(",5.500,2.000,'=cmd( ),"), "{csv}");
    }

    #[test]
    fn a_question_is_read_as_it_was_written() {
        let question = HistoryQuery {
            uplink: Some("isp1".to_owned()),
            since: Some(5),
            until: Some(7),
            step: Some(60),
            format: Format::Csv,
        };
        assert_eq!(HistoryQuery::from_query(&question.to_query()), Ok(question));
        assert_eq!(HistoryQuery::from_query(""), Ok(HistoryQuery::default()));
        for bad in [
            "since=x",
            "since=-1",
            "until=9223372036854775807",
            "step=9",
            "step=1.5",
            "format=xml",
            "until",
            "uplinks=a",
        ] {
            assert!(HistoryQuery::from_query(bad).is_err(), "{bad}");
        }
        let month = ReportQuery {
            month: Some("2026-11".to_owned()),
            format: Format::Json,
        };
        assert_eq!(ReportQuery::from_query(&month.to_query()), Ok(month));
    }
}

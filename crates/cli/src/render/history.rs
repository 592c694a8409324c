//! How uplinks were over time: a line of blocks for each target, and a table of all steps.

use std::{collections::BTreeMap, fmt::Write as _};

use uplinkd_api::{HealthTime, History, HistoryPoint, HistorySeries, Traffic};
use uplinkd_model::{Family, budget::in_words};

use super::words::{BAD, DOUBTFUL, FAINT, STRONG, escape, milliseconds, moment, percent, styled};

/// From little to much.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// So many steps a line of blocks shows at most; the newest.
const BLOCKS_MAX: usize = 60;

/// Each uplink by itself.
pub(crate) fn text(history: &History) -> String {
    let mut uplinks: BTreeMap<&str, Vec<&HistorySeries>> = BTreeMap::new();
    for series in &history.series {
        uplinks.entry(&series.uplink).or_default().push(series);
    }
    let mut out = String::new();
    for (uplink, series) in uplinks {
        if !out.is_empty() {
            out.push('\n');
        }
        let (since, until) = (moment(history.since as f64), moment(history.until as f64));
        let title = styled(STRONG, &escape(uplink));
        let _ = writeln!(out, "{title}  {since} to {until}");
        sparklines(&mut out, history, &series);
        table(&mut out, history, &series);
    }
    out
}

fn sparklines(out: &mut String, history: &History, series: &[&HistorySeries]) {
    let last = (history.until - 1).div_euclid(history.step);
    let first = (history.since.div_euclid(history.step)).max(last - BLOCKS_MAX as i64 + 1);
    for series in series {
        let Some(target) = &series.target else {
            continue;
        };
        let at = |time: i64| series.points.iter().find(|p| p.time == time * history.step);
        let values: Vec<_> = (first..=last)
            .map(|time| at(time).and_then(|p| p.quality).map(|q| q.rtt_p95_ms))
            .collect();
        let highest = values
            .iter()
            .flatten()
            .flatten()
            .copied()
            .fold(0.0, f64::max);
        let line: String = values.iter().map(|v| block(*v, highest)).collect();
        let family = series.family.map(|f| format!(" {f}")).unwrap_or_default();
        let name = format!("{}{family}", escape(target));
        let _ = writeln!(
            out,
            "  {line}  {name}: 95% within, up to {}",
            milliseconds(highest)
        );
    }
}

/// A step: nothing known, nothing answered, or how long answers took.
fn block(value: Option<Option<f64>>, highest: f64) -> char {
    match value {
        None => ' ',
        Some(None) => '×',
        Some(Some(ms)) => {
            let part = if highest > 0.0 { ms / highest } else { 0.0 };
            // Saturates; the highest is the last block.
            BLOCKS[((part * 8.0).ceil() as usize).clamp(1, 8) - 1]
        }
    }
}

/// A row of the table.
#[derive(Default)]
struct Row {
    /// Of all targets: the least loss, since one that is silent says nothing of the line.
    loss: Option<f64>,
    median: Option<f64>,
    p95: Option<f64>,
    health: HealthTime,
    traffic: Option<Traffic>,
}

impl Row {
    fn take(&mut self, series: &HistorySeries, point: &HistoryPoint) {
        let is_beyond = !matches!(
            series.target.as_deref(),
            None | Some("gateway" | "neighbour")
        );
        if let Some(quality) = point.quality
            && is_beyond
        {
            let least = |own: Option<f64>, other: Option<f64>| match (own, other) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            self.loss = least(self.loss, quality.loss);
            self.median = least(self.median, quality.rtt_p50_ms);
            self.p95 = least(self.p95, quality.rtt_p95_ms);
        }
        if let Some(health) = point.health {
            self.health.up_s += health.up_s;
            self.health.degraded_s += health.degraded_s;
            self.health.down_s += health.down_s;
            self.health.unknown_s += health.unknown_s;
        }
        self.traffic = point.traffic.or(self.traffic);
    }

    fn health(&self) -> String {
        let health = &self.health;
        let known = health.up_s + health.degraded_s + health.down_s;
        if known == 0.0 {
            return styled(FAINT, "unknown");
        }
        if health.down_s > 0.0 {
            return styled(BAD, &format!("down {}", percent(health.down_s / known)));
        }
        if health.degraded_s > 0.0 {
            let part = percent(health.degraded_s / known);
            return styled(DOUBTFUL, &format!("degraded {part}"));
        }
        "up".to_owned()
    }
}

fn table(out: &mut String, history: &History, series: &[&HistorySeries]) {
    let families: Vec<_> = [Family::V4, Family::V6]
        .into_iter()
        .filter(|f| series.iter().any(|s| s.family == Some(*f)))
        .collect();
    for family in &families {
        if families.len() > 1 {
            let _ = writeln!(out, "  {family}");
        }
        let own = series
            .iter()
            .filter(|s| s.family.is_none_or(|f| f == *family));
        let mut rows: BTreeMap<i64, Row> = BTreeMap::new();
        for series in own {
            for point in &series.points {
                rows.entry(point.time).or_default().take(series, point);
            }
        }
        let head = "  time                    loss    median       95%        in       out  health";
        let _ = writeln!(out, "{}", styled(FAINT, head));
        for (time, row) in rows {
            let none = || "-".to_owned();
            let rate = |bytes: fn(&Traffic) -> u64| match &row.traffic {
                Some(traffic) => in_words(bytes(traffic)),
                None => none(),
            };
            let _ = writeln!(
                out,
                "  {}  {:>6}{:>10}{:>10}{:>10}{:>10}  {}",
                moment(time as f64),
                row.loss.map_or_else(none, percent),
                row.median.map_or_else(none, milliseconds),
                row.p95.map_or_else(none, milliseconds),
                rate(|t| t.rx_bytes),
                rate(|t| t.tx_bytes),
                row.health()
            );
        }
    }
    if families.is_empty() {
        let _ = writeln!(
            out,
            "  nothing is known of this time in steps of {} s",
            history.step
        );
    }
}

#[cfg(test)]
mod tests {
    use uplinkd_api::Quality;

    use super::*;

    #[test]
    fn blocks_tell_silence_from_ignorance() {
        let line: String = [
            None,
            Some(None),
            Some(Some(1.0)),
            Some(Some(80.0)),
            Some(Some(41.0)),
        ]
        .into_iter()
        .map(|v| block(v, 80.0))
        .collect();
        assert_eq!(line, " ×▁█▅");
        assert_eq!(block(Some(Some(0.0)), 0.0), '▁');
    }

    #[test]
    fn a_table_has_a_row_for_each_step_and_shows_the_best_target() {
        let quality = |loss, rtt| HistoryPoint {
            time: 1_796_083_200,
            quality: Some(Quality {
                loss: Some(loss),
                rtt_p50_ms: Some(rtt),
                rtt_p95_ms: Some(rtt * 2.0),
                ..Quality::default()
            }),
            ..HistoryPoint::default()
        };
        let series = |target: Option<&str>, family, point| HistorySeries {
            uplink: "isp1".to_owned(),
            family,
            target: target.map(str::to_owned),
            points: vec![point],
        };
        let health = HistoryPoint {
            time: 1_796_083_200,
            health: Some(HealthTime {
                up_s: 45.0,
                down_s: 15.0,
                ..HealthTime::default()
            }),
            ..HistoryPoint::default()
        };
        let bytes = HistoryPoint {
            time: 1_796_083_200,
            traffic: Some(Traffic {
                rx_bytes: 1_500_000,
                tx_bytes: 20,
            }),
            ..HistoryPoint::default()
        };
        let v4 = Some(Family::V4);
        let history = History {
            since: 1_796_083_200,
            until: 1_796_083_260,
            step: 60,
            series: vec![
                series(None, None, bytes),
                series(None, v4, health),
                series(Some("gateway"), v4, quality(0.0, 0.5)),
                series(Some("icmp:1.1.1.1"), v4, quality(0.25, 12.0)),
                series(Some("icmp:9.9.9.9"), v4, quality(1.0, 14.0)),
            ],
            trouble: None,
        };
        let plain = anstream::adapter::strip_str(&text(&history)).to_string();
        let row = plain.lines().last().unwrap();
        assert_eq!(
            row,
            "  2026-12-01T00:00:00Z     25%   12.0 ms   24.0 ms    1.5 MB      20 B  down 25%"
        );
        assert!(
            plain.contains("  █  icmp:9.9.9.9 IPv4: 95% within, up to 28.0 ms\n"),
            "{plain}"
        );
        assert!(plain.lines().all(|l| l.chars().count() <= 80), "{plain}");
    }
}

//! The report of a month, as a page that can be sent to a provider as it is.

use std::fmt::Write as _;

use uplinkd_api::{Report, ReportLine, ReportUplink};
use uplinkd_model::budget::in_words;

use super::words::{STRONG, escape, milliseconds, moment, paragraph, span, styled};

/// Outages of a line that are listed; the longest.
const OUTAGES: usize = 50;
/// Switches that are listed; the newest.
const SWITCHES: usize = 20;

/// The page.
pub(crate) fn text(report: &Report) -> String {
    let mut out = styled(STRONG, &format!("Uplinks in {}", escape(&report.month)));
    let (since, until) = (moment(report.since), moment(report.until));
    let _ = writeln!(out, "  {since} to {until} (times are UTC)");
    if report.uplinks.is_empty() {
        out.push_str("\nNothing is known of this month.\n");
    }
    for found in &report.uplinks {
        uplink(&mut out, found);
    }
    if report.switches_count > 0 {
        let _ = writeln!(
            out,
            "\nTraffic was switched {}",
            times(report.switches_count)
        );
        let skipped = report.switches.len().saturating_sub(SWITCHES);
        for switch in report.switches.iter().skip(skipped) {
            paragraph(
                &mut out,
                2,
                &format!("{}  {}", moment(switch.time), escape(&switch.text)),
            );
        }
        if report.switches_count > SWITCHES {
            let _ = writeln!(out, "  the last {SWITCHES} of them; --json has more");
        }
    }
    out
}

fn uplink(out: &mut String, uplink: &ReportUplink) {
    let (rx, tx) = (uplink.traffic.rx_bytes, uplink.traffic.tx_bytes);
    let name = styled(STRONG, &escape(&uplink.uplink));
    let _ = writeln!(out, "\n{name}  {} in, {} out", in_words(rx), in_words(tx));
    if let Some(budget) = &uplink.budget {
        let (used, limit) = (in_words(budget.used), in_words(budget.limit));
        let (since, until) = (escape(&budget.since), escape(&budget.until));
        let _ = writeln!(
            out,
            "  budget: {used} of {limit} used from {since} to {until}"
        );
    }
    for found in &uplink.lines {
        line(out, found);
    }
}

fn line(out: &mut String, line: &ReportLine) {
    let available = match line.availability {
        Some(part) => format!("available {}", precise(part)),
        None => "nothing is known".to_owned(),
    };
    let mut told = vec![available];
    told.push(match line.outages_count {
        0 => "no outage".to_owned(),
        count => format!("down {}, {} in all", times(count), span(line.health.down_s)),
    });
    if line.health.degraded_s > 0.0 {
        told.push(format!("degraded for {}", span(line.health.degraded_s)));
    }
    if line.unseen_s >= 60.0 {
        told.push(format!(
            "unknown for {} without uplinkd",
            span(line.unseen_s)
        ));
    }
    paragraph(out, 2, &format!("{}: {}", line.family, told.join(", ")));
    let mut outages: Vec<_> = line.outages.iter().collect();
    outages.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    outages.truncate(OUTAGES);
    outages.sort_by(|a, b| a.since.total_cmp(&b.since));
    for outage in outages {
        let lasts = if outage.lasts { " so far" } else { "" };
        let length = format!("{}{lasts}", length(outage.seconds));
        let reason = escape(&outage.reason);
        paragraph(
            out,
            4,
            &format!("{}  for {length}: {reason}", moment(outage.since)),
        );
    }
    if line.outages_count > OUTAGES {
        let _ = writeln!(out, "    the longest {OUTAGES} of them; --json has more");
    }
    for target in &line.targets {
        let quality = &target.quality;
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), milliseconds);
        let loss = quality
            .loss
            .map_or("-".to_owned(), |l| format!("{:.2}%", l * 100.0));
        let told = format!(
            "{}: {loss} lost of {} probes; median {}, 95% {}, 99% {}, jitter {}",
            escape(&target.target),
            quality.sent,
            ms(quality.rtt_p50_ms),
            ms(quality.rtt_p95_ms),
            ms(quality.rtt_p99_ms),
            ms(quality.jitter_ms),
        );
        paragraph(out, 4, &told);
    }
}

fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// Three digits behind the point, cut and not rounded: 100% means that there was nothing else.
fn precise(part: f64) -> String {
    format!("{:.3}%", (part * 100_000.0).floor() / 1000.0)
}

/// As [`span`], with a digit behind the point for what is short.
fn length(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    span(seconds)
}

#[cfg(test)]
mod tests {
    use uplinkd_api::{HealthTime, Quality, ReportOutage, ReportTarget, Traffic};
    use uplinkd_model::Family;

    use super::*;

    #[test]
    fn availability_is_never_rounded_up_to_all() {
        assert_eq!(precise(1.0), "100.000%");
        assert_eq!(precise(0.999_999_9), "99.999%");
    }

    #[test]
    fn a_page_names_each_outage_with_length_and_cause() {
        let report = Report {
            month: "2026-11".to_owned(),
            since: 1_793_491_200.0,
            until: 1_796_083_200.0,
            uplinks: vec![ReportUplink {
                uplink: "isp1".to_owned(),
                traffic: Traffic {
                    rx_bytes: 2_000_000_000,
                    tx_bytes: 0,
                },
                budget: None,
                lines: vec![ReportLine {
                    family: Family::V4,
                    availability: Some(0.9995),
                    health: HealthTime {
                        up_s: 2_000_000.0,
                        down_s: 90.0,
                        ..HealthTime::default()
                    },
                    unseen_s: 7200.0,
                    outages_count: 2,
                    outages: vec![
                        ReportOutage {
                            since: 1_795_373_059.0,
                            seconds: 12.34,
                            reason: "no carrier".to_owned(),
                            lasts: false,
                        },
                        ReportOutage {
                            since: 1_795_473_059.0,
                            seconds: 78.0,
                            reason: "0 of 2 targets answer, 1 needed".to_owned(),
                            lasts: true,
                        },
                    ],
                    targets: vec![ReportTarget {
                        target: "icmp:1.1.1.1".to_owned(),
                        quality: Quality {
                            sent: 1000,
                            lost: 5,
                            loss: Some(0.005),
                            rtt_p50_ms: Some(12.0),
                            ..Quality::default()
                        },
                    }],
                }],
            }],
            switches: vec![],
            switches_count: 0,
            trouble: None,
        };
        assert_eq!(
            anstream::adapter::strip_str(&text(&report)).to_string(),
            "Uplinks in 2026-11  2026-11-01T00:00:00Z to 2026-12-01T00:00:00Z (times are UTC)\n\
             \n\
             isp1  2.0 GB in, 0 B out\n\
             \x20 IPv4: available 99.950%, down 2 times, 1 min 30 s in all, unknown for 2 h 0\n\
             \x20 min without uplinkd\n\
             \x20   2026-11-22T18:44:19Z for 12.3 s: no carrier\n\
             \x20   2026-11-23T22:30:59Z for 1 min 18 s so far: 0 of 2 targets answer, 1 needed\n\
             \x20   icmp:1.1.1.1: 0.50% lost of 1000 probes; median 12.0 ms, 95% -, 99% -,\n\
             \x20   jitter -\n"
        );
    }
}

//! The status at a glance, in 80 columns: first the answer, then the uplinks, then the groups.

use std::fmt::Write as _;

use clap::builder::styling::Style;
use uplinkd_api::{
    GroupStatus, ServingStatus, State, Status, TargetState, TargetStatus, UplinkStatus,
};
use uplinkd_model::{Family, Health};

use super::words::{
    BAD, DOUBTFUL, FAINT, GOOD, STRONG, escape, milliseconds, paragraph, percent, span, styled,
};

/// The group that serves what no policy takes.
const GROUP_DEFAULT: &str = "default";
/// The longest uplink's name, and its family.
const NAME_MAX: usize = 20;

/// All of it.
pub(crate) fn text(status: &Status) -> String {
    let mut out = String::new();
    headline(&mut out, status);
    if !status.uplinks.is_empty() {
        out.push('\n');
        uplinks(&mut out, status);
    }
    if !status.groups.is_empty() {
        out.push('\n');
        groups(&mut out, status);
    }
    out
}

/// Is the internet up, through what, since when, why; and whether the kernel does as it should.
fn headline(out: &mut String, status: &Status) {
    let since = span(status.time - status.since);
    let (style, mut sentence) = match status.state {
        State::Starting => (
            DOUBTFUL,
            format!("It is not known yet whether the internet is up, for {since} now"),
        ),
        State::Up => (GOOD, format!("The internet is up, for {since} now")),
        State::Degraded => (
            DOUBTFUL,
            format!("The internet is up, but not fully, for {since} now"),
        ),
        State::Down => (BAD, format!("The internet is DOWN, for {since} now")),
    };
    let through = through(status);
    if !through.is_empty() {
        let word = match status.state {
            State::Up | State::Degraded => "through",
            State::Starting => "meanwhile through",
            State::Down => "still trying",
        };
        let _ = write!(sentence, ", {word} {through}");
    }
    sentence.push('.');
    let mut answer = String::new();
    paragraph(&mut answer, 0, &sentence);
    out.push_str(&styled(style, answer.trim_end()));
    out.push('\n');
    if !status.summary.is_empty() {
        paragraph(out, 0, &escape(&status.summary));
    }
    let problem = status.last_problem.as_deref().map(escape);
    let kernel = match (status.settled, problem) {
        (true, None) => return,
        (true, Some(problem)) => format!("The last problem, solved since: {problem}"),
        (false, None) => "The kernel is being brought to what it should hold.".to_owned(),
        (false, Some(problem)) => {
            format!("The kernel does not hold all that it should: {problem}")
        }
    };
    paragraph(out, 0, &kernel);
}

/// Who serves the default group, family by family.
fn through(status: &Status) -> String {
    let has_two = has_two_families(status);
    let parts: Vec<String> = status
        .groups
        .iter()
        .filter(|group| group.name == GROUP_DEFAULT && !group.serving.is_empty())
        .map(|group| {
            let mut part = serving(&group.serving, " and ");
            if has_two {
                let _ = write!(part, " with {}", group.family);
            }
            part
        })
        .collect();
    parts.join(", ")
}

fn uplinks(out: &mut String, status: &Status) {
    let has_two = has_two_families(status);
    let heading = row([
        "UPLINK", "HEALTH", "SHARE", "MEASURED", "RTT", "LOSS", "SINCE",
    ]);
    let _ = writeln!(out, "{}", styled(FAINT, &heading));
    for uplink in &status.uplinks {
        let mut name = escape(&uplink.name);
        if has_two {
            let _ = write!(name, " {}", uplink.family);
        }
        let health = uplink.health.to_string();
        let line = row([
            &shorten(&name),
            &health,
            &percent(uplink.share),
            &measured(uplink, status),
            &rtt(uplink).map_or_else(|| "-".to_owned(), milliseconds),
            &loss(uplink).map_or_else(|| "-".to_owned(), percent),
            &span(status.time - uplink.since),
        ]);
        // The width of the name is known, so the word can be coloured after everything is aligned.
        let at = NAME_MAX + 2;
        let coloured = match (line.get(..at), line.get(at + health.len()..)) {
            (Some(before), Some(after)) => {
                format!("{before}{}{after}", styled(colour(uplink.health), &health))
            }
            _ => line,
        };
        out.push_str(&coloured);
        out.push('\n');
        paragraph(out, 4, &details(uplink));
        if uplink.targets.iter().any(|t| t.state != TargetState::Pass) {
            let targets: Vec<String> = uplink.targets.iter().map(target).collect();
            paragraph(out, 4, &targets.join("; "));
        }
    }
}

/// One line of the table: two columns to the left, figures to the right, the time to the left.
fn row(cells: [&str; 7]) -> String {
    let [name, health, share, measured, rtt, loss, since] = cells;
    format!("{name:NAME_MAX$}  {health:8}  {share:>5}  {measured:>8}  {rtt:>8}  {loss:>5}  {since}")
}

fn details(uplink: &UplinkStatus) -> String {
    let mut text = escape(&uplink.interface);
    if let Some(gateway) = uplink.gateway {
        let _ = write!(text, " via {gateway}");
    }
    if uplink.health != Health::Down && !uplink.in_service {
        text.push_str(", not in service");
    }
    let _ = write!(text, ": {}", escape(&uplink.reason));
    text
}

fn target(target: &TargetStatus) -> String {
    let state = match target.state {
        TargetState::Unknown => "not known yet".to_owned(),
        TargetState::Pass => match target.last_rtt_ms {
            Some(ms) => format!("answers ({})", milliseconds(ms)),
            None => "answers".to_owned(),
        },
        TargetState::Fail => format!("fails ({} lost)", percent(target.loss)),
    };
    format!("{} {state}", escape(&target.target))
}

fn groups(out: &mut String, status: &Status) {
    let has_two = has_two_families(status);
    let heading = format!("{:NAME_MAX$}  SERVED BY", "GROUP");
    let _ = writeln!(out, "{}", styled(FAINT, &heading));
    for group in &status.groups {
        let mut name = escape(&group.name);
        if has_two {
            let _ = write!(name, " {}", group.family);
        }
        let _ = writeln!(out, "{:NAME_MAX$}  {}", shorten(&name), served_by(group));
        if !group.reason.is_empty() {
            paragraph(out, 4, &escape(&group.reason));
        }
    }
}

fn served_by(group: &GroupStatus) -> String {
    if group.serving.is_empty() {
        return styled(BAD, "nothing");
    }
    let by = serving(&group.serving, " + ");
    if group.last_resort {
        format!("{by}{}", styled(STRONG, ", as a last resort"))
    } else {
        by
    }
}

fn serving(serving: &[ServingStatus], between: &str) -> String {
    let parts: Vec<String> = serving
        .iter()
        .map(|s| format!("{} ({})", escape(&s.uplink), percent(s.share)))
        .collect();
    parts.join(between)
}

/// The part of present connections of the same family, where somebody counted.
fn measured(uplink: &UplinkStatus, status: &Status) -> String {
    let total: u64 = status
        .uplinks
        .iter()
        .filter(|u| u.family == uplink.family)
        .filter_map(|u| u.connections)
        .fold(0, u64::saturating_add);
    match uplink.connections {
        Some(count) if total > 0 => percent(count as f64 / total as f64),
        _ => "-".to_owned(),
    }
}

/// The best of the targets that decide: the others may just be far away.
fn rtt(uplink: &UplinkStatus) -> Option<f64> {
    deciding(uplink)
        .filter_map(|t| t.last_rtt_ms)
        .min_by(f64::total_cmp)
}

/// The least of the targets that decide: what is lost to one target only is not the line's fault.
fn loss(uplink: &UplinkStatus) -> Option<f64> {
    deciding(uplink)
        .filter(|t| t.sent > 0)
        .map(|t| t.loss)
        .min_by(f64::total_cmp)
}

fn deciding(uplink: &UplinkStatus) -> impl Iterator<Item = &TargetStatus> {
    uplink.targets.iter().filter(|t| t.decides)
}

fn has_two_families(status: &Status) -> bool {
    let has = |family: Family| status.uplinks.iter().any(|u| u.family == family);
    has(Family::V4) && has(Family::V6)
}

/// A name that would push the columns out of line is cut; the details and JSON have it whole.
fn shorten(name: &str) -> String {
    if name.chars().count() <= NAME_MAX {
        return name.to_owned();
    }
    let kept: String = name.chars().take(NAME_MAX - 2).collect();
    format!("{kept}..")
}

fn colour(health: Health) -> Style {
    match health {
        Health::Unknown => FAINT,
        Health::Up => GOOD,
        Health::Degraded => DOUBTFUL,
        Health::Down => BAD,
    }
}

#[cfg(test)]
mod tests;

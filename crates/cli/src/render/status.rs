//! The status at a glance, in 80 columns: first the answer, then the uplinks, then the groups.

use std::fmt::Write as _;

use clap::builder::styling::Style;
use uplinkd_api::{
    GroupStatus, ServingStatus, State, Status, TargetState, TargetStatus, UplinkStatus,
    WaitingStatus, WishStatus,
};
use uplinkd_model::{
    Family, Health,
    budget::{AtLimit, in_words},
};

use super::words::{
    BAD, DOUBTFUL, FAINT, GOOD, STRONG, escape, milliseconds, paragraph, percent, span, styled,
};

/// The group that serves what no policy takes.
const GROUP_DEFAULT: &str = "default";
/// The longest uplink's name, and its family.
const NAME_MAX: usize = 20;
/// What a family takes of it, with the space before.
const FAMILY_MAX: usize = 5;

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
    let style = match status.state {
        State::Up => GOOD,
        State::Starting | State::Degraded => DOUBTFUL,
        State::Down => BAD,
    };
    in_style(out, style, &sentence(status));
    for note in notes(status) {
        match note {
            Note::Plain(text) => paragraph(out, 0, &text),
            Note::Doubtful(text) => in_style(out, DOUBTFUL, &text),
        }
    }
}

fn in_style(out: &mut String, style: Style, text: &str) {
    let mut lines = String::new();
    paragraph(&mut lines, 0, text);
    out.push_str(&styled(style, lines.trim_end()));
    out.push('\n');
}

/// The answer, made harmless.
pub(crate) fn sentence(status: &Status) -> String {
    let since = span(status.time - status.since);
    let mut sentence = match status.state {
        State::Starting => {
            format!("It is not known yet whether the internet is up, for {since} now")
        }
        State::Up => format!("The internet is up, for {since} now"),
        State::Degraded => format!("The internet is up, but not fully, for {since} now"),
        State::Down => format!("The internet is DOWN, for {since} now"),
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
    sentence
}

/// A paragraph below the answer, made harmless.
#[derive(Debug, PartialEq)]
pub(crate) enum Note {
    /// Good to know.
    Plain(String),
    /// Somebody has to look at it.
    Doubtful(String),
}

/// What stands below the answer: why it is so, what waits to be confirmed, what is not in force though
/// the file says it, and what the kernel does not hold.
pub(crate) fn notes(status: &Status) -> Vec<Note> {
    let mut notes = Vec::new();
    if !status.summary.is_empty() {
        notes.push(Note::Plain(escape(&status.summary)));
    }
    if let Some(trial) = &status.trial {
        let by = by(&trial.who, trial.why.as_deref());
        let left = span(trial.until - status.time);
        notes.push(Note::Doubtful(format!(
            "The configuration is on trial ({by}) and goes back in {left}: `uplinkctl confirm` keeps it."
        )));
    }
    if let Some(why) = &status.rolled_back {
        notes.push(Note::Plain(escape(why)));
    }
    let troubles = status.notify.iter().filter_map(super::notify::trouble);
    notes.extend(troubles.map(Note::Doubtful));
    let problem = status.last_problem.as_deref().map(escape);
    let kernel = match (status.settled, problem) {
        (true, None) => return notes,
        (true, Some(problem)) => format!("The last problem, solved since: {problem}"),
        (false, None) => "The kernel is being brought to what it should hold.".to_owned(),
        (false, Some(problem)) => {
            format!("The kernel does not hold all that it should: {problem}")
        }
    };
    notes.push(Note::Plain(kernel));
    notes
}

fn by(who: &str, why: Option<&str>) -> String {
    let why = why.map(|why| format!(": {}", escape(why)));
    format!("{}{}", escape(who), why.unwrap_or_default())
}

/// What somebody wants of an uplink for a while.
fn wish(wish: &WishStatus, now: f64) -> String {
    let left = wish
        .until
        .map(|until| format!(" for {} more", span(until - now)));
    let left = left.unwrap_or_default();
    format!("{left} ({})", by(&wish.who, wish.why.as_deref()))
}

/// Who serves the default group; family by family where that differs.
fn through(status: &Status) -> String {
    let has_two = has_two_families(status);
    let parts: Vec<(Family, String)> = status
        .groups
        .iter()
        .filter(|group| group.name == GROUP_DEFAULT && !group.serving.is_empty())
        .map(|group| (group.family, serving(&group.serving, " and ")))
        .collect();
    match parts.as_slice() {
        [(_, one), (_, other)] if one == other => one.clone(),
        parts => {
            let part = |(family, by): &(Family, String)| {
                if has_two {
                    format!("{by} with {family}")
                } else {
                    by.clone()
                }
            };
            parts.iter().map(part).collect::<Vec<_>>().join(", ")
        }
    }
}

fn uplinks(out: &mut String, status: &Status) {
    let has_two = has_two_families(status);
    let heading = row([
        "UPLINK", "HEALTH", "SHARE", "MEASURED", "RTT", "LOSS", "SINCE",
    ]);
    let _ = writeln!(out, "{}", styled(FAINT, &heading));
    for uplink in status.uplinks.iter().filter(|u| !u.absent) {
        let name = label(&uplink.name, uplink.family, has_two);
        let health = uplink.health.to_string();
        let line = row([
            &name,
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
        paragraph(out, 4, &details(uplink, status.time));
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

pub(crate) fn details(uplink: &UplinkStatus, now: f64) -> String {
    let mut text = escape(&uplink.interface);
    if let Some(gateway) = uplink.gateway {
        let _ = write!(text, " via {gateway}");
    }
    if let Some(prefix) = &uplink.prefix {
        let _ = write!(text, ", prefix {}", escape(prefix));
    }
    if !uplink.deprecated.is_empty() {
        let networks = escape(&uplink.deprecated.join(", "));
        let _ = write!(text, ", hosts told to avoid {networks}");
    }
    if uplink.health != Health::Down && !uplink.in_service {
        text.push_str(", not in service");
    }
    let _ = write!(text, ": {}", escape(&uplink.reason));
    if let Some(drained) = &uplink.drained {
        let what = match (uplink.idle, uplink.in_service) {
            (true, _) => "drained",
            (false, true) => "drained, but serving since nothing else works",
            (false, false) => "drained",
        };
        let _ = write!(text, "; {what}{}", wish(drained, now));
    }
    if let Some(preferred) = &uplink.preferred {
        let _ = write!(text, "; preferred{}", wish(preferred, now));
    }
    if let Some(budget) = &uplink.budget {
        let (used, limit) = (in_words(budget.used), in_words(budget.limit));
        let then = match (budget.spent, budget.at_limit) {
            (false, _) => "",
            (true, AtLimit::LastResort) => ", used up: serves where no other uplink does",
            (true, AtLimit::Off) => ", used up: carries only what comes in by it",
            (true, AtLimit::Keep) => ", used up",
        };
        let until = escape(&budget.until);
        let _ = write!(text, "; {used} of {limit} used until {until}{then}");
    }
    text
}

pub(crate) fn target(target: &TargetStatus) -> String {
    let state = match target.state {
        TargetState::Unknown => "not known yet".to_owned(),
        TargetState::Pass => match target.last_rtt_ms {
            Some(ms) => format!("answers ({})", milliseconds(ms)),
            None => "answers".to_owned(),
        },
        TargetState::Fail => format!("fails ({} lost)", percent(target.loss)),
    };
    let target_and_state = format!("{} {state}", escape(&target.target));
    match &target.refusal {
        Some(why) => format!("{target_and_state}: {}", escape(why)),
        None => target_and_state,
    }
}

fn groups(out: &mut String, status: &Status) {
    let has_two = has_two_families(status);
    let heading = format!("{:NAME_MAX$}  SERVED BY", "GROUP");
    let _ = writeln!(out, "{}", styled(FAINT, &heading));
    for group in status.groups.iter().filter(|g| !goes_without_saying(g)) {
        let name = label(&group.name, group.family, has_two);
        let _ = writeln!(out, "{name:NAME_MAX$}  {}", served_by(group));
        if !group.reason.is_empty() {
            paragraph(out, 4, &escape(&group.reason));
        }
        if let Some(balance) = &group.balance {
            paragraph(out, 4, &escape(balance));
        }
        for member in &group.yielding {
            let (uplink, reason) = (escape(&member.uplink), escape(&member.reason));
            paragraph(out, 4, &format!("{uplink} yields: {reason}"));
        }
        if let Some(waiting) = &group.waiting {
            paragraph(out, 4, &waits(group, waiting, status.time));
        }
    }
}

/// An uplink that a policy names, and that serves: its own line says as much.
pub(crate) fn goes_without_saying(group: &GroupStatus) -> bool {
    group.group.is_none() && group.tier == Some(1) && !group.last_resort && group.waiting.is_none()
}

/// A return to a better tier that has not come yet.
fn waits(group: &GroupStatus, waiting: &WaitingStatus, now: f64) -> String {
    let better = group.tiers.get(waiting.tier.saturating_sub(1));
    let members = better.map_or_else(String::new, |tier| {
        format!(" ({})", escape(&tier.uplinks.join(", ")))
    });
    let when = match waiting.until {
        Some(until) => format!("does so in {}", span(until - now)),
        None => "waits for the word".to_owned(),
    };
    format!(
        "tier {}{members} could serve again, and {when}: `uplinkctl failback {}`",
        waiting.tier,
        escape(&group.name)
    )
}

pub(crate) fn served_by(group: &GroupStatus) -> String {
    if group.serving.is_empty() {
        return styled(BAD, "nothing");
    }
    let mut by = serving(&group.serving, " + ");
    if group.preferred {
        by.push_str(", preferred for a while");
    } else if let (Some(tier), 2..) = (group.tier, group.tiers.len()) {
        let _ = write!(by, ", tier {tier} of {}", group.tiers.len());
    }
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
pub(crate) fn rtt(uplink: &UplinkStatus) -> Option<f64> {
    deciding(uplink)
        .filter_map(|t| t.last_rtt_ms)
        .min_by(f64::total_cmp)
}

/// The least of the targets that decide: what is lost to one target only is not the line's fault.
pub(crate) fn loss(uplink: &UplinkStatus) -> Option<f64> {
    deciding(uplink)
        .filter(|t| t.sent > 0)
        .map(|t| t.loss)
        .min_by(f64::total_cmp)
}

fn deciding(uplink: &UplinkStatus) -> impl Iterator<Item = &TargetStatus> {
    uplink.targets.iter().filter(|t| t.decides)
}

pub(crate) fn has_two_families(status: &Status) -> bool {
    let has = |family: Family| {
        let lines = status.uplinks.iter().filter(|u| !u.absent);
        lines.map(|u| u.family).any(|f| f == family)
    };
    has(Family::V4) && has(Family::V6)
}

/// A name, with its family where there are two. One that would push the columns out of line is
/// cut; JSON has it whole.
pub(crate) fn label(name: &str, family: Family, has_two: bool) -> String {
    let name = escape(name);
    if has_two {
        format!("{} {family}", shorten(&name, NAME_MAX - FAMILY_MAX))
    } else {
        shorten(&name, NAME_MAX)
    }
}

fn shorten(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    let kept: String = name.chars().take(most - 2).collect();
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
pub(crate) mod tests;

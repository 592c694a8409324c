//! What files would have made of a history, beside each other.

use std::{fmt::Write as _, time::Duration};

use super::words::{BAD, FAINT, STRONG, escape, moment, paragraph, percent, span, styled};
use crate::replay::{Comparison, LineReport, Replayed, Switch};

/// Switches that are listed of each file, without `--all`.
const SWITCHES: usize = 20;
/// The width of what stands before the columns.
const HEAD: usize = 24;
/// The width of a column.
const COLUMN: usize = 26;

/// The whole result. `all`: however long.
pub(crate) fn text(comparison: &Comparison, all: bool) -> String {
    let mut out = String::new();
    history(&mut out, comparison);
    out.push('\n');
    table(&mut out, comparison);
    for replayed in &comparison.replays {
        out.push('\n');
        switches(&mut out, replayed, all);
    }
    if !comparison.notes.is_empty() {
        out.push('\n');
        for note in &comparison.notes {
            paragraph(&mut out, 0, &format!("Note: {}.", escape(note)));
        }
    }
    out.push('\n');
    let rule = "Questions that the recorder did not ask are answered by the nearest sample, once, and \
                further ones near it as often as its neighbours were; none is answered while the line \
                was dead. Dead is a line on which so many answers in a row were lost, of all targets, \
                that chance does not explain it.";
    paragraph(&mut out, 0, rule);
    out
}

fn history(out: &mut String, comparison: &Comparison) {
    let lost = comparison.lost as f64 / comparison.samples.max(1) as f64;
    let _ = writeln!(
        out,
        "{} {} to {}: {}, {} samples, {} lost",
        styled(STRONG, "History"),
        moment(comparison.from.as_secs_f64()),
        moment(comparison.to.as_secs_f64()),
        span(comparison.length.as_secs_f64()),
        comparison.samples,
        percent(lost)
    );
    for line in &comparison.lines {
        let name = format!("{} ({})", escape(&line.uplink), line.family);
        let lost = percent(line.lost as f64 / line.samples.max(1) as f64);
        let dead = match line.deaths {
            0 => "never dead".to_owned(),
            1 => format!("dead once, for {}", short(line.dead)),
            many => format!(
                "dead {many} times, {} together, {} the longest",
                short(line.dead),
                short(line.longest)
            ),
        };
        let _ = writeln!(out, "  {name:HEAD$}{lost} lost, {dead}");
    }
}

fn table(out: &mut String, comparison: &Comparison) {
    let replays = &comparison.replays;
    let cells = |of: &dyn Fn(&Replayed) -> String| -> String {
        let cells = replays.iter().map(|r| format!("{:COLUMN$}", of(r)));
        cells.collect::<String>().trim_end().to_owned()
    };
    let names = cells(&|r| tail(&escape(&r.config)));
    let _ = writeln!(
        out,
        "{:width$}{}",
        "",
        styled(STRONG, &names),
        width = HEAD + 2
    );
    let Some(first) = replays.first() else { return };
    for line in &first.lines {
        let head = format!("{} ({})", escape(&line.uplink), line.family);
        let _ = writeln!(out, "{}", styled(STRONG, &head));
        let own = |r: &Replayed, of: &dyn Fn(&LineReport) -> String| {
            let mut lines = r.lines.iter();
            let own = lines.find(|l| l.uplink == line.uplink && l.family == line.family);
            own.map_or_else(|| "-".to_owned(), of)
        };
        let mut row = |head: &str, of: &dyn Fn(&LineReport) -> String| {
            let _ = writeln!(out, "  {head:HEAD$}{}", cells(&|r| own(r, of)));
        };
        row("up", &|l| short(l.seconds.up));
        row("degraded", &|l| short(l.seconds.degraded));
        row("down", &|l| short(l.seconds.down));
        row("failovers", &|l| l.failovers.to_string());
        row("  needless", &|l| l.needless.to_string());
        row("deaths missed", &|l| l.missed.to_string());
        row("in service while dead", &|l| match l.outage.is_zero() {
            true => "0 s".to_owned(),
            false => format!("{} (longest {})", short(l.outage), short(l.outage_longest)),
        });
    }
}

fn switches(out: &mut String, replayed: &Replayed, all: bool) {
    let name = escape(&replayed.config);
    if replayed.switches.is_empty() {
        let _ = writeln!(out, "With {name} nothing would have switched.");
        return;
    }
    let _ = writeln!(out, "{}", styled(STRONG, &format!("Switches with {name}")));
    let shown = if all { usize::MAX } else { SWITCHES };
    for switch in replayed.switches.iter().take(shown) {
        let names = |names: &[String]| match names.is_empty() {
            true => "nobody".to_owned(),
            false => escape(&names.join(", ")),
        };
        let _ = writeln!(
            out,
            "  {}  {} ({}): {} -> {}",
            styled(FAINT, &precise(switch.time)),
            escape(&switch.group),
            switch.family,
            names(&switch.before),
            names(&switch.after)
        );
        paragraph(out, 4, &escape(&switch.reason));
        hindsight(out, switch);
    }
    let more = replayed.switches.len().saturating_sub(shown) as u64 + replayed.more_switches;
    if more > 0 {
        let _ = writeln!(
            out,
            "  and {more} more; --all lists them, --json for scripts"
        );
    }
}

fn hindsight(out: &mut String, switch: &Switch) {
    for judged in &switch.judged {
        let name = escape(&judged.uplink);
        let said = match judged.dead_for {
            Some(seconds) => format!("in hindsight {name} had been dead for {seconds:.2} s"),
            None if switch.is_needless() => {
                styled(BAD, &format!("needless: in hindsight {name} worked"))
            }
            None => format!("in hindsight {name} was as bad before and after"),
        };
        let _ = writeln!(out, "    {said}");
    }
}

/// With fractions where they matter.
fn short(time: Duration) -> String {
    match time.as_secs_f64() {
        0.0 => "0 s".to_owned(),
        seconds if seconds < 60.0 => format!("{seconds:.2} s"),
        seconds => span(seconds),
    }
}

fn precise(time: Duration) -> String {
    let whole = moment(time.as_secs_f64().floor());
    let millis = format!(".{:03}Z", time.subsec_millis());
    whole.replace('Z', &millis)
}

/// The end of a path, which tells more than its beginning.
fn tail(path: &str) -> String {
    let count = path.chars().count();
    let most = COLUMN - 2;
    match count > most {
        true => format!(
            "…{}",
            path.chars().skip(count - most + 1).collect::<String>()
        ),
        false => path.to_owned(),
    }
}

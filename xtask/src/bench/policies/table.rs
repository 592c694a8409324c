//! The figures for people, in the form in which `docs/PERFORMANCE.md` has them.

use std::fmt::Write as _;

use super::{
    Report,
    ratio::Ratio,
    times::Times,
    traffic::{Cost, LOADS, Load, Middle},
};
use crate::bench::statistics::Spread;

/// Milliseconds that a check, a first apply, and the sending of one change or all of its way may take.
const CHECK_MAX: f64 = 1000.0;
const FIRST_APPLY_MAX: f64 = 2000.0;
const RELOAD_MAX: f64 = 20.0;

/// All tables.
pub(super) fn render(report: &Report) -> String {
    let mut text = format!(
        "{}\n{}\n",
        report.machine.line(),
        report.machine.programs.join(", ")
    );
    if !report.costs.is_empty() {
        text += &traffic(report);
    }
    if let Some(times) = &report.times {
        text += &self::times(times);
    }
    text
}

/// What was missed, in words.
pub(super) fn missed(report: &Report) -> Vec<String> {
    let ratios = report.ratios.iter().filter(|r| !r.holds());
    let mut missed: Vec<_> = ratios
        .map(|r| format!("{} is {:.2}", r.what, r.value.median))
        .collect();
    if let Some(times) = &report.times {
        let limits = limits(times).into_iter();
        let limits = limits.filter_map(|(what, spread, limit)| Some((what, spread, limit?)));
        let limits = limits.filter(|(_, spread, limit)| spread.median > *limit);
        if times.lost > 0 {
            missed.push(format!(
                "{} new connections went past the policies in reloads",
                times.lost
            ));
        }
        missed.extend(limits.map(|(what, spread, limit)| {
            format!("{what} takes {:.0} ms and not {limit:.0}", spread.median)
        }));
    }
    missed
}

fn traffic(report: &Report) -> String {
    let mut text = format!(
        "\n{}, {} rounds; the work of one processor for a packet through the router, in ns, without \
         the sender's own:\nmedian (lowest tenth to highest tenth); then packets a second of one \
         processor that sends and forwards\n\n| router | {} |\n|---|{}\n",
        report.family,
        report.rounds,
        LOADS.map(heading).join(" | "),
        "---:|---:|".repeat(LOADS.len())
    );
    for cost in &report.costs {
        text += &row(cost);
    }
    text += "\n| ratio | median | lowest to highest tenth | shall be |\n|---|---:|---:|---|\n";
    for ratio in &report.ratios {
        text += &ratio_row(ratio);
    }
    text
}

fn heading(load: Load) -> &'static str {
    match load {
        Load::Established => "established | /s",
        Load::NewFew => "new, 10 destinations | /s",
        Load::NewMany => "new, 10,000 destinations | /s",
    }
}

fn row(cost: &Cost) -> String {
    let mut text = format!("| {} |", cost.router);
    for load in &cost.loads {
        let Middle { low, median, high } = load.router;
        let _ = write!(
            text,
            " {median:.0} ({low:.0}–{high:.0}) | {:.0}k |",
            load.packets_per_second / 1000.0
        );
    }
    text + "\n"
}

fn ratio_row(ratio: &Ratio) -> String {
    let Middle { low, median, high } = ratio.value;
    let wish = ratio.limit.map_or(String::new(), |limit| {
        let verdict = if ratio.holds() { "holds" } else { "**missed**" };
        format!("≤ {limit}: {verdict}")
    });
    format!(
        "| {} | {median:.2} | {low:.2}–{high:.2} | {wish} |\n",
        ratio.what
    )
}

/// What is timed, how long it takes, how long it may.
fn limits(times: &Times) -> [(&'static str, Spread, Option<f64>); 5] {
    [
        ("`check --file-only`", times.check, Some(CHECK_MAX)),
        (
            "first apply, from the start of the program",
            times.first_apply,
            Some(FIRST_APPLY_MAX),
        ),
        (
            "reload of one changed policy: the change sent to the kernel",
            times.reload_sending,
            Some(RELOAD_MAX),
        ),
        (
            "reload: from the file's change to the first packet",
            times.reload,
            Some(RELOAD_MAX),
        ),
        (
            "reload: the daemon's processor time until then",
            times.reload_work,
            None,
        ),
    ]
}

fn times(times: &Times) -> String {
    let mut text = format!(
        "\n{} policies and {} prefixes ({:.1} MB), {} times; in ms\n\n\
         | what | median | least to most | shall be |\n|---|---:|---:|---|\n",
        times.policies,
        times.prefixes,
        bytes_mb(times.file_bytes),
        times.repetitions
    );
    for (what, Spread { min, median, max }, limit) in limits(times) {
        let verdict = limit.map_or(String::new(), |limit| {
            let verdict = if median <= limit {
                "holds"
            } else {
                "**missed**"
            };
            format!("≤ {limit:.0}: {verdict}")
        });
        let _ = writeln!(
            text,
            "| {what} | {median:.1} | {min:.1}–{max:.1} | {verdict} |"
        );
    }
    let _ = writeln!(
        text,
        "\na reload changed {:.0} objects of nft ({:.0} bytes as the kernel tells them), and {} new \
         connections went past the policies; the daemon had {:.0} MB at most",
        times.reload_messages.median, times.reload_bytes.median, times.lost, times.memory_mb
    );
    text
}

fn bytes_mb(bytes: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a file of a few megabytes")]
    let bytes = bytes as f64;
    bytes / 1e6
}

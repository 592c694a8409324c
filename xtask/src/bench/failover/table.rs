//! The outcomes of trials as a table of at most 100 columns.

use std::fmt::Write;

use uplinkd_lab::Fault;
use uplinkd_model::Family;

use super::super::{
    candidate::Candidate,
    machine::Machine,
    statistics::Spread,
    trial::{Outcome, RATE, TcpEnd},
};

/// What was measured, and on what.
pub(super) fn head(machine: &Machine, repetitions: usize) -> String {
    format!(
        "{}\n{}\n{RATE} new UDP and {RATE} new TCP connections per second, \
         one long flow of each; {repetitions} repetitions\n",
        machine.line(),
        machine.programs.join(", ")
    )
}

/// One line about one trial, while the others are still to come.
pub(super) fn progress(outcome: &Outcome) -> String {
    let tcp = tcp_text(&[outcome]);
    let noise = match outcome.lost_before {
        0 => String::new(),
        n => format!(", {n} lost before the fault"),
    };
    format!(
        "{:<9} {:<12} lost {} of {}; ms: outage {}, kernel {}, UDP flow {}, TCP flow {tcp}{noise}",
        outcome.fault,
        name((outcome.candidate, outcome.family)),
        outcome.lost,
        outcome.attempts,
        known(outcome.outage_ms),
        known(outcome.kernel_ms),
        known(outcome.udp_gap_ms),
    )
}

/// A candidate with a family.
type Turn = (Candidate, Family);

/// Only of uplinkd there are two families; whoever has one line in the table is tried with IPv4.
fn name((candidate, family): Turn) -> String {
    if candidate.speaks(Family::V6) {
        format!("{candidate} {family}")
    } else {
        candidate.to_string()
    }
}

/// The spread of the outages that a fault caused with a candidate.
pub(super) fn outage(fault: Fault, turn: Turn, all: &[Outcome]) -> Option<Spread> {
    spread(&of(fault, turn, all), |o| o.outage_ms)
}

/// The whole table with its notes.
pub(super) fn table(faults: &[Fault], turns: &[Turn], all: &[Outcome]) -> String {
    let mut text = format!(
        "{:<22} {:>12}  {:^23}  {:>6}  {:>7}  {}\n{:<9} {:<12} {:>12}  {:>7} {:>7} {:>7}  {:>6}  {:>7}  {}\n",
        "",
        "lost",
        "outage ms",
        "kernel",
        "UDP",
        "TCP flow, ms",
        "fault",
        "candidate",
        "(of)",
        "min",
        "median",
        "max",
        "ms",
        "gap ms",
        "ms"
    );
    for fault in faults {
        text.push_str(&"─".repeat(98));
        text.push('\n');
        for turn in turns {
            let outcomes = of(*fault, *turn, all);
            if !outcomes.is_empty() {
                let _ = writeln!(text, "{}", row(*fault, *turn, &outcomes));
            }
        }
    }
    text.push_str(&"─".repeat(98));
    text + "\n" + NOTES + &ratios(faults, turns, all) + &unsteady(faults, turns, all)
}

const NOTES: &str = "\
lost       new connections that failed within the window after the fault, of those begun in it
outage     from the first of them to lasting success, of the first interruption
kernel     from the fault until the kernel sent no new connection over the line, median, +1 ms
UDP gap    in the answers to a long flow that used the line, median
TCP flow   reset: so long after the fault its client knew; kept: went on; stuck: neither
never      not within the window: 6 s for uplinkd, 20 s for polywan, 8 s for others; flap, loss 16 s
";

fn row(fault: Fault, turn: Turn, outcomes: &[&Outcome]) -> String {
    let count = |f: fn(&Outcome) -> usize| {
        let middle = middle(outcomes, |o| percent(f(o), 100));
        format!("{:.0}", middle.unwrap_or(0.0))
    };
    let lost = format!("{} ({})", count(|o| o.lost), count(|o| o.attempts));
    let outage = spread(outcomes, |o| o.outage_ms);
    let median = |f: fn(&Outcome) -> Option<f64>| number(spread(outcomes, f).map(|s| s.median));
    format!(
        "{:<9} {:<12} {lost:>12}  {:>7} {:>7} {:>7}  {:>6}  {:>7}  {}",
        fault.to_string(),
        name(turn),
        number(outage.map(|o| o.min)),
        number(outage.map(|o| o.median)),
        number(outage.map(|o| o.max)),
        median(|o| o.kernel_ms),
        median(|o| o.udp_gap_ms),
        tcp_text(outcomes),
    )
    .trim_end()
    .to_owned()
}

/// `reset 412`, or the kinds of end with their numbers where they differ.
fn tcp_text(outcomes: &[&Outcome]) -> String {
    let resets = outcomes.iter().filter_map(|o| match o.tcp {
        TcpEnd::Reset(ms) => Some(ms),
        TcpEnd::Kept | TcpEnd::Stuck => None,
    });
    let count = |end| outcomes.iter().filter(|o| o.tcp == end).count();
    let (kept, stuck) = (count(TcpEnd::Kept), count(TcpEnd::Stuck));
    let total = outcomes.len();
    let resets = Spread::of(resets).map(|s| number(Some(s.median)));
    match (kept, stuck, resets) {
        (_, _, None) if stuck == total => format!("stuck {stuck}/{total}"),
        (_, _, None) if kept == total => format!("kept {kept}/{total}"),
        (0, 0, Some(ms)) => format!("reset {ms}"),
        (_, 0, Some(ms)) => format!("reset {ms}, {kept} kept"),
        (_, _, Some(ms)) => format!("reset {ms}, {stuck} stuck"),
        (_, _, None) => format!("{kept} kept, {stuck} stuck"),
    }
}

/// How many times uplinkd's outage the others' are.
fn ratios(faults: &[Fault], turns: &[Turn], all: &[Outcome]) -> String {
    let mut text = String::new();
    for fault in faults {
        let Some(ours) = outage(*fault, (Candidate::Uplinkd, Family::V4), all).map(|o| o.median)
        else {
            continue;
        };
        if ours <= 0.0 || !ours.is_finite() || is_unsteady(*fault) {
            continue; // Nothing to compare with, or not by this.
        }
        let others: Vec<_> = turns
            .iter()
            .filter(|(c, _)| *c != Candidate::Uplinkd)
            .filter_map(|turn| {
                let (c, theirs) = (turn.0, outage(*fault, *turn, all)?.median);
                Some(if theirs.is_finite() {
                    format!("{c} {:.1} ×", theirs / ours)
                } else {
                    format!("{c} never")
                })
            })
            .collect();
        if !others.is_empty() {
            let _ = writeln!(
                text,
                "outage against uplinkd's, {fault}: {}",
                others.join(", ")
            );
        }
    }
    text
}

/// What matters where a line is neither good nor dead: how much is lost, and how often who serves
/// changes.
fn unsteady(faults: &[Fault], turns: &[Turn], all: &[Outcome]) -> String {
    let mut text = String::new();
    for fault in faults.iter().filter(|f| is_unsteady(**f)) {
        let each: Vec<_> = turns
            .iter()
            .filter_map(|turn| {
                let outcomes = of(*fault, *turn, all);
                let lost = middle(&outcomes, |o| percent(o.lost, o.attempts.max(1)))?;
                let switches = middle(&outcomes, |o| percent(o.switches, 100))?;
                Some(format!("{} {lost:.0} %, {switches:.0}", name(*turn)))
            })
            .collect();
        let _ = writeln!(
            text,
            "part lost and switches, {fault}: {}",
            each.join(" · ")
        );
    }
    text
}

/// Whether a line with this fault is neither good nor dead.
pub(super) fn is_unsteady(fault: Fault) -> bool {
    matches!(fault, Fault::Loss(_) | Fault::Flap(_))
}

fn middle(outcomes: &[&Outcome], f: impl Fn(&Outcome) -> f64) -> Option<f64> {
    Spread::of(outcomes.iter().map(|o| f(o))).map(|s| s.median)
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand connections")]
pub(super) fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole as f64
}

fn of(fault: Fault, (candidate, family): Turn, all: &[Outcome]) -> Vec<&Outcome> {
    let fault = fault.to_string();
    let is_it = |o: &&Outcome| o.fault == fault && o.candidate == candidate && o.family == family;
    all.iter().filter(is_it).collect()
}

fn spread(outcomes: &[&Outcome], f: impl Fn(&Outcome) -> Option<f64>) -> Option<Spread> {
    Spread::of(outcomes.iter().map(|o| f(o).unwrap_or(f64::INFINITY)))
}

/// As [`number`], where nothing means never.
fn known(value: Option<f64>) -> String {
    number(Some(value.unwrap_or(f64::INFINITY)))
}

/// A number for people: a decimal below ten.
fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(v) if v.is_infinite() => "never".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(v) if v < 9.95 => format!("{v:.1}"),
        Some(v) => format!("{v:.0}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A trial with a silent line over IPv4.
    pub(in super::super) fn outcome(
        candidate: Candidate,
        outage_ms: Option<f64>,
        tcp: TcpEnd,
    ) -> Outcome {
        Outcome {
            candidate,
            family: Family::V4,
            fault: "silent".to_owned(),
            repetition: 0,
            window_ms: 6000.0,
            attempts: 8000,
            lost: 1234,
            lost_before: 0,
            share_before: 60.0,
            outage_ms,
            kernel_ms: Some(301.2),
            switches: 1,
            udp_gap_ms: None,
            tcp,
            tcp_gap_ms: None,
            return_ms: None,
        }
    }

    #[test]
    fn no_line_is_wider_than_a_hundred_columns() {
        let all = [
            outcome(Candidate::Uplinkd, Some(310.0), TcpEnd::Reset(612.0)),
            outcome(Candidate::PolywanFast, None, TcpEnd::Stuck),
            outcome(
                Candidate::PolywanFast,
                Some(11_900.0),
                TcpEnd::Reset(12_000.0),
            ),
        ];
        let text = table(
            &[Fault::Silent],
            &[Candidate::Uplinkd, Candidate::PolywanFast].map(|c| (c, Family::V4)),
            &all,
        );
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        assert!(text.contains("polywan-fast 38.4 ×"), "{text}");
    }

    #[test]
    fn a_tcp_flow_is_described_by_how_its_trials_ended() {
        let ends = |ends: &[TcpEnd]| {
            let all: Vec<_> = ends
                .iter()
                .map(|e| outcome(Candidate::Uplinkd, None, *e))
                .collect();
            tcp_text(&all.iter().collect::<Vec<_>>())
        };
        let (kept, stuck, reset) = (TcpEnd::Kept, TcpEnd::Stuck, TcpEnd::Reset(5.0));
        assert_eq!(ends(&[kept, kept]), "kept 2/2");
        assert_eq!(ends(&[stuck]), "stuck 1/1");
        assert_eq!(ends(&[reset, TcpEnd::Reset(12.4)]), "reset 5.0");
        assert_eq!(ends(&[reset, stuck]), "reset 5.0, 1 stuck");
        assert_eq!(ends(&[kept, reset]), "reset 5.0, 1 kept");
    }
}

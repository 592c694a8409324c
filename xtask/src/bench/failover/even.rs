//! Whether a line's failure is as short over IPv6 as over IPv4.

use uplinkd_lab::Fault;
use uplinkd_model::Family;

use super::{
    super::{
        candidate::Candidate,
        families::Comparison,
        statistics::Spread,
        trial::{Outcome, TcpEnd},
    },
    table::{is_unsteady, percent},
};

/// Something that is measured.
struct Measure {
    name: &'static str,
    /// See [`Comparison::resolution`].
    resolution: f64,
    /// `None`: nothing to measure in this trial. Infinity: never.
    of: fn(&Outcome) -> Option<f64>,
}

const fn measure(name: &'static str, resolution: f64, of: fn(&Outcome) -> Option<f64>) -> Measure {
    Measure {
        name,
        resolution,
        of,
    }
}

/// Of a line that dies. Connections of a kind begin 5 ms apart, flows ask each 10 ms, the kernel is
/// asked each millisecond. The return is `rise` probes, 100 ms apart, after the fault ends, and that
/// takes place some time while `nft` runs: anywhere between two probes.
const DEAD: [Measure; 7] = [
    measure("connections lost", 0.0, |o| Some(percent(o.lost, 100))),
    measure("outage, ms", 5.0, |o| Some(or_never(o.outage_ms))),
    measure("kernel, ms", 1.0, |o| Some(or_never(o.kernel_ms))),
    measure("UDP flow's gap, ms", 10.0, |o| Some(or_never(o.udp_gap_ms))),
    measure("TCP flow's gap, ms", 10.0, |o| Some(or_never(o.tcp_gap_ms))),
    measure("TCP client told, ms", 10.0, |o| match o.tcp {
        TcpEnd::Reset(ms) => Some(ms),
        TcpEnd::Kept => None,
        TcpEnd::Stuck => Some(f64::INFINITY),
    }),
    measure("return, ms", 100.0, |o| o.return_ms.map(or_never)),
];

/// Of one that is neither good nor dead.
const UNSTEADY: [Measure; 1] = [measure("connections lost, %", 0.0, |o| {
    Some(percent(o.lost, o.attempts.max(1)))
})];

/// The medians of uplinkd's trials with each fault; none without both families.
pub(super) fn comparisons(faults: &[Fault], all: &[Outcome]) -> Vec<Comparison> {
    let of_fault = |fault: &Fault| {
        let (fault, measures) = (*fault, measures(*fault));
        measures.iter().filter_map(move |m| compare(fault, m, all))
    };
    faults.iter().flat_map(of_fault).collect()
}

fn measures(fault: Fault) -> &'static [Measure] {
    if is_unsteady(fault) { &UNSTEADY } else { &DEAD }
}

fn compare(fault: Fault, measure: &Measure, all: &[Outcome]) -> Option<Comparison> {
    let name = fault.to_string();
    let median = |family| {
        let ours = all
            .iter()
            .filter(|o| o.candidate == Candidate::Uplinkd && o.family == family && o.fault == name);
        Spread::of(ours.filter_map(measure.of)).map(|s| s.median)
    };
    Some(Comparison {
        what: format!("{fault}: {}", measure.name),
        ipv4: median(Family::V4)?,
        ipv6: median(Family::V6)?,
        resolution: measure.resolution,
    })
}

fn or_never(value: Option<f64>) -> f64 {
    value.unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::{super::super::families::Verdict, super::table::tests::outcome, *};

    fn trial(family: Family, outage_ms: Option<f64>) -> Outcome {
        Outcome {
            family,
            ..outcome(Candidate::Uplinkd, outage_ms, TcpEnd::Reset(400.0))
        }
    }

    fn verdict(all: &[Outcome]) -> Option<Verdict> {
        let all = comparisons(&[Fault::Silent], all);
        let outage = all.iter().find(|c| c.what == "silent: outage, ms");
        outage.map(Comparison::verdict)
    }

    #[test]
    fn the_families_are_compared_by_their_medians() {
        let v4 = [300.0, 310.0, 900.0].map(|ms| trial(Family::V4, Some(ms)));
        let v6 = |ms: [f64; 3]| ms.map(|ms| trial(Family::V6, Some(ms)));
        let with = |v6: [Outcome; 3]| verdict(&[v4.to_vec(), v6.to_vec()].concat());
        assert_eq!(with(v6([320.0, 330.0, 2000.0])), Some(Verdict::Holds));
        assert_eq!(with(v6([320.0, 400.0, 400.0])), Some(Verdict::Missed));
    }

    #[test]
    fn an_outage_without_end_is_not_left_out() {
        let all = [trial(Family::V4, Some(300.0)), trial(Family::V6, None)];
        assert_eq!(verdict(&all), Some(Verdict::Missed));
    }

    #[test]
    fn one_family_alone_and_other_candidates_are_not_compared() {
        let mut other = trial(Family::V6, Some(300.0));
        other.candidate = Candidate::Script;
        assert_eq!(verdict(&[trial(Family::V4, Some(300.0)), other]), None);
    }
}

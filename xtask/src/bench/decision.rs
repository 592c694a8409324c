//! `cargo xtask bench decision`: from a fact that fails an uplink, handed to the core, until the
//! kernel has acknowledged the plan that takes the uplink out of service and its connections out of
//! connection tracking. For uplinks of each family alone.
//!
//! The core and the kernel's part run here without the daemon around them, in a laboratory's router.
//! The line is not really broken, so the kernel does the whole work of the plan itself. Time is given
//! to the core by us, so that nothing waits between two repetitions.

mod driver;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use uplinkd_lab::{Isp, Lab, LabSpec, addresses::well_known, enter_private};
use uplinkd_model::{
    Access, Config, Family, Gateway, Group, Member, Nat, Outlet, OutletKind, ProbeSpec, Reserve,
    Slot, Target, Uplink, UplinkName,
    policy::{Conduct, End, Failback, Outflow, OutletTier},
};

use super::{
    families::{self, Comparison, FamilyArgs},
    machine::Machine,
    print, program,
    statistics::{Spread, quantile, sorted},
};
use driver::{Cause, Driver};

/// How many groups there are besides the default one, in turn.
const GROUPS: [usize; 2] = [1, 1000];
/// More repetitions than this teach nothing.
const REPETITIONS_MAX: usize = 100_000;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct DecisionArgs {
    /// How often each case is measured.
    #[arg(long, default_value_t = 300, value_name = "N")]
    reps: usize,
    /// Count it as a failure when a 99th percentile is longer than so many milliseconds.
    #[arg(long, default_value_t = 2.0, value_name = "MS")]
    limit: f64,
    #[command(flatten)]
    families: FamilyArgs,
}

#[derive(Debug, Serialize)]
struct Case {
    groups: usize,
    cause: Cause,
    family: Family,
    repetitions: usize,
    steps: usize,
    milliseconds: Spread,
    p99: f64,
    /// The 99th percentile of the time at work, without waits for a processor.
    p99_at_work: f64,
    /// The part that the core takes for the decision, in the middle.
    deciding: Spread,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    limit_ms: f64,
    cases: Vec<Case>,
    /// IPv6 against IPv4.
    comparisons: Vec<Comparison>,
}

/// Measures, prints the table and writes the figures.
///
/// # Errors
/// When the machine cannot build laboratories, or the kernel refuses the plan.
pub(super) fn run(args: &DecisionArgs) -> Result<ExitCode> {
    let target = program::target_folder()?;
    let machine = Machine::look();
    enter_private()?;
    let repetitions = args.reps.clamp(1, REPETITIONS_MAX);
    let mut cases = Vec::new();
    for groups in GROUPS {
        for cause in [Cause::Link, Cause::Probes] {
            for family in args.families.families() {
                print::talk(&format!("{groups} groups, {cause}, {family}"));
                cases.push(measure(groups, cause, family, repetitions)?);
            }
        }
    }
    let report = Report {
        machine,
        limit_ms: args.limit,
        comparisons: comparisons(&cases),
        cases,
    };
    print::line(&table(&report));
    if !report.comparisons.is_empty() {
        print::line(&families::table(&report.comparisons));
    }
    print::json(&target, "decision.json", &report)?;
    if report.cases.iter().any(|c| c.p99 > args.limit) {
        print::talk(&format!("a 99th percentile is above {} ms", args.limit));
        return Ok(ExitCode::FAILURE);
    }
    if args.families.is_failed_by(&report.comparisons) {
        print::talk("IPv6 is worse than IPv4 by more than it may");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(groups: usize, cause: Cause, family: Family, repetitions: usize) -> Result<Case> {
    let lab = Lab::build(LabSpec::default())?;
    let places = tempfile::tempdir()?;
    let config = config(&lab, groups, cause, family)?;
    let times = lab.router().run(|| {
        let mut driver = Driver::start(config, places.path())?;
        (0..repetitions)
            .map(|_| driver.fail_and_return(cause))
            .collect::<Result<Vec<_>>>()
    })?;
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    let all = sorted(times.iter().map(|t| ms(t.acknowledged)));
    let nothing = Spread {
        min: 0.0,
        median: 0.0,
        max: 0.0,
    };
    Ok(Case {
        groups,
        cause,
        family,
        repetitions,
        steps: times.iter().map(|t| t.steps).max().unwrap_or(0),
        milliseconds: Spread::of(all.iter().copied()).unwrap_or(nothing),
        p99: quantile(&all, 0.99).unwrap_or(0.0),
        p99_at_work: quantile(&sorted(times.iter().map(|t| ms(t.at_work))), 0.99).unwrap_or(0.0),
        deciding: Spread::of(times.iter().map(|t| ms(t.decided))).unwrap_or(nothing),
    })
}

/// The medians, and the 99th percentiles of the time at work: those of the whole time are the waits
/// for a processor.
fn comparisons(cases: &[Case]) -> Vec<Comparison> {
    let pairs = cases.iter().filter_map(|v4| {
        let is_other =
            |c: &&Case| (c.groups, c.cause) == (v4.groups, v4.cause) && c.family == Family::V6;
        let v6 = cases
            .iter()
            .find(is_other)
            .filter(|_| v4.family == Family::V4)?;
        let compare = |what: &str, of: fn(&Case) -> f64| Comparison {
            what: format!("{} groups, {}: {what}, ms", v4.groups, v4.cause),
            ipv4: of(v4),
            ipv6: of(v6),
            resolution: 0.0,
        };
        Some([
            compare("p50", |c| c.milliseconds.median),
            compare("p99 at work", |c| c.p99_at_work),
        ])
    });
    pairs.flatten().collect()
}

/// Two uplinks in `groups` groups of one tier each, no two alike.
fn config(lab: &Lab, groups: usize, cause: Cause, family: Family) -> Result<Config> {
    let targets = match cause {
        // The link alone decides.
        Cause::Link => Vec::new(),
        Cause::Probes => vec![Target::Icmp(well_known(family)[0])],
    };
    let uplink = |isp: Isp| -> Result<Uplink> {
        let access = Access {
            expected: true,
            gateway: Gateway::Auto,
            nat: Nat::Masquerade,
            prefix: Default::default(),
            probe: ProbeSpec {
                targets: targets.clone(),
                quorum: 1,
                interval: Duration::from_millis(100),
                timeout: Duration::from_millis(100),
                fall: 3,
                rise: 1,
                damping: None,
                ..ProbeSpec::default()
            },
        };
        Ok(Uplink {
            name: UplinkName::new(&isp.to_string())?,
            slot: Slot(isp.number().into()),
            interface: isp.interface(),
            rates: Default::default(),
            yields: true,
            budget: None,
            ipv4: (family == Family::V4).then(|| access.clone()),
            ipv6: (family == Family::V6).then_some(access),
        })
    };
    let uplinks = lab.isps().map(uplink).collect::<Result<Vec<_>>>()?;
    let group = |name: String, weights: [u16; 2]| Group {
        name,
        tiers: vec![tier(&uplinks, weights)],
        failback: Failback::default(),
        sticky: None,
        conduct: Conduct::default(),
    };
    let mut all = vec![group(Group::DEFAULT.to_owned(), [3, 2])];
    let others = distinct_weights().take(groups).enumerate();
    all.extend(others.map(|(number, weights)| group(format!("group-{number}"), weights)));
    let outlets = (0..).zip(&all).map(|(code, group)| outlet(code, group));
    Ok(Config {
        lan: vec!["lan0".to_owned()],
        deprecate: true,
        advertise: false,
        outlets: outlets.collect(),
        uplinks,
        groups: all,
        policies: Vec::new(),
        reserve: Reserve {
            // Room for all of them.
            mark_mask: 0xffff_0000,
            mark_uplink_bits: 3,
            ..Reserve::default()
        },
    })
}

fn tier(uplinks: &[Uplink], weights: [u16; 2]) -> Vec<Member> {
    let named = uplinks.iter().zip(weights);
    named
        .map(|(uplink, weight)| Member {
            uplink: uplink.name.clone(),
            weight,
            is_auto: false,
        })
        .collect()
}

/// What policies that use a group would lead to.
fn outlet(code: u16, group: &Group) -> Outlet {
    let tiers = (1..).zip(&group.tiers).map(|(rank, members)| OutletTier {
        group: Some(group.name.clone()),
        rank,
        members: members.clone(),
        conduct: group.conduct,
    });
    Outlet {
        code,
        name: group.name.clone(),
        kind: OutletKind::Uplinks(Outflow {
            group: Some(group.name.clone()),
            tiers: tiers.collect(),
            end: if code == 0 { End::Keep } else { End::Default },
            failback: group.failback,
            sticky: group.sticky,
        }),
    }
}

/// Pairs of weights from 1 to 256 that all give different shares.
fn distinct_weights() -> impl Iterator<Item = [u16; 2]> {
    let is_reduced =
        |a: u16, b: u16| (2..=a.min(b)).all(|n| !(a.is_multiple_of(n) && b.is_multiple_of(n)));
    (1..=256).flat_map(move |a| {
        let others = (1..=256).filter(move |b| is_reduced(a, *b) && [a, *b] != [3, 2]);
        others.map(move |b| [a, b])
    })
}

fn table(report: &Report) -> String {
    let mut text = format!(
        "{}\n\n{:>6}  {:<12} {:<6} {:>5} {:>6}  {:>8} {:>8} {:>8} {:>8}  {:>8}  {:>8}\n",
        report.machine.line(),
        "groups",
        "cause",
        "family",
        "steps",
        "times",
        "min ms",
        "p50",
        "p99",
        "max",
        "work p99",
        "core p50"
    );
    for case in &report.cases {
        text += &format!(
            "{:>6}  {:<12} {:<6} {:>5} {:>6}  {:>8.3} {:>8.3} {:>8.3} {:>8.3}  {:>8.3}  {:>8.3}\n",
            case.groups,
            case.cause.to_string(),
            case.family.to_string(),
            case.steps,
            case.repetitions,
            case.milliseconds.min,
            case.milliseconds.median,
            case.p99,
            case.milliseconds.max,
            case.p99_at_work,
            case.deciding.median
        );
    }
    text + &format!(
        "\nfrom the fact handed to the core to the kernel's acknowledgement of the urgent plan; \
         the p99\nshall be at most {} ms; `work` is without waits for a processor that others had, \
         `core` the part\nuntil the plan was there\n",
        report.limit_ms
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_weights_for_a_thousand_groups_that_differ() {
        let all: Vec<_> = distinct_weights().take(1000).collect();
        let shares: BTreeSet<_> = all
            .iter()
            .map(|[a, b]| u64::from(*a) * 1_000_000_000 / u64::from(a + b))
            .collect();
        assert_eq!(shares.len(), 1000);
        assert!(all.iter().flatten().all(|w| (1..=256).contains(w)));
    }
}

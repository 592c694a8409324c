//! Plays many histories and sorts what fails: `cargo run -p uplinkd-sim --example hunt -- 0..5000`,
//! or the whole trace of one: `… -- 17`.

#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

use std::collections::BTreeMap;

use uplinkd_sim::{run, seeds::run_all};

fn main() {
    let asked = std::env::args().nth(1).unwrap_or_else(|| "0..1000".into());
    let Some((from, to)) = asked.split_once("..") else {
        let seed = asked.parse().unwrap_or(0);
        run::trace(seed).iter().for_each(|line| println!("{line}"));
        return;
    };
    let (from, to) = (from.parse().unwrap_or(0), to.parse().unwrap_or(0));
    let begun = std::time::Instant::now();
    let (report, failures) = run_all(from..to, usize::MAX);
    let mut kinds: BTreeMap<String, Vec<(u64, &str)>> = BTreeMap::new();
    for failure in &failures {
        let kind = failure
            .what
            .chars()
            .filter(|c| c.is_alphabetic() || *c == ' ');
        let kind: String = kind.take(60).collect();
        let known = kinds.entry(kind).or_default();
        known.push((failure.seed, &failure.what));
    }
    println!("{report:#?}");
    for found in kinds.values() {
        let seeds: Vec<_> = found.iter().map(|(seed, _)| seed).take(12).collect();
        println!("{} times, {seeds:?}: {}", found.len(), found[0].1);
    }
    println!(
        "{} of {} failed, {:.1?}",
        failures.len(),
        to - from,
        begun.elapsed()
    );
}

//! Which histories are played, and playing many of them on all processors.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use crate::run::{Failure, Report, run};

/// Seeds that once failed, each with what it found. They are played again by the tests for ever.
pub const ONCE_FAILED: &[(u64, &str)] = &[
    (
        56,
        "our nft table led connections to an outlet before its rule was there",
    ),
    (
        157,
        "an uplink that left the file and came back lost its connections",
    ),
    (
        2046,
        "connections led out by `main` while the last resort was empty were never released",
    ),
    (
        39177,
        "old tiers' routes went best first, so that a worse old tier led for a moment",
    ),
    (
        3222,
        "a plan under way forgot what a failback under the file before had left behind",
    ),
];

/// How many histories the tests play unless told otherwise.
pub const HISTORIES: u64 = 10_000;

/// The seeds that `UPLINKD_SIM_SEEDS=from..to` asks for, else the first [`HISTORIES`].
///
/// # Errors
/// Where the variable does not hold two numbers with `..` between them.
pub fn from_environment() -> Result<Range<u64>, String> {
    let Ok(text) = std::env::var("UPLINKD_SIM_SEEDS") else {
        return Ok(0..HISTORIES);
    };
    let range = text
        .split_once("..")
        .and_then(|(from, to)| Some(from.trim().parse().ok()?..to.trim().parse().ok()?));
    range.ok_or_else(|| format!("UPLINKD_SIM_SEEDS={text}: not of the form from..to"))
}

/// Plays all histories of a range; gives the sum of the reports, and the failures with the lowest
/// seeds, `failures_max` at most.
pub fn run_all(seeds: Range<u64>, failures_max: usize) -> (Report, Vec<Failure>) {
    let next = AtomicU64::new(seeds.start);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut sum = Report::default();
        let mut failures: Vec<Failure> = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failures.len() >= failures_max {
                return (sum, failures);
            }
            match run(seed) {
                Ok(report) => sum = sum.plus(&report),
                Err(failure) => failures.push(*failure),
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut total = Report::default();
        let mut failures = Vec::new();
        for worker in workers {
            let (sum, failed) = worker.join().expect("a history does not panic");
            total = total.plus(&sum);
            failures.extend(failed);
        }
        failures.sort_by_key(|f| f.seed);
        failures.truncate(failures_max);
        (total, failures)
    })
}

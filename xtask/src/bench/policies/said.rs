//! What the daemon says of its own work, and what the kernel says of it.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use uplinkd_lab::RouterDaemon;

/// How the log begins to tell of a plan that the kernel has acknowledged.
const APPLIED: &str = "plan applied ";

/// The milliseconds between handing plans to the kernel and its last acknowledgement, all plans of a
/// part of the log together.
///
/// # Errors
/// When it tells of none.
pub(super) fn sending(log: &str) -> Result<f64> {
    let mut plans = log.lines().filter_map(|line| {
        let (_, fields) = line.split_once(APPLIED)?;
        let took = fields
            .split_whitespace()
            .find_map(|f| f.strip_prefix("took="));
        took.and_then(milliseconds)
    });
    let first = plans.next().context("the log tells of no plan")?;
    Ok(first + plans.sum::<f64>())
}

/// A duration as `{:?}` writes it.
fn milliseconds(text: &str) -> Option<f64> {
    // Before seconds, whose letter the others end with.
    let units = [("ns", 1e-6), ("µs", 1e-3), ("ms", 1.0), ("s", 1e3)];
    units.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * factor)
    })
}

/// The processor time of all the daemon's threads so far.
///
/// # Errors
/// When it has ended.
pub(super) fn work_done(daemon: &RouterDaemon) -> Result<Duration> {
    let pid = i32::try_from(daemon.process().pid())?;
    let clock = clock_getcpuclockid(Pid::from_raw(pid))
        .with_context(|| format!("the daemon ended\n{}", daemon.log_tail()))?;
    Ok(clock_gettime(clock)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        for (text, expected) in [
            ("1.5ms", 1.5),
            ("20µs", 0.02),
            ("500ns", 0.0005),
            ("2s", 2e3),
        ] {
            let found = milliseconds(text).unwrap();
            assert!((found - expected).abs() < 1e-9, "{text}: {found}");
        }
        assert_eq!(milliseconds("5"), None);
    }

    #[test]
    fn plans_are_added_and_other_lines_passed_over() {
        let log = "INFO a: the file was read again\nINFO a: plan applied steps=1 took=2.5ms\n\
                   INFO a: probe took=9ms\nINFO a: plan applied steps=2 took=500µs\n";
        assert!((sending(log).unwrap() - 3.0).abs() < 1e-9);
        assert!(sending("INFO a: the file was read again\n").is_err());
    }
}

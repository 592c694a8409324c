//! When the kernel sends new connections another way.
//!
//! The kernel itself is asked, once a millisecond, which line the first packet of some connections
//! from the LAN would take. That is the same question for everybody, whatever they are made of:
//! routes, rules, nexthop objects, or the kernel's own knowledge of a lost carrier.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use uplinkd_kernel::{Kernel, RouteQuery};
use uplinkd_lab::{Isp, Lab, addresses};
use uplinkd_model::Family;

/// Between two looks; also the error of every instant here.
const EVERY: Duration = Duration::from_millis(1);
/// Connections that are asked about. With three in five over a line, one in 60,000 sets of twelve
/// would miss it.
const CONNECTIONS: usize = 12;
/// Nobody watches longer.
const WATCH_MAX: Duration = Duration::from_secs(600);

/// A watch on one line, until it is dropped.
#[derive(Debug)]
pub(super) struct RouteWatch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Changes>>>,
    seen: Arc<AtomicBool>,
}

/// When a line came into use or went out of use, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(Vec<(Instant, bool)>);

impl Changes {
    /// How long after an instant the line was no longer used by any of the connections. Zero when it
    /// was already out of use then.
    pub(super) fn out_of_use_after(&self, from: Instant) -> Option<Duration> {
        let in_use = self.0.iter().rev().find(|(at, _)| *at <= from);
        if in_use.is_some_and(|(_, used)| !used) {
            return Some(Duration::ZERO);
        }
        self.next(from, false)
    }

    /// How long after an instant the line was used again.
    pub(super) fn in_use_after(&self, from: Instant) -> Option<Duration> {
        self.next(from, true)
    }

    fn next(&self, from: Instant, used: bool) -> Option<Duration> {
        let mut later = self.0.iter().filter(|(at, _)| *at > from);
        let found = later.find(|(_, u)| *u == used);
        found.map(|(at, _)| at.duration_since(from))
    }

    /// How often it changed between two instants.
    pub(super) fn count(&self, from: Instant, to: Instant) -> usize {
        let within = |(at, _): &&(Instant, bool)| *at > from && *at <= to;
        self.0.iter().filter(within).count()
    }
}

impl RouteWatch {
    /// Starts to watch the line to a provider, for connections of one family.
    pub(super) fn start(lab: &Lab, isp: Isp, family: Family) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(AtomicBool::new(false));
        let (stopped, see) = (Arc::clone(&stop), Arc::clone(&seen));
        let queries = queries(family);
        let device = isp.interface();
        let thread = lab.router().start(move || {
            let kernel = Kernel::open().context("cannot ask the kernel for routes")?;
            Ok(watch(kernel, &queries, &device, (&stopped, &see)))
        })?;
        Ok(Self {
            stop,
            thread: Some(thread),
            seen,
        })
    }

    /// Whether the line is in use now.
    pub(super) fn is_used(&self) -> bool {
        self.seen.load(Ordering::Relaxed)
    }

    /// Stops and returns what there was to see.
    pub(super) fn stop(mut self) -> Result<Changes> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the watch was stopped before")?;
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("the watch on routes panicked"))?
    }
}

impl Drop for RouteWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn queries(family: Family) -> Vec<RouteQuery> {
    (0..CONNECTIONS)
        .map(|n| RouteQuery {
            source: Some(addresses::client(family, 0).addr()),
            protocol: Some(17),
            source_port: u16::try_from(40_000 + n).ok(),
            dest_port: Some(uplinkd_lab::traffic::PORT),
            iif: Some("lan0".to_owned()),
            ..RouteQuery::to(addresses::server(family, n))
        })
        .collect()
}

fn watch(
    mut kernel: Kernel,
    queries: &[RouteQuery],
    device: &str,
    (stop, seen): (&AtomicBool, &AtomicBool),
) -> Changes {
    let end = Instant::now() + WATCH_MAX;
    let mut changes = Changes::default();
    let mut was_used = None;
    // The one that found the line in use last time is asked first: mostly one question is enough.
    let mut first = 0;
    while !stop.load(Ordering::Relaxed) && Instant::now() < end {
        let turn = (0..queries.len()).map(|n| (first + n) % queries.len());
        let user = turn
            .into_iter()
            // No route at all is not over this line either.
            .find(|n| matches!(kernel.route_get(queries[*n].clone()), Ok(a) if a.device == device));
        first = user.unwrap_or(first);
        let is_used = user.is_some();
        if was_used != Some(is_used) {
            changes.0.push((Instant::now(), is_used));
            seen.store(is_used, Ordering::Relaxed);
            was_used = Some(is_used);
        }
        thread::sleep(EVERY);
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_before_the_instant_counts_as_none_after_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let changes = Changes(vec![(at(0), true), (at(10), false), (at(50), true)]);
        let ms = |n| Some(Duration::from_millis(n));
        assert_eq!(changes.out_of_use_after(at(4)), ms(6));
        assert_eq!(changes.out_of_use_after(at(20)), ms(0));
        assert_eq!(changes.out_of_use_after(at(60)), None);
        assert_eq!(changes.in_use_after(at(20)), ms(30));
        assert_eq!(changes.count(at(5), at(60)), 2);
    }
}
